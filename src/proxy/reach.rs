//! From a host to a connection that may be used now: look-up, gate, lease, checkout or connect.
//!
//! What has sent nothing may come back here as often as it takes, until its deadline: a refused or aborted
//! connect passes look-up and gate again, never the old address.

use super::answer::Own;
use super::connection::Client;
use super::core::{Core, InFlight, Occupied};
use super::guard::Guard;
use super::record::Record;
use super::watch::Departure;
use crate::gate::Passed;
use crate::limits::{BACKLOG_LOOK, BUSY_RETRY};
use crate::limits::{YOUNG_CONNECT_FIRST, YOUNG_CONNECT_TIMEOUT, YOUNG_RETRY, YOUNG_RETRY_FIRST};
use crate::metrics::UpstreamError;
use crate::net::{self, Stream};
use crate::route::Timeouts;
use crate::runtime::{self, LocalWaker};
use crate::snapshot::{Endpoint, Route, Snapshot, Target, Unknown};
use crate::upstream::PoolKey;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A connection to the right endpoint, nothing sent on it yet for this request.
pub(super) struct Reached {
    pub stream: Stream,
    pub key: PoolKey,
    /// It has carried an exchange before.
    pub reused: bool,
    pub in_flight: InFlight,
    /// The route's.
    pub timeouts: Timeouts,
    /// Its place among the connections that the route allows; such a connection is not kept.
    pub occupied: Option<Occupied>,
    /// It is the admin API: asked as `localhost`, and its connection is not kept.
    pub admin: bool,
}

/// Why no connection could be had.
pub(super) enum Unreached {
    Answer(Own),
    /// Rules hold that the request has not passed.
    Unchecked,
    /// The client has gone.
    ClientGone,
    /// The core stops.
    Stopped,
}

/// What to do after one attempt.
#[allow(clippy::large_enum_variant)] // lives for one step; a box would be one more allocation per request
enum Next {
    Use(Reached),
    /// Wait at this gate, at most until then, and look again.
    Wait {
        service: Arc<str>,
        until: Instant,
        why: Arc<str>,
    },
    Again,
    Fail(Unreached),
}

/// Finds the endpoint of `host` and a connection to it, for a request that has passed its rules: that is looked at
/// each time. `arrived` is when the request's head was complete; `fresh` asks for a new connection. A wait at a gate
/// ends when the client goes.
pub(super) fn reach(
    client: &Client,
    departure: &Departure,
    host: &[u8],
    guard: &Guard<'_>,
    arrived: Instant,
    fresh: bool,
) -> Result<Reached, Unreached> {
    let core = &client.core;
    let deadline = arrived + core.snapshot().recreate_wait;
    loop {
        let (service, until, why) = match attempt(core, &client.record, host, guard, deadline, fresh) {
            Next::Use(_) if departure.has_gone() => return Err(Unreached::ClientGone),
            Next::Use(reached) => return Ok(reached),
            Next::Fail(unreached) => return Err(unreached),
            Next::Again => continue,
            Next::Wait { service, until, why } => (service, until, why),
        };
        let leaving = |waker: LocalWaker| departure.interrupts(move || waker.wake());
        match core.wait(&service, until.min(deadline), leaving) {
            Ok(_) if departure.has_gone() => return Err(Unreached::ClientGone),
            Ok(Passed::Changed) => {}
            Ok(Passed::TimedOut) if runtime::now() < deadline => {}
            Ok(Passed::TimedOut) => return answer(503, format!("{why}; gave up waiting")),
            Ok(Passed::Full) => {
                core.metrics.gate_full.add(1);
                return answer(503, format!("{why}; too many requests wait already"));
            }
            Err(_) => return Err(Unreached::Stopped),
        }
    }
}

fn answer<T>(status: u16, reason: String) -> Result<T, Unreached> {
    Err(Unreached::Answer(Own::new(status, reason)))
}

fn fail(status: u16, reason: String) -> Next {
    Next::Fail(Unreached::Answer(Own::new(status, reason)))
}

fn failed(kind: UpstreamError, status: u16, reason: String) -> Next {
    Next::Fail(Unreached::Answer(Own::failed(kind, status, reason)))
}

