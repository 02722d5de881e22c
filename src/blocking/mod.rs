//! Thread lanes for what blocks: Docker control calls, DNS, files, password hashes. Each lane has threads and
//! a bounded queue of its own, so that none can starve another.
//!
//! A coroutine uses `net::lane_run`, which parks until the answer comes; other threads use [`Lane::submit`].

use std::error::Error;
use std::fmt;
use std::io;
use std::panic::{self, AssertUnwindSafe};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

/// Why a lane gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneError {
    /// The lane's queue is full.
    Full,
    /// The deadline passed first. What has begun goes on and its result is dropped.
    TimedOut,
    /// The lane or the caller's core shuts down.
    Stopped,
    /// The work panicked.
    Panicked,
}

impl fmt::Display for LaneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LaneError::Full => "too much blocking work is waiting already",
            LaneError::TimedOut => "the blocking work took too long",
            LaneError::Stopped => "shutting down",
            LaneError::Panicked => "the blocking work panicked",
        })
    }
}

impl Error for LaneError {}

impl From<LaneError> for io::Error {
    fn from(error: LaneError) -> io::Error {
        match error {
            LaneError::TimedOut => io::ErrorKind::TimedOut.into(),
            other => io::Error::other(other),
        }
    }
}

/// A lane. Dropping it lets its threads finish what is queued and end; nothing waits for them.
pub struct Lane {
    name: &'static str,
    queue: Sender<Job>,
}

type Job = Box<dyn FnOnce() + Send>;

impl Lane {
    /// Starts `threads` threads (at least one) that share a queue of `queue` jobs.
    ///
    /// # Errors
    /// A thread could not be started.
    pub fn new(name: &'static str, threads: usize, queue: usize) -> io::Result<Lane> {
        let (sender, receiver) = bounded(queue.max(1));
        for number in 0..threads.max(1) {
            let receiver = receiver.clone();
            std::thread::Builder::new().name(format!("{name}-{number}")).spawn(move || work(&receiver))?;
        }
        Ok(Lane { name, queue: sender })
    }

    /// The lane's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Has a thread of the lane run `f` and then `done` with its result, `Panicked` if `f` did. Never blocks.
    ///
    /// # Errors
    /// `Full` or `Stopped`: neither ran nor will.
    pub fn submit<R: 'static>(
        &self,
        f: impl FnOnce() -> R + Send + 'static,
        done: impl FnOnce(Result<R, LaneError>) + Send + 'static,
    ) -> Result<(), LaneError> {
        let job = move || done(panic::catch_unwind(AssertUnwindSafe(f)).map_err(|_| LaneError::Panicked));
        self.queue.try_send(Box::new(job)).map_err(|refused| match refused {
            TrySendError::Full(_) => LaneError::Full,
            TrySendError::Disconnected(_) => LaneError::Stopped,
        })
    }
}

fn work(queue: &Receiver<Job>) {
    for job in queue {
        // A panic in `done` must not end the thread.
        if panic::catch_unwind(AssertUnwindSafe(job)).is_err() {
            log::error!("a lane's callback panicked");
        }
    }
}
