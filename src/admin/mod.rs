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

use crate::net::BoundListener;
use crate::runtime::CoreHandle;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

/// A running admin API; ended when dropped.
pub struct Admin {
    addr: SocketAddr,
    api: Arc<api::Api>,
    _registered: server::Registered,
}

/// Serves the admin API at `listener`, by the door on `core`.
///
/// # Errors
/// A port, a thread or a descriptor can't be had.
pub fn start(listener: BoundListener, core: &CoreHandle, hooks: Hooks) -> io::Result<Admin> {
    let addr = listener.local_addr()?;
    let api = Arc::new(api::Api::new(hooks));
    let registered = server::register(Arc::clone(&api))?;
    let door = door::Door { server: registered.addr(), key: registered.key().to_owned() };
    core.post(move || door::open(listener, door)).map_err(|_| io::Error::other("the core is too busy"))?;
    Ok(Admin { addr, api, _registered: registered })
}

impl Admin {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The program is ending: no longer ready.
    pub fn ending(&self) {
        self.api.ending();
    }
}
