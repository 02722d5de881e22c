//! Discovery takes anything an engine may send: bounded, without a panic, and never in doubt served.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use tidegate::docker::discovery::{Context, Discovery, Reach, Target, discover};
use tidegate::docker::{Container, Network, Port, Protocol, RunState};
use tidegate::limits::{ALIASES, LABEL_BYTES, LABELS};
use tidegate::route::{canonical, check_alias};
use tidegate::util::rng::Rng;

const CTX: Context = Context { engine: "local", explicit_only: false, own_id: None, reach: Reach::Host };

fn container(labels: impl IntoIterator<Item = (String, String)>) -> Container {
    Container {
        id: "a".repeat(64),
        name: "app".to_owned(),
        image: "example/app".to_owned(),
        labels: labels.into_iter().collect(),
        state: RunState::Running,
        started_at: Some(1),
        host_network: false,
        networks: vec![Network {
            name: "bridge".to_owned(),
            id: String::new(),
            ip: Some("172.17.0.2".parse().unwrap()),
        }],
        ports: vec![Port { private: 80, public: None, protocol: Protocol::Tcp }],
        mounts: Vec::new(),
    }
}

fn label(key: &str, value: impl Into<String>) -> (String, String) {
    (key.to_owned(), value.into())
}

fn served(discovery: &Discovery) -> Vec<&str> {
    let served = discovery.routes.iter().filter(|found| matches!(found.target, Target::Address { .. }));
    served.map(|found| found.alias.as_str()).collect()
}

#[test]
fn with_more_labels_than_are_looked_at_nothing_is_served() {
    let labels = |count: usize| (0..count).map(|n| (format!("proxy.app{n:04}.port"), "80".to_owned()));
    let within = discover(&CTX, &container(labels(ALIASES - 1)));
    assert_eq!(served(&within).len(), ALIASES, "{:?}", within.problems);
    let beyond = discover(&CTX, &container(labels(LABELS + 1)));
    assert_eq!(served(&beyond), [""; 0]);
    assert!(beyond.routes.len() <= ALIASES);
    assert!(beyond.problems.iter().any(|p| p.message.contains("more than 1000 `proxy.` labels")));
}

#[test]
fn labels_of_others_do_not_count() {
    let others = (0..5 * LABELS).map(|n| (format!("a.{n}"), String::new()));
    let discovery = discover(&CTX, &container(others.chain([label("proxy.app.port", "81")])));
    assert_eq!(served(&discovery), ["app"]);
    assert_eq!(discovery.problems, []);
}

#[test]
fn a_value_too_long_to_be_looked_at_serves_nothing() {
    let long = |len: usize| container([label("proxy.aliases", format!("a{}", " ".repeat(len - 1)))]);
    assert_eq!(served(&discover(&CTX, &long(LABEL_BYTES))), ["a"]);
    let beyond = discover(&CTX, &long(LABEL_BYTES + 1));
    assert_eq!(served(&beyond), [""; 0]);
    assert_eq!(beyond.problems.len(), 1);
}

#[test]
fn a_list_of_too_many_aliases_is_cut_and_said_once() {
    let list: Vec<String> = (0..4 * ALIASES).map(|n| format!("a{n}")).collect();
    let discovery = discover(&CTX, &container([label("proxy.aliases", list.join(","))]));
    assert_eq!(discovery.routes.len(), ALIASES);
    assert_eq!(discovery.problems.len(), 1);
    let bad = discover(&CTX, &container([label("proxy.aliases", "/,".repeat(LABEL_BYTES / 2))]));
    assert!(bad.problems.len() <= ALIASES + 1, "{}", bad.problems.len());
}

#[test]
fn problems_quote_long_texts_only_in_part() {
    let key = format!("proxy.{}", "x".repeat(100_000));
    let discovery = discover(&CTX, &container([label(&key, "y".repeat(LABEL_BYTES))]));
    assert_eq!(discovery.problems.len(), 1);
    assert!(discovery.problems[0].to_string().len() < 1_000);
}

/// Labels put together at random from what the grammar is made of.
fn random_labels(rng: &mut Rng) -> BTreeMap<String, String> {
    let parts = [
        "proxy",
        "Proxy",
        ".",
        ".",
        ".",
        "app",
        "APP",
        "*",
        "#1",
        "$2",
        "#",
        "aliases",
        "exclude",
        "port",
        "host",
        "scheme",
        "ports",
        "middlewares",
        "prot",
        "x-",
        "-old",
        "\n",
        "\u{1b}",
        "ü",
        "_",
        " ",
        "",
    ];
    let values = [
        "",
        "80",
        "0",
        "65535",
        "65536",
        "443",
        "80:80",
        "a, b",
        "app, *.x, y.z",
        "true",
        "false",
        "https",
        "http",
        "tcp",
        "port: 80",
        "\n",
        "a\u{7}b",
        "[::1]",
        "é",
        "x-a, b-old",
    ];
    let pick = |rng: &mut Rng, of: &[&str]| of[rng.below(of.len() as u64) as usize].to_owned();
    let mut labels = BTreeMap::new();
    for _ in 0..rng.below(6) {
        let mut key = if rng.below(4) > 0 { "proxy.".to_owned() } else { String::new() };
        for _ in 0..rng.below(6) {
            key.push_str(&pick(rng, &parts));
        }
        labels.insert(key, pick(rng, &values));
    }
    labels
}

#[test]
fn random_labels_never_panic_and_keep_the_promises() {
    let mut rng = Rng::new(20);
    let mut seen = HashSet::new();
    for step in 0..4_000 {
        let container = container(random_labels(&mut rng));
        let discovery = discover(&CTX, &container);
        let context = || format!("step {step}: {:?}\n{discovery:?}", container.labels);
        assert_eq!(discovery, discover(&CTX, &container), "{}", context());
        assert!(discovery.excluded.is_none() || discovery.routes.is_empty(), "{}", context());
        let mut slots = BTreeSet::new();
        for found in &discovery.routes {
            assert_eq!(check_alias(&found.alias), Ok(()), "{}", context());
            assert!(slots.insert(canonical(&found.alias)), "{}", context());
            seen.insert(std::mem::discriminant(&found.target));
            if let Target::Misconfigured { reason } | Target::NotYet { reason } = &found.target {
                assert!(!reason.contains(char::is_control), "{}", context());
                assert!(!discovery.problems.is_empty(), "withheld in silence: {}", context());
            }
        }
        for problem in &discovery.problems {
            assert!(!problem.to_string().contains(char::is_control), "{}", context());
        }
    }
    assert_eq!(seen.len(), 3, "the walk must meet addresses, misconfigured and not-yet routes");
}
