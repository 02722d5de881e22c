//! Sockets of the runtime from outside.
#![allow(clippy::disallowed_methods)] // tests measure deadlines and speak over std's sockets

mod runtime_support;

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use runtime_support::{on_a_core, scaled, wait_for};
use tidegate::runtime::{self, Abort, TcpListener, TcpStream, UnixStream};
use tidegate::util::rng::Rng;

fn soon(ms: u64) -> Option<Instant> {
    Some(Instant::now() + Duration::from_millis(ms))
}

fn late() -> Option<Instant> {
    Some(Instant::now() + Duration::from_secs(60))
}

fn listener() -> (TcpListener, SocketAddr) {
    let std = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = std.local_addr().unwrap();
    (TcpListener::from_std(std).unwrap(), addr)
}

/// Both ends of a connection, on this core.
fn pair() -> (TcpStream, TcpStream) {
    let (listener, addr) = listener();
    let near = TcpStream::connect(addr, late(), None).unwrap();
    let (far, peer) = listener.accept(late()).unwrap();
    assert_eq!(peer, near.local_addr().unwrap());
    assert_eq!(near.peer_addr().unwrap(), addr);
    (near, far)
}

/// One end on this core, the other a plain blocking socket.
fn half_plain() -> (TcpStream, std::net::TcpStream) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let plain = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    plain.set_nodelay(true).unwrap();
    (TcpStream::from_std(listener.accept().unwrap().0).unwrap(), plain)
}

fn read_all(stream: &TcpStream) -> io::Result<Vec<u8>> {
    let (mut all, mut buf) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut buf, late())? {
            0 => return Ok(all),
            n => all.extend_from_slice(&buf[..n]),
        }
    }
}

#[test]
fn an_echo_server_answers_many_clients() {
    on_a_core(|| {
        let (listener, addr) = listener();
        runtime::spawn(move || {
            while let Ok((stream, _)) = listener.accept(None) {
                let echo = move || {
                    let mut buf = [0; 1000];
                    while let Ok(n @ 1..) = stream.read(&mut buf, late()) {
                        stream.write_all(&buf[..n], late()).unwrap();
                    }
                };
                runtime::spawn(echo).unwrap();
            }
        })
        .unwrap();
        let done = Rc::new(Cell::new(0));
        let clients = scaled(100);
        for n in 0..clients {
            let done = done.clone();
            runtime::spawn(move || {
                let stream = TcpStream::connect(addr, late(), None).unwrap();
                let mut rng = Rng::new(n as u64);
                for _ in 0..20 {
                    let sent: Vec<u8> = (0..rng.below(5000) + 1).map(|_| rng.next_u64() as u8).collect();
                    let (head, tail) = sent.split_at(sent.len() / 2);
                    stream.write_all_vectored(&[head, &[], tail], late()).unwrap();
                    let mut got = vec![0; sent.len()];
                    let mut at = 0;
                    while at < got.len() {
                        at += stream.read(&mut got[at..], late()).unwrap();
                    }
                    assert!(sent == got);
                }
                done.set(done.get() + 1);
            })
            .unwrap();
        }
        wait_for("every client", || done.get() == clients);
    });
}

#[test]
fn two_coroutines_use_the_two_directions_of_one_socket() {
    on_a_core(|| {
        const BYTES: usize = 4 * 1024 * 1024;
        let total = scaled(BYTES);
        let (near, far) = pair();
        let done = Rc::new(Cell::new(0));
        for (seed, end) in [(1, Rc::new(near)), (2, Rc::new(far))] {
            let (reader, writer, read, wrote) = (end.clone(), end, done.clone(), done.clone());
            runtime::spawn(move || {
                let mut rng = Rng::new(seed);
                let mut left = total;
                while left > 0 {
                    let piece: Vec<u8> = (0..left.min(40_000)).map(|_| rng.next_u64() as u8).collect();
                    writer.write_all(&piece, late()).unwrap();
                    left -= piece.len();
                }
                writer.shutdown(Shutdown::Write).unwrap();
                wrote.set(wrote.get() + 1);
            })
            .unwrap();
            runtime::spawn(move || {
                let mut rng = Rng::new(3 - seed);
                let (mut buf, mut got) = (vec![0; 30_000], 0);
                loop {
                    let n = reader.read(&mut buf, late()).unwrap();
                    assert!(buf[..n].iter().all(|b| *b == rng.next_u64() as u8), "wrong bytes after {got}");
                    got += n;
                    if n == 0 {
                        break;
                    }
                }
                assert_eq!(got, total);
                read.set(read.get() + 1);
            })
            .unwrap();
        }
        wait_for("both directions", || done.get() == 4);
    });
}

