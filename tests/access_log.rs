//! The access log from outside: lines of real requests, what tries to forge them, files that come and go.
#![allow(clippy::disallowed_methods)] // tests use std's sockets, threads and clock

mod common;

use common::fake::{Dir, engine};
use common::{Backend, Client, DEADLINE, Proxy, config, wait_until};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tidegate::access_log::{self, Entry, Setup};
use tidegate::config::{AccessLog, AccessLogFormat, Config};
use tidegate::docker::fake::{Page, Spec};
use tidegate::limits::ACCESS_LOG_QUEUE;
use tidegate::util::wall_clock::WallTime;

/// A Tidegate with one route `app` whose access log is a file.
struct Logged {
    proxy: Proxy,
    path: PathBuf,
    _dir: Dir,
}

impl Logged {
    fn start(format: AccessLogFormat, backend: SocketAddr) -> Logged {
        Logged::prepared(format, backend, |_| ())
    }

    /// `prepare` gets the path of the log before Tidegate starts.
    fn prepared(format: AccessLogFormat, backend: SocketAddr, prepare: impl FnOnce(&Path)) -> Logged {
        let dir = Dir::new();
        let path = dir.0.join("access.log");
        prepare(&path);
        let proxy = Proxy::start(logged(format, backend, path.clone()));
        Logged { proxy, path, _dir: dir }
    }

    /// Waits until there are so many lines, and returns them.
    fn lines(&self, count: usize) -> Vec<String> {
        lines_of(&self.path, count)
    }

    fn lost(&self, cause: &str) -> u64 {
        let name = format!("tidegate_access_log_lines_lost_total{{cause=\"{cause}\"}} ");
        let text = self.proxy.observed.metrics_text();
        let value = text.lines().find_map(|line| line.strip_prefix(name.as_str()));
        value.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    }
}

fn logged(format: AccessLogFormat, backend: SocketAddr, path: PathBuf) -> Config {
    let access_log = Some(AccessLog { path: Some(path), format, ..AccessLog::default() });
    Config { access_log, recreate_wait: Duration::from_millis(50), ..config(&[("app", backend)]) }
}

fn lines_of(path: &Path, count: usize) -> Vec<String> {
    let read = || fs::read_to_string(path).unwrap_or_default();
    wait_until(&format!("{count} lines in {}", path.display()), || read().lines().count() >= count);
    let lines: Vec<String> = read().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), count, "{lines:#?}");
    lines
}

/// The line without its time: `[…]` is emptied, after its shape is checked.
fn timeless(line: &str) -> String {
    let (before, rest) = line.split_once('[').expect("a time");
    let (time, after) = rest.split_once(']').expect("the time's end");
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert!(shape.starts_with("00/") && shape.ends_with("/0000:00:00:00 +0000"), "{time}");
    format!("{before}[]{after}")
}

fn backend() -> Backend {
    Backend::start(|mut conn| {
        while let Some(request) = conn.request() {
            match request.line().contains("/chunked") {
                true => conn.send(
                    "HTTP/1.1 201 Created\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n\
                     5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
                ),
                false => {
                    conn.send("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok")
                }
            }
        }
    })
}

/// A port at which nobody listens.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn common_lines_have_godoxys_shape() {
    let backend = backend();
    let log = Logged::start(AccessLogFormat::Common, backend.addr);
    let mut client = log.proxy.client();
    client.send("GET /a?b=c%20d HTTP/1.1\r\nHost: app.local:80\r\n\r\n");
    client.response();
    client.send("POST /chunked HTTP/1.1\r\nHost: app\r\nContent-Length: 3\r\n\r\nabc");
    client.response();
    client.send("HEAD /x HTTP/1.0\r\nHost: app\r\n\r\n");
    client.response_to("HEAD");
    let lines: Vec<String> = log.lines(3).iter().map(|line| timeless(line)).collect();
    assert_eq!(
        lines,
        [
            "app.local:80 127.0.0.1 - - [] \"GET /a?b=c%20d HTTP/1.1\" 200 2",
            "app 127.0.0.1 - - [] \"POST /chunked HTTP/1.1\" 201 11",
            "app 127.0.0.1 - - [] \"HEAD /x HTTP/1.0\" 200 0",
        ]
    );
}

