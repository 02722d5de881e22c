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
    /// SIGTERM or SIGINT.
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
            End::Signal(signal) => write!(f, "signal {signal}"),
            End::StaleSocket => f.write_str("a stale engine socket (on_stale_socket: exit)"),
            End::Asked => f.write_str("asked to"),
        }
    }
}

/// Sends an [`End`] for each SIGTERM and SIGINT, and asks for a reload at each SIGHUP, until the handle is
/// closed.
pub(super) fn watch(ender: &Sender<End>, reloader: Reloader) -> io::Result<Handle> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let handle = signals.handle();
    let ender = ender.clone();
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            if signal == SIGHUP {
                reloader.request();
                continue;
            }
            // Full: an end is on its way already.
            let _ = ender.try_send(End::Signal(signal));
        }
    })?;
    Ok(handle)
}
