//! The containers' addresses: a /20 of 127.0.0.0/8 for each engine, handed out lowest first as Docker does.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::atomic::{AtomicU64, Ordering};

/// A /20 holds 4,096 addresses.
const SUBNET_BITS: u32 = 12;
/// Subnets from 127.1.0.0 up to 127.254.240.0: 127.0.0.0/16 is everybody's.
const SUBNETS: u64 = 254 * 16;
/// Below the usual range of ephemeral ports, so that nobody gets it by chance.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// An engine's subnet.
pub(super) struct Subnet {
    base: u32,
    taken: BTreeSet<u32>,
    /// An abstract Unix socket named after the subnet: it is ours on this machine while we hold it.
    _claim: UnixListener,
}

impl Subnet {
    /// Claims the subnet of `seed`, or the next free one.
    pub(super) fn claim(seed: Option<u64>) -> io::Result<Subnet> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let first = seed.unwrap_or_else(|| {
            // Engines of one process are neighbours, processes are spread.
            u64::from(std::process::id()) * 61 + NEXT.fetch_add(1, Ordering::Relaxed)
        });
        for index in (0..SUBNETS).map(|i| first.wrapping_add(i) % SUBNETS) {
            let base = u32::from(Ipv4Addr::new(127, 1, 0, 0)) + ((index as u32) << SUBNET_BITS);
            let name = format!("tidegate-fake-engine-{}", Ipv4Addr::from(base));
            match UnixListener::bind_addr(&SocketAddr::from_abstract_name(name)?) {
                Ok(claim) => return Ok(Subnet { base, taken: BTreeSet::new(), _claim: claim }),
                Err(e) if e.kind() == io::ErrorKind::AddrInUse => {}
                Err(e) => return Err(e),
            }
        }
        Err(io::Error::new(io::ErrorKind::AddrInUse, "every subnet of 127.0.0.0/8 has a fake engine"))
    }

    /// The gateway's address, the first.
    pub(super) fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.base + 1)
    }

    /// Takes the lowest free address.
    pub(super) fn take(&mut self) -> Option<Ipv4Addr> {
        let last = self.base + (1 << SUBNET_BITS) - 2;
        let free = (self.base + 2..=last).find(|a| !self.taken.contains(a))?;
        self.taken.insert(free);
        Some(Ipv4Addr::from(free))
    }

    /// Takes this address, if it is of this subnet and free.
    pub(super) fn take_this(&mut self, ip: Ipv4Addr) -> bool {
        let number = u32::from(ip);
        number >> SUBNET_BITS == self.base >> SUBNET_BITS && self.taken.insert(number)
    }

    pub(super) fn release(&mut self, ip: Ipv4Addr) {
        self.taken.remove(&u32::from(ip));
    }
}

/// A port that nobody on this machine listens on, the same for all containers of an engine.
#[allow(clippy::disallowed_methods)] // a look for a free port, not a listener
pub(super) fn common_port(seed: u64) -> io::Result<u16> {
    let count = u64::from(PORTS.end - PORTS.start);
    for at in (0..count).map(|i| seed.wrapping_mul(7919).wrapping_add(i) % count) {
        let port = PORTS.start + u16::try_from(at).unwrap_or(0);
        // A port that ends in 443 would be taken for HTTPS.
        if port % 1000 != 443 && TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return Ok(port);
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, "no free port between 20000 and 32000"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_address_is_handed_out() {
        let mut subnet = Subnet::claim(None).unwrap();
        let (a, b) = (subnet.take().unwrap(), subnet.take().unwrap());
        assert_eq!(u32::from(b), u32::from(a) + 1);
        subnet.release(a);
        assert_eq!(subnet.take(), Some(a));
        assert!(!subnet.take_this(b), "an address was given twice");
        assert!(!subnet.take_this(Ipv4Addr::LOCALHOST), "an address of another subnet was given");
    }

    #[test]
    fn two_engines_never_share_a_subnet() {
        let one = Subnet::claim(Some(77)).unwrap();
        let two = Subnet::claim(Some(77)).unwrap();
        assert_ne!(one.gateway(), two.gateway());
    }
}
