//! The configuration as the rest of the program sees it: resolved and ready.

use crate::access_log;
use crate::error::Place;
use crate::route;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// One configuration, all files and the environment taken together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `entrypoint.http_addr`: where plain HTTP is served, never empty.
    pub http_addr: Vec<ListenAddr>,
    /// Nobody said `http_addr`: the default stands, and 8080 may take its place without the right to 80.
    pub http_addr_is_default: bool,
    /// `entrypoint.access_log`; none if it names no place to write to.
    pub access_log: Option<AccessLog>,
    /// `entrypoint.https_addr`: where HTTPS is served; may be empty.
    pub https_addr: Vec<ListenAddr>,
    /// `tls`: the certificates for it.
    pub tls: TlsConfig,
    /// `entrypoint.redirect_http`: plain requests are sent to HTTPS (308), unless their route says otherwise.
    pub redirect_http: bool,
    /// `workers`: threads of the data plane, 1 to `limits::WORKERS`; none means one per core.
    pub workers: Option<usize>,
    /// Where it was said.
    pub workers_place: Place,
    /// `match_domains`, as written but trimmed: a leading dot is optional and case says nothing.
    pub match_domains: Vec<String>,
    /// What `entrypoint` says about all clients.
    pub entrypoint: route::Entrypoint,
    /// `timeout_shutdown`: how long a drain may take at the end.
    pub timeout_shutdown: Duration,
    /// `recreate_wait`: how long requests wait for a container that is being replaced.
    pub recreate_wait: Duration,
    /// `providers.docker`, in the order of the file. The default engine if the key is not there.
    pub engines: Vec<EngineConfig>,
    /// `admin.addr`: where the admin API listens, always a loopback address; none is `off`.
    pub admin: Option<ListenAddr>,
    /// `admin.host`: the host by which the data plane leads loopback clients to the admin API, in lower case;
    /// none is off.
    pub admin_host: Option<(String, Place)>,
    /// The routes of the files under `providers.include`, in their order. `host` and `port` are always
    /// there, their defaults filled in; each alias is there once, compared without case.
    pub file_routes: Vec<route::Settings>,
}

/// `entrypoint.access_log`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessLog {
    /// A file, below the directory of the configuration if it was relative.
    pub path: Option<PathBuf>,
    /// Standard output.
    pub stdout: bool,
    /// How a line looks.
    pub format: AccessLogFormat,
    /// Which requests have lines.
    pub filters: access_log::Filters,
    /// What lines show of headers, query and cookies.
    pub fields: access_log::Fields,
    /// When the file is renamed, and how many such are kept.
    pub rotation: access_log::Rotation,
}

/// How a line of the access log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessLogFormat {
    Common,
    #[default]
    Combined,
    Json,
}

/// One Docker Engine: an entry of `providers.docker`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// Its name, without the `!`.
    pub name: String,
    /// The name ended with `!`: only containers with a `proxy.*` label become routes.
    pub explicit_only: bool,
    /// `unix:///path/of/the.sock`
    pub url: String,
    /// What a deleted socket file means.
    pub on_stale_socket: OnStaleSocket,
    /// Where it was named.
    pub place: Place,
}

/// What to do when an engine's bind-mounted socket file was deleted: it can never be reached again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnStaleSocket {
    /// Go on without the engine, and say so.
    #[default]
    Keep,
    /// End the process, so that a restart policy mounts the new socket.
    Exit,
}

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAddr {
    /// The address; port 0 lets the system choose.
    pub addr: SocketAddr,
    /// `:80`: `addr` is `[::]:80` and takes IPv4 too. Otherwise an IPv6 address takes IPv6 alone.
    pub dual_stack: bool,
    /// Where it was said.
    pub place: Place,
}

/// `tls`: the certificates, not read yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// The pairs; where two are for one name, the first is taken.
    pub certs: Vec<CertPair>,
    /// `tls.default`: the name whose certificate serves clients that name nobody.
    pub default: Option<(String, Place)>,
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertPair {
    /// `cert_path`: the certificate, then its chain (PEM).
    pub cert_path: PathBuf,
    /// `key_path`: its private key (PEM).
    pub key_path: PathBuf,
    /// Where the certificate was said.
    pub place: Place,
    /// Where the key was said.
    pub key_place: Place,
}
