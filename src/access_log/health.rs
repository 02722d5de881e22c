//! What is said of a place to write to: once when it fails, once when that is over.

use crate::limits::ACCESS_LOG_LOOK;
use std::fmt::Display;
use std::io;
use std::time::Instant;

/// Whether a file or standard output can be written.
pub(super) struct Health {
    what: String,
    failing: Option<Failing>,
}

struct Failing {
    /// Lines since it began.
    lost: u64,
    stage: Stage,
    /// Since when it seems to be over. A disk that is full takes a line now and then.
    well: Option<Instant>,
}

/// What can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Open,
    Write,
}

impl Health {
    pub fn new(what: impl Display) -> Health {
        Health { what: what.to_string(), failing: None }
    }

    pub fn is_failing(&self) -> bool {
        self.failing.is_some()
    }

    /// It failed; said unless it was failing already.
    pub fn fails(&mut self, stage: Stage, error: &io::Error) {
        if let Some(failing) = &mut self.failing {
            failing.stage = stage;
            failing.well = None;
            return;
        }
        let done = if stage == Stage::Open { "opened" } else { "written" };
        let what = &self.what;
        log::error!("access log {what}: it can't be {done}: {error}; lines are lost until it can");
        self.failing = Some(Failing { lost: 0, stage, well: None });
    }

    /// So many lines are lost.
    pub fn loses(&mut self, lines: u64) {
        if let Some(failing) = &mut self.failing {
            failing.lost += lines;
        }
    }

    /// This went well. If it goes on so for a while, a failure is over.
    pub fn succeeds(&mut self, stage: Stage, now: Instant) {
        let Some(failing) = &mut self.failing else { return };
        // That it can be opened says nothing about a full disk.
        if stage == Stage::Write || failing.stage == Stage::Open {
            failing.well.get_or_insert(now);
        }
        self.look(now);
    }

    /// Says that a failure is over, if it is.
    pub fn look(&mut self, now: Instant) {
        let is_over = |failing: &mut Failing| {
            failing.well.is_some_and(|since| now.saturating_duration_since(since) >= ACCESS_LOG_LOOK)
        };
        if let Some(Failing { lost, .. }) = self.failing.take_if(is_over) {
            log::warn!("access log {}: it can be written again, {lost} lines were lost", self.what);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_over_when_writes_have_gone_well_for_a_while() {
        #[allow(clippy::disallowed_methods)] // any instant will do
        let begin = Instant::now();
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let mut health = Health::new("x");
        health.fails(Stage::Write, &full);
        health.loses(2);
        health.succeeds(Stage::Open, begin);
        health.look(begin + 9 * ACCESS_LOG_LOOK);
        assert!(health.is_failing(), "only opened");
        health.succeeds(Stage::Write, begin);
        assert!(health.is_failing(), "only just");
        health.fails(Stage::Write, &full);
        health.look(begin + ACCESS_LOG_LOOK);
        assert!(health.is_failing(), "it failed again meanwhile");
        health.succeeds(Stage::Write, begin);
        health.look(begin + ACCESS_LOG_LOOK);
        assert!(!health.is_failing());
        health.fails(Stage::Open, &full);
        health.succeeds(Stage::Open, begin);
        health.look(begin + ACCESS_LOG_LOOK);
        assert!(!health.is_failing());
    }
}
