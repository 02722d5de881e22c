//! What holds for all clients: timeouts by phase, and how many connections one of them may have.

use crate::access::Rules;
use crate::limits;
use crate::route::Tuning;
use crate::util::Cidr;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// The settings of `entrypoint` that a request meets on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entrypoint {
    /// `entrypoint.timeouts`
    pub timeouts: Timeouts,
    /// `entrypoint.max_conns_per_client`: connections of one client address at once.
    pub max_conns_per_client: u32,
    /// `entrypoint.trusted_proxies`: whose `X-Forwarded-*`, `X-Real-IP` and `Forwarded` count.
    pub trusted_proxies: Vec<Cidr>,
    /// `entrypoint.proxy_protocol`
    pub proxy_protocol: ProxyProtocol,
    /// `entrypoint.middlewares`: who may ask at all.
    pub access: Option<Arc<Rules>>,
}

/// Who begins connections with a PROXY header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyProtocol {
    /// Whether a header is looked for.
    pub mode: ProxyMode,
    /// Whose headers count.
    pub trusted_proxies: Vec<Cidr>,
}

/// What is done about PROXY headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxyMode {
    /// Nothing: such a header is no request.
    #[default]
    Disabled,
    /// A trusted proxy may send one.
    Mixed,
    /// Only trusted proxies may connect, and must send one.
    Required,
}

/// What the first bytes of a connection may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// A request.
    Request,
    /// A PROXY header or a request.
    MaybeHeader,
    /// A PROXY header.
    Header,
    /// Nothing: the connection is closed.
    Refused,
}

impl Entrypoint {
    /// How a connection from `peer` begins.
    pub fn opening(&self, peer: IpAddr) -> Opening {
        let trusted = || self.proxy_protocol.trusted_proxies.iter().any(|network| network.contains(peer));
        match self.proxy_protocol.mode {
            ProxyMode::Disabled => Opening::Request,
            ProxyMode::Mixed if trusted() => Opening::MaybeHeader,
            ProxyMode::Mixed => Opening::Request,
            ProxyMode::Required if trusted() => Opening::Header,
            ProxyMode::Required => Opening::Refused,
        }
    }

    /// Whether what `peer` says about the client before it counts.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|network| network.contains(peer))
    }

    /// Connections of `peer` at once: a proxy brings many clients and is not counted as one.
    pub fn most_connections(&self, peer: IpAddr) -> u32 {
        let proxy = self.trusts(peer) || matches!(self.opening(peer), Opening::MaybeHeader | Opening::Header);
        if proxy { u32::MAX } else { self.max_conns_per_client }
    }
}

impl Default for Entrypoint {
    fn default() -> Self {
        Entrypoint {
            timeouts: Timeouts::default(),
            max_conns_per_client: limits::CONNECTIONS_PER_CLIENT,
            trusted_proxies: Vec::new(),
            proxy_protocol: ProxyProtocol::default(),
            access: None,
        }
    }
}

/// How long each phase of an exchange may take. Those of a body start anew with each byte that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// A client's whole request head, from its first byte.
    pub header: Duration,
    /// Silence of a client's connection between requests.
    pub idle: Duration,
    /// A connect to an upstream.
    pub connect: Duration,
    /// From the request's last byte to the response's first.
    pub response_header: Duration,
    /// Without a byte of progress of a request's body, or of a client that takes its response.
    pub body: Duration,
    /// Silence of an upstream within a response's body.
    pub response_body: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            header: limits::HEADER_TIMEOUT,
            idle: limits::IDLE_TIMEOUT,
            connect: limits::CONNECT_TIMEOUT,
            response_header: limits::RESPONSE_HEADER_TIMEOUT,
            body: limits::BODY_TIMEOUT,
            response_body: limits::RESPONSE_BODY_TIMEOUT,
        }
    }
}

impl Timeouts {
    /// The timeouts of a route that says `tuning`.
    pub fn tuned(&self, tuning: &Tuning) -> Timeouts {
        Timeouts {
            connect: tuning.connect_timeout.unwrap_or(self.connect),
            response_header: tuning.response_header_timeout.unwrap_or(self.response_header),
            body: tuning.body_timeout.unwrap_or(self.body),
            response_body: tuning.response_body_timeout.unwrap_or(self.response_body),
            ..*self
        }
    }
}
