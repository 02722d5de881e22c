//! A file that is appended to and rotated, and may go away, fill up, and come back.

use super::health::{Health, Stage};
use super::rotation::{Current, Retention, Rotation, ending};
use super::sweep::{Sweeper, beside, count_lines};
use crate::limits::{ACCESS_LOG_LOOK, ACCESS_LOG_ROTATE_AGAIN};
use crate::util::wall_clock::WallTime;
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A moment by both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub at: Instant,
    pub wall: WallTime,
}

impl Moment {
    /// Milliseconds since the epoch.
    fn wall_ms(self) -> u64 {
        self.wall.seconds * 1000 + u64::from(self.wall.millis)
    }
}

/// The access log's file.
pub(super) struct FileSink {
    path: PathBuf,
    file: Option<File>,
    /// When to look next whether the file is still the one at its path, or to try again to open it.
    look_at: Option<Instant>,
    /// The last write ended within a line.
    torn: bool,
    health: Health,
    turns: Option<Turns>,
}

/// Its rotation, unless nothing is rotated.
struct Turns {
    rotation: Rotation,
    sweeper: Option<Sweeper>,
    /// Why the path is not rotated, and whether that was said.
    unfit: Option<&'static str>,
    /// Lines of the current file, where they count.
    lines: u64,
    /// The interval of the last rotation.
    rotated: Option<u64>,
    /// A rotation failed: the next try is not before.
    not_before: Option<Instant>,
    /// The interval of the last look at the archives.
    swept: u64,
}

impl FileSink {
    /// Opens `path`, or says why not.
    pub fn open(path: PathBuf, rotation: Rotation, now: Moment) -> FileSink {
        let turns = (!rotation.is_off()).then(|| Turns::new(&path, rotation));
        let health = Health::new(path.display());
        let mut sink = FileSink { path, file: None, look_at: None, torn: false, health, turns };
        sink.reopen(now);
        if let Some(turns) = &mut sink.turns {
            turns.sweep(now);
        }
        sink
    }

    /// Opens the path anew.
    pub fn reopen(&mut self, now: Moment) {
        self.look_at = Some(now.at + ACCESS_LOG_LOOK);
        if let Some(turns) = &mut self.turns {
            turns.look_at_path(&self.path);
        }
        // Queries hold secrets: not for everybody to read.
        match OpenOptions::new().append(true).create(true).mode(0o640).open(&self.path) {
            Ok(file) => {
                self.file = Some(file);
                self.torn = false;
                self.health.succeeds(Stage::Open, now.at);
                if let Some(turns) = &mut self.turns {
                    turns.count(&self.path);
                }
            }
            Err(error) => {
                self.file = None;
                self.health.fails(Stage::Open, &error);
            }
        }
    }

    /// It is nobody's to rotate any more: another writer has taken its path over.
    pub fn leave_as_it_is(&mut self) {
        self.turns = None;
    }

