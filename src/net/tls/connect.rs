//! Connections to upstreams of scheme https: the handshake, in blocking style on the connection's coroutine.

use super::super::{Stream, lane_run};
use super::stream::TlsStream;
use super::verify::{self, Trust};
use crate::blocking::Lane;
use crate::limits::{
    LANE_QUEUE, TLS_CLIENT_CONFIGS, TLS_CONFIG_AGE, TLS_HANDSHAKE_TIMEOUT, TLS_SESSIONS_KEPT,
};
use crate::route::{ServerName, UpstreamTls};
use crate::runtime::{self, Abort, TcpStream};
use crate::util::Locked;
use rustls::client::Resumption;
use rustls::pki_types;
use rustls::{ClientConfig, ClientConnection, Connection};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// Whom an upstream's certificate must be for, and who vouches for it: all that tells one TLS connection to an
/// address from another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TlsTarget {
    /// The route's host.
    pub host: String,
    /// What the route says.
    pub settings: UpstreamTls,
}

impl TlsTarget {
    fn name(&self) -> &str {
        match &self.settings.server_name {
            ServerName::Name(name) => name,
            ServerName::On | ServerName::Off => &self.host,
        }
    }
}

/// Connects to `addr` and shakes hands; `abort` ends either. `deadline` concerns the connect; the handshake has
/// `limits::TLS_HANDSHAKE_TIMEOUT`.
///
/// # Errors
/// As [`TcpStream::connect`]; `InvalidData` for a handshake that fails, with a reason that names what is wrong
/// with the certificate and what can be done.
pub fn connect(addr: SocketAddr, target: &TlsTarget, deadline: Instant, abort: &Abort) -> io::Result<Stream> {
    let config = config_for(&target.settings)?;
    let name = pki_types::ServerName::try_from(target.name().to_owned())
        .map_err(|_| failed(format!("`{}` can't be the name of a certificate", target.name())))?;
    let tcp = TcpStream::connect(addr, Some(deadline), Some(abort))?;
    let mut conn = ClientConnection::new(config, name).map_err(|error| failed(error.to_string()))?;
    let rest = shake_hands(&tcp, &mut conn, target, abort)?;
    Ok(Stream::Tls(TlsStream::new(tcp, Connection::Client(conn), &rest)))
}

/// Gives back what came after the handshake and was not taken.
fn shake_hands(
    tcp: &TcpStream,
    conn: &mut ClientConnection,
    target: &TlsTarget,
    abort: &Abort,
) -> io::Result<Vec<u8>> {
    let deadline = Some(runtime::now() + TLS_HANDSHAKE_TIMEOUT);
    let mut buffer = vec![0; 4096];
    let (mut at, mut end) = (0, 0);
    loop {
        let mut out = Vec::new();
        conn.write_tls(&mut out)?;
        if !out.is_empty() {
            tcp.write_all(&out, deadline)?;
        }
        if !conn.is_handshaking() {
            return Ok(buffer[at..end].to_vec());
        }
        if at == end {
            (at, end) = (0, tcp.read_until(&mut buffer, deadline, abort).map_err(too_late)?);
            if end == 0 {
                return Err(failed("the connection was closed in the TLS handshake".to_owned()));
            }
        }
        at += conn.read_tls(&mut &buffer[at..end])?;
        // Verifying goes deep: not on the coroutine's stack.
        let processed = runtime::on_core_stack(|| conn.process_new_packets());
        if let Err(error) = processed {
            let mut alert = Vec::new();
            conn.write_tls(&mut alert)?;
            tcp.try_write(&alert).ok();
            return Err(failed(verify::in_words(&error, target.name())));
        }
    }
}

/// Somebody listens there: it is no connect that timed out.
fn too_late(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::TimedOut => failed(format!("no TLS handshake within {TLS_HANDSHAKE_TIMEOUT:?}")),
        _ => error,
    }
}

fn failed(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// What a client's configuration depends on.
#[derive(Clone, PartialEq, Eq, Hash)]
struct ConfigKey {
    trust: Option<Option<PathBuf>>,
    sni: bool,
}

struct Configs {
    lane: Lane,
    known: Locked<HashMap<ConfigKey, (Instant, Arc<ClientConfig>)>>,
}

/// The configuration for `settings`, made on a lane (it reads files) and kept for a minute.
fn config_for(settings: &UpstreamTls) -> io::Result<Arc<ClientConfig>> {
    let configs = configs()?;
    let trust = (!settings.no_verify).then(|| settings.trusted.clone());
    let key = ConfigKey { trust: trust.clone(), sni: settings.server_name != ServerName::Off };
    let now = runtime::now();
    let fresh = |(made, config): &(Instant, Arc<ClientConfig>)| {
        (now.saturating_duration_since(*made) < TLS_CONFIG_AGE).then(|| Arc::clone(config))
    };
    if let Some(config) = configs.known.with(|known| known.get(&key).and_then(fresh)) {
        return Ok(config);
    }
    let sni = key.sni;
    let made = lane_run(&configs.lane, move || make(trust, sni), Some(now + TLS_HANDSHAKE_TIMEOUT))?;
    let config = made.map_err(failed)?;
    configs.known.with(|known| {
        if known.len() >= TLS_CLIENT_CONFIGS {
            known.clear();
        }
        known.insert(key, (now, Arc::clone(&config)));
    });
    Ok(config)
}

fn configs() -> io::Result<&'static Configs> {
    static CONFIGS: OnceLock<Configs> = OnceLock::new();
    if let Some(configs) = CONFIGS.get() {
        return Ok(configs);
    }
    let lane = Lane::new("tls", 1, LANE_QUEUE)?;
    Ok(CONFIGS.get_or_init(|| Configs { lane, known: Locked::new(HashMap::new()) }))
}

/// `trust`: none verifies nothing; no path is the system's authorities.
fn make(trust: Option<Option<PathBuf>>, sni: bool) -> Result<Arc<ClientConfig>, String> {
    let trust = match trust {
        None => Trust::anybody(),
        Some(None) => Trust::system()?,
        Some(Some(path)) => Trust::file(&path)?,
    };
    let builder = ClientConfig::builder_with_provider(super::provider());
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    let verified = builder.dangerous().with_custom_certificate_verifier(Arc::new(trust));
    let mut config = verified.with_no_client_auth();
    config.enable_sni = sni;
    config.alpn_protocols = super::alpn(super::ALPN_ASKED);
    config.resumption = Resumption::in_memory_sessions(TLS_SESSIONS_KEPT);
    Ok(Arc::new(config))
}
