//! Sockets at the poller: what is known to be ready, and who waits.
//!
//! Each socket is registered once, edge-triggered, for both directions. A direction is *ready* until a system
//! call says otherwise (EAGAIN, or a short read or write: the buffer is used up and a new edge will come). A
//! socket that the other side has ended stays readable: after that a short read must not hide the end.

use std::collections::HashMap;
use std::io;
use std::num::NonZeroU32;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Instant;

use super::abort::Abort;
use super::core::{Action, Core, Reason, WaitKey};
use super::error;
use super::poller::Event;
use super::slab::Slab;
use super::timers::TimerId;

/// Why a [`when_readable`](super::TcpStream::when_readable) callback runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// There is something to read: bytes, the end or an error.
    Ready,
    /// The deadline passed.
    TimedOut,
    /// [`rouse_waiting`](super::rouse_waiting) was called: there may be nothing to read.
    Roused,
    /// The cores shut down.
    Stopped,
}

pub(crate) type Callback = Box<dyn FnOnce(Wake)>;
pub(crate) type EndCallback = Box<dyn FnOnce()>;

/// A direction of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Write,
}

/// What a watch waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    /// The other side has ended, or the connection has failed.
    End,
    /// It has failed, or both its directions have ended.
    Failure,
}

/// Names a registered socket; a stale name reaches nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    slot: u32,
    generation: NonZeroU32,
}

impl Token {
    pub(super) fn to_key(self) -> u64 {
        u64::from(self.generation.get()) << 32 | u64::from(self.slot)
    }

    pub(super) fn from_key(key: u64) -> Option<Self> {
        Some(Token { slot: key as u32, generation: NonZeroU32::new((key >> 32) as u32)? })
    }
}

/// The sockets of a core.
pub(crate) struct Sources {
    slab: Slab<Source>,
    generation: NonZeroU32,
    /// Who wants to know of a socket's end: few do, so the sockets don't carry it.
    watches: HashMap<u64, (Of, EndCallback)>,
}

/// Kept small: an idle connection pays for one.
struct Source {
    reader: Reader,
    writer: Option<WaitKey>,
    timer: Option<TimerId>,
    generation: NonZeroU32,
    readable: bool,
    writable: bool,
    ended: bool,
    failed: bool,
}

enum Reader {
    None,
    Coroutine(WaitKey),
    Callback(Callback),
}

/// Whom an event concerns.
#[derive(Default)]
pub(crate) struct Woken {
    pub(super) read: Option<WaitKey>,
    pub(super) write: Option<WaitKey>,
    pub(super) callback: Option<(Callback, Option<TimerId>)>,
    pub(super) ended: Option<EndCallback>,
}

impl Sources {
    pub(super) fn new() -> Self {
        Sources { slab: Slab::new(), generation: NonZeroU32::MIN, watches: HashMap::new() }
    }

    fn insert(&mut self, writable: bool) -> Token {
        let generation = self.generation;
        // Below the doorbell's key.
        self.generation = generation.checked_add(1).filter(|g| g.get() < u32::MAX).unwrap_or(NonZeroU32::MIN);
        let source = Source {
            reader: Reader::None,
            writer: None,
            timer: None,
            generation,
            readable: false,
            writable,
            ended: false,
            failed: false,
        };
        Token { slot: self.slab.insert(source), generation }
    }

    fn get(&mut self, token: Token) -> Option<&mut Source> {
        self.slab.get_mut(token.slot).filter(|s| s.generation == token.generation)
    }

    fn remove(&mut self, token: Token) -> Option<Source> {
        self.get(token)?;
        self.slab.remove(token.slot)
    }

    /// Notes an event and tells whom to wake.
    pub(super) fn happened(&mut self, token: Option<Token>, event: Event) -> Woken {
        let Some(token) = token else { return Woken::default() };
        let mut woken = Woken::default();
        let happens = |of| event.failed || (event.ended && of == Of::End);
        if event.ended && self.watches.get(&event.key).is_some_and(|(of, _)| happens(*of)) {
            woken.ended = self.watches.remove(&event.key).map(|(_, callback)| callback);
        }
        let Some(source) = self.get(token) else { return woken };
        source.readable |= event.readable;
        source.writable |= event.writable;
        source.ended |= event.ended;
        source.failed |= event.failed;
        if event.writable {
            woken.write = source.writer.take();
        }
        if event.readable {
            match std::mem::replace(&mut source.reader, Reader::None) {
                Reader::None => {}
                Reader::Coroutine(key) => woken.read = Some(key),
                Reader::Callback(callback) => woken.callback = Some((callback, source.timer.take())),
            }
        }
        woken
    }

