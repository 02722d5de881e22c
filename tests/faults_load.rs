//! Faults in bulk, against the real program: half-open heads by the thousand, too few descriptors, a client that hardly
//! reads, an upstream that resets, reloads and restarts as fast as they go.
#![allow(clippy::disallowed_methods)] // tests use std's sockets, threads and clock

mod common;
mod reload_support;

use common::fake::Dir;
use common::{Backend, Client, DEADLINE, wait_until};
use reload_support::{ANY, EndGuard, Served, replace, routes};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, kill_process, prlimit, setrlimit};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tidegate::limits::{DESCRIPTORS_RESERVED, HEADER_TIMEOUT};

/// Serves `app` from `backend`, with an admin API; `entrypoint` is added to that of the configuration.
fn served(backend: SocketAddr, entrypoint: &str) -> (Dir, Served) {
    let dir = Dir::new();
    let main = format!(
        "entrypoint: {{http_addr: {ANY}{entrypoint}}}\nworkers: 2\nrecreate_wait: 50ms\n\
         providers: {{docker: {{}}, include: [routes.yml]}}\n"
    );
    fs::write(dir.0.join("c.yml"), main).unwrap();
    fs::write(dir.0.join("routes.yml"), routes(&[("app", backend)])).unwrap();
    let served = Served::start_with(&dir.0, "c.yml", |command| {
        command.env("TIDEGATE_ADMIN_ADDR", "127.0.0.1:0");
    });
    (dir, served)
}

fn get(client: &mut Client) -> u16 {
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    client.response().status
}

/// How many half-open heads this machine's limit of descriptors lets us hold, at most `wanted`.
fn affordable(wanted: u64) -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let own = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    // Tidegate keeps two for each connection.
    wanted.min(own.saturating_sub(500)).min(own.saturating_sub(DESCRIPTORS_RESERVED) / 2 - 50)
}

#[test]
fn ten_thousand_half_open_heads_stop_nobody_and_are_closed_in_time() {
    // Tidegate serves 10,000 connections at once; some of them are others'.
    let many = affordable(9_900);
    let (_dir, served) = {
        let backend = Backend::answering(|_| "ok".into());
        served(backend.addr, ", max_conns_per_client: 10000")
    };
    let before = (served.descriptors(), served.rss_kb());
    let mut other = Client::connect(served.addr);
    assert_eq!(get(&mut other), 200);
    let begun = Instant::now();
    let mut open: Vec<TcpStream> = (0..many)
        .map(|_| {
            let mut tcp = TcpStream::connect(served.addr).unwrap();
            tcp.write_all(b"GET / HTTP/1.1\r\nHost: app\r\nX-Half: ").unwrap();
            tcp
        })
        .collect();
    let opened = begun.elapsed();
    let rss = served.rss_kb();
    let mut took: Vec<Duration> = (0..200)
        .map(|_| {
            let asked = Instant::now();
            assert_eq!(get(&mut other), 200);
            asked.elapsed()
        })
        .collect();
    took.sort();
    let mut fresh = Client::connect(served.addr);
    assert_eq!(get(&mut fresh), 200, "a new connection is served too");
    let mut answered = 0;
    for tcp in &mut open {
        tcp.set_read_timeout(Some(HEADER_TIMEOUT + DEADLINE)).unwrap();
        let mut text = Vec::new();
        tcp.read_to_end(&mut text).expect("an end in order");
        answered += u64::from(text.starts_with(b"HTTP/1.1 408 "));
    }
    let closed = begun.elapsed();
    println!(
        "MEASURED: {many} half-open heads opened in {opened:?}, all closed after {closed:?}; another's answers \
         meanwhile: median {:?}, slowest {:?}; {} KB a head",
        took[100],
        took[199],
        rss.saturating_sub(before.1) as f64 / many as f64
    );
    assert_eq!(answered, many, "408 each");
    assert!(took[199] < Duration::from_secs(1), "{:?}", took[199]);
    assert!(closed < opened + HEADER_TIMEOUT * 2, "{closed:?}");
    drop((open, fresh, other));
    // A core keeps its connection to the backend.
    wait_until("the descriptors are given back", || served.descriptors() <= before.0 + 2);
}

