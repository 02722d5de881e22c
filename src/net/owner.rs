//! Who listens on a port: from `/proc/net/tcp` and `/proc/*/fd` (proc_pid_net(5)).

use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A process that holds a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its id, as this process sees it.
    pub pid: u32,
    /// Its command name (`/proc/PID/comm`).
    pub command: String,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.command, self.pid)
    }
}

/// The process that listens where `addr` would. `None`: nobody, or one that may not be looked into, or one of
/// another network namespace's view.
pub(super) fn of_listener(addr: SocketAddr) -> Option<Owner> {
    let tables = [("/proc/thread-self/net/tcp", false), ("/proc/thread-self/net/tcp6", true)];
    let inodes = tables.iter().flat_map(|(path, v6)| {
        let table = fs::read_to_string(path).unwrap_or_default();
        let listeners: Vec<_> = table.lines().skip(1).filter_map(|line| parse_listener(line, *v6)).collect();
        listeners
    });
    inodes.filter(|(at, _)| overlap(*at, addr)).find_map(|(_, inode)| of_inode(&inode))
}

/// The process that holds the abstract Unix socket `name`.
pub(super) fn of_abstract(name: &str) -> Option<Owner> {
    let table = fs::read_to_string("/proc/thread-self/net/unix").ok()?;
    let inode = table.lines().skip(1).find_map(|line| {
        let mut words = line.split_ascii_whitespace().skip(6);
        let inode = words.next()?;
        (words.next()?.strip_prefix('@')? == name).then(|| inode.to_owned())
    })?;
    of_inode(&inode)
}

/// Address and inode of one line, if it is a listener's (state 0A).
fn parse_listener(line: &str, v6: bool) -> Option<(SocketAddr, String)> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    if *words.get(3)? != "0A" {
        return None;
    }
    let (ip, port) = words.get(1)?.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    Some((SocketAddr::new(parse_ip(ip, v6)?, port), (*words.get(9)?).to_owned()))
}

/// The kernel prints an address as 32-bit words of the machine's byte order.
fn parse_ip(hex: &str, v6: bool) -> Option<IpAddr> {
    if hex.len() != if v6 { 32 } else { 8 } || !hex.is_ascii() {
        return None;
    }
    let mut bytes = [0; 16];
    for (word, out) in bytes.chunks_exact_mut(4).take(hex.len() / 8).enumerate() {
        let value = u32::from_str_radix(&hex[word * 8..word * 8 + 8], 16).ok()?;
        out.copy_from_slice(&value.to_ne_bytes());
    }
    Some(match v6 {
        true => Ipv6Addr::from(bytes).to_canonical(),
        false => Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into(),
    })
}

fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}

fn of_inode(inode: &str) -> Option<Owner> {
    let wanted = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let holds = |pid: &u32| {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd"));
        descriptors.is_ok_and(|d| {
            d.flatten().any(|fd| fs::read_link(fd.path()).is_ok_and(|to| to.as_os_str() == wanted.as_str()))
        })
    };
    let pid = pids.into_iter().find(holds)?;
    let command = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some(Owner { pid, command: command.trim_end().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn reads_the_kernels_table() {
        let v4 = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 \
                      0        0 4711 1 x";
        assert_eq!(parse_listener(v4, false), Some(("127.0.0.1:8080".parse().unwrap(), "4711".into())));
        assert_eq!(parse_listener(&v4.replace(" 0A ", " 01 "), false), None);
        let v6 = "   0: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A \
                  00000000:00000000 00:00000000 00000000     0        0 12 1 x";
        assert_eq!(parse_listener(v6, true), Some(("[::1]:80".parse().unwrap(), "12".into())));
        for bad in ["", "0:", "0: zz:1 y 0A", "0: 0100007F:1F90 00000000:0000 0A"] {
            assert_eq!(parse_listener(bad, false), None, "{bad}");
        }
    }

    #[test]
    fn wildcards_overlap_with_everything_of_their_port() {
        let overlap = |a: &str, b: &str| overlap(a.parse().unwrap(), b.parse().unwrap());
        assert!(overlap("0.0.0.0:80", "127.0.0.1:80") && overlap("[::]:80", "127.0.0.1:80"));
        assert!(!overlap("127.0.0.1:80", "127.0.0.2:80") && !overlap("0.0.0.0:80", "0.0.0.0:81"));
    }
}
