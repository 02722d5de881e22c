//! HTTP/1.1 on the wire (RFC 9110, RFC 9112): pure parsing and writing, no socket, no clock.
//!
//! Heads are parsed from whole buffers and borrow from them; what is written is appended to a `Vec` that the
//! caller reuses. Whatever could be read in two ways is refused, also where the RFCs would tolerate it: what
//! an upstream sees must be the one request that was looked up and checked here.
//!
//! - [`head_complete`] finds the end of a head that trickles in, [`parse_request`], [`parse_response`] and
//!   [`parse_answer`] read it, [`parse_host`] splits a host name;
//! - [`ChunkDecoder`] reads chunked bodies, [`write_chunk_head`] writes them;
//! - [`write_forward_request`] and [`write_forward_response`] write the heads that go on;
//! - [`parse_proxy_header`] reads what a balancer says before the first head;
//! - [`write_answer`] writes the answers that are our own.

mod accept;
mod answer;
mod chunked;
mod fields;
mod forward;
mod framing;
mod head;
mod host;
mod method;
mod path;
mod proxy_protocol;
mod refusal;
mod request;
mod response;
mod status;
mod target;
mod write;

pub use answer::{Answer, write_answer, write_redirect};
pub use chunked::{
    CHUNK_END, ChunkDecoder, ChunkError, ChunkStep, LAST_CHUNK, check_chunks, write_chunk, write_chunk_head,
    write_last_chunk,
};
pub use forward::{
    CONTINUE, Forward, ResponseFraming, is_loop, write_forward_request, write_forward_response,
};
pub use head::{Field, Version, head_complete};
pub use host::{HostParts, parse_host};
pub use method::Method;
pub use proxy_protocol::{BadProxyHeader, ProxyHeader, parse_proxy_header};
pub use refusal::{Refusal, write_refusal};
pub use request::{Body, Reject, Request, parse_request};
pub use response::{BadResponse, Response, ResponseBody, parse_answer, parse_response};
pub use status::status_text;
pub use target::Target;
