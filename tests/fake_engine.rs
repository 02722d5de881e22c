//! The fake engine from outside: its API over the Unix socket, the containers' pages over TCP, its faults.
//!
//! The shapes were compared by hand with Docker 20.10.24 (see `the_json_has_dockers_keys`).
#![allow(clippy::disallowed_methods)] // tests measure deadlines

mod fake_support;

use fake_support::fake::{Dir, Engine, engine, engine_with};
use fake_support::{Client, PATIENCE, api, get, until};
use serde_json::Value;
use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use tidegate::docker::fake::{
    Call, FakeEngine, Framing, Options, Page, Response, Restart, RestartDelays, RestartPolicy, Spec, View,
};

fn view(engine: &FakeEngine, name: &str) -> View {
    engine.container(name).unwrap()
}

/// The page at an address says whose it is.
fn occupant(of: &View) -> Option<String> {
    let answer = get(of.ip?, of.port).ok()?;
    answer.header("x-container").map(str::to_owned)
}

/// Nanoseconds as `since` takes them.
fn query_time(nanos: i64) -> String {
    format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

/// The engine's own time, for `since` and `until`.
fn engine_time(engine: &FakeEngine) -> String {
    let text = api(engine, "GET", "/info").json()["SystemTime"].as_str().unwrap().to_owned();
    query_time(tidegate::util::timestamp::parse_rfc3339(&text).unwrap())
}

/// A stream of events.
struct Events(Client<UnixStream>);

impl Events {
    fn open(engine: &FakeEngine, query: &str) -> Events {
        let mut client = Client::unix(engine.socket()).unwrap();
        client.send(&format!("GET /v1.41/events{query} HTTP/1.1\r\nHost: d\r\n\r\n")).unwrap();
        assert_eq!(client.head().unwrap().status, 200);
        Events(client)
    }

    /// Opened, and the subscription exists.
    fn subscribed(engine: &FakeEngine, query: &str) -> Events {
        let before = engine.stats().event_streams;
        let events = Events::open(engine, query);
        until("the subscription exists", || engine.stats().event_streams > before);
        events
    }

    fn next(&mut self) -> std::io::Result<Value> {
        let chunk = self.0.chunk()?;
        Ok(serde_json::from_slice(&chunk).unwrap_or(Value::Null))
    }

    /// The actions of the next events.
    fn actions(&mut self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.next().unwrap()["Action"].as_str().unwrap().to_owned()).collect()
    }
}

#[test]
fn lists_and_inspects_what_was_created() {
    let engine = engine();
    let id = engine.create(Spec::new("web").image("nginx:1").label("proxy.aliases", "w").expose("53/udp"));
    let listed = api(&engine, "GET", "/v1.41/containers/json?all=1").json();
    assert_eq!(listed[0]["Id"], id.as_str());
    assert_eq!(listed[0]["State"], "created");
    assert_eq!(
        api(&engine, "GET", "/containers/json").json(),
        serde_json::json!([]),
        "not running, not listed"
    );

    engine.start_container("web").unwrap();
    let web = view(&engine, "web");
    let listed = api(&engine, "GET", "/containers/json").json();
    assert_eq!(listed[0]["Names"], serde_json::json!(["/web"]));
    assert_eq!(listed[0]["Image"], "nginx:1");
    assert_eq!(listed[0]["Labels"]["proxy.aliases"], "w");
    assert_eq!(listed[0]["NetworkSettings"]["Networks"]["bridge"]["IPAddress"], web.ip.unwrap().to_string());
    assert_eq!(listed[0]["Ports"], serde_json::json!([{ "PrivatePort": 53, "Type": "udp" }]));

    for key in [id.as_str(), &id[..12], "web", "%2Fweb"] {
        let inspected = api(&engine, "GET", &format!("/containers/{key}/json"));
        assert_eq!(inspected.status, 200, "{key}");
        assert_eq!(inspected.json()["Id"], id.as_str(), "{key}");
    }
    let inspected = api(&engine, "GET", "/containers/web/json").json();
    assert_eq!(inspected["State"]["Running"], true);
    let started = tidegate::util::timestamp::parse_rfc3339(inspected["State"]["StartedAt"].as_str().unwrap());
    assert_eq!(started, web.started_at);
    assert_eq!(inspected["Config"]["ExposedPorts"], serde_json::json!({ "53/udp": {} }));
    let missing = api(&engine, "GET", "/containers/none/json");
    assert_eq!(
        (missing.status, missing.json()["message"].as_str().unwrap()),
        (404, "No such container: none")
    );
}

