//! Signals and other ends, as messages.

use super::Observed;
use super::reload::Reloader;
use crossbeam_channel::Sender;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::{Handle, Signals};
use std::fmt;
use std::io;
use std::sync::Arc;

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

/// Sends an [`End`] for each SIGTERM and SIGINT, has the access log reopened on SIGUSR1 and SIGHUP, and asks for
/// a reload at each SIGHUP (it ends the program if there is nothing to reload: its terminal is gone), until the
/// handle is closed.
pub(super) fn watch(
    ender: &Sender<End>,
    observed: &Arc<Observed>,
    reloader: Option<Reloader>,
) -> io::Result<Handle> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGUSR1, SIGHUP])?;
    let observed = Arc::clone(observed);
    let handle = signals.handle();
    let ender = ender.clone();
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            if matches!(signal, SIGUSR1 | SIGHUP) {
                observed.reopen_access_log();
            }
            match &reloader {
                _ if signal == SIGUSR1 => {}
                Some(reloader) if signal == SIGHUP => reloader.request(),
                // Full: an end is on its way already.
                _ => drop(ender.try_send(End::Signal(signal))),
            }
        }
    })?;
    Ok(handle)
}
