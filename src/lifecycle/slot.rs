//! The pure machine of one core's slot for one entry: one lease, and a plain count of requests.
//!
//! ```text
//!                begin: take a lease                 begin, end
//!   Vacant ────────────────────────────► Held(n) ◄───┐
//!      ▲ ▲ ◄──────────────────────────── │ │ ▲ ──────┘
//!      │ │  tick a second after the last │ │ │
//!      │ │  end, or drain, with n = 0:   │ │ │ undrain
//!      │ │  give it back                 │ │ │
//!      │ │               drain, n ≥ 1    │ │ │
//!      │ │                               ▼ │ │
//!      │ └───────────────────────── Returning(n)   begin → refused: the slow path through the gate
//!      │   last end: give it back
//! ```
//!
//! **The handshake.** The control thread calls `Entry::drain`, which refuses new leases, *then* posts a drain
//! to every core's wake-up queue. A core that took its lease before finds the message; one that comes later
//! gets no lease. Each gives its lease back when its own count is zero, at once if it is idle, and the last
//! one to do so tells the control thread. To undrain, it calls `Entry::undrain`, then posts an undrain.
//! Messages of one sender keep their order, so a core's last word is the control thread's last word.

use std::time::Instant;

use super::machine::Refused;
use crate::limits;

/// Where a core stands with one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotState {
    /// No lease.
    Vacant,
    /// A lease, and so many requests in flight on it; the last one began or ended then.
    Held { in_flight: u32, last: Instant },
    /// A lease that goes back when these requests, at least one, have ended.
    Returning { in_flight: u32 },
}

/// What happens to a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotEvent {
    /// A request begins.
    Begin,
    /// A request ends.
    End,
    /// Give the lease back as soon as no request is in flight.
    Drain,
    /// Keep it after all.
    Undrain,
    /// Time has passed.
    Tick,
}

/// What the core has to do after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotAction {
    /// Nothing.
    None,
    /// Acquire a lease; if that is refused the slot stays `Vacant` and so is the request.
    TakeLease,
    /// Drop the lease.
    GiveBack,
    /// Refuse the event; the state is unchanged.
    Refuse(Refused),
}

/// One step.
pub fn step(state: SlotState, event: SlotEvent, now: Instant) -> (SlotState, SlotAction) {
    match state {
        SlotState::Vacant => vacant(event, now),
        SlotState::Held { in_flight, last } => held(in_flight, last, event, now),
        SlotState::Returning { in_flight } => returning(in_flight, event, now),
    }
}

fn vacant(event: SlotEvent, now: Instant) -> (SlotState, SlotAction) {
    match event {
        SlotEvent::Begin => (SlotState::Held { in_flight: 1, last: now }, SlotAction::TakeLease),
        SlotEvent::End => (SlotState::Vacant, SlotAction::Refuse(Refused::Underflow)),
        SlotEvent::Drain | SlotEvent::Undrain | SlotEvent::Tick => (SlotState::Vacant, SlotAction::None),
    }
}

fn held(n: u32, last: Instant, event: SlotEvent, now: Instant) -> (SlotState, SlotAction) {
    let same = SlotState::Held { in_flight: n, last };
    match event {
        SlotEvent::Begin => match n.checked_add(1) {
            Some(in_flight) => (SlotState::Held { in_flight, last: now }, SlotAction::None),
            None => (same, SlotAction::Refuse(Refused::Full)),
        },
        SlotEvent::End => match n.checked_sub(1) {
            Some(in_flight) => (SlotState::Held { in_flight, last: now }, SlotAction::None),
            None => (same, SlotAction::Refuse(Refused::Underflow)),
        },
        SlotEvent::Drain if n == 0 => (SlotState::Vacant, SlotAction::GiveBack),
        SlotEvent::Drain => (SlotState::Returning { in_flight: n }, SlotAction::None),
        SlotEvent::Undrain => (same, SlotAction::None),
        SlotEvent::Tick if n == 0 && now.saturating_duration_since(last) >= limits::LEASE_KEPT => {
            (SlotState::Vacant, SlotAction::GiveBack)
        }
        SlotEvent::Tick => (same, SlotAction::None),
    }
}

fn returning(n: u32, event: SlotEvent, now: Instant) -> (SlotState, SlotAction) {
    let same = SlotState::Returning { in_flight: n };
    match event {
        SlotEvent::Begin => (same, SlotAction::Refuse(Refused::Draining)),
        SlotEvent::End => match n {
            0 => (same, SlotAction::Refuse(Refused::Underflow)),
            1 => (SlotState::Vacant, SlotAction::GiveBack),
            _ => (SlotState::Returning { in_flight: n - 1 }, SlotAction::None),
        },
        SlotEvent::Undrain => (SlotState::Held { in_flight: n, last: now }, SlotAction::None),
        SlotEvent::Drain | SlotEvent::Tick => (same, SlotAction::None),
    }
}

impl SlotState {
    /// Requests in flight.
    pub fn in_flight(self) -> u32 {
        match self {
            SlotState::Vacant => 0,
            SlotState::Held { in_flight, .. } | SlotState::Returning { in_flight } => in_flight,
        }
    }
}