#[test]
fn negotiates_versions_as_docker_does() {
    let engine = engine_with(|o| Options { api_version: "1.44".into(), min_api_version: "1.24".into(), ..o });
    for method in ["GET", "HEAD"] {
        let ping = api(&engine, method, "/_ping");
        assert_eq!((ping.status, ping.header("api-version")), (200, Some("1.44")));
    }
    assert_eq!(api(&engine, "GET", "/version").json()["MinAPIVersion"], "1.24");
    assert_eq!(api(&engine, "GET", "/v1.44/info").status, 200);
    let new = api(&engine, "GET", "/v1.45/info");
    assert_eq!(new.status, 400);
    assert!(new.text().contains("too new. Maximum supported API version is 1.44"), "{}", new.text());
    let old = api(&engine, "GET", "/v1.23/info");
    assert_eq!(old.status, 400);
    assert!(old.text().contains("too old. Minimum supported API version is 1.24"), "{}", old.text());
    assert_eq!(api(&engine, "GET", "/v1.44/nothing").status, 404);
}

#[test]
fn the_api_starts_stops_and_removes() {
    let engine = engine();
    engine.create(Spec::new("a"));
    let mut client = Client::unix(engine.socket()).unwrap(); // one connection for all
    let mut call = |method: &str, target: &str| client.call(method, target).unwrap().status;
    assert_eq!(call("POST", "/containers/a/kill"), 409);
    assert_eq!(call("POST", "/containers/a/stop"), 304);
    assert_eq!(call("POST", "/containers/a/start"), 204);
    assert_eq!(call("POST", "/containers/a/start"), 304);
    assert_eq!(call("DELETE", "/containers/a"), 409);
    assert_eq!(call("POST", "/containers/a/restart"), 204);
    assert_eq!(call("POST", "/containers/a/kill"), 204);
    assert_eq!(call("DELETE", "/containers/a"), 204);
    assert_eq!(call("DELETE", "/containers/a"), 404);
    assert_eq!(engine.stats().connections_total, 1);
    assert_eq!(engine.stats().calls_of(Call::Start), 2);
}

#[test]
fn events_come_in_dockers_order() {
    let engine = engine();
    let mut events = Events::subscribed(&engine, "");
    engine.run(Spec::new("a").label("k", "v")).unwrap();
    engine.stop_container("a").unwrap();
    engine.start_container("a").unwrap();
    engine.remove("a").unwrap();
    let first = events.next().unwrap();
    assert_eq!((&first["Type"], &first["Action"]), (&"container".into(), &"create".into()));
    for key in ["status", "id", "from", "time", "timeNano", "scope"] {
        assert!(!first[key].is_null(), "{key} is missing: {first}");
    }
    assert_eq!(
        first["Actor"]["Attributes"],
        serde_json::json!({ "k": "v", "name": "a", "image": "tidegate/a:latest" })
    );
    assert_eq!(events.actions(2), ["connect", "start"]);
    assert_eq!(events.actions(4), ["kill", "die", "disconnect", "stop"]);
    assert_eq!(events.actions(2), ["connect", "start"]);
    assert_eq!(events.actions(4), ["kill", "die", "disconnect", "destroy"]);
}