#[test]
fn without_descriptors_accept_pauses_and_goes_on() {
    let backend = Backend::answering(|_| "ok".into());
    let (_dir, served) = served(backend.addr, "");
    let mut kept = Client::connect(served.addr);
    assert_eq!(get(&mut kept), 200);
    let few = Rlimit { current: Some(served.descriptors() as u64 + 20), maximum: Some(4_096) };
    let limit = prlimit(Some(served.pid()), Resource::Nofile, few).unwrap();
    let mut waiting: Vec<Client> = (0..100).map(|_| Client::connect(served.addr)).collect();
    served.wait_log("cannot accept connections for now");
    // Who is in goes on: its upstream's connection is there already.
    assert_eq!(get(&mut kept), 200);
    for client in &mut waiting {
        client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    }
    let (begun, busy) = (Instant::now(), cpu(&served));
    while begun.elapsed() < Duration::from_millis(1_000) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let burnt = cpu(&served) - busy;
    assert!(burnt < Duration::from_millis(500), "{burnt:?} of CPU in a second: it spins");
    let full = Rlimit { current: Some(4_096.min(limit.current.unwrap_or(4_096))), maximum: Some(4_096) };
    prlimit(Some(served.pid()), Resource::Nofile, full).unwrap();
    // Those that were in had no descriptor left for their upstream: 502, and never silence.
    let statuses: Vec<u16> = waiting.iter_mut().map(|client| client.response().status).collect();
    let right = statuses.iter().filter(|status| **status == 200).count();
    println!(
        "MEASURED: out of descriptors with 100 clients waiting: {right} answered right, {burnt:?} of CPU a second"
    );
    assert!(statuses.iter().all(|status| [200, 502, 503].contains(status)), "{statuses:?}");
    assert!(right >= 50, "those that waited are served afterwards: {statuses:?}");
    assert_eq!(get(&mut Client::connect(served.addr)), 200);
    assert_eq!(served.metrics()["tidegate_panics_total"], 0.0);
}

fn cpu(served: &Served) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", served.child.id())).unwrap();
    let rest = stat.rsplit_once(')').unwrap().1;
    let ticks: u64 = rest.split_whitespace().skip(11).take(2).map(|n| n.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 1_000 / rustix::param::clock_ticks_per_second())
}

#[test]
fn a_gigabyte_for_a_client_that_hardly_reads_stays_with_the_backend() {
    const LENGTH: u64 = 1 << 30;
    for chunked in [false, true] {
        let sent = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&sent);
        let backend = Backend::start(move |mut conn| {
            conn.request();
            let framing = if chunked {
                "Transfer-Encoding: chunked".into()
            } else {
                format!("Content-Length: {LENGTH}")
            };
            conn.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n"));
            let mut block = vec![b'x'; 64 * 1024];
            if chunked {
                block = [b"10000\r\n", &block[..], b"\r\n"].concat();
            }
            let mut left = LENGTH;
            while left > 0 && conn.try_send(&block) {
                count.fetch_add(64 * 1024, Ordering::SeqCst);
                left -= 64 * 1024;
            }
        });
        let (_dir, served) = served(backend.addr, "");
        let before = served.rss_kb();
        let mut client = Client::connect(served.addr);
        client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
        client.head();
        let (mut most, begun) = (0, Instant::now());
        let mut kilobyte = [0; 1_024];
        let mut held = 0;
        for second in 0..3 {
            client.stream.read_exact(&mut kilobyte).unwrap();
            while begun.elapsed() < Duration::from_secs(second + 1) {
                most = most.max(served.rss_kb());
                std::thread::sleep(Duration::from_millis(50));
            }
            if second == 0 {
                held = sent.load(Ordering::SeqCst);
            }
        }
        let (end, grown) = (sent.load(Ordering::SeqCst), most.saturating_sub(before));
        println!(
            "MEASURED: 1 GB at 1 KB/s (chunked: {chunked}): RSS grows by {grown} KB, the backend got rid of {end} B"
        );
        assert!(grown < 4_096, "RSS grew by {grown} KB");
        assert!(end < 64 << 20, "the backend sent {end} B of what nobody reads");
        assert!(end <= held + (4 << 20), "it went on: {held}, then {end} B");
    }
}

#[test]
fn an_upstream_that_resets_every_second_connection_gives_no_wrong_answer() {
    let backend = Backend::start(|mut conn| {
        // Two requests a connection, so that some come on one that is about to end.
        for round in 0..2 {
            let Some(request) = conn.request() else { return };
            if conn.number % 2 == 1 && round == 1 {
                return conn.reset();
            }
            let body = format!("{} {}", request.line(), String::from_utf8_lossy(&request.body));
            conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        }
    });
    let (_dir, served) = served(backend.addr, "");
    let failed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (served, failed) = (&served, &failed);
            scope.spawn(move || {
                let mut client = Client::connect(served.addr);
                for number in 0..150 {
                    let (id, posts) = (format!("/{worker}-{number}"), number % 3 == 0);
                    let (method, body) = if posts { ("POST", id.as_str()) } else { ("GET", "") };
                    let length =
                        if posts { format!("Content-Length: {}\r\n", body.len()) } else { String::new() };
                    client.send(format!("{method} {id} HTTP/1.1\r\nHost: app\r\n{length}\r\n{body}"));
                    let answer = client.response();
                    assert!(answer.complete);
                    match answer.status {
                        200 => assert_eq!(answer.text(), format!("{method} {id} HTTP/1.1 {body}")),
                        502 if posts => drop(failed.fetch_add(1, Ordering::SeqCst)),
                        status => panic!("{method} {id}: {status} {}", answer.text()),
                    }
                    if answer.field("connection") == Some("close") {
                        client = Client::connect(served.addr);
                    }
                }
            });
        }
    });
    let failed = failed.load(Ordering::SeqCst);
    println!(
        "MEASURED: resets at every second connection: 400 GETs right, 200 POSTs of which {failed} got 502"
    );
    assert!(failed > 0 && failed < 200, "{failed} POSTs failed");
}

