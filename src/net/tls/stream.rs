//! Records on a TCP connection.
//!
//! One coroutine may read while another writes. rustls is pure computation: it is borrowed for a moment and
//! never across a wait. Ciphertext leaves in the order in which it was made: whoever has the turn to write
//! takes it out of rustls, and a reader that has something to answer (a key update, an alert) leaves it to the
//! writer or, if there is none, sends what fits without waiting.

use super::super::Stream;
use crate::limits::TLS_READ_BYTES;
use crate::runtime::{self, Shutdown, TcpStream, Wake};
use rustix::net::RecvFlags;
use rustls::Connection;
use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice, Read, Write};
use std::time::Instant;

/// A TLS connection whose handshake is done.
pub struct TlsStream {
    pub(super) tcp: TcpStream,
    state: Box<State>,
}

struct State {
    conn: RefCell<Connection>,
    incoming: RefCell<Incoming>,
    /// Ciphertext that the socket has not taken.
    outgoing: RefCell<Vec<u8>>,
    writing: Cell<bool>,
    /// A write ended in the middle of a record: nothing can follow.
    broken: Cell<bool>,
}

/// Ciphertext that rustls has not taken: `bytes[at..end]`.
#[derive(Default)]
struct Incoming {
    bytes: Vec<u8>,
    at: usize,
    end: usize,
}

impl TlsStream {
    /// `rest`: bytes that came after the handshake's last.
    pub(super) fn new(tcp: TcpStream, conn: Connection, rest: &[u8]) -> TlsStream {
        let incoming = Incoming { bytes: rest.to_vec(), at: 0, end: rest.len() };
        let state = State {
            conn: RefCell::new(conn),
            incoming: RefCell::new(incoming),
            outgoing: RefCell::default(),
            writing: Cell::new(false),
            broken: Cell::new(false),
        };
        TlsStream { tcp, state: Box::new(state) }
    }

    /// The socket below.
    pub fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// Reads what is there, at least one byte; 0 is an orderly end (`close_notify`).
    ///
    /// # Errors
    /// `UnexpectedEof` for an end without `close_notify`: something may have been cut off. `InvalidData` for
    /// what is not TLS. Else the socket's.
    pub fn read(&self, buf: &mut [u8], deadline: Option<Instant>) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        loop {
            if let Some(n) = self.decrypted(buf)? {
                return Ok(n);
            }
            let mut bytes = self.state.spare();
            let read = self.tcp.read(&mut bytes, deadline);
            self.state.received(bytes, *read.as_ref().unwrap_or(&0));
            if read? == 0 {
                self.state.end()?;
            }
        }
    }

    /// As [`TlsStream::read`], without waiting; `None` would wait.
    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<Option<usize>> {
        if buf.is_empty() {
            return Ok(Some(0));
        }
        loop {
            if let Some(n) = self.decrypted(buf)? {
                return Ok(Some(n));
            }
            let mut bytes = self.state.spare();
            let read = self.tcp.try_read(&mut bytes);
            let n = read.as_ref().map_or(0, |read| read.unwrap_or(0));
            self.state.received(bytes, n);
            match read? {
                Some(0) => self.state.end()?,
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }

    /// Writes all of `bufs`; the deadline is for the whole. At most rustls's buffer (64 KB) is encrypted ahead
    /// of the socket.
    pub fn write_all_vectored(&self, bufs: &[&[u8]], deadline: Option<Instant>) -> io::Result<()> {
        let turn = Turn::take(&self.state)?;
        let mut slices: Vec<IoSlice> =
            bufs.iter().filter(|buf| !buf.is_empty()).map(|buf| IoSlice::new(buf)).collect();
        let mut left = &mut slices[..];
        while !left.is_empty() {
            let n = self.state.conn.borrow_mut().writer().write_vectored(left)?;
            if n == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            IoSlice::advance_slices(&mut left, n);
            self.send(deadline)?;
        }
        drop(turn);
        Ok(())
    }

    /// Writes what fits without waiting; what doesn't is kept and goes with the next bytes.
    pub fn try_write(&self, buf: &[u8]) -> io::Result<Option<usize>> {
        let n = self.state.conn.borrow_mut().writer().write(buf)?;
        self.answer();
        Ok(Some(n))
    }

    /// Ends one direction or both: the own end is announced by `close_notify`.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        if how == Shutdown::Write {
            self.close_notify();
        }
        self.tcp.shutdown(how)
    }

    /// Whether this idle connection can carry a request: nothing but tickets and the like has come.
    pub fn is_usable_idle(&self) -> bool {
        let mut nothing = [0; 1];
        loop {
            match self.decrypted(&mut nothing) {
                Ok(None) => {}
                // Data that nobody asked for, the end, or an error.
                Ok(Some(_)) | Err(_) => return false,
            }
            if self.tcp.is_usable_idle() {
                self.state.release();
                return true;
            }
            let mut bytes = self.state.spare();
            let read = rustix::net::recv(&self.tcp, &mut *bytes, RecvFlags::DONTWAIT);
            let n = read.as_ref().map_or(0, |(_, n)| *n);
            self.state.received(bytes, n);
            // Readable, but nothing to read: an error or the end.
            if n == 0 {
                return false;
            }
        }
    }

    /// As [`TcpStream::when_readable`]; what is decrypted already counts as readable.
    pub fn when_readable(self, deadline: Option<Instant>, f: impl FnOnce(Stream, Wake) + 'static) {
        if self.state.has_something() {
            return runtime::defer(move || f(Stream::Tls(self), Wake::Ready));
        }
        self.state.release();
        let TlsStream { tcp, state } = self;
        tcp.when_readable(deadline, move |tcp, wake| f(Stream::Tls(TlsStream { tcp, state }), wake));
    }

    /// Announces the end and closes so that the last bytes arrive.
    pub fn linger_close(self) {
        self.close_notify();
        self.tcp.linger_close();
    }

    /// Cuts: no `close_notify`, and RST.
    pub fn reset(self) {
        self.tcp.reset();
    }

    /// As [`TcpStream::cut`].
    pub fn cut(&self) {
        self.tcp.cut();
    }

    fn close_notify(&self) {
        self.state.conn.borrow_mut().send_close_notify();
        self.answer();
    }

    /// What rustls makes of the bytes that are here; then what it has to say about them.
    fn decrypted(&self, buf: &mut [u8]) -> io::Result<Option<usize>> {
        let taken = self.state.take(buf);
        self.answer();
        taken
    }

    /// Sends what there is to send; for whoever has the turn.
    fn send(&self, deadline: Option<Instant>) -> io::Result<()> {
        loop {
            let mut bytes = self.state.outgoing.take();
            self.state.conn.borrow_mut().write_tls(&mut bytes)?;
            if bytes.is_empty() {
                self.state.outgoing.replace(bytes);
                return Ok(());
            }
            let sent = self.tcp.write_all(&bytes, deadline);
            self.state.broken.set(sent.is_err());
            sent?;
            bytes.clear();
            self.state.outgoing.replace(bytes);
        }
    }

    /// Sends what fits without waiting, unless a writer is at it and will do so.
    fn answer(&self) {
        let state = &self.state;
        if !state.conn.borrow().wants_write() && state.outgoing.borrow().is_empty() {
            return;
        }
        let Ok(_turn) = Turn::take(state) else { return };
        let mut bytes = state.outgoing.take();
        // A Vec takes everything.
        let _ = state.conn.borrow_mut().write_tls(&mut bytes);
        match self.tcp.try_write(&bytes) {
            Ok(Some(n)) => drop(bytes.drain(..n)),
            Ok(None) => {}
            Err(_) => state.broken.set(true),
        }
        state.outgoing.replace(bytes);
    }
}

