//! What tells a core that a socket can go on. One small trait; epoll stands behind it.
//!
//! # How completions (io_uring) could stand behind it
//!
//! Sockets never speak to the poller: they call `Core::perform` with one attempt at a system call, and only
//! `perform` parks. With readiness the attempt is made when the flag of its direction is set, and again after
//! the event. A completion poller changes `perform` and this trait in three points and no caller:
//!
//! - `perform` submits the operation instead of attempting it, with the waiter's key as user data, and
//!   parks at most once: the event that wakes it carries the result (a further field of [`Event`]), and
//!   nothing is tried again.
//! - The buffer is pinned by the parked stack: `perform` borrows it and does not return, nor is the coroutine
//!   dropped, before the kernel has let go of it. That is why a waiting coroutine is woken and never dropped.
//! - A deadline, an abort or the shutdown must not resume the stack while the kernel may still write into the
//!   buffer: they submit a cancel, and the stack resumes at the operation's own end (its result, or
//!   ECANCELED). A completed read that lost against its deadline is a success: the bytes are there.
//!
//! `attach` then registers the descriptor in the ring's file table; `wait` submits and collects in one call.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{Timespec, epoll};

/// Waits for sockets. Edge-triggered: an event is told once, when something new happens.
pub(crate) trait Poller {
    /// Tells events of `fd` under `key` from now on, both directions with one registration. What is already
    /// true is told first. Closing the descriptor detaches it.
    fn attach(&self, fd: BorrowedFd<'_>, key: u64) -> io::Result<()>;

    /// As `attach`, for a listener that other pollers have a duplicate of: a connection wakes one of those that
    /// wait, not all. It must be detached before it is closed: its duplicates keep it attached.
    fn attach_shared(&self, fd: BorrowedFd<'_>, key: u64) -> io::Result<()>;

    /// Tells no more events of `fd`.
    fn detach(&self, fd: BorrowedFd<'_>) -> io::Result<()>;

    /// Fills `events`, waiting at most `timeout` (`None`: without end). An interruption fills nothing.
    fn wait(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()>;
}

/// What has become true of a descriptor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    pub(crate) key: u64,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// The other side has sent its last byte, or the connection has failed: reads never block again.
    pub(crate) ended: bool,
    /// The connection has failed, or both its directions have ended.
    pub(crate) failed: bool,
}

/// epoll, edge-triggered.
pub(crate) struct Epoll {
    fd: OwnedFd,
    buffer: Vec<epoll::Event>,
}

/// Events taken in one call: a turn of the loop stays short.
const EVENTS: usize = 256;

impl Epoll {
    pub(crate) fn new() -> io::Result<Self> {
        let fd = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Epoll { fd, buffer: Vec::with_capacity(EVENTS) })
    }
}

impl Poller for Epoll {
    fn attach(&self, fd: BorrowedFd<'_>, key: u64) -> io::Result<()> {
        let flags =
            epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        Ok(epoll::add(&self.fd, fd, epoll::EventData::new_u64(key), flags)?)
    }

    fn attach_shared(&self, fd: BorrowedFd<'_>, key: u64) -> io::Result<()> {
        // Exclusive takes no more flags than these (epoll_ctl(2)); errors are told in any case.
        let flags = epoll::EventFlags::IN | epoll::EventFlags::EXCLUSIVE | epoll::EventFlags::ET;
        Ok(epoll::add(&self.fd, fd, epoll::EventData::new_u64(key), flags)?)
    }

    fn detach(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        Ok(epoll::delete(&self.fd, fd)?)
    }

    fn wait(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
        // epoll counts in milliseconds; rustix rounds up, so that no timer is waited for in a busy loop.
        let timeout = timeout.map(|t| Timespec {
            tv_sec: t.as_secs().min(LONGEST_WAIT) as i64,
            tv_nsec: t.subsec_nanos().into(),
        });
        self.buffer.clear();
        let spare = rustix::buffer::spare_capacity(&mut self.buffer);
        match epoll::wait(self.fd.as_fd(), spare, timeout.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(e) => return Err(e.into()),
        }
        events.extend(self.buffer.iter().map(|e| {
            let flags = e.flags;
            let failed = flags.intersects(epoll::EventFlags::ERR | epoll::EventFlags::HUP);
            Event {
                key: e.data.u64(),
                readable: failed || flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::RDHUP),
                writable: failed || flags.contains(epoll::EventFlags::OUT),
                ended: failed || flags.contains(epoll::EventFlags::RDHUP),
                failed,
            }
        }));
        Ok(())
    }
}

/// Seconds of the longest single wait: fits into epoll's milliseconds.
const LONGEST_WAIT: u64 = 1_000_000;
