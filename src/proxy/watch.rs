//! The client that may go away while its request waits: at a gate, or for its upstream.
//!
//! ```text
//!           its end, with the request
//!   there ────────────────────────────► half-closed ── reset, or silent to the kernel's probes ──┐
//!     │                                      └── the answer turns out to be an event stream ──┐  │
//!     └── its end later, or over TLS; a reset ────────────────────────────────────────────► gone ◄┘
//! ```
//!
//! An end (FIN) does not say whether the client still reads (RFC 9112 §9.6), and only bytes sent to it would find
//! out. So its moment decides: who only has nothing more to send ends his side together with the request (`nc -N`)
//! and gets the whole answer; who ends it while he waits has gone. TLS knows no half-close (RFC 5246 §7.2.1), and
//! event streams have no end that it would be worth to wait for. Nothing is read from the client: what it has
//! pipelined stays where it is.

use super::connection::Client;
use super::upload::{State as UploadState, Upload};
use crate::limits::{CLIENT_WATCH_AFTER, HALF_CLOSE_WITHIN, HALF_CLOSED_KEEPALIVE};
use crate::net::Stream;
use crate::route::Timeouts;
use crate::runtime::{self, EndWatch, Shutdown};
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::{Rc, Weak};
use std::time::Instant;

/// Whether the client of one request is still there. Nothing is watched before somebody waits for long.
pub(super) struct Departure {
    state: Rc<State>,
}

struct State {
    client: Weak<Stream>,
    /// When all of the request was here; none while some of it may be on its way.
    whole: Option<Instant>,
    /// What sends the body on, once it does.
    upload: RefCell<Weak<Upload>>,
    /// The answer has no end.
    endless: Cell<bool>,
    half_closed: Cell<bool>,
    gone: Cell<bool>,
    watch: RefCell<Option<EndWatch>>,
    /// Ends the wait that the request is in.
    interrupt: RefCell<Option<Box<dyn Fn()>>>,
}

impl Departure {
    /// `whole`: nothing of the request is still to come.
    pub fn new(client: &Client, whole: bool) -> Departure {
        let state = State {
            client: Rc::downgrade(&client.stream),
            whole: whole.then(runtime::now),
            upload: RefCell::default(),
            endless: Cell::default(),
            half_closed: Cell::default(),
            gone: Cell::default(),
            watch: RefCell::default(),
            interrupt: RefCell::default(),
        };
        Departure { state: Rc::new(state) }
    }

    /// The body is sent on by `upload`.
    pub fn uploading(&self, upload: &Rc<Upload>) {
        self.state.upload.replace(Rc::downgrade(upload));
    }

    /// Has `interrupt` run on the core's own stack when the client goes; at once, if it has gone. It takes the
    /// place of the one before.
    pub fn interrupts(&self, interrupt: impl Fn() + 'static) {
        if self.has_gone() {
            return interrupt();
        }
        self.state.interrupt.replace(Some(Box::new(interrupt)));
        self.state.arm();
    }

    /// Whether the client has gone, as far as can be known now.
    pub fn has_gone(&self) -> bool {
        self.look();
        self.state.gone.get()
    }

    /// The answer is an event stream.
    pub fn answer_is_endless(&self) {
        self.state.endless.set(true);
        if self.state.half_closed.get() {
            self.state.leave();
        }
    }

    /// Watches no more.
    pub fn end(&self) {
        drop(self.state.watch.take());
        drop(self.state.interrupt.take());
    }

    fn is_watched(&self) -> bool {
        self.state.watch.borrow().is_some()
    }

    /// Takes note of an end that has come without a watch.
    fn look(&self) {
        let state = &self.state;
        let ended = || state.client.upgrade().is_none_or(|client| client.has_ended());
        if !state.half_closed.get() && !state.gone.get() && !self.is_watched() && ended() {
            match state.is_early() {
                true => state.half_closed.set(state.may_read_on()),
                false => state.leave(),
            }
        }
    }
}

