//! Signals and other ends, as messages.

use super::Observed;
use crossbeam_channel::Sender;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::{Handle, Signals};
use std::fmt;
use std::io;
use std::sync::Arc;

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

/// Sends an [`End`] for each SIGTERM and SIGINT, and has the access log reopened on SIGUSR1 and SIGHUP, until
/// the handle is closed.
pub(super) fn watch(ender: &Sender<End>, observed: &Arc<Observed>) -> io::Result<Handle> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGUSR1, SIGHUP])?;
    let observed = Arc::clone(observed);
    let handle = signals.handle();
    let ender = ender.clone();
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            match signal {
                SIGUSR1 | SIGHUP => observed.reopen_access_log(),
                // Full: an end is on its way already.
                _ => drop(ender.try_send(End::Signal(signal))),
            }
        }
    })?;
    Ok(handle)
}
