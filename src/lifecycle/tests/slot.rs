//! The machine of one core's slot: each state with each event.

use super::scenario::at;
use crate::lifecycle::machine::Refused::{Draining, Full, Underflow};
use crate::lifecycle::slot::SlotAction::{GiveBack, None, Refuse, TakeLease};
use crate::lifecycle::slot::SlotEvent::{Begin, Drain, End, Tick, Undrain};
use crate::lifecycle::slot::SlotState::{Returning, Vacant};
use crate::lifecycle::slot::{SlotAction, SlotEvent, SlotState, step};

fn held(in_flight: u32, last: u64) -> SlotState {
    SlotState::Held { in_flight, last: at(last) }
}

/// Asserts what each event does to `state` at second 9.
#[track_caller]
fn does(state: SlotState, table: [(SlotEvent, SlotState, SlotAction); 5]) {
    let kinds: Vec<SlotEvent> = table.iter().map(|(event, ..)| *event).collect();
    assert_eq!(kinds, [Begin, End, Drain, Undrain, Tick], "the table lacks an event");
    for (event, after, action) in table {
        assert_eq!(step(state, event, at(9)), (after, action), "{event:?} in {state:?}");
    }
}

#[test]
fn vacant() {
    does(
        Vacant,
        [
            (Begin, held(1, 9), TakeLease),
            (End, Vacant, Refuse(Underflow)),
            (Drain, Vacant, None),
            (Undrain, Vacant, None),
            (Tick, Vacant, None),
        ],
    );
}

#[test]
fn held_with_requests_in_flight() {
    does(
        held(2, 1),
        [
            (Begin, held(3, 9), None),
            (End, held(1, 9), None),
            (Drain, Returning { in_flight: 2 }, None),
            (Undrain, held(2, 1), None),
            (Tick, held(2, 1), None),
        ],
    );
}

#[test]
fn held_and_idle_for_a_second() {
    does(
        held(0, 8),
        [
            (Begin, held(1, 9), None),
            (End, held(0, 8), Refuse(Underflow)),
            (Drain, Vacant, GiveBack),
            (Undrain, held(0, 8), None),
            (Tick, Vacant, GiveBack),
        ],
    );
}

#[test]
fn held_and_idle_for_less() {
    assert_eq!(step(held(0, 9), Tick, at(9)), (held(0, 9), None));
}

#[test]
fn returning() {
    let two = Returning { in_flight: 2 };
    does(
        two,
        [
            (Begin, two, Refuse(Draining)),
            (End, Returning { in_flight: 1 }, None),
            (Drain, two, None),
            (Undrain, held(2, 9), None),
            (Tick, two, None),
        ],
    );
}

#[test]
fn returning_with_the_last_request() {
    let one = Returning { in_flight: 1 };
    does(
        one,
        [
            (Begin, one, Refuse(Draining)),
            (End, Vacant, GiveBack),
            (Drain, one, None),
            (Undrain, held(1, 9), None),
            (Tick, one, None),
        ],
    );
}

#[test]
fn counts_neither_wrap_nor_go_below_zero() {
    assert_eq!(step(held(u32::MAX, 1), Begin, at(9)), (held(u32::MAX, 1), Refuse(Full)));
    let none = Returning { in_flight: 0 };
    assert_eq!(step(none, End, at(9)), (none, Refuse(Underflow)));
}
