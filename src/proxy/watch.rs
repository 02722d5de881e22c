//! An upstream that is waited for, and the client who may go away meanwhile.
//!
//! ```text
//!   waiting ──CLIENT_WATCH_AFTER──► watching ──the client's end──► grace ──CLIENT_GONE_GRACE──► upstream shut down
//! ```
//!
//! A client that has closed only its sending side can't be told from one that has gone, so it gets a moment.
//! Nothing is read from it: what it has pipelined stays where it is.

use super::connection::Client;
use crate::limits::{CLIENT_GONE_GRACE, CLIENT_WATCH_AFTER};
use crate::net::Stream;
use crate::route::Timeouts;
use crate::runtime::{self, EndWatch, Shutdown};
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::{Rc, Weak};
use std::time::Instant;

/// An upstream whose reads end when the client has gone.
pub(super) struct Watched<'c> {
    client: &'c Client,
    upstream: &'c Rc<Stream>,
    /// The route's.
    pub timeouts: Timeouts,
    gone: Rc<Cell<bool>>,
    watch: RefCell<Option<EndWatch>>,
}

impl<'c> Watched<'c> {
    /// Watches once a read takes long, until it is dropped.
    pub fn new(client: &'c Client, upstream: &'c Rc<Stream>, timeouts: Timeouts) -> Self {
        Watched { client, upstream, timeouts, gone: Rc::default(), watch: RefCell::default() }
    }

    /// Reads at most `most` bytes behind what `buf` holds, at least one; 0 is the end, or the client has gone.
    pub fn read_append(&self, buf: &mut Vec<u8>, most: usize, deadline: Instant) -> io::Result<usize> {
        self.wait(deadline, |until| self.upstream.read_append(buf, most, Some(until)))
    }

    /// The upstream itself.
    pub fn upstream(&self) -> &Stream {
        self.upstream
    }

    /// Has `take`, which reads from the upstream until the time it is given, see the client's end as an end.
    pub fn wait(
        &self,
        deadline: Instant,
        mut take: impl FnMut(Instant) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let watching = self.watch.borrow().is_some();
        let soon = runtime::now() + CLIENT_WATCH_AFTER;
        if watching || deadline <= soon {
            return take(deadline);
        }
        match take(soon) {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
            result => return result,
        }
        self.watch.replace(Some(self.start()));
        take(deadline)
    }

    /// Whether a read ended because the client has gone.
    pub fn client_has_gone(&self) -> bool {
        self.gone.get()
    }

    fn start(&self) -> EndWatch {
        let (gone, upstream) = (Rc::downgrade(&self.gone), Rc::downgrade(self.upstream));
        self.client.stream.when_ended(move || {
            // Without a coroutine the client's end shows at the next write.
            runtime::spawn(move || cut(&gone, &upstream)).ok();
        })
    }
}

/// After the grace, ends the exchange if it isn't over.
fn cut(gone: &Weak<Cell<bool>>, upstream: &Weak<Stream>) {
    // Err: the core stops, which ends the exchange too.
    runtime::sleep_until(runtime::now() + CLIENT_GONE_GRACE).ok();
    if let (Some(gone), Some(upstream)) = (gone.upgrade(), upstream.upgrade()) {
        gone.set(true);
        upstream.shutdown(Shutdown::Both).ok();
    }
}
