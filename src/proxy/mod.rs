//! The data plane on the cores: a request's way from accept to the answer.
//!
//! ```text
//! accept → connection loop → http::parse_request → route look-up → gate → InFlight
//!        → upstream: checkout or connect → forward → drop(InFlight)
//! ```
//!
//! A connection has a coroutine from the moment a whole head is buffered until the answer is sent; between
//! requests it is a descriptor, a timer and a few words.

mod answer;
mod connection;
mod core;
mod download;
mod exchange;
mod reach;
mod record;
mod upload;

use crate::access_log::AccessLog;
use crate::limits::CORE_TICK;
use crate::metrics::Metrics;
use crate::net::BoundListener;
use crate::runtime::{self, CoreHandle, CoreId};
use crate::snapshot::Publisher;
use crate::util::Locked;
use crossbeam_channel::Sender;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What all cores share; nothing here is touched per request except by an atomic load.
pub struct Shared {
    /// Where snapshots come from.
    pub publisher: Arc<Publisher>,
    /// Names this process in the `Via` field: a request that carries it has come back (508).
    pub instance: String,
    /// Addresses of our own listeners: an upstream that is one of them is refused.
    own_listeners: Locked<Arc<[SocketAddr]>>,
    /// Seed of request ids.
    pub seed: u32,
    /// Who is told of what happens.
    pub observers: Observers,
    /// Client connections at once.
    cap: usize,
    connections: AtomicUsize,
}

/// Who is told of what happens on the cores.
#[derive(Clone)]
pub struct Observers {
    /// Counts, with a block for each core.
    pub metrics: Arc<Metrics>,
    /// The access log, on or off.
    pub access_log: Arc<AccessLog>,
}

impl Shared {
    /// What the cores of one process share; `cap` is how many client connections there may be at once.
    pub fn new(
        publisher: Arc<Publisher>,
        instance: String,
        own_listeners: Vec<SocketAddr>,
        seed: u32,
        cap: usize,
        observers: Observers,
    ) -> Arc<Self> {
        let (own_listeners, connections) = (Locked::new(own_listeners.into()), AtomicUsize::new(0));
        Arc::new(Shared { publisher, instance, own_listeners, seed, observers, cap, connections })
    }

    /// Replaces the addresses of our own listeners.
    pub fn set_own_listeners(&self, addrs: Vec<SocketAddr>) {
        self.own_listeners.with(|own| *own = addrs.into());
    }

    /// The addresses of our own listeners; asked once per upstream connect.
    fn own_listeners(&self) -> Arc<[SocketAddr]> {
        self.own_listeners.with(|own| Arc::clone(own))
    }

    /// Counts a client connection in, unless as many are open as there may be.
    fn admit(self: &Arc<Self>) -> Option<Admitted> {
        let before = self.connections.fetch_add(1, Ordering::Relaxed);
        let admitted = Admitted { shared: Arc::clone(self) };
        (before < self.cap).then_some(admitted)
    }
}

/// A client connection that counts towards the cap until it is dropped.
struct Admitted {
    shared: Arc<Shared>,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.shared.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A number that a listener has on all cores; never used again.
pub type ListenerId = u64;

/// The listeners of each core, taken by the core when it starts.
pub type Listeners = Locked<Vec<Vec<(ListenerId, BoundListener)>>>;

thread_local! {
    static CORE: RefCell<Option<Rc<core::Core>>> = const { RefCell::new(None) };
}

/// The first thing that runs on each core: takes its listeners and accepts.
pub fn start_core(id: CoreId, shared: &Arc<Shared>, listeners: &Listeners) {
    let core = core::Core::new(Arc::clone(shared), id.index());
    CORE.set(Some(Rc::clone(&core)));
    let ticking = Rc::clone(&core);
    runtime::every(CORE_TICK, move || ticking.tick());
    let own = listeners.with(|all| all.pop()).unwrap_or_default();
    for (number, listener) in own {
        accept(&core, number, listener);
    }
}

/// Has a core accept from one more listener, which is taken from `listener`.
///
/// # Errors
/// The core is too busy to be told; the listener is still there.
pub fn open_listener(
    core: &CoreHandle,
    id: ListenerId,
    listener: &Arc<Locked<Option<BoundListener>>>,
) -> Result<(), runtime::Full> {
    let listener = Arc::clone(listener);
    core.post(move || {
        with_core(|core| {
            if let Some(listener) = listener.with(Option::take) {
                accept(core, id, listener);
            }
        });
    })
}

/// Has a core close a listener, once its backlog is empty; `told` hears when it is closed. Its connections
/// live on.
///
/// # Errors
/// The core is too busy to be told.
pub fn close_listener(core: &CoreHandle, id: ListenerId, told: &Sender<()>) -> Result<(), runtime::Full> {
    let told = told.clone();
    core.post(move || with_core(|core| core.stop_accepting(id, told)))
}

fn accept(core: &Rc<core::Core>, id: ListenerId, listener: BoundListener) {
    let accepting = core.accepting(id);
    let own = Rc::clone(core);
    let spawned = runtime::spawn(move || {
        connection::accept_loop(&own, listener, &accepting);
        own.accepted(id);
    });
    if let Err(error) = spawned {
        log::error!("core {:?} can't accept: {error}", runtime::current());
        core.accepted(id);
    }
}

/// Tells every core that a new snapshot is published. A core whose queue is full hears of it with the next
/// call; each request looks at the generation anyway.
pub fn announce(cores: &[CoreHandle]) -> bool {
    let busy = cores.iter().filter(|core| core.post(|| with_core(|core| core.changed())).is_err()).count();
    busy == 0
}

/// Ends each core's connections after the exchange they are in; `told` gets one message per core that has
/// none left in work. Listeners close.
pub fn drain(cores: &[CoreHandle], told: &Sender<()>) {
    for core in cores {
        let told = told.clone();
        if core.post(move || with_core(|core| core.drain(told))).is_err() {
            log::warn!("core {:?} is too busy to be told of the drain", core.id());
        }
    }
}

fn with_core(f: impl FnOnce(&Rc<core::Core>)) {
    let core = CORE.with_borrow(Clone::clone);
    if let Some(core) = core {
        f(&core);
    }
}
