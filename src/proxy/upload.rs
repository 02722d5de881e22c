//! The request's body on its way to the upstream, in a coroutine of its own: an upstream may answer while it
//! still reads, and a client may still send while it is answered.
//!
//! ```text
//!   Running ──the body's end──► Done          ──a bad chunk──► ClientBad   ──closed, too slow──► ClientGone
//!      └──the upstream takes no more──► UpstreamGone (what the client still sends is read and dropped)
//! ```

use super::bulk::Bulk;
use super::core::Core;
use crate::http::{Body, CHUNK_END, ChunkDecoder, write_chunk_head, write_last_chunk};
use crate::limits::{BODY_BUFFER_BYTES, LINGER_BYTES, LINGER_TIMEOUT};
use crate::net::Stream;
use crate::runtime::{self, Shutdown};
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Where the upload stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Running,
    Done,
    /// The client's framing is wrong: its 400, not the upstream's 502.
    ClientBad(&'static str),
    ClientGone,
    UpstreamGone,
}

/// An upload, shared by the coroutine that does it and the one that waits for the answer.
pub(super) struct Upload {
    state: Cell<State>,
    /// The exchange is over without it.
    abandoned: Cell<bool>,
    progress: Cell<Instant>,
    /// Bytes that came from the client, framing included.
    received: Cell<u64>,
    /// Bytes after the body's end: the next request.
    rest: RefCell<Vec<u8>>,
    core: Rc<Core>,
    client: Rc<Stream>,
    upstream: Rc<Stream>,
    /// Without a byte of progress.
    timeout: Duration,
}

impl Upload {
    /// Starts an upload whose first bytes are `buffered`.
    ///
    /// # Errors
    /// If no coroutine can be had.
    pub fn start(
        core: &Rc<Core>,
        client: &Rc<Stream>,
        upstream: &Rc<Stream>,
        body: Body,
        buffered: Vec<u8>,
        timeout: Duration,
    ) -> Result<Rc<Upload>, runtime::SpawnError> {
        let upload = Rc::new(Upload {
            state: Cell::new(State::Running),
            abandoned: Cell::new(false),
            progress: Cell::new(runtime::now()),
            received: Cell::new(buffered.len() as u64),
            rest: RefCell::default(),
            core: Rc::clone(core),
            client: Rc::clone(client),
            upstream: Rc::clone(upstream),
            timeout,
        });
        let working = Rc::clone(&upload);
        runtime::spawn(move || working.run(body, buffered))?;
        Ok(upload)
    }

    pub fn state(&self) -> State {
        self.state.get()
    }

    /// When a byte last went on.
    pub fn progress(&self) -> Instant {
        self.progress.get()
    }

    /// Bytes of the body that came from the client so far.
    pub fn received(&self) -> u64 {
        self.received.get() - self.rest.borrow().len() as u64
    }

    /// The bytes after the body's end.
    pub fn take_rest(&self) -> Vec<u8> {
        self.rest.take()
    }

    /// The answer is complete before the body is: nobody waits for the rest.
    pub fn abandon(&self) {
        if self.state.get() == State::Running {
            self.abandoned.set(true);
            // Wakes the coroutine if it waits for the upstream; then it drains the client in bounds.
            self.upstream.shutdown(Shutdown::Both).ok();
        }
    }

    fn run(&self, body: Body, buffered: Vec<u8>) {
        let end = match body {
            Body::Length(length) => self.length(length, buffered),
            Body::Chunked => self.chunked(buffered),
            Body::None => Ok(buffered),
        };
        match end {
            Ok(rest) => {
                self.rest.replace(rest);
                self.state.set(State::Done);
            }
            Err(state) => {
                self.state.set(state);
                match state {
                    State::UpstreamGone => self.drain(),
                    // Whoever waits for the answer wakes up and sees why.
                    _ => drop(self.upstream.shutdown(Shutdown::Both)),
                }
            }
        }
    }

