//! The Docker client against servers that answer byte for byte what the test says.
#![allow(clippy::disallowed_methods)] // tests block, and measure deadlines

mod docker_support;

use docker_support::fake::Dir;
use docker_support::{Scripted, Then, answer, chunk, url};
use std::io::{Read, Write};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use tidegate::docker::api::{Api, ApiVersion, GreetError, greet};
use tidegate::docker::client::{CallError, Client};
use tidegate::docker::{Port, Protocol, RunState};

const SOON: Duration = Duration::from_secs(5);
const V41: ApiVersion = ApiVersion { major: 1, minor: 41 };
const ID: &str = "3f4e8a0b1c2d3e4f5a6b7c8d9e0f1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b";

/// A server, its directory, and a client.
fn scripted(
    handler: impl Fn(&str, &mut UnixStream) -> Then + Send + Sync + 'static,
) -> (Dir, Scripted, Client) {
    let dir = Dir::new();
    let server = Scripted::start(dir.socket(), handler);
    let client = Client::new(&url(&dir.socket()));
    (dir, server, client)
}

/// One that answers everything with `body`.
fn answering(body: &'static str) -> (Dir, Scripted, Client) {
    scripted(move |_, stream| answer(stream, "200 OK", "", body))
}

#[test]
fn a_version_is_agreed_on_both_ways() {
    let cases: [(&str, &str, Result<u16, &str>); 6] = [
        ("Api-Version: 1.41\r\n", "", Ok(41)),
        ("Api-Version: 1.52\r\n", "", Ok(52)),
        ("Api-Version: 1.60\r\n", r#"{"ApiVersion":"1.60","MinAPIVersion":"1.44"}"#, Ok(52)),
        ("", r#"{"ApiVersion":"1.40","MinAPIVersion":"1.12"}"#, Ok(40)),
        ("Api-Version: 1.60\r\n", r#"{"ApiVersion":"1.60","MinAPIVersion":"1.53"}"#, Err("update Tidegate")),
        ("Api-Version: 1.39\r\n", "", Err("update Docker")),
    ];
    for (header, version, expected) in cases {
        let (_dir, server, client) = scripted(move |target, stream| match target {
            "/_ping" => answer(stream, "200 OK", header, "OK"),
            "/version" => answer(stream, "200 OK", "", version),
            other => panic!("asked for {other}"),
        });
        let greeted = greet(&client, SOON);
        match (greeted, expected) {
            (Ok(greeting), Ok(minor)) => assert_eq!(greeting.version, ApiVersion { major: 1, minor }),
            (Err(GreetError::Incompatible(why)), Err(word)) => assert!(why.contains(word), "{why}"),
            (got, expected) => panic!("{header:?}: {got:?}, not {expected:?}"),
        }
        assert_eq!(server.targets().len(), if version.is_empty() { 1 } else { 2 }, "{header:?}");
        assert_eq!(server.connections(), 1);
    }
}

#[test]
fn the_engines_clock_is_read_from_its_answer() {
    let headers = "Api-Version: 1.41\r\nDate: Thu, 01 Jan 1970 00:01:40 GMT\r\n";
    let (_dir, _server, client) = scripted(move |_, stream| answer(stream, "200 OK", headers, "OK"));
    assert_eq!(greet(&client, SOON).unwrap().engine_time, Some(100_000_000_000));
}

#[test]
fn a_container_of_docker_20_is_read_whole() {
    const BODY: &str = r#"{"Id":"3f4e8a0b1c2d3e4f5a6b7c8d9e0f1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b",
      "Created":"2026-11-25T22:00:00.1Z","Name":"/app","Image":"sha256:abc","RestartCount":0,
      "State":{"Status":"running","Running":true,"Paused":false,"Restarting":false,"OOMKilled":false,
        "Dead":false,"Pid":42,"ExitCode":0,"StartedAt":"2026-11-25T22:07:14.123456789Z",
        "FinishedAt":"0001-01-01T00:00:00Z"},
      "HostConfig":{"NetworkMode":"default","PortBindings":{"80/tcp":[{"HostIp":"","HostPort":"8080"}],
        "9/udp":[{"HostIp":"","HostPort":""}]}},
      "Mounts":[{"Type":"bind","Source":"/x","Destination":"/data","RW":true}],
      "Config":{"Hostname":"h","Image":"whoami:latest","Labels":{"proxy.aliases":"app,web"},
        "ExposedPorts":{"80/tcp":{},"443/tcp":{}}},
      "NetworkSettings":{"Bridge":"","Ports":{"443/tcp":null,
        "80/tcp":[{"HostIp":"0.0.0.0","HostPort":"8080"},{"HostIp":"::","HostPort":"8080"}]},
        "IPAddress":"172.17.0.3","Networks":{"bridge":{"NetworkID":"n1","IPAddress":"172.17.0.3",
        "GlobalIPv6Address":""},"six":{"NetworkID":"n2","IPAddress":"","GlobalIPv6Address":"fd00::3"}}}}"#;
    let (_dir, server, client) = answering(BODY);
    let container = Api::new(&client, V41, SOON).inspect(ID).unwrap();
    assert_eq!(server.targets(), [format!("/v1.41/containers/{ID}/json")]);
    assert_eq!((container.name.as_str(), container.image.as_str()), ("app", "whoami:latest"));
    assert_eq!(container.labels.get("proxy.aliases").map(String::as_str), Some("app,web"));
    assert_eq!((container.state, container.started_at), (RunState::Running, Some(1_795_644_434_123_456_789)));
    assert!(!container.host_network);
    let ips: Vec<Option<IpAddr>> = container.networks.iter().map(|network| network.ip).collect();
    assert_eq!(ips, [Some("172.17.0.3".parse().unwrap()), Some("fd00::3".parse().unwrap())]);
    let port = |private, protocol, public| Port { private, public, protocol };
    let expected =
        [port(9, Protocol::Udp, None), port(80, Protocol::Tcp, Some(8080)), port(443, Protocol::Tcp, None)];
    assert_eq!(container.ports, expected);
    assert_eq!(container.mounts, ["/data"]);
}

#[test]
fn what_engines_leave_out_or_null_is_tolerated() {
    let minimal = format!(
        r#"{{"Id":"{ID}","State":null,"Config":{{"Labels":null,"ExposedPorts":null}},"HostConfig":null,
        "NetworkSettings":{{"Networks":{{"a":null}},"Ports":null}},"Mounts":null,"Strange":[1,{{}}]}}"#
    );
    let body: &'static str = Box::leak(minimal.into_boxed_str());
    let (_dir, _server, client) = answering(body);
    let container = Api::new(&client, V41, SOON).inspect(ID).unwrap();
    assert_eq!((container.state, container.started_at), (RunState::Exited, None));
    assert_eq!((container.networks.len(), container.networks[0].ip), (1, None));
}

