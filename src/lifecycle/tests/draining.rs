//! `Draining(n)`: no new leases; the drainers are told at 0.

use std::time::Duration;

use super::scenario::{LIMIT, at, scenario};
use crate::lifecycle::machine::{Action, Event, Refused, State};

const ANY_AGE: Event = Event::Reap { after: Duration::ZERO };

#[test]
fn several_leases_are_out() {
    scenario().acquired(3).draining().does(&[
        (Event::Acquire { limit: LIMIT }, Err(Refused::Draining)),
        (Event::Release, Ok((State::Draining(2), Action::None))),
        (ANY_AGE, Err(Refused::NotIdle)),
        (Event::Drain, Ok((State::Draining(3), Action::None))),
        (Event::Undrain, Ok((State::Active(3), Action::ForgetDrainers))),
        (Event::Close, Ok((State::Closed(3), Action::None))),
    ]);
}

#[test]
fn the_last_release_tells() {
    scenario().acquired(3).draining().released(2).does(&[
        (Event::Acquire { limit: LIMIT }, Err(Refused::Draining)),
        (Event::Release, Ok((State::Draining(0), Action::TellDrained))),
        (ANY_AGE, Err(Refused::NotIdle)),
        (Event::Drain, Ok((State::Draining(1), Action::None))),
        (Event::Undrain, Ok((State::Active(1), Action::ForgetDrainers))),
        (Event::Close, Ok((State::Closed(1), Action::None))),
    ]);
}

#[test]
fn all_are_back_and_it_stays_so() {
    for drained in [scenario().draining(), scenario().acquired(1).draining().released(1)] {
        drained.later(9).does(&[
            (Event::Acquire { limit: LIMIT }, Err(Refused::Draining)),
            (Event::Release, Err(Refused::Underflow)),
            (ANY_AGE, Err(Refused::NotIdle)),
            (Event::Drain, Ok((State::Draining(0), Action::TellDrained))),
            (Event::Undrain, Ok((State::Idle { since: at(9) }, Action::ForgetDrainers))),
            (Event::Close, Ok((State::Closed(0), Action::DropResource))),
        ]);
    }
}

#[test]
fn an_undrained_entry_is_as_before() {
    assert_eq!(scenario().acquired(2).draining().undrained().acquired(1).state, State::Active(3));
    assert_eq!(scenario().draining().undrained().acquired(1).state, State::Active(1));
}
