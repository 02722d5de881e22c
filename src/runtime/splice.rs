//! Bytes from one socket to another within the kernel, by way of a pipe: splice(2).
//!
//! A pipe is filled only when it is empty: then EAGAIN can only mean that the socket has nothing, and never that
//! the pipe is full. The program must ignore SIGPIPE, as Rust's start-up does: splice knows no `MSG_NOSIGNAL`.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

use super::source::{Direction, Done, Until};
use super::tcp::TcpStream;
use crate::limits::PIPE_BYTES;

/// A pipe, and how much is in it.
pub struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
    held: usize,
}

impl Pipe {
    /// An empty pipe of `PIPE_BYTES`; smaller where that is refused.
    ///
    /// # Errors
    /// The kernel's: no descriptors are left.
    pub fn new() -> io::Result<Pipe> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // Refused when this user's pipes are too large together: it works with the default size too.
        let _ = fcntl_setpipe_size(&writer, PIPE_BYTES);
        Ok(Pipe { reader, writer, held: 0 })
    }

    /// Nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Takes at most `most` bytes of what `from` has, waiting for the first; 0 is the end. The pipe must be
    /// empty.
    ///
    /// # Errors
    /// The kernel's, `TimedOut`, or that the cores shut down.
    pub fn fill(&mut self, from: &TcpStream, most: usize, deadline: Instant) -> io::Result<usize> {
        if !self.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the pipe is not empty"));
        }
        let until = Until { deadline: Some(deadline), abort: None };
        let n = from.io().perform(Direction::Read, until, |socket| {
            let result = splice(socket, None, &self.writer, None, most.min(PIPE_BYTES), flags())?;
            Ok(Done { result, used_up: false })
        })?;
        self.held = n;
        Ok(n)
    }

    /// Gives some of what it holds to `to`; how much.
    ///
    /// # Errors
    /// The kernel's, `TimedOut`, or that the cores shut down.
    pub fn drain(&mut self, to: &TcpStream, deadline: Instant) -> io::Result<usize> {
        let until = Until { deadline: Some(deadline), abort: None };
        let n = to.io().perform(Direction::Write, until, |socket| {
            let result = splice(&self.reader, None, socket, None, self.held, flags())?;
            // A short count need not mean that the socket is full.
            Ok(Done { result, used_up: false })
        })?;
        if n == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.held -= n;
        Ok(n)
    }
}

fn flags() -> SpliceFlags {
    SpliceFlags::MOVE | SpliceFlags::NONBLOCK
}
