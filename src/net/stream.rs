//! A connection of the data plane, to a client or to an upstream, whatever lies between the bytes and the
//! socket.

use super::tls::TlsStream;
use crate::runtime::{Abort, EndWatch, Shutdown, TcpStream, Wake};
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A connection. The methods are those of [`TcpStream`]: two coroutines may wait on its two directions.
pub enum Stream {
    /// The bytes as they are.
    Plain(TcpStream),
    /// Within TLS records, the handshake done.
    Tls(TlsStream),
}

impl Stream {
    /// Connects without TLS; as [`TcpStream::connect`].
    ///
    /// # Errors
    /// The kernel's, `TimedOut` at `deadline`, or `runtime::is_aborted`.
    pub fn connect(addr: SocketAddr, deadline: Instant, abort: &Abort) -> io::Result<Stream> {
        TcpStream::connect(addr, Some(deadline), Some(abort)).map(Stream::Plain)
    }

    /// Reads what is there, at least one byte; 0 is the end.
    pub fn read(&self, buf: &mut [u8], deadline: Option<Instant>) -> io::Result<usize> {
        match self {
            Stream::Plain(tcp) => tcp.read(buf, deadline),
            Stream::Tls(tls) => tls.read(buf, deadline),
        }
    }

    /// Reads what is there, without waiting; `None` would wait. For the core's own stack.
    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<Option<usize>> {
        match self {
            Stream::Plain(tcp) => tcp.try_read(buf),
            Stream::Tls(tls) => tls.try_read(buf),
        }
    }

    /// Reads at most `most` bytes behind what `buf` holds, at least one; 0 is the end.
    pub fn read_append(
        &self,
        buf: &mut Vec<u8>,
        most: usize,
        deadline: Option<Instant>,
    ) -> io::Result<usize> {
        match self {
            Stream::Plain(tcp) => tcp.read_append(buf, most, deadline),
            Stream::Tls(tls) => append(buf, most, |room| tls.read(room, deadline)),
        }
    }

    /// The same without waiting; `None` would wait. For the core's own stack.
    pub fn try_read_append(&self, buf: &mut Vec<u8>, most: usize) -> io::Result<Option<usize>> {
        match self {
            Stream::Plain(tcp) => tcp.try_read_append(buf, most),
            Stream::Tls(tls) => {
                let mut read = None;
                append(buf, most, |room| {
                    read = tls.try_read(room)?;
                    Ok(read.unwrap_or(0))
                })?;
                Ok(read)
            }
        }
    }

    /// Writes all of `buf`; the deadline is for the whole.
    pub fn write_all(&self, buf: &[u8], deadline: Option<Instant>) -> io::Result<()> {
        match self {
            Stream::Plain(tcp) => tcp.write_all(buf, deadline),
            Stream::Tls(tls) => tls.write_all_vectored(&[buf], deadline),
        }
    }

    /// Writes all of `bufs`, in as few system calls as can be; the deadline is for the whole.
    pub fn write_all_vectored(&self, bufs: &[&[u8]], deadline: Option<Instant>) -> io::Result<()> {
        match self {
            Stream::Plain(tcp) => tcp.write_all_vectored(bufs, deadline),
            Stream::Tls(tls) => tls.write_all_vectored(bufs, deadline),
        }
    }

    /// Writes what fits without waiting; `None` would wait. For the core's own stack.
    pub fn try_write(&self, buf: &[u8]) -> io::Result<Option<usize>> {
        match self {
            Stream::Plain(tcp) => tcp.try_write(buf),
            Stream::Tls(tls) => tls.try_write(buf),
        }
    }

