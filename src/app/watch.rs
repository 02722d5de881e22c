//! Waiting until one of some files may have changed (inotify(7)), or somebody rings.
//!
//! A file is watched by its inode (a bind-mounted file that is written in place), by its directory (an editor
//! puts a new file in its place), and by the directory of each symbolic link on the way to it (`..data` of
//! Kubernetes' volumes is swapped).

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Symbolic links on the way to one file that are followed (path_resolution(7) follows 40).
const LINKS: usize = 40;

/// Wakes the one who waits.
#[derive(Clone, Debug)]
pub(super) struct Bell(Arc<OwnedFd>);

impl Bell {
    /// Ends the wait under way, or the next one.
    pub fn ring(&self) {
        // Full: it rings already.
        let _ = rustix::io::write(&*self.0, &1_u64.to_ne_bytes());
    }
}

/// What is watched.
pub(super) struct Watch {
    bell: Bell,
    /// None if inotify has no instance left: then only who rings is heard.
    inotify: Option<OwnedFd>,
    interests: BTreeMap<i32, Interest>,
}

/// Names in a directory that matter.
#[derive(Default)]
struct Interest {
    names: BTreeSet<OsString>,
    /// Any name that appears or goes matters.
    any: bool,
}

impl Watch {
    /// Watches nothing yet.
    pub fn new() -> io::Result<Watch> {
        let bell = Bell(Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?));
        Ok(Watch { bell, inotify: None, interests: BTreeMap::new() })
    }

    /// What ends a wait.
    pub fn bell(&self) -> Bell {
        self.bell.clone()
    }

    /// Watches `files`, and new files in `directories`, in place of what was watched before.
    ///
    /// # Errors
    /// No inotify instance is left.
    pub fn arm(&mut self, files: &[PathBuf], directories: &[PathBuf]) -> io::Result<()> {
        self.interests.clear();
        self.inotify = None;
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        for file in files {
            for (directory, name) in way(file) {
                self.watch_directory(&fd, &directory, Some(name));
            }
            let flags = WatchFlags::MODIFY | WatchFlags::CLOSE_WRITE | WatchFlags::ATTRIB;
            if let Ok(watch) = inotify::add_watch(&fd, file, flags) {
                self.interests.entry(watch).or_default();
            }
        }
        for directory in directories {
            self.watch_directory(&fd, directory, None);
            for (directory, name) in way(directory) {
                self.watch_directory(&fd, &directory, Some(name));
            }
        }
        self.inotify = Some(fd);
        Ok(())
    }

    /// Watches `directory` (not each write to its files: one may be a log), or while it isn't there the nearest one above it.
    fn watch_directory(&mut self, fd: &OwnedFd, directory: &Path, name: Option<OsString>) {
        let flags = WatchFlags::CREATE
            | WatchFlags::MOVE
            | WatchFlags::DELETE
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::ATTRIB
            | WatchFlags::ONLYDIR;
        for (level, directory) in directory.ancestors().enumerate() {
            let here = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
            if let Ok(watch) = inotify::add_watch(fd, here, flags) {
                let interest = self.interests.entry(watch).or_default();
                match name {
                    Some(name) if level == 0 => drop(interest.names.insert(name)),
                    _ => interest.any = true,
                }
                return;
            }
        }
    }

    /// Waits for a change or the bell, `timeout` at most; true if something may have changed.
    pub fn wait(&mut self, timeout: Option<Duration>) -> bool {
        let timeout = timeout.map(|time| Timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(time.subsec_nanos()),
        });
        let mut fds = vec![PollFd::new(&*self.bell.0, PollFlags::IN)];
        fds.extend(self.inotify.as_ref().map(|fd| PollFd::new(fd, PollFlags::IN)));
        if poll(&mut fds, timeout.as_ref()).is_err() {
            // A signal, or no memory: the caller looks at its commands and comes again.
            return false;
        }
        let _ = rustix::io::read(&*self.bell.0, &mut [0; 8]);
        self.drain()
    }

    /// Reads what is queued; true if some of it matters.
    fn drain(&self) -> bool {
        let Some(fd) = &self.inotify else { return false };
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(fd, &mut buffer);
        let mut matters = false;
        loop {
            match reader.next() {
                Ok(event) => {
                    let kept = ReadFlags::MODIFY | ReadFlags::CLOSE_WRITE | ReadFlags::ATTRIB;
                    let appears = !event.events().intersects(kept);
                    matters |= match (event.file_name(), self.interests.get(&event.wd())) {
                        (Some(name), Some(interest)) => {
                            let name = OsString::from(std::ffi::OsStr::from_bytes(name.to_bytes()));
                            (interest.any && appears) || interest.names.contains(&name)
                        }
                        // A file's own, a directory's own, or the queue has overflowed.
                        _ => true,
                    };
                }
                Err(Errno::AGAIN) => return matters,
                Err(_) => return true,
            }
        }
    }
}

/// Each directory and name that decides what `path` is: its own and those of the links on its way.
fn way(path: &Path) -> Vec<(PathBuf, OsString)> {
    let mut way = Vec::new();
    let mut left = vec![path.to_path_buf()];
    let mut links = 0;
    while let Some(path) = left.pop() {
        if let (Some(parent), Some(name)) = (path.parent(), path.file_name()) {
            way.push((parent.to_path_buf(), name.to_os_string()));
        }
        for part in path.ancestors() {
            let (Some(parent), Some(name), Ok(to)) = (part.parent(), part.file_name(), part.read_link())
            else {
                continue;
            };
            links += 1;
            if links > LINKS {
                return way;
            }
            way.push((parent.to_path_buf(), name.to_os_string()));
            let rest = path.strip_prefix(part).unwrap_or(Path::new(""));
            left.push(if rest.as_os_str().is_empty() { parent.join(to) } else { parent.join(to).join(rest) });
            break;
        }
    }
    way
}
