//! ureq over a Unix socket: a small `Connector` and `Transport`. The traits live in `ureq::unversioned`,
//! outside semver: Cargo.toml pins `~3.5.2`.

use super::backlog::{self, Backlog, Mark};
use super::socket;
use crate::util::Locked;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;
use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, ShutdownHandle, Transport,
};

/// Resolves nothing: what is asked of it goes over the Unix socket. ureq's own resolver would ask DNS
/// from a thread it never joins.
#[derive(Debug)]
pub(super) struct NoResolver;

impl Resolver for NoResolver {
    fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let mut addresses = self.empty();
        // The trait wants at least one; the connector below never looks at it.
        addresses.push(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
        Ok(addresses)
    }
}

/// Opens connections to one Unix socket.
#[derive(Debug)]
pub(super) struct UnixConnector {
    path: PathBuf,
    /// Where it is told that something was read: the event stream's alone.
    backlog: Option<Told>,
    /// A stream already connected, used before any is opened.
    first: FirstStream,
}

/// The backlog that a transport tells of its reads.
#[derive(Clone)]
struct Told(Arc<Backlog>);

impl std::fmt::Debug for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Told")
    }
}

struct FirstStream(Locked<Option<UnixStream>>);

impl std::fmt::Debug for FirstStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FirstStream")
    }
}

impl UnixConnector {
    pub(super) fn new(path: PathBuf, first: Option<(UnixStream, Arc<Backlog>)>) -> Self {
        let (first, backlog) = first.map(|(stream, backlog)| (stream, Told(backlog))).unzip();
        UnixConnector { path, backlog, first: FirstStream(Locked::new(first)) }
    }
}

impl Connector for UnixConnector {
    type Out = UnixTransport;

    fn connect(&self, details: &ConnectionDetails, _: Option<()>) -> Result<Option<Self::Out>, Error> {
        let stream = match self.first.0.with(Option::take) {
            Some(stream) => stream,
            None => socket::connect(&self.path)?,
        };
        let stream = Arc::new(Stream(stream));
        let handle: Weak<dyn ShutdownHandle> = Arc::downgrade(&stream) as Weak<dyn ShutdownHandle>;
        (details.register_shutdown)(handle)?;
        let config = details.config;
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        let backlog = self.backlog.clone();
        Ok(Some(UnixTransport {
            stream,
            buffers,
            backlog,
            mark: None,
            read_timeout: None,
            write_timeout: None,
        }))
    }
}

/// The socket, shared weakly with the agent so that `Agent::shutdown` wakes whoever reads it.
#[derive(Debug)]
struct Stream(UnixStream);

impl ShutdownHandle for Stream {
    fn shutdown(&self) {
        // An error means that it is closed already.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// One connection.
#[derive(Debug)]
pub(super) struct UnixTransport {
    stream: Arc<Stream>,
    buffers: LazyBuffers,
    backlog: Option<Told>,
    /// What was read last is being worked on.
    mark: Option<Mark>,
    read_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
}

impl Transport for UnixTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let wanted = socket_timeout(&timeout.for_write())?;
        if wanted != self.write_timeout {
            self.stream.0.set_write_timeout(wanted)?;
            self.write_timeout = wanted;
        }
        let output = &self.buffers.output()[..amount];
        (&self.stream.0).write_all(output).map_err(|error| timed_out(error, &timeout))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let wanted = socket_timeout(&timeout.for_read())?;
        if wanted != self.read_timeout {
            self.stream.0.set_read_timeout(wanted)?;
            self.read_timeout = wanted;
        }
        if let Some(Told(backlog)) = &self.backlog {
            // All that was read before is handed on by now.
            self.mark = None;
            if self.read_timeout.is_none() {
                backlog::wait_readable(&self.stream.0)?;
            }
            self.mark = Some(backlog.mark());
        }
        let input = self.buffers.input_append_buf();
        let amount = loop {
            // A signal restarts the wait: ours are handled by another thread and are rare.
            match (&self.stream.0).read(input) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result.map_err(|error| timed_out(error, &timeout))?,
            }
        };
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    /// Nothing to read on an idle connection: neither its end nor bytes nobody asked for.
    fn is_open(&mut self) -> bool {
        if self.stream.0.set_nonblocking(true).is_err() {
            return false;
        }
        let silent = matches!((&self.stream.0).read(&mut [0]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        silent && self.stream.0.set_nonblocking(false).is_ok()
    }
}

/// What SO_RCVTIMEO or SO_SNDTIMEO shall be; none waits for ever.
fn socket_timeout(timeout: &NextTimeout) -> Result<Option<Duration>, Error> {
    if timeout.after.is_not_happening() {
        return Ok(None);
    }
    match *timeout.after {
        Duration::ZERO => Err(Error::Timeout(timeout.reason)),
        after => Ok(Some(after)),
    }
}

/// A socket's timeout comes back as `WouldBlock`.
fn timed_out(error: io::Error, timeout: &NextTimeout) -> Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Error::Timeout(timeout.reason),
        _ => Error::Io(error),
    }
}
