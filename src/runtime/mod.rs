//! Pinned coroutines, poller, timers and wake-ups: one OS thread per core.
//!
//! A core is a thread with a poller, timers and coroutines of its own. A coroutine is written as plain
//! blocking code and never leaves its thread, so thread-locals stay what they are across a wait; but nothing
//! borrowed from one (no guard, no `RefCell` borrow) may be held across it, because other coroutines run
//! meanwhile.
//!
//! ```text
//!   other threads ── post / unpark ──► inbox ──flag, eventfd──┐
//!                                                             ▼
//!        ┌──► run what is ready ──► poller: wait ──► inbox, events, timers ──┐      one turn of a core
//!        └──────────────────────────────────────────────────────────────────┘
//! ```
//!
//! A wait ends with its result, with `ErrorKind::TimedOut` at its deadline, or with an error of
//! [`is_aborted`] or [`is_stopped`]. A panic ends its coroutine or callback only. A stack overflow ends the
//! process: the guard region turns it into SIGSEGV.
#![allow(unsafe_code)] // stacks, switches and the pointer to the thread's core; each block with its argument

mod abort;
mod core;
mod cores;
mod error;
mod filter;
pub mod handover;
mod inbox;
mod inherited;
mod listener;
mod nofile;
mod panics;
mod park;
mod poller;
mod slab;
mod source;
mod splice;
mod stack;
mod stream;
mod tcp;
mod timers;
mod unix;

use std::io;
pub use std::net::Shutdown;
use std::time::{Duration, Instant};

pub use self::abort::Abort;
pub use self::cores::{Config, CoreHandle, CoreId, Cores, SpawnError};
pub use self::error::{is_aborted, is_stopped};
pub use self::inbox::Full;
pub use self::inherited::take_inherited;
pub use self::listener::TcpListener;
pub use self::nofile::raise_nofile;
pub use self::panics::panics;
pub use self::park::{LocalParker, LocalWaker, Parked, Parker, Unparker, local_parker, parker};
pub use self::source::{EndWatch, Wake};
pub use self::splice::Pipe;
pub use self::tcp::TcpStream;
pub use self::unix::UnixStream;

use self::core::{Core, Reason, read_clock};

/// Starts a coroutine on this core.
///
/// # Errors
/// Too many of them, no memory for a stack, a shutdown, or a caller that is on no core.
pub fn spawn(f: impl FnOnce() + 'static) -> Result<(), SpawnError> {
    Core::current().ok_or(SpawnError::NotOnACore)?.spawn(f)
}

/// Coroutines alive on this core; 0 elsewhere.
pub fn coroutines() -> usize {
    Core::current().map_or(0, |core| core.coroutines())
}

/// The time, read once per turn of the core (and every few coroutines); the clock itself elsewhere.
pub fn now() -> Instant {
    Core::current().map_or_else(read_clock, |core| core.now())
}

/// This thread's core, or [`CoreId::NONE`].
pub fn current() -> CoreId {
    Core::current().map_or(CoreId::NONE, |core| core.id())
}

/// Whether the calling code runs on a coroutine, where it may wait.
pub fn in_coroutine() -> bool {
    Core::current().is_some_and(|core| core.in_coroutine())
}

/// Whether this core is shutting down.
pub fn is_stopping() -> bool {
    Core::current().is_some_and(|core| core.is_stopping())
}

/// Lets the core's other coroutines and events run first. Nothing happens elsewhere.
pub fn yield_now() {
    if let Some(core) = Core::current() {
        core.yield_now();
    }
}

/// Waits until `at`.
///
/// # Errors
/// `is_stopped` when the cores shut down; an error when not called on a coroutine.
pub fn sleep_until(at: Instant) -> io::Result<()> {
    let core = Core::current().ok_or_else(error::not_on_a_coroutine)?;
    while core.wait(Some(at), |_| true, |_| ())? != Reason::TimedOut {}
    Ok(())
}

/// Runs `f` on the core's own, large and warm stack: for leaf work that doesn't wait. Elsewhere just runs it.
pub fn on_core_stack<R>(f: impl FnOnce() -> R) -> R {
    match Core::current() {
        Some(core) => core.on_core_stack(f),
        None => f(),
    }
}

/// Runs `f` on this core's own stack after what is ready now. Elsewhere runs it at once.
pub fn defer(f: impl FnOnce() + 'static) {
    match Core::current() {
        Some(core) => core.defer(f),
        None => f(),
    }
}

/// Runs all callbacks of this core that wait by [`TcpStream::when_readable`], each with [`Wake::Roused`]: what they
/// wait for may have changed. Nothing happens on a thread that is no core.
pub fn rouse_waiting() {
    if let Some(core) = Core::current() {
        let roused = std::rc::Rc::clone(&core);
        core.defer(move || roused.rouse_waiting());
    }
}

/// Runs `f` on this core's own stack every `period` (at least 1 ms, counted from [`now`]), until the core ends.
/// `f` must not wait.
/// Nothing happens on a thread that is no core.
pub fn every(period: Duration, f: impl FnMut() + 'static) {
    if let Some(core) = Core::current() {
        core.every(period, Box::new(f));
    }
}