fn attempt(
    core: &Rc<Core>,
    record: &Record,
    host: &[u8],
    guard: &Guard<'_>,
    deadline: Instant,
    fresh: bool,
) -> Next {
    let snapshot = core.snapshot();
    let route = snapshot.route(host);
    if !guard.covers(&snapshot.entrypoint.access, route.map(|route| &**route)) {
        return Next::Fail(Unreached::Unchecked);
    }
    let Some(route) = route else { return unknown(&snapshot, host, deadline) };
    record.route(core, route);
    let endpoint = match &route.target {
        Target::Endpoint(endpoint) => endpoint,
        Target::Wait(why) => {
            return Next::Wait { service: Arc::clone(&route.alias), until: deadline, why: Arc::clone(why) };
        }
        Target::Refuse { status, reason } => return fail(*status, reason.to_string()),
    };
    let in_flight = match core.begin(endpoint) {
        Ok(in_flight) => in_flight,
        // It ended after this snapshot: the next one says what is there instead.
        Err(refused) => {
            let why = format!("{} is ending: {refused}", route.alias).into();
            return Next::Wait { service: Arc::clone(&route.alias), until: deadline, why };
        }
    };
    let addr = match address(endpoint, deadline) {
        Ok(addr) => addr,
        Err(error) if runtime::is_stopped(&error) => return Next::Fail(Unreached::Stopped),
        Err(error) => {
            let reason = format!("the name {} of {} can't be resolved: {error}", endpoint.host, route.alias);
            return failed(UpstreamError::Name, 502, reason);
        }
    };
    let key = PoolKey { endpoint: endpoint.entry.serial(), addr, tls: endpoint.tls.clone() };
    let occupied = match route.max_conns.map(|most| core.occupy(&route.alias, endpoint, most)) {
        Some(None) => return busy(route),
        Some(occupied) => occupied,
        None => None,
    };
    let claim = Claim { in_flight, timeouts: route.timeouts, occupied, admin: route.admin };
    let kept = || core.upstreams.checkout(&key, runtime::now());
    if let Some(stream) = (!fresh).then(kept).flatten() {
        return Next::Use(claim.reached(stream, key, true));
    }
    connect(core, host, &snapshot, route, endpoint, key, claim)
}

/// What a request holds of its endpoint.
struct Claim {
    in_flight: InFlight,
    timeouts: Timeouts,
    occupied: Option<Occupied>,
    admin: bool,
}

impl Claim {
    fn reached(self, stream: Stream, key: PoolKey, reused: bool) -> Reached {
        let Claim { in_flight, timeouts, occupied, admin } = self;
        Reached { stream, key, reused, in_flight, timeouts, occupied, admin }
    }
}

/// As many connections as `max_conns_per_host` allows are in use.
fn busy(route: &Route) -> Next {
    let why = format!("all connections to {} that max_conns_per_host allows are in use", route.alias);
    let service = Arc::clone(&route.alias);
    Next::Wait { service, until: runtime::now() + BUSY_RETRY, why: why.into() }
}

fn connect(
    core: &Rc<Core>,
    host: &[u8],
    snapshot: &Snapshot,
    route: &Route,
    endpoint: &Endpoint,
    key: PoolKey,
    claim: Claim,
) -> Next {
    let now = runtime::now();
    let young_until = endpoint.seen + snapshot.recreate_wait;
    let young = now < young_until;
    let age = now.saturating_duration_since(endpoint.seen);
    // A TLS handshake may take its time.
    let timeout = match young && key.tls.is_none() {
        true => (age / 2).clamp(YOUNG_CONNECT_FIRST, YOUNG_CONNECT_TIMEOUT).min(claim.timeouts.connect),
        false => claim.timeouts.connect,
    };
    match core.upstreams.connect(&key, now + timeout) {
        Ok(stream) => arrived(core, host, snapshot, route, endpoint, claim.reached(stream, key, false)),
        Err(error) if runtime::is_stopped(&error) => Next::Fail(Unreached::Stopped),
        Err(error) if runtime::is_aborted(&error) => Next::Again,
        Err(error) if young && may_come(&error) => {
            let why = format!("{} has started but does not answer at {} yet: {error}", route.alias, key.addr);
            // Most listen within milliseconds; who takes seconds is not asked a hundred times in each.
            let now = runtime::now();
            let age = now.saturating_duration_since(endpoint.seen);
            let until = (now + (age / 4).clamp(YOUNG_RETRY_FIRST, YOUNG_RETRY)).min(young_until);
            Next::Wait { service: Arc::clone(&route.alias), until, why: why.into() }
        }
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            let reason = format!("{} does not answer at {}: connect timed out", route.alias, key.addr);
            failed(UpstreamError::TimedOut, 504, reason)
        }
        Err(error) => {
            let reason = format!("{} can't be reached at {}: {error}", route.alias, key.addr);
            failed(UpstreamError::of(error.kind()), 502, reason)
        }
    }
}