    pub(super) fn take_callback(&mut self, token: Token) -> Option<(Callback, Option<TimerId>)> {
        let source = self.get(token)?;
        match std::mem::replace(&mut source.reader, Reader::None) {
            Reader::Callback(callback) => Some((callback, source.timer.take())),
            other => {
                source.reader = other;
                None
            }
        }
    }

    pub(super) fn take_callbacks(&mut self) -> Vec<(Callback, Option<TimerId>)> {
        let tokens: Vec<Token> =
            self.slab.iter_mut().map(|(slot, s)| Token { slot, generation: s.generation }).collect();
        tokens.into_iter().filter_map(|t| self.take_callback(t)).collect()
    }

    fn is_ready(&mut self, token: Token, direction: Direction) -> bool {
        self.get(token).is_some_and(|s| match direction {
            Direction::Read => s.readable,
            Direction::Write => s.writable,
        })
    }

    /// The direction is used up until the next edge. `surely`: the kernel said EAGAIN.
    fn used_up(&mut self, token: Token, direction: Direction, surely: bool) {
        if let Some(source) = self.get(token) {
            match direction {
                Direction::Read => source.readable = !surely && source.ended,
                Direction::Write => source.writable = false,
            }
        }
    }

    /// False: somebody waits there already.
    fn set_waiter(&mut self, token: Token, direction: Direction, key: WaitKey) -> bool {
        let Some(source) = self.get(token) else { return false };
        match direction {
            Direction::Read if matches!(source.reader, Reader::None) => {
                source.reader = Reader::Coroutine(key);
                true
            }
            Direction::Write if source.writer.is_none() => {
                source.writer = Some(key);
                true
            }
            _ => false,
        }
    }

    fn clear_waiter(&mut self, token: Token, direction: Direction, key: WaitKey) {
        let Some(source) = self.get(token) else { return };
        match direction {
            Direction::Read if matches!(source.reader, Reader::Coroutine(k) if k == key) => {
                source.reader = Reader::None;
            }
            Direction::Write if source.writer == Some(key) => source.writer = None,
            _ => {}
        }
    }
}

/// A non-blocking descriptor registered at its core.
pub(crate) struct Io {
    core: Rc<Core>,
    token: Token,
    fd: OwnedFd,
    /// Closing it doesn't detach it: there are duplicates.
    shared: bool,
}

/// What an attempt did: its result, and whether it used the direction up.
pub(crate) struct Done<R> {
    pub(crate) result: R,
    pub(crate) used_up: bool,
}

/// Until when and under which token an operation may wait.
#[derive(Clone, Copy)]
pub(crate) struct Until<'a> {
    pub(crate) deadline: Option<Instant>,
    pub(crate) abort: Option<&'a Abort>,
}

impl Io {
    /// Registers `fd`, which must be non-blocking. `writable`: it is known to take bytes (a fresh
    /// connection).
    ///
    /// # Errors
    /// The caller is on no core, or epoll has no room.
    pub(crate) fn attach(fd: OwnedFd, writable: bool) -> io::Result<Io> {
        let core = Core::current().ok_or_else(error::not_on_a_coroutine)?;
        let token = core.sources.borrow_mut().insert(writable);
        let io = Io { core, token, fd, shared: false };
        io.core.attach(&io.fd, token)?;
        Ok(io)
    }

    /// As [`Io::attach`], for a listener of which other cores have duplicates: a connection wakes one of them.
    pub(crate) fn attach_shared(fd: OwnedFd) -> io::Result<Io> {
        let core = Core::current().ok_or_else(error::not_on_a_coroutine)?;
        let token = core.sources.borrow_mut().insert(false);
        let mut io = Io { core, token, fd, shared: false };
        io.core.attach_shared(&io.fd, token)?;
        io.shared = true;
        Ok(io)
    }

