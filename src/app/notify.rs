//! Tells the service manager what goes on (sd_notify(3)): a datagram to `$NOTIFY_SOCKET`.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// It serves.
pub(super) const READY: &str = "READY=1";
/// It is ending.
pub(super) const STOPPING: &str = "STOPPING=1";

/// Sends `state`, if somebody wants to know.
pub(super) fn notify(state: &str) {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else { return };
    if let Err(error) = send(name.as_bytes(), state) {
        log::warn!("NOTIFY_SOCKET {}: {error}", name.to_string_lossy());
    }
}

/// `@name` is an abstract socket, anything else a path.
fn send(name: &[u8], state: &str) -> io::Result<()> {
    let addr = match name.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name))?,
    };
    let socket = UnixDatagram::unbound()?;
    // A manager that doesn't read must not stop us.
    socket.set_nonblocking(true)?;
    socket.send_to_addr(state.as_bytes(), &addr).map(drop)
}
