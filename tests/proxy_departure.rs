//! Clients that go away while their requests wait at a gate.
#![allow(clippy::disallowed_methods)] // tests use std's sockets, threads and clock

mod common;
mod support;

use common::fake::{Engine, engine};
use common::{Backend, Client, Proxy, config, config_with_engine, wait_until};
use std::net::Shutdown;
use std::process::Command;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use support::room::skip;
use tidegate::docker::fake::{Call, Page, Spec};
use tidegate::limits::{HALF_CLOSE_WITHIN, HALF_CLOSED_KEEPALIVE};

/// A Tidegate whose engine lists its container, `app`, only after a while; the container leads to a backend that
/// notes the requests it gets.
struct Gated {
    proxy: Proxy,
    arrived: Arc<Mutex<Vec<String>>>,
    _engine: Engine,
}

impl Gated {
    fn start(list_takes: Duration) -> Gated {
        let arrived: Arc<Mutex<Vec<String>>> = Arc::default();
        let noted = Arc::clone(&arrived);
        let backend = Backend::answering(move |request| {
            noted.lock().unwrap().push(request.line().to_owned());
            "ok".into()
        });
        let engine = engine();
        let spec = Spec::new("app").page(Page::Hello).label("proxy.aliases", "app");
        let spec = spec.label("proxy.app.host", "127.0.0.1");
        engine.run(spec.label("proxy.app.port", backend.addr.port().to_string())).unwrap();
        engine.set_latency(Call::List, list_takes);
        Gated { proxy: Proxy::start(config_with_engine(engine.socket())), arrived, _engine: engine }
    }

    fn metric(&self, name: &str) -> u64 {
        metric(&self.proxy, name)
    }

    /// A client whose request waits at the gate.
    fn waiting(&self, path: &str) -> Client {
        let before = self.metric("tidegate_gate_waiting");
        let mut client = self.proxy.client();
        client.send(format!("POST {path} HTTP/1.1\r\nHost: app\r\nContent-Length: 2\r\n\r\nhi"));
        wait_until("it to wait", || self.metric("tidegate_gate_waiting") == before + 1);
        client
    }
}

