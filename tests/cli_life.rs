//! The program's life under a service manager: signals, sd_notify, socket activation.
#![allow(clippy::disallowed_methods)] // tests use std's sockets, threads and clock

mod cli_support;
mod common;

use cli_support::{Home, Running, get, serve};
use common::{Backend, Client, DEADLINE, wait_until};
use std::net::{SocketAddr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[test]
fn a_second_signal_ends_at_once() {
    for (second, code) in [("TERM", 143), ("INT", 130)] {
        // It never answers: the drain would wait for an hour.
        let backend = Backend::start(|mut conn| {
            conn.request();
            conn.bytes();
        });
        let home = Home::new();
        let config =
            home.config("entrypoint: {http_addr: \"127.0.0.1:0\"}\ntimeout_shutdown: 1h\n", backend.addr);
        let mut running = Running::start(serve(&config));
        let mut client = Client::connect(running.addr());
        client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
        wait_until("the request is at the backend", || backend.connections() == 1);
        running.signal("TERM");
        running.line("ending: SIGTERM");
        assert_eq!(running.child.try_wait().unwrap(), None, "it drains");
        let begin = Instant::now();
        running.signal(second);
        assert_eq!(running.exit_code(), Some(code));
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
        running.line("the second signal");
    }
}

fn told(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 256];
    let length = socket.recv(&mut buffer).expect("a notice");
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

#[test]
fn the_service_manager_is_told() {
    let home = Home::new();
    let config = home.config("entrypoint: {http_addr: \"127.0.0.1:0\"}\n", "192.0.2.7:81".parse().unwrap());
    let path = home.path().join("notify");
    let by_path = UnixDatagram::bind(&path).unwrap();
    let name = format!("tidegate-test-notify-{}", std::process::id());
    let abstract_name = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let by_name = UnixDatagram::bind_addr(&abstract_name).unwrap();
    let path = path.to_str().unwrap().to_owned();
    for (socket, variable) in [(by_path, path), (by_name, format!("@{name}"))] {
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut command = serve(&config);
        command.env("NOTIFY_SOCKET", variable);
        let mut running = Running::start(command);
        assert_eq!(told(&socket), "READY=1");
        assert_eq!(get(running.addr(), "nobody").status, 404, "ready means that it serves");
        running.signal("TERM");
        assert_eq!(told(&socket), "STOPPING=1");
        assert_eq!(running.exit_code(), Some(0));
    }
}

#[test]
fn a_notify_socket_that_is_gone_is_said_and_no_stop() {
    let home = Home::new();
    let config = home.config("entrypoint: {http_addr: \"127.0.0.1:0\"}\n", "192.0.2.7:81".parse().unwrap());
    let mut command = serve(&config);
    command.env("NOTIFY_SOCKET", home.path().join("none"));
    let running = Running::start(command);
    assert_eq!(get(running.addr(), "nobody").status, 404);
    running.line("NOTIFY_SOCKET");
}

/// Starts it with `listener` as descriptor 3: as standard input, which a shell moves to 3.
fn activated(listener: &TcpListener, home: &Home, extra: &str, route: SocketAddr) -> Running {
    let config = home.config(extra, route);
    let mut command = Command::new("sh");
    let script = "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" serve --config \"$1\"";
    command.args(["-c", script, env!("CARGO_BIN_EXE_tidegate")]).arg(&config);
    for name in ["TIDEGATE_CONFIG", "TIDEGATE_HTTP_ADDR", "GODOXY_HTTP_ADDR", "DOCKER_HOST", "RUST_LOG"] {
        command.env_remove(name);
    }
    command.env("TIDEGATE_ADMIN_ADDR", "off");
    Running::start_with(command, Stdio::from(std::os::fd::OwnedFd::from(listener.try_clone().unwrap())))
}

#[test]
fn an_inherited_listener_is_served_by_all_cores() {
    let backend = Backend::answering(|_| "activated".into());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    // A connection from before the start waits in the backlog.
    let mut early = Client::connect(addr);
    early.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    let home = Home::new();
    let extra = format!("entrypoint: {{http_addr: \"{addr}\"}}\nworkers: 3\n");
    let mut running = activated(&listener, &home, &extra, backend.addr);
    assert_eq!(early.response().text(), "activated");
    for _ in 0..100 {
        assert_eq!(get(addr, "app").text(), "activated");
    }
    running.signal("TERM");
    assert_eq!(running.exit_code(), Some(0));
    // The manager's socket outlives it: what comes now waits for the next one.
    let mut late = Client::connect(addr);
    late.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    let _next = activated(&listener, &home, &extra, backend.addr);
    assert_eq!(late.response().text(), "activated");
}

#[test]
fn without_an_address_in_the_configuration_what_was_handed_down_is_served() {
    let backend = Backend::answering(|_| "activated".into());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let home = Home::new();
    let running = activated(&listener, &home, "", backend.addr);
    assert_eq!(running.addr(), addr);
    assert_eq!(get(addr, "app").text(), "activated");
}

#[test]
fn an_inherited_listener_that_nobody_asked_for_is_said() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let home = Home::new();
    let extra = "entrypoint: {http_addr: \"127.0.0.1:0\"}\n";
    let running = activated(&listener, &home, extra, "192.0.2.7:81".parse().unwrap());
    running.line(&format!("the inherited listener at {}", listener.local_addr().unwrap()));
    running.line("listening on http://");
}
