//! How waits end that neither succeeded nor timed out. A deadline is `ErrorKind::TimedOut`.

use std::error::Error;
use std::fmt;
use std::io;

/// Why a wait was given up. The kind is `Other`: `Interrupted` would be retried by std's helpers for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GivenUp {
    Stopped,
    Aborted,
    NotOnACoroutine,
    Unwinding,
    Busy,
}

impl fmt::Display for GivenUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            GivenUp::Stopped => "the runtime is shutting down",
            GivenUp::Aborted => "aborted",
            GivenUp::NotOnACoroutine => "would wait, but not on a coroutine of a core",
            GivenUp::Unwinding => "would wait while a panic unwinds",
            GivenUp::Busy => "another coroutine waits for the same direction of this socket",
        })
    }
}

impl Error for GivenUp {}

/// Whether a wait ended because the cores shut down.
pub fn is_stopped(error: &io::Error) -> bool {
    given_up(error) == Some(GivenUp::Stopped)
}

/// Whether a wait ended because its [`Abort`](super::Abort) was fired.
pub fn is_aborted(error: &io::Error) -> bool {
    given_up(error) == Some(GivenUp::Aborted)
}

fn given_up(error: &io::Error) -> Option<GivenUp> {
    error.get_ref()?.downcast_ref().copied()
}

pub(crate) fn stopped() -> io::Error {
    io::Error::other(GivenUp::Stopped)
}

pub(crate) fn aborted() -> io::Error {
    io::Error::other(GivenUp::Aborted)
}

pub(crate) fn not_on_a_coroutine() -> io::Error {
    io::Error::other(GivenUp::NotOnACoroutine)
}

pub(crate) fn unwinding() -> io::Error {
    io::Error::other(GivenUp::Unwinding)
}

pub(crate) fn busy() -> io::Error {
    io::Error::other(GivenUp::Busy)
}

pub(crate) fn timed_out() -> io::Error {
    io::ErrorKind::TimedOut.into()
}
