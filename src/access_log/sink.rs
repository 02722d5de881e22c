//! A file that is appended to and may go away, fill up, and come back.

use crate::limits::ACCESS_LOG_LOOK;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::Instant;

/// The access log's file.
pub(super) struct FileSink {
    path: PathBuf,
    file: Option<File>,
    /// When to look next whether the file is still the one at its path, or to try again to open it.
    look_at: Option<Instant>,
    /// The last write ended within a line.
    torn: bool,
    /// Lines lost since it was last well; none while it is.
    failing: Option<u64>,
}

impl FileSink {
    /// Opens `path`, or says why not.
    pub fn open(path: PathBuf, now: Instant) -> FileSink {
        let mut sink = FileSink { path, file: None, look_at: None, torn: false, failing: None };
        sink.reopen(now);
        sink
    }

    /// Opens the path anew.
    pub fn reopen(&mut self, now: Instant) {
        self.look_at = Some(now + ACCESS_LOG_LOOK);
        // Queries hold secrets: not for everybody to read.
        match OpenOptions::new().append(true).create(true).mode(0o640).open(&self.path) {
            Ok(file) => {
                self.file = Some(file);
                self.torn = false;
            }
            Err(error) => {
                self.file = None;
                self.fails("opened", &error);
            }
        }
    }

    /// Appends `lines`; returns how many of them are lost.
    pub fn write(&mut self, lines: &[u8], now: Instant) -> u64 {
        if self.look_at.is_none_or(|at| now >= at) {
            self.look(now);
        }
        let Some(file) = &mut self.file else { return self.lose(lines) };
        if self.torn && file.write_all(b"\n").is_ok() {
            self.torn = false;
        }
        let (written, result) = write_most(file, lines);
        self.torn |= written > 0 && lines.get(written - 1) != Some(&b'\n');
        match result {
            Ok(()) => {
                if let Some(lost) = self.failing.take() {
                    log::warn!("access log {}: written again, {lost} lines were lost", self.path.display());
                }
                0
            }
            Err(error) => {
                self.fails("written", &error);
                self.lose(&lines[written..])
            }
        }
    }

    /// Opens the path anew if it no longer leads to the open file.
    fn look(&mut self, now: Instant) {
        self.look_at = Some(now + ACCESS_LOG_LOOK);
        let identity = |meta: fs::Metadata| (meta.dev(), meta.ino());
        let held = self.file.as_ref().and_then(|file| file.metadata().ok()).map(identity);
        let there = fs::metadata(&self.path).ok().map(identity);
        if held.is_none() || held != there {
            self.reopen(now);
        }
    }

    fn lose(&mut self, lines: &[u8]) -> u64 {
        let lost = lines.iter().filter(|b| **b == b'\n').count() as u64;
        *self.failing.get_or_insert(0) += lost;
        lost
    }

    /// Says a failure once, until it is over.
    fn fails(&mut self, what: &str, error: &io::Error) {
        if self.failing.is_none() {
            log::error!(
                "access log {}: it can't be {what}: {error}; lines are lost until it can",
                self.path.display()
            );
            self.failing = Some(0);
        }
    }
}

/// Writes as much as can be, and says how much that was.
fn write_most(to: &mut impl Write, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < bytes.len() {
        match to.write(&bytes[written..]) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(n) => written += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}
