//! Long bodies between plain sockets stay in the kernel: each has one of its core's pipes meanwhile.

use super::core::Core;
use crate::limits::SPLICE_FROM_BYTES;
use crate::net::Stream;
use crate::runtime::{self, Pipe, TcpStream};
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// The pipes of a core.
#[derive(Default)]
pub(super) struct Pipes {
    idle: RefCell<Vec<Pipe>>,
    /// Idle ones too.
    open: Cell<usize>,
}

impl Pipes {
    /// A pipe, unless there are `most` already or no descriptor is left.
    fn take(&self, most: usize) -> Option<Pipe> {
        if let Some(pipe) = self.idle.borrow_mut().pop() {
            return Some(pipe);
        }
        if self.open.get() >= most {
            return None;
        }
        let pipe = Pipe::new().ok()?;
        self.open.set(self.open.get() + 1);
        Some(pipe)
    }

    /// Takes a pipe back; one with bytes in it is closed.
    fn put_back(&self, pipe: Pipe) {
        match pipe.is_empty() {
            true => self.idle.borrow_mut().push(pipe),
            false => self.open.set(self.open.get() - 1),
        }
    }

    /// Closes half of those that are idle. Called about once a second.
    pub fn trim(&self) {
        let mut idle = self.idle.borrow_mut();
        let kept = idle.len() / 2;
        self.open.set(self.open.get() - (idle.len() - kept));
        idle.truncate(kept);
    }
}

/// The way of one long body.
pub(super) struct Bulk<'s> {
    core: Rc<Core>,
    /// Taken when it goes back.
    pipe: Option<Pipe>,
    from: &'s TcpStream,
    to: &'s TcpStream,
}

impl<'s> Bulk<'s> {
    /// None where `left` bytes are too few, TLS is between, or no pipe is to be had: the body is copied.
    pub fn new(core: &Rc<Core>, from: &'s Stream, to: &'s Stream, left: u64) -> Option<Self> {
        let (from, to) = (from.plain()?, to.plain()?);
        if left < SPLICE_FROM_BYTES {
            return None;
        }
        let pipe = core.pipes.take(core.shared.pipes_per_core())?;
        Some(Bulk { core: Rc::clone(core), pipe: Some(pipe), from, to })
    }

    /// Takes what is there of `left` bytes, at least one; 0 is the end.
    pub fn fill(&mut self, left: u64, deadline: Instant) -> io::Result<usize> {
        let most = usize::try_from(left).unwrap_or(usize::MAX);
        self.pipe.as_mut().map_or(Ok(0), |pipe| pipe.fill(self.from, most, deadline))
    }

    /// Passes it on; tells `passed` of each piece. The other side must take some within `patience`.
    pub fn drain(&mut self, patience: Duration, mut passed: impl FnMut(usize)) -> io::Result<()> {
        let Some(pipe) = self.pipe.as_mut() else { return Ok(()) };
        while !pipe.is_empty() {
            passed(pipe.drain(self.to, runtime::now() + patience)?);
        }
        Ok(())
    }
}

impl Drop for Bulk<'_> {
    fn drop(&mut self) {
        if let Some(pipe) = self.pipe.take() {
            self.core.pipes.put_back(pipe);
        }
    }
}
