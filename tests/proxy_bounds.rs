//! Bounds of the data plane: what is full is answered, what is slow is ended.
#![allow(clippy::disallowed_methods)] // tests use std's sockets, threads and clock

mod common;

use common::fake::engine;
use common::{Backend, Proxy, config, config_with_engine, wait_until};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};
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
