//! Where a running container is reached from where Tidegate runs.

use super::labels::AliasLabels;
use super::place::shown;
use super::{Context, Reach, Target};
use crate::docker::model::{Container, Network, Protocol};

/// The target for `port` of a running `container`, and where its host is from.
pub fn choose(ctx: &Context, container: &Container, alias: &AliasLabels, port: u16) -> (Target, String) {
    if let Some(said) = &alias.host {
        return address(said.value.clone(), port, format!("label {}", said.label));
    }
    match ctx.reach {
        Reach::Host if container.host_network => {
            address("127.0.0.1".to_owned(), port, "on the host's network".to_owned())
        }
        Reach::Host if container.networks.is_empty() => published(container, port),
        Reach::Host => by_network(container, |_| true, port),
        Reach::Container { .. } if container.host_network => {
            unreachable("on the host's network only, Tidegate is in a container beside it")
        }
        Reach::Container { networks } => {
            let shared = |n: &Network| {
                networks.iter().any(|ours| *ours == n.name || (*ours == n.id && !ours.is_empty()))
            };
            by_network(container, shared, port)
        }
    }
}

/// What helps against an unreachable container.
pub fn hint(ctx: &Context, container: &Container) -> Option<&'static str> {
    let has_network = container.networks.iter().any(is_usable);
    match ctx.reach {
        Reach::Container { .. } if container.host_network => {
            Some("give Tidegate's container the host's network too, or set `proxy.<alias>.host`")
        }
        Reach::Container { .. } if has_network => Some("connect Tidegate's container to that network"),
        _ => Some("publish a port, or set `proxy.<alias>.host` and `port`"),
    }
}

/// On the first network by name that is shared and where the container has an address.
fn by_network(container: &Container, shared: impl Fn(&Network) -> bool, port: u16) -> (Target, String) {
    let mut networks: Vec<&Network> = container.networks.iter().filter(|n| is_usable(n)).collect();
    networks.sort_by(|a, b| a.name.cmp(&b.name));
    let usable = networks.iter().filter(|n| shared(n)).find_map(|n| Some((n.name.as_str(), n.ip?)));
    if let Some((name, ip)) = usable {
        return address(ip.to_string(), port, format!("address on network {}", shown(name)));
    }
    let names: Vec<String> = networks.iter().take(8).map(|n| shown(&n.name)).collect();
    if networks.iter().any(|n| shared(n)) {
        return unreachable(&format!("it has no address on {}", on(&names)));
    }
    match names.is_empty() {
        true if container.networks.is_empty() => unreachable("on no network of its own"),
        true => unreachable("on network none: it has no address"),
        false => unreachable(&format!("on {} only", on(&names))),
    }
}

/// Docker's pseudo networks have no addresses.
fn is_usable(network: &Network) -> bool {
    !matches!(network.name.as_str(), "none" | "host")
}

/// A container without a network of its own (as in `network_mode: container:vpn`) is reached by what is
/// published for it, if anything is: its port alone would lead to whoever listens there on the host.
fn published(container: &Container, port: u16) -> (Target, String) {
    let tcp = container.ports.iter().filter(|p| p.protocol == Protocol::Tcp);
    let by_private = tcp.clone().find(|p| p.private == port).and_then(|p| p.public);
    match by_private.or_else(|| tcp.filter_map(|p| p.public).find(|public| *public == port)) {
        Some(public) => address("127.0.0.1".to_owned(), public, format!("published as port {public}")),
        None => unreachable("on no network of its own, and the port is not published"),
    }
}

fn address(host: String, port: u16, why: String) -> (Target, String) {
    (Target::Address { host, port }, why)
}

fn unreachable(why: &str) -> (Target, String) {
    (Target::Unreachable { reason: format!("unreachable: {why}") }, String::new())
}

fn on(names: &[String]) -> String {
    match names {
        [one] => format!("network {one}"),
        many => format!("networks {}", many.join(", ")),
    }
}
