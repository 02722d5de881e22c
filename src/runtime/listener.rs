//! Listening TCP sockets in blocking style.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{SocketFlags, sockopt};

use super::abort::Abort;
use super::filter;
use super::source::{Direction, Done, Io, Until};
use super::tcp::TcpStream;
use super::{now, sleep_until};
use crate::limits;

/// A listening socket, on one core.
pub struct TcpListener {
    io: Io,
    /// The next pause when descriptors run out.
    pause: Cell<Duration>,
    complained: Cell<Option<Instant>>,
}

impl TcpListener {
    /// Takes over a socket that listens.
    ///
    /// # Errors
    /// The caller is on no core, or epoll has no room.
    pub fn from_std(listener: std::net::TcpListener) -> io::Result<TcpListener> {
        listener.set_nonblocking(true)?;
        Ok(TcpListener::over(Io::attach(listener.into(), false)?))
    }

    /// As [`TcpListener::from_std`], for a socket of which other cores have duplicates: each connection wakes one
    /// of the cores that have nothing to do.
    ///
    /// # Errors
    /// As [`TcpListener::from_std`].
    pub fn from_shared(listener: std::net::TcpListener) -> io::Result<TcpListener> {
        listener.set_nonblocking(true)?;
        Ok(TcpListener::over(Io::attach_shared(listener.into())?))
    }

    fn over(io: Io) -> TcpListener {
        TcpListener { io, pause: Cell::new(limits::ACCEPT_FIRST_PAUSE), complained: Cell::new(None) }
    }

    /// The next connection and where it comes from.
    ///
    /// When descriptors or memory run out it pauses, from 1 ms up to 1 s, and says so once a second: the
    /// connection stays in the backlog. Connections that are gone before they are accepted are skipped.
    ///
    /// # Errors
    /// `TimedOut`, `is_stopped`, or a listener that can't accept any more.
    pub fn accept(&self, deadline: Option<Instant>) -> io::Result<(TcpStream, SocketAddr)> {
        self.accept_until(deadline, None)
    }

    /// As [`TcpListener::accept`]; `abort` ends it.
    ///
    /// # Errors
    /// Also [`is_aborted`](super::is_aborted).
    pub fn accept_until(
        &self,
        deadline: Option<Instant>,
        abort: Option<&Abort>,
    ) -> io::Result<(TcpStream, SocketAddr)> {
        loop {
            let accepted = self.io.perform(Direction::Read, Until { deadline, abort }, accept_one);
            if let Some(connection) = self.judge(accepted)? {
                return Ok(connection);
            }
            let pause = self.pause.get();
            self.pause.set((pause * 2).min(limits::ACCEPT_LONGEST_PAUSE));
            let until = now() + pause;
            sleep_until(deadline.map_or(until, |d| d.min(until)))?;
            if deadline.is_some_and(|d| d <= now()) {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    }

    /// The next connection if one waits: to empty the backlog of a listener that is about to close.
    pub fn try_accept(&self) -> io::Result<Option<(TcpStream, SocketAddr)>> {
        match self.io.attempt(Direction::Read, &mut accept_one) {
            Ok(None) => Ok(None),
            Ok(Some(accepted)) => self.judge(Ok(accepted)),
            Err(e) => self.judge(Err(e)),
        }
    }

    /// From now on no handshake begins: SYNs are dropped before the kernel answers them. Handshakes under way
    /// end, so that after a while the backlog can be emptied for good. A client that knocks now tries again
    /// after a second, as TCP does, and finds the port closed or somebody else on it.
    ///
    /// # Errors
    /// The kernel has no socket filters.
    pub fn refuse_new(&self) -> io::Result<()> {
        filter::drop_syns(self.io.as_fd())
    }

    /// The address it listens on.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::try_from(rustix::net::getsockname(&self.io)?)?)
    }

    /// `None`: out of descriptors or memory, try again after a pause.
    fn judge(&self, accepted: io::Result<Accepted>) -> io::Result<Option<(TcpStream, SocketAddr)>> {
        let error = match accepted {
            Ok((fd, peer)) => match TcpStream::from_fd(fd) {
                Ok(stream) => {
                    self.pause.set(limits::ACCEPT_FIRST_PAUSE);
                    return Ok(Some((stream, peer)));
                }
                Err(e) => e,
            },
            Err(e) => e,
        };
        let scarce = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::NOSPC];
        if !scarce.iter().any(|e| error.raw_os_error() == Some(e.raw_os_error())) {
            return Err(error);
        }
        let now = now();
        if self.complained.get().is_none_or(|at| now >= at + limits::WARN_EVERY) {
            self.complained.set(Some(now));
            log::warn!("cannot accept connections for now: {error}");
        }
        Ok(None)
    }
}

type Accepted = (OwnedFd, SocketAddr);

fn accept_one(listener: BorrowedFd<'_>) -> rustix::io::Result<Done<Accepted>> {
    loop {
        match rustix::net::acceptfrom_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
            Ok((fd, peer)) => {
                let Some(peer) = peer.and_then(|p| SocketAddr::try_from(p).ok()) else { continue };
                // Answers leave at once; a failure only means that the connection is gone already.
                let _ = sockopt::set_tcp_nodelay(&fd, true);
                return Ok(Done { result: (fd, peer), used_up: false });
            }
            Err(e) if is_transient(e) => {}
            Err(e) => return Err(e),
        }
    }
}

/// Errors of the connection and not of the listener (accept(2): "Error handling").
fn is_transient(error: Errno) -> bool {
    matches!(
        error,
        Errno::CONNABORTED
            | Errno::PROTO
            | Errno::NETDOWN
            | Errno::NOPROTOOPT
            | Errno::HOSTDOWN
            | Errno::NONET
            | Errno::HOSTUNREACH
            | Errno::NETUNREACH
            | Errno::PERM
    )
}

impl AsFd for TcpListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.io.as_fd()
    }
}
