//! What the control thread knows: engines, their containers, the routes they make. Pure but for the log: no
//! socket, no clock.

use super::merge::{self, Candidate, Origin};
use crate::docker::discovery::{self, Context, Discovery, Reach};
use crate::docker::{Backlog, Container, EngineState, Identity, Mark, Report, RunState};
use crate::error::{Place, Problem};
use crate::route::{self, Table};
use crate::snapshot::{Endpoint, EndpointKey, EndpointRegistry, Route, Run, Snapshot, Target, Unknown};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the world starts from: the resolved configuration.
pub struct WorldSetup {
    pub engines: Vec<EngineSetup>,
    pub file_routes: Vec<route::Settings>,
    pub match_domains: Vec<String>,
    pub recreate_wait: Duration,
    pub entrypoint: Arc<route::Entrypoint>,
    /// Whether plain requests are sent to HTTPS, where their route says nothing.
    pub redirect_http: bool,
    /// The id of the container that this process runs in.
    pub own_id: Option<String>,
    pub endpoints: Arc<EndpointRegistry>,
    /// Problems that no engine reported and that stand as long as this world; logged already.
    pub standing: Vec<Problem>,
    /// The files of the configuration, for `Status`.
    pub files: Vec<PathBuf>,
    /// The way to the admin API.
    pub admin: Option<AdminWay>,
}

/// The way to the admin API that `admin.host` opens.
#[derive(Clone, Debug)]
pub struct AdminWay {
    /// In lower case, without a dot at its end.
    pub host: String,
    /// Where it was said.
    pub place: Place,
    /// Where the API listens; none if it could not have its address.
    pub addr: Option<SocketAddr>,
}

/// One engine of the configuration.
#[derive(Clone, Debug)]
pub struct EngineSetup {
    pub name: Arc<str>,
    pub url: String,
    pub explicit_only: bool,
    /// Its events that are on their way.
    pub backlog: Arc<Backlog>,
}

/// Another configuration for a world that lives on.
#[derive(Clone, Debug)]
pub struct Change {
    pub engines: Vec<EngineSetup>,
    /// Engines with a supervisor that starts anew: nothing known before is believed.
    pub restarted: Vec<Arc<str>>,
    pub file_routes: Vec<route::Settings>,
    pub match_domains: Vec<String>,
    pub recreate_wait: Duration,
    pub entrypoint: Arc<route::Entrypoint>,
    pub redirect_http: bool,
    /// Problems of the configuration itself.
    pub standing: Vec<Problem>,
    /// The files it was read from.
    pub files: Vec<PathBuf>,
    /// The way to the admin API.
    pub admin: Option<AdminWay>,
}

/// The state of the world, stepped by reports.
pub struct World {
    pub(super) setup: WorldSetup,
    pub(super) engines: Vec<EngineView>,
    generation: u64,
    endpoints: HashMap<EndpointKey, Endpoint>,
    /// Which life the addresses of route files are in.
    lives: HashMap<(Arc<str>, u16), u64>,
    problems: BTreeSet<Problem>,
    /// Those of the certificates of HTTPS.
    certificates: Vec<Problem>,
    /// Who serves each alias, as of the last snapshot.
    pub(super) winners: merge::Winners<Target>,
    shown: BTreeMap<Arc<str>, String>,
    /// Of deaths that are applied and not yet published.
    marks: Vec<Mark>,
}

pub(super) struct EngineView {
    pub(super) name: Arc<str>,
    explicit_only: bool,
    backlog: Arc<Backlog>,
    pub(super) state: EngineState,
    pub(super) reason: String,
    /// What it is, once it has said so.
    pub(super) identity: Option<Identity>,
    /// Its supervisor has reported at all.
    pub(super) heard: bool,
    /// A list was reconciled at least once.
    pub(super) listed: bool,
    pub(super) containers: BTreeMap<String, Seen>,
    /// Networks of our own container, if we run in one of this engine.
    own_networks: Option<Vec<String>>,
}

pub(super) struct Seen {
    pub(super) container: Container,
    pub(super) discovery: Discovery,
}

