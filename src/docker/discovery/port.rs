//! Which port of a container, and what is spoken there.
//!
//! The port is the first of: the label, the known port of the alias, of the image, the best of the exposed
//! TCP ports. The scheme is the first of: the label, what the known service speaks on that port, the
//! port's number.

use super::exclusion::DATABASE_PORTS;
use super::labels::AliasLabels;
use crate::docker::model::{Container, Port, Protocol};
use crate::route::Scheme;
use crate::route::image::Image;
use crate::route::ports::{self, Known, Speaks};

/// A port, its scheme and why.
#[derive(Debug)]
pub struct Chosen {
    pub port: u16,
    pub port_why: String,
    pub speaks: Protocols,
    pub scheme_why: String,
}

/// What is spoken on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocols {
    Http(Scheme),
    /// A protocol of its own over TCP.
    Tcp,
    /// Only published or exposed over UDP.
    Udp,
}

/// Chooses; none without any TCP port.
pub fn choose(container: &Container, alias: &AliasLabels) -> Option<Chosen> {
    let known = known(container, alias);
    let (port, port_why) = port(container, alias, known.as_ref())?;
    let (speaks, scheme_why) = speaks(container, alias, port, known.as_ref());
    Some(Chosen { port, port_why, speaks, scheme_why })
}

/// The known service, and how it is known. One that speaks otherwise than the scheme label says is not it.
fn known(container: &Container, alias: &AliasLabels) -> Option<(Known, String)> {
    let image = Image::parse(&container.image).name;
    let by_alias = ports::by_alias(&alias.slot).map(|known| (known, format!("alias {}", alias.slot)));
    let by_image = || ports::by_image(image).map(|known| (known, format!("image {image}")));
    let (known, whose) = by_alias.or_else(by_image)?;
    match &alias.scheme {
        Some(said) if Some(said.value) != scheme_of(known.speaks) => None,
        _ => Some((known, whose)),
    }
}

fn port(
    container: &Container,
    alias: &AliasLabels,
    known: Option<&(Known, String)>,
) -> Option<(u16, String)> {
    if let Some(said) = &alias.port {
        return Some((said.value, format!("label {}", said.label)));
    }
    if let Some((known, whose)) = known {
        return Some((known.port, format!("known port of {whose}")));
    }
    let mut exposed: Vec<u16> = tcp(container).map(|port| port.private).collect();
    exposed.sort_unstable();
    exposed.dedup();
    let best = ports::best(exposed.iter().copied())?;
    let why = match exposed.len() {
        1 => "the only TCP port".to_owned(),
        _ if ports::PREFERRED.contains(&best) => format!("preferred among {}", list(&exposed)),
        _ => format!("lowest of {}", list(&exposed)),
    };
    Some((best, why))
}

fn speaks(
    container: &Container,
    alias: &AliasLabels,
    port: u16,
    known: Option<&(Known, String)>,
) -> (Protocols, String) {
    if let Some(said) = &alias.scheme {
        return (Protocols::Http(said.value), format!("label {}", said.label));
    }
    if let Some((known, whose)) = known.filter(|(known, _)| known.port == port) {
        let speaks = scheme_of(known.speaks).map_or(Protocols::Tcp, Protocols::Http);
        return (speaks, format!("known scheme of {whose}"));
    }
    let matching = |p: &&Port| p.private == port || p.public == Some(port);
    let by_udp = container.ports.iter().filter(matching).any(|p| p.protocol == Protocol::Udp);
    if by_udp && !tcp(container).any(|p| matching(&p)) {
        return (Protocols::Udp, format!("port {port} is exposed over UDP only"));
    }
    if alias.port.is_none() && DATABASE_PORTS.contains(&port) {
        return (Protocols::Tcp, format!("port {port} is a database's"));
    }
    match ports::looks_like_tls(port) {
        true => (Protocols::Http(Scheme::Https), format!("port {port} ends with 443")),
        false => (Protocols::Http(Scheme::Http), "default".to_owned()),
    }
}

fn tcp(container: &Container) -> impl Iterator<Item = &Port> {
    container.ports.iter().filter(|port| port.protocol == Protocol::Tcp)
}

fn scheme_of(speaks: Speaks) -> Option<Scheme> {
    match speaks {
        Speaks::Http => Some(Scheme::Http),
        Speaks::Https => Some(Scheme::Https),
        Speaks::Tcp => None,
    }
}

fn list(ports: &[u16]) -> String {
    let shown: Vec<String> = ports.iter().take(8).map(u16::to_string).collect();
    let more = if ports.len() > shown.len() { ", ..." } else { "" };
    format!("{}{more}", shown.join(", "))
}