#[test]
fn a_container_that_does_not_run_has_no_address() {
    const BODY: &str = r#"{"Id":"x","State":{"Status":"exited"},
        "NetworkSettings":{"Networks":{"bridge":{"IPAddress":"172.17.0.3"}}}}"#;
    let (_dir, _server, client) = answering(BODY);
    assert_eq!(Api::new(&client, V41, SOON).inspect("x").unwrap().networks[0].ip, None);
}

#[test]
fn a_list_is_read_with_links_and_published_ports() {
    const BODY: &str = r#"[{"Id":"a1","Names":["/other/alias","/own"],"Image":"img","Labels":{"k":"v"},
        "State":"running","Status":"Up","HostConfig":{"NetworkMode":"host"},
        "Ports":[{"IP":"0.0.0.0","PrivatePort":80,"PublicPort":8080,"Type":"tcp"},
                 {"IP":"::","PrivatePort":80,"PublicPort":8080,"Type":"tcp"},{"PrivatePort":81,"Type":"tcp"}],
        "NetworkSettings":{"Networks":{"host":{"IPAddress":""}}},"Mounts":[{"Destination":"/d"}]},
        {"Id":"","Names":null},{"Id":"b2","Names":null,"State":"created","Labels":null,"Ports":null}]"#;
    let (_dir, server, client) = answering(BODY);
    let list = Api::new(&client, V41, SOON).list().unwrap();
    assert_eq!(server.targets(), ["/v1.41/containers/json?all=1"]);
    assert_eq!(list.len(), 2, "one has no id");
    assert_eq!((list[0].name.as_str(), list[0].host_network), ("own", true));
    assert_eq!(list[0].ports.len(), 2);
    assert_eq!((list[1].name.as_str(), list[1].state), ("", RunState::Created));
}

