//! `Active(n)`: leases are out.

use std::time::Duration;

use super::scenario::{LIMIT, at, scenario};
use crate::lifecycle::machine::{Action, Event, Refused, State, step};

const ANY_AGE: Event = Event::Reap { after: Duration::ZERO };

#[test]
fn one_lease() {
    scenario().acquired(1).later(7).does(&[
        (Event::Acquire { limit: LIMIT }, Ok((State::Active(2), Action::None))),
        (Event::Acquire { limit: 1 }, Err(Refused::Full)),
        (Event::Release, Ok((State::Idle { since: at(7) }, Action::None))),
        (ANY_AGE, Err(Refused::NotIdle)),
        (Event::Drain, Ok((State::Draining(1), Action::None))),
        (Event::Undrain, Ok((State::Active(1), Action::None))),
        (Event::Close, Ok((State::Closed(1), Action::None))),
    ]);
}

#[test]
fn several_leases() {
    scenario().acquired(3).later(3600).does(&[
        (Event::Acquire { limit: LIMIT }, Ok((State::Active(4), Action::None))),
        (Event::Acquire { limit: 3 }, Err(Refused::Full)),
        (Event::Release, Ok((State::Active(2), Action::None))),
        (ANY_AGE, Err(Refused::NotIdle)),
        (Event::Drain, Ok((State::Draining(3), Action::None))),
        (Event::Undrain, Ok((State::Active(3), Action::None))),
        (Event::Close, Ok((State::Closed(3), Action::None))),
    ]);
}

#[test]
fn the_limit_is_exact() {
    let full = scenario().acquired(LIMIT);
    assert_eq!(step(full.state, Event::Acquire { limit: LIMIT }, full.now), Err(Refused::Full));
    assert_eq!(full.released(1).acquired(1).state, State::Active(LIMIT));
}

#[test]
fn the_count_never_wraps() {
    let most = Event::Acquire { limit: u32::MAX };
    assert_eq!(step(State::Active(u32::MAX), most, at(0)), Err(Refused::Full));
    let nearly = step(State::Active(u32::MAX - 1), most, at(0));
    assert_eq!(nearly, Ok((State::Active(u32::MAX), Action::None)));
}

/// No step leads to `Active(0)`, but whoever builds it must not be able to panic the machine.
#[test]
fn a_hand_made_active_without_leases_is_harmless() {
    let hand_made = super::scenario::Scenario { state: State::Active(0), now: at(1) };
    hand_made.does(&[
        (Event::Acquire { limit: LIMIT }, Ok((State::Active(1), Action::None))),
        (Event::Release, Err(Refused::Underflow)),
        (ANY_AGE, Err(Refused::NotIdle)),
        (Event::Drain, Ok((State::Draining(0), Action::TellDrained))),
        (Event::Undrain, Ok((State::Active(0), Action::None))),
        (Event::Close, Ok((State::Closed(0), Action::DropResource))),
    ]);
}
