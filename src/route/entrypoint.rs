//! What holds for all clients: timeouts by phase, and how many connections one of them may have.

use crate::limits;
use crate::route::Tuning;
use std::time::Duration;

/// The settings of `entrypoint` that a request meets on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entrypoint {
    /// `entrypoint.timeouts`
    pub timeouts: Timeouts,
    /// `entrypoint.max_conns_per_client`: connections of one client address at once.
    pub max_conns_per_client: u32,
}

impl Default for Entrypoint {
    fn default() -> Self {
        Entrypoint { timeouts: Timeouts::default(), max_conns_per_client: limits::CONNECTIONS_PER_CLIENT }
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
