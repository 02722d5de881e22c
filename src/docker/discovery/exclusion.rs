//! What is not routed: no database is exposed because somebody started it.

use super::labels::Labels;
use super::{Container, Context};
use crate::docker::model::Protocol;
use crate::route::image::Image;
use std::fmt;

/// Why a container, or one of its aliases, is not routed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Excluded {
    /// Tidegate's own container.
    Own,
    /// `proxy.exclude`, by this label.
    Manual { label: String },
    /// No `proxy.` label, and its engine is explicit-only.
    NotExplicit,
    /// A builder of `docker buildx`.
    Buildx,
    /// A database or the like, without a `proxy.` label; what gave it away.
    Blacklisted { reason: String },
    /// A service that speaks no HTTP, without a `proxy.` label.
    NoHttp { reason: String },
    /// No TCP port is known.
    NoPort,
    /// The alias begins with `x-`: a YAML anchor.
    Anchor,
    /// The alias ends with `-old`: a leftover of an update.
    Old,
}

impl fmt::Display for Excluded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Excluded::Own => f.write_str("Tidegate's own container"),
            Excluded::Manual { label } => write!(f, "manual: label {label}"),
            Excluded::NotExplicit => f.write_str("not explicit: it has no label that begins with proxy."),
            Excluded::Buildx => f.write_str("a builder of docker buildx"),
            Excluded::Blacklisted { reason } => write!(f, "blacklisted: {reason}"),
            Excluded::NoHttp { reason } => write!(f, "tcp, not HTTP: {reason}"),
            Excluded::NoPort => f.write_str("no port: none exposed over TCP, none set, none known"),
            Excluded::Anchor => f.write_str("alias begins with x-"),
            Excluded::Old => f.write_str("alias ends with -old"),
        }
    }
}

/// The reason why nothing of `container` is routed.
pub(super) fn of_container(ctx: &Context, container: &Container, labels: &Labels) -> Option<Excluded> {
    if ctx.own_id.is_some_and(|own| is_same_id(&container.id, own)) {
        return Some(Excluded::Own);
    }
    if let Some(label) = &labels.exclude {
        return Some(Excluded::Manual { label: label.clone() });
    }
    if container.name.starts_with("buildx_") {
        return Some(Excluded::Buildx);
    }
    if labels.explicit {
        return None;
    }
    if ctx.explicit_only {
        return Some(Excluded::NotExplicit);
    }
    blacklisted(container).map(|reason| Excluded::Blacklisted { reason })
}

/// The reason why one alias is not routed.
pub(super) fn of_alias(slot: &str) -> Option<Excluded> {
    match slot {
        _ if slot.starts_with("x-") => Some(Excluded::Anchor),
        _ if slot.ends_with("-old") => Some(Excluded::Old),
        _ => None,
    }
}

/// Private ports of PostgreSQL, MySQL, Redis, memcached and MongoDB.
pub(super) const DATABASE_PORTS: [u16; 5] = [5432, 3306, 6379, 11211, 27017];

const IMAGES: [&str; 15] = [
    "postgres",
    "mysql",
    "mariadb",
    "redis",
    "memcached",
    "mongo",
    "rabbitmq",
    "couchdb",
    "neo4j",
    "telegraf",
    "elasticsearch",
    "meilisearch",
    "kibana",
    "solr",
    "valkey",
];

const AUTHORS: [&str; 6] = ["selenium", "browserless", "zenika", "zabbix", "moby", "docker"];

/// Data directories; what lies below them counts too (`/var/lib/postgresql/data`).
const MOUNTS: [&str; 6] = [
    "/var/lib/postgresql",
    "/var/lib/mysql",
    "/var/lib/mongodb",
    "/var/lib/mariadb",
    "/var/lib/memcached",
    "/var/lib/rabbitmq",
];

fn blacklisted(container: &Container) -> Option<String> {
    let image = Image::parse(&container.image);
    if let Some(name) = IMAGES.iter().find(|name| **name == image.name) {
        return Some(format!("image {name}"));
    }
    if let Some(author) = AUTHORS.iter().find(|author| **author == image.public_author()) {
        return Some(format!("image by {author}"));
    }
    let below = |mount: &str, dir: &str| {
        mount.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if let Some(dir) = MOUNTS.iter().find(|dir| container.mounts.iter().any(|mount| below(mount, dir))) {
        return Some(format!("mount {dir}"));
    }
    let tcp = container.ports.iter().filter(|port| port.protocol == Protocol::Tcp);
    let port = tcp.map(|port| port.private).find(|port| DATABASE_PORTS.contains(port))?;
    Some(format!("port {port}"))
}

/// `own` may be a short id: a container's host name is its first 12 digits.
fn is_same_id(id: &str, own: &str) -> bool {
    own.len() >= 12 && id.starts_with(own)
}
