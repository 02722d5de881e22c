//! What the engine knows: its containers, their addresses and events. Plain data under one lock.

use super::addresses::Subnet;
use super::events::Events;
use super::pages::Run;
use super::spec::{Id, Refused, Spec, View};
use crate::util::rng::Rng;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// `State.Status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Created,
    Running,
    Paused,
    Exited,
}

impl Status {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Exited => "exited",
        }
    }

    /// Its process lives.
    pub(super) fn is_up(self) -> bool {
        matches!(self, Status::Running | Status::Paused)
    }
}

/// One container.
#[derive(Clone)]
pub(super) struct Container {
    pub id: Id,
    pub spec: Spec,
    pub status: Status,
    /// Someone is starting or stopping it; everybody else who wants to, or inspects it, waits.
    pub busy: bool,
    pub created: i64,
    pub started_at: Option<i64>,
    pub finished_at: Option<i64>,
    pub exit_code: i64,
    /// By `docker stop` or `docker kill`, not by the engine's restart.
    pub stopped_by_hand: bool,
    /// Its address while it runs, and until it is released after `die`.
    pub ip: Option<Ipv4Addr>,
    pub port: u16,
    pub run: Option<Arc<Run>>,
}

impl Container {
    pub(super) fn host_network(&self) -> bool {
        self.spec.network == "host"
    }

    /// `Actor.Attributes` of its events.
    pub(super) fn attributes(&self) -> BTreeMap<String, String> {
        let mut attributes = self.spec.labels.clone();
        attributes.insert("image".into(), self.spec.image.clone());
        attributes.insert("name".into(), self.spec.name.clone());
        attributes
    }

    pub(super) fn view(&self) -> View {
        View {
            id: self.id.clone(),
            name: self.spec.name.clone(),
            image: self.spec.image.clone(),
            labels: self.spec.labels.clone(),
            ip: self.ip.filter(|_| self.status.is_up()),
            port: self.port,
            started_at: self.started_at,
            running: self.status == Status::Running,
            paused: self.status == Status::Paused,
        }
    }
}

/// Everything under the engine's lock.
pub(super) struct World {
    pub containers: Vec<Container>,
    pub subnet: Subnet,
    pub events: Events,
    pub common_port: u16,
    rng: Rng,
}

impl World {
    pub(super) fn new(subnet: Subnet, common_port: u16, seed: u64) -> World {
        let rng = Rng::new(seed);
        World { containers: Vec::new(), subnet, events: Events::default(), common_port, rng }
    }

    /// Creates a container, stopped. Two may have the same name only during `relabel`.
    pub(super) fn create(&mut self, spec: Spec) -> Id {
        let id: String = (0..4).map(|_| format!("{:016x}", self.rng.next_u64())).collect();
        let port = spec.port.unwrap_or(self.common_port);
        let created = self.events.tick();
        self.containers.push(Container {
            id: id.clone(),
            spec,
            status: Status::Created,
            busy: false,
            created,
            started_at: None,
            finished_at: None,
            exit_code: 0,
            stopped_by_hand: false,
            ip: None,
            port,
            run: None,
        });
        self.container_event(&id, "create", &[]);
        id
    }

    /// By full id, by name, or by a prefix of the id that only one has, in this order.
    pub(super) fn find(&mut self, key: &str) -> Option<&mut Container> {
        let name = key.strip_prefix('/').unwrap_or(key);
        let exact = self.containers.iter().position(|c| c.id == key || c.spec.name == name);
        let prefix = || {
            let mut found = self.containers.iter().enumerate().filter(|(_, c)| c.id.starts_with(key));
            let first = found.next().filter(|_| !key.is_empty())?;
            found.next().is_none().then_some(first.0)
        };
        let at = exact.or_else(prefix)?;
        self.containers.get_mut(at)
    }

    /// As `find`, with Docker's 404.
    pub(super) fn expect(&mut self, key: &str) -> Result<&mut Container, Refused> {
        let missing = || Refused { status: 404, message: format!("No such container: {key}") };
        self.find(key).ok_or_else(missing)
    }

    /// Records an event of a container that exists.
    pub(super) fn container_event(&mut self, id: &str, action: &'static str, extra: &[(&str, &str)]) {
        let Some(container) = self.find(id) else { return };
        let mut attributes = container.attributes();
        attributes.extend(extra.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        self.events.push("container", action, id, attributes);
    }

    /// Records that a container joined or left its network.
    pub(super) fn network_event(&mut self, id: &str, action: &'static str) {
        let Some(container) = self.find(id) else { return };
        let network = container.spec.network.clone();
        let driver = if network == "host" { "host" } else { "bridge" };
        let pairs = [("container", id), ("name", &network), ("type", driver)];
        let attributes = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        self.events.push("network", action, &network_id(&network), attributes);
    }
}

/// A network's id: 64 hex digits that depend on its name only.
pub(super) fn network_id(name: &str) -> String {
    let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325, |h: u64, b| {
        (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3) // FNV-1a
    });
    let mut rng = Rng::new(seed);
    (0..4).map(|_| format!("{:016x}", rng.next_u64())).collect()
}
