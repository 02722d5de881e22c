//! The listeners of all cores, bound before a core is told of them: a taken port is an error of the start, or
//! refuses a reload as a whole.

use super::StartError;
use super::inherited::Inherited;
use crate::config::{Config, ListenAddr};
use crate::error::{Place, Problem};
use crate::limits::{FALLBACK_PORT, RELOAD_PATIENCE, TELL_AGAIN};
use crate::net::{self, BindError, BoundListener};
use crate::proxy::{self, Entrance, ListenerId, Protocol};
use crate::runtime::{CoreHandle, Full};
use crate::util::Locked;
use crossbeam_channel::bounded;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

/// Where it listens.
#[derive(Default)]
pub(super) struct Listeners {
    open: Vec<Open>,
    /// The plain ones were handed down and nobody has said others.
    inherited: bool,
    next: ListenerId,
}

struct Open {
    id: ListenerId,
    /// As the configuration has it.
    listen: ListenAddr,
    protocol: Protocol,
    addr: SocketAddr,
}

/// What each core accepts from.
pub(super) type PerCore = Vec<Vec<(ListenerId, Entrance)>>;

/// Listeners that no core has yet.
pub(super) struct Bound(Vec<(ListenAddr, Protocol, SocketAddr, Vec<BoundListener>)>);

/// The difference between what is listened on and what should be.
pub(super) struct Difference {
    new: Bound,
    gone: Vec<ListenerId>,
}

impl Listeners {
    /// Binds every address of the configuration once per core: what the cores start with.
    pub fn bind_all(config: &Config, cores: usize) -> Result<(Listeners, PerCore), StartError> {
        let mut handed = Inherited::take();
        let mut listeners = Listeners { inherited: handed_only(config, &handed), ..Listeners::default() };
        let plain = if listeners.inherited { addresses(&handed) } else { config.http_addr.clone() };
        let mut bound = Bound(Vec::new());
        let mut all = Vec::new();
        for listen in plain {
            match handed.at(listen.addr, cores)? {
                Some(copies) => {
                    log::info!("{} is inherited", listen.addr);
                    bound.0.push((listen.clone(), Protocol::Http, listen.addr, copies));
                }
                None => all.push((listen, Protocol::Http)),
            }
        }
        handed.finish();
        all.extend(config.https_addr.iter().map(|listen| (listen.clone(), Protocol::Https)));
        bound.0.extend(bind(&all, &[], config.http_addr_is_default, cores)?.0);
        let mut per_core: PerCore = (0..cores).map(|_| Vec::new()).collect();
        for (listen, protocol, addr, copies) in bound.0 {
            let id = listeners.add(listen, protocol, addr);
            for (core, listener) in per_core.iter_mut().zip(copies) {
                core.push((id, Entrance { listener, protocol }));
            }
        }
        Ok((listeners, per_core))
    }

    /// The addresses that are listened on.
    pub fn addrs(&self) -> Vec<SocketAddr> {
        self.open.iter().map(|open| open.addr).collect()
    }

    /// Those where clients speak `protocol`.
    pub fn addrs_of(&self, protocol: Protocol) -> Vec<SocketAddr> {
        self.open.iter().filter(|open| open.protocol == protocol).map(|open| open.addr).collect()
    }

    /// Where plain requests are sent that belong to HTTPS: the first port that the configuration says.
    pub fn https_port(&self, config: &Config) -> Option<u16> {
        let first = config.https_addr.first()?;
        let same = |open: &&Open| open.protocol == Protocol::Https && open.is(first);
        self.open.iter().find(same).map(|open| open.addr.port())
    }

    /// Compares with another configuration and binds what is new. Nothing else is touched.
    ///
    /// # Errors
    /// An address that can't be had.
    pub fn difference(&self, config: &Config, cores: usize) -> Result<Difference, StartError> {
        let mut gone: Vec<&Open> = self.open.iter().collect();
        let mut new = Vec::new();
        for (listen, protocol) in self.wanted(config) {
            let same = |open: &&Open| open.protocol == protocol && open.is(&listen);
            match gone.iter().position(same) {
                Some(at) => drop(gone.remove(at)),
                None => new.push((listen, protocol)),
            }
        }
        let leaving: Vec<SocketAddr> = gone.iter().map(|open| open.addr).collect();
        let new = bind(&new, &leaving, config.http_addr_is_default, cores)?;
        Ok(Difference { new, gone: gone.iter().map(|open| open.id).collect() })
    }

    /// What should be listened on. Listeners that were handed down stay until somebody says others.
    fn wanted(&self, config: &Config) -> Vec<(ListenAddr, Protocol)> {
        let kept = self.inherited && config.http_addr_is_default;
        let open = self.open.iter().filter(|open| open.protocol == Protocol::Http);
        let plain: Vec<ListenAddr> = match kept {
            true => open.map(|open| open.listen.clone()).collect(),
            false => config.http_addr.clone(),
        };
        let plain = plain.into_iter().map(|listen| (listen, Protocol::Http));
        plain.chain(config.https_addr.iter().map(|listen| (listen.clone(), Protocol::Https))).collect()
    }

