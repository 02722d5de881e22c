//! Endpoints: one run of one container, or host:port of a file, each with a lifecycle.

use crate::docker::Backlog;
use crate::lifecycle::{Entry, Lease, Registry};
use crate::net::tls::TlsTarget;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Instant;

/// All that decides an endpoint's identity. Another address of the same run is the same endpoint; the same
/// address after a restart is another one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EndpointKey {
    /// One run of a container: its id and when it started (nanoseconds since the Unix epoch).
    Run { engine: Arc<str>, id: Arc<str>, started_at: i64 },
    /// The host and port of a route file. `life` grows whenever it is routed anew after it was not: requests
    /// of its former life may still be out.
    Address { host: Arc<str>, port: u16, life: u64 },
}

impl fmt::Display for EndpointKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EndpointKey::Run { engine, id, started_at } => {
                write!(f, "{engine}/{}@{started_at}", id.get(..12).unwrap_or(id))
            }
            EndpointKey::Address { host, port, .. } => write!(f, "{host}:{port}"),
        }
    }
}

/// What an endpoint's leases guard.
#[derive(Debug)]
pub struct Run {
    /// When `control` first saw this run: a refused connect soon after it waits rather than fails.
    pub seen: Instant,
}

/// The registry of all endpoints, owned by `control`.
pub type EndpointRegistry = Registry<EndpointKey, Run>;
/// A core's share of an endpoint.
pub type EndpointLease = Lease<EndpointKey, Run>;

/// An endpoint and the address at which a route speaks to it.
#[derive(Clone)]
pub struct Endpoint {
    /// Its lifecycle.
    pub entry: Arc<Entry<EndpointKey, Run>>,
    /// IP address or name; IPv6 without brackets.
    pub host: Arc<str>,
    /// TCP port.
    pub port: u16,
    /// The address, if `host` is an IP address; a name is resolved at each connect.
    pub addr: Option<SocketAddr>,
    /// When this run was first seen.
    pub seen: Instant,
    /// Events of its engine that are on their way; a file's address has none.
    pub backlog: Option<Arc<Backlog>>,
    /// Connections in use for routes with `max_conns_per_host`, all cores together.
    pub busy: Arc<AtomicU32>,
    /// It is spoken to by TLS, and so verified.
    pub tls: Option<Arc<TlsTarget>>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}:{}", self.entry.key(), self.host, self.port)
    }
}
