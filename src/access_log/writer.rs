//! The one thread that writes.

use super::Setup;
use super::sink::FileSink;
use crate::limits::{ACCESS_LOG_BATCH_BYTES, ACCESS_LOG_PAUSE};
use crate::metrics::Counter;
use crossbeam_channel::{Receiver, RecvTimeoutError, Select, TryRecvError};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// What the writer is told.
pub(super) enum Message {
    /// Another core's lines.
    Source(Source),
    /// Open the path anew, after what is queued.
    Reopen,
    /// Write what is queued and end.
    Stop,
}

/// A core's lines, and how many bytes of them are queued.
pub(super) struct Source {
    pub lines: Receiver<Vec<u8>>,
    pub bytes: Arc<AtomicUsize>,
}

/// Writes until it is told to stop; when there is nobody left who could tell it, until the last core has gone.
pub(super) fn run(setup: &Setup, inbox: &Receiver<Message>, lost: &Counter) {
    let mut writer = Writer {
        file: setup.path.clone().map(|path| FileSink::open(path, now())),
        stdout: setup.stdout,
        sources: Vec::new(),
        batch: Vec::new(),
        lost,
    };
    loop {
        wait(Some(inbox), &writer.sources);
        // What comes within the pause goes out together; only a message ends it early.
        match inbox.recv_timeout(ACCESS_LOG_PAUSE) {
            Err(RecvTimeoutError::Timeout) => writer.drain(),
            Err(RecvTimeoutError::Disconnected) => return writer.run_out(),
            Ok(Message::Source(source)) => writer.sources.push(source),
            Ok(Message::Reopen) => {
                writer.drain();
                if let Some(file) = &mut writer.file {
                    file.reopen(now());
                }
            }
            Ok(Message::Stop) => {
                // Queues of cores that began late.
                for message in inbox.try_iter() {
                    if let Message::Source(source) = message {
                        writer.sources.push(source);
                    }
                }
                return writer.drain();
            }
        }
    }
}

/// Waits for a line or a message.
fn wait(inbox: Option<&Receiver<Message>>, sources: &[Source]) {
    let mut select = Select::new();
    if let Some(inbox) = inbox {
        select.recv(inbox);
    }
    for source in sources {
        select.recv(&source.lines);
    }
    select.ready();
}

struct Writer<'a> {
    file: Option<FileSink>,
    stdout: bool,
    sources: Vec<Source>,
    batch: Vec<u8>,
    lost: &'a Counter,
}

impl Writer<'_> {
    /// Writes until no core has a queue here any more.
    fn run_out(&mut self) {
        self.drain();
        while !self.sources.is_empty() {
            wait(None, &self.sources);
            self.drain();
        }
    }

    /// Writes what is queued now: of each queue at most what it held at the begin, so that a flood can't hold
    /// a message back.
    fn drain(&mut self) {
        let mut sources = std::mem::take(&mut self.sources);
        sources.retain(|source| {
            for _ in 0..source.lines.len().max(1) {
                match source.lines.try_recv() {
                    Ok(line) => {
                        source.bytes.fetch_sub(line.len(), Ordering::Relaxed);
                        self.batch.extend_from_slice(&line);
                        if self.batch.len() >= ACCESS_LOG_BATCH_BYTES {
                            self.flush();
                        }
                    }
                    Err(TryRecvError::Empty) => return true,
                    Err(TryRecvError::Disconnected) => return false,
                }
            }
            true
        });
        self.sources = sources;
        self.flush();
    }

    fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        if let Some(file) = &mut self.file {
            self.lost.add_many(file.write(&self.batch, now()));
        }
        if self.stdout {
            // A closed standard output is nobody's to mend.
            let mut out = io::stdout().lock();
            let _ = out.write_all(&self.batch).and_then(|()| out.flush());
        }
        self.batch.clear();
        self.batch.shrink_to(2 * ACCESS_LOG_BATCH_BYTES);
    }
}

#[allow(clippy::disallowed_methods)] // a thread of its own, which looks at its file once a second
fn now() -> Instant {
    Instant::now()
}
