//! The words of the label grammar, and what each does today.

/// What a known key or field does today.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// It is read.
    Read,
    /// It is read; a fault in it keeps nobody from the route.
    Tune,
    /// It is read, with fields of its own, and says who may ask: the route is not served if it is in doubt.
    Guard,
    /// Not supported yet; the route is served without it.
    Later,
    /// Not supported yet, and the route is not served without it.
    Withhold,
}

/// Fields of an alias (GoDoxy's route fields).
pub const FIELDS: &[(&str, Known)] = &[
    ("scheme", Known::Read),
    ("host", Known::Read),
    ("port", Known::Read),
    ("access_log", Known::Tune),
    ("body_timeout", Known::Tune),
    ("connect_timeout", Known::Tune),
    ("max_conns_per_host", Known::Tune),
    ("response_body_timeout", Known::Tune),
    ("response_header_timeout", Known::Tune),
    ("redirect_http", Known::Read),
    ("no_tls_verify", Known::Read),
    ("ssl_server_name", Known::Read),
    ("ssl_trusted_certificate", Known::Read),
    ("agent", Known::Withhold),
    ("inbound_mtls_profile", Known::Withhold),
    ("middlewares", Known::Guard),
    ("root", Known::Withhold),
    ("rule_file", Known::Withhold),
    ("rules", Known::Withhold),
    ("bind", Known::Later),
    ("disable_compression", Known::Later),
    ("healthcheck", Known::Later),
    ("homepage", Known::Later),
    ("idlewatcher", Known::Later),
    ("index", Known::Later),
    ("load_balance", Known::Later),
    ("proxmox", Known::Later),
    ("relay_proxy_protocol_header", Known::Later),
    ("spa", Known::Later),
    ("ssl_certificate", Known::Later),
    ("ssl_certificate_key", Known::Later),
    ("ssl_protocols", Known::Later),
    ("tls_termination", Known::Later),
];

/// Keys of the container itself, with GoDoxy's shortcuts (comma lists by position).
pub const KEYS: &[(&str, Known)] = &[
    ("aliases", Known::Read),
    ("exclude", Known::Read),
    ("agents", Known::Withhold),
    ("hosts", Known::Withhold),
    ("inbound_mtls_profiles", Known::Withhold),
    ("ports", Known::Withhold),
    ("protocols", Known::Withhold),
    ("protos", Known::Withhold),
    ("roots", Known::Withhold),
    ("rule_files", Known::Withhold),
    ("schemes", Known::Withhold),
    ("binds", Known::Later),
    ("depends_on", Known::Later),
    ("disable_compressions", Known::Later),
    ("idle_timeout", Known::Later),
    ("indexes", Known::Later),
    ("max_conns_per_hosts", Known::Later),
    ("network", Known::Later),
    ("no_loading_page", Known::Later),
    ("no_tls_verifies", Known::Later),
    ("proxy_protocol_headers", Known::Later),
    ("response_header_timeouts", Known::Later),
    ("spas", Known::Later),
    ("ssl_certificate_keys", Known::Later),
    ("ssl_certificates", Known::Later),
    ("ssl_server_names", Known::Later),
    ("ssl_trusted_certificates", Known::Later),
    ("start_endpoint", Known::Later),
    ("stop_method", Known::Later),
    ("stop_signal", Known::Later),
    ("stop_timeout", Known::Later),
    ("tls_terminations", Known::Later),
    ("wake_timeout", Known::Later),
];

/// A key as it is compared: lower case, without `_`.
pub fn plain(key: &str) -> String {
    key.chars().filter(|c| *c != '_').map(|c| c.to_ascii_lowercase()).collect()
}

/// The word of `table` that `name` is.
pub fn known(table: &[(&'static str, Known)], name: &str) -> Option<(&'static str, Known)> {
    let name = plain(name);
    table.iter().find(|(known, _)| plain(known) == name).copied()
}
