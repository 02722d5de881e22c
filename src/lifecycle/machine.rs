//! The pure machine of one entry: state and event in, state and action out.
//!
//! ```text
//!                acquire                acquire (limit reached → Full)
//!            ┌──────────────►         ┌───┐
//!      Idle(since)           Active(n)    │       n ≥ 1
//!        │ │ ◄──────────────┘   │ ▲   ◄───┘
//!        │ │    last release    │ │     release
//!        │ │                    │ │
//!        │ │              drain │ │ undrain with n ≥ 1
//!        │ │  drain             ▼ │
//!        │ └──────────────► Draining(n)           acquire → Draining; release counts down,
//!        │ ◄────────────────┘   │                 and at 0 the drainers are told
//!        │    undrain with n = 0│
//!        │                      │
//!        │ reap, close          │ close           (from Active(n) too; the n leases stay out)
//!        ▼    last release      ▼
//!      Closed(0) ◄───────── Closed(n)             acquire, undrain → Closed; release counts down,
//!                                                 and at 0 the resource is dropped, drainers told
//! ```
//!
//! `drain` means "tell me when no lease is out", so it is accepted in every state. `undrain` where nothing
//! drains and a second `close` change nothing and are no error: two actors may well decide the same.
//! No event in no state panics; `n` neither wraps nor goes below zero.

use std::fmt;
use std::time::{Duration, Instant};

/// Where an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nobody holds a lease, since then.
    Idle { since: Instant },
    /// So many leases are out, at least one.
    Active(u32),
    /// No new leases; so many are still out. At 0 all are back, and it stays so until undrained or closed.
    Draining(u32),
    /// For good. So many leases are still out; at 0 the resource is gone.
    Closed(u32),
}

/// What happens to an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody wants a lease; at most `limit` may be out.
    Acquire { limit: u32 },
    /// A lease comes back.
    Release,
    /// Close it if it has been idle for at least `after`.
    Reap { after: Duration },
    /// No new leases, and tell when all are back.
    Drain,
    /// Leases are given again; who waited to be told is forgotten.
    Undrain,
    /// No new leases, for good.
    Close,
}

/// What the shell has to do after a step, when the lock is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    None,
    /// No lease is out: tell those who drained.
    TellDrained,
    /// Forget those who drained: they are not told.
    ForgetDrainers,
    /// No lease is out and none ever will be: drop the resource, then tell those who drained.
    DropResource,
}

/// Why an event had no effect. The state is as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refused {
    /// As many leases are out as the limit allows.
    Full,
    /// It drains: ask again when it is undrained.
    Draining,
    /// It is closed for good: ask the registry for a new one.
    Closed,
    /// A reap met an entry that is in use, or not idle for long enough.
    NotIdle,
    /// A release without a lease: a bug, and harmless.
    Underflow,
    /// A bounded table (entries of a registry, drainers of an entry) is full.
    NoRoom,
}

/// One step.
///
/// # Errors
/// Why the event is refused; the state is then unchanged.
pub fn step(state: State, event: Event, now: Instant) -> Result<(State, Action), Refused> {
    match state {
        State::Idle { since } => idle(since, event, now),
        State::Active(n) => active(n, event, now),
        State::Draining(n) => draining(n, event, now),
        State::Closed(n) => closed(n, event),
    }
}

fn idle(since: Instant, event: Event, now: Instant) -> Result<(State, Action), Refused> {
    match event {
        Event::Acquire { limit: 0 } => Err(Refused::Full),
        Event::Acquire { .. } => Ok((State::Active(1), Action::None)),
        Event::Release => Err(Refused::Underflow),
        Event::Reap { after } if now.saturating_duration_since(since) < after => Err(Refused::NotIdle),
        Event::Reap { .. } | Event::Close => Ok((State::Closed(0), Action::DropResource)),
        Event::Drain => Ok((State::Draining(0), Action::TellDrained)),
        Event::Undrain => Ok((State::Idle { since }, Action::None)),
    }
}

fn active(n: u32, event: Event, now: Instant) -> Result<(State, Action), Refused> {
    match event {
        Event::Acquire { limit } if n >= limit => Err(Refused::Full),
        Event::Acquire { .. } => Ok((State::Active(n.saturating_add(1)), Action::None)),
        Event::Release => match n {
            0 => Err(Refused::Underflow),
            1 => Ok((State::Idle { since: now }, Action::None)),
            _ => Ok((State::Active(n - 1), Action::None)),
        },
        Event::Reap { .. } => Err(Refused::NotIdle),
        Event::Drain if n == 0 => Ok((State::Draining(0), Action::TellDrained)),
        Event::Drain => Ok((State::Draining(n), Action::None)),
        Event::Undrain => Ok((State::Active(n), Action::None)),
        Event::Close => Ok(close_with(n)),
    }
}

fn draining(n: u32, event: Event, now: Instant) -> Result<(State, Action), Refused> {
    match event {
        Event::Acquire { .. } => Err(Refused::Draining),
        Event::Release => match n {
            0 => Err(Refused::Underflow),
            1 => Ok((State::Draining(0), Action::TellDrained)),
            _ => Ok((State::Draining(n - 1), Action::None)),
        },
        // Who drains it decides what becomes of it.
        Event::Reap { .. } => Err(Refused::NotIdle),
        Event::Drain if n == 0 => Ok((State::Draining(0), Action::TellDrained)),
        Event::Drain => Ok((State::Draining(n), Action::None)),
        Event::Undrain if n == 0 => Ok((State::Idle { since: now }, Action::ForgetDrainers)),
        Event::Undrain => Ok((State::Active(n), Action::ForgetDrainers)),
        Event::Close => Ok(close_with(n)),
    }
}

fn closed(n: u32, event: Event) -> Result<(State, Action), Refused> {
    match event {
        Event::Acquire { .. } | Event::Reap { .. } | Event::Undrain => Err(Refused::Closed),
        Event::Release => match n {
            0 => Err(Refused::Underflow),
            1 => Ok((State::Closed(0), Action::DropResource)),
            _ => Ok((State::Closed(n - 1), Action::None)),
        },
        Event::Drain if n == 0 => Ok((State::Closed(0), Action::TellDrained)),
        Event::Drain | Event::Close => Ok((State::Closed(n), Action::None)),
    }
}

/// `close` with `n` leases out.
fn close_with(n: u32) -> (State, Action) {
    match n {
        0 => (State::Closed(0), Action::DropResource),
        _ => (State::Closed(n), Action::None),
    }
}

impl State {
    /// Leases that are out.
    pub fn leases(self) -> u32 {
        match self {
            State::Idle { .. } => 0,
            State::Active(n) | State::Draining(n) | State::Closed(n) => n,
        }
    }
}

impl Event {
    /// The event's name in the log.
    pub fn name(self) -> &'static str {
        match self {
            Event::Acquire { .. } => "acquire",
            Event::Release => "release",
            Event::Reap { .. } => "reap",
            Event::Drain => "drain",
            Event::Undrain => "undrain",
            Event::Close => "close",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            State::Idle { .. } => f.write_str("Idle"),
            State::Active(n) => write!(f, "Active({n})"),
            State::Draining(n) => write!(f, "Draining({n})"),
            State::Closed(n) => write!(f, "Closed({n})"),
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refused::Full => "as many are in use as its limit allows",
            Refused::Draining => "it is being drained",
            Refused::Closed => "it is closed",
            Refused::NotIdle => "it is in use, or was until just now",
            Refused::Underflow => "nothing was acquired that could be released",
            Refused::NoRoom => "there is no room for one more",
        })
    }
}

impl std::error::Error for Refused {}
