//! TLS on both sides, by rustls with ring: certificates and their choice by name, handshakes without a stack,
//! records on a connection.

mod accept;
mod certs;
mod connect;
mod pem;
mod stream;
mod verify;
mod x509;

pub use self::accept::{Header, accept, handshakes};
pub use self::certs::{CertStore, Certs, Listed, LoadedCerts, Refusal, Served};
pub use self::connect::{TlsTarget, connect};
pub use self::stream::TlsStream;
pub use self::verify::trusted;
pub use self::x509::Facts;

use rustls::crypto::CryptoProvider;
use std::sync::{Arc, OnceLock};

/// The protocols served over TLS, the most wanted first (RFC 7301). `curl -0` offers the last alone.
const ALPN_SERVED: &[&[u8]] = &[b"http/1.1", b"http/1.0"];
/// Those that an upstream is asked for.
const ALPN_ASKED: &[&[u8]] = &[b"http/1.1"];

fn alpn(protocols: &[&[u8]]) -> Vec<Vec<u8>> {
    protocols.iter().map(|protocol| protocol.to_vec()).collect()
}

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider())))
}
