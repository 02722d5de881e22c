//! Listeners that a supervisor opened and handed down (sd_listen_fds(3)).

use std::net::TcpListener;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::net::{AddressFamily, SocketType, sockopt};

/// The first descriptor that is handed down (SD_LISTEN_FDS_START).
const FIRST: RawFd = 3;
/// More than anybody hands down: a listener each.
const MOST: RawFd = crate::limits::LISTENERS as RawFd;

/// Takes over the descriptors from 3 on, as many as `count` says: the listening TCP sockets among them, and how
/// many others there were (these are closed). Only the first call gets any.
pub fn take_inherited(count: usize) -> (Vec<TcpListener>, usize) {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return (Vec::new(), 0);
    }
    let count = RawFd::try_from(count).unwrap_or(MOST).min(MOST);
    let (mut listeners, mut others) = (Vec::new(), 0);
    for raw in FIRST..FIRST + count {
        // SAFETY: the borrow ends with this statement, and F_GETFD of any number is harmless: EBADF if nothing is
        // open there.
        if rustix::io::fcntl_getfd(unsafe { BorrowedFd::borrow_raw(raw) }).is_err() {
            others += 1;
            continue;
        }
        // SAFETY: it is open, and by the protocol (LISTEN_PID is ours, checked by the caller) it belongs to this
        // process and to nothing in it; TAKEN sees to it that it is taken once.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        // Not for children.
        let _ = rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC);
        match is_tcp_listener(&fd) {
            true => listeners.push(TcpListener::from(fd)),
            false => others += 1,
        }
    }
    (listeners, others)
}

fn is_tcp_listener(fd: &OwnedFd) -> bool {
    let internet = |family| family == AddressFamily::INET || family == AddressFamily::INET6;
    sockopt::socket_acceptconn(fd).unwrap_or(false)
        && sockopt::socket_type(fd).is_ok_and(|kind| kind == SocketType::STREAM)
        && sockopt::socket_domain(fd).is_ok_and(internet)
}
