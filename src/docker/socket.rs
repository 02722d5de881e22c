//! The engine's Unix socket: connecting with a bound, and telling why it failed in words a person can use.

pub mod watch;

use crate::limits;
use rustix::fs::{FileType, Mode};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Why a connect failed, told apart by what it says about the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectFailure {
    /// No such file, or nobody listens: no engine runs behind this path.
    Nobody(String),
    /// The file behind this path was deleted while it was bind-mounted: an engine may run unseen.
    Stale(String),
    /// We may not open it; an engine may run behind it.
    Denied(String),
    /// Somebody listens and does not accept (full backlog), or it can't be told (no descriptors left).
    Unknown(String),
}

/// Connects to the socket at `path`, in a second at most.
///
/// # Errors
/// Whatever socket(2) and connect(2) say; `WouldBlock` if the listener's backlog is full.
pub fn connect(path: &Path) -> io::Result<UnixStream> {
    let fd = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // A blocking connect to a Unix socket waits for the backlog at most this long, then gives EAGAIN.
    sockopt::set_socket_timeout(&fd, sockopt::Timeout::Send, Some(limits::ENGINE_CONNECT_TIMEOUT))?;
    let address = SocketAddrUnix::new(path)?;
    loop {
        match net::connect(&fd, &address) {
            Ok(()) => break,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    sockopt::set_socket_timeout(&fd, sockopt::Timeout::Send, None)?;
    Ok(UnixStream::from(fd))
}

/// Says what a failed connect means.
pub fn explain(path: &Path, error: &io::Error) -> ConnectFailure {
    let shown = path.display();
    match Errno::from_io_error(error) {
        Some(Errno::NOENT | Errno::NOTDIR) => ConnectFailure::Nobody(format!("{shown} does not exist")),
        Some(Errno::CONNREFUSED) => refused(path),
        Some(Errno::ACCESS | Errno::PERM) => ConnectFailure::Denied(denied(path)),
        Some(Errno::AGAIN) => {
            ConnectFailure::Unknown(format!("{shown} does not accept: its queue of connections is full"))
        }
        _ => ConnectFailure::Unknown(format!("cannot connect to {shown}: {error}")),
    }
}

/// Refused: the file is there, but no listener behind it.
fn refused(path: &Path) -> ConnectFailure {
    let shown = path.display();
    match rustix::fs::stat(path) {
        Ok(stat) if stat.st_nlink == 0 || is_deleted_mount(path) => ConnectFailure::Stale(format!(
            "{shown} is a deleted file: the engine has made a new socket that this mount cannot see; \
             mount the directory, or restart me"
        )),
        Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
            FileType::Socket => ConnectFailure::Nobody(format!("nobody listens on {shown}")),
            FileType::Directory => ConnectFailure::Nobody(format!(
                "{shown} is a directory: Docker makes one when it mounts a socket that does not exist (yet)"
            )),
            _ => ConnectFailure::Nobody(format!("{shown} is not a socket")),
        },
        Err(_) => ConnectFailure::Nobody(format!("nobody listens on {shown}")),
    }
}

/// The kernel marks the root of a mount whose file was deleted with `//deleted`.
fn is_deleted_mount(path: &Path) -> bool {
    std::fs::read_to_string("/proc/self/mountinfo").is_ok_and(|text| deleted_in(&text, path))
}

/// Whether `mountinfo` (proc_pid_mountinfo(5)) has `path` mounted from a deleted file.
fn deleted_in(mountinfo: &str, path: &Path) -> bool {
    mountinfo.lines().any(|line| {
        let mut fields = line.split(' ').skip(3);
        let (root, mount_point) = (fields.next().unwrap_or(""), fields.next().unwrap_or(""));
        root.ends_with("//deleted") && Path::new(mount_point) == path
    })
}

/// Names the owner of a socket that we may not open, and what to do.
fn denied(path: &Path) -> String {
    let shown = path.display();
    let Ok(stat) = rustix::fs::stat(path) else {
        return format!("no permission for {shown}: one of its directories is closed to this user");
    };
    let mode = Mode::from_raw_mode(stat.st_mode).bits() & 0o777;
    let (uid, gid) = (stat.st_uid, stat.st_gid);
    let user = name_of("/etc/passwd", uid).map_or(format!("user {uid}"), |name| format!("user {name}"));
    let group = name_of("/etc/group", gid);
    let named = group.as_ref().map_or(format!("group {gid}"), |name| format!("group {name} ({gid})"));
    let me = rustix::process::geteuid().as_raw();
    let add = group.map_or(String::new(), |name| format!("add this user to the group {name}, or "));
    format!(
        "no permission for {shown}: it belongs to {user}, {named}, mode {mode:04o}, and I am user {me}; \
         {add}start me with --group-add {gid}"
    )
}

/// The name of `id` in a file of passwd(5) or group(5).
fn name_of(file: &str, id: u32) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.split(':').nth(2).is_some_and(|n| n.parse() == Ok(id)))?;
    line.split(':').next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    fn scratch(name: &str) -> std::path::PathBuf {
        let dir = std::env::temp_dir().join(format!("tidegate-socket-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    #[test]
    fn explains_nobody_a_directory_and_a_plain_file() {
        let dir = scratch("explain");
        let tell = |path: &Path| explain(path, &connect(path).unwrap_err());
        let absent = dir.join("absent.sock");
        assert!(matches!(tell(&absent), ConnectFailure::Nobody(why) if why.contains("does not exist")));
        let left = dir.join("left.sock");
        drop(UnixListener::bind(&left).unwrap());
        assert!(matches!(tell(&left), ConnectFailure::Nobody(why) if why.contains("nobody listens")));
        assert!(matches!(tell(&dir), ConnectFailure::Nobody(why) if why.contains("is a directory")));
        let file = dir.join("file");
        std::fs::write(&file, "x").unwrap();
        assert!(matches!(tell(&file), ConnectFailure::Nobody(why) if why.contains("not a socket")));
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn connects_and_tells_a_full_backlog_from_nobody() {
        let dir = scratch("backlog");
        let path = dir.join("s.sock");
        let listener = UnixListener::bind(&path).unwrap();
        drop(connect(&path).unwrap());
        rustix::net::listen(&listener, 0).unwrap();
        let mut held = Vec::new();
        let error = loop {
            match connect(&path) {
                Ok(stream) => held.push(stream),
                Err(error) => break error,
            }
            assert!(held.len() < 8, "the backlog of 0 took {}", held.len());
        };
        assert!(matches!(explain(&path, &error), ConnectFailure::Unknown(why) if why.contains("full")));
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_deleted_mount_is_seen_in_mountinfo() {
        let text = "36 35 0:32 / /proc rw - proc proc rw\n\
                    91 60 0:25 /docker.sock//deleted /var/run/docker.sock rw - tmpfs tmpfs rw\n";
        assert!(deleted_in(text, Path::new("/var/run/docker.sock")));
        assert!(!deleted_in(text, Path::new("/proc")));
        assert!(!deleted_in("garbage\n\n1 2\n", Path::new("/proc")));
    }

    #[test]
    fn a_denied_socket_names_its_owner_and_what_to_do() {
        let dir = scratch("denied");
        let path = dir.join("s.sock");
        let _listener = UnixListener::bind(&path).unwrap();
        let text = denied(&path);
        assert!(text.contains("belongs to user ") && text.contains("--group-add"), "{text}");
        std::fs::remove_dir_all(dir).unwrap();
    }
}
