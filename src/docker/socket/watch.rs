//! Waiting for a socket to appear: a pause that ends early when its directory changes (inotify(7)) or when
//! it is told to stop.

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Ends a pause from another thread, for good.
#[derive(Clone, Debug)]
pub struct Stopper {
    fd: Arc<OwnedFd>,
}

impl Stopper {
    /// A stopper that has not been pulled.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new() -> io::Result<Self> {
        Ok(Stopper { fd: Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?) })
    }

    /// Ends the pause under way and all later ones.
    pub fn stop(&self) {
        // Never read again, so it stays readable; the counter cannot be full after one write.
        let _ = rustix::io::write(&*self.fd, &1_u64.to_ne_bytes());
    }
}

/// How a pause ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// The time is over.
    Elapsed,
    /// Something changed in the socket's directory.
    Changed,
    /// Told to stop.
    Stopped,
}

/// Watches the directory of a socket.
pub struct Watch {
    directory: PathBuf,
    file: OsString,
    stopper: Stopper,
    /// None while the directory does not exist, or inotify has no watches left: then only time helps.
    inotify: Option<OwnedFd>,
}

impl Watch {
    /// A watch on the directory of `socket`.
    pub fn new(socket: &Path, stopper: Stopper) -> Self {
        let directory = socket.parent().unwrap_or(Path::new("/")).to_path_buf();
        let file = socket.file_name().unwrap_or_default().to_os_string();
        Watch { directory, file, stopper, inotify: None }
    }

    /// Begins to watch before the socket is tried, so that no change between try and pause is missed.
    pub fn arm(&mut self) {
        if self.inotify.is_none() {
            self.inotify = open(&self.directory).ok();
        }
    }

    /// Stops watching: a connected engine needs no watch, and its directory may be busy (`/run`).
    pub fn disarm(&mut self) {
        self.inotify = None;
    }

    /// Waits `time`, or less if the socket's file appeared or changed since the last pause.
    #[allow(clippy::disallowed_methods)] // a thread of its own that waits: it reads the clock
    pub fn pause(&mut self, time: Duration) -> Waited {
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.pause_once(left) {
                Some(waited) => return waited,
                None if left.is_zero() => return Waited::Elapsed,
                None => {}
            }
        }
    }

    /// One poll(2); none for a change that concerns another file, or a signal.
    fn pause_once(&mut self, time: Duration) -> Option<Waited> {
        let mut fds = vec![PollFd::new(&*self.stopper.fd, PollFlags::IN)];
        fds.extend(self.inotify.as_ref().map(|fd| PollFd::new(fd, PollFlags::IN)));
        let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        let timeout = Timespec { tv_sec: seconds, tv_nsec: i64::from(time.subsec_nanos()) };
        match poll(&mut fds, Some(&timeout)) {
            Ok(0) => return Some(Waited::Elapsed),
            Ok(_) if !fds[0].revents().is_empty() => return Some(Waited::Stopped),
            Ok(_) => {}
            Err(Errno::INTR) => return None,
            // Without memory or descriptors for poll(2): do not spin, the caller's next try comes at once.
            Err(_) => return Some(Waited::Elapsed),
        }
        self.drain().then_some(Waited::Changed)
    }

    /// Reads what is queued; true if the socket's file is among it. A watch whose directory is gone is
    /// dropped: `arm` makes a new one.
    fn drain(&mut self) -> bool {
        let Some(fd) = &self.inotify else { return false };
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(fd, &mut buffer);
        let (mut gone, mut ours) = (false, false);
        loop {
            match reader.next() {
                Ok(event) => {
                    gone |= event.events().contains(inotify::ReadFlags::IGNORED);
                    // An overflowed queue has no name: take it for ours.
                    ours |= event.file_name().is_none_or(|name| name.to_bytes() == self.file.as_bytes());
                }
                Err(Errno::AGAIN) => break,
                Err(_) => {
                    gone = true;
                    break;
                }
            }
        }
        if gone {
            self.inotify = None;
        }
        ours
    }
}

fn open(directory: &Path) -> io::Result<OwnedFd> {
    let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    let flags = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ATTRIB | WatchFlags::ONLYDIR;
    inotify::add_watch(&fd, directory, flags)?;
    Ok(fd)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // tests measure deadlines
mod tests {
    use super::*;

    #[test]
    fn a_pause_ends_by_time_by_a_change_and_by_stop() {
        let dir = std::env::temp_dir().join(format!("tidegate-watch-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let stopper = Stopper::new().unwrap();
        let mut watch = Watch::new(&dir.join("s.sock"), stopper.clone());
        watch.arm();
        std::fs::write(dir.join("another"), "").unwrap();
        assert_eq!(watch.pause(Duration::from_millis(10)), Waited::Elapsed);
        std::fs::write(dir.join("s.sock"), "").unwrap();
        let started = Instant::now();
        assert_eq!(watch.pause(Duration::from_secs(30)), Waited::Changed);
        std::fs::remove_dir_all(&dir).unwrap();
        stopper.stop();
        assert_eq!(watch.pause(Duration::from_secs(30)), Waited::Stopped);
        assert_eq!(watch.pause(Duration::from_secs(30)), Waited::Stopped);
        assert!(started.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_directory_that_is_missing_costs_only_time() {
        let mut watch = Watch::new(Path::new("/nonexistent/tidegate/s.sock"), Stopper::new().unwrap());
        watch.arm();
        assert_eq!(watch.pause(Duration::from_millis(5)), Waited::Elapsed);
    }
}
