//! TCP connections in blocking style.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, sockopt};

use super::abort::Abort;
use super::source::{Direction, EndWatch, Io, Of, Until, Wake};
use super::stream;
use crate::limits;

/// A TCP connection. Two coroutines may wait on its two directions (share it as `Rc<TcpStream>`); it stays on
/// its core. Every deadline is a point in time, `None` for none; a passed deadline is `ErrorKind::TimedOut`,
/// the shutdown an error of [`is_stopped`](super::is_stopped).
pub struct TcpStream {
    io: Io,
}

impl TcpStream {
    /// Connects. `abort` may end it before its time.
    ///
    /// # Errors
    /// The kernel's (refused, unreachable, ...), `TimedOut`, or one of [`is_aborted`](super::is_aborted).
    pub fn connect(
        addr: SocketAddr,
        deadline: Option<Instant>,
        abort: Option<&Abort>,
    ) -> io::Result<TcpStream> {
        let family = if addr.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let fd = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        sockopt::set_tcp_nodelay(&fd, true)?;
        let io = stream::connect(fd, &addr, Until { deadline, abort })?;
        Ok(TcpStream { io })
    }

    /// Takes over a connected socket.
    ///
    /// # Errors
    /// The caller is on no core, or epoll has no room.
    pub fn from_std(socket: std::net::TcpStream) -> io::Result<TcpStream> {
        socket.set_nonblocking(true)?;
        TcpStream::from_fd(socket.into())
    }

    pub(super) fn from_fd(fd: OwnedFd) -> io::Result<TcpStream> {
        Ok(TcpStream { io: Io::attach(fd, true)? })
    }

    pub(super) fn io(&self) -> &Io {
        &self.io
    }

    /// Reads what is there, at least one byte; 0 is the end (or an empty `buf`).
    pub fn read(&self, buf: &mut [u8], deadline: Option<Instant>) -> io::Result<usize> {
        stream::read(&self.io, buf, deadline)
    }

    /// As [`TcpStream::read`]; `abort` ends it.
    ///
    /// # Errors
    /// Also [`is_aborted`](super::is_aborted).
    pub fn read_until(&self, buf: &mut [u8], deadline: Option<Instant>, abort: &Abort) -> io::Result<usize> {
        stream::read_until(&self.io, buf, Until { deadline, abort: Some(abort) })
    }

    /// Reads what is there, without waiting; `None` would wait. For the core's own stack.
    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<Option<usize>> {
        stream::try_read(&self.io, buf)
    }

    /// Reads at most `most` bytes behind what `buf` holds, at least one; 0 is the end.
    pub fn read_append(
        &self,
        buf: &mut Vec<u8>,
        most: usize,
        deadline: Option<Instant>,
    ) -> io::Result<usize> {
        stream::read_append(&self.io, buf, most, deadline)
    }

    /// The same without waiting; `None` would wait. For the core's own stack.
    pub fn try_read_append(&self, buf: &mut Vec<u8>, most: usize) -> io::Result<Option<usize>> {
        stream::try_read_append(&self.io, buf, most)
    }

    /// Writes some of `buf`.
    pub fn write(&self, buf: &[u8], deadline: Option<Instant>) -> io::Result<usize> {
        stream::write(&self.io, buf, deadline)
    }

    /// Writes without waiting; `None` would wait. For the core's own stack.
    pub fn try_write(&self, buf: &[u8]) -> io::Result<Option<usize>> {
        self.io.attempt(Direction::Write, &mut stream::send(buf))
    }

    /// Writes all of `buf`; the deadline is for the whole.
    pub fn write_all(&self, buf: &[u8], deadline: Option<Instant>) -> io::Result<()> {
        stream::write_all(&self.io, buf, deadline)
    }

    /// Writes all of `bufs`, in as few system calls as can be; the deadline is for the whole.
    pub fn write_all_vectored(&self, bufs: &[&[u8]], deadline: Option<Instant>) -> io::Result<()> {
        stream::write_all_vectored(&self.io, bufs, deadline)
    }

    /// Waits until a read would not wait: bytes, the end or an error.
    pub fn wait_readable(&self, deadline: Option<Instant>) -> io::Result<()> {
        stream::wait_readable(&self.io, deadline)
    }

