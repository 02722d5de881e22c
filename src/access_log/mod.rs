//! The access log: a line per exchange, formatted on the core, written by one thread.
//!
//! ```text
//!   core 0 ──lines──► bounded queue ─┐
//!   core 1 ──lines──► bounded queue ─┼──► writer: batches ──► file, stdout
//!   anybody ──reopen, stop──────────┘
//! ```
//!
//! Nothing waits for the writer: a line that finds its core's queue full is dropped and counted. Which exchanges
//! have a line, and what it shows, is decided on the core; when a file is rotated is the writer's affair, and
//! what is deleted then that of a thread beside it.

mod escape;
mod fields;
mod filter;
mod health;
mod line;
mod rotation;
mod sink;
mod sweep;
mod writer;

pub use fields::{Fields, Mode, REDACTED, Rules};
pub use filter::{Filter, Filters, HeaderMatch, HostMatch, Statuses, is_token};
pub use line::{Entry, Format};
pub use rotation::{Retention, Rotation};

use crate::limits::{ACCESS_LOG_MESSAGES, ACCESS_LOG_QUEUE, ACCESS_LOG_QUEUE_BYTES};
use crate::metrics::Counter;
use crate::util::Locked;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use line::Stamp;
use std::cell::RefCell;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use writer::{Message, Source};

/// Where lines go, which there are, and how they look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Setup {
    /// A file that is appended to, made if it is not there.
    pub path: Option<PathBuf>,
    /// Standard output too.
    pub stdout: bool,
    pub format: Format,
    pub filters: Filters,
    pub fields: Fields,
    /// Of the file.
    pub rotation: Rotation,
}

/// The access log of one running Tidegate, on or off. Its setup may change while it runs: then a new writer
/// starts, and the old one ends when the last core has gone over.
pub struct AccessLog {
    /// Grows by one with each change of the setup.
    version: AtomicU64,
    lost: Arc<Counter>,
    current: Locked<Option<Running>>,
}

struct Running {
    setup: Setup,
    messages: Sender<Message>,
    ended: Receiver<()>,
}

impl Running {
    fn shape(&self) -> Shape {
        let Setup { format, filters, fields, .. } = self.setup.clone();
        Shape { format, filters, fields }
    }
}

impl AccessLog {
    /// One that is off.
    pub fn off() -> AccessLog {
        AccessLog { version: AtomicU64::new(0), lost: Arc::default(), current: Locked::new(None) }
    }

    /// Writes as `setup` says from now on; off without one. Nothing happens if nothing has changed. A file that
    /// can't be opened is said by the writer, and tried again.
    ///
    /// # Errors
    /// If the writer's thread can't be started; what was before goes on then.
    pub fn configure(&self, setup: Option<Setup>) -> io::Result<()> {
        if self.current.with(|current| current.as_ref().map(|running| &running.setup) == setup.as_ref()) {
            return Ok(());
        }
        let next = setup.map(|setup| self.start(setup)).transpose()?;
        // The old writer hears of it when its messages end.
        drop(self.current.with(|current| std::mem::replace(current, next)));
        self.version.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Which setup this is: a core whose number is another one asks for its [`AccessLog::queue`] again.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// A queue for one core; none if the log is off, or its writer has been deaf for long.
    pub fn queue(&self) -> Option<Queue> {
        let (shape, messages) = self.of_current(|running| (running.shape(), running.messages.clone()))?;
        // Bounded by its one sender: a bounded queue has all its memory from the start.
        let (lines, source) = unbounded();
        let bytes = Arc::new(AtomicUsize::new(0));
        let source = Source { lines: source, bytes: Arc::clone(&bytes) };
        messages.try_send(Message::Source(source)).ok()?;
        Some(Queue { shape, lines, bytes, stamp: RefCell::default() })
    }

    /// Closes the file and opens its path anew, after what is queued: for whoever has renamed it.
    pub fn reopen(&self) {
        // Full: as many reopens are on their way already. Disconnected: it has ended.
        self.of_current(|running| drop(running.messages.try_send(Message::Reopen)));
    }

    /// Lines that could not be written.
    pub fn lost(&self) -> u64 {
        self.lost.get()
    }

    /// Writes what is queued and ends; false if that takes longer than `patience`.
    pub fn stop(&self, patience: Duration) -> bool {
        let Some(Running { messages, ended, .. }) = self.current.with(Option::take) else { return true };
        let _ = messages.send_timeout(Message::Stop, patience);
        ended.recv_timeout(patience) == Err(RecvTimeoutError::Disconnected)
    }

    fn of_current<R>(&self, f: impl FnOnce(&Running) -> R) -> Option<R> {
        self.current.with(|current| current.as_ref().map(f))
    }

    fn start(&self, setup: Setup) -> io::Result<Running> {
        let (messages, inbox) = bounded(ACCESS_LOG_MESSAGES);
        let (end, ended) = bounded(1);
        let (own, lost) = (setup.clone(), Arc::clone(&self.lost));
        std::thread::Builder::new().name("access-log".into()).spawn(move || {
            writer::run(&own, &inbox, &lost);
            drop(end);
        })?;
        Ok(Running { setup, messages, ended })
    }
}

/// A core's way to the writer.
pub struct Queue {
    shape: Shape,
    lines: Sender<Vec<u8>>,
    /// Bytes in the queue: added here, taken off by the writer.
    bytes: Arc<AtomicUsize>,
    stamp: RefCell<Stamp>,
}

/// Which lines there are and how they look.
struct Shape {
    format: Format,
    filters: Filters,
    fields: Fields,
}

impl Queue {
    /// How its lines look.
    pub fn format(&self) -> Format {
        self.shape.format
    }

    /// Queues the line of `entry` if it has one; false if it was dropped because the queue is full.
    pub fn push(&self, entry: &Entry<'_>) -> bool {
        let Shape { format, filters, fields } = &self.shape;
        if !filters.pass(entry) {
            return true;
        }
        let mut line = Vec::with_capacity(256);
        format.write(&mut line, entry, fields, &mut self.stamp.borrow_mut());
        let length = line.len();
        if self.bytes.fetch_add(length, Ordering::Relaxed) + length <= ACCESS_LOG_QUEUE_BYTES
            && self.lines.len() < ACCESS_LOG_QUEUE
            && self.lines.send(line).is_ok()
        {
            return true;
        }
        self.bytes.fetch_sub(length, Ordering::Relaxed);
        false
    }
}
