//! What is served now and why, for people: made when somebody asks, from what the last snapshot was made of.

use super::merge::{Candidate, Origin};
use super::world::{EngineView, World, in_words};
use crate::docker::discovery::Why;
use crate::docker::{EngineState, Identity};
use crate::error::Problem;
use crate::route::{self, Scheme};
use crate::snapshot::Target;
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

/// The whole of it.
#[derive(Clone, Debug)]
pub struct Status {
    /// By alias.
    pub routes: Vec<RouteStatus>,
    /// Containers, and aliases of containers, that are not served.
    pub excluded: Vec<Exclusion>,
    /// What a person should mend.
    pub problems: Vec<Problem>,
    /// In the order of the configuration.
    pub engines: Vec<EngineStatus>,
    /// The files of the configuration; empty if the defaults stand alone.
    pub files: Vec<PathBuf>,
}

/// One alias.
#[derive(Clone, Debug)]
pub struct RouteStatus {
    /// In its canonical form.
    pub alias: String,
    /// Where requests go, or what they are told.
    pub target: Whereto,
    /// How the service is spoken to.
    pub scheme: Scheme,
    /// The network that the address is on, if it is a container's own.
    pub network: Option<String>,
    /// Each choice in words; empty where none was made.
    pub why: Why,
    /// Its access rules in words, those of the entrypoint before them; nothing secret.
    pub access: Vec<String>,
    /// Where the route is from: a place in a file, or a container.
    pub origin: String,
    /// The authorities that its upstream is verified against, if it has its own (`ssl_trusted_certificate`).
    pub trusted: Option<PathBuf>,
    /// The engine, of a container.
    pub engine: Option<String>,
    /// The container's name.
    pub container: Option<String>,
    /// The container's state.
    pub state: Option<&'static str>,
}

/// Where requests of a route go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whereto {
    /// To this address.
    Serve { host: String, port: u16 },
    /// They wait, for at most the duration (`recreate_wait`).
    Wait { reason: String, longest: Duration },
    /// They are answered with this status.
    Refuse { status: u16, reason: String },
}

/// What is not served, and why.
#[derive(Clone, Debug)]
pub struct Exclusion {
    /// The engine's name.
    pub engine: String,
    /// The container's name.
    pub container: String,
    /// One alias of it; none means all of it.
    pub alias: Option<String>,
    /// Why.
    pub reason: String,
}

/// One engine.
#[derive(Clone, Debug)]
pub struct EngineStatus {
    /// Its name in `providers.docker`.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// Its state.
    pub state: EngineState,
    /// The state in words.
    pub reason: String,
    /// Its containers are known: a list was reconciled, and is not in doubt now.
    pub listed: bool,
    /// It is not known yet whether it can be reached, or it can and its list is on its way.
    pub awaited: bool,
    /// What it is, once it has said so.
    pub identity: Option<Identity>,
    /// Containers, running or not.
    pub containers: usize,
}

/// The routes of files by their canonical alias.
type Files<'w> = HashMap<String, &'w route::Settings>;

impl World {
    /// What is served as of the last snapshot, and why.
    pub fn status(&self) -> Status {
        let file_routes = self.setup.file_routes.iter();
        let files: Files = file_routes.map(|route| (route::canonical(&route.alias), route)).collect();
        let winners = self.winners.values();
        Status {
            routes: winners.map(|(candidate, target)| self.route(candidate, target, &files)).collect(),
            excluded: self.engines.iter().flat_map(exclusions).collect(),
            problems: self.problems().cloned().collect(),
            engines: self
                .engines
                .iter()
                .zip(&self.setup.engines)
                .map(|(view, s)| engine(view, &s.url))
                .collect(),
            files: self.setup.files.clone(),
        }
    }