#[test]
fn combined_lines_add_referer_and_user_agent_and_own_answers_are_logged_too() {
    let log = Logged::start(AccessLogFormat::Combined, nobody());
    let mut client = log.proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: app\r\nReferer: http://x/?y\r\nUser-Agent: Some Thing/1\r\n\r\n");
    let refused = client.response();
    // Which of the two depends on whether the wait or the last try ends first.
    assert!(matches!(refused.status, 502 | 503), "{refused:?}");
    client.send("GET /none HTTP/1.1\r\nHost: other\r\n\r\n");
    let unknown = client.response();
    client.send("GET /bad HTTP/1.1\nHost: app\n\n");
    let bad = client.response();
    let lines: Vec<String> = log.lines(3).iter().map(|line| timeless(line)).collect();
    let size = |response: &common::Response| response.body.len();
    assert_eq!(
        lines,
        [
            format!(
                "app 127.0.0.1 - - [] \"GET / HTTP/1.1\" {} {} \"http://x/?y\" \"Some Thing/1\"",
                refused.status,
                size(&refused)
            ),
            format!("other 127.0.0.1 - - [] \"GET /none HTTP/1.1\" 404 {} \"\" \"\"", size(&unknown)),
            format!("- 127.0.0.1 - - [] \"GET /bad HTTP/1.1\" 400 {} \"\" \"\"", size(&bad)),
        ]
    );
}

#[test]
fn json_lines_hold_godoxys_keys_and_ours() {
    let backend = backend();
    let log = Logged::start(AccessLogFormat::Json, backend.addr);
    let mut client = log.proxy.client();
    let head = "POST /chunked?q=1 HTTP/1.1\r\nHost: app.local\r\nReferer: r\r\nUser-Agent: u\r\n\
                Transfer-Encoding: chunked\r\n\r\n";
    let body = "3\r\nabc\r\n0\r\n\r\n";
    client.send(format!("{head}{body}"));
    client.response();
    let none = "GET /none HTTP/1.1\r\nHost: other\r\n\r\n";
    client.send(none);
    let unknown = client.response();
    let mut objects: Vec<serde_json::Value> =
        log.lines(2).iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    for object in &mut objects {
        let fields = object.as_object_mut().unwrap();
        let time = fields.remove("time").unwrap();
        assert!(tidegate::util::timestamp::parse_rfc3339(time.as_str().unwrap()).is_some(), "{time}");
        let duration = fields.remove("duration").unwrap().as_f64().unwrap();
        assert!((0.0..DEADLINE.as_secs_f64()).contains(&duration), "{duration}");
        assert_eq!(fields.remove("request_id").unwrap().as_str().unwrap().len(), 16);
    }
    let first = serde_json::json!({
        "ip": "127.0.0.1", "method": "POST", "scheme": "http", "host": "app.local", "path": "/chunked",
        "protocol": "HTTP/1.1", "status": 201, "type": "text/html", "size": 11, "referer": "r",
        "useragent": "u", "query": "q=1", "route": "app", "received": head.len() + body.len(), "own": false,
    });
    let second = serde_json::json!({
        "ip": "127.0.0.1", "method": "GET", "scheme": "http", "host": "other", "path": "/none",
        "protocol": "HTTP/1.1", "status": 404, "error": "Not Found", "size": unknown.body.len(),
        "referer": "", "useragent": "", "route": "", "received": none.len(), "own": true,
    });
    assert_eq!(objects, [first, second]);
}

#[test]
fn a_tunnel_has_its_line_at_its_end_with_its_bytes_and_its_time() {
    let backend = Backend::start(|mut conn| {
        conn.request();
        conn.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nhello");
        while let Some(bytes) = conn.bytes() {
            // Twice what has come.
            conn.send(&bytes);
            conn.send(&bytes);
        }
        conn.close();
    });
    let log = Logged::start(AccessLogFormat::Json, backend.addr);
    let ask = "GET /ws HTTP/1.1\r\nHost: app\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n";
    for cut in [false, true] {
        let mut client = log.proxy.client();
        client.send(format!("{ask}early"));
        assert!(client.head().starts_with("HTTP/1.1 101 "));
        client.exactly(15);
        let bytes = vec![b'x'; 100_000];
        client.send(&bytes);
        client.exactly(200_000);
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(fs::read_to_string(&log.path).unwrap_or_default().lines().count(), usize::from(cut));
        match cut {
            true => common::reset(client),
            false => {
                client.stream.shutdown(std::net::Shutdown::Write).unwrap();
                assert!(client.is_closed());
            }
        }
        let line = log.lines(1 + usize::from(cut)).pop().unwrap();
        let object: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&object["status"], &object["path"]), (&101.into(), &"/ws".into()), "{line}");
        assert_eq!(object["received"], ask.len() + 5 + 100_000, "{line}");
        assert_eq!(object["size"], 15 + 200_000, "{line}");
        let duration = object["duration"].as_f64().unwrap();
        assert!((0.3..DEADLINE.as_secs_f64()).contains(&duration), "{line}");
    }
}