impl State {
    /// Decrypts from what has arrived: `None` needs more.
    fn take(&self, buf: &mut [u8]) -> io::Result<Option<usize>> {
        let mut conn = self.conn.borrow_mut();
        let mut incoming = self.incoming.borrow_mut();
        loop {
            match conn.reader().read(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result.map(Some),
            }
            let Incoming { bytes, at, end } = &mut *incoming;
            if at == end {
                return Ok(None);
            }
            let taken = conn.read_tls(&mut &bytes[*at..*end])?;
            if taken == 0 {
                return Err(io::ErrorKind::InvalidData.into());
            }
            *at += taken;
            conn.process_new_packets().map_err(invalid)?;
        }
    }

    /// The socket has ended.
    fn end(&self) -> io::Result<()> {
        let mut conn = self.conn.borrow_mut();
        conn.read_tls(&mut io::empty())?;
        conn.process_new_packets().map_err(invalid)?;
        Ok(())
    }

    /// The buffer to read ciphertext into; it is empty whenever this is asked for.
    fn spare(&self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut *self.incoming.borrow_mut()).bytes;
        bytes.resize(TLS_READ_BYTES, 0);
        bytes
    }

    fn received(&self, bytes: Vec<u8>, end: usize) {
        *self.incoming.borrow_mut() = Incoming { bytes, at: 0, end };
    }

    /// Whether a read would not wait.
    fn has_something(&self) -> bool {
        let incoming = self.incoming.borrow();
        if incoming.at < incoming.end {
            return true;
        }
        match self.conn.borrow_mut().process_new_packets() {
            Ok(io) => io.plaintext_bytes_to_read() > 0 || io.peer_has_closed(),
            Err(_) => true,
        }
    }

    /// An idle connection holds no buffer.
    fn release(&self) {
        let mut incoming = self.incoming.borrow_mut();
        if incoming.at == incoming.end {
            *incoming = Incoming::default();
        }
        let mut outgoing = self.outgoing.borrow_mut();
        if outgoing.is_empty() {
            *outgoing = Vec::new();
        }
    }
}

/// The turn to write.
struct Turn<'s>(&'s State);

impl<'s> Turn<'s> {
    fn take(state: &'s State) -> io::Result<Turn<'s>> {
        if state.broken.get() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        match state.writing.replace(true) {
            true => Err(io::Error::other("two coroutines write to one TLS connection")),
            false => Ok(Turn(state)),
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.writing.set(false);
    }
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
