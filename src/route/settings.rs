//! What a person may say about a route, in a route file or by label.

use crate::access::Rules;
use crate::error::Place;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How a service is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain HTTP/1.1.
    Http,
    /// HTTP/1.1 over TLS.
    Https,
}

impl Scheme {
    /// The scheme's name as it is written in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
}

/// How an upstream of scheme https is verified.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct UpstreamTls {
    /// `no_tls_verify`: any certificate is taken.
    pub no_verify: bool,
    /// `ssl_server_name`
    pub server_name: ServerName,
    /// `ssl_trusted_certificate`: a PEM file of authorities, in place of the system's.
    pub trusted: Option<PathBuf>,
}

/// Whom the upstream's certificate must be for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum ServerName {
    /// The route's host; it is asked for by SNI.
    #[default]
    On,
    /// The route's host; it is not asked for.
    Off,
    /// This name; it is asked for by SNI.
    Name(String),
}

/// The settings of one alias. What is `None` was not said; defaults are chosen where the route is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The alias as written, without leading or trailing white space.
    pub alias: String,
    /// `scheme`
    pub scheme: Option<Scheme>,
    /// `host`: an IP address or a name.
    pub host: Option<String>,
    /// `port`: 1–65535.
    pub port: Option<u16>,
    /// Fields that change no destination.
    pub tuning: Tuning,
    /// `redirect_http`
    pub redirect_http: Option<bool>,
    /// `no_tls_verify`, `ssl_server_name`, `ssl_trusted_certificate`
    pub tls: UpstreamTls,
    /// `middlewares`: who may ask.
    pub access: Option<Arc<Rules>>,
    /// Where `ssl_trusted_certificate` was said; none if it was not.
    pub trusted_place: Option<Place>,
    /// Where the alias was named.
    pub place: Place,
}

/// What a route may say about its connections and their log. What is `None` is as `entrypoint` has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tuning {
    /// `connect_timeout`
    pub connect_timeout: Option<Duration>,
    /// `response_header_timeout`
    pub response_header_timeout: Option<Duration>,
    /// `body_timeout`
    pub body_timeout: Option<Duration>,
    /// `response_body_timeout`
    pub response_body_timeout: Option<Duration>,
    /// `max_conns_per_host`: connections to its endpoint at once; `None` is any number.
    pub max_conns_per_host: Option<u32>,
    /// `access_log`: whether its requests have lines in the access log; `None` is yes.
    pub access_log: Option<bool>,
}

impl Settings {
    /// Settings that say nothing but the alias.
    pub fn new(alias: impl Into<String>, place: Place) -> Self {
        Settings {
            alias: alias.into(),
            scheme: None,
            host: None,
            port: None,
            tuning: Tuning::default(),
            redirect_http: None,
            tls: UpstreamTls::default(),
            access: None,
            trusted_place: None,
            place,
        }
    }
}