impl World {
    /// The world before any report.
    pub fn new(setup: WorldSetup) -> World {
        let engines = setup.engines.iter().map(EngineView::new).collect();
        let problems = setup.standing.iter().cloned().collect();
        World {
            setup,
            engines,
            generation: 0,
            endpoints: HashMap::new(),
            lives: HashMap::new(),
            problems,
            certificates: Vec::new(),
            winners: BTreeMap::new(),
            shown: BTreeMap::new(),
            marks: Vec::new(),
        }
    }

    /// Takes a report in; true if routes may have changed. Endpoints whose run has ended close at once.
    pub fn apply(&mut self, report: Report, _now: Instant) -> bool {
        let name = Arc::clone(report.engine());
        let own_id = self.setup.own_id.clone();
        let Some(engine) = self.engines.iter_mut().find(|engine| engine.name == name) else { return false };
        match report {
            Report::State { state, reason, .. } => engine.enter(state, reason),
            // No route depends on it.
            Report::Identity { identity, .. } => {
                engine.identity = Some(identity);
                false
            }
            Report::Synced { containers, .. } => engine.sync(containers, own_id.as_deref()),
            Report::Changed { container, .. } => engine.change(*container, own_id.as_deref()),
            Report::Died { id, at, mark, .. } => match engine.died(&id, at, own_id.as_deref()) {
                Some(key) => {
                    self.setup.endpoints.close(&key, "die");
                    self.marks.push(mark);
                    true
                }
                None => false,
            },
            Report::Destroyed { id, .. } => engine.containers.remove(&id).is_some(),
            Report::Exit { .. } => false,
        }
    }

    /// Replaces the problems of the certificates of HTTPS.
    pub fn set_certificates(&mut self, problems: Vec<Problem>) {
        self.certificates = problems;
    }

    /// Takes another configuration. What is in both goes on: an engine's containers, the endpoints.
    pub fn configure(&mut self, change: Change) {
        let Change {
            engines,
            restarted,
            file_routes,
            match_domains,
            recreate_wait,
            entrypoint,
            redirect_http,
            standing,
            files,
            admin,
        } = change;
        let own_id = self.setup.own_id.clone();
        let mut known: HashMap<Arc<str>, EngineView> =
            self.engines.drain(..).map(|view| (Arc::clone(&view.name), view)).collect();
        for name in &restarted {
            known.remove(name);
        }
        self.engines = engines
            .iter()
            .map(|setup| match known.remove(&setup.name) {
                Some(view) => view.reconfigured(setup, own_id.as_deref()),
                None => EngineView::new(setup),
            })
            .collect();
        self.setup = WorldSetup {
            engines,
            file_routes,
            match_domains,
            recreate_wait,
            entrypoint,
            redirect_http,
            own_id,
            endpoints: Arc::clone(&self.setup.endpoints),
            standing,
            files,
            admin,
        };
    }

    /// The next snapshot. Closes the endpoints that no route leads to any more, and says what has changed.
    pub fn snapshot(&mut self, now: Instant) -> Snapshot {
        self.generation += 1;
        let (candidates, mut problems) = self.candidates();
        let mut open = HashSet::new();
        let mut held = HashSet::new();
        let mut endpoints = HashMap::new();
        // A run stays open as long as it lasts, also while another serves its alias.
        let mut resolved = Vec::with_capacity(candidates.len());
        for candidate in candidates {
            let Resolved { target, endpoint } = self.target(&candidate, now);
            if let Some(endpoint) = endpoint {
                open.insert(endpoint.entry.serial());
                if !matches!(target, Target::Endpoint(_)) {
                    held.insert(endpoint.entry.serial());
                }
                endpoints.insert(endpoint.entry.key().clone(), endpoint);
            }
            resolved.push((candidate, target));
        }
        let (routes, conflicts) = merge::winners(resolved);
        problems.extend(conflicts);
        self.close_unused(&endpoints);
        self.lives = endpoints.keys().filter_map(life_of).collect();
        let open_keys = endpoints.keys().cloned().collect();
        self.endpoints = endpoints;
        self.say_problems(problems);
        self.say_routes(&routes);
        let timeouts = self.setup.entrypoint.timeouts;
        let aliases = routes.keys().cloned().collect();
        self.winners = routes;
        let route = |(alias, (candidate, target)): (&Arc<str>, &(Candidate, Target))| {
            let tuning = &candidate.tuning;
            let route = Route {
                alias: Arc::clone(alias),
                target: target.clone(),
                timeouts: timeouts.tuned(tuning),
                max_conns: tuning.max_conns_per_host,
                redirect_http: candidate.redirect_http,
                access: candidate.access.clone(),
                admin: candidate.origin == Origin::Admin,
                access_log: tuning.access_log.unwrap_or(true),
            };
            (Arc::clone(alias), Arc::new(route))
        };
        let (admin, routes): (Vec<_>, Vec<_>) =
            self.winners.iter().map(route).partition(|(_, route)| route.admin);
        let routes = routes.into_iter().map(|(alias, route)| (alias.to_string(), route));
        let table = Table::build(&self.setup.match_domains, routes);
        Snapshot {
            generation: self.generation,
            table,
            admin: admin.into_iter().next(),
            aliases,
            problems: self.problems.len(),
            unknown: self.unknown(),
            open,
            open_keys,
            held,
            recreate_wait: self.setup.recreate_wait,
            entrypoint: Arc::clone(&self.setup.entrypoint),
            redirect_http: self.setup.redirect_http,
        }
    }