#[test]
fn a_route_that_wants_no_lines_has_none_and_is_counted() {
    let (dir, engine) = (Dir::new(), engine());
    let quiet = Spec::new("quiet").page(Page::Hello).label("proxy.aliases", "quiet, loud");
    engine.run(quiet.label("proxy.quiet.access_log", "false")).unwrap();
    let path = dir.0.join("access.log");
    let nobody = nobody();
    let mut config = common::config_with_engine(engine.socket());
    let file = logged(AccessLogFormat::Common, nobody, path.clone());
    config.access_log = file.access_log;
    config.recreate_wait = Duration::from_millis(50);
    config.file_routes = file.file_routes;
    config.file_routes[0].tuning.access_log = Some(false);
    let proxy = Proxy::start(config);
    wait_until("the container to be served", || proxy.observed.metrics_text().contains("tidegate_routes 3"));
    for host in ["quiet", "app", "quiet", "nowhere", "loud"] {
        proxy.get(host, "/");
    }
    let mut lines = lines_of(&path, 2);
    // Each core has a queue of its own.
    lines.sort();
    assert!(lines[0].starts_with("loud ") && lines[1].starts_with("nowhere "), "{lines:#?}");
    let counted = "tidegate_requests_total{route=\"quiet\",class=\"2xx\"} 2\n";
    assert!(proxy.observed.metrics_text().contains(counted));
    // The same client's connection, now for one and now for the other.
    let mut client = proxy.client();
    for host in ["quiet", "loud", "quiet", "loud"] {
        client.send(format!("GET /again HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        client.response();
    }
    let lines = lines_of(&path, 4);
    assert!(lines[2..].iter().all(|line| line.starts_with("loud ")), "{lines:#?}");
}

#[test]
fn no_request_can_forge_a_line() {
    let backend = backend();
    for format in [AccessLogFormat::Common, AccessLogFormat::Combined, AccessLogFormat::Json] {
        let log = Logged::start(format, backend.addr);
        let forged = "app 6.6.6.6 - - [01/Jan/2026:00:00:00 +0000] \"GET /forged HTTP/1.1\" 200 1";
        let requests: Vec<Vec<u8>> = vec![
            format!("GET /\"{{ HTTP/1.1\r\nHost: app\r\nUser-Agent: x\" 200 1\\\t{forged}\r\n\r\n").into(),
            b"GET / HTTP/1.1\r\nHost: app\r\nReferer: \xff\xe2\x80\xa8\x85\r\n\r\n".to_vec(),
            format!("GET /%0d%0a{} HTTP/1.1\r\nHost: app\r\n\r\n", forged.replace(' ', "%20")).into(),
            format!("GET /\n{forged} HTTP/1.1\r\nHost: app\r\n\r\n").into(),
            format!("GET /\r{forged} HTTP/1.1\r\nHost: app\r\n\r\n").into(),
            format!("\"\x1b[2J\x00\x07{forged}\r\n\r\n").into(),
            format!("GET / HTTP/1.1\r\nHost: app\r\nUser-Agent: a\rb\n {forged}\r\n\r\n").into(),
            format!("GET / HTTP/1.1\r\nHost: a\"b {forged}\r\n\r\n").into(),
        ];
        for (index, request) in requests.iter().enumerate() {
            let mut client = log.proxy.client();
            client.send(request);
            client.response();
            log.lines(index + 1);
        }
        for line in log.lines(requests.len()) {
            assert!(line.bytes().all(|b| matches!(b, b' '..=b'~')), "{line:?}");
            assert!(!line.starts_with("app 6.6.6.6"), "{line:?}");
            match format {
                AccessLogFormat::Common => assert_eq!(line.matches('"').count(), 2, "{line}"),
                AccessLogFormat::Combined => assert_eq!(line.matches('"').count(), 6, "{line}"),
                AccessLogFormat::Json => {
                    let object: serde_json::Value = serde_json::from_str(&line).unwrap();
                    assert_eq!(object["ip"], "127.0.0.1");
                }
            }
        }
    }
}

#[test]
fn a_renamed_file_is_opened_anew_when_asked_by_message_or_signal() {
    let backend = backend();
    let log = Logged::start(AccessLogFormat::Common, backend.addr);
    // Whether this process catches SIGUSR1 (10) and SIGHUP (1) by now: else they would end it.
    let caught = || {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim();
        let mask = u64::from_str_radix(mask, 16).unwrap();
        mask & (1 << 9) != 0 && mask & 1 != 0
    };
    wait_until("the signals to be caught", caught);
    let signal = |name: &str| {
        let pid = std::process::id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    };
    let ways: [(&str, &dyn Fn()); 3] = [
        ("message", &|| log.proxy.observed.reopen_access_log()),
        ("usr1", &|| signal("-USR1")),
        ("hup", &|| signal("-HUP")),
    ];
    for (way, reopen) in ways {
        log.proxy.get("app", &format!("/before-{way}"));
        assert!(log.lines(1)[0].contains(&format!("/before-{way}")));
        let old = log.path.with_extension(way);
        fs::rename(&log.path, &old).unwrap();
        reopen();
        wait_until("the new file, without another request", || log.path.exists());
        log.proxy.get("app", &format!("/after-{way}"));
        assert!(log.lines(1)[0].contains(&format!("/after-{way}")));
        lines_of(&old, 1);
        fs::remove_file(&log.path).unwrap();
        log.proxy.observed.reopen_access_log();
        wait_until("the next file", || log.path.exists());
    }
    assert_eq!((log.lost("queue_full"), log.lost("write_failed")), (0, 0));
}

#[test]
fn a_blocked_writer_costs_lines_and_no_request() {
    let log = Logged::prepared(AccessLogFormat::Common, nobody(), |path| {
        assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    });
    let extra = 700;
    let mut client = log.proxy.client();
    let mut left = ACCESS_LOG_QUEUE + extra;
    while left > 0 {
        let some = left.min(50);
        client.send("GET / HTTP/1.1\r\nHost: none\r\n\r\n".repeat(some));
        for _ in 0..some {
            assert_eq!(client.response().status, 404);
        }
        left -= some;
    }
    // The last exchange is counted after its answer.
    wait_until("the dropped lines to be counted", || log.lost("queue_full") == extra as u64);
    let mut lines = BufReader::new(fs::File::open(&log.path).unwrap()).lines();
    for _ in 0..ACCESS_LOG_QUEUE {
        assert!(lines.next().unwrap().unwrap().contains("\"GET / HTTP/1.1\" 404"));
    }
    client.send("GET /after HTTP/1.1\r\nHost: none\r\n\r\n");
    client.response();
    assert!(lines.next().unwrap().unwrap().contains("/after"));
}

#[test]
fn a_writer_that_stays_blocked_does_not_hold_the_end_up() {
    let log = Logged::prepared(AccessLogFormat::Common, nobody(), |path| {
        assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    });
    log.proxy.get("none", "/");
    let begun = Instant::now();
    let Logged { proxy, .. } = log;
    proxy.stop();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn a_full_disk_costs_lines_until_there_is_room_again() {
    let backend = backend();
    let log =
        Logged::prepared(AccessLogFormat::Common, backend.addr, |path| symlink("/dev/full", path).unwrap());
    for n in 1..=3 {
        assert_eq!(log.proxy.get("app", "/lost").status, 200);
        wait_until("the lost lines to be counted", || log.lost("write_failed") == n);
    }
    let (real, new) = (log.path.with_extension("real"), log.path.with_extension("new"));
    symlink(&real, &new).unwrap();
    fs::rename(&new, &log.path).unwrap();
    wait_until("lines in the new file", || {
        log.proxy.get("app", "/written");
        fs::metadata(&real).is_ok_and(|meta| meta.len() > 0)
    });
    let text = fs::read_to_string(&real).unwrap();
    assert!(text.lines().all(|line| line.contains("/written") && line.ends_with(" 200 2")), "{text}");
    assert_eq!(log.lost("queue_full"), 0);
}

#[test]
fn a_directory_that_comes_later_is_found() {
    let (dir, backend) = (Dir::new(), backend());
    let path = dir.0.join("logs/access.log");
    let proxy = Proxy::start(logged(AccessLogFormat::Common, backend.addr, path.clone()));
    proxy.get("app", "/lost");
    wait_until("the line to be lost", || {
        proxy.observed.metrics_text().contains("{cause=\"write_failed\"} 1\n")
    });
    fs::create_dir(path.parent().unwrap()).unwrap();
    wait_until("lines in the file", || {
        proxy.get("app", "/written");
        fs::metadata(&path).is_ok_and(|meta| meta.len() > 0)
    });
}

#[test]
fn a_new_setup_takes_over_while_the_old_ones_last_lines_go_where_they_were_meant() {
    let dir = Dir::new();
    let entry = |target: &'static str| Entry {
        time: WallTime { seconds: 0, millis: 0 },
        duration: Duration::ZERO,
        user: b"",
        client: "192.0.2.1".parse().unwrap(),
        scheme: "http",
        method: b"GET",
        target: target.as_bytes(),
        host: b"app",
        protocol: b"HTTP/1.1",
        route: "app",
        status: 200,
        size: 1,
        received: 1,
        content_type: b"",
        referer: b"",
        user_agent: b"",
        headers: &[],
        request_id: "",
        upstream_error: None,
        own: false,
    };
    let setup = |name: &str| {
        Some(Setup { path: Some(dir.0.join(name)), format: access_log::Format::Common, ..Setup::default() })
    };
    let log = access_log::AccessLog::off();
    assert!(log.queue().is_none() && log.stop(DEADLINE), "it is off");
    log.configure(setup("one")).unwrap();
    let (first, version) = (log.queue().unwrap(), log.version());
    log.configure(setup("one")).unwrap();
    assert_eq!(log.version(), version, "the same setup changes nothing");
    assert!(first.push(&entry("/1")));
    log.configure(setup("two")).unwrap();
    assert_ne!(log.version(), version);
    // A core that has not heard yet.
    assert!(first.push(&entry("/2")));
    let second = log.queue().unwrap();
    assert!(second.push(&entry("/3")));
    lines_of(&dir.0.join("one"), 2);
    assert!(first.push(&entry("/4")));
    drop(first);
    assert!(lines_of(&dir.0.join("one"), 3)[2].contains("/4"));
    assert!(second.push(&entry("/5")));
    drop(second);
    assert!(log.stop(DEADLINE));
    let two = fs::read_to_string(dir.0.join("two")).unwrap();
    assert!(two.lines().count() == 2 && two.contains("/3") && two.contains("/5"), "{two}");
    log.configure(None).unwrap();
    assert!(log.queue().is_none());
}

#[test]
fn what_was_served_is_on_standard_output_when_the_program_has_ended() {
    let (dir, backend) = (Dir::new(), backend());
    fs::write(dir.0.join("routes.yml"), format!("app:\n  port: {}\n", backend.addr.port())).unwrap();
    let config = dir.0.join("config.yml");
    let text = "entrypoint:\n  http_addr: 127.0.0.1:0\n  access_log:\n    stdout: true\n    format: json\n\
                providers:\n  docker: {}\n  include: [routes.yml]\n";
    fs::write(&config, text).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["serve", "--config"])
        .arg(&config)
        .env_remove("RUST_LOG")
        .env("TIDEGATE_ADMIN_ADDR", "off")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let addr = lines
        .find_map(|line| Some(line.split_once("listening on http://")?.1.trim().parse().unwrap()))
        .unwrap();
    let rest = std::thread::spawn(move || lines.count());
    for path in ["/1", "/2", "/3"] {
        let mut client = Client::connect(addr);
        client.send(format!("GET {path} HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n"));
        assert_eq!(client.response().status, 200);
    }
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    let mut out = String::new();
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    assert!(child.wait().unwrap().success());
    rest.join().unwrap();
    let mut paths: Vec<String> = out
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["path"].to_string())
        .collect();
    paths.sort();
    assert_eq!(paths, ["\"/1\"", "\"/2\"", "\"/3\""]);
}