#[test]
fn info_and_version_are_read() {
    let (_dir, _server, client) = scripted(|target, stream| match target {
        "/version" => {
            let body = r#"{"Version":"20.10.24","ApiVersion":"1.41","MinAPIVersion":"1.12"}"#;
            answer(stream, "200 OK", "", body)
        }
        _ => {
            let body =
                r#"{"LiveRestoreEnabled":true,"SystemTime":"1970-01-01T00:00:01Z","ServerVersion":"x"}"#;
            answer(stream, "200 OK", "", body)
        }
    });
    let api = Api::new(&client, V41, SOON);
    let info = api.info().unwrap();
    assert_eq!((info.live_restore, info.system_time), (true, Some(1_000_000_000)));
    assert_eq!(api.version().unwrap().version, "20.10.24");
}

#[test]
fn errors_are_told_apart() {
    let refuse = |status: &'static str, body: &'static str| {
        let (_dir, _server, client) = scripted(move |_, stream| answer(stream, status, "", body));
        Api::new(&client, V41, SOON).inspect(ID).unwrap_err()
    };
    let not_found = refuse("404 Not Found", r#"{"message":"No such container: x"}"#);
    assert_eq!(not_found, CallError::Status { status: 404, message: "No such container: x".into() });
    let other = refuse("500 Oops", "plain text");
    assert_eq!(other, CallError::Status { status: 500, message: "plain text".into() });
    assert!(matches!(refuse("301 Moved", ""), CallError::Status { status: 301, .. }), "never followed");
    for body in ["", "{", "[]", "null", "{\"Id\":7}", "\u{1}"] {
        let (_dir, _server, client) = answering(body);
        let error = Api::new(&client, V41, SOON).inspect(ID).unwrap_err();
        assert!(matches!(error, CallError::Malformed(_)), "{body:?}: {error:?}");
    }
    let (_dir, _server, client) = scripted(|_, stream| {
        stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").unwrap();
        Then::Close
    });
    let error = client.get("/_ping", SOON).unwrap_err();
    assert!(matches!(error, CallError::Malformed(_) | CallError::Io(_)), "{error:?}");
}

#[test]
fn an_id_cannot_name_another_path() {
    let (_dir, server, client) = answering("{}");
    for id in ["", "a/../..", "a?x=1", "a b", "a\r\nHost: x", "%2e"] {
        assert!(matches!(Api::new(&client, V41, SOON).inspect(id), Err(CallError::Malformed(_))), "{id:?}");
    }
    assert_eq!(server.connections(), 0);
}

#[test]
fn json_of_any_depth_is_an_error_not_a_crash() {
    let deep: &'static str = Box::leak("[".repeat(1_000_000).into_boxed_str());
    let (_dir, _server, client) = answering(deep);
    let error = Api::new(&client, V41, SOON).list().unwrap_err();
    assert!(matches!(error, CallError::Malformed(_)), "{error:?}");
}

#[test]
fn nested_json_needs_little_stack() {
    let nested = format!(r#"{{"Id":"x","Strange":{}1{}}}"#, "[".repeat(120), "]".repeat(120));
    let (_dir, _server, client) = answering(Box::leak(nested.into_boxed_str()));
    let inspect = move || Api::new(&client, V41, SOON).inspect("x").is_ok();
    // Half of what a supervisor's thread has.
    let thread = std::thread::Builder::new().stack_size(256 * 1024).spawn(inspect).unwrap();
    assert!(thread.join().unwrap());
}

#[test]
fn an_answer_cut_off_is_no_answer() {
    let (_dir, _server, client) = scripted(|_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[]").unwrap();
        Then::Close
    });
    let error = Api::new(&client, V41, SOON).list().unwrap_err();
    assert!(matches!(error, CallError::Io(_) | CallError::Malformed(_)), "{error:?}");
}

#[test]
fn an_answer_without_end_is_cut_at_its_limit() {
    let (_dir, _server, client) = scripted(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        let block = " ".repeat(1024 * 1024);
        while chunk(stream, &block).is_ok() {}
        Then::Close
    });
    let error = Api::new(&client, V41, Duration::from_secs(60)).list().unwrap_err();
    assert!(matches!(&error, CallError::Malformed(why) if why.contains("bytes")), "{error:?}");
}

