//! Listeners: one per core on the same address, and an error when somebody else has it.
//!
//! `SO_REUSEPORT` lets the cores share an address, and would let any other program of the same user share it
//! in silence. So an address is first claimed by an abstract Unix socket of its name (two Tidegates that
//! start at once; a TCP socket that is bound but doesn't listen excludes nobody), then tried without
//! `SO_REUSEPORT`, where the kernel refuses an address that overlaps with anybody's listener. The claim lasts
//! as long as the listeners; a listener that takes the place of our own shares theirs.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::{Arc, LazyLock, Weak};
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use super::owner::{self, Owner};
use crate::limits;
use crate::runtime::{Abort, TcpListener, TcpStream};
use crate::util::Locked;

/// Why an address can't be listened on.
#[derive(Debug)]
pub enum BindError {
    /// Somebody listens there.
    Taken {
        /// The address asked for.
        addr: SocketAddr,
        /// Who, where it can be known.
        owner: Option<Owner>,
    },
    /// A port below 1024 (`net.ipv4.ip_unprivileged_port_start`) without the right to it.
    Denied {
        /// The address asked for.
        addr: SocketAddr,
    },
    /// Anything else: not an address of this host, no IPv6, no descriptors.
    Unavailable {
        /// The address asked for.
        addr: SocketAddr,
        /// The kernel's words.
        error: io::Error,
    },
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BindError::Taken { addr, owner: Some(owner) } => write!(f, "{addr} is taken by {owner}"),
            BindError::Taken { addr, owner: None } => write!(f, "{addr} is taken by another process"),
            BindError::Denied { addr } => {
                write!(f, "no right to listen on {addr}: port {} is privileged", addr.port())
            }
            BindError::Unavailable { addr, error } => write!(f, "cannot listen on {addr}: {error}"),
        }
    }
}

impl Error for BindError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            BindError::Unavailable { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// A listening socket on its way to a core.
#[derive(Debug)]
pub struct BoundListener {
    socket: std::net::TcpListener,
    /// None for an inherited one: whoever opened it holds the address.
    claim: Option<Arc<Claim>>,
}

/// A listening socket on its core.
pub struct Listener {
    inner: TcpListener,
    claim: Option<Arc<Claim>>,
}

/// A loopback port of our own, for a server that binds with `SO_REUSEPORT` itself.
#[derive(Debug)]
pub struct Reserved {
    /// The address to bind.
    pub addr: SocketAddr,
    /// Bound but not listening: it takes no connection, and keeps the kernel from handing the port out.
    _socket: std::net::TcpListener,
    _claim: Arc<Claim>,
}

/// Picks a free port of 127.0.0.1 and holds it.
///
/// # Errors
/// See [`BindError`].
pub fn reserve() -> Result<Reserved, BindError> {
    let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    let failed = |error: io::Error| BindError::Unavailable { addr: any, error };
    let picked = open(any, false, false).map_err(failed)?;
    let addr = picked.local_addr().map_err(failed)?;
    let claim = Claim::new(addr, false)?;
    sockopt::set_socket_reuseport(&picked, true).map_err(|e| failed(e.into()))?;
    Ok(Reserved { addr, _socket: picked, _claim: claim })
}

/// Binds `copies` sockets to one address, for as many cores. Port 0: the kernel picks one for all.
/// `dual_stack` with an unspecified address listens for IPv4 and IPv6, or for IPv4 alone on a host without
/// IPv6.
///
/// # Errors
/// See [`BindError`].
pub fn bind(addr: SocketAddr, dual_stack: bool, copies: usize) -> Result<Vec<BoundListener>, BindError> {
    bind_either(addr, dual_stack, copies, true)
}

/// As [`bind`], for an address that overlaps with a listener of this process that is about to close
/// (`127.0.0.1:80` becomes `:80`): the kernel shares it, so that no moment is without a listener.
///
/// # Errors
/// See [`BindError`]. Another program of the same user that shares its address isn't noticed.
pub fn bind_over(addr: SocketAddr, dual_stack: bool, copies: usize) -> Result<Vec<BoundListener>, BindError> {
    bind_either(addr, dual_stack, copies, false)
}

fn bind_either(
    addr: SocketAddr,
    dual_stack: bool,
    copies: usize,
    alone: bool,
) -> Result<Vec<BoundListener>, BindError> {
    if !dual_stack || !addr.ip().is_unspecified() {
        return bind_all(addr, false, copies, alone);
    }
    let v6 = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), addr.port());
    match bind_all(v6, true, copies, alone) {
        Err(BindError::Unavailable { error, .. }) if is_without_ipv6(&error) => {
            bind_all(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), addr.port()), false, copies, alone)
        }
        result => result,
    }
}

impl BoundListener {
    /// A listener that another process opened. Its copies share one backlog: each connection wakes one of the cores
    /// that have a copy and nothing to do.
    pub fn inherited(socket: std::net::TcpListener) -> BoundListener {
        BoundListener { socket, claim: None }
    }

    /// The address, with the port that was picked.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Registers it at the calling core.
    ///
    /// # Errors
    /// The caller is on no core, or epoll has no room.
    pub fn listen(self) -> io::Result<Listener> {
        let inner = match self.claim {
            Some(_) => TcpListener::from_std(self.socket)?,
            None => TcpListener::from_shared(self.socket)?,
        };
        Ok(Listener { inner, claim: self.claim })
    }
}

