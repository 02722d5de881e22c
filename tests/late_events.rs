//! A machine so busy that events are read late: the address of a dead container has another occupant by then.
#![allow(clippy::disallowed_methods)] // tests use std's sockets, threads and clock

mod common;

use common::Client;
use common::fake::engine;
use common::program::{Running, tidegate};
use tidegate::docker::fake::{Page, Spec};

const ROUNDS: usize = 20;

#[test]
fn a_request_waits_for_events_that_are_not_read_yet() {
    let engine = engine();
    for name in ["a", "b"] {
        engine.run(Spec::new(name).page(Page::Hello).label("proxy.aliases", name)).unwrap();
    }
    let config = engine.dir.0.join("config.yml");
    let yaml = format!(
        "entrypoint: {{http_addr: \"127.0.0.1:0\"}}\nproviders: {{docker: {{local: \"unix://{}\"}}}}\n",
        engine.socket().display()
    );
    std::fs::write(&config, yaml).unwrap();
    let mut command = tidegate();
    command.arg("serve").arg("--config").arg(&config);
    let proxy = Running::start(command);
    let addr = proxy.addr();
    let (mut right, mut other) = (0, 0);
    for round in 0..ROUNDS {
        for name in ["a", "b"] {
            let answered = || ask(addr, name).response().field("x-container") == Some(name);
            common::wait_until("both answer", answered);
        }
        // Stopped, it reads nothing; what is asked and what has happened are both there when it goes on.
        proxy.signal("STOP");
        engine.swap_addresses("a", "b").unwrap();
        let asked: Vec<_> = ["a", "b", "a", "b"].map(|name| (name, ask(addr, name))).into();
        proxy.signal("CONT");
        for (name, mut client) in asked {
            let response = client.response();
            match (response.status, response.field("x-container")) {
                (200, Some(container)) => {
                    assert_eq!(container, name, "round {round}: another container's answer");
                    right += 1;
                }
                _ => other += 1,
            }
        }
    }
    assert!(right > 0, "nothing was served");
    eprintln!("{right} right, {other} refused");
}

fn ask(addr: std::net::SocketAddr, host: &str) -> Client {
    let mut client = Client::connect(addr);
    client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"));
    client
}
