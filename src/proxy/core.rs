//! What one core owns: its view of the snapshot, leases, pools, gates and counts. Never shared: everything
//! here is `Rc`, `Cell` and `RefCell`, and no borrow lives across a wait.

use super::bulk::Pipes;
use super::peer::Peer;
use super::{ListenerId, Shared};
use crate::access::Verified;
use crate::access_log::Queue;
use crate::gate::{Gates, Passed};
use crate::lifecycle::{CoreLeases, Refused};
use crate::limits::{BUFFERS_KEPT, DRAIN_ASK, HASH_PER_CLIENT};
use crate::metrics::{CoreMetrics, Refusal, RouteTally};
use crate::route::Entrypoint;
use crate::runtime::{self, Abort, LocalWaker};
use crate::snapshot::{CoreView, Endpoint, EndpointKey, Run, Snapshot};
use crate::upstream::Upstreams;
use crate::util::hash::BuildFold;
use crossbeam_channel::Sender;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// The state of one core.
pub(super) struct Core {
    pub shared: Arc<Shared>,
    pub upstreams: Upstreams,
    /// What this core counts.
    pub metrics: Arc<CoreMetrics>,
    /// This core's queue to the access log, and the version of the setup that it is of.
    access_log: RefCell<Option<Queue>>,
    access_log_version: Cell<u64>,
    /// The routes that were asked for since the last snapshot.
    routes: RefCell<HashMap<Arc<str>, Rc<CountedRoute>, BuildFold>>,
    /// Dropped lines of the access log that were said.
    drops_said: Cell<u64>,
    /// What long bodies go through.
    pub pipes: Pipes,
    /// Refused connections that were said, and whose the last was, by [`Refusal::index`].
    refusals_said: RefCell<[(u64, Option<IpAddr>); Refusal::ALL.len()]>,
    gates: Gates,
    view: RefCell<CoreView>,
    leases: RefCell<CoreLeases<EndpointKey, Run>>,
    buffers: RefCell<Vec<Vec<u8>>>,
    /// Credentials that were right lately.
    verified: RefCell<Verified>,
    /// Passwords that are being verified, by client.
    verifying: RefCell<HashMap<u64, u32>>,
    /// Connections in work: those that have a coroutine.
    active: Cell<usize>,
    /// Connections whose request is on its way: fresh ones, and those that have sent a part of a head.
    asking: Cell<usize>,
    drained: RefCell<Option<Sender<()>>>,
    /// While it drains: how long those who are asking are waited for.
    draining: Cell<Option<Instant>>,
    /// The listeners.
    accepting: RefCell<HashMap<ListenerId, Accepting>>,
    requests: Cell<u64>,
    index: usize,
    id_prefix: u32,
}

impl Core {
    pub fn new(shared: Arc<Shared>, index: usize) -> Rc<Core> {
        let view = CoreView::new(Arc::clone(&shared.publisher));
        let id_prefix = shared.seed ^ ((index as u32) << 24);
        let observers = &shared.observers;
        let metrics = observers.metrics.core(index);
        let access_log_version = Cell::new(observers.access_log.version());
        let access_log = RefCell::new(observers.access_log.queue());
        Rc::new(Core {
            shared,
            upstreams: Upstreams::default(),
            metrics,
            access_log,
            access_log_version,
            routes: RefCell::default(),
            drops_said: Cell::new(0),
            pipes: Pipes::default(),
            refusals_said: RefCell::default(),
            gates: Gates::default(),
            view: RefCell::new(view),
            leases: RefCell::new(CoreLeases::new()),
            buffers: RefCell::default(),
            verified: RefCell::new(Verified::new(&random_key())),
            verifying: RefCell::default(),
            active: Cell::new(0),
            asking: Cell::new(0),
            drained: RefCell::default(),
            draining: Cell::new(None),
            accepting: RefCell::default(),
            requests: Cell::new(0),
            index,
            id_prefix,
        })
    }

