//! The admin API: windows on what runs, no decisions.
//!
//! ```text
//!   loopback client ──► door (a core: strict HTTP, Host, Origin, method) ──► may_minihttp (a thread of its own) ──► api
//! ```
//!
//! may_minihttp 0.1.11 closes a connection at the 17th field, takes an unread body for the next request, panics
//! on a bad Content-Length and sends a body in answer to HEAD. So no client meets it: the door reads one
//! request per connection as strictly as the data plane does, refuses what should not pass, and asks
//! may_minihttp by a head of its own making. may_minihttp listens on a loopback port that the kernel picks;
//! who does not know this process's random key gets 403 there.

mod api;
mod certs;
mod door;
mod server;

pub use api::{Hooks, MetricsText, ReloadHook, Reloaded};

use crate::limits::RELOAD_PATIENCE;
use crate::net::BoundListener;
use crate::runtime::CoreHandle;
use crate::util::Locked;
use crossbeam_channel::{RecvTimeoutError, bounded};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

/// The admin API of one running program: at one address, at another, or at none. Ended when dropped.
pub struct Admin {
    api: Arc<api::Api>,
    /// The core that the door is on.
    core: CoreHandle,
    state: Locked<State>,
}

#[derive(Default)]
struct State {
    /// Since it was opened first.
    registered: Option<Arc<server::Registered>>,
    open: Option<(SocketAddr, door::DoorId)>,
}

impl Admin {
    /// Listens nowhere yet; its doors will be on `core`.
    pub fn new(core: CoreHandle, hooks: Hooks) -> Admin {
        Admin { api: Arc::new(api::Api::new(hooks)), core, state: Locked::default() }
    }

    /// Serves at `listener`. A former door is closed once this one is open: its listener takes no more, and
    /// what it accepted is answered. Waits for that, `limits::RELOAD_PATIENCE` at most.
    ///
    /// # Errors
    /// A port, a thread or a descriptor can't be had; the former door stays open.
    pub fn open(&self, listener: BoundListener) -> io::Result<SocketAddr> {
        let addr = listener.local_addr()?;
        let registered = match self.state.with(|state| state.registered.clone()) {
            Some(registered) => registered,
            None => Arc::new(server::register(Arc::clone(&self.api))?),
        };
        let id = door::next_id();
        let door = door::Door { server: registered.addr(), key: registered.key().to_owned() };
        let posted = self.core.post(move || door::open(id, listener, door));
        posted.map_err(|_| io::Error::other("the core is too busy"))?;
        let former = self.state.with(|state| {
            state.registered = Some(registered);
            state.open.replace((addr, id))
        });
        self.shut(former);
        Ok(addr)
    }

    /// Listens nowhere any more; says where it was. Waits as [`Admin::open`].
    pub fn close(&self) -> Option<SocketAddr> {
        let former = self.state.with(|state| state.open.take());
        self.shut(former);
        former.map(|(addr, _)| addr)
    }

    /// Where it listens, if it does.
    pub fn addr(&self) -> Option<SocketAddr> {
        self.state.with(|state| state.open.map(|(addr, _)| addr))
    }

    /// The program is ending: no longer ready.
    pub fn ending(&self) {
        self.api.ending();
    }

    fn shut(&self, former: Option<(SocketAddr, door::DoorId)>) {
        let Some((addr, id)) = former else { return };
        let (told, closed) = bounded(0);
        let posted = self.core.post(move || door::close(id, told)).is_ok();
        if !posted || closed.recv_timeout(RELOAD_PATIENCE) == Err(RecvTimeoutError::Timeout) {
            log::error!("the core is too busy: the admin API may still be at {addr} too");
        }
    }
}
