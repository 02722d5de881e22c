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
pub use self::certs::{CertStore, Certs, Listed, LoadedCerts};
pub use self::connect::{TlsTarget, connect};
pub use self::stream::TlsStream;

use rustls::crypto::CryptoProvider;
use std::sync::{Arc, OnceLock};

/// The protocols spoken over TLS, the most wanted first (RFC 7301).
const ALPN: &[&[u8]] = &[b"http/1.1"];

fn alpn() -> Vec<Vec<u8>> {
    ALPN.iter().map(|protocol| protocol.to_vec()).collect()
}

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider())))
}
