//! Passwords guessed in masses: nobody else waits for it, and nothing grows. In a process of its own, since all of
//! one share the threads that hash.
#![allow(clippy::disallowed_methods)] // tests use std's sockets, threads and clock

mod common;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::{Backend, Client, DEADLINE, Proxy, config, wait_until};
use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};
use tidegate::access::{BasicAuth, Hash, Rules, User, hash};
use tidegate::limits::HASH_QUEUE;
use tidegate::util::Locked;

fn get(host: &str, name: &str, password: &str) -> String {
    let credentials = STANDARD.encode(format!("{name}:{password}"));
    format!("GET / HTTP/1.1\r\nHost: {host}\r\nAuthorization: Basic {credentials}\r\n\r\n")
}

/// All that guesses does it in turn.
static ONE: LazyLock<Locked<()>> = LazyLock::new(|| Locked::new(()));

/// A Tidegate with a route `login`, whose password is dear to check, and one that is open.
fn serve() -> Proxy {
    let backend = Backend::answering(|_| "ok".into());
    // Dear enough that 2 threads can't keep up with 64 clients.
    let dear = Hash::parse(&hash(b"secret", [5; 16], 8).unwrap()).unwrap();
    let basic = BasicAuth::new(vec![User { name: "alice".into(), hash: dear }], "r", false);
    let mut config = config(&[("open", backend.addr), ("login", backend.addr)]);
    config.file_routes[1].access = Some(Arc::new(Rules { basic_auth: Some(basic), ..Rules::default() }));
    Proxy::start(config)
}

fn unchecked(proxy: &Proxy) -> u64 {
    let (text, name) = (proxy.observed.metrics_text(), "tidegate_passwords_unchecked_total ");
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    value.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

fn rss_kb() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_burst_of_wrong_passwords_slows_nobody_else_and_stays_bounded() {
    ONE.with(|()| burst(serve()));
}

fn burst(proxy: Proxy) {
    let mut alice = proxy.client();
    let right = get("login", "alice", "secret");
    alice.send(&right);
    assert_eq!(alice.response().status, 200);
    let (before, addr) = (rss_kb(), proxy.addr);
    let done = Arc::new(AtomicBool::new(false));
    let counts: Arc<[AtomicUsize; 2]> = Arc::default();
    let guessers: Vec<_> = (0..64_u8)
        .map(|n| {
            let (done, counts) = (Arc::clone(&done), Arc::clone(&counts));
            std::thread::spawn(move || {
                let own = SocketAddr::new([127, 0, 1, n].into(), 0);
                let mut guesses = 0;
                while !done.load(Ordering::SeqCst) {
                    let mut client = Client::connect_from(own, addr);
                    for _ in 0..8 {
                        let name = if guesses % 2 == 0 { "alice" } else { "mallory" };
                        guesses += 1;
                        client.send(get("login", name, &format!("guess{guesses}")));
                        let response = client.response();
                        let retry = response.field("retry-after").is_some();
                        match response.status {
                            401 => counts[0].fetch_add(1, Ordering::SeqCst),
                            503 if retry => counts[1].fetch_add(1, Ordering::SeqCst),
                            status => panic!("{status}: {response:?}"),
                        };
                        if done.load(Ordering::SeqCst) {
                            return;
                        }
                    }
                }
            })
        })
        .collect();
    let both = || counts.iter().all(|count| count.load(Ordering::SeqCst) > 10);
    wait_until("some are refused and for some there is no room", both);
    let mut slowest = Duration::ZERO;
    for round in 0..40 {
        // Each on a connection of its own, so that both cores are asked.
        let mut client = Client::connect(addr);
        let (host, request) =
            if round % 2 == 0 { ("open", get("open", "", "")) } else { ("login", right.clone()) };
        let asked = Instant::now();
        client.send(request);
        let status = client.response().status;
        // A core that has not verified her yet may have no room for it now.
        assert!(status == 200 || (host == "login" && status == 503), "{host}: {status}");
        if host == "open" {
            slowest = slowest.max(asked.elapsed());
        }
    }
    alice.send(&right);
    assert_eq!(alice.response().status, 200, "she is remembered on her core");
    done.store(true, Ordering::SeqCst);
    guessers.into_iter().for_each(|guesser| guesser.join().unwrap());
    let grown = rss_kb().saturating_sub(before);
    eprintln!(
        "MEASURED: the slowest of 20 open requests took {slowest:?}; {grown} kB more memory; {counts:?}"
    );
    assert!(slowest < DEADLINE / 4, "{slowest:?}");
    assert!(grown < 128 * 1024, "{grown} kB");
    assert!(unchecked(&proxy) > 10);
}

#[test]
fn one_client_that_guesses_leaves_room_for_the_others() {
    ONE.with(|()| one_client(serve()));
}

fn one_client(proxy: Proxy) {
    // More than the queue holds, and at each core more than one client may have.
    let guess = |n: usize| {
        let mut client = Client::connect_from(SocketAddr::new([127, 0, 0, 2].into(), 0), proxy.addr);
        client.send(get("login", "alice", &format!("guess{n}")));
        client
    };
    let mut guessers: Vec<Client> = (0..HASH_QUEUE * 2).map(guess).collect();
    let mut other = proxy.client();
    other.send(get("login", "alice", "secret"));
    assert_eq!(other.response().status, 200);
    let statuses: Vec<u16> = guessers.iter_mut().map(|guesser| guesser.response().status).collect();
    let count = |wanted: u16| statuses.iter().filter(|status| **status == wanted).count();
    assert_eq!(count(401) + count(503), HASH_QUEUE * 2, "{statuses:?}");
    assert!(count(401) >= 1 && count(503) >= 1, "{statuses:?}");
}

#[test]
fn who_the_users_are_does_not_show_in_time() {
    ONE.with(|()| {
        let dear = Hash::parse(&hash(b"secret", [5; 16], 8).unwrap()).unwrap();
        let basic = BasicAuth::new(vec![User { name: "alice".into(), hash: dear }], "r", false);
        let fastest = |name: &str| {
            let takes = |_| {
                let begun = Instant::now();
                assert!(!basic.verify(name.as_bytes(), b"wrong"));
                begun.elapsed()
            };
            (0..5).map(takes).min().unwrap()
        };
        let (known, unknown) = (fastest("alice"), fastest("mallory"));
        assert!(unknown * 4 > known && known * 4 > unknown, "known {known:?}, unknown {unknown:?}");
    });
}
