//! The server behind the admin API's door, in a process of its own: it is found among this process's listeners.
#![allow(clippy::disallowed_methods)] // tests use std's sockets, threads and clock

mod common;

use common::{Client, Proxy, config, with_admin};
use std::net::SocketAddr;

#[test]
fn the_server_behind_the_door_knows_only_the_door() {
    let proxy = Proxy::start(with_admin(config(&[])));
    let admin = proxy.admin.unwrap();
    let behind = listeners_of_this_process().into_iter().filter(|addr| *addr != admin);
    let mut asked = 0;
    for addr in behind {
        let mut client = Client::connect(addr);
        let head = "GET /api/routes HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
        client.send(format!("{head}X-Tidegate-Key: 00000000000000000000000000000000\r\n\r\n"));
        let answer = client.response();
        // 404: a data plane; 403: a door, or what is behind it.
        assert!(
            [403, 404].contains(&answer.status) || answer.text().contains("\"routes\""),
            "{addr}: {answer:?}"
        );
        if answer.field("server") == Some("M") {
            assert_eq!((answer.status, answer.body.len()), (403, 0), "{addr}");
            asked += 1;
        }
    }
    assert_eq!(asked, 1, "may_minihttp was not found");
}

/// Loopback listeners whose inode is among this process's descriptors.
fn listeners_of_this_process() -> Vec<SocketAddr> {
    let links = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let own: Vec<String> = links
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .map(|link| link.to_string_lossy().into_owned())
        .collect();
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let listener = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let listens = words.get(3) == Some(&"0A") && own.contains(&format!("socket:[{}]", words.get(9)?));
        let port = u16::from_str_radix(words.get(1)?.split_once(':')?.1, 16).ok()?;
        listens.then(|| SocketAddr::from(([127, 0, 0, 1], port)))
    };
    table.lines().skip(1).filter_map(listener).collect()
}