impl Listener {
    /// The next connection and where it comes from; as [`TcpListener::accept`]. An IPv4 client of a
    /// dual-stack listener has its IPv4 address.
    pub fn accept(&self, deadline: Option<Instant>) -> io::Result<(TcpStream, SocketAddr)> {
        self.accept_until(deadline, None)
    }

    /// As [`Listener::accept`]; `abort` ends it.
    pub fn accept_until(
        &self,
        deadline: Option<Instant>,
        abort: Option<&Abort>,
    ) -> io::Result<(TcpStream, SocketAddr)> {
        self.inner.accept_until(deadline, abort).map(|(stream, peer)| (stream, canonical(peer)))
    }

    /// Whether whoever started us keeps the socket: then its backlog is for the next one.
    pub fn is_inherited(&self) -> bool {
        self.claim.is_none()
    }

    /// From now on no handshake begins, and those under way end; as [`TcpListener::refuse_new`].
    pub fn refuse_new(&self) -> io::Result<()> {
        self.inner.refuse_new()
    }

    /// The next connection if one waits: to empty the backlog of a listener that is about to close.
    pub fn try_accept(&self) -> io::Result<Option<(TcpStream, SocketAddr)>> {
        Ok(self.inner.try_accept()?.map(|(stream, peer)| (stream, canonical(peer))))
    }

    /// The address it listens on.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

fn bind_all(
    addr: SocketAddr,
    dual_stack: bool,
    copies: usize,
    alone: bool,
) -> Result<Vec<BoundListener>, BindError> {
    let mut tries = PORT_ZERO_TRIES;
    loop {
        match bind_once(addr, dual_stack, copies, alone) {
            // The port the kernel picked was taken by somebody between the trial and the bind.
            Err(BindError::Taken { .. }) if addr.port() == 0 && tries > 0 => tries -= 1,
            result => return result,
        }
    }
}

const PORT_ZERO_TRIES: u32 = 16;

fn bind_once(
    addr: SocketAddr,
    dual_stack: bool,
    copies: usize,
    alone: bool,
) -> Result<Vec<BoundListener>, BindError> {
    let failed = |error: io::Error, addr: SocketAddr| match error.kind() {
        io::ErrorKind::AddrInUse => BindError::Taken { addr, owner: owner::of_listener(addr) },
        io::ErrorKind::PermissionDenied => BindError::Denied { addr },
        _ => BindError::Unavailable { addr, error },
    };
    let (mut addr, mut trial) = (addr, None);
    if addr.port() == 0 {
        let picked = open(addr, dual_stack, false).map_err(|e| failed(e, addr))?;
        addr = picked.local_addr().map_err(|e| failed(e, addr))?;
        trial = Some(picked);
    }
    let claim = Claim::new(addr, !alone)?;
    if trial.is_none() && alone {
        trial = Some(open(addr, dual_stack, false).map_err(|e| failed(e, addr))?);
    }
    // It never listened; now the address is known to be free.
    drop(trial);
    let mut listeners = Vec::new();
    for _ in 0..copies.max(1) {
        let socket = open(addr, dual_stack, true).map_err(|e| failed(e, addr))?;
        rustix::net::listen(&socket, limits::LISTEN_BACKLOG).map_err(|e| failed(e.into(), addr))?;
        listeners.push(BoundListener { socket, claim: Some(claim.clone()) });
    }
    Ok(listeners)
}

/// A bound socket that doesn't listen yet.
fn open(addr: SocketAddr, dual_stack: bool, shared: bool) -> io::Result<std::net::TcpListener> {
    let family = if addr.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    if addr.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, !dual_stack)?;
    }
    // Connections of a former process in TIME_WAIT don't matter; a listener does all the same.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, shared)?;
    rustix::net::bind(&socket, &addr)?;
    Ok(socket.into())
}

fn is_without_ipv6(error: &io::Error) -> bool {
    let without = [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL, Errno::PROTONOSUPPORT];
    without.iter().any(|e| error.raw_os_error() == Some(e.raw_os_error()))
}

/// An abstract Unix socket named after the address: only one process of the host's network can hold it.
#[derive(Debug)]
struct Claim {
    _socket: OwnedFd,
}

/// Those of this process, by their names.
static CLAIMS: LazyLock<Locked<HashMap<String, Weak<Claim>>>> = LazyLock::new(Locked::default);

impl Claim {
    /// `shared`: one that this process has already does as well.
    fn new(addr: SocketAddr, shared: bool) -> Result<Arc<Claim>, BindError> {
        let name = format!("tidegate-listen-{addr}");
        let own = || CLAIMS.with(|claims| claims.get(&name).and_then(Weak::upgrade));
        let bound = || -> rustix::io::Result<OwnedFd> {
            let flags = SocketFlags::CLOEXEC;
            let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
            rustix::net::bind(&socket, &SocketAddrUnix::new_abstract_name(name.as_bytes())?)?;
            Ok(socket)
        };
        if let Some(claim) = own().filter(|_| shared) {
            return Ok(claim);
        }
        match bound() {
            Ok(socket) => {
                let claim = Arc::new(Claim { _socket: socket });
                CLAIMS.with(|claims| {
                    claims.retain(|_, claim| claim.strong_count() > 0);
                    claims.insert(name, Arc::downgrade(&claim));
                });
                Ok(claim)
            }
            Err(Errno::ADDRINUSE) => {
                let owner = owner::of_listener(addr).or_else(|| owner::of_abstract(&name));
                Err(BindError::Taken { addr, owner })
            }
            Err(e) => Err(BindError::Unavailable { addr, error: e.into() }),
        }
    }
}
