//! A container as the rest of the program sees it: typed, without Docker's JSON.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// State of a container (`State.Status` of `GET /containers/{id}/json`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RunState {
    Created,
    Running,
    Paused,
    Restarting,
    Removing,
    Exited,
    Dead,
}

/// Transport of a published or exposed port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

/// A port that the image exposes or that is published.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Port {
    /// The port inside the container.
    pub private: u16,
    /// The port on the host, if published.
    pub public: Option<u16>,
    /// Transport.
    pub protocol: Protocol,
}

/// The container's place in one network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// The network's name (`NetworkSettings.Networks` key), `bridge` for the default one.
    pub name: String,
    /// `NetworkID`; empty when unknown.
    pub id: String,
    /// `IPAddress`, else `GlobalIPv6Address`; none while the container does not run.
    pub ip: Option<IpAddr>,
}

/// One container of an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// The full id, 64 hex digits.
    pub id: String,
    /// The name without its leading slash.
    pub name: String,
    /// The image reference as the container was created with (`Config.Image`).
    pub image: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Whether it runs.
    pub state: RunState,
    /// `State.StartedAt`, nanoseconds since the Unix epoch; none if it never started.
    pub started_at: Option<i64>,
    /// `HostConfig.NetworkMode` is `host`.
    pub host_network: bool,
    /// Its networks, by name.
    pub networks: Vec<Network>,
    /// Exposed and published ports, sorted, without doubles.
    pub ports: Vec<Port>,
    /// Destinations of its mounts.
    pub mounts: Vec<String>,
}

impl Container {
    /// The first twelve digits of the id, as Docker prints it.
    pub fn short_id(&self) -> &str {
        self.id.get(..12).unwrap_or(&self.id)
    }

    /// True if requests can reach it: running, and not paused.
    pub fn is_running(&self) -> bool {
        self.state == RunState::Running
    }
}
