//! What TCP and Unix streams share.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::addr::SocketAddrArg;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, sockopt};

use super::source::{Direction, Done, Io, Until, Wake};

/// Pieces of one vectored write; Linux takes 1,024.
const PIECES: usize = 32;

fn until(deadline: Option<Instant>) -> Until<'static> {
    Until { deadline, abort: None }
}

pub(super) fn connect(fd: OwnedFd, addr: &impl SocketAddrArg, until: Until<'_>) -> io::Result<Io> {
    // The connect comes first: epoll reports a socket that isn't connecting as hung up.
    match rustix::net::connect(&fd, addr) {
        Ok(()) => return Io::attach(fd, true),
        Err(Errno::INPROGRESS | Errno::INTR) => {}
        Err(e) => return Err(e.into()),
    }
    let io = Io::attach(fd, false)?;
    io.perform(Direction::Write, until, |fd| {
        sockopt::socket_error(fd)??;
        Ok(Done { result: (), used_up: false })
    })?;
    Ok(io)
}

fn recv(buf: &mut [u8]) -> impl FnMut(BorrowedFd<'_>) -> rustix::io::Result<Done<usize>> {
    move |fd| {
        let (_, result) = rustix::net::recv(fd, &mut *buf, RecvFlags::DONTWAIT)?;
        Ok(Done { result, used_up: result < buf.len() })
    }
}

pub(super) fn send(buf: &[u8]) -> impl FnMut(BorrowedFd<'_>) -> rustix::io::Result<Done<usize>> {
    move |fd| {
        let result = rustix::net::send(fd, buf, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?;
        Ok(Done { result, used_up: result < buf.len() })
    }
}

pub(super) fn read(io: &Io, buf: &mut [u8], deadline: Option<Instant>) -> io::Result<usize> {
    read_until(io, buf, until(deadline))
}

pub(super) fn read_until(io: &Io, buf: &mut [u8], until: Until<'_>) -> io::Result<usize> {
    if buf.is_empty() {
        return Ok(0);
    }
    io.perform(Direction::Read, until, recv(buf))
}

pub(super) fn try_read(io: &Io, buf: &mut [u8]) -> io::Result<Option<usize>> {
    if buf.is_empty() {
        return Ok(Some(0));
    }
    io.attempt(Direction::Read, &mut recv(buf))
}

/// Receives behind what `buf` holds; not one byte is written twice.
fn append(buf: &mut Vec<u8>, most: usize) -> impl FnMut(BorrowedFd<'_>) -> rustix::io::Result<Done<usize>> {
    move |fd| {
        buf.reserve(most);
        let spare = &mut buf.spare_capacity_mut()[..most];
        let ((received, _), _) = rustix::net::recv(fd, spare, RecvFlags::DONTWAIT)?;
        let result = received.len();
        // SAFETY: these bytes follow the old length, and the kernel has written them.
        unsafe { buf.set_len(buf.len() + result) };
        Ok(Done { result, used_up: result < most })
    }
}

pub(super) fn read_append(
    io: &Io,
    buf: &mut Vec<u8>,
    most: usize,
    deadline: Option<Instant>,
) -> io::Result<usize> {
    io.perform(Direction::Read, until(deadline), append(buf, most))
}

pub(super) fn try_read_append(io: &Io, buf: &mut Vec<u8>, most: usize) -> io::Result<Option<usize>> {
    io.attempt(Direction::Read, &mut append(buf, most))
}

pub(super) fn write(io: &Io, buf: &[u8], deadline: Option<Instant>) -> io::Result<usize> {
    io.perform(Direction::Write, until(deadline), send(buf))
}

pub(super) fn write_all(io: &Io, mut buf: &[u8], deadline: Option<Instant>) -> io::Result<()> {
    while !buf.is_empty() {
        let n = write(io, buf, deadline)?;
        if n == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        buf = &buf[n..];
    }
    Ok(())
}

pub(super) fn write_all_vectored(io: &Io, bufs: &[&[u8]], deadline: Option<Instant>) -> io::Result<()> {
    // `next` is the first piece not written whole, `from` its first byte not written.
    let (mut next, mut from) = (0, 0);
    loop {
        while next < bufs.len() && from == bufs[next].len() {
            (next, from) = (next + 1, 0);
        }
        if next == bufs.len() {
            return Ok(());
        }
        let count = (bufs.len() - next).min(PIECES);
        let mut pieces = [IoSlice::new(&[]); PIECES];
        for (piece, buf) in pieces.iter_mut().zip(&bufs[next..]) {
            *piece = IoSlice::new(buf);
        }
        pieces[0] = IoSlice::new(&bufs[next][from..]);
        let mut written = io.perform(Direction::Write, until(deadline), send_pieces(&pieces[..count]))?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        while next < bufs.len() && written >= bufs[next].len() - from {
            written -= bufs[next].len() - from;
            (next, from) = (next + 1, 0);
        }
        from += written;
    }
}

fn send_pieces<'a>(
    pieces: &'a [IoSlice<'a>],
) -> impl FnMut(BorrowedFd<'_>) -> rustix::io::Result<Done<usize>> + 'a {
    let total: usize = pieces.iter().map(|p| p.len()).sum();
    move |fd| {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let result = rustix::net::sendmsg(fd, pieces, &mut SendAncillaryBuffer::default(), flags)?;
        Ok(Done { result, used_up: result < total })
    }
}

/// Waits until the socket is readable, by a peek: the flag may stand although nothing is left to read.
pub(super) fn wait_readable(io: &Io, deadline: Option<Instant>) -> io::Result<()> {
    let mut byte = [0];
    io.perform(Direction::Read, until(deadline), move |fd| {
        rustix::net::recv(fd, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT)?;
        Ok(Done { result: (), used_up: false })
    })
}

pub(super) fn shutdown(io: &Io, how: Shutdown) -> io::Result<()> {
    let how = match how {
        Shutdown::Read => rustix::net::Shutdown::Read,
        Shutdown::Write => rustix::net::Shutdown::Write,
        Shutdown::Both => rustix::net::Shutdown::Both,
    };
    Ok(rustix::net::shutdown(io, how)?)
}

/// Moves `stream` into a callback that its own socket holds.
pub(super) fn when_readable<S: 'static>(
    stream: S,
    handle: impl Fn(&S) -> &Io,
    deadline: Option<Instant>,
    f: impl FnOnce(S, Wake) + 'static,
) {
    let registration = handle(&stream).registration();
    registration.when_readable(deadline, Box::new(move |wake| f(stream, wake)));
}
