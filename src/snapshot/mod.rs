//! Immutable routes and endpoints, published by `control`, read by `proxy`.
//!
//! A core holds the current [`Snapshot`] in an `Arc` of its own and compares one number per request; it
//! takes the lock only when the number has moved.

mod endpoint;
mod publisher;

pub use endpoint::{Endpoint, EndpointKey, EndpointLease, EndpointRegistry, Run};
pub use publisher::{CoreView, Publisher};

use crate::access::Rules;
use crate::http::{self, HostParts};
use crate::route::{Entrypoint, Table, Timeouts};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// All that a core needs to answer requests, as of one moment.
pub struct Snapshot {
    /// Grows by one with each publication.
    pub generation: u64,
    /// Host → route.
    pub table: Table<Arc<Route>>,
    /// The way to the admin API, and the whole host that leads there: no alias comes before it.
    pub admin: Option<(Arc<str>, Arc<Route>)>,
    /// The aliases of all routes.
    pub aliases: HashSet<Arc<str>>,
    /// Problems that stand.
    pub problems: usize,
    /// What to do with a host that no route matches.
    pub unknown: Unknown,
    /// Serials of the endpoints that are open; all others are closed or closing.
    pub open: HashSet<u64>,
    /// The keys of the same endpoints.
    pub open_keys: HashSet<EndpointKey>,
    /// Serials of open endpoints that may not be asked just now: their engine is unverified.
    pub held: HashSet<u64>,
    /// How long a request waits at a gate.
    pub recreate_wait: Duration,
    /// What holds for all clients.
    pub entrypoint: Arc<Entrypoint>,
    /// Whether plain requests are sent to HTTPS, where their route says nothing.
    pub redirect_http: bool,
}

/// An alias and where it leads.
#[derive(Clone, Debug)]
pub struct Route {
    /// The alias in its canonical form: the name of the service's gate.
    pub alias: Arc<str>,
    /// Where it leads now.
    pub target: Target,
    /// The entrypoint's, and what the route says over them.
    pub timeouts: Timeouts,
    /// Connections to its endpoint at once, all cores together.
    pub max_conns: Option<u32>,
    /// Whether plain requests are sent to HTTPS.
    pub redirect_http: Option<bool>,
    /// Who may ask.
    pub access: Option<Arc<Rules>>,
    /// It leads to the admin API: for clients on this machine alone.
    pub admin: bool,
    /// Whether its requests have lines in the access log.
    pub access_log: bool,
}

/// Where a route leads at this moment.
#[derive(Clone, Debug)]
pub enum Target {
    /// To a running endpoint.
    Endpoint(Endpoint),
    /// Nowhere yet, but soon: requests wait at the gate.
    Wait(Arc<str>),
    /// Nowhere: the answer's status (502 or 503) and its reason.
    Refuse { status: u16, reason: Arc<str> },
}

/// What happens to a host without a route.
#[derive(Clone, Debug)]
pub enum Unknown {
    /// 404 with this remark about the engines (may be empty).
    NotFound(Arc<str>),
    /// An engine answers but its containers are not listed yet: wait at the gate.
    Wait(Arc<str>),
}

impl Snapshot {
    /// The route of `host`, a Host field's value as it came.
    pub fn route(&self, host: &[u8]) -> Option<&Arc<Route>> {
        match &self.admin {
            Some((name, route)) if is_host(name, host) => Some(route),
            _ => self.table.find(host),
        }
    }

    /// The snapshot before the first publication: no routes.
    pub fn empty(recreate_wait: Duration) -> Self {
        Snapshot {
            generation: 0,
            table: Table::build(&[], []),
            admin: None,
            aliases: HashSet::new(),
            problems: 0,
            unknown: Unknown::NotFound("".into()),
            open: HashSet::new(),
            open_keys: HashSet::new(),
            held: HashSet::new(),
            recreate_wait,
            entrypoint: Arc::default(),
            redirect_http: false,
        }
    }
}

/// Whether `host` is `name`, which is in lower case: as a whole, whatever its case, port and last dot.
fn is_host(name: &str, host: &[u8]) -> bool {
    let Ok(HostParts { name: given, .. }) = http::parse_host(host) else { return false };
    given.strip_suffix(b".").unwrap_or(given).eq_ignore_ascii_case(name.as_bytes())
}