/// A connect has succeeded: is it still the right one?
fn arrived(
    core: &Rc<Core>,
    host: &[u8],
    snapshot: &Snapshot,
    route: &Route,
    endpoint: &Endpoint,
    reached: Reached,
) -> Next {
    match settle(endpoint, snapshot.recreate_wait) {
        Ok(true) => {}
        Ok(false) => {
            return fail(503, format!("events of {}'s engine pile up: it can't be verified", route.alias));
        }
        Err(_) => return Next::Fail(Unreached::Stopped),
    }
    // The world may have changed while we connected: then this address may be another's by now.
    if !still_current(core, host, snapshot, endpoint) {
        return Next::Again;
    }
    if !route.admin && is_own_listener(core, &reached.stream) {
        return fail(
            508,
            format!("{} leads back to Tidegate's own listener {}", route.alias, reached.key.addr),
        );
    }
    Next::Use(reached)
}

/// Waits until every event that the engine has sent by now has reached the routes: a `die` among them means
/// that the address may have changed hands. False if that takes too long.
fn settle(endpoint: &Endpoint, patience: Duration) -> io::Result<bool> {
    let Some(backlog) = &endpoint.backlog else { return Ok(true) };
    let deadline = runtime::now() + patience;
    while !backlog.is_settled() {
        if runtime::now() >= deadline {
            return Ok(false);
        }
        runtime::sleep_until(runtime::now() + BACKLOG_LOOK)?;
    }
    Ok(true)
}

/// A connect that fails so may succeed once the application listens or the bridge has its carrier.
fn may_come(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable, TimedOut};
    matches!(
        error.kind(),
        ConnectionRefused | ConnectionReset | HostUnreachable | NetworkUnreachable | TimedOut
    )
}

/// Whether the route still leads to this run at this address.
fn still_current(core: &Rc<Core>, host: &[u8], then: &Snapshot, endpoint: &Endpoint) -> bool {
    let now = core.snapshot();
    if now.generation == then.generation {
        return true;
    }
    match now.route(host).map(|route| &route.target) {
        Some(Target::Endpoint(current)) => {
            current.entry.serial() == endpoint.entry.serial()
                && current.port == endpoint.port
                && current.host == endpoint.host
                && current.tls == endpoint.tls
        }
        _ => false,
    }
}

fn unknown(snapshot: &Snapshot, host: &[u8], deadline: Instant) -> Next {
    match &snapshot.unknown {
        Unknown::Wait(why) => Next::Wait { service: "".into(), until: deadline, why: Arc::clone(why) },
        Unknown::NotFound(remark) => {
            let host = String::from_utf8_lossy(host);
            let remark = if remark.is_empty() { String::new() } else { format!(" ({remark})") };
            fail(404, format!("no route for host `{host}`{remark}"))
        }
    }
}

fn address(endpoint: &Endpoint, deadline: Instant) -> io::Result<SocketAddr> {
    if let Some(addr) = endpoint.addr {
        return Ok(addr);
    }
    let found = net::resolve(&endpoint.host, endpoint.port, Some(deadline))?;
    found.first().copied().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no address"))
}

/// A connection whose two ends are on this machine, at the port of one of our listeners, is one to ourselves.
fn is_own_listener(core: &Core, stream: &Stream) -> bool {
    let (Ok(peer), Ok(local)) = (stream.peer_addr(), stream.local_addr()) else { return false };
    let here = peer.ip() == local.ip() || peer.ip().is_loopback();
    let listens = |own: &SocketAddr| {
        own.port() == peer.port()
            && (own.ip().is_unspecified() || canonical(own.ip()) == canonical(peer.ip()))
    };
    here && core.shared.own_listeners().iter().any(listens)
}

fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}
