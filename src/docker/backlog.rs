//! Events of an engine that are on their way: unread in its socket, or read and not yet published.
//!
//! An engine gives a dead container's address to another some 50 ms after its `die` event. A busy machine may
//! let us sleep longer than that. So whoever has just connected to a container asks [`Backlog::is_settled`]
//! before the first byte: if it is, every `die` that came before this moment has reached the routes.
//!
//! ```text
//!   socket ──poll, mark, read──► events ──mark──► machine ──Died with its mark──► control: publish, drop the mark
//! ```
//!
//! A mark is taken before bytes leave the socket and dropped after their consequences are published, so
//! there is no moment in which an event is in neither place.

use crate::util::Locked;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{RecvFlags, recv};
use std::fmt;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

/// The events of one engine that are on their way.
#[derive(Default)]
pub struct Backlog {
    /// Each mark is one more holder.
    marks: Arc<()>,
    /// The event stream's socket, while there is one.
    stream: Locked<Option<Arc<UnixStream>>>,
}

/// Something is on its way as long as this is held.
#[derive(Clone, Debug)]
pub struct Mark(#[allow(dead_code)] Arc<()>); // held, never looked at

impl fmt::Debug for Backlog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backlog").finish_non_exhaustive()
    }
}

impl Backlog {
    /// Nothing is on its way.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Marks something as being on its way.
    pub fn mark(&self) -> Mark {
        let mark = Mark(Arc::clone(&self.marks));
        fence(Ordering::SeqCst);
        mark
    }

    /// Whether every event that the engine has sent has had its effect. One system call.
    pub fn is_settled(&self) -> bool {
        let stream = self.stream.with(|stream| stream.clone());
        // First what is unread, then what was read: an event moves from there to here.
        if stream.is_some_and(|stream| has_unread(&stream)) {
            return false;
        }
        fence(Ordering::SeqCst);
        Arc::strong_count(&self.marks) == 1
    }

    /// The event stream comes over this socket from now on.
    pub(super) fn watch(&self, stream: &UnixStream) -> io::Result<()> {
        let stream = Arc::new(stream.try_clone()?);
        drop(self.stream.with(|watched| watched.replace(stream)));
        Ok(())
    }

    /// There is no event stream any more.
    pub(super) fn forget(&self) {
        drop(self.stream.with(Option::take));
    }
}

/// Waits until `stream` has something to read; a signal or the socket's own timeout does not matter here.
pub(super) fn wait_readable(stream: &UnixStream) -> io::Result<()> {
    loop {
        match poll(&mut [PollFd::new(stream, PollFlags::IN)], None) {
            Err(rustix::io::Errno::INTR) => {}
            result => return Ok(result.map(drop)?),
        }
    }
}

/// Bytes, or the stream's end, that nobody has read yet.
fn has_unread(stream: &UnixStream) -> bool {
    let peeked = recv(stream, &mut [0], RecvFlags::PEEK | RecvFlags::DONTWAIT);
    !matches!(peeked, Err(rustix::io::Errno::AGAIN))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn unread_bytes_and_marks_are_on_their_way() {
        let backlog = Backlog::new();
        assert!(backlog.is_settled());
        let (mut engine, mut ours) = UnixStream::pair().unwrap();
        backlog.watch(&ours).unwrap();
        assert!(backlog.is_settled());
        engine.write_all(b"x").unwrap();
        assert!(!backlog.is_settled());
        let mark = backlog.mark();
        ours.read_exact(&mut [0]).unwrap();
        assert!(!backlog.is_settled());
        let copy = mark.clone();
        drop(mark);
        assert!(!backlog.is_settled());
        drop(copy);
        assert!(backlog.is_settled());
        drop(engine);
        assert!(!backlog.is_settled(), "the end is unread");
        backlog.forget();
        assert!(backlog.is_settled());
    }
}
