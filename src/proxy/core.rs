//! What one core owns: its view of the snapshot, leases, pools, gates and counts. Never shared: everything
//! here is `Rc`, `Cell` and `RefCell`, and no borrow lives across a wait.

use super::{ListenerId, Shared};
use crate::gate::{Gates, Passed};
use crate::lifecycle::{CoreLeases, Refused};
use crate::limits::BUFFERS_KEPT;
use crate::runtime::{self, Abort};
use crate::snapshot::{CoreView, Endpoint, EndpointKey, Run, Snapshot};
use crate::upstream::Upstreams;
use crossbeam_channel::Sender;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt::Write;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// The state of one core.
pub(super) struct Core {
    pub shared: Arc<Shared>,
    pub upstreams: Upstreams,
    gates: Gates,
    view: RefCell<CoreView>,
    leases: RefCell<CoreLeases<EndpointKey, Run>>,
    buffers: RefCell<Vec<Vec<u8>>>,
    /// Connections in work: those that have a coroutine.
    active: Cell<usize>,
    drained: RefCell<Option<Sender<()>>>,
    draining: Cell<bool>,
    /// The listeners.
    accepting: RefCell<HashMap<ListenerId, Accepting>>,
    requests: Cell<u64>,
    id_prefix: u32,
}

impl Core {
    pub fn new(shared: Arc<Shared>, id_prefix: u32) -> Rc<Core> {
        let view = CoreView::new(Arc::clone(&shared.publisher));
        Rc::new(Core {
            shared,
            upstreams: Upstreams::default(),
            gates: Gates::default(),
            view: RefCell::new(view),
            leases: RefCell::new(CoreLeases::new()),
            buffers: RefCell::default(),
            active: Cell::new(0),
            drained: RefCell::default(),
            draining: Cell::new(false),
            accepting: RefCell::default(),
            requests: Cell::new(0),
            id_prefix,
        })
    }

    /// The current snapshot; one atomic load when nothing has changed.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(self.view.borrow_mut().snapshot())
    }

    /// A new snapshot was published: whoever waits looks again, and what is no longer current ends.
    pub fn changed(&self) {
        let snapshot = self.snapshot();
        let open = |serial| snapshot.open.contains(&serial);
        let usable = |serial| snapshot.open.contains(&serial) && !snapshot.held.contains(&serial);
        self.upstreams.keep_only(open, usable);
        let ended = |key: &EndpointKey| !snapshot.open_keys.contains(key);
        self.leases.borrow_mut().drain_where(runtime::now(), ended);
        self.gates.open_all();
    }

    /// Called about once a second.
    pub fn tick(&self) {
        let now = runtime::now();
        self.leases.borrow_mut().tick(now);
        self.upstreams.sweep(now);
    }

    /// Counts a request in at `endpoint`, until the guard is dropped.
    pub fn begin(self: &Rc<Self>, endpoint: &Endpoint) -> Result<InFlight, Refused> {
        self.leases.borrow_mut().begin(&endpoint.entry, runtime::now())?;
        Ok(InFlight { core: Rc::clone(self), key: endpoint.entry.key().clone() })
    }

    /// Waits at the gate of `service`.
    pub fn wait(&self, service: &Arc<str>, deadline: Instant) -> io::Result<Passed> {
        self.gates.wait(service, deadline)
    }

    /// A request id, unique in this process: 16 hex digits.
    pub fn request_id(&self) -> RequestId {
        let count = self.requests.get().wrapping_add(1);
        self.requests.set(count);
        let mut text = String::with_capacity(16);
        // Writing to a String can't fail.
        let _ = write!(text, "{:08x}{:08x}", self.id_prefix, count & 0xFFFF_FFFF);
        RequestId(text)
    }

    /// An empty buffer, perhaps a used one.
    pub fn buffer(&self) -> Vec<u8> {
        self.buffers.borrow_mut().pop().unwrap_or_default()
    }

    /// Gives a buffer back.
    pub fn recycle(&self, mut buffer: Vec<u8>) {
        let mut kept = self.buffers.borrow_mut();
        if kept.len() < BUFFERS_KEPT && buffer.capacity() > 0 {
            buffer.clear();
            kept.push(buffer);
        }
    }

    /// A connection gets its coroutine; counted until the guard is dropped.
    pub fn work(self: &Rc<Self>) -> Work {
        self.active.set(self.active.get() + 1);
        Work { core: Rc::clone(self) }
    }

    /// Whether the program is ending: answers say `Connection: close`.
    pub fn draining(&self) -> bool {
        self.draining.get()
    }

    /// A new listener, and what ends its accept loop.
    pub fn accepting(&self, id: ListenerId) -> Abort {
        let abort = Abort::new();
        if self.draining() {
            abort.fire();
        }
        self.accepting.borrow_mut().insert(id, Accepting { abort: abort.clone(), told: None });
        abort
    }

    /// The accept loop of a listener has ended, and the listener is closed.
    pub fn accepted(&self, id: ListenerId) {
        let ended = self.accepting.borrow_mut().remove(&id);
        if let Some(told) = ended.and_then(|accepting| accepting.told) {
            // The other side may have given up waiting.
            let _ = told.try_send(());
        }
    }

    /// Ends the accept loop of a listener; `told` hears when it is closed, at once if it was before.
    pub fn stop_accepting(&self, id: ListenerId, told: Sender<()>) {
        let abort = match self.accepting.borrow_mut().get_mut(&id) {
            Some(accepting) => {
                accepting.told = Some(told);
                accepting.abort.clone()
            }
            None => {
                let _ = told.try_send(());
                return;
            }
        };
        abort.fire();
    }

    /// From now on each connection ends after its exchange; `told` hears when none is in work.
    pub fn drain(&self, told: Sender<()>) {
        self.draining.set(true);
        let aborts: Vec<Abort> = self.accepting.borrow().values().map(|a| a.abort.clone()).collect();
        aborts.iter().for_each(Abort::fire);
        *self.drained.borrow_mut() = Some(told);
        self.tell_drained();
    }

    fn tell_drained(&self) {
        if self.active.get() == 0
            && let Some(told) = self.drained.borrow_mut().take()
        {
            // The other side may have given up waiting.
            let _ = told.try_send(());
        }
    }
}

/// A listener that accepts.
struct Accepting {
    abort: Abort,
    /// Who waits for it to be closed.
    told: Option<Sender<()>>,
}

/// A request in flight at an endpoint.
pub(super) struct InFlight {
    core: Rc<Core>,
    key: EndpointKey,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.core.leases.borrow_mut().end(&self.key, runtime::now());
    }
}

/// A connection in work.
pub(super) struct Work {
    core: Rc<Core>,
}

impl Drop for Work {
    fn drop(&mut self) {
        self.core.active.set(self.core.active.get() - 1);
        self.core.tell_drained();
    }
}

/// The id of a request, in answers and in the log.
pub(super) struct RequestId(String);

impl RequestId {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
