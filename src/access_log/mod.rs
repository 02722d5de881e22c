//! The access log: a line per exchange, formatted on the core, written by one thread.
//!
//! ```text
//!   core 0 ──lines──► bounded queue ─┐
//!   core 1 ──lines──► bounded queue ─┼──► writer: batches ──► file, stdout
//!   anybody ──reopen, stop──────────┘
//! ```
//!
//! Nothing waits for the writer: a line that finds its core's queue full is dropped and counted.

mod escape;
mod line;
mod sink;
mod writer;

pub use line::{Entry, Format};

use crate::limits::{ACCESS_LOG_MESSAGES, ACCESS_LOG_QUEUE, ACCESS_LOG_QUEUE_BYTES};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use writer::{Message, Source};

/// Where lines go and how they look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// A file that is appended to, made if it is not there.
    pub path: Option<PathBuf>,
    /// Standard output too.
    pub stdout: bool,
    pub format: Format,
}

/// A running access log.
pub struct AccessLog {
    format: Format,
    messages: Sender<Message>,
    lost: Arc<AtomicU64>,
    ended: Receiver<()>,
}

impl AccessLog {
    /// Starts the writer. A file that can't be opened is said by it, and tried again.
    ///
    /// # Errors
    /// If the thread can't be started.
    pub fn start(setup: Setup) -> io::Result<AccessLog> {
        let (messages, inbox) = bounded(ACCESS_LOG_MESSAGES);
        let (end, ended) = bounded(1);
        let lost = Arc::new(AtomicU64::new(0));
        let (format, counter) = (setup.format, Arc::clone(&lost));
        std::thread::Builder::new().name("access-log".into()).spawn(move || {
            writer::run(&setup, &inbox, &counter);
            drop(end);
        })?;
        Ok(AccessLog { format, messages, lost, ended })
    }

    /// A queue for one core; none if the writer has ended, or has been deaf for long.
    pub fn queue(&self) -> Option<Queue> {
        let (lines, source) = bounded(ACCESS_LOG_QUEUE);
        let bytes = Arc::new(AtomicUsize::new(0));
        let source = Source { lines: source, bytes: Arc::clone(&bytes) };
        self.messages.try_send(Message::Source(source)).ok()?;
        Some(Queue { format: self.format, lines, bytes })
    }

    /// Closes the file and opens its path anew, after what is queued: for whoever has renamed it.
    pub fn reopen(&self) {
        // Full: as many reopens are on their way already. Disconnected: it has ended.
        let _ = self.messages.try_send(Message::Reopen);
    }

    /// Lines that could not be written.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Writes what is queued and ends; false if that takes longer than `patience`.
    pub fn stop(&self, patience: Duration) -> bool {
        let _ = self.messages.send_timeout(Message::Stop, patience);
        self.ended.recv_timeout(patience) == Err(crossbeam_channel::RecvTimeoutError::Disconnected)
    }
}

/// A core's way to the writer.
pub struct Queue {
    format: Format,
    lines: Sender<Vec<u8>>,
    /// Bytes in the queue: added here, taken off by the writer.
    bytes: Arc<AtomicUsize>,
}

impl Queue {
    /// How its lines look.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Queues the line of `entry`; false if it was dropped because the queue is full.
    pub fn push(&self, entry: &Entry<'_>) -> bool {
        let mut line = Vec::with_capacity(256);
        self.format.write(&mut line, entry);
        let length = line.len();
        if self.bytes.fetch_add(length, Ordering::Relaxed) + length <= ACCESS_LOG_QUEUE_BYTES
            && self.lines.try_send(line).is_ok()
        {
            return true;
        }
        self.bytes.fetch_sub(length, Ordering::Relaxed);
        false
    }
}
