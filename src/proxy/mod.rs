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
mod redirect;
mod upload;

use crate::limits::CORE_TICK;
use crate::net::BoundListener;
use crate::net::tls::CertStore;
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
    pub own_listeners: Vec<SocketAddr>,
    /// The port that plain requests are sent to when their route wants HTTPS; none without HTTPS.
    pub https_port: Option<u16>,
    /// The certificates of HTTPS.
    pub certs: Arc<CertStore>,
    /// Seed of request ids.
    pub seed: u32,
    /// Client connections at once.
    cap: usize,
    connections: AtomicUsize,
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
}

impl Shared {
    /// What the cores of one process share.
    pub fn new(setup: Setup) -> Arc<Self> {
        let Setup { publisher, instance, own_listeners, https_port, certs, seed, cap } = setup;
        let connections = AtomicUsize::new(0);
        Arc::new(Shared { publisher, instance, own_listeners, https_port, certs, seed, cap, connections })
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

/// The listeners of each core, taken by the core when it starts.
pub type Listeners = Locked<Vec<Vec<Entrance>>>;

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
    let core = core::Core::new(Arc::clone(shared), shared.seed ^ ((id.index() as u32) << 24));
    CORE.set(Some(Rc::clone(&core)));
    let ticking = Rc::clone(&core);
    runtime::every(CORE_TICK, move || ticking.tick());
    let own = listeners.with(|all| all.pop()).unwrap_or_default();
    for entrance in own {
        let core = Rc::clone(&core);
        let spawned = runtime::spawn(move || connection::accept_loop(&core, entrance));
        if let Err(error) = spawned {
            log::error!("core {id:?} can't accept: {error}");
        }
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
