//! The harness itself, without the proxy: a room, a real engine, a container that answers.
#![allow(clippy::disallowed_methods)] // tests block, and measure deadlines

mod support;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::Duration;
use support::engine::Engine;
use support::room::{inside, noted};
use support::traffic::{Outcome, Traffic};
use support::wait;
use support::{http, room};

/// Time for a container to answer; only a fault reaches it.
const LIMIT: Duration = Duration::from_secs(20);

fn address(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().expect("an address"), port)
}

#[test]
fn a_container_answers_on_the_bridge_and_after_a_restart() {
    inside("a_container_answers_on_the_bridge_and_after_a_restart", Duration::from_secs(180), |room| {
        let mut engine = Engine::default_bridge(room);
        let id = engine.run("one", &["--restart", "always"]);
        let ask = |ip: &str| {
            let look = Duration::from_millis(20);
            wait::until("the container answers", LIMIT, look, || {
                http::get(address(ip, 80), "x", "/?id=7").ok()
            })
        };
        let answer = ask(&engine.ip("one"));
        assert_eq!((answer.status, answer.app()), (200, Some("one")));
        assert_eq!(answer.text(), format!("one {}\n", &id[..12]));
        assert!(room.heads("one").contains(&7));
        assert_eq!(room.listening("one").len(), 1);

        engine.kill9();
        let start = engine.start();
        let ready = engine.wait_ready();
        assert_eq!(ask(&engine.ip("one")).app(), Some("one"));
        assert_eq!(room.listening("one").len(), 2, "the engine's restart did not restart its container");
        noted(&format!("dockerd answers {:?} after its start", ready - start));
    });
}

#[test]
fn containers_outlive_a_live_restore_engine() {
    inside("containers_outlive_a_live_restore_engine", Duration::from_secs(180), |room| {
        let mut engine = Engine::live_restore(room);
        engine.run("one", &["-e", "PORT=9001"]);
        let addr = address("127.0.0.1", 9001);
        let look = Duration::from_millis(20);
        wait::until("the container answers", LIMIT, look, || http::get(addr, "x", "/").ok());
        engine.kill9();
        let traffic = Traffic::start(addr, &["one"], "/");
        engine.start();
        engine.wait_ready();
        engine.freeze();
        assert_eq!(http::get(addr, "x", "/").expect("an answer").app(), Some("one"));
        engine.thaw();
        let tally = traffic.stop();
        tally.assert_all_right();
        assert_eq!(room.listening("one").len(), 1, "the container was restarted");
        assert_eq!(engine.docker(&["ps", "--quiet"]).lines().count(), 1);
    });
}

#[test]
fn the_app_does_what_stories_need() {
    inside("the_app_does_what_stories_need", Duration::from_secs(120), |room| {
        let engine = Engine::live_restore(room);
        engine.run("one", &["-e", "PORT=9001,9002"]);
        let addr = address("127.0.0.1", 9002);
        let look = Duration::from_millis(20);
        wait::until("the container answers", LIMIT, look, || http::get(addr, "x", "/").ok());
        let get = |path: &str| http::get(addr, "x", path);
        assert_eq!(get("/big?bytes=100000").expect("a body").body.len(), 100_000);
        assert_eq!(get("/chunked?bytes=100000").expect("a body").body.len(), 100_000);
        assert!(matches!(get("/cut?bytes=100000"), Err(http::Failure::Cut { bytes }) if bytes > 50_000));
        assert!(get("/head").expect("a head").text().starts_with("GET /head HTTP/1.1\r\nHost: x\r\n"));
        let post = |target: &str, framing: &str, body: &str| {
            let head =
                format!("POST {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{framing}\r\n\r\n{body}");
            http::exchange(addr, head.as_bytes()).expect("an answer").text()
        };
        assert_eq!(post("/echo", "Content-Length: 5", "hello"), "hello");
        assert_eq!(post("/echo", "Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n"), "hello");
        assert_eq!(post("/hash", "Content-Length: 5", "hello"), "5 a430d84680aabd0b\n");
    });
}

#[test]
fn the_engine_tells_deaths_and_swaps_addresses() {
    inside("the_engine_tells_deaths_and_swaps_addresses", Duration::from_secs(120), |room| {
        let engine = Engine::default_bridge(room);
        engine.run("ada", &[]);
        engine.run("ben", &[]);
        let (begin, before) = (wait::wall(), [engine.ip("ada"), engine.ip("ben")]);
        engine.docker(&["kill", "ada", "ben"]);
        engine.docker(&["start", "ben", "ada"]);
        assert_eq!([engine.ip("ben"), engine.ip("ada")], before);
        let mut deaths = engine.deaths(begin);
        deaths.sort();
        assert_eq!(deaths.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["ada", "ben"]);
        assert!(deaths.iter().all(|(_, at)| (begin..wait::wall()).contains(at)), "{deaths:?}");
    });
}

#[test]
fn traffic_tells_right_from_wrong() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
    let addr = listener.local_addr().expect("its address");
    // Answers as `ada` to everybody, but 503 to `cyd` and half an answer to `dan`.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = [0; 1024];
            let length = stream.read(&mut head).unwrap_or(0);
            let head = String::from_utf8_lossy(&head[..length]).into_owned();
            let answer = match head {
                head if head.contains("cyd") => "HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n",
                head if head.contains("dan") => {
                    "HTTP/1.1 200 OK\r\nX-App: dan\r\nContent-Length: 9\r\n\r\ndan"
                }
                _ => "HTTP/1.1 200 OK\r\nX-App: ada\r\nContent-Length: 3\r\n\r\nada",
            };
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    let traffic = Traffic::start(addr, &["ada", "ben", "cyd", "dan"], "/");
    wait::pass(Duration::from_secs(1));
    let tally = traffic.stop();
    for sample in &tally.samples {
        let expected = match sample.app.as_str() {
            "ada" => Outcome::Right,
            "ben" => Outcome::Wrong("ada".to_string()),
            "cyd" => Outcome::Status(503),
            _ => Outcome::Failed(http::Failure::Cut { bytes: 53 }),
        };
        assert_eq!(sample.outcome, expected);
    }
    let (asked, wrong) = (tally.samples.len(), tally.count(|o| matches!(o, Outcome::Wrong(_))));
    assert!(asked >= 20 && wrong >= asked / 5, "{tally}");
    assert!(std::panic::catch_unwind(|| tally.assert_all_right()).is_err());
}

#[test]
fn a_failing_story_fails_its_test_and_leaves_nothing() {
    let name = "a_failing_story_fails_its_test_and_leaves_nothing";
    let story = || {
        inside(name, Duration::from_secs(120), |room| {
            let engine = Engine::live_restore(room);
            engine.run("one", &["-e", "PORT=9001"]);
            panic!("as planted");
        });
    };
    if room::is_inside() {
        return story();
    }
    match std::panic::catch_unwind(story) {
        Ok(()) => assert!(!room::all_required(), "a panic inside a room was lost"),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
            assert!(text.contains("as planted"), "another fault: {text}");
            assert_eq!(room::remains(name), Vec::<String>::new());
        }
    }
}