#[test]
fn a_second_reader_of_one_direction_is_refused_and_the_first_goes_on() {
    on_a_core(|| {
        let (near, far) = pair();
        let near = Rc::new(near);
        let (first, got) = (near.clone(), Rc::new(Cell::new(None)));
        let told = got.clone();
        runtime::spawn(move || told.set(Some(first.read(&mut [0; 8], late()).unwrap()))).unwrap();
        runtime::yield_now();
        assert_eq!(near.read(&mut [0; 8], late()).unwrap_err().kind(), ErrorKind::Other);
        far.write_all(b"abc", late()).unwrap();
        wait_for("the first reader", || got.get() == Some(3));
    });
}

#[test]
fn deadlines_of_read_write_accept_and_connect() {
    on_a_core(|| {
        let timed = |what: &str, f: &mut dyn FnMut() -> io::Result<()>| {
            let start = Instant::now();
            let error = f().expect_err(what);
            assert_eq!(error.kind(), ErrorKind::TimedOut, "{what}: {error}");
            let took = start.elapsed();
            assert!(took >= Duration::from_millis(20), "{what} gave up after {took:?}");
            assert!(took < scaled(Duration::from_millis(500)), "{what} took {took:?}");
        };
        let (near, _far) = pair();
        timed("read", &mut || near.read(&mut [0; 8], soon(20)).map(drop));
        timed("wait_readable", &mut || near.wait_readable(soon(20)));
        timed("write_all", &mut || near.write_all(&vec![0; 64 << 20], soon(20)));
        let (listener, _) = listener();
        timed("accept", &mut || listener.accept(soon(20)).map(drop));
        let full = FullBacklog::new();
        timed("connect", &mut || TcpStream::connect(full.addr, soon(20), None).map(drop));
        assert_eq!(near.read(&mut [0; 8], Some(Instant::now())).unwrap_err().kind(), ErrorKind::TimedOut);
    });
}

/// A listener that nobody accepts from and whose backlog is full: connects hang.
struct FullBacklog {
    addr: SocketAddr,
    _listener: std::os::fd::OwnedFd,
    _clients: Vec<std::os::fd::OwnedFd>,
}

impl FullBacklog {
    fn new() -> Self {
        use rustix::net::{
            AddressFamily, SocketFlags, SocketType, bind, connect, getsockname, listen, socket_with,
        };
        let open =
            || socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::NONBLOCK, None).unwrap();
        let listener = open();
        bind(&listener, &"127.0.0.1:0".parse::<SocketAddr>().unwrap()).unwrap();
        listen(&listener, 0).unwrap();
        let addr = SocketAddr::try_from(getsockname(&listener).unwrap()).unwrap();
        let clients = (0..3).map(|_| (open(), ()).0).collect::<Vec<_>>();
        for client in &clients {
            let _ = connect(client, &addr);
        }
        FullBacklog { addr, _listener: listener, _clients: clients }
    }
}

#[test]
fn refused_and_aborted_connects() {
    on_a_core(|| {
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let refused = TcpStream::connect(nobody, late(), None).err().unwrap();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);

        let full = FullBacklog::new();
        let abort = Abort::new();
        let ended = Rc::new(RefCell::new(Vec::new()));
        for _ in 0..3 {
            let (abort, ended, addr) = (abort.clone(), ended.clone(), full.addr);
            let connect = move || {
                let error = TcpStream::connect(addr, late(), Some(&abort)).err();
                ended.borrow_mut().push(error);
            };
            runtime::spawn(connect).unwrap();
        }
        runtime::sleep_until(Instant::now() + Duration::from_millis(5)).unwrap();
        assert!(ended.borrow().is_empty(), "the connects don't hang");
        abort.fire();
        wait_for("the aborted connects", || ended.borrow().len() == 3);
        assert!(ended.borrow().iter().all(|e| e.as_ref().is_some_and(runtime::is_aborted)));
        let after = TcpStream::connect(full.addr, late(), Some(&abort)).err().unwrap();
        assert!(runtime::is_aborted(&after) && !runtime::is_stopped(&after));
    });
}