    fn route(&self, candidate: &Candidate, target: &Target, files: &Files) -> RouteStatus {
        let target = match target {
            Target::Endpoint(endpoint) => {
                Whereto::Serve { host: endpoint.host.to_string(), port: endpoint.port }
            }
            Target::Wait(reason) => {
                Whereto::Wait { reason: reason.to_string(), longest: self.setup.recreate_wait }
            }
            Target::Refuse { status, reason } => {
                Whereto::Refuse { status: *status, reason: reason.to_string() }
            }
        };
        let mut status = RouteStatus {
            alias: candidate.alias.to_string(),
            target,
            scheme: Scheme::Http,
            network: None,
            why: Why::default(),
            access: self.access(candidate),
            origin: candidate.name.clone(),
            trusted: candidate.tls.as_ref().and_then(|tls| tls.trusted.clone()),
            engine: None,
            container: None,
            state: None,
        };
        match &candidate.origin {
            Origin::Admin => status.origin = candidate.name.clone(),
            Origin::File => of_file(&mut status, files),
            Origin::Container { engine, name, id, .. } => {
                status.container = Some(name.clone());
                self.of_container(&mut status, &self.engines[*engine], id);
            }
        }
        status
    }

    fn access(&self, candidate: &Candidate) -> Vec<String> {
        let entrypoint = self.setup.entrypoint.access.iter().flat_map(|rules| rules.in_words());
        let own = candidate.access.iter().flat_map(|rules| rules.in_words());
        entrypoint.map(|words| format!("entrypoint: {words}")).chain(own).collect()
    }

    fn of_container(&self, status: &mut RouteStatus, engine: &EngineView, id: &str) {
        status.engine = Some(engine.name.to_string());
        let Some(seen) = engine.containers.get(id) else { return };
        status.state = Some(in_words(seen.container.state));
        let mut routes = seen.discovery.routes.iter();
        if let Some(found) = routes.find(|found| route::canonical(&found.alias) == status.alias) {
            status.scheme = found.scheme;
            status.why = found.why.clone();
        }
        if let Whereto::Serve { host, .. } = &status.target {
            let mut networks = seen.container.networks.iter();
            let on = networks.find(|network| network.ip.is_some_and(|ip| ip.to_string() == *host));
            status.network = on.map(|network| network.name.clone());
        }
    }
}

fn of_file(status: &mut RouteStatus, files: &Files) {
    let Some(route) = files.get(&status.alias) else { return };
    status.scheme = route.scheme.unwrap_or(Scheme::Http);
    let said = |said: bool, what: &str| match said {
        true => format!("{what} of the route file"),
        false => "default".into(),
    };
    status.why = Why {
        host: said(route.host.is_some(), "host"),
        port: said(route.port.is_some(), "port"),
        scheme: said(route.scheme.is_some(), "scheme"),
    };
}

fn exclusions(engine: &EngineView) -> Vec<Exclusion> {
    let of = |seen: &super::world::Seen| {
        let exclusion = |alias: Option<String>, reason: String| Exclusion {
            engine: engine.name.to_string(),
            container: seen.container.name.clone(),
            alias,
            reason,
        };
        match &seen.discovery.excluded {
            Some(excluded) => vec![exclusion(None, excluded.to_string())],
            None => {
                let skipped = seen.discovery.skipped.iter();
                skipped.map(|(alias, why)| exclusion(Some(alias.clone()), why.to_string())).collect()
            }
        }
    };
    let mut all: Vec<Exclusion> = engine.containers.values().flat_map(of).collect();
    all.sort_by(|a, b| (&a.container, &a.alias).cmp(&(&b.container, &b.alias)));
    all
}

fn engine(view: &EngineView, url: &str) -> EngineStatus {
    let verified = view.state != EngineState::Unverified;
    EngineStatus {
        name: view.name.to_string(),
        url: url.to_owned(),
        state: view.state.clone(),
        reason: view.reason.clone(),
        listed: view.listed && verified,
        awaited: !view.heard || !verified,
        identity: view.identity.clone(),
        containers: view.containers.len(),
    }
}
