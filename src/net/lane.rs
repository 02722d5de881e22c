//! Blocking work for a coroutine: it parks until the lane's answer comes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::blocking::{Lane, LaneError};
use crate::runtime::{self, Parked};
use crate::util::Locked;

/// Runs `f` on a thread of `lane` and waits for its result, at most until `deadline`. Works on a plain thread
/// too.
///
/// # Errors
/// `Full`, `Panicked`, `Stopped` (the cores shut down), or `TimedOut`: then `f` is skipped if it has not
/// begun, else it goes on and its result is dropped.
pub fn lane_run<R: Send + 'static>(
    lane: &Lane,
    f: impl FnOnce() -> R + Send + 'static,
    deadline: Option<Instant>,
) -> Result<R, LaneError> {
    let (mut parker, unparker) = runtime::parker();
    let answer = Arc::new(Answer { given: Locked::new(None), unwanted: AtomicBool::new(false) });
    let (wanted, given) = (answer.clone(), answer.clone());
    lane.submit(
        move || (!wanted.unwanted.load(Ordering::Acquire)).then(f),
        move |result| {
            given.given.with(|slot| *slot = Some(result));
            unparker.unpark();
        },
    )?;
    loop {
        let parked = parker.park(deadline);
        match (answer.given.with(Option::take), parked) {
            (Some(Ok(Some(result))), _) => return Ok(result),
            (Some(Ok(None)), _) => return Err(LaneError::TimedOut),
            (Some(Err(e)), _) => return Err(e),
            (None, Ok(Parked::Woken)) => {}
            (None, Ok(Parked::TimedOut)) => {
                answer.unwanted.store(true, Ordering::Release);
                return Err(LaneError::TimedOut);
            }
            (None, Err(_)) => {
                answer.unwanted.store(true, Ordering::Release);
                return Err(LaneError::Stopped);
            }
        }
    }
}

struct Answer<R> {
    given: Locked<Option<Result<Option<R>, LaneError>>>,
    unwanted: AtomicBool,
}
