//! Listeners: shared among the cores, refused when somebody else has the port.
#![allow(clippy::disallowed_methods)] // tests speak over std's sockets

mod runtime_support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream as Plain};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use runtime_support::{start, wait_for};
use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket, sockopt};
use std::time::Duration;
use tidegate::net::{self, BindError, Owner};
use tidegate::runtime;

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// A socket as another program would make it.
fn foreign(addr: SocketAddr, shared: bool, listening: bool) -> (OwnedFd, SocketAddr) {
    let family = if addr.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let fd = socket(family, SocketType::STREAM, None).unwrap();
    sockopt::set_socket_reuseaddr(&fd, true).unwrap();
    sockopt::set_socket_reuseport(&fd, shared).unwrap();
    bind(&fd, &addr).unwrap();
    if listening {
        listen(&fd, 16).unwrap();
    }
    let addr = SocketAddr::try_from(getsockname(&fd).unwrap()).unwrap();
    (fd, addr)
}

fn taken_by(result: Result<Vec<net::BoundListener>, BindError>) -> Option<Owner> {
    match result {
        Err(BindError::Taken { owner, .. }) => owner,
        other => panic!("expected a taken port, got {other:?}"),
    }
}

#[test]
fn the_cores_share_one_port_and_each_gets_connections() {
    let bound = net::bind(local(0), false, 2).unwrap();
    let addr = bound[0].local_addr().unwrap();
    assert!(bound.iter().all(|b| b.local_addr().unwrap() == addr) && addr.port() != 0);
    let counts = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let (counted, bound) = (counts.clone(), Mutex::new(bound));
    let cores = start(2, move |id| {
        let listener = bound.lock().unwrap().pop().unwrap().listen().unwrap();
        while let Ok((stream, _)) = listener.accept(None) {
            counted[id.index()].fetch_add(1, Ordering::Relaxed);
            stream.write_all(b"hi", None).unwrap();
        }
    });
    for n in 1..=200 {
        let mut answer = String::new();
        Plain::connect(addr).unwrap().read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "hi");
        if n >= 20 && counts.iter().all(|c| c.load(Ordering::Relaxed) > 0) {
            break;
        }
    }
    assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) > 0), "one core got all: {counts:?}");
    cores.shutdown();
    cores.join().unwrap();
    // Closed with its last listener: the port and its claim are free again.
    net::bind(addr, false, 1).unwrap();
}

#[test]
fn a_taken_port_is_an_error_that_names_its_owner_although_it_is_shared() {
    let comm = std::fs::read_to_string("/proc/self/comm").unwrap().trim_end().to_owned();
    let me = Owner { pid: std::process::id(), command: comm };
    for shared in [true, false] {
        let (_held, addr) = foreign(local(0), shared, true);
        assert_eq!(taken_by(net::bind(addr, false, 2)), Some(me.clone()));
        let anywhere = SocketAddr::from(([0, 0, 0, 0], addr.port()));
        assert_eq!(taken_by(net::bind(anywhere, false, 1)), Some(me.clone()));
        assert_eq!(taken_by(net::bind(anywhere, true, 1)), Some(me.clone()));
        let error = net::bind(addr, false, 1).unwrap_err().to_string();
        assert_eq!(error, format!("{addr} is taken by {} (pid {})", me.command, me.pid));
    }
    let (_held, addr) = foreign(SocketAddr::from(([0, 0, 0, 0], 0)), true, true);
    assert_eq!(taken_by(net::bind(local(addr.port()), false, 1)), Some(me.clone()));
    let ours = net::bind(local(0), false, 2).unwrap();
    assert_eq!(taken_by(net::bind(ours[0].local_addr().unwrap(), false, 1)), Some(me));
}

#[test]
fn a_socket_that_is_bound_but_does_not_listen_excludes_nobody() {
    let (_held, addr) = foreign(local(0), true, false);
    net::bind(addr, false, 2).unwrap();
}

#[test]
fn different_addresses_share_a_port_number() {
    let one = net::bind(local(0), false, 2).unwrap();
    let port = one[0].local_addr().unwrap().port();
    let two = net::bind(SocketAddr::from(([127, 0, 0, 2], port)), false, 2).unwrap();
    assert_eq!(two[1].local_addr().unwrap().to_string(), format!("127.0.0.2:{port}"));
}

#[test]
fn an_address_of_another_host_is_unavailable_and_not_taken() {
    let error = net::bind("192.0.2.1:0".parse().unwrap(), false, 1).unwrap_err();
    assert!(matches!(error, BindError::Unavailable { .. }), "{error:?}");
}

