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

/// Tunnels until both directions have ended; what was read already goes first.
pub(super) fn run(client: &Client, upstream: &Rc<Stream>, to_client: Vec<u8>, to_upstream: Vec<u8>) -> End {
    for side in [&client.stream, upstream] {
        if let Err(error) = side.set_keepalive(TUNNEL_KEEPALIVE) {
            log::debug!("a tunnel without keep-alive: {error}");
        }
    }
    let (client_side, upstream_side) = (Rc::clone(&client.stream), Rc::clone(upstream));
    let core = Rc::clone(&client.core);
    let up = Cell::new(false);
    let tunnel =
        Rc::new(Tunnel { core, client: client_side, upstream: upstream_side, up, broken: Cell::new(false) });
    let _watches = [tunnel.watch(&tunnel.client), tunnel.watch(&tunnel.upstream)];
    let (mut parker, waker) = runtime::local_parker();
    let upward = Rc::clone(&tunnel);
    let spawned = runtime::spawn(move || {
        let _wake = WakeOnDrop(waker);
        upward.pump(&upward.client, &upward.upstream, to_upstream);
        upward.up.set(true);
    });
    if spawned.is_err() {
        return End::Cut;
    }
    tunnel.pump(&tunnel.upstream, &tunnel.client, to_client);
    while !tunnel.up.get() && parker.park(None).is_ok() {}
    if tunnel.broken.get() { End::Cut } else { End::Complete { clean: false } }
}

struct Tunnel {
    core: Rc<Core>,
    client: Rc<Stream>,
    upstream: Rc<Stream>,
    /// The upward direction has ended.
    up: Cell<bool>,
    broken: Cell<bool>,
}

impl Tunnel {
    fn pump(&self, from: &Stream, to: &Stream, first: Vec<u8>) {
        let end = self.copy(from, to, first).and_then(|()| to.shutdown(Shutdown::Write));
        if end.is_err() {
            self.break_off();
        }
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

    fn copy(&self, from: &Stream, to: &Stream, first: Vec<u8>) -> io::Result<()> {
        to.write_all(&first, Some(runtime::now() + TUNNEL_STALL))?;
        drop(first);
        let mut buffer = self.core.buffer();
        buffer.resize(BODY_BUFFER_BYTES, 0);
        let end = loop {
            match from.read(&mut buffer, None) {
                Ok(0) => break Ok(()),
                Ok(n) => {
                    if let Err(error) = to.write_all(&buffer[..n], Some(runtime::now() + TUNNEL_STALL)) {
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

struct WakeOnDrop(LocalWaker);

impl Drop for WakeOnDrop {
    fn drop(&mut self) {
        self.0.wake();
    }
}