    /// The one way to wait for a socket: attempts when the direction is ready, waits when it isn't.
    pub(crate) fn perform<R>(
        &self,
        direction: Direction,
        until: Until<'_>,
        mut attempt: impl FnMut(BorrowedFd<'_>) -> rustix::io::Result<Done<R>>,
    ) -> io::Result<R> {
        loop {
            if until.abort.is_some_and(Abort::is_fired) {
                return Err(error::aborted());
            }
            if let Some(result) = self.attempt(direction, &mut attempt)? {
                self.core.spend();
                return Ok(result);
            }
            self.wait(direction, until)?;
        }
    }

    /// Attempts if the direction is ready; `None` means it isn't.
    pub(crate) fn attempt<R>(
        &self,
        direction: Direction,
        attempt: &mut impl FnMut(BorrowedFd<'_>) -> rustix::io::Result<Done<R>>,
    ) -> io::Result<Option<R>> {
        if !self.core.sources.borrow_mut().is_ready(self.token, direction) {
            return Ok(None);
        }
        loop {
            match attempt(self.fd.as_fd()) {
                Ok(done) => {
                    if done.used_up {
                        self.used_up(direction, false);
                    }
                    return Ok(Some(done.result));
                }
                Err(rustix::io::Errno::AGAIN) => {
                    self.used_up(direction, true);
                    return Ok(None);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Waits until the direction may be ready.
    pub(crate) fn wait(&self, direction: Direction, until: Until<'_>) -> io::Result<()> {
        if until.deadline.is_some_and(|at| at <= self.core.now()) {
            return Err(error::timed_out());
        }
        let (core, token) = (&self.core, self.token);
        let mut busy = false;
        let arm = |key| {
            busy = !core.sources.borrow_mut().set_waiter(token, direction, key);
            if let Some(abort) = until.abort.filter(|_| !busy) {
                abort.add(key);
            }
            !busy
        };
        let disarm = |key| {
            core.sources.borrow_mut().clear_waiter(token, direction, key);
            if let Some(abort) = until.abort {
                abort.remove(key);
            }
        };
        let reason = core.wait(until.deadline, arm, disarm)?;
        match reason {
            _ if busy => Err(error::busy()),
            Reason::TimedOut => Err(error::timed_out()),
            Reason::Aborted => Err(error::aborted()),
            _ => Ok(()),
        }
    }

    /// The registration apart from the descriptor, for a callback that owns the descriptor.
    pub(crate) fn registration(&self) -> Registration {
        Registration { core: self.core.clone(), token: self.token }
    }

    /// Marks the direction as used up until the next edge.
    pub(crate) fn used_up(&self, direction: Direction, surely: bool) {
        self.core.sources.borrow_mut().used_up(self.token, direction, surely);
    }

    /// Whether the other side has sent its last byte, or the connection has failed, as far as the poller has told.
    pub(crate) fn has_ended(&self) -> bool {
        self.core.sources.borrow_mut().get(self.token).is_none_or(|source| source.ended)
    }

    /// Has `callback` run on the core's own stack when it happens; soon if it has happened already.
    pub(crate) fn watch(&self, of: Of, callback: EndCallback) -> EndWatch {
        let (core, key) = (self.core.clone(), self.token.to_key());
        let mut sources = core.sources.borrow_mut();
        let happened = sources.get(self.token).is_none_or(|s| match of {
            Of::End => s.ended,
            Of::Failure => s.failed,
        });
        let before = sources.watches.insert(key, (of, callback));
        drop(sources);
        drop(before);
        if happened {
            let told = core.clone();
            core.defer(move || {
                let callback = told.sources.borrow_mut().watches.remove(&key);
                callback.into_iter().for_each(|(_, f)| f());
            });
        }
        EndWatch { core, key }
    }

    /// The core this belongs to.
    pub(crate) fn core(&self) -> &Core {
        &self.core
    }
}

/// A watch for a socket's end; it lasts as long as this.
pub struct EndWatch {
    core: Rc<Core>,
    key: u64,
}

impl Drop for EndWatch {
    fn drop(&mut self) {
        let callback = self.core.sources.borrow_mut().watches.remove(&self.key);
        // Outside the borrow: it may own a socket.
        drop(callback);
    }
}

/// Where a socket is registered.
pub(crate) struct Registration {
    core: Rc<Core>,
    token: Token,
}

impl Registration {
    /// Has `callback` run on the core's own stack once the socket is readable, without a stack until then. It
    /// owns the socket, so nobody else can wait for it.
    pub(crate) fn when_readable(&self, deadline: Option<Instant>, callback: Callback) {
        let core = &self.core;
        if core.is_stopping() {
            return core.defer(move || callback(Wake::Stopped));
        }
        let mut sources = core.sources.borrow_mut();
        match sources.get(self.token) {
            Some(source) if !source.readable => {
                source.timer = deadline.map(|at| core.arm(at, Action::Source(self.token)));
                let before = std::mem::replace(&mut source.reader, Reader::Callback(callback));
                drop(sources);
                drop(before);
            }
            _ => {
                drop(sources);
                core.defer(move || callback(Wake::Ready));
            }
        }
    }
}

impl AsFd for Io {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        let source = self.core.sources.borrow_mut().remove(self.token);
        if let Some(timer) = source.as_ref().and_then(|s| s.timer) {
            self.core.cancel(timer);
        }
        if self.shared
            && let Err(error) = self.core.detach(&self.fd)
        {
            log::warn!("a shared listener stays at its poller: {error}");
        }
        // Outside the borrow: a callback may own another socket. The descriptor is closed after this, and
        // closing detaches it from epoll.
        drop(source);
    }
}
