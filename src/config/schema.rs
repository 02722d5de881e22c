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
}

/// What a value is.
pub enum Kind {
    /// A mapping of known keys.
    Section(&'static [Key]),
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
    /// One value.
    Leaf(Leaf),
    /// GoDoxy knows it; here it is a problem that says "not supported yet".
    NotYet,
}

/// What the free names of a mapping are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// Engines: a last `!` is no part of the name.
    Engine,
    /// Aliases of routes, compared without case; `x-…` is ignored.
    Alias,
}

/// What one value is.
#[derive(Clone, Copy, Debug)]
pub enum Leaf {
    /// A whole number within bounds.
    Integer { min: u64, max: u64 },
    /// A Go duration, or seconds.
    Duration { max: Duration },
    /// A domain, with or without a leading dot.
    Domain,
    /// An address to listen on.
    Listen,
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
}

const fn key(name: &'static str, kind: Kind) -> Key {
    Key { name, kind, default: "", default_words: "", unit: "", meaning: "", example: "", env: &[] }
}

const fn not_yet(name: &'static str) -> Key {
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
    Key { meaning: "Where routes come from.", ..key("providers", Kind::Section(PROVIDERS)) },
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
    not_yet("https_addr"),
    not_yet("proxy_protocol"),
    not_yet("support_proxy_protocol"),
    not_yet("inbound_mtls_profile"),
    not_yet("rules"),
    not_yet("middlewares"),
    Key {
        meaning: "A line for each request, to a file, to standard output, or both. Without either there is none.",
        ..key("access_log", Kind::Section(ACCESS_LOG))
    },
];

static ACCESS_LOG: &[Key] = &[
    Key {
        default_words: "none",
        unit: "file, relative to this file",
        meaning: "Appended to, and opened anew on SIGUSR1 and SIGHUP: rename it first, then send the signal.",
        example: "access.log",
        ..key("path", Kind::Leaf(Leaf::File))
    },
    Key {
        default: "false",
        unit: "true or false",
        meaning: "Write the lines to standard output.",
        example: "true",
        ..key("stdout", Kind::Leaf(Leaf::Word(&["true", "false"])))
    },
    Key {
        default: "combined",
        unit: "common, combined or json",
        meaning: "How a line looks. `common` is the host, then the common log format; `combined` adds \
                  referer and user agent; `json` is one object a line. Times are UTC.",
        example: "combined",
        ..key("format", Kind::Leaf(Leaf::Word(&["common", "combined", "json"])))
    },
    not_yet("retention"),
    not_yet("keep"),
    not_yet("rotate_interval"),
    not_yet("filters"),
    not_yet("fields"),
];

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
        meaning: "How the upstream is spoken to. https is understood and answered 502 for now.",
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
    not_yet("bind"),
    not_yet("root"),
    not_yet("spa"),
    not_yet("index"),
    not_yet("no_tls_verify"),
    not_yet("response_header_timeout"),
    not_yet("max_conns_per_host"),
    not_yet("disable_compression"),
    not_yet("ssl_server_name"),
    not_yet("ssl_trusted_certificate"),
    not_yet("ssl_certificate"),
    not_yet("ssl_certificate_key"),
    not_yet("ssl_protocols"),
    not_yet("inbound_mtls_profile"),
    not_yet("rules"),
    not_yet("rule_file"),
    not_yet("healthcheck"),
    not_yet("load_balance"),
    not_yet("middlewares"),
    not_yet("homepage"),
    not_yet("access_log"),
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
    keys.iter().find(|key| same_name(written, key.name))
}