    /// Ends one direction or both. The other direction of the other side learns of it.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        stream::shutdown(&self.io, how)
    }

    /// The other side's address.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        match rustix::net::getpeername(&self.io)? {
            Some(addr) => Ok(SocketAddr::try_from(addr)?),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// The own address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::try_from(rustix::net::getsockname(&self.io)?)?)
    }

    /// Switches Nagle's algorithm off (`true`) or on. Accepted and connected sockets have it off.
    pub fn set_nodelay(&self, on: bool) -> io::Result<()> {
        Ok(sockopt::set_tcp_nodelay(&self.io, on)?)
    }

    /// Has the kernel look after a silent connection: a peer that is gone without a word shows as an error
    /// of the next read after `idle` and some probes.
    pub fn set_keepalive(&self, idle: Duration) -> io::Result<()> {
        sockopt::set_socket_keepalive(&self.io, true)?;
        sockopt::set_tcp_keepidle(&self.io, idle)?;
        sockopt::set_tcp_keepintvl(&self.io, idle / 4)?;
        Ok(sockopt::set_tcp_keepcnt(&self.io, 4)?)
    }

    /// Whether the connection has failed (reset, unreachable), also after its end was read. Tells it once.
    pub fn has_failed(&self) -> bool {
        !matches!(sockopt::socket_error(&self.io), Ok(Ok(())))
    }

    /// Whether the other side has sent its last byte (even if it isn't read yet) or the connection has failed, as
    /// far as the core knows.
    pub fn has_ended(&self) -> bool {
        self.io.has_ended()
    }

    /// Runs `f` on the core's own stack once the other side has sent its last byte (even if it isn't read
    /// yet) or the connection has failed; at once if it has already. `f` must not wait. Nothing happens once
    /// the watch is dropped; a second watch takes the place of the first.
    pub fn when_ended(&self, f: impl FnOnce() + 'static) -> EndWatch {
        self.io.watch(Of::End, Box::new(f))
    }

    /// As [`TcpStream::when_ended`], but runs `f` when the connection has failed, or when both directions have
    /// ended: [`TcpStream::has_failed`] tells which.
    pub fn when_failed(&self, f: impl FnOnce() + 'static) -> EndWatch {
        self.io.watch(Of::Failure, Box::new(f))
    }

    /// Whether this idle connection can carry a request: nothing to read, not ended, no error. One system
    /// call.
    pub fn is_usable_idle(&self) -> bool {
        let mut byte = [0];
        let peeked = rustix::net::recv(&self.io, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT);
        matches!(peeked, Err(rustix::io::Errno::AGAIN))
    }

    /// Runs `f` on the core's own stack as soon as there is something to read, at the deadline, or at the
    /// shutdown. Until then the connection holds no stack. `f` must not wait: it may `try_read`, spawn a
    /// coroutine, or call this again.
    pub fn when_readable(self, deadline: Option<Instant>, f: impl FnOnce(TcpStream, Wake) + 'static) {
        stream::when_readable(self, |s| &s.io, deadline, f);
    }

    /// Closes with RST: the other side sees a cut connection, whatever it has read before.
    pub fn reset(self) {
        // A failure leaves an ordinary close, which is all that can be done.
        let _ = sockopt::set_socket_linger(&self.io, Some(Duration::ZERO));
    }

    /// As [`TcpStream::reset`] for one that others share: whoever reads from it sees an end, and the last to let
    /// go of it closes it with RST.
    pub fn cut(&self) {
        // Failures leave an ordinary close, and readers to their deadlines.
        let _ = sockopt::set_socket_linger(&self.io, Some(Duration::ZERO));
        let _ = self.shutdown(Shutdown::Read);
    }

    /// Closes so that the last bytes written reach the other side although it is still sending: ends the own
    /// direction, then reads and drops up to `LINGER_BYTES` for up to `LINGER_TIMEOUT`. A plain close with unread
    /// bytes would send RST, and RST makes the other side drop what it has not read (RFC 9112 §9.6).
    pub fn linger_close(self) {
        if self.shutdown(Shutdown::Write).is_ok() {
            let deadline = self.io.core().now() + limits::LINGER_TIMEOUT;
            linger(self, deadline, limits::LINGER_BYTES);
        }
    }
}

fn linger(stream: TcpStream, deadline: Instant, mut left: usize) {
    stream.when_readable(Some(deadline), move |stream, wake| {
        if matches!(wake, Wake::TimedOut | Wake::Stopped) {
            return;
        }
        let mut waste = [0; 16 * 1024];
        loop {
            match stream.try_read(&mut waste) {
                Ok(Some(0)) | Err(_) => return,
                Ok(Some(n)) if n >= left => return,
                Ok(Some(n)) => left -= n,
                Ok(None) => return linger(stream, deadline, left),
            }
        }
    });
}

impl AsFd for TcpStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.io.as_fd()
    }
}
