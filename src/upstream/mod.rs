//! Per-core pools of idle connections to endpoints, and connects that are aborted when their endpoint is no
//! longer current.

use crate::limits::{UPSTREAM_IDLE_PER_ENDPOINT, UPSTREAM_IDLE_TIMEOUT};
use crate::net::Stream;
use crate::net::tls::{self, TlsTarget};
use crate::runtime::Abort;
use crate::util::hash::BuildFold;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

/// Which pool a connection belongs to: the endpoint's serial, the address it was opened to, and whom its other
/// end has proved to be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PoolKey {
    /// `Entry::serial` of the endpoint: another run never gets this run's connections.
    pub endpoint: u64,
    /// Where the connection leads.
    pub addr: SocketAddr,
    /// How it was verified; none for a plain one.
    pub tls: Option<Arc<TlsTarget>>,
}

struct Idle {
    stream: Stream,
    since: Instant,
}

/// The idle connections and pending connects of one core.
#[derive(Default)]
pub struct Upstreams {
    idle: RefCell<HashMap<PoolKey, Vec<Idle>, BuildFold>>,
    connecting: RefCell<HashMap<u64, (u64, Abort)>>,
    serial: Cell<u64>,
}

impl Upstreams {
    /// The most recently used idle connection that is neither readable nor closed: a POST can't be sent
    /// twice, so what the other side has touched since is not used again.
    pub fn checkout(&self, key: &PoolKey, now: Instant) -> Option<Stream> {
        loop {
            let idle = self.idle.borrow_mut().get_mut(key)?.pop()?;
            let fresh = now.saturating_duration_since(idle.since) < UPSTREAM_IDLE_TIMEOUT;
            if fresh && idle.stream.is_usable_idle() {
                return Some(idle.stream);
            }
        }
    }

    /// Keeps a connection whose last exchange is complete on both sides.
    pub fn put_back(&self, key: PoolKey, stream: Stream, now: Instant) {
        let mut idle = self.idle.borrow_mut();
        let pool = idle.entry(key).or_default();
        if pool.len() < UPSTREAM_IDLE_PER_ENDPOINT {
            pool.push(Idle { stream, since: now });
        }
    }

    /// Opens a connection, its TLS handshake included; [`Upstreams::keep_only`] aborts it when its endpoint goes.
    ///
    /// # Errors
    /// As `connect(2)`; `TimedOut` at `deadline`; `runtime::is_aborted` when the endpoint has gone.
    pub fn connect(&self, key: &PoolKey, deadline: Instant) -> io::Result<Stream> {
        let abort = Abort::new();
        let id = self.serial.get();
        self.serial.set(id + 1);
        self.connecting.borrow_mut().insert(id, (key.endpoint, abort.clone()));
        let result = match &key.tls {
            Some(target) => tls::connect(key.addr, target, deadline, &abort),
            None => Stream::connect(key.addr, deadline, &abort),
        };
        self.connecting.borrow_mut().remove(&id);
        result
    }

    /// Closes idle connections to endpoints that are not `open`, and aborts connects under way towards those
    /// that may not be asked just now (`usable`): their address may have changed hands.
    pub fn keep_only(&self, open: impl Fn(u64) -> bool, usable: impl Fn(u64) -> bool) {
        self.idle.borrow_mut().retain(|key, _| open(key.endpoint));
        let aborts: Vec<Abort> = {
            let connecting = self.connecting.borrow();
            connecting.values().filter(|(endpoint, _)| !usable(*endpoint)).map(|(_, a)| a.clone()).collect()
        };
        for abort in aborts {
            abort.fire();
        }
    }

    /// Closes what has been idle too long or was closed by the other side; called once in a while.
    pub fn sweep(&self, now: Instant) {
        let mut idle = self.idle.borrow_mut();
        idle.retain(|_, pool| {
            pool.retain(|i| {
                now.saturating_duration_since(i.since) < UPSTREAM_IDLE_TIMEOUT && i.stream.is_usable_idle()
            });
            !pool.is_empty()
        });
    }

    /// Idle connections held.
    pub fn idle(&self) -> usize {
        self.idle.borrow().values().map(Vec::len).sum()
    }
}
