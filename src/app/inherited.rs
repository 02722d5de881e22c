//! Socket activation: listeners that systemd opened (sd_listen_fds(3)).

use crate::net::BoundListener;
use crate::runtime;
use std::io;
use std::net::{SocketAddr, TcpListener};

/// The listeners that were handed down and not yet used.
pub(super) struct Inherited(Vec<(SocketAddr, TcpListener)>);

impl Inherited {
    /// Takes them, if LISTEN_PID says that they are ours.
    pub fn take() -> Inherited {
        let number = |name: &str| std::env::var(name).ok()?.trim().parse::<u32>().ok();
        if number("LISTEN_PID") != Some(std::process::id()) {
            return Inherited(Vec::new());
        }
        let (listeners, others) = runtime::take_inherited(number("LISTEN_FDS").unwrap_or(0) as usize);
        if others > 0 {
            log::warn!("{others} of the inherited descriptors are no listening TCP sockets: not used");
        }
        let with_addr = |listener: TcpListener| Some((listener.local_addr().ok()?, listener));
        Inherited(listeners.into_iter().filter_map(with_addr).collect())
    }

    /// Where they listen.
    pub fn addrs(&self) -> Vec<SocketAddr> {
        self.0.iter().map(|(addr, _)| *addr).collect()
    }

    /// The listener at `addr`, once for each of `copies` cores; none if none was handed down.
    pub fn at(&mut self, addr: SocketAddr, copies: usize) -> io::Result<Option<Vec<BoundListener>>> {
        let Some(index) = self.0.iter().position(|(known, _)| *known == addr) else { return Ok(None) };
        let (_, listener) = self.0.swap_remove(index);
        let copy = |_| listener.try_clone().map(BoundListener::inherited);
        (0..copies.max(1)).map(copy).collect::<io::Result<Vec<_>>>().map(Some)
    }

    /// Says what nobody asked for; it is closed.
    pub fn finish(self) {
        for (addr, _) in self.0 {
            log::warn!("the inherited listener at {addr} is no address of the configuration: not used");
        }
    }
}
