//! The fault table, `tests/golden/faults/*.txt`: what a backend does wrong; what the client sees of it, and
//! whether the upstream's connection is used again.
//!
//! A case is what the backend does after it has read the request, line by line: `send TEXT` (with `\r`, `\n`,
//! `\0`, `\\`), `repeat N TEXT`, `pause` (50 ms), `close`, `reset`, `hang` (until the proxy ends it), or `go on`
//! (the next request is answered well, as on all other connections). `@accept` acts before the request
//! is read, `@refuse` listens nowhere, `@warm` lets another request use the connection first, `@post` asks by
//! POST. `UPDATE_GOLDEN=1` writes what comes out.
#![allow(clippy::disallowed_methods)] // tests use std's sockets, threads and clock

mod common;

use common::{Backend, BackendConn, Client, Proxy, Response, config};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tidegate::route::Timeouts;

const END: &str = "-----\n";
const PAUSE: Duration = Duration::from_millis(50);

#[test]
fn the_fault_table_is_as_the_golden_files_say() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/faults");
    let mut paths: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 30, "only {} cases", paths.len());
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut wrong = String::new();
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        let (input, expected) = text.split_once(END).unwrap_or((&text, ""));
        let seen = run(input);
        if update {
            fs::write(&path, format!("{input}{END}{seen}")).unwrap();
        } else if seen != expected {
            writeln!(wrong, "{}:\n{input}expected:\n{expected}got:\n{seen}", path.display()).unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// One case: the faulty exchange, and the one after it.
fn run(input: &str) -> String {
    let has = |directive: &str| input.lines().any(|line| line == directive);
    let script: Vec<String> =
        input.lines().filter(|line| !line.starts_with(['@', '#'])).map(str::to_owned).collect();
    let (at_accept, at_request) = (has("@accept"), usize::from(has("@warm")));
    let requests = Arc::new(AtomicUsize::new(0));
    let backend = Backend::start(move |mut conn| {
        if at_accept && conn.number == 0 {
            act(conn, &script);
            return;
        }
        while conn.request().is_some() {
            if requests.fetch_add(1, Ordering::SeqCst) == at_request && !at_accept {
                match act(conn, &script) {
                    Some(back) => conn = back,
                    None => return,
                }
            } else {
                let body = format!("connection {}", conn.number);
                conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
            }
        }
    });
    let addr = match has("@refuse") {
        true => std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap(),
        false => backend.addr,
    };
    let mut config = config(&[("app", addr)]);
    // One pool; nobody is young; what hangs is ended soon.
    (config.workers, config.recreate_wait) = (Some(1), Duration::from_millis(1));
    let short = Duration::from_millis(250);
    config.entrypoint.timeouts =
        Timeouts { response_header: short, response_body: short, ..Timeouts::default() };
    let proxy = Proxy::start(config);
    std::thread::sleep(Duration::from_millis(5));
    let mut client = proxy.client();
    if has("@warm") {
        assert_eq!(ask(&mut client, "GET").status, 200);
    }
    let response = ask(&mut client, if has("@post") { "POST" } else { "GET" });
    let mut out = format!("client: {}", shown(&response));
    let goes_on = response.complete && response.field("connection") != Some("close");
    out += if goes_on { "; its connection goes on\n" } else { "; its connection is closed\n" };
    if !goes_on {
        assert!(client.is_closed());
        client = proxy.client();
    }
    // What the backend still sends or closes has arrived.
    std::thread::sleep(PAUSE * 2);
    writeln!(out, "next: {}", shown(&ask(&mut client, "GET"))).unwrap();
    out
}

fn ask(client: &mut Client, method: &str) -> Response {
    let body = if method == "POST" { "Content-Length: 1\r\n\r\nx" } else { "\r\n" };
    client.send(format!("{method} / HTTP/1.1\r\nHost: app\r\n{body}"));
    client.response()
}

fn shown(response: &Response) -> String {
    let cut = if response.complete { "" } else { ", cut" };
    match response.status {
        // Which of two words for a broken connection comes is the kernel's affair.
        502..=504 => format!("{} of our own{cut}", response.status),
        status => format!("{status} {:?}{cut}", response.text()),
    }
}

/// Does as the script says; gives the connection back if it goes on.
fn act(mut conn: BackendConn, script: &[String]) -> Option<BackendConn> {
    for line in script {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "send" => conn.send(unescape(rest)),
            "repeat" => {
                let (count, text) = rest.split_once(' ').expect("repeat N TEXT");
                conn.send(unescape(text).repeat(count.parse().expect("a count")));
            }
            "pause" => std::thread::sleep(PAUSE),
            "close" => {
                conn.close();
                return None;
            }
            "reset" => {
                conn.reset();
                return None;
            }
            "hang" => {
                while conn.bytes().is_some() {}
                return None;
            }
            "go" => return Some(conn),
            other => panic!("what is `{other}`?"),
        }
    }
    panic!("the script has no end")
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut chars = text.bytes();
    while let Some(byte) = chars.next() {
        bytes.push(match byte {
            b'\\' => match chars.next() {
                Some(b'r') => b'\r',
                Some(b'n') => b'\n',
                Some(b'0') => 0,
                Some(other) => other,
                None => panic!("a lonely backslash"),
            },
            other => other,
        });
    }
    bytes
}
