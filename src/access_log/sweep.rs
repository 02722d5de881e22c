//! The thread that deletes archives: on a slow disk that takes longer than the writer may be deaf.

use super::rotation::{Archive, Plan, Rotation, parse_ending};
use crate::limits::{ACCESS_LOG_ARCHIVES, ACCESS_LOG_BATCH_BYTES};
use crate::util::wall_clock;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// What an archive's name ends with while it is being cut: a crash may leave it behind.
const PART: &str = ".part";

/// A way to the thread; it ends when this is dropped.
pub(super) struct Sweeper {
    ask: Sender<()>,
}

impl Sweeper {
    /// Starts it for the archives of `path`.
    pub fn start(path: PathBuf, rotation: Rotation) -> io::Result<Sweeper> {
        // One that waits is enough: it will see what is there then.
        let (ask, asked) = bounded(1);
        let thread = std::thread::Builder::new().name("access-log-sweep".into());
        thread.spawn(move || run(&path, rotation, &asked))?;
        Ok(Sweeper { ask })
    }

    /// Has it look at the archives soon.
    pub fn ask(&self) {
        // Full: it is about to look.
        let _ = self.ask.try_send(());
    }
}

fn run(path: &Path, rotation: Rotation, asked: &Receiver<()>) {
    let mut known = HashMap::new();
    let mut failing = false;
    for () in asked {
        match sweep(path, rotation, &mut known) {
            Ok(()) => failing = false,
            // Without its directory the file is gone too, which is said.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if !failing => {
                log::warn!("access log {}: old archives can't be deleted: {error}", path.display());
                failing = true;
            }
            Err(_) => {}
        }
    }
}

/// Deletes what is no longer kept.
fn sweep(path: &Path, rotation: Rotation, known: &mut HashMap<String, u64>) -> io::Result<()> {
    let archives = archives(path, rotation, known)?;
    let now = wall_clock::now();
    let Plan { delete, cut } = rotation.plan(archives, now.seconds * 1000 + u64::from(now.millis));
    let mut result = Ok(());
    for ending in delete {
        known.remove(&ending);
        let archive = beside(path, &ending);
        log::debug!("access log: {} is deleted", archive.display());
        result = result.and(fs::remove_file(archive));
    }
    if let Some((ending, bytes)) = cut {
        result = result.and(keep_end(path, &ending, bytes));
    }
    result
}

/// The archives of `path`; beyond a bound the rest is seen when these are gone.
fn archives(path: &Path, rotation: Rotation, known: &mut HashMap<String, u64>) -> io::Result<Vec<Archive>> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let base = path.file_name().unwrap_or_default().as_bytes();
    let mut archives = Vec::new();
    for entry in fs::read_dir(directory.unwrap_or(Path::new(".")))? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(ending) = name.as_bytes().strip_prefix(base).and_then(|rest| std::str::from_utf8(rest).ok())
        else {
            continue;
        };
        if ending.strip_suffix(PART).is_some_and(|ending| parse_ending(ending).is_some()) {
            fs::remove_file(entry.path())?;
            continue;
        }
        let Some(stamp) = parse_ending(ending) else { continue };
        let Ok(meta) = entry.metadata() else { continue };
        if !meta.is_file() || archives.len() >= ACCESS_LOG_ARCHIVES {
            continue;
        }
        let lines = match (rotation.counts_lines(), known.get(ending)) {
            (false, _) => 0,
            (true, Some(lines)) => *lines,
            (true, None) => {
                let lines = count_lines(&entry.path(), u64::MAX)?;
                known.insert(ending.to_owned(), lines);
                lines
            }
        };
        archives.push(Archive { name: ending.to_owned(), stamp, bytes: meta.len(), lines });
    }
    Ok(archives)
}

/// `path` with `ending` behind its name.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().as_bytes().to_vec();
    name.extend_from_slice(ending.as_bytes());
    OsString::from_vec(name).into()
}

/// The lines of a file; from `most` on it is not read further.
pub(super) fn count_lines(path: &Path, most: u64) -> io::Result<u64> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; ACCESS_LOG_BATCH_BYTES];
    let mut lines = 0;
    while lines < most {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => lines += memchr::memchr_iter(b'\n', &buffer[..n]).count() as u64,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(lines)
}

/// Replaces an archive by its last whole lines of `bytes` bytes at most.
fn keep_end(path: &Path, ending: &str, bytes: u64) -> io::Result<()> {
    let archive = beside(path, ending);
    let mut from = File::open(&archive)?;
    let meta = from.metadata()?;
    from.seek(SeekFrom::Start(meta.len().saturating_sub(bytes)))?;
    skip_line(&mut from)?;
    let part = beside(path, &format!("{ending}{PART}"));
    let mut to = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
    let copied = io::copy(&mut from, &mut to).and_then(|_| {
        super::sink::adopt(&to, &meta);
        to.sync_all()?;
        fs::rename(&part, &archive)
    });
    if copied.is_err() {
        let _ = fs::remove_file(&part);
    }
    copied
}

/// Goes to the next line's begin.
fn skip_line(file: &mut File) -> io::Result<()> {
    let mut buffer = vec![0; ACCESS_LOG_BATCH_BYTES];
    loop {
        let n = match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if let Some(at) = memchr::memchr(b'\n', &buffer[..n]) {
            file.seek(SeekFrom::Current(at as i64 + 1 - n as i64))?;
            return Ok(());
        }
    }
}
