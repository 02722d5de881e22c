//! The admin API's address changes while it runs, and what is not taken over is a problem: the real binary, its
//! file and its API.
#![allow(clippy::disallowed_methods)] // tests use std's sockets, threads and clock

mod cli_support;
mod common;

use cli_support::{Home, Running, serve};
use common::{Client, Response, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::net::{SocketAddr, TcpListener, TcpStream};

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn ask(admin: SocketAddr, line: &str) -> Response {
    let mut client = Client::connect(admin);
    client.send(format!("{line} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"));
    client.response()
}

fn problems(admin: SocketAddr) -> Vec<Value> {
    let answer: Value = serde_json::from_slice(&ask(admin, "GET /api/problems").body).expect("JSON");
    answer["problems"].as_array().unwrap().clone()
}

/// A `tidegate serve` whose file says `admin: {addr: ADDR}` and more.
struct Served {
    home: Home,
    running: Running,
    addr: SocketAddr,
}

const LISTEN: &str = "entrypoint: {http_addr: \"127.0.0.1:0\"}\n";

impl Served {
    fn start(admin: &str) -> Served {
        let home = Home::new();
        let config = home.config(&text(admin, ""), "192.0.2.7:81".parse().unwrap());
        let mut command = serve(&config);
        command.env_remove("TIDEGATE_ADMIN_ADDR");
        let running = Running::start(command);
        let addr = running.addr();
        Served { home, running, addr }
    }

    /// Writes another configuration, has it read, and waits until it is.
    fn change(&self, admin: &str, more: &str) {
        self.home.config(&text(admin, more), "192.0.2.7:81".parse().unwrap());
        self.reload();
    }

    /// The same, and finds what the log says of it: by SIGHUP, or because the file was seen first.
    fn change_said(&self, admin: &str, part: &str) {
        self.home.config(&text(admin, ""), "192.0.2.7:81".parse().unwrap());
        self.hang_up();
        self.running.line(part);
    }

    fn reload(&self) {
        self.hang_up();
        self.running.line("eloaded (asked for)");
    }

    fn hang_up(&self) {
        let pid = Pid::from_raw(self.running.child.id().cast_signed()).unwrap();
        kill_process(pid, Signal::HUP).unwrap();
    }
}

fn text(admin: &str, more: &str) -> String {
    format!("{LISTEN}{more}admin: {{addr: \"{admin}\"}}\n")
}

fn is_closed(addr: SocketAddr) -> bool {
    TcpStream::connect(addr).is_err()
}

#[test]
fn the_address_moves_goes_and_comes() {
    let (first, second) = (free(), free());
    let served = Served::start(&first.to_string());
    assert_eq!(ask(first, "GET /healthz").status, 200);
    served.change_said(&second.to_string(), &format!("listening on {second}; no more on {first}"));
    assert_eq!(ask(second, "GET /healthz").status, 200);
    assert!(is_closed(first), "the former address still listens");
    assert!(problems(second).is_empty(), "{:?}", problems(second));

    served.change_said("off", &format!("routes of files; no more on {second}"));
    assert!(is_closed(second), "it still listens");
    assert_eq!(cli_support::get(served.addr, "nobody.test").status, 404, "the data plane goes on");

    // Back to where it was, by way of a place that had been given up.
    served.change(&first.to_string(), "");
    assert_eq!(ask(first, "GET /readyz").status, 200);
    assert_eq!(ask(first, "POST /api/reload").status, 200, "and reloads");
}

#[test]
fn a_taken_address_is_a_problem_and_the_former_goes_on() {
    let (first, holder) = (free(), TcpListener::bind("127.0.0.1:0").unwrap());
    let taken = holder.local_addr().unwrap();
    let served = Served::start(&first.to_string());
    served.change(&taken.to_string(), "");
    let [problem] = &problems(first)[..] else { panic!("{:?}", problems(first)) };
    let message = problem["message"].as_str().unwrap();
    assert!(message.contains(&format!("the admin API stays at {first}: {taken} is taken by")), "{problem}");
    assert_eq!((&problem["line"], &problem["key"]), (&6.into(), &"admin.addr".into()), "{problem}");
    // The same file again: now it is free.
    drop(holder);
    served.reload();
    assert_eq!(ask(taken, "GET /healthz").status, 200);
    assert!(is_closed(first), "the former address still listens");
    wait_until("it is mended", || problems(taken).is_empty());
}

#[test]
fn an_address_that_was_taken_at_the_start_is_had_at_a_reload() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap();
    let served = Served::start(&taken.to_string());
    drop(holder);
    assert!(is_closed(taken));
    served.reload();
    assert_eq!(ask(taken, "GET /healthz").status, 200);
    assert!(problems(taken).is_empty(), "{:?}", problems(taken));
}

#[test]
fn what_was_asked_before_the_move_is_answered() {
    let (first, second) = (free(), free());
    let served = Served::start(&first.to_string());
    let mut slow = Client::connect(first);
    slow.send("GET /healthz HTTP/1.1\r\nHost: local");
    served.change(&second.to_string(), "");
    assert!(is_closed(first));
    slow.send("host\r\n\r\n");
    assert_eq!(slow.response().text(), "ok\n");
}

#[test]
fn other_workers_are_a_problem_with_their_place() {
    let admin = free();
    let served = Served::start(&admin.to_string());
    assert!(problems(admin).is_empty());
    served.change(&admin.to_string(), "workers: 3\n");
    let [problem] = &problems(admin)[..] else { panic!("{:?}", problems(admin)) };
    assert!(problem["message"].as_str().unwrap().contains("needs a restart"), "{problem}");
    assert_eq!((&problem["line"], &problem["key"]), (&6.into(), &"workers".into()), "{problem}");
    served.change(&admin.to_string(), "");
    assert!(problems(admin).is_empty(), "{:?}", problems(admin));
}

#[test]
fn the_host_that_leads_there_comes_follows_and_goes() {
    let (first, second) = (free(), free());
    let served = Served::start(&first.to_string());
    let by_host = || {
        let mut client = Client::connect(served.addr);
        client.send("GET /readyz HTTP/1.1\r\nHost: admin.home.test\r\nConnection: close\r\n\r\n");
        client.response().status
    };
    let change = |admin: SocketAddr, host: &str| {
        let text = format!("{LISTEN}admin: {{addr: \"{admin}\"{host}}}\n");
        served.home.config(&text, "192.0.2.7:81".parse().unwrap());
        served.reload();
    };
    assert_eq!(by_host(), 404);
    change(first, ", host: admin.home.test");
    assert_eq!(by_host(), 200);
    change(second, ", host: admin.home.test");
    assert_eq!(by_host(), 200, "it follows the address");
    assert!(is_closed(first));
    change(second, "");
    assert_eq!(by_host(), 404);
}
