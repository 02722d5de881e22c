//! The text of `/metrics` from outside: it parses line by line, and what was done is what was counted.
#![allow(clippy::disallowed_methods)] // tests use std's sockets, threads and clock

mod common;

use common::fake::engine;
use common::{Backend, Proxy, config, config_with_engine, wait_until};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;
use tidegate::config::Config;
use tidegate::docker::fake::{Call, Page, Spec};

/// The samples of one text: name and labels as written, and the value.
struct Samples(BTreeMap<String, f64>);

impl Samples {
    /// Reads the text as strictly as its format is described: a HELP and a TYPE line, then the samples of that
    /// family and no other; no family and no sample twice.
    fn parse(text: &str) -> Samples {
        let mut samples = BTreeMap::new();
        let mut families = BTreeSet::new();
        let (mut family, mut kind) = (String::new(), String::new());
        let mut lines = text.lines();
        assert!(text.ends_with('\n'), "the last line ends");
        while let Some(line) = lines.next() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, words) = help.split_once(' ').expect("help has words");
                assert!(is_name(name) && !words.is_empty(), "{line}");
                assert!(families.insert(name.to_owned()), "{name} comes twice");
                let of_type = lines.next().and_then(|line| line.strip_prefix("# TYPE ")).expect(line);
                let (same, what) = of_type.split_once(' ').expect("a type");
                assert_eq!(same, name);
                assert!(["counter", "gauge", "histogram"].contains(&what), "{of_type}");
                assert_eq!(what == "counter", name.ends_with("_total"), "{name} is a {what}");
                (family, kind) = (name.to_owned(), what.to_owned());
                continue;
            }
            let (name, value) = sample(line);
            let bare = name.split('{').next().unwrap();
            let suffixes: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(suffixes.iter().any(|suffix| bare == format!("{family}{suffix}")), "{line} in {family}");
            assert!(value >= 0.0, "{line}");
            assert!(samples.insert(name.to_owned(), value).is_none(), "{name} comes twice");
        }
        Samples(samples)
    }

    fn of(proxy: &Proxy) -> Samples {
        Samples::parse(&proxy.observed.metrics_text())
    }

    fn get(&self, name: &str) -> f64 {
        *self.0.get(name).unwrap_or_else(|| panic!("no {name} in {:#?}", self.0))
    }

    /// The sum of all samples that begin so.
    fn sum(&self, prefix: &str) -> f64 {
        self.0.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(_, value)| value).sum()
    }

    fn requests(&self, route: &str, class: &str) -> f64 {
        self.get(&format!("tidegate_requests_total{{route=\"{route}\",class=\"{class}\"}}"))
    }

    fn errors(&self, kind: &str) -> f64 {
        self.get(&format!("tidegate_upstream_errors_total{{kind=\"{kind}\"}}"))
    }
}