    /// The last snapshot is published: whoever waited for its deaths may go on.
    pub fn published(&mut self) {
        self.marks.clear();
    }

    /// The problems that stand.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter()
    }

    /// Closes every endpoint.
    pub fn close(&mut self) {
        self.setup.endpoints.close_all("shutdown");
    }

    fn candidates(&self) -> (Vec<Candidate>, Vec<Problem>) {
        let life = |host: &str, port| {
            let known = self.lives.get(&(Arc::from(host), port));
            known.copied().unwrap_or(self.generation)
        };
        let admin = self.setup.admin.iter();
        let admin = admin.map(|way| Candidate::of_admin(&way.host, &way.place, way.addr, life));
        let files = self.setup.file_routes.iter().map(|settings| Candidate::of_file(settings, life));
        let mut candidates: Vec<Candidate> = admin.chain(files).collect();
        let mut problems = self.setup.standing.clone();
        problems.extend(self.certificates.iter().cloned());
        for (index, engine) in self.engines.iter().enumerate() {
            for seen in engine.containers.values() {
                problems.extend(seen.discovery.problems.iter().cloned());
                let found = seen.discovery.routes.iter();
                candidates.extend(
                    found.map(|found| Candidate::of_container(index, &engine.name, &seen.container, found)),
                );
            }
        }
        (candidates, problems)
    }

    fn target(&self, candidate: &Candidate, now: Instant) -> Resolved {
        let engine = match &candidate.origin {
            Origin::Admin | Origin::File => None,
            Origin::Container { engine, .. } => Some(&self.engines[*engine]),
        };
        let refuse =
            |status: u16, reason: String| Resolved::without(Target::Refuse { status, reason: reason.into() });
        let endpoint = match (&candidate.target, &candidate.key) {
            (discovery::Target::Address { host, port }, Some(key)) => {
                let backlog = engine.map(|engine| &engine.backlog);
                let endpoint = self.endpoint(key, host, *port, backlog, now);
                endpoint.map(|endpoint| Endpoint { tls: candidate.tls_target(host), ..endpoint })
            }
            _ => None,
        };
        match engine.map(|engine| (&engine.state, engine)) {
            Some((EngineState::Unverified, engine)) => {
                let why = format!("engine {} is back and its addresses are being verified", engine.name);
                return Resolved { target: Target::Wait(why.into()), endpoint };
            }
            Some((EngineState::Stale { trusted: false }, engine)) => {
                let reason = format!("engine {} can't be asked: {}", engine.name, engine.reason).into();
                return Resolved { target: Target::Refuse { status: 503, reason }, endpoint };
            }
            _ => {}
        }
        let name = &candidate.name;
        match (&candidate.target, endpoint) {
            (_, Some(endpoint)) => {
                Resolved { target: Target::Endpoint(endpoint.clone()), endpoint: Some(endpoint) }
            }
            (discovery::Target::Stopped { state }, _) => {
                refuse(503, format!("{name} is {}", in_words(*state)))
            }
            (discovery::Target::Unreachable { reason }, _)
            | (discovery::Target::NotYet { reason }, _)
            | (discovery::Target::Misconfigured { reason }, _) => refuse(502, format!("{name}: {reason}")),
            (discovery::Target::Address { .. }, None) => refuse(503, format!("{name} is ending")),
        }
    }

    fn endpoint(
        &self,
        key: &EndpointKey,
        host: &str,
        port: u16,
        backlog: Option<&Arc<Backlog>>,
        now: Instant,
    ) -> Option<Endpoint> {
        let known = self.endpoints.get(key);
        let seen = known.map_or(now, |endpoint| endpoint.seen);
        // Err: the same run was closed before and its last requests are still out. Not to be had again.
        let entry = self.setup.endpoints.entry(key, || Ok::<Run, Infallible>(Run { seen })).ok()?;
        let addr = host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, port));
        let busy = known.map_or_else(Arc::default, |endpoint| Arc::clone(&endpoint.busy));
        let backlog = backlog.cloned();
        Some(Endpoint { entry, host: host.into(), port, addr, seen, backlog, busy, tls: None })
    }

    fn close_unused(&self, used: &HashMap<EndpointKey, Endpoint>) {
        for key in self.endpoints.keys().filter(|key| !used.contains_key(key)) {
            self.setup.endpoints.close(key, "its run has ended or is not routed");
        }
    }

    fn unknown(&self) -> Unknown {
        // Before the first list nobody can know what is not there. An engine that can't be reached is not
        // waited for.
        let unlisted = |engine: &&EngineView| {
            !engine.listed && (!engine.heard || engine.state == EngineState::Unverified)
        };
        if let Some(engine) = self.engines.iter().find(unlisted) {
            return Unknown::Wait(
                format!("the containers of engine {} are being listed", engine.name).into(),
            );
        }
        let quiet =
            |engine: &&EngineView| !matches!(engine.state, EngineState::Ready | EngineState::Unverified);
        let remarks: Vec<String> = self
            .engines
            .iter()
            .filter(quiet)
            .map(|engine| format!("engine {}: {}", engine.name, engine.reason))
            .collect();
        Unknown::NotFound(remarks.join("; ").into())
    }

    fn say_problems(&mut self, problems: Vec<Problem>) {
        let problems: BTreeSet<Problem> = problems.into_iter().collect();
        for problem in problems.difference(&self.problems) {
            log::warn!("{problem}");
        }
        for problem in self.problems.difference(&problems) {
            log::info!("mended: {problem}");
        }
        self.problems = problems;
    }

    fn say_routes(&mut self, routes: &merge::Winners<Target>) {
        let mut shown = BTreeMap::new();
        for (alias, (candidate, target)) in routes {
            let line = match target {
                // Waiting is a moment's state of the engine, which says so itself.
                Target::Wait(_) => match self.shown.get(alias) {
                    Some(line) => line.clone(),
                    None => continue,
                },
                Target::Endpoint(endpoint) => {
                    format!("{}:{} ({}{})", endpoint.host, endpoint.port, candidate.name, candidate.why)
                }
                Target::Refuse { status, reason } => format!("{status}: {reason}"),
            };
            if self.shown.get(alias) != Some(&line) {
                log::info!("route {alias} → {line}");
            }
            shown.insert(Arc::clone(alias), line);
        }
        for alias in self.shown.keys().filter(|alias| !shown.contains_key(*alias)) {
            log::info!("route {alias} is gone");
        }
        self.shown = shown;
    }
}

