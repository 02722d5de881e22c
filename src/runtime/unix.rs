//! Unix stream sockets in blocking style.

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Instant;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::abort::Abort;
use super::source::{Io, Until};
use super::stream;

/// A Unix stream socket; as [`TcpStream`](super::TcpStream) in all else.
pub struct UnixStream {
    io: Io,
}

impl UnixStream {
    /// Connects to a path. A full backlog is an error (`WouldBlock`): Unix sockets don't say when it has
    /// room.
    pub fn connect(path: &Path, deadline: Option<Instant>, abort: Option<&Abort>) -> io::Result<UnixStream> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let fd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        let addr = SocketAddrUnix::new(path)?;
        Ok(UnixStream { io: stream::connect(fd, &addr, Until { deadline, abort })? })
    }

    /// Takes over a connected socket.
    pub fn from_std(socket: std::os::unix::net::UnixStream) -> io::Result<UnixStream> {
        socket.set_nonblocking(true)?;
        Ok(UnixStream { io: Io::attach(socket.into(), true)? })
    }

    /// Reads what is there, at least one byte; 0 is the end (or an empty `buf`).
    pub fn read(&self, buf: &mut [u8], deadline: Option<Instant>) -> io::Result<usize> {
        stream::read(&self.io, buf, deadline)
    }

    /// Reads what is there, without waiting; `None` would wait.
    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<Option<usize>> {
        stream::try_read(&self.io, buf)
    }

    /// Writes some of `buf`.
    pub fn write(&self, buf: &[u8], deadline: Option<Instant>) -> io::Result<usize> {
        stream::write(&self.io, buf, deadline)
    }

    /// Writes all of `buf`; the deadline is for the whole.
    pub fn write_all(&self, buf: &[u8], deadline: Option<Instant>) -> io::Result<()> {
        stream::write_all(&self.io, buf, deadline)
    }

    /// Writes all of `bufs`; the deadline is for the whole.
    pub fn write_all_vectored(&self, bufs: &[&[u8]], deadline: Option<Instant>) -> io::Result<()> {
        stream::write_all_vectored(&self.io, bufs, deadline)
    }

    /// Waits until a read would not wait: bytes, the end or an error.
    pub fn wait_readable(&self, deadline: Option<Instant>) -> io::Result<()> {
        stream::wait_readable(&self.io, deadline)
    }

    /// Ends one direction or both.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        stream::shutdown(&self.io, how)
    }
}

impl AsFd for UnixStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.io.as_fd()
    }
}
