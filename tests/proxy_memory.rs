//! What requests and connections cost in memory, counted at the allocator. Alone in its program.
#![allow(clippy::disallowed_methods)] // tests speak over std's sockets
#![allow(unsafe_code)] // a counting allocator

mod common;

use common::{DEADLINE, Proxy, config, wait_until};
use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tidegate::config::{AccessLog, Config};

struct Counting;

/// Bytes held, and calls that asked for some.
static HELD: AtomicUsize = AtomicUsize::new(0);
static CALLS: AtomicU64 = AtomicU64::new(0);
/// The counts are the process's: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

// SAFETY: everything is passed on to the system's allocator; only sizes and calls are added up.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size(), Ordering::Relaxed);
        CALLS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A backend that allocates nothing per request: `/N` is answered with N bytes.
fn backend() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((conn, _)) = listener.accept() {
            std::thread::spawn(move || answer(conn));
        }
    });
    addr
}

fn answer(mut conn: TcpStream) {
    static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
    conn.set_nodelay(true).unwrap();
    let mut buffer = [0; 16 * 1024];
    let mut filled = 0;
    loop {
        match conn.read(&mut buffer[filled..]) {
            Ok(0) | Err(_) => return,
            Ok(n) => filled += n,
        }
        if !buffer[..filled].ends_with(b"\r\n\r\n") {
            continue;
        }
        filled = 0;
        let digits = buffer["GET /".len()..].iter().take_while(|b| b.is_ascii_digit());
        let mut left = digits.fold(0, |n, b| n * 10 + usize::from(b - b'0'));
        let mut head = [0; 64];
        let mut rest = &mut head[..];
        write!(rest, "HTTP/1.1 200 OK\r\nContent-Length: {left}\r\n\r\n").unwrap();
        let unused = rest.len();
        let mut sent = conn.write_all(&head[..64 - unused]);
        while left > 0 && sent.is_ok() {
            let n = left.min(ZEROS.len());
            sent = conn.write_all(&ZEROS[..n]);
            left -= n;
        }
    }
}

/// One worker, so that one core has all the counts, and an access log.
fn proxy(backend: SocketAddr) -> Proxy {
    let path = std::env::temp_dir().join(format!("tidegate-memory-{}.log", std::process::id()));
    let access_log = Some(AccessLog { path: Some(path), ..AccessLog::default() });
    let mut config = Config { access_log, workers: Some(1), ..config(&[("app", backend)]) };
    config.entrypoint.max_conns_per_client = 10_000;
    Proxy::start(config)
}

fn connect(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.addr).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Asks for `length` bytes and reads them all; allocates nothing.
fn ask(stream: &mut TcpStream, length: usize) {
    let mut request = [0; 128];
    let mut rest = &mut request[..];
    write!(rest, "GET /{length} HTTP/1.1\r\nHost: app\r\nUser-Agent: test\r\nAccept: */*\r\n\r\n").unwrap();
    let unused = rest.len();
    stream.write_all(&request[..128 - unused]).unwrap();
    let mut buffer = [0; 64 * 1024];
    let (mut filled, mut body) = (0, None);
    while body.is_none_or(|left| left > 0) {
        let n = stream.read(&mut buffer[filled..]).expect("an answer");
        assert!(n > 0, "the connection ended");
        match &mut body {
            Some(left) => *left -= n,
            None => {
                filled += n;
                let head = buffer[..filled].windows(4).position(|bytes| bytes == b"\r\n\r\n");
                if let Some(head) = head {
                    assert!(buffer.starts_with(b"HTTP/1.1 200 "));
                    body = Some(length - (filled - head - 4));
                    filled = 0;
                }
            }
        }
    }
}

/// Allocations per request, rounded: what happens now and then (a tick, a batch of the log) counts for little.
fn allocations(stream: &mut TcpStream, length: usize) -> u64 {
    const REQUESTS: u64 = 500;
    (0..50).for_each(|_| ask(stream, length));
    let before = CALLS.load(Ordering::Relaxed);
    (0..REQUESTS).for_each(|_| ask(stream, length));
    (CALLS.load(Ordering::Relaxed) - before + REQUESTS / 2) / REQUESTS
}

#[test]
fn a_request_allocates_a_fixed_number_of_times_whatever_its_body() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let proxy = proxy(backend());
    let mut stream = connect(&proxy);
    let counted = [100, 10_000, 60_000, 1_000_000].map(|length| allocations(&mut stream, length));
    println!("MEASURED: allocations per request of 100 B, 10 KB, 60 KB, 1 MB: {counted:?}");
    assert!(counted[0] <= MOST_ALLOCATIONS, "{counted:?}");
    assert!(counted.iter().all(|n| *n <= counted[0] + 2), "they grow with the body: {counted:?}");
}

/// ARCHITECTURE.md says what they are.
const MOST_ALLOCATIONS: u64 = 10;

#[test]
fn idle_connections_are_small_and_leave_nothing_behind() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    const MANY: usize = 2_000;
    let proxy = proxy(backend());
    let mut streams = Vec::with_capacity(MANY);
    // Those that are served first set up what stays.
    (0..10).for_each(|_| ask(&mut connect(&proxy), 100));
    let open = |wanted: usize| {
        wait_until("the proxy to have so many connections", || {
            proxy.observed.metrics_text().contains(&format!("tidegate_connections_open {wanted}\n"))
        });
    };
    open(0);
    let before = HELD.load(Ordering::Relaxed);
    for _ in 0..MANY {
        let mut stream = connect(&proxy);
        ask(&mut stream, 100);
        streams.push(stream);
    }
    let idle = (HELD.load(Ordering::Relaxed) - before) / MANY;
    let half = [b'x'; 1_000];
    for stream in &mut streams {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: app\r\nX: ").unwrap();
        stream.write_all(&half).unwrap();
    }
    // The last one that is answered shows that all before were read.
    let mut last = connect(&proxy);
    ask(&mut last, 100);
    let waiting = (HELD.load(Ordering::Relaxed) - before) / MANY;
    println!("MEASURED: an idle connection holds {idle} B of heap, with 1,034 B of a head {waiting} B");
    assert!(idle <= 300, "an idle connection holds {idle} B");
    assert!(waiting - idle <= 2 * 1_034, "a half-sent head of 1,034 B holds {} B", waiting - idle);
    assert!(waiting - idle >= 1_000, "the heads were not read yet");
    drop((streams, last));
    open(0);
    let left = HELD.load(Ordering::Relaxed).saturating_sub(before);
    assert!(left < 500_000, "{left} B are left after {MANY} connections");
}