/// Asks over and over until `ending`, on kept and on new connections; panics at anything but 200.
fn keep_asking(addr: SocketAddr, ending: &AtomicBool, answered: &AtomicUsize, kept: usize) {
    while !ending.load(Ordering::Relaxed) {
        let mut client = Client::connect(addr);
        for _ in 0..kept {
            client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
            let response = client.response();
            assert_eq!((response.status, response.complete), (200, true), "{response:?}");
            answered.fetch_add(1, Ordering::Relaxed);
            if response.field("connection") == Some("close") {
                break;
            }
        }
    }
}

#[test]
fn reloads_as_fast_as_they_go_lose_nothing() {
    let (one, two) = (Backend::answering(|_| "ok".into()), Backend::answering(|_| "ok".into()));
    let (dir, served) = served(one.addr, "");
    let (ending, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let admin = served.admin();
    let change = |number: usize| {
        let to = if number.is_multiple_of(2) { two.addr } else { one.addr };
        replace(&dir.0.join("routes.yml"), &routes(&[("app", to)]));
    };
    let (mut waited, mut signals, mut took) = (0, 0, Duration::ZERO);
    std::thread::scope(|scope| {
        for kept in [1, 20, 20] {
            let (ending, answered) = (&ending, &answered);
            let addr = served.addr;
            scope.spawn(move || keep_asking(addr, ending, answered, kept));
        }
        let _done = EndGuard(&ending);
        // One after another, each waited for.
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(2) {
            change(waited);
            let mut client = Client::connect(admin);
            client.send("POST /api/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
            let response = client.response();
            assert_eq!(response.status, 200, "{}", response.text());
            waited += 1;
        }
        took += begun.elapsed();
        // A hundred a second, whether the last is done or not.
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(2) {
            change(signals);
            served.hang_up();
            signals += 1;
            std::thread::sleep(Duration::from_millis(10 * signals as u64).saturating_sub(begun.elapsed()));
        }
    });
    let rate = waited as f64 / took.as_secs_f64();
    let (answered, done) = (answered.load(Ordering::Relaxed), served.count("eloaded ("));
    println!(
        "MEASURED: {rate:.0} reloads a second one after another, {signals} asked for in 2 s, {done} done in all; \
         {answered} requests meanwhile, none lost"
    );
    assert!(rate >= 5.0 && signals >= 20, "{rate} reloads a second, {signals} asked for");
    assert!(answered > 30, "{answered} requests");
    served.reload();
    assert_eq!(served.status("app"), 200);
}

/// As systemd starts it: `listener` is descriptor 3.
fn activate(listener: &TcpListener, dir: &Dir) -> Child {
    let script = "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" serve --config \"$1\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_tidegate")]).arg(dir.0.join("c.yml"));
    command.env_remove("RUST_LOG").env_remove("TIDEGATE_HTTP_ADDR").env_remove("GODOXY_HTTP_ADDR");
    command.env("TIDEGATE_ADMIN_ADDR", "off").stderr(Stdio::null());
    command.stdin(OwnedFd::from(listener.try_clone().unwrap())).spawn().unwrap()
}

#[test]
fn restarts_under_socket_activation_lose_no_connection_attempt() {
    let backend = Backend::answering(|_| "ok".into());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let dir = Dir::new();
    let main = format!(
        "entrypoint: {{http_addr: \"{addr}\"}}\nworkers: 2\nproviders: {{docker: {{}}, include: [routes.yml]}}\n"
    );
    fs::write(dir.0.join("c.yml"), main).unwrap();
    fs::write(dir.0.join("routes.yml"), routes(&[("app", backend.addr)])).unwrap();
    let (ending, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut child = activate(&listener, &dir);
    std::thread::scope(|scope| {
        for kept in [1, 1, 1, 1] {
            let (ending, answered) = (&ending, &answered);
            scope.spawn(move || keep_asking(addr, ending, answered, kept));
        }
        let _done = EndGuard(&ending);
        for _ in 0..5 {
            let before = answered.load(Ordering::Relaxed);
            wait_until("it serves", || answered.load(Ordering::Relaxed) > before + 50);
            let pid = rustix::process::Pid::from_raw(child.id().cast_signed()).unwrap();
            kill_process(pid, Signal::TERM).unwrap();
            assert!(child.wait().unwrap().success());
            child = activate(&listener, &dir);
        }
        let before = answered.load(Ordering::Relaxed);
        wait_until("it serves", || answered.load(Ordering::Relaxed) > before + 50);
    });
    let _ = child.kill();
    let _ = child.wait();
    println!("MEASURED: 5 restarts, {} connection attempts, none lost", answered.load(Ordering::Relaxed));
}
