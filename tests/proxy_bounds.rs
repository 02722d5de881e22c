//! Bounds of the data plane: what is full is answered, what is slow is ended.
#![allow(clippy::disallowed_methods)] // tests use std's sockets, threads and clock

mod cli_support;
mod common;

use cli_support::{Home, Running, serve};
use common::fake::engine;
use common::{Backend, Client, Proxy, config, config_with_engine, wait_until};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};
use tidegate::config::Config;
use tidegate::docker::fake::{Call, Page, Spec};
use tidegate::limits::{GATE_WAITERS_PER_CORE, HEADER_TIMEOUT};

#[test]
fn a_head_that_takes_too_long_is_408() {
    let backend = Backend::answering(|_| "ok".into());
    let proxy = Proxy::to(backend.addr);
    let mut client = proxy.client();
    let begun = Instant::now();
    client.send("GET / HTTP/1.1\r\nHost: app\r\n");
    let response = client.response();
    assert_eq!((response.status, response.field("connection")), (408, Some("close")));
    let took = begun.elapsed();
    assert!(took >= HEADER_TIMEOUT && took < HEADER_TIMEOUT * 2, "after {took:?}");
    assert!(client.is_closed());
}

#[test]
fn a_connection_that_says_nothing_is_closed_in_silence() {
    let proxy = Proxy::start(config(&[]));
    let mut client = proxy.client();
    assert!(client.is_closed());
}

#[test]
fn a_full_gate_is_503_at_once_and_the_others_are_served() {
    let engine = engine();
    engine.run(Spec::new("app").page(Page::Hello).label("proxy.aliases", "app")).unwrap();
    engine.set_latency(Call::List, Duration::from_secs(4));
    let mut settings = config_with_engine(engine.socket());
    settings.workers = Some(1);
    let proxy = Proxy::start(settings);
    let extra = 20;
    let (sender, answers) = channel();
    let mut clients: Vec<_> = (0..GATE_WAITERS_PER_CORE + extra).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    }
    let threads: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            let sender = sender.clone();
            std::thread::spawn(move || sender.send(client.response()).unwrap())
        })
        .collect();
    let all: Vec<_> = (0..threads.len()).map(|_| answers.recv_timeout(common::DEADLINE).unwrap()).collect();
    let refused: Vec<_> = all.iter().filter(|r| r.status == 503).collect();
    assert_eq!(refused.len(), extra, "of {} requests", all.len());
    assert!(refused.iter().all(|r| r.text().contains("wait already") && r.field("retry-after").is_some()));
    assert_eq!(all.iter().filter(|r| r.status == 200).count(), GATE_WAITERS_PER_CORE);
    assert!(all[..extra].iter().all(|r| r.status == 503), "the refusals came first");
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn a_gate_gives_up_after_recreate_wait() {
    let engine = engine();
    engine.set_latency(Call::List, Duration::from_secs(8));
    let mut settings = config_with_engine(engine.socket());
    settings.recreate_wait = Duration::from_millis(300);
    let proxy = Proxy::start(settings);
    let response = proxy.get("app", "/");
    assert_eq!(response.status, 503, "{response:?}");
    assert!(response.text().contains("gave up waiting"), "{}", response.text());
}

#[test]
fn idle_connections_give_their_place_back() {
    let backend = Backend::answering(|_| "ok".into());
    let proxy = Proxy::to(backend.addr);
    for _ in 0..50 {
        let mut clients: Vec<_> = (0..100).map(|_| proxy.client()).collect();
        for client in &mut clients {
            client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
        }
        for client in &mut clients {
            assert_eq!(client.response().status, 200);
        }
    }
    wait_until("the proxy to answer still", || proxy.get("app", "/").status == 200);
    assert_eq!(tidegate::runtime::panics(), 0);
}

#[test]
fn refused_connections_are_counted_by_reason() {
    let mut one_each: Config = config(&[]);
    one_each.entrypoint.max_conns_per_client = 1;
    let proxy = Proxy::start(one_each);
    let counted = |reason: &str| {
        let name = format!("tidegate_connections_refused_total{{reason=\"{reason}\"}} ");
        let text = proxy.observed.metrics_text();
        let value = text.lines().find_map(|line| line.strip_prefix(name.as_str()));
        value.unwrap_or_else(|| panic!("no {name} in {text}")).parse::<u64>().unwrap()
    };
    let mut first = proxy.client();
    // Once it is answered it is counted, whichever core has it.
    first.send("GET / HTTP/1.1\r\nHost: nobody\r\n\r\n");
    assert_eq!(first.response().status, 404);
    for _ in 0..7 {
        assert_eq!(proxy.client().response().status, 503);
    }
    assert_eq!(["too_many", "too_many_of_client", "no_stack"].map(counted), [0, 7, 0]);
}

#[test]
fn refused_connections_are_said_together_and_crowd_no_request_out_of_the_access_log() {
    let backend = Backend::answering(|_| "ok".into());
    let home = Home::new();
    let config = home.config(
        "entrypoint: {http_addr: \"127.0.0.1:0\", max_conns_per_client: 1, access_log: {path: access.log}}\n\
         workers: 1\n",
        backend.addr,
    );
    let mut running = Running::start(serve(&config));
    let addr = running.addr();
    let mut first = Client::connect(addr);
    let refused = 300;
    for _ in 0..refused {
        assert_eq!(Client::connect(addr).response().status, 503);
    }
    let (mut said, mut lines) = (0, 0);
    while said < refused {
        let line = running.line(" refused, the last from 127.0.0.1");
        assert!(line.contains("too many connections of one client: "), "{line}");
        let count = line.split(" refused, ").next().unwrap().rsplit(' ').next().unwrap();
        said += count.parse::<u64>().unwrap_or_else(|_| panic!("a count in {line:?}"));
        lines += 1;
    }
    assert_eq!(said, refused);
    assert!(lines <= 20, "{lines} lines for {refused} refusals");
    first.send("GET /asked HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n");
    assert_eq!(first.response().status, 200);
    running.signal("TERM");
    assert_eq!(running.exit_code(), Some(0));
    let log = std::fs::read_to_string(home.path().join("access.log")).unwrap();
    assert!(log.lines().count() == 1 && log.contains("GET /asked"), "{log}");
}
