//! Names to addresses, by the system's resolver on a lane of its own.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;
use std::time::Instant;

use super::lane::lane_run;
use crate::blocking::Lane;
use crate::limits;
use crate::runtime;
use crate::util::Locked;

/// The addresses of `name`, at least one, in the resolver's order. Answers are remembered for 5 s, failures
/// for 1 s. An address as text needs no resolver; brackets of IPv6 are taken.
///
/// # Errors
/// `NotFound` with the resolver's words, `TimedOut`, or what [`lane_run`] gives.
pub fn resolve(name: &str, port: u16, deadline: Option<Instant>) -> io::Result<Vec<SocketAddr>> {
    let bare = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(name);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    if name.is_empty() || name.len() > limits::NAME_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("not a host name: {} bytes", name.len()),
        ));
    }
    let dns = dns()?;
    let key = name.to_ascii_lowercase();
    let answer = match dns.cache.with(|cache| cache.get(&key, runtime::now())) {
        Some(known) => known,
        None => {
            let asked = key.clone();
            let answer = lane_run(&dns.lane, move || ask(&asked), deadline)?;
            dns.cache.with(|cache| cache.put(key, answer.clone(), runtime::now()));
            answer
        }
    };
    match answer {
        Ok(ips) => Ok(ips.into_iter().map(|ip| SocketAddr::new(ip, port)).collect()),
        Err(reason) => Err(io::Error::new(io::ErrorKind::NotFound, format!("{name}: {reason}"))),
    }
}

type Answer = Result<Vec<IpAddr>, String>;

struct Dns {
    lane: Lane,
    cache: Locked<Cache>,
}

fn dns() -> io::Result<&'static Dns> {
    static DNS: OnceLock<Dns> = OnceLock::new();
    if let Some(dns) = DNS.get() {
        return Ok(dns);
    }
    let lane = Lane::new("dns", limits::DNS_THREADS, limits::LANE_QUEUE)?;
    Ok(DNS.get_or_init(|| Dns { lane, cache: Locked::new(Cache::default()) }))
}

#[allow(clippy::disallowed_methods)] // on the lane's thread
fn ask(name: &str) -> Answer {
    let found = std::net::ToSocketAddrs::to_socket_addrs(&(name, 0)).map_err(|e| e.to_string())?;
    let mut ips: Vec<IpAddr> = Vec::new();
    for addr in found.take(limits::DNS_ADDRESSES) {
        if !ips.contains(&addr.ip()) {
            ips.push(addr.ip());
        }
    }
    if ips.is_empty() { Err("no address".to_owned()) } else { Ok(ips) }
}

#[derive(Default)]
struct Cache {
    entries: HashMap<String, (Instant, Answer)>,
}

impl Cache {
    fn get(&self, name: &str, now: Instant) -> Option<Answer> {
        self.entries.get(name).filter(|(until, _)| now < *until).map(|(_, answer)| answer.clone())
    }

    fn put(&mut self, name: String, answer: Answer, now: Instant) {
        if self.entries.len() >= limits::DNS_CACHE {
            self.entries.retain(|_, (until, _)| now < *until);
        }
        if self.entries.len() < limits::DNS_CACHE {
            let kept = if answer.is_ok() { limits::DNS_KEPT } else { limits::DNS_FAILURE_KEPT };
            self.entries.insert(name, (now + kept, answer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_cache_forgets_in_time_and_stays_bounded() {
        let now = runtime::now();
        let mut cache = Cache::default();
        for i in 0..limits::DNS_CACHE + 10 {
            cache.put(format!("h{i}"), Ok(vec![IpAddr::from([127, 0, 0, 1])]), now);
        }
        assert_eq!(cache.entries.len(), limits::DNS_CACHE);
        assert!(cache.get("h0", now + limits::DNS_KEPT - Duration::from_millis(1)).is_some());
        assert!(cache.get("h0", now + limits::DNS_KEPT).is_none());
        cache.put("late".into(), Err("no".into()), now + limits::DNS_KEPT);
        assert_eq!(cache.get("late", now + limits::DNS_KEPT), Some(Err("no".into())));
        assert_eq!(cache.entries.len(), 1, "what had expired made room");
    }
}
