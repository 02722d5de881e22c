//! The data plane on the cores: a request's way from accept to the answer.
//!
//! ```text
//! accept → connection loop → http::parse_request → route look-up → access rules → gate → InFlight
//!        → upstream: checkout or connect → forward → drop(InFlight)
//! ```
//!
//! A connection has a coroutine from the moment a whole head is buffered until the answer is sent; between
//! requests it is a descriptor, a timer and a few words.

mod answer;
mod bulk;
mod connection;
mod core;
mod download;
mod exchange;
mod guard;
mod local;
mod opening;
mod peer;
mod reach;
mod record;
mod redirect;
mod tunnel;
mod upload;
mod watch;

use crate::access_log::AccessLog;
use crate::limits::{CONNECTIONS_PER_PIPE, CORE_TICK, PIPES_PER_CORE};
use crate::metrics::{Metrics, Refusal};
use crate::net::BoundListener;
use crate::net::tls::CertStore;
use crate::runtime::{self, CoreHandle, CoreId};
use crate::snapshot::Publisher;
use crate::util::Locked;
use crossbeam_channel::Sender;
use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

/// What all cores share; nothing here is touched per request except by an atomic load.
pub struct Shared {
    /// Where snapshots come from.
    pub publisher: Arc<Publisher>,
    /// Names this process in the `Via` field: a request that carries it has come back (508).
    pub instance: String,
    /// Addresses of our own listeners: an upstream that is one of them is refused.
    own_listeners: Locked<Arc<[SocketAddr]>>,
    /// The port that plain requests are sent to when their route wants HTTPS; 0 without HTTPS.
    https_port: AtomicU16,
    /// The certificates of HTTPS.
    pub certs: Arc<CertStore>,
    /// Seed of request ids.
    pub seed: u32,
    /// Who is told of what happens.
    pub observers: Observers,
    /// Client connections at once.
    cap: usize,
    connections: AtomicUsize,
    /// Open connections by client ([`peer::Peer::network`]): touched once when one is accepted and once when it ends.
    clients: Locked<HashMap<u64, u32>>,
}

/// Who is told of what happens on the cores.
#[derive(Clone)]
pub struct Observers {
    /// Counts, with a block for each core.
    pub metrics: Arc<Metrics>,
    /// The access log, on or off.
    pub access_log: Arc<AccessLog>,
}

/// What [`Shared`] is made from.
pub struct Setup {
    /// Where snapshots come from.
    pub publisher: Arc<Publisher>,
    /// Names this process in the `Via` field.
    pub instance: String,
    /// Addresses of our own listeners.
    pub own_listeners: Vec<SocketAddr>,
    /// The port of HTTPS, if it is served.
    pub https_port: Option<u16>,
    /// Its certificates.
    pub certs: Arc<CertStore>,
    /// Seed of request ids.
    pub seed: u32,
    /// How many client connections there may be at once.
    pub cap: usize,
    /// Who is told of what happens.
    pub observers: Observers,
}

impl Shared {
    /// What the cores of one process share.
    pub fn new(setup: Setup) -> Arc<Self> {
        let Setup { publisher, instance, own_listeners, https_port, certs, seed, cap, observers } = setup;
        let (connections, clients) = (AtomicUsize::new(0), Locked::new(HashMap::new()));
        let own_listeners = Locked::new(own_listeners.into());
        let https_port = AtomicU16::new(https_port.unwrap_or(0));
        Arc::new(Shared {
            publisher,
            instance,
            own_listeners,
            https_port,
            certs,
            seed,
            observers,
            cap,
            connections,
            clients,
        })
    }

    /// Pipes that one core may have: few where connections are few because descriptors are.
    fn pipes_per_core(&self) -> usize {
        PIPES_PER_CORE.min(self.cap / CONNECTIONS_PER_PIPE)
    }

    /// Replaces the addresses of our own listeners.
    pub fn set_own_listeners(&self, addrs: Vec<SocketAddr>) {
        self.own_listeners.with(|own| *own = addrs.into());
    }

    /// Replaces the port that plain requests are sent to; none: they are served as they are.
    pub fn set_https_port(&self, port: Option<u16>) {
        self.https_port.store(port.unwrap_or(0), Ordering::Relaxed);
    }

    /// The port that plain requests are sent to.
    fn https_port(&self) -> Option<u16> {
        Some(self.https_port.load(Ordering::Relaxed)).filter(|port| *port != 0)
    }

    /// The addresses of our own listeners; asked once per upstream connect.
    fn own_listeners(&self) -> Arc<[SocketAddr]> {
        self.own_listeners.with(|own| Arc::clone(own))
    }

    /// Counts a client connection in, unless as many are open as there may be, in all or from its network.
    fn admit(&self, network: u64, per_client: u32) -> Result<(), Refusal> {
        let before = self.connections.fetch_add(1, Ordering::Relaxed);
        let of_client = self.clients.with(|clients| {
            let count = clients.entry(network).or_insert(0_u32);
            *count += 1;
            *count
        });
        let refusal = match () {
            () if before >= self.cap => Refusal::TooMany,
            () if of_client > per_client => Refusal::TooManyOfClient,
            () => return Ok(()),
        };
        self.dismiss(network);
        Err(refusal)
    }

    /// A connection that was counted in has ended.
    fn dismiss(&self, network: u64) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
        self.clients.with(|clients| {
            let left = clients.get_mut(&network).map(|count| {
                *count = count.saturating_sub(1);
                *count
            });
            if left == Some(0) {
                clients.remove(&network);
            }
        });
    }
}

/// A number that a listener has on all cores; never used again.
pub type ListenerId = u64;

/// The listeners of each core, taken by the core when it starts.
pub type Listeners = Locked<Vec<Vec<(ListenerId, Entrance)>>>;

/// A listener and what is spoken there.
pub struct Entrance {
    pub listener: BoundListener,
    pub protocol: Protocol,
}

/// What clients of a listener speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http,
    Https,
}

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
    listener: &Arc<Locked<Option<Entrance>>>,
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

fn accept(core: &Rc<core::Core>, id: ListenerId, listener: Entrance) {
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