#[test]
fn since_replays_until_ends_and_filters_choose() {
    let engine = engine();
    engine.run(Spec::new("a")).unwrap();
    engine.run(Spec::new("b")).unwrap();
    let all = api(&engine, "GET", "/events?since=0&until=1");
    assert_eq!((all.status, all.text()), (200, String::new()), "`until` lies before everything");

    let until_now = |filters: &str| {
        let now = engine_time(&engine);
        let text = api(&engine, "GET", &format!("/events?since=0&until={now}{filters}")).text();
        text.lines().map(|l| serde_json::from_str::<Value>(l).unwrap()).collect::<Vec<_>>()
    };
    let events = until_now("");
    assert_eq!(events.len(), 6);
    // since is inclusive, to the nanosecond
    let nano = events[4]["timeNano"].as_i64().unwrap();
    let mut replay = Events::open(&engine, &format!("?since={}", query_time(nano)));
    assert_eq!(replay.next().unwrap(), events[4]);
    assert_eq!(replay.next().unwrap(), events[5]);
    engine.kill("b").unwrap();
    assert_eq!(replay.actions(2), ["kill", "die"], "and then it is live");

    let started = until_now(
        "&filters=%7B%22type%22%3A%5B%22container%22%5D%2C%22event%22%3A%7B%22start%22%3Atrue%7D%7D",
    );
    let names: Vec<_> = started.iter().map(|e| e["Actor"]["Attributes"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a", "b"]);
    for bad in ["yesterday", "2026-11-25T22:07:14Z"] {
        assert_eq!(api(&engine, "GET", &format!("/events?since={bad}")).status, 500, "Docker takes no {bad}");
    }
}

#[test]
fn the_200_of_events_comes_before_the_subscription() {
    let engine = engine_with(|o| Options { subscribe_after: Duration::from_millis(300), ..o });
    let mut late = Events::open(&engine, "");
    let mut replayed = Events::open(&engine, "?since=0");
    engine.create(Spec::new("lost"));
    until("both subscriptions exist", || engine.stats().event_streams == 2);
    engine.create(Spec::new("seen"));
    let name = |e: Value| e["Actor"]["Attributes"]["name"].as_str().unwrap().to_owned();
    assert_eq!(name(late.next().unwrap()), "seen");
    assert_eq!(name(replayed.next().unwrap()), "lost");
    assert_eq!(name(replayed.next().unwrap()), "seen");
}

#[test]
fn die_comes_before_the_address_is_free() {
    let engine = engine_with(|o| Options { release_after: Duration::from_millis(500), ..o });
    let a = engine.run(Spec::new("a").page(Page::Hello)).unwrap();
    engine.create(Spec::new("b").page(Page::Hello));
    let mut events = Events::subscribed(&engine, "");
    let killer = std::thread::spawn({
        let fake = engine.fake.clone();
        move || fake.kill("a").unwrap()
    });
    assert_eq!(events.actions(2), ["kill", "die"]);
    assert_eq!(get(a.ip.unwrap(), a.port).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    engine.start_container("b").unwrap();
    assert_ne!(view(&engine, "b").ip, a.ip, "handed out while it was still held");
    killer.join().unwrap();
    assert_eq!(view(&engine, "a").ip, None);
    assert_eq!(engine.run(Spec::new("c").page(Page::Hello)).unwrap().ip, a.ip, "the lowest free one");
    assert_eq!(occupant(&a).as_deref(), Some("c"));
}

#[test]
fn a_killed_engine_leaves_its_socket_and_its_containers() {
    let engine = engine();
    let before = engine.run(Spec::new("a").page(Page::Hello)).unwrap();
    let mut events = Events::subscribed(&engine, "");
    let inode = || std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(engine.socket()).unwrap());
    let old_inode = inode();
    engine.kill_engine();
    assert!(events.next().is_err(), "the stream is cut, not ended");
    assert_eq!(Client::unix(engine.socket()).err().unwrap().kind(), ErrorKind::ConnectionRefused);
    assert_eq!(inode(), old_inode);
    assert_eq!(occupant(&before).as_deref(), Some("a"));

    engine.start_engine(Restart::LiveRestore).unwrap();
    assert_eq!(view(&engine, "a"), before);
    assert_eq!(api(&engine, "GET", "/containers/json").json()[0]["Id"], before.id.as_str());
    let replay = api(&engine, "GET", "/events?since=0&until=1000");
    assert_eq!(replay.text(), "", "a new process remembers nothing");

    engine.remove_socket();
    assert_eq!(Client::unix(engine.socket()).err().unwrap().kind(), ErrorKind::NotFound);
    engine.start_engine(Restart::LiveRestore).unwrap();
    assert_eq!(api(&engine, "GET", "/_ping").text(), "OK");
}

/// Six containers with pages, as in the measured restart.
fn six(engine: &FakeEngine) -> Vec<View> {
    (0..6).map(|i| engine.run(Spec::new(format!("c{i}")).page(Page::Hello)).unwrap()).collect()
}

#[test]
fn a_default_restart_reverses_addresses_before_the_api_answers() {
    let ms = Duration::from_millis;
    let engine = engine_with(|o| Options {
        restart_delays: RestartDelays { kill: ms(100), start: ms(200), answer: ms(600) },
        ..o
    });
    let before = six(&engine);
    engine.run(Spec::new("once").policy(RestartPolicy::No)).unwrap();
    let since = engine_time(&engine);
    engine.kill_engine();
    assert_eq!(occupant(&before[0]).as_deref(), Some("c0"), "they outlive the engine");

    let begin = Instant::now();
    engine.start_engine(Restart::Default).unwrap();
    let mut early = Client::unix(engine.socket()).unwrap(); // accepted at once
    early.send("GET /_ping HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(occupant(&before[0]).as_deref(), Some("c0"), "not killed yet");
    until("the new occupant answers", || occupant(&before[0]).as_deref() == Some("c5"));
    assert_eq!(early.answer("GET").unwrap().text(), "OK");
    assert!(begin.elapsed() >= ms(600), "answered too early: {:?}", begin.elapsed());

    // StartedAt comes before `start`, FinishedAt before `die`
    let state = api(&engine, "GET", "/containers/c0/json").json()["State"].clone();
    let time = |key: &str| tidegate::util::timestamp::parse_rfc3339(state[key].as_str().unwrap()).unwrap();
    assert!(time("FinishedAt") < time("StartedAt"));

    for (old, opposite) in before.iter().zip(before.iter().rev()) {
        let new = view(&engine, &old.name);
        assert_eq!((&new.id, new.ip), (&old.id, opposite.ip));
        assert!(new.started_at > old.started_at);
        assert_eq!(occupant(&new).as_ref(), Some(&new.name));
    }
    assert!(!view(&engine, "once").running);
    assert_eq!(api(&engine, "GET", "/containers/once/json").json()["State"]["ExitCode"], 137);
    let mut replay = Events::open(&engine, &format!("?since={since}"));
    let seen = replay.actions(7 * 2 + 6 * 2);
    assert_eq!(seen.iter().filter(|a| *a == "die").count(), 7);
    assert_eq!(seen.iter().filter(|a| *a == "start").count(), 6);
}

#[test]
fn an_engine_killed_while_it_restores_can_start_again() {
    let engine = engine();
    let before = six(&engine);
    for _ in 0..3 {
        engine.start_engine(Restart::Default).unwrap();
        std::thread::sleep(Duration::from_millis(60)); // in the midst of it, at no point in particular
    }
    engine.start_engine(Restart::Default).unwrap();
    assert!(engine.wait_until_ready(PATIENCE));
    let mut addresses: Vec<_> = before.iter().map(|v| view(&engine, &v.name).ip.unwrap()).collect();
    addresses.sort();
    assert_eq!(addresses, before.iter().map(|v| v.ip.unwrap()).collect::<Vec<_>>());
}

#[test]
fn a_frozen_engine_takes_connections_and_says_nothing() {
    let engine = engine();
    let a = engine.run(Spec::new("a").page(Page::Hello)).unwrap();
    let mut open = Client::unix(engine.socket()).unwrap();
    open.call("GET", "/_ping").unwrap();
    let mut events = Events::subscribed(&engine, "");
    engine.freeze();
    let mut new = Client::unix(engine.socket()).unwrap();
    for client in [&mut open, &mut new] {
        client.send("GET /_ping HTTP/1.1\r\n\r\n").unwrap();
    }
    engine.create(Spec::new("b"));
    for client in [&mut open, &mut new, &mut events.0] {
        let stream = client.stream.get_mut();
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    assert_eq!(occupant(&a).as_deref(), Some("a"), "containers don't notice");
    engine.thaw();
    for client in [&mut open, &mut new] {
        assert_eq!(client.answer("GET").unwrap().text(), "OK");
    }
    assert_eq!(events.actions(1), ["create"]);
}

#[test]
fn calls_are_slow_fail_and_are_cut_off_as_asked() {
    let engine = engine();
    let begin = Instant::now();
    engine.set_latency(Call::Ping, Duration::from_millis(150));
    api(&engine, "GET", "/_ping");
    assert!(begin.elapsed() >= Duration::from_millis(150));
    api(&engine, "GET", "/info"); // others are not delayed

    engine.create(Spec::new("a"));
    engine.fail(Call::List, 500, 2);
    let statuses: Vec<_> = (0..3).map(|_| api(&engine, "GET", "/containers/json?all=1").status).collect();
    assert_eq!(statuses, [500, 500, 200]);
    engine.cut(Call::List, 1);
    assert!(Client::unix(engine.socket()).unwrap().call("GET", "/containers/json?all=1").is_err());
    assert_eq!(engine.stats().calls_of(Call::List), 4);

    let mut events = Events::subscribed(&engine, "");
    let mut other = Events::subscribed(&engine, "");
    engine.cut_event_streams();
    assert!(events.next().is_err() && other.next().is_err());
    until("the streams are gone", || engine.stats().event_streams == 0);
    assert_eq!(api(&engine, "GET", "/_ping").status, 200);
}

#[test]
fn swapped_addresses_belong_to_the_other() {
    let engine = engine();
    engine.run(Spec::new("gone")).unwrap();
    let a = engine.run(Spec::new("a").page(Page::Whoami)).unwrap();
    let b = engine.run(Spec::new("b").page(Page::Whoami)).unwrap();
    engine.remove("gone").unwrap(); // a lower address is free: it must not be taken
    let mut connected = Client::tcp(a.ip.unwrap(), a.port).unwrap();
    connected.call("GET", "/").unwrap();
    engine.swap_addresses("a", "b").unwrap();
    assert!(connected.call("GET", "/").is_err(), "a connection outlived its process");
    assert_eq!(occupant(&a).as_deref(), Some("b"));
    assert_eq!(occupant(&b).as_deref(), Some("a"));
    assert_eq!((view(&engine, "a").ip, view(&engine, "b").ip), (b.ip, a.ip));
}

#[test]
fn a_relabelled_container_is_a_new_one_under_the_old_name() {
    let engine = engine();
    let old = engine.run(Spec::new("a").label("x", "1").page(Page::Hello)).unwrap();
    let mut events = Events::subscribed(&engine, "");
    let id = engine.relabel("a", [("y", "2")]).unwrap();
    let new = view(&engine, "a");
    assert_eq!(new.id, id);
    assert_ne!(new.id, old.id);
    assert!(new.running);
    assert_eq!(new.labels.into_iter().collect::<Vec<_>>(), [("y".to_owned(), "2".to_owned())]);
    assert!(engine.container(&old.id).is_none());
    let expected = ["create", "kill", "die", "disconnect", "stop", "destroy", "rename", "connect", "start"];
    assert_eq!(events.actions(9), expected);

    engine.stop_container("a").unwrap();
    engine.relabel("a", [("y", "3")]).unwrap();
    assert!(!view(&engine, "a").running, "what was stopped stays stopped");
}

#[test]
fn pages_say_whose_they_are_and_keep_connections() {
    let engine = engine();
    let a = engine.run(Spec::new("a").page(Page::Whoami)).unwrap();
    let mut client = Client::tcp(a.ip.unwrap(), a.port).unwrap();
    client.send("GET /x HTTP/1.1\r\nHost: h\r\nX-Odd: <b>\r\n\r\n").unwrap();
    let answer = client.answer("GET").unwrap();
    assert_eq!(answer.header("x-container-id"), Some(a.id.as_str()));
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(answer.text().contains("X-Odd") && answer.text().contains("&lt;b&gt;"), "{}", answer.text());
    assert!(answer.text().contains(&a.id) && answer.text().contains(&a.ip.unwrap().to_string()));
    let head = client.call("HEAD", "/").unwrap();
    assert_eq!(head.header("x-container"), Some("a"));
    client
        .send(
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        )
        .unwrap();
    assert!(client.answer("POST").unwrap().text().contains("3 bytes"));
    assert_eq!(client.stream.read(&mut [0]).unwrap(), 0, "closed as asked");
    assert_eq!(engine.stats().page_requests, 3);

    let counter = engine.run(Spec::new("n").page(Page::Counter)).unwrap();
    let mut client = Client::tcp(counter.ip.unwrap(), counter.port).unwrap();
    for visit in 1..=3 {
        client.call("HEAD", "/").unwrap();
        client.call("GET", "/favicon.ico").unwrap();
        assert!(client.call("GET", "/").unwrap().text().contains(&format!("<p class=\"big\">{visit}</p>")));
    }
}

#[test]
fn raw_pages_answer_in_every_framing() {
    let engine = engine();
    let page = Page::raw(|request| {
        let framing = match request.path() {
            "/chunked" => Framing::Chunked(3),
            "/close" => Framing::Close,
            "/cut" => Framing::Cut(2),
            _ => Framing::Length,
        };
        Response::new(200, "text/plain", request.body.clone()).framed(framing)
    });
    let a = engine.run(Spec::new("a").page(page)).unwrap();
    let mut client = Client::tcp(a.ip.unwrap(), a.port).unwrap();
    let mut post = |path: &str| {
        client.send(&format!("POST {path} HTTP/1.1\r\nContent-Length: 7\r\n\r\nabcdefg"))?;
        client.answer("POST").map(|a| a.text())
    };
    assert_eq!(post("/").unwrap(), "abcdefg");
    assert_eq!(post("/chunked").unwrap(), "abcdefg");
    assert_eq!(post("/close").unwrap(), "abcdefg");
    let mut client = Client::tcp(a.ip.unwrap(), a.port).unwrap();
    client.send("POST /cut HTTP/1.1\r\nContent-Length: 7\r\n\r\nabcdefg").unwrap();
    assert_eq!(client.answer("POST").unwrap_err().kind(), ErrorKind::UnexpectedEof);
}

#[test]
fn an_application_may_listen_late_and_a_paused_one_is_silent() {
    let engine = engine();
    let late =
        engine.run(Spec::new("late").page(Page::Hello).listen_after(Duration::from_millis(300))).unwrap();
    assert_eq!(get(late.ip.unwrap(), late.port).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    until("it listens", || occupant(&late).is_some());
    engine.kill("late").unwrap();
    engine.start_container("late").unwrap();
    engine.kill("late").unwrap(); // before it listens: it never will

    let a = engine.run(Spec::new("a").page(Page::Hello)).unwrap();
    engine.pause("a").unwrap();
    assert_eq!(api(&engine, "GET", "/containers/a/json").json()["State"]["Status"], "paused");
    let mut client = Client::tcp(a.ip.unwrap(), a.port).unwrap();
    client.stream.get_mut().set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert_eq!(client.call("GET", "/").unwrap_err().kind(), ErrorKind::WouldBlock);
    engine.unpause("a").unwrap();
    client.stream.get_mut().set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(client.answer("GET").unwrap().status, 200);
}

#[test]
fn a_container_on_the_host_network_has_no_address_of_its_own() {
    let engine = engine();
    let a = engine.run(Spec::new("a").network("host").page(Page::Hello)).unwrap();
    assert_eq!(a.ip, None);
    assert_eq!(get([127, 0, 0, 1].into(), a.port).unwrap().header("x-container"), Some("a"));
    let listed = api(&engine, "GET", "/containers/json").json();
    assert_eq!(listed[0]["HostConfig"]["NetworkMode"], "host");
    assert_eq!(listed[0]["NetworkSettings"]["Networks"]["host"]["IPAddress"], "");
    assert_eq!(listed[0]["Ports"], serde_json::json!([]));
    let b = engine.run(Spec::new("b").network("apps")).unwrap();
    let networks = &api(&engine, "GET", "/containers/b/json").json()["NetworkSettings"]["Networks"];
    assert_eq!(networks["apps"]["IPAddress"], b.ip.unwrap().to_string());
    let clash = engine.create(Spec::new("c").network("host").page(Page::Hello));
    assert_eq!(engine.start_container(&clash).unwrap_err().status, 500, "two listen on one port");
    assert!(!view(&engine, "c").running);
}

#[test]
fn two_thousand_containers_are_listed_and_started() {
    let engine = engine();
    for i in 0..2_000 {
        engine.run(Spec::new(format!("c{i}")).label("proxy.aliases", format!("a{i}"))).unwrap();
    }
    let begin = Instant::now();
    let listed = api(&engine, "GET", "/containers/json?all=1").json();
    assert_eq!(listed.as_array().unwrap().len(), 2_000);
    let mut client = Client::unix(engine.socket()).unwrap();
    for container in listed.as_array().unwrap() {
        let id = container["Id"].as_str().unwrap();
        assert_eq!(client.call("GET", &format!("/containers/{id}/json")).unwrap().json()["Id"], id);
    }
    assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", begin.elapsed());
    let mut ips: Vec<_> = engine.containers().into_iter().filter_map(|c| c.ip).collect();
    ips.sort();
    ips.dedup();
    assert_eq!(ips.len(), 2_000, "two have the same address");
}

#[test]
fn it_leaves_other_sockets_and_files_alone() {
    let first = engine();
    let error = FakeEngine::start(Options::new(first.socket())).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert_eq!(api(&first, "GET", "/_ping").status, 200);
    let dir = Dir::new();
    std::fs::write(dir.socket(), "mine").unwrap();
    let error = FakeEngine::start(Options::new(dir.socket())).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(std::fs::read_to_string(dir.socket()).unwrap(), "mine");
}

#[test]
fn an_engine_ends_with_its_last_handle_and_leaves_nothing_open() {
    let dir = Dir::new();
    let fake = FakeEngine::start(Options::new(dir.socket())).unwrap();
    let weak = fake.downgrade();
    let own = weak.clone();
    let page = Page::raw(move |_| match own.upgrade() {
        Some(engine) => Response::text(200, engine.containers().len().to_string()),
        None => Response::text(503, "gone"),
    });
    let a = fake.run(Spec::new("a").page(page)).unwrap();
    assert_eq!(get(a.ip.unwrap(), a.port).unwrap().text(), "1", "a page may speak to its engine");
    let mut client = Client::unix(fake.socket()).unwrap();
    client.call("GET", "/_ping").unwrap();
    assert_eq!(fake.stats().connections_open, 1);
    drop(client);
    until("the connection is closed", || fake.stats().connections_open == 0);
    drop(fake);
    assert!(weak.upgrade().is_none());
    until("the socket file is gone", || !dir.socket().exists());
    until("the page is gone", || get(a.ip.unwrap(), a.port).is_err());
}

/// Key paths that a proxy may read, each found in the answers of Docker 20.10.24 too.
#[test]
fn the_json_has_dockers_keys() {
    let engine: Engine = engine();
    engine.run(Spec::new("a").page(Page::Hello).mount("/data").publish(80, 8080)).unwrap();
    let inspected = api(&engine, "GET", "/containers/a/json").json();
    for path in [
        "/Id",
        "/Name",
        "/Created",
        "/State/Status",
        "/State/Running",
        "/State/Paused",
        "/State/Restarting",
        "/State/Dead",
        "/State/StartedAt",
        "/State/FinishedAt",
        "/State/ExitCode",
        "/Config/Image",
        "/Config/Labels",
        "/Config/ExposedPorts",
        "/HostConfig/NetworkMode",
        "/HostConfig/RestartPolicy/Name",
        "/Mounts/0/Destination",
        "/NetworkSettings/Ports/80~1tcp/0/HostPort",
        "/NetworkSettings/Networks/bridge/IPAddress",
        "/NetworkSettings/Networks/bridge/NetworkID",
        "/NetworkSettings/Networks/bridge/GlobalIPv6Address",
    ] {
        assert!(inspected.pointer(path).is_some(), "inspect lacks {path}");
    }
    let listed = api(&engine, "GET", "/containers/json").json();
    for path in [
        "/0/Id",
        "/0/Names/0",
        "/0/Image",
        "/0/ImageID",
        "/0/Created",
        "/0/State",
        "/0/Status",
        "/0/Labels",
        "/0/HostConfig/NetworkMode",
        "/0/NetworkSettings/Networks/bridge/IPAddress",
        "/0/Mounts/0/Destination",
        "/0/Ports/0/PrivatePort",
    ] {
        assert!(listed.pointer(path).is_some(), "list lacks {path}");
    }
    let info = api(&engine, "GET", "/info").json();
    for path in ["/SystemTime", "/ServerVersion", "/LiveRestoreEnabled", "/Driver", "/Name"] {
        assert!(info.pointer(path).is_some(), "info lacks {path}");
    }
}