/// A target, and the endpoint behind it even while it may not be asked.
struct Resolved {
    target: Target,
    endpoint: Option<Endpoint>,
}

impl Resolved {
    fn without(target: Target) -> Resolved {
        Resolved { target, endpoint: None }
    }
}

impl EngineView {
    fn new(setup: &EngineSetup) -> EngineView {
        EngineView {
            name: Arc::clone(&setup.name),
            explicit_only: setup.explicit_only,
            backlog: Arc::clone(&setup.backlog),
            state: EngineState::Connecting,
            reason: "not reached yet".into(),
            identity: None,
            heard: false,
            listed: false,
            containers: BTreeMap::new(),
            own_networks: None,
        }
    }

    fn reconfigured(mut self, setup: &EngineSetup, own_id: Option<&str>) -> EngineView {
        self.backlog = Arc::clone(&setup.backlog);
        if self.explicit_only != setup.explicit_only {
            self.explicit_only = setup.explicit_only;
            let mut seen = std::mem::take(&mut self.containers);
            for seen in seen.values_mut() {
                seen.discovery = self.discover(&seen.container, own_id);
            }
            self.containers = seen;
        }
        self
    }

    fn enter(&mut self, state: EngineState, reason: String) -> bool {
        let first = !std::mem::replace(&mut self.heard, true);
        if !first && self.state == state && self.reason == reason {
            return false;
        }
        // The supervisor has logged it for people.
        log::debug!("engine {}: {:?} → {state:?}: {reason}", self.name, self.state);
        self.state = state;
        self.reason = reason;
        true
    }

