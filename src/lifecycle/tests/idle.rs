//! `Idle`: nobody holds a lease.

use std::time::Duration;

use super::scenario::{LIMIT, at, scenario};
use crate::lifecycle::machine::{Action, Event, Refused, State, step};

#[test]
fn what_was_just_made_can_be_leased_drained_and_closed() {
    let hour = Duration::from_secs(3600);
    scenario().does(&[
        (Event::Acquire { limit: LIMIT }, Ok((State::Active(1), Action::None))),
        (Event::Acquire { limit: 1 }, Ok((State::Active(1), Action::None))),
        (Event::Acquire { limit: 0 }, Err(Refused::Full)),
        (Event::Release, Err(Refused::Underflow)),
        (Event::Reap { after: hour }, Err(Refused::NotIdle)),
        (Event::Reap { after: Duration::ZERO }, Ok((State::Closed(0), Action::DropResource))),
        (Event::Drain, Ok((State::Draining(0), Action::TellDrained))),
        (Event::Undrain, Ok((State::Idle { since: at(0) }, Action::None))),
        (Event::Close, Ok((State::Closed(0), Action::DropResource))),
    ]);
}

#[test]
fn idle_counts_from_the_last_release() {
    let used = scenario().acquired(2).later(10).released(2);
    assert_eq!(used.state, State::Idle { since: at(10) });
    let reap = Event::Reap { after: Duration::from_secs(5) };
    assert_eq!(step(used.later(4).state, reap, at(14)), Err(Refused::NotIdle));
    assert_eq!(step(used.later(5).state, reap, at(15)), Ok((State::Closed(0), Action::DropResource)));
}

#[test]
fn an_undrain_does_not_restart_the_idle_time() {
    let undrained = scenario().later(10).undrained();
    assert_eq!(undrained.state, State::Idle { since: at(0) });
}

#[test]
fn a_clock_that_goes_back_reaps_nothing() {
    let used = scenario().later(10).acquired(1).released(1);
    let reap = Event::Reap { after: Duration::from_secs(1) };
    assert_eq!(step(used.state, reap, at(3)), Err(Refused::NotIdle));
}