    fn length(&self, mut left: u64, buffered: Vec<u8>) -> Result<Vec<u8>, State> {
        let mut rest = Vec::new();
        let mut buffer = buffered;
        loop {
            let take = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            self.forward(&[&buffer[..take]])?;
            left -= take as u64;
            if left == 0 {
                rest.extend_from_slice(&buffer[take..]);
                return Ok(rest);
            }
            if let Some(bulk) = Bulk::new(&self.core, &self.client, &self.upstream, left) {
                drop(buffer);
                return self.spliced(bulk, left).map(|()| rest);
            }
            self.receive(&mut buffer)?;
        }
    }

    /// The rest of a long body, by way of the kernel.
    fn spliced(&self, mut bulk: Bulk<'_>, mut left: u64) -> Result<(), State> {
        while left > 0 {
            let n = self.take(|until| bulk.fill(left, until))? as u64;
            left -= n;
            self.received.set(self.received.get() + n);
            bulk.drain(self.timeout, |_| self.progress.set(runtime::now()))
                .map_err(|_| State::UpstreamGone)?;
        }
        Ok(())
    }

    fn chunked(&self, buffered: Vec<u8>) -> Result<Vec<u8>, State> {
        let mut decoder = ChunkDecoder::new();
        let mut buffer = buffered;
        let mut at = 0;
        loop {
            while at < buffer.len() {
                let step = decoder.step(&buffer[at..]).map_err(|error| State::ClientBad(error.0))?;
                let data = &buffer[at..][step.data.clone()];
                if !data.is_empty() {
                    let mut size = Vec::with_capacity(20);
                    write_chunk_head(&mut size, data.len());
                    self.forward(&[&size, data, CHUNK_END])?;
                }
                at += step.consumed;
                if step.done {
                    let mut last = Vec::new();
                    write_last_chunk(&mut last, decoder.trailers());
                    self.forward(&[&last])?;
                    return Ok(buffer.split_off(at));
                }
            }
            self.receive(&mut buffer)?;
            at = 0;
        }
    }

    fn receive(&self, buffer: &mut Vec<u8>) -> Result<(), State> {
        buffer.clear();
        let n = self.take(|until| self.client.read_append(buffer, BODY_BUFFER_BYTES, Some(until)))?;
        self.received.set(self.received.get() + n as u64);
        Ok(())
    }

    /// Has `take`, which reads from the client until the time it is given, look up now and then: nobody waits for
    /// what a silent client still has once the exchange is over.
    fn take(&self, mut take: impl FnMut(Instant) -> io::Result<usize>) -> Result<usize, State> {
        let deadline = runtime::now() + self.timeout;
        loop {
            let look = deadline.min(runtime::now() + LINGER_TIMEOUT);
            match take(look) {
                Ok(1..) if self.abandoned.get() => return Err(State::UpstreamGone),
                Ok(n @ 1..) => return Ok(n),
                Err(error) if error.kind() == io::ErrorKind::TimedOut && look < deadline => {
                    if self.abandoned.get() {
                        return Err(State::ClientGone);
                    }
                }
                Ok(_) | Err(_) => return Err(State::ClientGone),
            }
        }
    }

    fn forward(&self, parts: &[&[u8]]) -> Result<(), State> {
        let deadline = runtime::now() + self.timeout;
        self.upstream.write_all_vectored(parts, Some(deadline)).map_err(|_| State::UpstreamGone)?;
        self.progress.set(runtime::now());
        Ok(())
    }

    /// Reads on, in bounds, so that the answer is not lost in a reset.
    fn drain(&self) {
        let deadline = runtime::now() + LINGER_TIMEOUT;
        let mut left = LINGER_BYTES;
        let mut sink = [0; 2048];
        while left > 0 {
            match self.client.read(&mut sink, Some(deadline)) {
                Ok(0) | Err(_) => return,
                Ok(n) => left = left.saturating_sub(n),
            }
        }
    }
}