    /// Ends one direction or both.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Stream::Plain(tcp) => tcp.shutdown(how),
            Stream::Tls(tls) => tls.shutdown(how),
        }
    }

    /// Has the kernel find out when the peer of a silent connection is gone; as [`TcpStream::set_keepalive`].
    pub fn set_keepalive(&self, idle: Duration) -> io::Result<()> {
        match self {
            Stream::Plain(tcp) => tcp.set_keepalive(idle),
            Stream::Tls(tls) => tls.tcp().set_keepalive(idle),
        }
    }

    /// Whether the connection has failed; as [`TcpStream::has_failed`].
    pub fn has_failed(&self) -> bool {
        match self {
            Stream::Plain(tcp) => tcp.has_failed(),
            Stream::Tls(tls) => tls.tcp().has_failed(),
        }
    }

    /// Whether the other side has ended or the connection has failed; as [`TcpStream::has_ended`].
    pub fn has_ended(&self) -> bool {
        match self {
            Stream::Plain(tcp) => tcp.has_ended(),
            Stream::Tls(tls) => tls.tcp().has_ended(),
        }
    }

    /// Runs `f` once the other side has ended or the connection has failed; as [`TcpStream::when_ended`].
    pub fn when_ended(&self, f: impl FnOnce() + 'static) -> EndWatch {
        match self {
            Stream::Plain(tcp) => tcp.when_ended(f),
            Stream::Tls(tls) => tls.tcp().when_ended(f),
        }
    }

    /// Runs `f` once the connection may have failed; as [`TcpStream::when_failed`].
    pub fn when_failed(&self, f: impl FnOnce() + 'static) -> EndWatch {
        match self {
            Stream::Plain(tcp) => tcp.when_failed(f),
            Stream::Tls(tls) => tls.tcp().when_failed(f),
        }
    }

    /// Whether this idle connection can carry a request: nothing to read, not ended, no error.
    pub fn is_usable_idle(&self) -> bool {
        match self {
            Stream::Plain(tcp) => tcp.is_usable_idle(),
            Stream::Tls(tls) => tls.is_usable_idle(),
        }
    }

    /// Runs `f` on the core's own stack as soon as there is something to read, at the deadline, or at the
    /// shutdown; as [`TcpStream::when_readable`].
    pub fn when_readable(self, deadline: Option<Instant>, f: impl FnOnce(Stream, Wake) + 'static) {
        match self {
            Stream::Plain(tcp) => tcp.when_readable(deadline, |tcp, wake| f(Stream::Plain(tcp), wake)),
            Stream::Tls(tls) => tls.when_readable(deadline, f),
        }
    }

    /// Closes so that the last bytes written arrive; as [`TcpStream::linger_close`].
    pub fn linger_close(self) {
        match self {
            Stream::Plain(tcp) => tcp.linger_close(),
            Stream::Tls(tls) => tls.linger_close(),
        }
    }

    /// Closes with RST: the other side sees a cut connection.
    pub fn reset(self) {
        match self {
            Stream::Plain(tcp) => tcp.reset(),
            Stream::Tls(tls) => tls.reset(),
        }
    }

    /// Has the last to let go of it close it with RST; as [`TcpStream::cut`].
    pub fn cut(&self) {
        match self {
            Stream::Plain(tcp) => tcp.cut(),
            Stream::Tls(tls) => tls.cut(),
        }
    }

    /// The other side's address.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Stream::Plain(tcp) => tcp.peer_addr(),
            Stream::Tls(tls) => tls.tcp().peer_addr(),
        }
    }

    /// The own address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Stream::Plain(tcp) => tcp.local_addr(),
            Stream::Tls(tls) => tls.tcp().local_addr(),
        }
    }

    /// The socket itself, if nothing lies between it and the bytes.
    pub fn plain(&self) -> Option<&TcpStream> {
        match self {
            Stream::Plain(tcp) => Some(tcp),
            Stream::Tls(_) => None,
        }
    }

    /// Whether the bytes go in TLS records.
    pub fn is_tls(&self) -> bool {
        matches!(self, Stream::Tls(_))
    }
}

/// Has `read` fill the room behind what `buf` holds.
fn append(
    buf: &mut Vec<u8>,
    most: usize,
    read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
) -> io::Result<usize> {
    let held = buf.len();
    buf.resize(held + most, 0);
    let result = read(&mut buf[held..]);
    buf.truncate(held + *result.as_ref().unwrap_or(&0));
    result
}
