//! What an idle connection costs. Alone in its program: it counts every allocation.
#![allow(clippy::disallowed_methods)] // tests speak over std's sockets
#![allow(unsafe_code)] // a counting allocator

mod runtime_support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Write;
use std::net::TcpStream as Plain;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use runtime_support::{on_a_core, scaled, wait_for};
use tidegate::runtime::{self, TcpListener, TcpStream, Wake};

struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is passed on to the system's allocator; only sizes are added up.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn idle(stream: TcpStream, woken: Rc<Cell<usize>>) {
    let deadline = Some(runtime::now() + Duration::from_secs(75));
    stream.when_readable(deadline, move |stream, wake| {
        if wake == Wake::Ready && stream.try_read(&mut [0; 64]).unwrap() == Some(1) {
            woken.set(woken.get() + 1);
            idle(stream, woken);
        }
    });
}

#[test]
fn an_idle_connection_costs_at_most_300_bytes_of_heap() {
    let wanted = scaled(5_000);
    let limit = runtime::raise_nofile().unwrap();
    let connections = limit.map_or(wanted, |l| wanted.min((l as usize).saturating_sub(200) / 2));
    if connections < wanted {
        eprintln!(
            "SKIPPED: an_idle_connection_...: {wanted} connections: the limit of descriptors is {limit:?}"
        );
        assert!(std::env::var_os("TIDEGATE_REQUIRE_ALL").is_none_or(|v| v != "1"), "nothing may be skipped");
        return;
    }
    on_a_core(move || {
        let std = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = std.local_addr().unwrap();
        let listener = TcpListener::from_std(std).unwrap();
        let woken = Rc::new(Cell::new(0));
        let mut clients: Vec<Plain> = Vec::with_capacity(connections + 1);
        let mut add = || {
            clients.push(Plain::connect(addr).unwrap());
            idle(listener.accept(None).unwrap().0, woken.clone());
        };
        add();
        let before = ALLOCATED.load(Ordering::Relaxed);
        (0..connections).for_each(|_| add());
        let each = (ALLOCATED.load(Ordering::Relaxed) - before) as f64 / connections as f64;
        println!("{each:.0} bytes of heap per idle connection");
        assert!(each <= 300.0, "{each:.0} bytes each");
        assert_eq!(runtime::coroutines(), 1, "an idle connection has a stack");
        clients.iter_mut().for_each(|c| c.write_all(b"x").unwrap());
        wait_for("every connection to wake", || woken.get() == connections + 1);
        drop(clients);
        wait_for("the memory", || ALLOCATED.load(Ordering::Relaxed) < before + 8 * 1024);
    });
}
