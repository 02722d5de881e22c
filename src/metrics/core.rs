//! What one core counts.

use super::Tally;
use super::routes::RouteTally;
use crate::access::Kind;
use std::sync::Arc;

/// The counts of one core; only that core writes them.
#[derive(Debug, Default)]
#[repr(align(64))] // no line of memory that two cores write
pub struct CoreMetrics {
    /// Client connections accepted.
    pub accepted: Tally,
    /// Client connections that got no service, by [`Refusal::index`].
    pub refused: [Tally; Refusal::ALL.len()],
    /// Client connections open.
    pub open: Tally,
    /// Failures at upstreams, by [`UpstreamError::index`].
    pub upstream_errors: [Tally; UpstreamError::ALL.len()],
    /// Requests that an access rule refused, by [`Kind::index`].
    pub access_refused: [Tally; Kind::ALL.len()],
    /// Requests answered 503 because too many passwords were being verified.
    pub passwords_unchecked: Tally,
    /// Requests that wait at a gate now.
    pub gate_waiting: Tally,
    /// Requests answered 503 because a gate was full.
    pub gate_full: Tally,
    /// Bytes received from clients in exchanges, tunnels included.
    pub received: Tally,
    /// Bytes sent to clients in exchanges, tunnels included.
    pub sent: Tally,
    /// Tunnels open.
    pub tunnels: Tally,
    /// Tunnels opened.
    pub tunnels_opened: Tally,
    /// Bytes received from clients through tunnels.
    pub tunnel_received: Tally,
    /// Bytes sent to clients through tunnels, the heads of their 101 included.
    pub tunnel_sent: Tally,
    /// Coroutines alive, as of the last tick.
    pub coroutines: Tally,
    /// Idle upstream connections, as of the last tick.
    pub upstream_idle: Tally,
    /// Access log lines that found the queue full.
    pub access_lines_dropped: Tally,
    /// Requests without a route, and of routes beyond the bound.
    pub unrouted: Arc<RouteTally>,
}

impl CoreMetrics {
    /// Counts a failure at an upstream.
    pub fn upstream_error(&self, kind: UpstreamError) {
        self.upstream_errors[kind.index()].add(1);
    }
}

/// Why a client's connection got no service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// As many are open as there may be.
    TooMany,
    /// As many are open from its address as one client may have.
    TooManyOfClient,
    /// Its request was here, and no stack could be had.
    NoStack,
}

impl Refusal {
    /// All of them, in the order of their indices.
    pub const ALL: [Refusal; 3] = [Refusal::TooMany, Refusal::TooManyOfClient, Refusal::NoStack];

    /// Its place in [`Refusal::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Refusal::TooMany => "too_many",
            Refusal::TooManyOfClient => "too_many_of_client",
            Refusal::NoStack => "no_stack",
        }
    }

    /// What a person who reads the log is told.
    pub fn in_words(self) -> &'static str {
        match self {
            Refusal::TooMany => "too many connections",
            Refusal::TooManyOfClient => "too many connections of one client",
            Refusal::NoStack => "no stack for a connection",
        }
    }

    /// What the client is told, if it can be.
    pub fn reason(self) -> &'static str {
        match self {
            Refusal::TooManyOfClient => "too many connections from your address",
            Refusal::TooMany | Refusal::NoStack => self.in_words(),
        }
    }
}

/// How an upstream failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamError {
    /// Its name can't be resolved.
    Name,
    /// It refused the connection.
    Refused,
    /// No way leads to it.
    Unreachable,
    /// It did not take the connection, or did not answer, in time.
    TimedOut,
    /// It reset the connection.
    Reset,
    /// It closed the connection before its answer was complete.
    Closed,
    /// Its answer is no valid HTTP.
    BadAnswer,
    /// It cut its answer's body off, or broke its framing.
    Cut,
    /// Anything else.
    Other,
}

impl UpstreamError {
    /// All kinds, in the order of their indices.
    pub const ALL: [UpstreamError; 9] = [
        UpstreamError::Name,
        UpstreamError::Refused,
        UpstreamError::Unreachable,
        UpstreamError::TimedOut,
        UpstreamError::Reset,
        UpstreamError::Closed,
        UpstreamError::BadAnswer,
        UpstreamError::Cut,
        UpstreamError::Other,
    ];

    /// Its place in [`UpstreamError::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// Its name in metrics and in the access log.
    pub fn name(self) -> &'static str {
        match self {
            UpstreamError::Name => "name",
            UpstreamError::Refused => "refused",
            UpstreamError::Unreachable => "unreachable",
            UpstreamError::TimedOut => "timed_out",
            UpstreamError::Reset => "reset",
            UpstreamError::Closed => "closed",
            UpstreamError::BadAnswer => "bad_answer",
            UpstreamError::Cut => "cut",
            UpstreamError::Other => "other",
        }
    }

    /// The kind of a failed connect, read or write.
    pub fn of(kind: std::io::ErrorKind) -> UpstreamError {
        use std::io::ErrorKind as K;
        match kind {
            K::ConnectionRefused => UpstreamError::Refused,
            K::HostUnreachable | K::NetworkUnreachable | K::NetworkDown | K::AddrNotAvailable => {
                UpstreamError::Unreachable
            }
            K::TimedOut => UpstreamError::TimedOut,
            K::ConnectionReset | K::ConnectionAborted | K::BrokenPipe => UpstreamError::Reset,
            K::UnexpectedEof => UpstreamError::Closed,
            _ => UpstreamError::Other,
        }
    }
}
