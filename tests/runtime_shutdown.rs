//! The end of the cores: every waiter is woken, nothing hangs.
#![allow(clippy::disallowed_methods)] // tests measure deadlines

mod runtime_support;

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use runtime_support::{scale, scaled, start, wait_for};
use tidegate::runtime::{self, SpawnError, TcpListener, TcpStream, Wake};

type Outcome = (&'static str, io::Result<()>);

fn waiter(what: &'static str, tell: &Sender<Outcome>, f: impl FnOnce() -> io::Result<()> + 'static) {
    let tell = tell.clone();
    runtime::spawn(move || tell.send((what, f())).unwrap()).unwrap();
}

fn listener() -> (TcpListener, std::net::SocketAddr) {
    let std = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = std.local_addr().unwrap();
    (TcpListener::from_std(std).unwrap(), addr)
}

fn pair(listener: &TcpListener, addr: std::net::SocketAddr) -> (TcpStream, TcpStream) {
    (TcpStream::connect(addr, None, None).unwrap(), listener.accept(None).unwrap().0)
}

/// One waiter of each kind, with and without a deadline where there is one.
fn every_kind_of_waiter(tell: &Sender<Outcome>) -> usize {
    let far_off = || Some(Instant::now() + Duration::from_secs(3600));
    let (accepting, addr) = listener();
    let (a, b) = pair(&accepting, addr);
    let (c, d) = pair(&accepting, addr);
    waiter("read", tell, move || (a.read(&mut [0; 8], None).map(drop), b).0);
    waiter("read until", tell, move || (d.read(&mut [0; 8], far_off()).map(drop), c).0);
    let (e, f) = pair(&accepting, addr);
    waiter("write", tell, move || (e.write_all(&vec![0; 64 << 20], None), f).0);
    let (g, h) = pair(&accepting, addr);
    let told = tell.clone();
    g.when_readable(None, move |_, wake| told.send(("idle", stopped_if(wake, h))).unwrap());
    let (i, j) = pair(&accepting, addr);
    let told = tell.clone();
    i.when_readable(far_off(), move |_, wake| told.send(("idle until", stopped_if(wake, j))).unwrap());
    waiter("accept", tell, move || accepting.accept(None).map(drop));
    let (full, addr) = full_backlog();
    waiter("connect", tell, move || (TcpStream::connect(addr, far_off(), None).map(drop), full).0);
    let (mut parker, unparker) = runtime::parker();
    waiter("park", tell, move || (parker.park(None).map(drop), unparker).0);
    let (mut parker, waker) = runtime::local_parker();
    waiter("local park", tell, move || (parker.park(far_off()).map(drop), waker).0);
    waiter("sleep", tell, move || runtime::sleep_until(Instant::now() + Duration::from_secs(3600)));
    10
}

fn stopped_if(wake: Wake, _open_until_now: TcpStream) -> io::Result<()> {
    match wake {
        Wake::Stopped => {
            runtime::sleep_until(Instant::now()).and(Ok(())).or(Err(io::Error::other("stopped")))
        }
        other => Err(io::Error::new(io::ErrorKind::InvalidData, format!("{other:?}"))),
    }
}

fn full_backlog() -> (Vec<std::os::fd::OwnedFd>, std::net::SocketAddr) {
    use rustix::net::{
        AddressFamily, SocketFlags, SocketType, bind, connect, getsockname, listen, socket_with,
    };
    let open = || socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::NONBLOCK, None).unwrap();
    let mut held = vec![open()];
    bind(&held[0], &"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap()).unwrap();
    listen(&held[0], 0).unwrap();
    let addr = getsockname(&held[0]).unwrap().try_into().unwrap();
    for _ in 0..3 {
        let client = open();
        let _ = connect(&client, &addr);
        held.push(client);
    }
    (held, addr)
}

#[test]
fn a_shutdown_wakes_every_kind_of_waiter() {
    let (tell, told): (Sender<Outcome>, Receiver<Outcome>) = mpsc::channel();
    let (ready, count) = mpsc::channel();
    let cores = start(1, move |_| {
        let kinds = every_kind_of_waiter(&tell);
        runtime::sleep_until(Instant::now() + Duration::from_millis(20)).unwrap();
        ready.send(kinds).unwrap();
    });
    let kinds = count.recv_timeout(scaled(Duration::from_secs(20))).unwrap();
    assert!(told.try_recv().is_err(), "a waiter ended before the shutdown");
    let start = Instant::now();
    cores.shutdown();
    cores.join().unwrap();
    assert!(start.elapsed() < scaled(Duration::from_secs(1)), "the end took {:?}", start.elapsed());
    let outcomes: Vec<Outcome> = told.iter().collect();
    assert_eq!(outcomes.len(), kinds, "{outcomes:?}");
    for (what, outcome) in outcomes {
        let error = outcome.expect_err(what);
        match what.starts_with("idle") {
            true => assert_eq!(error.to_string(), "stopped"),
            false => assert!(runtime::is_stopped(&error), "{what}: {error}"),
        }
    }
}

#[test]
fn an_idle_core_sleeps_and_ends_at_once() {
    let cores = start(1, |_| ());
    let (tell, told) = mpsc::channel();
    let switches = move || {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find(|l| l.starts_with("voluntary_ctxt_switches")).unwrap();
        tell.send(line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap()).unwrap();
    };
    let ask = || {
        cores.handles()[0].post(switches.clone()).unwrap();
        told.recv_timeout(scaled(Duration::from_secs(20))).expect("an idle core takes posts")
    };
    let before = ask();
    std::thread::sleep(Duration::from_millis(300));
    let woken = ask() - before;
    // An emulator has wake-ups of its own.
    let most = 3 * u64::from(scale());
    assert!(woken <= most, "an idle core woke {woken} times in 300 ms");
    let start = Instant::now();
    cores.shutdown();
    cores.join().unwrap();
    assert!(start.elapsed() < scaled(Duration::from_millis(500)));
}

#[test]
fn after_the_shutdown_nothing_new_begins_and_what_runs_may_finish() {
    let (tell, told) = mpsc::channel();
    let cores = start(1, move |_| {
        let (listener, addr) = listener();
        let (near, far) = pair(&listener, addr);
        let stopped = runtime::sleep_until(Instant::now() + Duration::from_secs(3600)).unwrap_err();
        let again = runtime::sleep_until(Instant::now() + Duration::from_millis(1)).unwrap_err();
        let refused = matches!(runtime::spawn(|| ()), Err(SpawnError::Stopped));
        // What need not wait still works: a last answer.
        near.write_all(b"bye", None).unwrap();
        let late = Rc::new(Cell::new(None));
        let told = late.clone();
        far.when_readable(None, move |_, wake| told.set(Some(wake)));
        while late.get().is_none() {
            runtime::yield_now();
        }
        let all = runtime::is_stopped(&stopped) && runtime::is_stopped(&again) && runtime::is_stopping();
        tell.send((all, refused, late.get())).unwrap();
    });
    let handle = cores.handles()[0].clone();
    cores.shutdown();
    assert_eq!(told.recv_timeout(scaled(Duration::from_secs(20))), Ok((true, true, Some(Wake::Stopped))));
    cores.join().unwrap();
    assert!(handle.post(|| ()).is_err(), "a core that has ended takes posts");
}

#[test]
fn a_coroutine_that_will_not_end_is_abandoned_after_the_grace() {
    let (tell, told) = mpsc::channel();
    struct TellDrop(Sender<()>);
    impl Drop for TellDrop {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }
    let cores = start(1, move |_| {
        let _guard = TellDrop(tell.clone());
        loop {
            runtime::yield_now();
        }
    });
    let start = Instant::now();
    cores.shutdown();
    cores.join().unwrap();
    let took = start.elapsed();
    let grace = tidegate::limits::STOP_GRACE;
    // The core counts from the begin of the turn in which it learns of the shutdown.
    let turn = scaled(Duration::from_millis(20));
    assert!(took + turn >= grace && took < grace + scaled(Duration::from_secs(2)), "{took:?}");
    assert!(told.try_recv().is_err(), "its destructors must not run from outside");
}

#[test]
fn unparkers_outlive_their_core() {
    let (tell, told) = mpsc::channel();
    let cores = start(1, move |_| {
        let (mut parker, unparker) = runtime::parker();
        tell.send(unparker).unwrap();
        assert!(runtime::is_stopped(&parker.park(None).unwrap_err()));
    });
    let unparker = told.recv_timeout(scaled(Duration::from_secs(20))).unwrap();
    cores.shutdown();
    cores.join().unwrap();
    unparker.unpark();
    unparker.unpark();
}

#[test]
fn dropping_the_cores_stops_them() {
    let (tell, told) = mpsc::channel::<()>();
    let cores = start(2, move |_| {
        let _alive = tell.clone();
        let _ = runtime::sleep_until(Instant::now() + Duration::from_secs(3600));
    });
    drop(cores);
    wait_for("both cores", || told.try_recv() == Err(mpsc::TryRecvError::Disconnected));
}