    /// The current snapshot; one atomic load when nothing has changed.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(self.view.borrow_mut().snapshot())
    }

    /// Asks what holds for all clients now; `ask` must not wait.
    pub fn entrypoint<R>(&self, ask: impl FnOnce(&Entrypoint) -> R) -> R {
        ask(&self.view.borrow_mut().snapshot().entrypoint)
    }

    /// A new snapshot was published: whoever waits looks again, and what is no longer current ends.
    pub fn changed(&self) {
        let snapshot = self.snapshot();
        let open = |serial| snapshot.open.contains(&serial);
        let usable = |serial| snapshot.open.contains(&serial) && !snapshot.held.contains(&serial);
        self.upstreams.keep_only(open, usable);
        let ended = |key: &EndpointKey| !snapshot.open_keys.contains(key);
        self.leases.borrow_mut().drain_where(runtime::now(), ended);
        self.routes.borrow_mut().clear();
        self.gates.open_all();
    }

    /// Called about once a second.
    pub fn tick(&self) {
        let now = runtime::now();
        self.leases.borrow_mut().tick(now);
        self.upstreams.sweep(now);
        self.pipes.trim();
        self.metrics.coroutines.set(runtime::coroutines() as u64);
        self.metrics.upstream_idle.set(self.upstreams.idle() as u64);
        self.with_access_log(|_| ());
        let dropped = self.metrics.access_lines_dropped.get();
        let unsaid = dropped - self.drops_said.replace(dropped);
        if unsaid > 0 {
            log::warn!("access log: {unsaid} lines dropped, its writer is too slow or blocked");
        }
        self.say_refusals();
    }

    /// A client's connection gets no service.
    pub fn refused(&self, refusal: Refusal, peer: IpAddr) {
        self.metrics.refused[refusal.index()].add(1);
        self.refusals_said.borrow_mut()[refusal.index()].1 = Some(peer);
    }

    /// Says what was refused since the last time: a line a tick, however many there were.
    fn say_refusals(&self) {
        for refusal in Refusal::ALL {
            let refused = self.metrics.refused[refusal.index()].get();
            let (before, last) = {
                let mut said = self.refusals_said.borrow_mut();
                let (before, last) = said[refusal.index()];
                said[refusal.index()] = (refused, None);
                (before, last)
            };
            if let Some(last) = last {
                let count = refused.wrapping_sub(before);
                log::warn!("{}: {count} refused, the last from {last}", refusal.in_words());
            }
        }
    }

    /// Where the requests of `alias` are counted.
    pub fn counted_route(&self, alias: &Arc<str>) -> Rc<CountedRoute> {
        if let Some(route) = self.routes.borrow().get(alias) {
            return Rc::clone(route);
        }
        let tally = self.shared.observers.metrics.routes.of(alias, self.index);
        let tally = tally.unwrap_or_else(|| Arc::clone(&self.metrics.unrouted));
        let route = Rc::new(CountedRoute { alias: Arc::clone(alias), tally });
        self.routes.borrow_mut().insert(Arc::clone(alias), Rc::clone(&route));
        route
    }

    /// Runs `f` with this core's queue to the access log, if that is on. `f` must not wait.
    pub fn with_access_log<R>(&self, f: impl FnOnce(&Queue) -> R) -> Option<R> {
        let log = &self.shared.observers.access_log;
        let version = log.version();
        if self.access_log_version.replace(version) != version {
            let queue = log.queue();
            *self.access_log.borrow_mut() = queue;
        }
        self.access_log.borrow().as_ref().map(f)
    }

    /// Counts a request in at `endpoint`, until the guard is dropped.
    pub fn begin(self: &Rc<Self>, endpoint: &Endpoint) -> Result<InFlight, Refused> {
        self.leases.borrow_mut().begin(&endpoint.entry, runtime::now())?;
        Ok(InFlight { core: Rc::clone(self), key: endpoint.entry.key().clone() })
    }

    /// Counts a connection to `endpoint` in, until the guard is dropped; none if there are `most` already.
    pub fn occupy(self: &Rc<Self>, service: &Arc<str>, endpoint: &Endpoint, most: u32) -> Option<Occupied> {
        let more = |busy: u32| (busy < most).then(|| busy + 1);
        endpoint.busy.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        let (core, service, busy) = (Rc::clone(self), Arc::clone(service), Arc::clone(&endpoint.busy));
        Some(Occupied { core, service, busy })
    }

    /// Waits at the gate of `service`; `leaving` gets what wakes it before its time.
    pub fn wait(
        &self,
        service: &Arc<str>,
        deadline: Instant,
        leaving: impl FnOnce(LocalWaker),
    ) -> io::Result<Passed> {
        self.metrics.gate_waiting.add(1);
        let passed = self.gates.wait(service, deadline, leaving);
        self.metrics.gate_waiting.take(1);
        passed
    }

    /// A request id, unique in this process: 16 hex digits.
    pub fn request_id(&self) -> RequestId {
        let count = self.requests.get().wrapping_add(1);
        self.requests.set(count);
        RequestId::new(u64::from(self.id_prefix) << 32 | count & 0xFFFF_FFFF)
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

    /// Asks or changes what credentials were right lately; `f` must not wait.
    pub fn verified<R>(&self, f: impl FnOnce(&mut Verified) -> R) -> R {
        f(&mut self.verified.borrow_mut())
    }

    /// A password of `peer` is being verified until the guard is dropped; none if too many are already.
    pub fn verifying(self: &Rc<Self>, peer: Peer) -> Option<Verifying> {
        let client = peer.network();
        let mut all = self.verifying.borrow_mut();
        let count = all.entry(client).or_insert(0);
        (*count < HASH_PER_CLIENT).then(|| {
            *count += 1;
            Verifying { core: Rc::clone(self), client }
        })
    }

    /// A connection gets its coroutine; counted until the guard is dropped.
    pub fn work(self: &Rc<Self>) -> Work {
        self.active.set(self.active.get() + 1);
        Work { core: Rc::clone(self) }
    }

    /// Whether the program is ending: answers say `Connection: close`.
    pub fn draining(&self) -> bool {
        self.draining.get().is_some()
    }

    /// Until when a client may ask that could until `deadline`: less while the program is ending.
    pub fn may_ask_until(&self, deadline: Instant) -> Instant {
        self.draining.get().map_or(deadline, |until| deadline.min(until))
    }

    /// A connection is asking, or is no more.
    pub fn asking(&self, is_asking: bool) {
        match is_asking {
            true => self.asking.set(self.asking.get() + 1),
            false => {
                self.asking.set(self.asking.get() - 1);
                self.tell_drained();
            }
        }
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
        if self.draining() && self.accepting.borrow().is_empty() {
            // Those that came last.
            runtime::rouse_waiting();
            self.tell_drained();
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

    /// From now on each connection ends after its exchange, and those without one end at once; `told` hears when
    /// none is in work or about to be, and no listener is open.
    pub fn drain(&self, told: Sender<()>) {
        self.draining.set(Some(runtime::now() + DRAIN_ASK));
        let aborts: Vec<Abort> = self.accepting.borrow().values().map(|a| a.abort.clone()).collect();
        aborts.iter().for_each(Abort::fire);
        *self.drained.borrow_mut() = Some(told);
        runtime::rouse_waiting();
        self.tell_drained();
    }

    fn tell_drained(&self) {
        if self.active.get() == 0
            && self.asking.get() == 0
            && self.accepting.borrow().is_empty()
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

/// A route by its name, and where its requests are counted. Of this core alone, so that a request changes no
/// count that another core changes.
pub(super) struct CountedRoute {
    pub alias: Arc<str>,
    pub tally: Arc<RouteTally>,
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

/// A connection that counts towards `max_conns_per_host`.
pub(super) struct Occupied {
    core: Rc<Core>,
    service: Arc<str>,
    busy: Arc<AtomicU32>,
}

impl Drop for Occupied {
    fn drop(&mut self) {
        self.busy.fetch_sub(1, Ordering::Relaxed);
        self.core.gates.open(&self.service);
    }
}

/// A password that is being verified.
pub(super) struct Verifying {
    core: Rc<Core>,
    client: u64,
}

impl Drop for Verifying {
    fn drop(&mut self) {
        let mut all = self.core.verifying.borrow_mut();
        if let Some(count) = all.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.client);
            }
        }
    }
}

/// A key that leaves the core nowhere.
fn random_key() -> [u8; 32] {
    let mut key = [0; 32];
    if ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut key).is_err() {
        log::error!("the system gives no random numbers");
    }
    key
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
pub(super) struct RequestId([u8; 16]);

impl RequestId {
    fn new(number: u64) -> Self {
        RequestId(std::array::from_fn(|digit| {
            b"0123456789abcdef"[(number >> (60 - 4 * digit)) as usize & 15]
        }))
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}