/// Splits a sample into its name with labels, and its value; checks the labels' form.
fn sample(line: &str) -> (&str, f64) {
    let (name, value) = line.rsplit_once(' ').expect("a value");
    let value = value.parse().unwrap_or_else(|_| panic!("a number, not {value:?}"));
    let (bare, labels) = match name.split_once('{') {
        Some((bare, labels)) => (bare, labels.strip_suffix('}').expect("a closing brace")),
        None => (name, ""),
    };
    assert!(is_name(bare), "{line}");
    let mut rest = labels;
    while !rest.is_empty() {
        let (label, after) = rest.split_once("=\"").expect("a label and its quote");
        assert!(is_name(label), "{line}");
        let mut escaped = false;
        let end = after.find(|c| {
            let closes = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            closes
        });
        rest = &after[end.expect("the closing quote") + 1..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
    (name, value)
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

/// A configuration that doesn't wait for backends that aren't there.
fn impatient(routes: &[(&str, SocketAddr)]) -> Config {
    Config { recreate_wait: Duration::from_millis(30), ..config(routes) }
}

fn statuses() -> Backend {
    Backend::start(|mut conn| {
        while let Some(request) = conn.request() {
            let status = request.line().split(['/', ' ']).nth(2).unwrap().to_owned();
            conn.send(format!("HTTP/1.1 {status} Some Words\r\nContent-Length: 4\r\n\r\nbody"));
        }
    })
}

#[test]
fn requests_add_up_by_route_and_class_and_in_the_histogram() {
    let backend = statuses();
    let proxy = Proxy::start(impatient(&[("one", backend.addr), ("two", backend.addr)]));
    let wanted = [("one", 200, 7), ("one", 301, 2), ("one", 404, 3), ("two", 503, 4), ("two", 204, 0)];
    for (route, status, times) in wanted {
        for _ in 0..times {
            assert_eq!(proxy.get(route, &format!("/{status}")).status, status);
        }
    }
    for _ in 0..5 {
        assert_eq!(proxy.get("nowhere", "/").status, 404);
    }
    let mut client = proxy.client();
    client.send("GARBAGE\r\n\r\n");
    assert_eq!(client.response().status, 400);
    let all = 7.0 + 2.0 + 3.0 + 4.0 + 5.0 + 1.0;
    wait_until("all to be counted", || Samples::of(&proxy).sum("tidegate_requests_total{") >= all);
    let samples = Samples::of(&proxy);
    assert_eq!(samples.sum("tidegate_requests_total{"), all);
    for (route, class, count) in
        [("one", "2xx", 7.0), ("one", "3xx", 2.0), ("one", "4xx", 3.0), ("two", "5xx", 4.0), ("", "4xx", 6.0)]
    {
        assert_eq!(samples.requests(route, class), count, "{route} {class}");
    }
    let histogram = "tidegate_request_duration_seconds";
    for (route, count) in [("one", 12.0), ("two", 4.0), ("", 6.0)] {
        assert_eq!(samples.get(&format!("{histogram}_count{{route=\"{route}\"}}")), count);
        assert_eq!(samples.get(&format!("{histogram}_bucket{{route=\"{route}\",le=\"+Inf\"}}")), count);
        let bounds = ["0.001", "0.005", "0.01", "0.05", "0.1", "0.5", "1", "5", "10", "60", "+Inf"];
        let held =
            bounds.map(|le| samples.get(&format!("{histogram}_bucket{{route=\"{route}\",le=\"{le}\"}}")));
        assert!(held.is_sorted(), "{held:?}");
        let sum = samples.get(&format!("{histogram}_sum{{route=\"{route}\"}}"));
        assert!(sum < 60.0 * count, "{sum}");
    }
    assert_eq!(samples.sum("tidegate_upstream_errors_total{"), 0.0);
}

#[test]
fn a_duration_lands_in_its_bucket() {
    let backend = Backend::start(|mut conn| {
        while conn.request().is_some() {
            std::thread::sleep(Duration::from_millis(120));
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let proxy = Proxy::to(backend.addr);
    for _ in 0..2 {
        proxy.get("app", "/");
    }
    wait_until("both to be counted", || Samples::of(&proxy).requests("app", "2xx") == 2.0);
    let samples = Samples::of(&proxy);
    let name = "tidegate_request_duration_seconds";
    assert_eq!(samples.get(&format!("{name}_bucket{{route=\"app\",le=\"0.1\"}}")), 0.0);
    assert_eq!(samples.get(&format!("{name}_bucket{{route=\"app\",le=\"10\"}}")), 2.0);
    let sum = samples.get(&format!("{name}_sum{{route=\"app\"}}"));
    assert!((0.24..10.0).contains(&sum), "{sum}");
}

#[test]
fn bytes_and_connections_are_those_of_the_clients() {
    let backend = Backend::start(|mut conn| {
        while let Some(request) = conn.request() {
            conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            conn.send(format!("{:x}\r\n", request.body.len()));
            conn.send(request.body);
            conn.send("\r\n0\r\n\r\n");
        }
    });
    let proxy = Proxy::to(backend.addr);
    let mut client = proxy.client();
    let body = vec![b'x'; 300_000];
    let head = format!("PUT / HTTP/1.1\r\nHost: app\r\nContent-Length: {}\r\n\r\n", body.len());
    client.send(&head);
    client.send(&body);
    let response = client.response();
    assert!(response.body == body);
    let mut small = 0;
    for _ in 0..10 {
        let request = "PUT / HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n";
        client.send(request);
        client.response();
        small += request.len();
    }
    wait_until("all to be counted", || Samples::of(&proxy).requests("app", "2xx") == 11.0);
    let samples = Samples::of(&proxy);
    let received = samples.get("tidegate_received_bytes_total");
    assert_eq!(received, (head.len() + body.len() + small) as f64);
    let sent = samples.get("tidegate_sent_bytes_total");
    let least = (response.head.len() + body.len() + 10 * (response.head.len() + 2)) as f64;
    assert!(sent > least && sent < least + 1_000.0, "{sent}, at least {least}");
    assert_eq!(samples.get("tidegate_connections_accepted_total"), 1.0);
    assert_eq!(samples.get("tidegate_connections_open"), 1.0);
    drop(client);
    wait_until("the connection to end", || Samples::of(&proxy).get("tidegate_connections_open") == 0.0);
    assert_eq!(samples.sum("tidegate_connections_refused_total{"), 0.0);
}

#[test]
fn tunnels_and_their_bytes_count_while_they_last() {
    let backend = Backend::start(|mut conn| {
        conn.request();
        conn.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n");
        while let Some(bytes) = conn.bytes() {
            conn.send([&bytes[..], &bytes[..]].concat());
        }
        conn.close();
    });
    let proxy = Proxy::to(backend.addr);
    let ask = "GET /ws HTTP/1.1\r\nHost: app\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n";
    let mut head = 0;
    let mut open: Vec<_> = (0..3)
        .map(|_| {
            let mut client = proxy.client();
            client.send(ask);
            head = client.head().len();
            client.send([b'x'; 1_000]);
            client.exactly(2_000);
            client
        })
        .collect();
    let sent = (3 * (head + 2_000)) as f64;
    wait_until("all bytes to be counted", || Samples::of(&proxy).get("tidegate_sent_bytes_total") == sent);
    let samples = Samples::of(&proxy);
    assert_eq!(samples.get("tidegate_tunnels"), 3.0);
    assert_eq!(samples.get("tidegate_tunnel_bytes_total{direction=\"sent\"}"), sent);
    assert_eq!(samples.get("tidegate_tunnel_bytes_total{direction=\"received\"}"), 3_000.0);
    let received = (3 * (ask.len() + 1_000)) as f64;
    assert_eq!(samples.get("tidegate_received_bytes_total"), received);
    // Their requests are answered, and in no time.
    assert_eq!(samples.requests("app", "1xx"), 3.0);
    std::thread::sleep(Duration::from_millis(1_100));
    common::reset(open.pop().unwrap());
    drop(open);
    wait_until("all to end", || Samples::of(&proxy).get("tidegate_tunnels") == 0.0);
    wait_until("the connections to end", || Samples::of(&proxy).get("tidegate_connections_open") == 0.0);
    let samples = Samples::of(&proxy);
    assert_eq!(samples.get("tidegate_tunnels_total"), 3.0);
    assert_eq!((samples.get("tidegate_sent_bytes_total"), samples.requests("app", "1xx")), (sent, 3.0));
    assert_eq!(samples.get("tidegate_received_bytes_total"), received, "once");
    let within_a_second = "tidegate_request_duration_seconds_bucket{route=\"app\",le=\"1\"}";
    assert_eq!(samples.get(within_a_second), 3.0, "a tunnel's life is no answer's time");
}

#[test]
fn upstreams_failures_are_counted_by_their_kind() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let once = |bytes: &'static str| {
        Backend::start(move |mut conn| {
            conn.request();
            conn.send(bytes);
            conn.close();
        })
    };
    let closes = once("");
    let garbage = once("220 mail.example.com ESMTP\r\n\r\n");
    let cuts = once("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    let proxy = Proxy::start(impatient(&[
        ("refuses", nobody),
        ("closes", closes.addr),
        ("garbage", garbage.addr),
        ("cuts", cuts.addr),
    ]));
    for (route, status) in [("refuses", 502), ("closes", 502), ("garbage", 502), ("cuts", 200)] {
        for _ in 0..2 {
            let got = proxy.get_until(route, |response| response.status != 503).status;
            assert_eq!(got, status, "{route}");
        }
    }
    wait_until("all to be counted", || Samples::of(&proxy).requests("cuts", "2xx") == 2.0);
    let samples = Samples::of(&proxy);
    for kind in ["refused", "closed", "bad_answer", "cut"] {
        assert_eq!(samples.errors(kind), 2.0, "{kind}");
    }
    assert_eq!(samples.sum("tidegate_upstream_errors_total{"), 8.0);
    assert_eq!(samples.requests("garbage", "5xx"), 2.0);
}

#[test]
fn an_engines_state_events_and_problems_show_and_a_route_counts_on_after_a_restart() {
    let engine = engine();
    engine.run(Spec::new("app").page(Page::Hello).label("proxy.aliases", "app")).unwrap();
    let proxy = Proxy::start(config_with_engine(engine.socket()));
    proxy.get_until("app", |response| response.status == 200);
    wait_until("the engine to be ready", || {
        Samples::of(&proxy).sum("tidegate_engine_state{engine=\"local\",state=\"ready\"}") == 1.0
    });
    let before = Samples::of(&proxy);
    assert_eq!(before.sum("tidegate_engine_state{"), 1.0);
    assert_eq!((before.get("tidegate_routes"), before.get("tidegate_problems")), (1.0, 0.0));
    let counted = before.requests("app", "2xx");
    engine.restart("app").unwrap();
    engine.run(Spec::new("odd").page(Page::Hello).label("proxy.odd.no_such_field", "1")).unwrap();
    wait_until("the problem", || Samples::of(&proxy).get("tidegate_problems") == 1.0);
    proxy.get_until("app", |response| response.status == 200);
    wait_until("the request", || Samples::of(&proxy).requests("app", "2xx") > counted);
    let after = Samples::of(&proxy);
    let events = "tidegate_engine_events_total{engine=\"local\"}";
    assert!(after.get(events) > before.get(events));
    assert!(after.get("tidegate_snapshot_generation") > before.get("tidegate_snapshot_generation"));
    let closed = "tidegate_lifecycle_transitions_total{state=\"closed\"}";
    assert!(after.get(closed) > before.get(closed), "the old run's endpoint");
    engine.kill_engine();
    wait_until("the engine to be lost", || {
        Samples::of(&proxy).get("tidegate_engine_state{engine=\"local\",state=\"lost\"}") == 1.0
    });
}

#[test]
fn requests_at_a_gate_are_seen_waiting() {
    let engine = engine();
    engine.run(Spec::new("app").page(Page::Hello).label("proxy.aliases", "app")).unwrap();
    engine.set_latency(Call::List, Duration::from_secs(2));
    let proxy = Proxy::start(config_with_engine(engine.socket()));
    let mut clients: Vec<_> = (0..3).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    }
    wait_until("three to wait", || Samples::of(&proxy).get("tidegate_gate_waiting") == 3.0);
    for client in &mut clients {
        assert_eq!(client.response().status, 200);
    }
    wait_until("none to wait", || Samples::of(&proxy).get("tidegate_gate_waiting") == 0.0);
    assert_eq!(Samples::of(&proxy).get("tidegate_gate_full_total"), 0.0);
}