    fn sync(&mut self, containers: Vec<Container>, own_id: Option<&str>) -> bool {
        self.listed = true;
        self.own_networks =
            own_id.and_then(|id| containers.iter().find(|c| c.id == id)).and_then(networks_of);
        self.containers = containers
            .into_iter()
            .map(|container| {
                let discovery = self.discover(&container, own_id);
                (container.id.clone(), Seen { container, discovery })
            })
            .collect();
        true
    }

    fn change(&mut self, container: Container, own_id: Option<&str>) -> bool {
        if own_id == Some(container.id.as_str()) {
            let networks = networks_of(&container);
            if networks != self.own_networks {
                // What we can reach has changed: every container is looked at again.
                let mut all: Vec<Container> =
                    std::mem::take(&mut self.containers).into_values().map(|seen| seen.container).collect();
                all.retain(|other| other.id != container.id);
                all.push(container);
                return self.sync(all, own_id);
            }
        }
        if self.containers.get(&container.id).is_some_and(|seen| seen.container == container) {
            return false;
        }
        let discovery = self.discover(&container, own_id);
        self.containers.insert(container.id.clone(), Seen { container, discovery });
        true
    }

    /// The key of the run that has ended; none if the event is about an earlier one.
    fn died(&mut self, id: &str, at: i64, own_id: Option<&str>) -> Option<EndpointKey> {
        let seen = self.containers.get(id)?;
        let started_at = seen.container.started_at?;
        if at < started_at || !seen.container.is_running() {
            return None;
        }
        let key = EndpointKey::Run { engine: Arc::clone(&self.name), id: id.into(), started_at };
        let mut container = seen.container.clone();
        container.state = RunState::Exited;
        for network in &mut container.networks {
            network.ip = None;
        }
        let discovery = self.discover(&container, own_id);
        self.containers.insert(id.to_owned(), Seen { container, discovery });
        Some(key)
    }

    fn discover(&self, container: &Container, own_id: Option<&str>) -> Discovery {
        let reach = match &self.own_networks {
            Some(networks) => Reach::Container { networks },
            None => Reach::Host,
        };
        let context = Context { engine: &self.name, explicit_only: self.explicit_only, own_id, reach };
        discovery::discover(&context, container)
    }
}

fn life_of(key: &EndpointKey) -> Option<((Arc<str>, u16), u64)> {
    match key {
        EndpointKey::Address { host, port, life } => Some(((Arc::clone(host), *port), *life)),
        EndpointKey::Run { .. } => None,
    }
}

/// The networks that a container can reach others on; none if it shares the host's.
fn networks_of(container: &Container) -> Option<Vec<String>> {
    (!container.host_network).then(|| container.networks.iter().map(|network| network.name.clone()).collect())
}

pub(super) fn in_words(state: RunState) -> &'static str {
    match state {
        RunState::Created => "created but not started",
        RunState::Running => "running",
        RunState::Paused => "paused",
        RunState::Restarting => "restarting",
        RunState::Removing => "being removed",
        RunState::Exited => "stopped",
        RunState::Dead => "dead",
    }
}
