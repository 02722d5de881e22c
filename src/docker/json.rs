//! Docker's JSON, as engines of API 1.40 to 1.52 and Podman's compatible service write it. Unknown fields
//! are ignored, missing and null ones tolerated.

use super::client::CallError;
use super::model::{Container, Network, Port, Protocol, RunState};
use crate::util::timestamp::parse_rfc3339;
use serde::{Deserialize, Deserializer};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};

/// `GET /version`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Version {
    #[serde(deserialize_with = "or_default")]
    pub(super) version: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) api_version: String,
    #[serde(rename = "MinAPIVersion", deserialize_with = "or_default")]
    pub(super) min_api_version: String,
}

/// `GET /info`: the part that matters here.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Info {
    #[serde(deserialize_with = "or_default")]
    pub(super) live_restore_enabled: bool,
    #[serde(deserialize_with = "or_default")]
    pub(super) system_time: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) server_version: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) operating_system: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) architecture: String,
}

/// One entry of `GET /containers/json`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Listed {
    #[serde(deserialize_with = "or_default")]
    id: String,
    #[serde(deserialize_with = "or_default")]
    names: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    image: String,
    #[serde(deserialize_with = "or_default")]
    labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    state: String,
    #[serde(deserialize_with = "or_default")]
    host_config: HostConfig,
    #[serde(deserialize_with = "or_default")]
    network_settings: ListedNetworks,
    #[serde(deserialize_with = "or_default")]
    ports: Vec<ListedPort>,
    #[serde(deserialize_with = "or_default")]
    mounts: Vec<Mount>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ListedNetworks {
    #[serde(deserialize_with = "or_default")]
    networks: BTreeMap<String, Option<Endpoint>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ListedPort {
    private_port: u16,
    public_port: Option<u16>,
    #[serde(rename = "Type", deserialize_with = "or_default")]
    protocol: String,
}

/// `GET /containers/{id}/json`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Inspected {
    #[serde(deserialize_with = "or_default")]
    id: String,
    #[serde(deserialize_with = "or_default")]
    name: String,
    #[serde(deserialize_with = "or_default")]
    state: State,
    #[serde(deserialize_with = "or_default")]
    config: Config,
    #[serde(deserialize_with = "or_default")]
    host_config: HostConfig,
    #[serde(deserialize_with = "or_default")]
    network_settings: NetworkSettings,
    #[serde(deserialize_with = "or_default")]
    mounts: Vec<Mount>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct State {
    #[serde(deserialize_with = "or_default")]
    status: String,
    #[serde(deserialize_with = "or_default")]
    running: bool,
    #[serde(deserialize_with = "or_default")]
    started_at: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Config {
    #[serde(deserialize_with = "or_default")]
    image: String,
    #[serde(deserialize_with = "or_default")]
    labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    exposed_ports: BTreeMap<String, serde::de::IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct HostConfig {
    #[serde(deserialize_with = "or_default")]
    network_mode: String,
    #[serde(deserialize_with = "or_default")]
    port_bindings: BTreeMap<String, Option<Vec<Binding>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct NetworkSettings {
    #[serde(deserialize_with = "or_default")]
    networks: BTreeMap<String, Option<Endpoint>>,
    #[serde(deserialize_with = "or_default")]
    ports: BTreeMap<String, Option<Vec<Binding>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Endpoint {
    #[serde(rename = "NetworkID", deserialize_with = "or_default")]
    network_id: String,
    #[serde(rename = "IPAddress", deserialize_with = "or_default")]
    ip_address: String,
    #[serde(rename = "GlobalIPv6Address", deserialize_with = "or_default")]
    global_ipv6_address: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Binding {
    #[serde(deserialize_with = "or_default")]
    host_port: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Mount {
    #[serde(deserialize_with = "or_default")]
    destination: String,
}

/// `null` is as good as missing.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads one answer.
pub(super) fn read<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Result<T, CallError> {
    serde_json::from_slice(body).map_err(|error| CallError::Malformed(error.to_string()))
}

/// The message of an error's answer, `{"message":"…"}` (Podman adds `cause`); else its text, cut short.
pub(super) fn error_message(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Message {
        message: String,
    }
    match serde_json::from_slice::<Message>(body) {
        Ok(answer) => answer.message,
        Err(_) => String::from_utf8_lossy(body).trim().chars().take(200).collect(),
    }
}

/// `GET /containers/json` as containers without `started_at`; entries without an id are left out.
pub fn listed(body: &[u8]) -> Result<Vec<Container>, CallError> {
    let entries: Vec<Listed> = read(body)?;
    Ok(entries.into_iter().filter(|entry| !entry.id.is_empty()).map(Container::from).collect())
}

/// `GET /containers/{id}/json`.
pub fn inspected(body: &[u8]) -> Result<Container, CallError> {
    let inspected: Inspected = read(body)?;
    if inspected.id.is_empty() {
        return Err(CallError::Malformed("a container without Id".into()));
    }
    Ok(Container::from(inspected))
}

impl From<Listed> for Container {
    fn from(listed: Listed) -> Self {
        // Links (`--link`) give more names, `/other/alias`; the container's own has one slash.
        let own = listed.names.iter().find(|name| !name.trim_start_matches('/').contains('/'));
        let name = own.or(listed.names.first()).map_or("", |name| name.trim_start_matches('/')).to_owned();
        let state = run_state(&listed.state, false);
        let ports = listed.ports.iter().filter_map(|port| {
            let protocol = protocol(&port.protocol)?;
            (port.private_port != 0).then_some((port.private_port, protocol, port.public_port))
        });
        Container {
            id: listed.id,
            name,
            image: listed.image,
            labels: listed.labels,
            state,
            started_at: None,
            host_network: listed.host_config.network_mode == "host",
            networks: networks(listed.network_settings.networks, state),
            ports: merged(ports),
            mounts: listed.mounts.into_iter().map(|mount| mount.destination).collect(),
        }
    }
}

impl From<Inspected> for Container {
    fn from(inspected: Inspected) -> Self {
        let state = run_state(&inspected.state.status, inspected.state.running);
        let exposed = inspected.config.exposed_ports.keys();
        let exposed = exposed.filter_map(|key| port_key(key).map(|(port, protocol)| (port, protocol, None)));
        let bound = inspected.host_config.port_bindings.iter().chain(&inspected.network_settings.ports);
        let bound = bound.flat_map(|(key, bindings)| {
            let key = port_key(key);
            let public = bindings.iter().flatten().map(|binding| binding.host_port.parse().ok());
            let ports: Vec<Option<u16>> = std::iter::once(None).chain(public).collect();
            ports.into_iter().filter_map(move |public| key.map(|(port, protocol)| (port, protocol, public)))
        });
        let ports = merged(exposed.chain(bound));
        Container {
            id: inspected.id,
            name: inspected.name.trim_start_matches('/').to_owned(),
            image: inspected.config.image,
            labels: inspected.config.labels,
            state,
            started_at: parse_rfc3339(&inspected.state.started_at),
            host_network: inspected.host_config.network_mode == "host",
            networks: networks(inspected.network_settings.networks, state),
            ports,
            mounts: inspected.mounts.into_iter().map(|mount| mount.destination).collect(),
        }
    }
}

/// `State.Status`; Podman's own words are mapped as its compatible service does it.
fn run_state(status: &str, running: bool) -> RunState {
    match status {
        "running" => RunState::Running,
        "created" | "configured" | "initialized" => RunState::Created,
        "paused" => RunState::Paused,
        "restarting" => RunState::Restarting,
        "removing" => RunState::Removing,
        "dead" => RunState::Dead,
        // Still up, but on its way out: nothing new shall be sent to it.
        "exited" | "stopped" | "stopping" => RunState::Exited,
        _ if running => RunState::Running,
        _ => RunState::Exited,
    }
}

/// A container that does not run has no address, whatever is still written there.
fn networks(networks: BTreeMap<String, Option<Endpoint>>, state: RunState) -> Vec<Network> {
    let up = matches!(state, RunState::Running | RunState::Paused);
    let convert = |(name, endpoint): (String, Option<Endpoint>)| {
        let endpoint = endpoint.unwrap_or_default();
        let v4 = endpoint.ip_address.parse::<Ipv4Addr>().ok().map(Into::into);
        let v6 = || endpoint.global_ipv6_address.parse::<Ipv6Addr>().ok().map(Into::into);
        let ip = if up { v4.or_else(v6) } else { None };
        Network { name, id: endpoint.network_id, ip }
    };
    networks.into_iter().map(convert).collect()
}

/// `80/tcp`.
fn port_key(key: &str) -> Option<(u16, Protocol)> {
    let (port, kind) = key.split_once('/').unwrap_or((key, "tcp"));
    let port = port.parse().ok().filter(|port| *port != 0)?;
    Some((port, protocol(kind)?))
}

fn protocol(kind: &str) -> Option<Protocol> {
    match kind {
        "tcp" | "" => Some(Protocol::Tcp),
        "udp" => Some(Protocol::Udp),
        "sctp" => Some(Protocol::Sctp),
        _ => None,
    }
}

/// Sorted, without doubles (one for each of IPv4 and IPv6); a port published is not told as exposed too.
fn merged(ports: impl Iterator<Item = (u16, Protocol, Option<u16>)>) -> Vec<Port> {
    let all: BTreeSet<(u16, Protocol, Option<u16>)> =
        ports.filter(|(_, _, public)| *public != Some(0)).collect();
    let published: BTreeSet<(u16, Protocol)> =
        all.iter().filter(|(.., public)| public.is_some()).map(|(port, kind, _)| (*port, *kind)).collect();
    let told = all
        .into_iter()
        .filter(|(private, kind, public)| public.is_some() || !published.contains(&(*private, *kind)));
    let mut ports: Vec<Port> =
        told.map(|(private, protocol, public)| Port { private, public, protocol }).collect();
    ports.sort();
    ports
}

/// What happened to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    /// A run began.
    Start,
    /// A run ended.
    Die,
    /// It was removed.
    Destroy,
    /// It joined or left a network; each start and each end brings one for every network.
    Network,
    /// Something else that `inspect` shows: created, renamed, paused, its health.
    Change,
}

/// One event of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The container's full id.
    pub id: String,
    /// When, nanoseconds since the Unix epoch by the engine's clock.
    pub at: i64,
    /// What.
    pub happened: Happened,
}

/// One line of `GET /events`; `Ok(None)` for an event that concerns no container, or changes nothing.
pub fn event(line: &[u8]) -> Result<Option<Event>, CallError> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Line {
        #[serde(rename = "Type", deserialize_with = "or_default")]
        kind: String,
        #[serde(rename = "Action", deserialize_with = "or_default")]
        action: String,
        #[serde(rename = "Actor", deserialize_with = "or_default")]
        actor: Actor,
        #[serde(deserialize_with = "or_default")]
        time: i64,
        #[serde(rename = "timeNano", deserialize_with = "or_default")]
        time_nano: i64,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Actor {
        #[serde(rename = "ID", deserialize_with = "or_default")]
        id: String,
        #[serde(rename = "Attributes", deserialize_with = "or_default")]
        attributes: Attributes,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Attributes {
        #[serde(deserialize_with = "or_default")]
        container: String,
    }
    let line: Line = read(line)?;
    // `health_status: healthy`
    let action = line.action.split(':').next().unwrap_or_default();
    let (id, happened) = match (line.kind.as_str(), action) {
        ("container", "start") => (line.actor.id, Happened::Start),
        ("container", "die" | "died") => (line.actor.id, Happened::Die),
        ("container", "destroy" | "remove") => (line.actor.id, Happened::Destroy),
        ("container", "create" | "rename" | "pause" | "unpause" | "health_status" | "update") => {
            (line.actor.id, Happened::Change)
        }
        ("network", "connect" | "disconnect") => (line.actor.attributes.container, Happened::Network),
        _ => return Ok(None),
    };
    if id.is_empty() {
        return Err(CallError::Malformed(format!("an event `{action}` without a container's id")));
    }
    let at = if line.time_nano != 0 { line.time_nano } else { line.time.saturating_mul(1_000_000_000) };
    Ok(Some(Event { id, at, happened }))
}
