//! The one thread that writes.

use super::Setup;
use super::health::{Health, Stage};
use super::sink::{FileSink, Moment, write_most};
use crate::limits::{ACCESS_LOG_BATCH_BYTES, ACCESS_LOG_LOOK, ACCESS_LOG_PAUSE};
use crate::metrics::Counter;
use crate::util::wall_clock;
use crossbeam_channel::{Receiver, RecvTimeoutError, Select, TryRecvError};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

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
        file: setup.path.clone().map(|path| FileSink::open(path, setup.rotation, now())),
        stdout: setup.stdout.then(Stdout::open),
        sources: Vec::new(),
        batch: Vec::new(),
        lost,
    };
    loop {
        if !wait(Some(inbox), &writer.sources, writer.until_tick()) {
            writer.tick();
            continue;
        }
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

/// Waits for a line or a message; false if neither came in time.
fn wait(inbox: Option<&Receiver<Message>>, sources: &[Source], time: Option<Duration>) -> bool {
    let mut select = Select::new();
    if let Some(inbox) = inbox {
        select.recv(inbox);
    }
    for source in sources {
        select.recv(&source.lines);
    }
    match time {
        Some(time) => select.ready_timeout(time).is_ok(),
        None => {
            select.ready();
            true
        }
    }
}

struct Writer<'a> {
    file: Option<FileSink>,
    stdout: Option<Stdout>,
    sources: Vec<Source>,
    batch: Vec<u8>,
    lost: &'a Counter,
}

impl Writer<'_> {
    /// Writes until no core has a queue here any more.
    fn run_out(&mut self) {
        if let Some(file) = &mut self.file {
            file.leave_as_it_is();
        }
        self.drain();
        while !self.sources.is_empty() {
            wait(None, &self.sources, None);
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

    /// What is due without a line.
    fn tick(&mut self) {
        let now = now();
        if let Some(file) = &mut self.file {
            file.tick(now);
        }
        if let Some(stdout) = &mut self.stdout {
            stdout.health.look(now.at);
        }
    }

    fn until_tick(&self) -> Option<Duration> {
        let file = self.file.as_ref().and_then(|file| file.until_tick(now()));
        let stdout = self.stdout.as_ref().filter(|stdout| stdout.health.is_failing());
        [file, stdout.map(|_| ACCESS_LOG_LOOK)].into_iter().flatten().min()
    }

    fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let now = now();
        if let Some(file) = &mut self.file {
            self.lost.add_many(file.write(&self.batch, now));
        }
        if let Some(stdout) = &mut self.stdout {
            self.lost.add_many(stdout.write(&self.batch, now));
        }
        self.batch.clear();
        self.batch.shrink_to(2 * ACCESS_LOG_BATCH_BYTES);
    }
}

/// Standard output: a file of its own, since std's would keep what it could not write.
struct Stdout {
    file: io::Result<File>,
    health: Health,
    torn: bool,
}

impl Stdout {
    fn open() -> Stdout {
        let file = io::stdout().as_fd().try_clone_to_owned().map(File::from);
        Stdout { file, health: Health::new("on standard output"), torn: false }
    }

    /// Writes `lines`; returns how many of them are lost.
    fn write(&mut self, lines: &[u8], now: Moment) -> u64 {
        let (written, result) = match &mut self.file {
            Ok(file) => {
                if self.torn && write_most(file, b"\n").1.is_ok() {
                    self.torn = false;
                }
                write_most(file, lines)
            }
            Err(error) => (0, Err(io::Error::from(error.kind()))),
        };
        self.torn |= written > 0 && lines.get(written - 1) != Some(&b'\n');
        match result {
            Ok(()) => {
                self.health.succeeds(Stage::Write, now.at);
                0
            }
            Err(error) => {
                self.health.fails(Stage::Write, &error);
                let lost = memchr::memchr_iter(b'\n', &lines[written..]).count() as u64;
                self.health.loses(lost);
                lost
            }
        }
    }
}

#[allow(clippy::disallowed_methods)] // a thread of its own, which looks at its file once a second
fn now() -> Moment {
    Moment { at: Instant::now(), wall: wall_clock::now() }
}
