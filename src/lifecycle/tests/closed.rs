//! `Closed(n)`: for good; the resource is dropped at 0.

use std::time::Duration;

use super::scenario::{LIMIT, scenario};
use crate::lifecycle::machine::{Action, Event, Refused, State};

const ANY_AGE: Event = Event::Reap { after: Duration::ZERO };

#[test]
fn several_leases_are_out() {
    for closed in [scenario().acquired(2).closed(), scenario().acquired(2).draining().closed()] {
        closed.does(&[
            (Event::Acquire { limit: LIMIT }, Err(Refused::Closed)),
            (Event::Release, Ok((State::Closed(1), Action::None))),
            (ANY_AGE, Err(Refused::Closed)),
            (Event::Drain, Ok((State::Closed(2), Action::None))),
            (Event::Undrain, Err(Refused::Closed)),
            (Event::Close, Ok((State::Closed(2), Action::None))),
        ]);
    }
}

#[test]
fn the_last_release_drops_the_resource() {
    scenario().acquired(2).closed().released(1).does(&[
        (Event::Acquire { limit: LIMIT }, Err(Refused::Closed)),
        (Event::Release, Ok((State::Closed(0), Action::DropResource))),
        (ANY_AGE, Err(Refused::Closed)),
        (Event::Drain, Ok((State::Closed(1), Action::None))),
        (Event::Undrain, Err(Refused::Closed)),
        (Event::Close, Ok((State::Closed(1), Action::None))),
    ]);
}

#[test]
fn done() {
    let done = [
        scenario().closed(),
        scenario().reaped(),
        scenario().draining().closed(),
        scenario().acquired(1).closed().released(1),
    ];
    for closed in done {
        closed.does(&[
            (Event::Acquire { limit: LIMIT }, Err(Refused::Closed)),
            (Event::Release, Err(Refused::Underflow)),
            (ANY_AGE, Err(Refused::Closed)),
            (Event::Drain, Ok((State::Closed(0), Action::TellDrained))),
            (Event::Undrain, Err(Refused::Closed)),
            (Event::Close, Ok((State::Closed(0), Action::None))),
        ]);
    }
}
