//! Signals and other ends, as messages.

use super::Observed;
use super::reload::Reloader;
use crate::limits::LOG_FLUSH;
use crate::logging;
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

/// Sends an [`End`] for the first SIGTERM or SIGINT; the second ends the process at once. SIGUSR1 and SIGHUP
/// reopen the access log, and SIGHUP asks for a reload (it ends the program if there is nothing to reload: its
/// terminal is gone). Until the handle is closed.
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
        let mut asked = false;
        for signal in signals.forever() {
            if matches!(signal, SIGUSR1 | SIGHUP) {
                observed.reopen_access_log();
            }
            match &reloader {
                _ if signal == SIGUSR1 => continue,
                Some(reloader) if signal == SIGHUP => {
                    reloader.request();
                    continue;
                }
                _ => {}
            }
            if std::mem::replace(&mut asked, true) {
                cut(signal);
            }
            // Full: an end is on its way already.
            let _ = ender.try_send(End::Signal(signal));
        }
    })?;
    Ok(handle)
}

/// Ends the process as a shell would say it of one killed by `signal`.
#[allow(clippy::disallowed_methods)] // to skip the drain is what the second signal asks for
fn cut(signal: i32) -> ! {
    log::warn!("{}, the second signal: what is in flight is cut", End::Signal(signal));
    logging::flush(LOG_FLUSH);
    std::process::exit(128 + signal)
}