    /// Hands what is new to the cores; says where.
    pub fn open(&mut self, new: Bound, cores: &[CoreHandle]) -> Vec<SocketAddr> {
        let mut addrs = Vec::new();
        for (listen, protocol, addr, copies) in new.0 {
            let id = self.add(listen, protocol, addr);
            for (core, listener) in cores.iter().zip(copies) {
                let copy = Arc::new(Locked::new(Some(Entrance { listener, protocol })));
                if !persist(|| proxy::open_listener(core, id, &copy)) {
                    log::error!("core {:?} is too busy to listen on {addr}", core.id());
                }
            }
            addrs.push(addr);
        }
        addrs
    }

    /// Closes what is gone, once the backlogs are empty; says where it was.
    pub fn close(&mut self, gone: &[ListenerId], cores: &[CoreHandle]) -> Vec<SocketAddr> {
        let (told, heard) = bounded(cores.len() * gone.len());
        for id in gone {
            for core in cores {
                if !persist(|| proxy::close_listener(core, *id, &told)) {
                    log::error!("core {:?} is too busy to close a listener", core.id());
                }
            }
        }
        drop(told);
        let deadline = super::now() + RELOAD_PATIENCE;
        for _ in 0..cores.len() * gone.len() {
            if heard.recv_deadline(deadline).is_err() {
                log::warn!("a listener is still being closed");
                break;
            }
        }
        let (closed, open) = self.open.drain(..).partition(|open: &Open| gone.contains(&open.id));
        self.open = open;
        closed.iter().map(|open: &Open| open.addr).collect()
    }

    fn add(&mut self, listen: ListenAddr, protocol: Protocol, addr: SocketAddr) -> ListenerId {
        self.next += 1;
        self.open.push(Open { id: self.next, listen, protocol, addr });
        self.next
    }
}

impl Open {
    fn is(&self, listen: &ListenAddr) -> bool {
        self.listen.addr == listen.addr && self.listen.dual_stack == listen.dual_stack
    }
}

impl Difference {
    /// What to open, and what to close.
    pub fn into_parts(self) -> (Bound, Vec<ListenerId>) {
        (self.new, self.gone)
    }
}

/// Tries again while a core's queue is full.
fn persist(mut post: impl FnMut() -> Result<(), Full>) -> bool {
    let deadline: Instant = super::now() + RELOAD_PATIENCE;
    loop {
        match post() {
            Ok(()) => return true,
            Err(Full) if super::now() >= deadline => return false,
            #[allow(clippy::disallowed_methods)] // the reload's own thread may wait
            Err(Full) => std::thread::sleep(TELL_AGAIN),
        }
    }
}

/// Binds `all`, each once per core. `leaving`: our own listeners that will be closed and may be overlapped.
fn bind(
    all: &[(ListenAddr, Protocol)],
    leaving: &[SocketAddr],
    is_default: bool,
    cores: usize,
) -> Result<Bound, StartError> {
    let mut bound = Bound(Vec::new());
    for (listen, protocol) in all {
        let overlaps = |own: &SocketAddr| {
            let is_any = own.ip().is_unspecified() || listen.addr.ip().is_unspecified();
            own.port() == listen.addr.port() && (is_any || own.ip() == listen.addr.ip())
        };
        let copies = match leaving.iter().any(overlaps) {
            true => net::bind_over(listen.addr, listen.dual_stack, cores),
            false => net::bind(listen.addr, listen.dual_stack, cores),
        };
        let copies = match copies {
            Err(BindError::Denied { .. }) if is_default && *protocol == Protocol::Http => {
                fall_back(listen, cores)?
            }
            copies => copies.map_err(|error| problem(listen, &error))?,
        };
        if let Some(first) = copies.first() {
            let addr = first.local_addr()?;
            bound.0.push((listen.clone(), *protocol, addr, copies));
        }
    }
    Ok(bound)
}

/// Whether listeners were handed down and nobody said where to listen.
fn handed_only(config: &Config, handed: &Inherited) -> bool {
    config.http_addr_is_default && !handed.addrs().is_empty()
}

fn addresses(handed: &Inherited) -> Vec<ListenAddr> {
    let place = Place::Env { name: "LISTEN_FDS".into() };
    let addrs = handed.addrs().into_iter();
    addrs.map(|addr| ListenAddr { addr, dual_stack: false, place: place.clone() }).collect()
}

/// Without the right to port 80, and if nobody asked for it, 8080 takes its place.
fn fall_back(listen: &ListenAddr, cores: usize) -> Result<Vec<BoundListener>, StartError> {
    let addr = SocketAddr::new(listen.addr.ip(), FALLBACK_PORT);
    log::warn!(
        "no right to listen on port {}: listening on {FALLBACK_PORT} instead (set entrypoint.http_addr, or give CAP_NET_BIND_SERVICE)",
        listen.addr.port()
    );
    net::bind(addr, listen.dual_stack, cores).map_err(|error| problem(listen, &error))
}

fn problem(listen: &ListenAddr, error: &BindError) -> StartError {
    StartError::Problem(Problem::new(listen.place.clone(), error.to_string()))
}
