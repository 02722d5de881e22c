//! Discovery from outside: one container a file in tests/golden/discovery, in `key: value` lines.
//!
//! ```text
//! engine: local            name of the engine; `local!` is explicit-only
//! reach: host              or the names and ids of Tidegate's own networks, separated by commas
//! own: <id>                Tidegate's own container
//! id, name, image, state   of the container
//! host_network: true
//! network: web 172.18.0.2 <id>     address `-` for none; the id may be left out
//! port: 80/tcp             or 8080:80/tcp if it is published as 8080
//! mount: /data
//! label: proxy.aliases=a, b
//! ```

use std::fmt::Write;
use tidegate::docker::discovery::{Context, Discovery, Found, Reach, Target, discover, split_engine_name};
use tidegate::docker::{Container, Network, Port, Protocol, RunState};
use tidegate::route::UpstreamTls;

#[path = "golden/runner.rs"]
mod runner;

#[test]
fn discovery_golden_cases() {
    runner::run("discovery", 30, |input| {
        let case = Case::parse(input)?;
        let (engine, explicit_only) = split_engine_name(&case.engine);
        let reach = match &case.networks {
            Some(networks) => Reach::Container { networks },
            None => Reach::Host,
        };
        let ctx = Context { engine, explicit_only, own_id: case.own.as_deref(), reach };
        Ok(dump(&discover(&ctx, &case.container)))
    });
}

struct Case {
    engine: String,
    networks: Option<Vec<String>>,
    own: Option<String>,
    container: Container,
}

impl Case {
    fn parse(input: &str) -> Result<Case, String> {
        let mut case = Case {
            engine: "local".to_owned(),
            networks: None,
            own: None,
            container: Container {
                id: "0123456789abcdef".repeat(4),
                name: "app".to_owned(),
                image: "example/app".to_owned(),
                labels: Default::default(),
                state: RunState::Running,
                started_at: Some(1),
                host_network: false,
                networks: Vec::new(),
                ports: Vec::new(),
                mounts: Vec::new(),
            },
        };
        for (key, value) in runner::lines(input)? {
            case.line(&key, value)?;
        }
        case.container.ports.sort();
        Ok(case)
    }

    fn line(&mut self, key: &str, value: String) -> Result<(), String> {
        let container = &mut self.container;
        match key {
            "engine" => self.engine = value,
            "reach" if value == "host" => self.networks = None,
            "reach" => self.networks = Some(value.split(',').map(|n| n.trim().to_owned()).collect()),
            "own" => self.own = Some(value),
            "id" => container.id = value,
            "name" => container.name = value,
            "image" => container.image = value,
            "state" => container.state = state(&value)?,
            "host_network" => container.host_network = value == "true",
            "network" => container.networks.push(network(&value)?),
            "port" => container.ports.push(port(&value)?),
            "mount" => container.mounts.push(value),
            "label" => {
                let (label, value) = value.split_once('=').unwrap_or((&value, ""));
                container.labels.insert(label.to_owned(), value.to_owned());
            }
            _ => return Err(format!("unknown key {key}")),
        }
        Ok(())
    }
}

fn state(text: &str) -> Result<RunState, String> {
    let states = [
        RunState::Created,
        RunState::Running,
        RunState::Paused,
        RunState::Restarting,
        RunState::Removing,
        RunState::Exited,
        RunState::Dead,
    ];
    let found = states.into_iter().find(|state| format!("{state:?}").eq_ignore_ascii_case(text));
    found.ok_or_else(|| format!("unknown state {text}"))
}

fn network(text: &str) -> Result<Network, String> {
    let mut words = text.split(' ');
    let mut word = || words.next().unwrap_or("").to_owned();
    let (name, ip, id) = (word(), word(), word());
    let ip = match ip.as_str() {
        "-" => None,
        ip => Some(ip.parse().map_err(|err| format!("{ip}: {err}"))?),
    };
    Ok(Network { name, id, ip })
}

fn port(text: &str) -> Result<Port, String> {
    let number = |text: &str| text.parse::<u16>().map_err(|err| format!("{text}: {err}"));
    let (ports, protocol) = text.split_once('/').ok_or("a port is `80/tcp`")?;
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        other => return Err(format!("unknown protocol {other}")),
    };
    let (public, private) = match ports.split_once(':') {
        Some((public, private)) => (Some(number(public)?), number(private)?),
        None => (None, number(ports)?),
    };
    Ok(Port { private, public, protocol })
}

fn dump(discovery: &Discovery) -> String {
    let mut out = String::new();
    for route in &discovery.routes {
        dump_route(&mut out, route);
    }
    for (alias, excluded) in &discovery.skipped {
        writeln!(out, "skipped {alias}: {excluded}").unwrap();
    }
    if let Some(excluded) = &discovery.excluded {
        writeln!(out, "excluded: {excluded}").unwrap();
    }
    for problem in &discovery.problems {
        writeln!(out, "problem: {problem}").unwrap();
    }
    out
}

fn dump_route(out: &mut String, route: &Found) {
    let target = match &route.target {
        Target::Address { host, port } => format!("{host} port {port}"),
        Target::Stopped { state } => format!("stopped ({state:?})"),
        Target::Unreachable { reason } => reason.clone(),
        Target::NotYet { reason } => format!("not yet: {reason}"),
        Target::Misconfigured { reason } => format!("misconfigured: {reason}"),
    };
    writeln!(out, "route {} => {} {target}", route.alias, route.scheme.as_str()).unwrap();
    if route.tls != UpstreamTls::default() {
        writeln!(out, "  {:?}", route.tls).unwrap();
    }
    if let Some(redirect) = route.redirect_http {
        writeln!(out, "  redirect_http: {redirect}").unwrap();
    }
    for rule in route.access.iter().flat_map(|rules| rules.in_words()) {
        writeln!(out, "  {rule}").unwrap();
    }
    let choices = [("host", &route.why.host), ("port", &route.why.port), ("scheme", &route.why.scheme)];
    for (name, why) in choices.into_iter().filter(|(_, why)| !why.is_empty()) {
        writeln!(out, "  {name}: {why}").unwrap();
    }
    if route.tuning != Default::default() {
        writeln!(out, "  {:?}", route.tuning).unwrap();
    }
}
