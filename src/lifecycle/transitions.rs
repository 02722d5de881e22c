//! How often states were entered, over all entries of the process. A transition logs and takes a lock anyway.

use super::machine::State;
use std::sync::atomic::{AtomicU64, Ordering};

const NAMES: [&str; 4] = ["idle", "active", "draining", "closed"];
static ENTERED: [AtomicU64; NAMES.len()] = [const { AtomicU64::new(0) }; NAMES.len()];

/// Transitions since the start, by the name of the state that was entered.
pub fn transitions() -> [(&'static str, u64); NAMES.len()] {
    std::array::from_fn(|index| (NAMES[index], ENTERED[index].load(Ordering::Relaxed)))
}

pub(super) fn count(entered: State) {
    let index = match entered {
        State::Idle { .. } => 0,
        State::Active(_) => 1,
        State::Draining(_) => 2,
        State::Closed(_) => 3,
    };
    ENTERED[index].fetch_add(1, Ordering::Relaxed);
}
