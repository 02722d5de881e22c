//! A connection after 101: bytes both ways, each direction by a coroutine of its own.
//!
//! ```text
//!   both ──one side's end──► half-closed (the other direction goes on) ──the other's end──► ended
//!     └────── an error of either side ──┴──► both sides closed, the client's with RST ─────────►┘
//! ```

use super::connection::Client;
use super::core::Core;
use super::download::End;
use crate::limits::{BODY_BUFFER_BYTES, TUNNEL_KEEPALIVE, TUNNEL_STALL};
use crate::net::Stream;
use crate::runtime::{self, EndWatch, LocalWaker, Shutdown};
use std::cell::Cell;
use std::io;
use std::rc::Rc;

/// Tunnels until both directions have ended; what was read already goes first. The first `head` bytes of
/// `to_client` are the 101's.
pub(super) fn run(
    client: &Client,
    upstream: &Rc<Stream>,
    to_client: Vec<u8>,
    head: usize,
    to_upstream: Vec<u8>,
) -> End {
    for side in [&client.stream, upstream] {
        if let Err(error) = side.set_keepalive(TUNNEL_KEEPALIVE) {
            log::debug!("a tunnel without keep-alive: {error}");
        }
    }
    let tunnel = Tunnel::new(&client.core, &client.stream, upstream);
    let _watches = [tunnel.watch(&tunnel.client), tunnel.watch(&tunnel.upstream)];
    let (mut parker, waker) = runtime::local_parker();
    let upward = Rc::clone(&tunnel);
    let spawned = runtime::spawn(move || {
        let _wake = WakeOnDrop(waker);
        upward.pump(Way::ToUpstream, to_upstream);
        upward.up.set(true);
    });
    if spawned.is_err() {
        return End::Cut;
    }
    tunnel.pump(Way::ToClient, to_client);
    while !tunnel.up.get() && parker.park(None).is_ok() {}
    client.record.tunnelled(tunnel.received.get(), tunnel.sent.get().saturating_sub(head as u64));
    if tunnel.broken.get() { End::Cut } else { End::Complete { clean: false } }
}

struct Tunnel {
    core: Rc<Core>,
    client: Rc<Stream>,
    upstream: Rc<Stream>,
    /// The upward direction has ended.
    up: Cell<bool>,
    broken: Cell<bool>,
    /// Bytes that came from the client, and went to it.
    received: Cell<u64>,
    sent: Cell<u64>,
}

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    ToClient,
    ToUpstream,
}

impl Tunnel {
    fn new(core: &Rc<Core>, client: &Rc<Stream>, upstream: &Rc<Stream>) -> Rc<Tunnel> {
        core.metrics.tunnels_opened.add(1);
        core.metrics.tunnels.add(1);
        Rc::new(Tunnel {
            core: Rc::clone(core),
            client: Rc::clone(client),
            upstream: Rc::clone(upstream),
            up: Cell::default(),
            broken: Cell::default(),
            received: Cell::default(),
            sent: Cell::default(),
        })
    }

    fn pump(&self, way: Way, first: Vec<u8>) {
        let (from, to) = match way {
            Way::ToClient => (&*self.upstream, &*self.client),
            Way::ToUpstream => (&*self.client, &*self.upstream),
        };
        let end = self.copy(way, from, to, first).and_then(|()| to.shutdown(Shutdown::Write));
        if end.is_err() {
            self.break_off();
        }
    }

    /// Bytes were read from the client, or are written to it: they count while the tunnel lasts.
    fn count(&self, way: Way, bytes: usize) {
        let metrics = &self.core.metrics;
        let (own, tunnels, all) = match way {
            Way::ToUpstream => (&self.received, &metrics.tunnel_received, &metrics.received),
            Way::ToClient => (&self.sent, &metrics.tunnel_sent, &metrics.sent),
        };
        own.set(own.get() + bytes as u64);
        tunnels.add(bytes as u64);
        all.add(bytes as u64);
    }

    /// Writes all of `bytes`; those of the client are counted before, those for it after.
    fn write(&self, way: Way, to: &Stream, bytes: &[u8]) -> io::Result<()> {
        if way == Way::ToUpstream {
            self.count(way, bytes.len());
        }
        to.write_all(bytes, Some(runtime::now() + TUNNEL_STALL))?;
        if way == Way::ToClient {
            self.count(way, bytes.len());
        }
        Ok(())
    }

    /// A side that fails is noticed although nobody reads from it: its end was read, or the other side takes
    /// nothing.
    fn watch(self: &Rc<Self>, side: &Rc<Stream>) -> EndWatch {
        let (tunnel, watched) = (Rc::downgrade(self), Rc::downgrade(side));
        side.when_failed(move || {
            let (Some(tunnel), Some(side)) = (tunnel.upgrade(), watched.upgrade()) else { return };
            if side.has_failed() {
                tunnel.break_off();
            }
        })
    }

    /// Wakes both directions, whatever they wait for.
    fn break_off(&self) {
        self.broken.set(true);
        // Err: that side is closed already.
        self.client.shutdown(Shutdown::Both).ok();
        self.upstream.shutdown(Shutdown::Both).ok();
    }

    fn copy(&self, way: Way, from: &Stream, to: &Stream, first: Vec<u8>) -> io::Result<()> {
        self.write(way, to, &first)?;
        drop(first);
        let mut buffer = self.core.buffer();
        buffer.resize(BODY_BUFFER_BYTES, 0);
        let end = loop {
            match from.read(&mut buffer, None) {
                Ok(0) => break Ok(()),
                Ok(n) => {
                    if let Err(error) = self.write(way, to, &buffer[..n]) {
                        break Err(error);
                    }
                }
                Err(error) => break Err(error),
            }
        };
        self.core.recycle(buffer);
        end
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.core.metrics.tunnels.take(1);
    }
}

struct WakeOnDrop(LocalWaker);

impl Drop for WakeOnDrop {
    fn drop(&mut self) {
        self.0.wake();
    }
}