fn metric(proxy: &Proxy, name: &str) -> u64 {
    let text = proxy.observed.metrics_text();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

#[test]
fn who_leaves_a_gate_is_noticed_at_once_and_its_request_is_not_sent() {
    let gated = Gated::start(Duration::from_secs(8));
    let began = Instant::now();
    let goes: [fn(Client); 3] = [drop, common::reset, |mut client| {
        // What it has pipelined lies before its end.
        client.send("GET /next HTTP/1.1\r\nHost: app\r\n\r\n");
    }];
    for go in goes {
        let client = gated.waiting("/gone");
        std::thread::sleep(HALF_CLOSE_WITHIN + Duration::from_millis(100));
        go(client);
        let gone = Instant::now();
        wait_until("it to be noticed", || gated.metric("tidegate_gate_waiting") == 0);
        println!("MEASURED: a client that left a gate was noticed after {:?}", gone.elapsed());
        wait_until("its connection to end", || gated.metric("tidegate_connections_open") == 0);
    }
    // Who is cut off is gone, whenever.
    common::reset(gated.waiting("/gone"));
    wait_until("it to be noticed", || gated.metric("tidegate_gate_waiting") == 0);
    assert!(began.elapsed() < Duration::from_secs(7), "the gate may have opened: {:?}", began.elapsed());
    let mut there = gated.waiting("/there");
    assert_eq!(there.response().text(), "ok");
    assert_eq!(*gated.arrived.lock().unwrap(), ["POST /there HTTP/1.1"]);
    let none = "tidegate_requests_total{route=\"\",class=\"none\"}";
    assert_eq!(gated.metric(none), 4, "they have no status");
}

#[test]
fn who_only_ends_its_own_side_waits_on_and_is_answered() {
    let gated = Gated::start(HALF_CLOSE_WITHIN * 4);
    let client = |path: &str| {
        let mut client = gated.proxy.client();
        client.send(format!("POST {path} HTTP/1.1\r\nHost: app\r\nContent-Length: 2\r\n\r\nhi"));
        client.stream.shutdown(Shutdown::Write).unwrap();
        client
    };
    let mut half = client("/half");
    let cut = client("/cut");
    wait_until("both to wait", || gated.metric("tidegate_gate_waiting") == 2);
    common::reset(cut);
    wait_until("one to be gone", || gated.metric("tidegate_gate_waiting") == 1);
    assert_eq!(half.response().text(), "ok");
    assert!(half.is_closed());
    assert_eq!(*gated.arrived.lock().unwrap(), ["POST /half HTTP/1.1"]);
}

#[test]
fn who_leaves_the_queue_of_a_busy_service_is_not_served() {
    let arrived: Arc<Mutex<Vec<String>>> = Arc::default();
    let noted = Arc::clone(&arrived);
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let backend = Backend::start(move |mut conn| {
        while let Some(request) = conn.request() {
            noted.lock().unwrap().push(request.line().to_owned());
            wait.lock().unwrap().recv().unwrap();
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let mut setup = config(&[("app", backend.addr)]);
    setup.file_routes[0].tuning.max_conns_per_host = Some(1);
    let proxy = Proxy::start(setup);
    let ask = |path: &str| {
        let mut client = proxy.client();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: app\r\n\r\n"));
        client
    };
    let mut first = ask("/first");
    wait_until("the first to arrive", || arrived.lock().unwrap().len() == 1);
    let second = ask("/second");
    wait_until("the second to wait", || metric(&proxy, "tidegate_gate_waiting") == 1);
    std::thread::sleep(HALF_CLOSE_WITHIN + Duration::from_millis(100));
    drop(second);
    wait_until("the second to be gone", || metric(&proxy, "tidegate_connections_open") == 1);
    let mut third = ask("/third");
    wait_until("the third to wait", || metric(&proxy, "tidegate_gate_waiting") == 1);
    go.send(()).unwrap();
    assert_eq!(first.response().text(), "ok");
    go.send(()).unwrap();
    assert_eq!(third.response().text(), "ok");
    assert_eq!(*arrived.lock().unwrap(), ["GET /first HTTP/1.1", "GET /third HTTP/1.1"]);
}

/// Set within the network namespace.
const INSIDE: &str = "TIDEGATE_TEST_FORGETFUL";

/// A client that ends its side with its request and has gone without a word: its own kernel forgets the
/// connection after a while (here 1 s, usually 60), and answers the next probe with a reset.
#[test]
fn who_was_taken_for_half_closed_frees_its_upstream_once_its_kernel_has_forgotten_it() {
    let name = "who_was_taken_for_half_closed_frees_its_upstream_once_its_kernel_has_forgotten_it";
    if std::env::var_os(INSIDE).is_none() {
        let prepared =
            "ip link set lo up && echo 1 >/proc/sys/net/ipv4/tcp_fin_timeout && exec \"$0\" \"$@\"";
        let myself = std::env::current_exe().unwrap();
        let run = |args: &[&str]| Command::new("unshare").args(args).env(INSIDE, "1").output();
        match run(&["--net", "sh", "-c", "ip link set lo up"]) {
            Ok(out) if out.status.success() => {}
            _ => return skip(name, "needs root, unshare and ip"),
        }
        let myself = myself.to_str().unwrap();
        let out = run(&["--net", "sh", "-c", prepared, myself, name, "--exact", "--nocapture"]).unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        return;
    }
    let (tell, told) = std::sync::mpsc::channel();
    let backend = Backend::start(move |mut conn| {
        conn.request();
        while conn.bytes().is_some() {}
        tell.send(()).unwrap();
    });
    let proxy = Proxy::to(backend.addr);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    drop(client);
    let gone = Instant::now();
    told.recv_timeout(HALF_CLOSED_KEEPALIVE * 3).expect("the upstream stays open");
    let took = gone.elapsed();
    assert!(took > HALF_CLOSE_WITHIN, "it was not taken for half-closed: {took:?}");
    println!("MEASURED: freed after {took:?}");
}