impl State {
    fn arm(self: &Rc<Self>) {
        let Some(client) = self.client.upgrade().filter(|_| self.watch.borrow().is_none()) else { return };
        let state = Rc::downgrade(self);
        let ended = move || {
            if let Some(state) = state.upgrade() {
                state.ended();
            }
        };
        let watch = match self.half_closed.get() {
            false => client.when_ended(ended),
            true => {
                if let Err(error) = client.set_keepalive(HALF_CLOSED_KEEPALIVE) {
                    log::debug!("a half-closed client without keep-alive: {error}");
                }
                client.when_failed(ended)
            }
        };
        self.watch.replace(Some(watch));
    }

    /// What was watched for has come.
    fn ended(self: &Rc<Self>) {
        drop(self.watch.take());
        let failed = self.client.upgrade().is_none_or(|client| client.has_failed());
        if self.half_closed.get() || failed || !self.may_read_on() {
            return self.leave();
        }
        self.half_closed.set(true);
        self.arm();
    }

    /// Whether an end that comes now may be that of a client which still reads.
    fn may_read_on(&self) -> bool {
        let plain = || self.client.upgrade().is_some_and(|client| !client.is_tls());
        self.is_early() && (self.whole().is_none() || (plain() && !self.endless.get()))
    }

    /// Whether an end that comes now comes with the request. If that is cut off, whoever reads it will see.
    fn is_early(&self) -> bool {
        let since = |whole| runtime::now().saturating_duration_since(whole);
        self.whole().is_none_or(|whole| since(whole) <= HALF_CLOSE_WITHIN)
    }

    /// When the request was whole, if it is.
    fn whole(&self) -> Option<Instant> {
        match self.upload.borrow().upgrade() {
            Some(upload) if upload.state() == UploadState::Running => None,
            Some(upload) => Some(upload.progress()),
            None => self.whole,
        }
    }

    fn leave(&self) {
        self.gone.set(true);
        let interrupt = self.interrupt.take();
        interrupt.into_iter().for_each(|interrupt| interrupt());
    }
}

/// An upstream whose reads end when the client has gone.
pub(super) struct Watched<'d> {
    pub departure: &'d Departure,
    pub upstream: &'d Rc<Stream>,
    /// The route's.
    pub timeouts: Timeouts,
}

impl<'d> Watched<'d> {
    /// Watches once a read takes long, if nobody does yet.
    pub fn new(departure: &'d Departure, upstream: &'d Rc<Stream>, timeouts: Timeouts) -> Self {
        let watched = Watched { departure, upstream, timeouts };
        if departure.is_watched() {
            watched.watch();
        }
        watched
    }

    /// Reads at most `most` bytes behind what `buf` holds, at least one; 0 is the end, or the client has gone.
    pub fn read_append(&self, buf: &mut Vec<u8>, most: usize, deadline: Instant) -> io::Result<usize> {
        self.wait(deadline, |until| self.upstream.read_append(buf, most, Some(until)))
    }

    /// Has `take`, which reads from the upstream until the time it is given, see the client's end as an end.
    pub fn wait(
        &self,
        deadline: Instant,
        mut take: impl FnMut(Instant) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let soon = runtime::now() + CLIENT_WATCH_AFTER;
        if self.departure.is_watched() || deadline <= soon {
            return take(deadline);
        }
        self.departure.look();
        match take(soon) {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
            result => return result,
        }
        self.watch();
        take(deadline)
    }

    /// Whether a read ended because the client has gone.
    pub fn client_has_gone(&self) -> bool {
        self.departure.state.gone.get()
    }

    fn watch(&self) {
        let upstream = Rc::downgrade(self.upstream);
        self.departure.interrupts(move || {
            if let Some(upstream) = upstream.upgrade() {
                // Err: it is closed already.
                upstream.shutdown(Shutdown::Both).ok();
            }
        });
    }
}
