//! Labels: a route has a sound alias, a problem names container and label, and no label is passed over in silence.
//!
//! An input is a line of letters, each for something about the container, then one `key=value` a line (`\n` in a
//! value is a line end).

use std::collections::{BTreeMap, BTreeSet};
use tidegate::docker::discovery::{Context, Discovery, Reach, Target, discover};
use tidegate::docker::{Container, Network, Port, Protocol, RunState};
use tidegate::error::Place;
use tidegate::route::{canonical, check_alias};

const ENGINE: &str = "local";

/// Finds the routes of the container that `input` describes.
pub fn check(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (flags, lines) = text.split_once('\n').unwrap_or((&text, ""));
    let labels = lines.lines().filter_map(|line| line.split_once('='));
    let labels = labels.map(|(key, value)| (key.to_owned(), value.replace("\\n", "\n"))).collect();
    let container = container(flags, labels);
    let networks = ["web".to_owned()];
    let reach = match flags.contains('c') {
        true => Reach::Container { networks: &networks },
        false => Reach::Host,
    };
    let ctx = Context { engine: ENGINE, explicit_only: flags.contains('e'), own_id: None, reach };
    let found = sound(&ctx, &container);
    if found.excluded.is_none() && found.skipped.is_empty() {
        for key in container.labels.keys() {
            noticed(&ctx, &container, &found, key);
        }
    }
    let mut other = container.clone();
    other.labels.insert("com.example.proxy.port".to_owned(), "81".to_owned());
    assert_eq!(discover(&ctx, &other), found, "another's label matters");
}

/// What holds for any container.
pub fn sound(ctx: &Context<'_>, container: &Container) -> Discovery {
    let found = discover(ctx, container);
    let text = || format!("{:?}\n{found:?}", container.labels);
    assert_eq!(found, discover(ctx, container), "a second time: {}", text());
    assert!(found.excluded.is_none() || found.routes.is_empty(), "{}", text());
    let mut slots = BTreeSet::new();
    for route in &found.routes {
        assert_eq!(check_alias(&route.alias), Ok(()), "{}", text());
        assert!(slots.insert(canonical(&route.alias)), "twice: {}", text());
        match &route.target {
            Target::Misconfigured { reason } | Target::NotYet { reason } => {
                assert!(!reason.contains(char::is_control), "{}", text());
                assert!(!found.problems.is_empty(), "withheld in silence: {}", text());
            }
            Target::Address { host, port } => {
                assert!(container.is_running() && !host.is_empty() && *port > 0, "{}", text());
            }
            Target::Stopped { .. } | Target::Unreachable { .. } => {}
        }
    }
    let labels: BTreeSet<String> = container.labels.keys().map(|key| shown(key)).collect();
    for problem in &found.problems {
        assert!(!problem.to_string().contains(char::is_control), "{problem:?}: {}", text());
        let named = match &problem.place {
            Place::Label { engine, container: name, label } => {
                engine == ctx.engine && *name == shown(&container.name) && labels.contains(label)
            }
            Place::Container { engine, container: name } => {
                engine == ctx.engine && *name == shown(&container.name)
            }
            _ => false,
        };
        assert!(named, "{problem:?}: {}", text());
    }
    found
}

/// A `proxy.` label is named by a problem, or it matters that it is there, or what it says.
fn noticed(ctx: &Context<'_>, container: &Container, found: &Discovery, key: &str) {
    let first = key.split('.').next().unwrap_or_default();
    if !first.eq_ignore_ascii_case("proxy") {
        return;
    }
    let is_named = found.problems.iter().any(|problem| match &problem.place {
        Place::Label { label, .. } => *label == shown(key),
        _ => false,
    });
    let mut without = container.clone();
    let value = without.labels.remove(key);
    let matters = |other: &Container| discover(ctx, other) != *found;
    let mut garbled = container.clone();
    garbled.labels.insert(key.to_owned(), "\u{1}".to_owned());
    let noticed = is_named || matters(&without) || matters(&garbled);
    assert!(noticed, "{key:?} = {value:?} is passed over: {:?}", container.labels);
}

fn container(flags: &str, labels: BTreeMap<String, String>) -> Container {
    let has = |flag: char| flags.contains(flag);
    let port = |private, public| Port { private, public, protocol: Protocol::Tcp };
    let network = |name: &str, ip: &str| {
        let ip = ip.parse().ok().filter(|_| !has('x'));
        Network { name: name.to_owned(), id: String::new(), ip }
    };
    let networks = vec![network("bridge", "172.17.0.2"), network("web", "172.18.0.2")];
    Container {
        id: "a".repeat(64),
        name: if has('w') { "not/an alias".to_owned() } else { "app".to_owned() },
        image: if has('d') { "postgres:17".to_owned() } else { "example/app".to_owned() },
        labels,
        state: if has('x') { RunState::Exited } else { RunState::Running },
        started_at: Some(1),
        host_network: has('h'),
        networks: if has('n') { Vec::new() } else { networks },
        ports: match has('p') {
            true => vec![port(80, None), port(443, Some(8443)), port(8080, Some(8080))],
            false => vec![port(80, None)],
        },
        mounts: Vec::new(),
    }
}

/// A key as problems quote it: on one line, and not too long.
fn shown(key: &str) -> String {
    let quoted = key.chars().take(120).map(|c| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    });
    let cut = if key.chars().count() > 120 { "..." } else { "" };
    quoted.collect::<String>() + cut
}
