//! Says how often a warning may be repeated: once per `limits::WARN_EVERY` for each subject.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Instant;

use crate::limits;

/// A bounded table of what was said and when. Pure: the caller brings the time and does the logging.
pub struct Throttle<Q> {
    said: HashMap<Q, Said>,
    swept: Option<Instant>,
}

struct Said {
    at: Instant,
    /// Times it was held back since.
    held_back: u64,
}

impl<Q: Eq + Hash> Throttle<Q> {
    /// An empty table.
    pub fn new() -> Self {
        Throttle { said: HashMap::new(), swept: None }
    }

    /// `Some(n)` if `subject` may be said now; `n` is how often it was held back since it was last said.
    /// While the table is full of fresh subjects a new one is held back.
    pub fn admit(&mut self, subject: Q, now: Instant) -> Option<u64> {
        if let Some(said) = self.said.get_mut(&subject) {
            if now.saturating_duration_since(said.at) < limits::WARN_EVERY {
                said.held_back = said.held_back.saturating_add(1);
                return None;
            }
            let held_back = std::mem::take(&mut said.held_back);
            said.at = now;
            return Some(held_back);
        }
        self.make_room(now);
        if self.said.len() >= limits::WARN_SUBJECTS {
            return None;
        }
        self.said.insert(subject, Said { at: now, held_back: 0 });
        Some(0)
    }

    /// Forgets what may be said again, if the table is full; looks at it at most once per `WARN_EVERY`.
    fn make_room(&mut self, now: Instant) {
        let swept_lately =
            self.swept.is_some_and(|at| now.saturating_duration_since(at) < limits::WARN_EVERY);
        if self.said.len() < limits::WARN_SUBJECTS || swept_lately {
            return;
        }
        self.swept = Some(now);
        self.said.retain(|_, said| now.saturating_duration_since(said.at) < limits::WARN_EVERY);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::time::Duration;

    #[allow(clippy::disallowed_methods)] // a test needs some start
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn says_a_subject_once_a_second_and_how_often_it_was_held_back() {
        let (mut throttle, t0) = (Throttle::new(), start());
        assert_eq!(throttle.admit("a", t0), Some(0));
        assert_eq!(throttle.admit("b", t0), Some(0), "another subject has its own second");
        assert_eq!(throttle.admit("a", t0 + Duration::from_millis(1)), None);
        assert_eq!(throttle.admit("a", t0 + Duration::from_millis(999)), None);
        assert_eq!(throttle.admit("a", t0 + Duration::from_millis(1000)), Some(2));
        assert_eq!(throttle.admit("a", t0 + Duration::from_millis(2000)), Some(0));
    }

    #[test]
    fn stays_bounded_and_recovers() {
        let (mut throttle, t0) = (Throttle::new(), start());
        for subject in 0..limits::WARN_SUBJECTS {
            assert_eq!(throttle.admit(subject, t0), Some(0));
        }
        assert_eq!(throttle.admit(usize::MAX, t0), None, "full of fresh subjects");
        assert_eq!(throttle.said.len(), limits::WARN_SUBJECTS);
        assert_eq!(throttle.admit(usize::MAX, t0 + limits::WARN_EVERY), Some(0), "the old ones make room");
        assert_eq!(throttle.said.len(), 1);
    }
}