    /// Appends `lines`; returns how many of them are lost.
    pub fn write(&mut self, lines: &[u8], now: Moment) -> u64 {
        self.look_if_due(now);
        let (mut rest, mut lost) = (lines, 0);
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(self.room(rest, now));
            lost += self.append(piece, now);
            rest = after;
        }
        lost
    }

    /// What is to be done without a line: a look whether a failure is over, or a rotation.
    pub fn tick(&mut self, now: Moment) {
        if self.health.is_failing() {
            self.look_if_due(now);
        }
        self.health.look(now.at);
        let is_due = |(turns, current): (&Turns, Current)| {
            turns.may_rotate(now) && turns.rotation.is_due(current, now.wall_ms())
        };
        if self.current().is_some_and(is_due) {
            self.rotate(now);
        }
        if let Some(turns) = &mut self.turns {
            turns.sweep_if_due(now);
        }
    }

    /// When [`FileSink::tick`] is due.
    pub fn until_tick(&self, now: Moment) -> Option<Duration> {
        if self.health.is_failing() {
            return Some(ACCESS_LOG_LOOK);
        }
        let turns = self.turns.as_ref()?;
        let next = turns.rotation.until_next(now.wall_ms())?;
        // What has failed is not tried at every interval.
        let again = turns.not_before.map(|at| at.saturating_duration_since(now.at));
        Some(again.unwrap_or(next).max(next))
    }

    /// How many bytes of `lines` go into the file as it is; rotates it first if it must be.
    fn room(&mut self, lines: &[u8], now: Moment) -> usize {
        for _ in 0..2 {
            let Some((turns, current)) = self.current() else { return lines.len() };
            match turns.rotation.room(current, lines, now.wall_ms()) {
                0 => {}
                bytes => return bytes,
            }
            if !turns.may_rotate(now) || !self.rotate(now) {
                return lines.len();
            }
        }
        lines.len()
    }

    /// The file's state, if it is open and to be rotated.
    fn current(&self) -> Option<(&Turns, Current)> {
        let turns = self.turns.as_ref().filter(|turns| turns.unfit.is_none())?;
        let meta = self.file.as_ref()?.metadata().ok()?;
        let changed = u64::try_from(meta.mtime()).unwrap_or(0) * 1000 + meta.mtime_nsec() as u64 / 1_000_000;
        Some((turns, Current { bytes: meta.len(), lines: turns.lines, changed }))
    }

    fn append(&mut self, lines: &[u8], now: Moment) -> u64 {
        let Some(file) = &mut self.file else { return self.lose(lines) };
        if self.torn && file.write_all(b"\n").is_ok() {
            self.torn = false;
        }
        let (written, result) = write_most(file, lines);
        self.torn |= written > 0 && lines.get(written - 1) != Some(&b'\n');
        if let Some(turns) = self.turns.as_mut().filter(|turns| turns.rotation.counts_lines()) {
            turns.lines += count(&lines[..written]);
        }
        match result {
            Ok(()) => {
                self.health.succeeds(Stage::Write, now.at);
                0
            }
            Err(error) => {
                self.health.fails(Stage::Write, &error);
                self.lose(&lines[written..])
            }
        }
    }

    /// Opens the path anew if it no longer leads to the open file: at once if that was deleted, else when it is
    /// time to look.
    fn look_if_due(&mut self, now: Moment) {
        let held = self.file.as_ref().and_then(|file| file.metadata().ok());
        let deleted = held.as_ref().is_some_and(|meta| meta.is_file() && meta.nlink() == 0);
        if !deleted && self.look_at.is_some_and(|at| now.at < at) {
            return;
        }
        self.look_at = Some(now.at + ACCESS_LOG_LOOK);
        if held.as_ref().map(identity).is_none_or(|held| Some(held) != at_path(&self.path)) {
            self.reopen(now);
        }
    }

    fn lose(&mut self, lines: &[u8]) -> u64 {
        let lost = count(lines);
        self.health.loses(lost);
        lost
    }

    /// Renames the file and opens a new one in its place; false if that can't be done, and the file goes on.
    fn rotate(&mut self, now: Moment) -> bool {
        let Some(held) = self.file.as_ref().and_then(|file| file.metadata().ok()) else { return false };
        if Some(identity(&held)) != at_path(&self.path) {
            // Somebody else was faster.
            self.reopen(now);
            return true;
        }
        let result = turn(&self.path, &held, now);
        let Some(turns) = &mut self.turns else { return false };
        match result {
            Ok(file) => {
                self.file = Some(file);
                self.torn = false;
                turns.lines = 0;
                turns.rotated = Some(turns.rotation.slot(now.wall_ms()));
                turns.succeeded(&self.path);
                turns.sweep(now);
                true
            }
            Err(error) => {
                turns.failed(&self.path, &error, now);
                false
            }
        }
    }
}

impl Turns {
    fn new(path: &Path, rotation: Rotation) -> Turns {
        let started = Sweeper::start(path.to_owned(), rotation);
        if let Err(error) = &started {
            log::error!("access log {}: old archives won't be deleted: {error}", path.display());
        }
        Turns {
            rotation,
            sweeper: started.ok(),
            unfit: None,
            lines: 0,
            rotated: None,
            not_before: None,
            swept: 0,
        }
    }

