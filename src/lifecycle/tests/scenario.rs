//! Reaches any state of the machine in one line, by its own steps: `scenario().acquired(3).draining()`.

use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::lifecycle::machine::{Action, Event, Refused, State, step};

/// The limit of leases in a scenario.
pub const LIMIT: u32 = 5;

/// The first moment of every scenario.
#[allow(clippy::disallowed_methods)] // a test needs some start
pub fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

/// The moment so many seconds after the start.
pub fn at(seconds: u64) -> Instant {
    start() + Duration::from_secs(seconds)
}

/// An event, and what the machine answers.
pub type Row = (Event, Result<(State, Action), Refused>);

/// A state, and the time that it is.
#[derive(Clone, Copy)]
pub struct Scenario {
    pub state: State,
    pub now: Instant,
}

/// An entry that was just made.
pub fn scenario() -> Scenario {
    Scenario { state: State::Idle { since: start() }, now: start() }
}

impl Scenario {
    pub fn acquired(self, n: u32) -> Self {
        (0..n).fold(self, |s, _| s.stepped(Event::Acquire { limit: LIMIT }))
    }

    pub fn released(self, n: u32) -> Self {
        (0..n).fold(self, |s, _| s.stepped(Event::Release))
    }

    pub fn later(self, seconds: u64) -> Self {
        Scenario { now: self.now + Duration::from_secs(seconds), ..self }
    }

    pub fn draining(self) -> Self {
        self.stepped(Event::Drain)
    }

    pub fn undrained(self) -> Self {
        self.stepped(Event::Undrain)
    }

    pub fn closed(self) -> Self {
        self.stepped(Event::Close)
    }

    pub fn reaped(self) -> Self {
        self.stepped(Event::Reap { after: Duration::ZERO })
    }

    /// Asserts what each event does here; the table has every kind of event.
    #[track_caller]
    pub fn does(self, table: &[Row]) {
        let kinds: BTreeSet<&str> = table.iter().map(|(event, _)| event.name()).collect();
        let all = BTreeSet::from(["acquire", "release", "reap", "drain", "undrain", "close"]);
        assert_eq!(kinds, all, "the table lacks an event");
        for (event, expected) in table {
            assert_eq!(step(self.state, *event, self.now), *expected, "{event:?} in {:?}", self.state);
        }
    }

    #[track_caller]
    fn stepped(self, event: Event) -> Self {
        match step(self.state, event, self.now) {
            Ok((state, _)) => Scenario { state, ..self },
            Err(refused) => panic!("{event:?} in {:?}: {refused}", self.state),
        }
    }
}
