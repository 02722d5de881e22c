//! Asks the proxy, as a visitor would, who answers under an alias.

use crate::http::{self, Method};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// A page refresh must not hang on a route that waits for its container.
const PATIENCE: Duration = Duration::from_millis(300);
/// More than the head of any answer that matters.
const HEAD_BYTES: u64 = 16 * 1024;
/// The control page doesn't probe when it is itself probed.
pub(super) const MARK: &str = "X-Tidegate-Demo-Probe";

/// Who answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// A container of this name.
    Container(String),
    /// The proxy itself, with this status.
    Proxy(u16),
    /// Nobody in time.
    Nobody,
}

/// Hosts that are asked for one page, each on a thread; nobody has typed more aliases by hand.
const HOSTS: usize = 32;

/// One HEAD request for each host, all at once. Those beyond the bound are not asked.
pub(super) fn ask(port: u16, hosts: &[String]) -> Vec<Answer> {
    let mut answers: Vec<_> = std::thread::scope(|scope| {
        let asked = hosts.iter().take(HOSTS);
        let threads: Vec<_> =
            asked.map(|host| scope.spawn(move || one(port, host).unwrap_or(Answer::Nobody))).collect();
        threads.into_iter().map(|t| t.join().unwrap_or(Answer::Nobody)).collect()
    });
    answers.resize(hosts.len(), Answer::Nobody);
    answers
}

#[allow(clippy::disallowed_methods)] // a thread of the demo's control page, not a core
fn one(port: u16, host: &str) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = format!("HEAD / HTTP/1.1\r\nHost: {host}:{port}\r\n{MARK}: 1\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut head = Vec::new();
    stream.take(HEAD_BYTES).read_to_end(&mut head)?;
    Ok(read(&head).unwrap_or(Answer::Nobody))
}

fn read(head: &[u8]) -> Option<Answer> {
    let response = http::parse_response(head, &Method::Head).ok()??;
    match response.field("x-container") {
        Some(name) => Some(Answer::Container(String::from_utf8_lossy(name).into_owned())),
        None => Some(Answer::Proxy(response.status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_a_containers_answer_from_the_proxys() {
        let from = |text: &str| read(text.as_bytes());
        let container = from("HTTP/1.1 404 Not Found\r\nx-container: whoami\r\n\r\n");
        assert_eq!(container, Some(Answer::Container("whoami".into())));
        assert_eq!(from("HTTP/1.1 503 Service Unavailable\r\n\r\n"), Some(Answer::Proxy(503)));
        assert_eq!(from("nonsense"), None);
    }
}