#[test]
fn no_answer_is_late_and_nobody_is_no_connection() {
    let (_hold, held) = mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let (_dir, _server, client) = scripted(move |_, _| {
        let _ = held.lock().unwrap().recv();
        Then::Close
    });
    let started = Instant::now();
    assert_eq!(client.get("/_ping", Duration::from_millis(100)).unwrap_err(), CallError::Late);
    assert!(started.elapsed() < SOON);
    let dir = Dir::new();
    let absent = Client::new(&url(&dir.socket()));
    assert!(matches!(absent.get("/_ping", SOON), Err(CallError::Connect(_))));
}

#[test]
fn a_connection_is_used_again_and_a_dead_one_is_not() {
    let served = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&served);
    let (_dir, server, client) = scripted(move |_, stream| {
        answer(stream, "200 OK", "", "OK");
        match count.fetch_add(1, Ordering::SeqCst) {
            2 => Then::Close,
            _ => Then::Keep,
        }
    });
    for _ in 0..3 {
        client.get("/_ping", SOON).unwrap();
    }
    assert_eq!(server.connections(), 1);
    // The server has closed; wait until that is seen, else the call may win the race.
    docker_support::until("a new connection serves", || {
        client.get("/_ping", SOON).is_ok() && server.connections() == 2
    });
}

#[test]
fn event_lines_arrive_as_they_are_sent_and_a_shutdown_wakes_the_reader() {
    let (go, gone) = mpsc::channel::<()>();
    let gone = std::sync::Mutex::new(gone);
    let (_dir, server, client) = scripted(move |_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        chunk(stream, "one\n").unwrap();
        gone.lock().unwrap().recv().unwrap();
        chunk(stream, "tw").unwrap();
        chunk(stream, "o\n").unwrap();
        let _ = gone.lock().unwrap().recv();
        Then::Close
    });
    let api = Api::new(&client, V41, SOON);
    let mut body = api.events(1_000_000_005, SOON).unwrap();
    assert!(server.targets()[0].starts_with("/v1.41/events?since=1.000000005&filters=%7B%22type%22"));
    let mut buffer = [0; 64];
    let read = body.read(&mut buffer).unwrap();
    assert_eq!(&buffer[..read], b"one\n", "before the stream ends");
    go.send(()).unwrap();
    let mut text = Vec::new();
    while text.len() < 4 {
        let read = body.read(&mut buffer).unwrap();
        text.extend_from_slice(&buffer[..read]);
    }
    assert_eq!(text, b"two\n");
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| body.read(&mut buffer));
        std::thread::sleep(Duration::from_millis(50)); // let it block; the result is the same if it has not
        let started = Instant::now();
        client.shutdown();
        assert!(reader.join().unwrap().map_or(true, |read| read == 0));
        assert!(started.elapsed() < SOON);
    });
    assert!(client.get("/_ping", SOON).is_err(), "shut down for good");
}
