//! Signals and other ends, as messages.

use super::reload::Reloader;
use crossbeam_channel::Sender;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};
use std::fmt;
use std::io;

/// Why the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// SIGTERM or SIGINT; SIGHUP if there is no file to reload.
    Signal(i32),
    /// An engine's socket is a deleted file and its entry says `on_stale_socket: exit`.
    StaleSocket,
    /// Somebody who embeds us asked for it.
    Asked,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Signal(SIGTERM) => f.write_str("SIGTERM"),
            End::Signal(SIGINT) => f.write_str("SIGINT"),
            End::Signal(SIGHUP) => f.write_str("SIGHUP"),
            End::Signal(signal) => write!(f, "signal {signal}"),
            End::StaleSocket => f.write_str("a stale engine socket (on_stale_socket: exit)"),
            End::Asked => f.write_str("asked to"),
        }
    }
}

/// Sends an [`End`] for each SIGTERM and SIGINT, and asks for a reload at each SIGHUP (it ends the program too if
/// there is nothing to reload: its terminal is gone), until the handle is closed.
pub(super) fn watch(ender: &Sender<End>, reloader: Option<Reloader>) -> io::Result<Handle> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let handle = signals.handle();
    let ender = ender.clone();
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            match &reloader {
                Some(reloader) if signal == SIGHUP => reloader.request(),
                // Full: an end is on its way already.
                _ => drop(ender.try_send(End::Signal(signal))),
            }
        }
    })?;
    Ok(handle)
}
