//! The schema: one table of all keys. It drives decoding, duplicates, unknown keys, defaults and
//! `config/example.yaml`.

use std::time::Duration;

/// One key and all that is known about it.
pub struct Key {
    /// The name as it is written; other cases and `_` are matched too.
    pub name: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// The default as YAML; empty if there is none.
    pub default: &'static str,
    /// The default in words, where YAML cannot say it.
    pub default_words: &'static str,
    /// Unit of the value, or its form.
    pub unit: &'static str,
    /// What it means, for a person: the comment of the example.
    pub meaning: &'static str,
    /// The value that the example shows, as YAML in one line.
    pub example: &'static str,
    /// Environment variables that stand over it, the strongest first.
    pub env: &'static [&'static str],
    /// Another name of the same key; empty if it has none.
    pub also: &'static str,
}

/// What a value is.
pub enum Kind {
    /// A mapping of known keys.
    Section(&'static [Key]),
    /// A mapping of known keys that is not there unless somebody says it.
    Optional(&'static [Key]),
    /// A list of mappings: each names one of the keys by `use`, the rest is that key's value.
    Uses(&'static [Key]),
    /// A mapping of free names.
    Named {
        /// What a name is.
        names: Names,
        /// What each value is.
        value: &'static Kind,
        /// The name that the example shows.
        example: &'static str,
    },
    /// A mapping of known keys, or the value of the first of them alone.
    Short(&'static [Key]),
    /// A list.
    List(Leaf),
    /// A list, or its only value alone.
    OneOrList(Leaf),
    /// A list of mappings of known keys.
    Each(&'static [Key]),
    /// One value.
    Leaf(Leaf),
    /// GoDoxy knows it; here it is a problem that says "not supported yet", or what `meaning` says, with
    /// `example` as its hint.
    NotYet,
}

/// What the free names of a mapping are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// Engines: a last `!` is no part of the name.
    Engine,
    /// Aliases of routes, compared without case; `x-…` is ignored.
    Alias,
    /// Users, compared as they are.
    User,
    /// Headers, compared without case.
    Header,
    /// Parameters of a query and cookies, compared as they are.
    Field,
}

/// What one value is.
#[derive(Clone, Copy, Debug)]
pub enum Leaf {
    /// A whole number within bounds.
    Integer { min: u64, max: u64 },
    /// True or false.
    Bool,
    /// A Go duration, or seconds.
    Duration { max: Duration },
    /// A domain, with or without a leading dot.
    Domain,
    /// An address to listen on.
    Listen,
    /// A loopback address to listen on, or `off`.
    Loopback,
    /// A whole host name.
    HostName,
    /// The URL of a Docker Engine.
    EngineUrl,
    /// The path of a file, relative to the file that names it.
    File,
    /// One of a few words.
    Word(&'static [&'static str]),
    /// The scheme of an upstream.
    Scheme,
    /// The IP address or name of an upstream.
    Host,
    /// The port of an upstream.
    Port,
    /// A network in CIDR notation.
    Network,
    /// The name that is asked for in a TLS handshake: `on`, `off` or a name.
    ServerName,
    /// Words of a person's choice, on one line.
    Text,
    /// Printable ASCII on one line.
    Ascii,
    /// A text of a form of its own: what was expected, and what is wrong beyond the form, if `check` knows.
    Checked { expected: &'static str, check: fn(&str) -> Result<(), Option<String>> },
    /// The hash of a password: never shown.
    PasswordHash,
}

pub(super) const fn key(name: &'static str, kind: Kind) -> Key {
    Key { name, kind, default: "", default_words: "", unit: "", meaning: "", example: "", env: &[], also: "" }
}

pub(super) const fn not_yet(name: &'static str) -> Key {
    key(name, Kind::NotYet)
}

/// The main file.
pub static ROOT: &[Key] = &[
    Key { meaning: "Where clients come in.", ..key("entrypoint", Kind::Section(ENTRYPOINT)) },
    Key {
        default_words: "one per core",
        unit: "threads, 1 to 256",
        meaning: "Threads that serve requests.",
        example: "4",
        ..key("workers", Kind::Leaf(Leaf::Integer { min: 1, max: crate::limits::WORKERS as u64 }))
    },
    Key {
        default: "[]",
        default_words: "any domain",
        unit: "list of domains, the leading dot is optional",
        meaning: "A host is an alias with one of these behind it; without any, an alias's first label is \
                  enough (app.example.com is the alias app).",
        example: "[.home.example.com, .local]",
        ..key("match_domains", Kind::List(Leaf::Domain))
    },
    Key {
        default: "5s",
        unit: "duration (1h30m, 500ms; a bare number is seconds), at most 24h",
        meaning: "How long requests under way may take to end after SIGTERM.",
        example: "5s",
        ..key("timeout_shutdown", DURATION)
    },
    Key {
        default: "10s",
        unit: "duration, at most 24h",
        meaning: "How long a request waits for a container that is being recreated, or for an engine that \
                  has just come back, before it is answered 503.",
        example: "10s",
        ..key("recreate_wait", DURATION)
    },
    Key { meaning: "The certificates of https_addr.", ..key("tls", Kind::Section(TLS)) },
    Key { meaning: "Where routes come from.", ..key("providers", Kind::Section(PROVIDERS)) },
    Key {
        meaning: "What `tidegate routes`, health checks and Prometheus ask.",
        ..key("admin", Kind::Section(ADMIN))
    },
    not_yet("acl"),
    not_yet("autocert"),
    not_yet("inbound_mtls_profiles"),
    not_yet("homepage"),
    not_yet("webui"),
    not_yet("defaults"),
];

const DURATION: Kind = Kind::Leaf(Leaf::Duration { max: crate::limits::CONFIG_DURATION });

static ENTRYPOINT: &[Key] = &[
    Key {
        default: "\":80\"",
        unit: "one address or a list of addresses, IP:port; `:80` is every address of IPv6 and IPv4",
        meaning: "Where plain HTTP is served. Without the right to the default, port 8080 takes its place.",
        example: "[\":80\", \"127.0.0.1:8080\", \"[::1]:8080\"]",
        env: &["TIDEGATE_HTTP_ADDR", "GODOXY_HTTP_ADDR"],
        ..key("http_addr", Kind::OneOrList(Leaf::Listen))
    },
    Key { meaning: "How long each phase may take.", ..key("timeouts", Kind::Section(TIMEOUTS)) },
    Key {
        default: "1000",
        unit: "connections, 1 to 10000",
        meaning: "Connections of one client address (of IPv6: one /64) at once; one more is answered 503.",
        example: "1000",
        ..key("max_conns_per_client", CONNECTIONS)
    },
    Key {
        default: "[]",
        unit: NETWORKS_UNIT,
        meaning: "Proxies in front of this one: what their X-Forwarded-*, X-Real-IP and Forwarded say about the \
                  client goes on. From everybody else these fields are dropped.",
        example: "[10.0.0.0/8, \"fd00::/8\"]",
        ..key("trusted_proxies", Kind::List(Leaf::Network))
    },
    Key {
        meaning: "Connections that begin with a PROXY header, version 1 or 2.",
        ..key("proxy_protocol", Kind::Section(PROXY_PROTOCOL))
    },
    Key {
        meaning: "would trust everyone and is not there",
        example: "write `proxy_protocol: {mode: mixed, trusted_proxies: [10.0.0.0/8]}`",
        ..not_yet("support_proxy_protocol")
    },
    Key {
        default_words: "`:443` if `tls` names a certificate, else none",
        unit: "as http_addr",
        meaning: "Where HTTPS is served, with the certificates of `tls`.",
        example: "\":443\"",
        env: &["TIDEGATE_HTTPS_ADDR", "GODOXY_HTTPS_ADDR"],
        ..key("https_addr", Kind::OneOrList(Leaf::Listen))
    },
    Key {
        default: "false",
        unit: "true or false",
        meaning: "Plain requests for a known host are sent to HTTPS (308). A route may say otherwise.",
        example: "true",
        ..key("redirect_http", Kind::Leaf(Leaf::Bool))
    },
    not_yet("inbound_mtls_profile"),
    not_yet("rules"),
    Key {
        default: "[]",
        unit: "list of {use: rule, …}; the rules are those of a route's `middlewares`",
        meaning: "Who may ask at all: these rules come before those of a route, and hold for unknown hosts too.",
        example: "[{use: cidr_whitelist, allow: [192.168.0.0/16, \"fd00::/8\"]}]",
        ..key("middlewares", Kind::Uses(super::access::MIDDLEWARES))
    },
    Key {
        meaning: "A line for each request, to a file, to standard output, or both. Without either there is none.",
        ..key("access_log", Kind::Section(super::access_log::KEYS))
    },
];

static ADMIN: &[Key] = &[
    Key {
        default: "127.0.0.1:8888",
        unit: "loopback address with its port, or off",
        meaning: "Where the admin API listens. If the address is taken, Tidegate says so and serves without it.",
        example: "127.0.0.1:8888",
        env: &["TIDEGATE_ADMIN_ADDR"],
        ..key("addr", Kind::Leaf(Leaf::Loopback))
    },
    Key {
        default_words: "none: no route leads there",
        unit: "whole host name",
        meaning: "http_addr and https_addr lead this host to the admin API too, for clients on this machine \
                  alone: whoever comes from elsewhere, or through a proxy that says so, gets 403. No label can \
                  say this.",
        example: "admin.home.example.com",
        ..key("host", Kind::Leaf(Leaf::HostName))
    },
];
const CONNECTIONS: Kind = Kind::Leaf(Leaf::Integer { min: 1, max: crate::limits::CONNECTIONS as u64 });

const NETWORKS_UNIT: &str = "list of networks (10.0.0.0/8) and addresses, at most 64";

static PROXY_PROTOCOL: &[Key] = &[
    Key {
        default: "disabled",
        unit: "required, mixed or disabled",
        meaning: "required: only trusted proxies may connect, and must send a header. mixed: trusted proxies \
                  may send one. disabled: nobody may.",
        example: "mixed",
        ..key("mode", Kind::Leaf(Leaf::Word(&["required", "mixed", "disabled"])))
    },
    Key {
        default: "[]",
        unit: NETWORKS_UNIT,
        meaning: "Whose headers count.",
        example: "[10.0.0.0/8]",
        ..key("trusted_proxies", Kind::List(Leaf::Network))
    },
];

const DURATION_UNIT: &str = "duration, at most 24h";

static TIMEOUTS: &[Key] = &[
    Key {
        default: "10s",
        unit: DURATION_UNIT,
        meaning: "A client's whole request head, from its first byte (408).",
        example: "10s",
        ..key("header", DURATION)
    },
    Key {
        default: "75s",
        unit: DURATION_UNIT,
        meaning: "Silence of a client's connection between requests.",
        example: "75s",
        ..key("idle", DURATION)
    },
    Key {
        default: "5s",
        unit: DURATION_UNIT,
        meaning: "A connect to an upstream (504). A route's `connect_timeout` stands over it.",
        example: "5s",
        ..key("connect", DURATION)
    },
    Key {
        default: "60s",
        unit: DURATION_UNIT,
        meaning: "From the request's last byte to the response's head (504). A route's \
                  `response_header_timeout` stands over it.",
        example: "60s",
        ..key("response_header", DURATION)
    },
    Key {
        default: "60s",
        unit: DURATION_UNIT,
        meaning: "Without a byte of progress in a request's body, or to a client that is sent its response. A \
                  route's `body_timeout` stands over it.",
        example: "60s",
        ..key("body", DURATION)
    },
    Key {
        default: "10m",
        unit: DURATION_UNIT,
        meaning: "Silence of an upstream within a response's body. A route's `response_body_timeout` stands \
                  over it.",
        example: "10m",
        ..key("response_body", DURATION)
    },
];

static TLS: &[Key] = &[
    Key {
        default_words: "no certificate",
        unit: "path of a PEM file, relative to this file",
        meaning: "A certificate, then its chain. It serves the DNS names that it is for, exactly or by a \
                  wildcard of one label; a client that asks for another name is refused. Files are \
                  watched: a renewed pair serves from the next handshake on.",
        example: "certs/cert.crt",
        ..key("cert_path", Kind::Leaf(Leaf::File))
    },
    Key {
        default_words: "no key",
        unit: "path of a PEM file, relative to this file",
        meaning: "Its private key.",
        example: "certs/priv.key",
        ..key("key_path", Kind::Leaf(Leaf::File))
    },
    Key {
        default: "[]",
        unit: "list of {cert_path, key_path}",
        meaning: "More certificates. Where two are for one name, the first serves it.",
        example: "[{cert_path: certs/other.crt, key_path: certs/other.key}]",
        ..key("extra", Kind::Each(PAIR))
    },
    Key {
        default_words: "such clients are refused",
        unit: "a name that one of the certificates is for",
        meaning: "Its certificate serves clients that name nobody, or an IP address.",
        example: "home.example.com",
        ..key("default", Kind::Leaf(Leaf::Host))
    },
];

static PAIR: &[Key] = &[key("cert_path", Kind::Leaf(Leaf::File)), key("key_path", Kind::Leaf(Leaf::File))];

static PROVIDERS: &[Key] = &[
    Key {
        default: "{local: $DOCKER_HOST}",
        unit: "name: URL, or name: {url, on_stale_socket}",
        meaning: "Docker Engines whose containers become routes. A name that ends with `!` takes only \
                  containers with a `proxy.` label. `{}` is none.",
        ..key("docker", Kind::Named { names: Names::Engine, value: &Kind::Short(ENGINE), example: "local" })
    },
    Key {
        default: "[]",
        unit: "list of files, relative to this file; `*` and `?` in a file's name stand for any letters, any letter",
        meaning: "Route files. Those that match a pattern are taken in the order of their names; new ones are \
                  found while it runs.",
        example: "[routes.yml]",
        ..key("include", Kind::List(Leaf::File))
    },
    not_yet("agents"),
    not_yet("notification"),
    not_yet("proxmox"),
    not_yet("maxmind"),
];

static ENGINE: &[Key] = &[
    Key {
        unit: "unix:///path/of/the.sock",
        meaning: "Where the engine listens. `$DOCKER_HOST` is the variable of that name, or \
                  unix:///var/run/docker.sock if it is unset.",
        example: "$DOCKER_HOST",
        ..key("url", Kind::Leaf(Leaf::EngineUrl))
    },
    Key {
        default: "keep",
        unit: "keep or exit",
        meaning: "When the socket is a bind-mounted file that was deleted, the engine can't be reached \
                  again: keep goes on without it, exit ends the process so that it is started anew.",
        example: "keep",
        ..key("on_stale_socket", Kind::Leaf(Leaf::Word(&["keep", "exit"])))
    },
    not_yet("scheme"),
    not_yet("host"),
    not_yet("port"),
    not_yet("tls"),
];

/// A route file: alias to fields.
pub static ROUTE_FILE: Kind =
    Kind::Named { names: Names::Alias, value: &Kind::Section(ROUTE), example: "app" };

/// The fields of a route, in files and labels.
pub static ROUTE: &[Key] = &[
    Key {
        default_words: "http",
        unit: "http or https",
        meaning: "How the upstream is spoken to.",
        example: "http",
        ..key("scheme", Kind::Leaf(Leaf::Scheme))
    },
    Key {
        default: "localhost",
        unit: "IP address or name",
        meaning: "Where the upstream is.",
        example: "192.168.1.20",
        ..key("host", Kind::Leaf(Leaf::Host))
    },
    Key {
        default_words: "80, with https 443",
        unit: "port, 1 to 65535",
        meaning: "The upstream's port. A route says its host, its port, or both.",
        example: "8080",
        ..key("port", Kind::Leaf(Leaf::Port))
    },
    Key {
        default_words: "as entrypoint.redirect_http",
        unit: "true or false",
        meaning: "Plain requests are sent to HTTPS (308).",
        example: "true",
        ..key("redirect_http", Kind::Leaf(Leaf::Bool))
    },
    Key {
        default: "false",
        unit: "true or false",
        meaning: "With https, any certificate of the upstream is taken.",
        example: "true",
        ..key("no_tls_verify", Kind::Leaf(Leaf::Bool))
    },
    Key {
        default_words: "the system's authorities",
        unit: "path of a PEM file, relative to this file; in a label an absolute path",
        meaning: "With https, the authorities that the upstream's certificate is verified against.",
        example: "certs/nas-ca.crt",
        ..key("ssl_trusted_certificate", Kind::Leaf(Leaf::File))
    },
    Key {
        default: "on",
        unit: "on, off or a name",
        meaning: "With https, the name that the upstream is asked for and its certificate must be for: \
                  its host, or this name. off asks for none.",
        example: "nas.example.com",
        ..key("ssl_server_name", Kind::Leaf(Leaf::ServerName))
    },
    not_yet("bind"),
    not_yet("root"),
    not_yet("spa"),
    not_yet("index"),
    Key {
        default_words: "entrypoint.timeouts.response_header",
        unit: DURATION_UNIT,
        meaning: "From the request's last byte to the response's head.",
        example: "60s",
        ..key("response_header_timeout", DURATION)
    },
    Key {
        default_words: "entrypoint.timeouts.connect",
        unit: DURATION_UNIT,
        meaning: "A connect to the upstream.",
        example: "5s",
        ..key("connect_timeout", DURATION)
    },
    Key {
        default_words: "entrypoint.timeouts.body",
        unit: DURATION_UNIT,
        meaning: "Without a byte of progress in a request's body, or to a client that is sent its response.",
        example: "60s",
        ..key("body_timeout", DURATION)
    },
    Key {
        default_words: "entrypoint.timeouts.response_body",
        unit: DURATION_UNIT,
        meaning: "Silence of the upstream within a response's body.",
        example: "10m",
        ..key("response_body_timeout", DURATION)
    },
    Key {
        default_words: "any number",
        unit: "connections, 1 to 10000",
        meaning: "Connections to the upstream at once, each for one request or tunnel at a time: idle ones are \
                  not kept then. Further requests wait, at most `recreate_wait`, then 503.",
        example: "100",
        ..key("max_conns_per_host", CONNECTIONS)
    },
    Key {
        default_words: "they have",
        unit: "true or false",
        meaning: "Whether its requests have lines in entrypoint.access_log. The metrics count them in any case.",
        example: "false",
        ..key("access_log", Kind::Leaf(Leaf::Bool))
    },
    not_yet("disable_compression"),
    not_yet("ssl_certificate"),
    not_yet("ssl_certificate_key"),
    not_yet("ssl_protocols"),
    not_yet("inbound_mtls_profile"),
    not_yet("rules"),
    not_yet("rule_file"),
    not_yet("healthcheck"),
    not_yet("load_balance"),
    Key {
        meaning: "Who may ask. A request that is refused meets no gate and no upstream.",
        ..key("middlewares", Kind::Optional(super::access::MIDDLEWARES))
    },
    not_yet("homepage"),
    not_yet("relay_proxy_protocol_header"),
    not_yet("tls_termination"),
    not_yet("agent"),
    not_yet("proxmox"),
    not_yet("idlewatcher"),
];

/// True if `written` names `name`: case and `_` say nothing.
pub fn same_name(written: &str, name: &str) -> bool {
    let letters = |text: &str| -> Vec<u8> {
        text.bytes().filter(|b| *b != b'_').map(|b| b.to_ascii_lowercase()).collect()
    };
    // Most names differ in length by far: spare the copies.
    written.len() <= 2 * name.len() + 8 && letters(written) == letters(name)
}

/// The key of `keys` that `written` names.
pub fn find(keys: &'static [Key], written: &str) -> Option<&'static Key> {
    let names =
        |key: &Key| same_name(written, key.name) || (!key.also.is_empty() && same_name(written, key.also));
    keys.iter().find(|key| names(key))
}