#[test]
fn a_dual_stack_listener_gives_ipv4_clients_their_ipv4_address() {
    let bound = Mutex::new(net::bind("[::]:0".parse().unwrap(), true, 1).unwrap());
    let port = bound.lock().unwrap()[0].local_addr().unwrap().port();
    let cores = start(1, move |_| {
        let listener = bound.lock().unwrap().pop().unwrap().listen().unwrap();
        while let Ok((stream, peer)) = listener.accept(None) {
            stream.write_all(peer.to_string().as_bytes(), None).unwrap();
        }
    });
    let mut client = Plain::connect(local(port)).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, client.local_addr().unwrap().to_string());
    cores.shutdown();
    cores.join().unwrap();
}

/// Not a test: run in a process of its own, it listens with `SO_REUSEPORT` until its input ends.
#[test]
fn helper_hold_a_port() {
    if std::env::var_os("TIDEGATE_TEST_HOLD").is_none() {
        return;
    }
    let (_held, addr) = foreign(local(0), true, true);
    println!("\nport {}", addr.port());
    let _ = std::io::stdin().read(&mut [0]);
}

/// The process, killed at the end also when the test fails.
struct Holder(Child);

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn another_process_is_named_by_pid_and_command() {
    let program = std::env::current_exe().unwrap();
    // Under an emulator the program can't be started by itself.
    let mut command = match std::env::var_os("TIDEGATE_TEST_RUNNER") {
        Some(runner) => {
            let mut command = Command::new(runner);
            command.arg(&program);
            command
        }
        None => Command::new(&program),
    };
    command.args(["--exact", "helper_hold_a_port", "--nocapture"]).env("TIDEGATE_TEST_HOLD", "1");
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut holder = Holder(child);
    let mut lines = BufReader::new(holder.0.stdout.take().unwrap()).lines().map_while(Result::ok);
    let port = lines.find_map(|l| l.strip_prefix("port ").map(|p| p.parse().unwrap())).unwrap();

    let owner = taken_by(net::bind(local(port), false, 1)).expect("a process of the same user is known");
    assert_eq!(owner.pid, holder.0.id());
    let comm = std::fs::read_to_string(format!("/proc/{}/comm", owner.pid)).unwrap();
    assert_eq!(owner.command, comm.trim_end());

    holder.0.stdin.take().unwrap().write_all(b"x").unwrap();
    holder.0.wait().unwrap();
    wait_for("the port to be free", || net::bind(local(port), false, 1).is_ok());
}

/// How often the cores of this process have gone to sleep until now.
fn sleeps(cores: &str) -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let of = |task: std::fs::DirEntry| {
        let read = |file: &str| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
        let status = read("status");
        let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        let count: Option<u64> = count.and_then(|count| count.trim().parse().ok());
        read("comm").starts_with(cores).then_some(count?)
    };
    tasks.filter_map(of).sum()
}

#[test]
fn a_connection_to_a_shared_listener_wakes_one_core_and_not_all() {
    let socket = std::net::TcpListener::bind(local(0)).unwrap();
    let addr = socket.local_addr().unwrap();
    let config = runtime::Config { cores: 4, name: "herd", ..runtime::Config::default() };
    let cores = runtime::Cores::start(config, move |_| {
        let listener = net::BoundListener::inherited(socket.try_clone().unwrap()).listen().unwrap();
        while let Ok((stream, _)) = listener.accept(None) {
            stream.write_all(b"hi", None).unwrap();
        }
    })
    .unwrap();
    let connections = 100;
    let ask = || {
        let mut answer = String::new();
        Plain::connect(addr).unwrap().read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "hi");
        // Until all of them sleep again.
        std::thread::sleep(Duration::from_millis(3));
    };
    ask();
    let before = sleeps("herd-");
    (0..connections).for_each(|_| ask());
    let each = (sleeps("herd-") - before) as f64 / f64::from(connections);
    println!("MEASURED: wake-ups for one connection, four cores: {each:.2}");
    assert!(each < 2.5, "{each} cores are woken for one connection");
    cores.shutdown();
    cores.join().unwrap();
}

#[test]
fn a_core_that_leaves_a_shared_listener_takes_no_wake_ups_from_the_others() {
    let socket = std::net::TcpListener::bind(local(0)).unwrap();
    let addr = socket.local_addr().unwrap();
    let cores = start(4, move |_| {
        // Each takes one connection and leaves: the first that is asked goes, again and again.
        let listener = net::BoundListener::inherited(socket.try_clone().unwrap()).listen().unwrap();
        let (stream, _) = listener.accept(None).unwrap();
        drop(listener);
        stream.write_all(b"hi", None).unwrap();
    });
    for n in 1..=4 {
        let client = Plain::connect(addr).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut answer = String::new();
        let read = (&client).read_to_string(&mut answer);
        assert!(read.is_ok() && answer == "hi", "connection {n} waits in the backlog: {read:?}");
    }
    cores.shutdown();
    cores.join().unwrap();
}