#[test]
fn the_end_is_seen_behind_short_reads() {
    on_a_core(|| {
        for pause in [false, true] {
            let (stream, mut plain) = half_plain();
            plain.write_all(b"0123456789").unwrap();
            drop(plain);
            if pause {
                runtime::sleep_until(Instant::now() + Duration::from_millis(5)).unwrap();
            }
            let mut buf = [0; 4];
            let mut sizes = Vec::new();
            loop {
                let n = stream.read(&mut buf, late()).unwrap();
                sizes.push(n);
                if n == 0 {
                    break;
                }
            }
            assert_eq!(sizes, [4, 4, 2, 0]);
            assert_eq!(stream.read(&mut buf, late()).unwrap(), 0, "the end stays");
        }
        // A reset is an error, for a reader that waits too.
        let (stream, plain) = half_plain();
        rustix::net::sockopt::set_socket_linger(&plain, Some(Duration::ZERO)).unwrap();
        runtime::spawn(move || drop(plain)).unwrap();
        assert_eq!(stream.read(&mut [0; 4], late()).unwrap_err().kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn deadlines_that_race_data_lose_no_byte() {
    on_a_core(|| {
        let sockets = scaled(100);
        let (done, timeouts) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0u64)));
        for n in 0..sockets {
            let (near, far) = pair();
            runtime::spawn(move || {
                let mut rng = Rng::new(n as u64);
                for byte in 0..150u8 {
                    let pause = Duration::from_micros(800 + rng.below(2400));
                    runtime::sleep_until(Instant::now() + pause).unwrap();
                    far.write_all(&[byte], late()).unwrap();
                }
            })
            .unwrap();
            let (done, timeouts) = (done.clone(), timeouts.clone());
            runtime::spawn(move || {
                let (mut next, mut buf) = (0u8, [0; 16]);
                loop {
                    match near.read(&mut buf, soon(2)) {
                        Ok(0) => break,
                        Ok(n) => buf[..n].iter().for_each(|b| {
                            assert_eq!(*b, next);
                            next += 1;
                        }),
                        Err(e) if e.kind() == ErrorKind::TimedOut => timeouts.set(timeouts.get() + 1),
                        Err(e) => panic!("{e}"),
                    }
                }
                assert_eq!(next, 150);
                done.set(done.get() + 1);
            })
            .unwrap();
        }
        wait_for("every byte", || done.get() == sockets);
        assert!(timeouts.get() > sockets as u64, "the deadlines never won: {}", timeouts.get());
    });
}

#[test]
fn an_idle_upstream_is_usable_only_while_silent_and_open() {
    on_a_core(|| {
        let (stream, mut plain) = half_plain();
        assert!(stream.is_usable_idle());
        plain.write_all(b"x").unwrap();
        wait_for("a byte", || !stream.is_usable_idle());
        assert_eq!(stream.read(&mut [0; 8], late()).unwrap(), 1);
        assert!(stream.is_usable_idle());
        assert_eq!(stream.try_read(&mut [0; 8]).unwrap(), None);
        plain.shutdown(Shutdown::Write).unwrap();
        wait_for("the end", || !stream.is_usable_idle());
    });
}

#[test]
fn when_readable_wakes_on_data_end_and_deadline_without_a_coroutine() {
    on_a_core(|| {
        let (stream, mut plain) = half_plain();
        let seen = Rc::new(RefCell::new(Vec::new()));
        fn watch(stream: TcpStream, seen: Rc<RefCell<Vec<String>>>) {
            stream.when_readable(soon(30), move |stream, wake| {
                assert!(!runtime::in_coroutine());
                let mut buf = [0; 8];
                let read = stream.try_read(&mut buf).unwrap();
                seen.borrow_mut().push(format!("{wake:?} {read:?}"));
                if read != Some(0) {
                    watch(stream, seen);
                }
            });
        }
        watch(stream, seen.clone());
        let coroutines = runtime::coroutines();
        wait_for("a timeout", || seen.borrow().last().is_some_and(|s| s == "TimedOut None"));
        plain.write_all(b"0123456789").unwrap();
        wait_for("the rest of the bytes", || seen.borrow().iter().any(|s| s == "Ready Some(2)"));
        plain.shutdown(Shutdown::Write).unwrap();
        wait_for("the end", || seen.borrow().last().is_some_and(|s| s == "Ready Some(0)"));
        assert_eq!(runtime::coroutines(), coroutines, "waiting takes no coroutine");
    });
}

#[test]
fn a_lingering_close_lets_the_answer_through() {
    on_a_core(|| {
        let (stream, mut plain) = half_plain();
        let client = std::thread::spawn(move || {
            // Sends more than the server wants and less than it drains (LINGER_BYTES), then reads: a plain close
            // would answer with a reset.
            let mut wrong = 0;
            for _ in 0..20 {
                wrong += usize::from(plain.write_all(&[0; 10_000]).is_err());
            }
            plain.shutdown(Shutdown::Write).unwrap();
            let mut answer = String::new();
            plain.read_to_string(&mut answer).map(|_| (answer, wrong))
        });
        assert!(stream.read(&mut [0; 100], late()).unwrap() > 0);
        stream.write_all(b"413", late()).unwrap();
        stream.linger_close();
        wait_for("the client", || client.is_finished());
        assert_eq!(client.join().unwrap().unwrap(), ("413".to_owned(), 0));
    });
}

#[test]
fn unix_sockets_connect_read_and_write() {
    on_a_core(|| {
        let dir = std::env::temp_dir().join(format!("tidegate-runtime-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("socket");
        let _ = std::fs::remove_file(&path);
        let missing = UnixStream::connect(&path, late(), None).err().unwrap();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let server = std::thread::spawn(move || {
            let (mut peer, _) = listener.accept().unwrap();
            let mut got = vec![0; 500_000];
            peer.read_exact(&mut got).unwrap();
            peer.write_all(&got).unwrap();
        });
        let stream = UnixStream::connect(&path, late(), None).unwrap();
        let sent: Vec<u8> = (0..500_000u32).map(|i| (i * 7) as u8).collect();
        stream.write_all(&sent, late()).unwrap();
        let (mut got, mut buf) = (Vec::new(), vec![0; 70_000]);
        while let n @ 1.. = stream.read(&mut buf, late()).unwrap() {
            got.extend_from_slice(&buf[..n]);
        }
        assert!(got == sent);
        server.join().unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
    });
}

#[test]
fn a_busy_socket_does_not_starve_the_others() {
    on_a_core(|| {
        let (near, far) = pair();
        let stop = Rc::new(Cell::new(false));
        let (stopped, stopping) = (stop.clone(), stop.clone());
        runtime::spawn(move || while !stopped.get() && far.write(&[0; 1024], late()).is_ok() {}).unwrap();
        runtime::spawn(move || while !stopping.get() && near.read(&mut [0; 1024], late()).is_ok() {})
            .unwrap();
        let mut worst = Duration::ZERO;
        for _ in 0..50 {
            let until = Instant::now() + Duration::from_millis(2);
            runtime::sleep_until(until).unwrap();
            worst = worst.max(until.elapsed());
        }
        stop.set(true);
        assert!(worst < scaled(Duration::from_millis(200)), "a sleep of 2 ms was {worst:?} late");
    });
}

#[test]
fn bytes_written_before_a_close_arrive() {
    on_a_core(|| {
        let (near, far) = pair();
        runtime::spawn(move || near.write_all(&[7; 200_000], late()).unwrap()).unwrap();
        assert_eq!(read_all(&far).unwrap().len(), 200_000);
        assert_eq!(far.try_read(&mut [0; 1]).unwrap(), Some(0));
    });
}