    /// Only a file that is there under its own name is rotated.
    fn look_at_path(&mut self, path: &Path) {
        let kind = fs::symlink_metadata(path).ok().map(|meta| meta.file_type());
        let unfit = match kind {
            Some(kind) if kind.is_symlink() => Some("a symbolic link"),
            Some(kind) if kind.is_fifo() => Some("a FIFO"),
            Some(kind) if !kind.is_file() => Some("no regular file"),
            _ => None,
        };
        if let Some(unfit) = unfit.filter(|_| self.unfit != unfit) {
            log::info!("access log {}: it is {unfit}, so it isn't rotated", path.display());
        }
        self.unfit = unfit;
    }

    /// Counts the lines that are there already, as far as they matter.
    fn count(&mut self, path: &Path) {
        self.lines = 0;
        if self.rotation.counts_lines() && self.unfit.is_none() {
            // Can't be read: it is counted from here on.
            self.lines = count_lines(path, self.rotation.part_of_lines()).unwrap_or(0);
        }
    }

    /// By age once an interval, though the file's clock may be behind ours.
    fn may_rotate(&self, now: Moment) -> bool {
        let by_age = matches!(self.rotation.retention, Retention::Days(_));
        !(by_age && self.rotated == Some(self.rotation.slot(now.wall_ms())))
            && self.not_before.is_none_or(|at| now.at >= at)
    }

    fn sweep_if_due(&mut self, now: Moment) {
        if self.swept != self.rotation.slot(now.wall_ms()) {
            self.sweep(now);
        }
    }

    fn sweep(&mut self, now: Moment) {
        self.swept = self.rotation.slot(now.wall_ms());
        if let Some(sweeper) = self.sweeper.as_ref().filter(|_| self.unfit.is_none()) {
            sweeper.ask();
        }
    }

    fn failed(&mut self, path: &Path, error: &io::Error, now: Moment) {
        if self.not_before.is_none() {
            log::warn!("access log {}: it can't be rotated, and grows until it can: {error}", path.display());
        }
        self.not_before = Some(now.at + ACCESS_LOG_ROTATE_AGAIN);
    }

    fn succeeded(&mut self, path: &Path) {
        if self.not_before.take().is_some() {
            log::info!("access log {}: it is rotated again", path.display());
        }
    }
}

/// Renames the file at `path` and makes a new one like it.
fn turn(path: &Path, like: &Metadata, now: Moment) -> io::Result<File> {
    let is_free = |archive: &PathBuf| fs::symlink_metadata(archive).is_err();
    let archive = (0..1000).map(|number| beside(path, &ending(now.wall, number))).find(is_free);
    let archive = archive.ok_or(io::ErrorKind::AlreadyExists)?;
    fs::rename(path, &archive)?;
    match OpenOptions::new().append(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => {
            adopt(&file, like);
            Ok(file)
        }
        // Somebody has made one meanwhile.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            OpenOptions::new().append(true).open(path)
        }
        Err(error) => {
            // Nothing was written since.
            fs::rename(&archive, path)?;
            Err(error)
        }
    }
}

/// Gives `file` the owner and mode of another, as far as the process may.
pub(super) fn adopt(file: &File, like: &Metadata) {
    let own = file.metadata().map(|meta| (meta.uid(), meta.gid())).ok();
    if own != Some((like.uid(), like.gid()))
        && let Err(error) = fchown(file, Some(like.uid()), Some(like.gid()))
    {
        log::debug!("access log: the new file's owner is not the old one's: {error}");
    }
    if let Err(error) = file.set_permissions(Permissions::from_mode(like.mode() & 0o7777)) {
        log::debug!("access log: the new file's mode is not the old one's: {error}");
    }
}

fn identity(meta: &Metadata) -> (u64, u64) {
    (meta.dev(), meta.ino())
}

fn at_path(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().as_ref().map(identity)
}

fn count(lines: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', lines).count() as u64
}

/// Writes as much as can be, and says how much that was.
pub(super) fn write_most(to: &mut impl Write, bytes: &[u8]) -> (usize, io::Result<()>) {
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
