//! Backends that do as each request's plan says.

use super::ledger::Ledger;
use super::plan::{Plan, Wish, body, digest, echoed, event};
use super::wire::Wire;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

/// A backend of `route`; its threads end with the process.
pub fn start(route: &'static str, ledger: &Arc<Ledger>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let ledger = Arc::clone(ledger);
    std::thread::spawn(move || {
        for tcp in listener.incoming().flatten() {
            let ledger = Arc::clone(&ledger);
            std::thread::spawn(move || {
                let mut wire = Wire::accepted(tcp);
                while let Ok(head) = wire.head() {
                    match serve(route, &ledger, wire, &head) {
                        Some(back) => wire = back,
                        None => return,
                    }
                }
            });
        }
    });
    addr
}

struct Asked<'a> {
    route: &'a str,
    wish: Wish,
    received: String,
    bodiless: bool,
}

/// Serves one request; gives the connection back if it goes on. A proxy that has gone is nobody's fault.
fn serve(route: &str, ledger: &Ledger, mut wire: Wire, head: &str) -> Option<Wire> {
    let line = head.lines().next().unwrap_or_default();
    let Some(mut wish) = Wish::parse(line) else {
        ledger.fail(format!("{route}'s backend was asked: {line}"));
        return None;
    };
    if ledger.head(&wish, route) > 1 {
        wish.plan = Plan::Right;
    }
    let mut asked = Asked { route, wish, received: "-".into(), bodiless: line.starts_with("HEAD") };
    if wish.plan == Plan::Early {
        let _ = wire.send(&[asked.head("Connection: close\r\n").as_bytes(), &asked.body()].concat());
        return None;
    }
    // Half of the faults come before the body.
    if wish.id % 2 == 0 && fault(wish.plan) {
        return fail(wire, &asked);
    }
    asked.received = digest(&wire.request_body(head).ok()?);
    if fault(wish.plan) {
        return fail(wire, &asked);
    }
    answer(&mut wire, &asked).ok()?;
    match wish.plan {
        Plan::After | Plan::Stray => None,
        _ => Some(wire),
    }
}

fn fault(plan: Plan) -> bool {
    use Plan::{Close, Cut, CutReset, Garbage, HalfHead, Hang, Reset};
    matches!(plan, Reset | Close | HalfHead | Cut | CutReset | Garbage | Hang)
}

fn fail(mut wire: Wire, asked: &Asked<'_>) -> Option<Wire> {
    let all = [asked.head("").as_bytes(), &asked.body()].concat();
    let head = asked.head("").len();
    let half = head + (all.len() - head) / 2;
    let _ = match asked.wish.plan {
        Plan::HalfHead => wire.send(&all[..head / 2]),
        Plan::Cut | Plan::CutReset => wire.send(&all[..half]),
        Plan::Garbage => wire.send(b"220 mail.example.com ESMTP\r\n\r\n"),
        Plan::Hang => {
            while wire.some().is_ok() {}
            Ok(())
        }
        _ => Ok(()),
    };
    if matches!(asked.wish.plan, Plan::Reset | Plan::CutReset) {
        wire.reset();
    }
    None
}

fn answer(wire: &mut Wire, asked: &Asked<'_>) -> io::Result<()> {
    let Wish { id, plan, length, .. } = asked.wish;
    let pause = |ms: u64| std::thread::sleep(Duration::from_millis(ms));
    match plan {
        Plan::Events => {
            wire.send(asked.head("Content-Type: text/event-stream\r\n").as_bytes())?;
            for number in 0..length {
                let event = event(asked.route, id, number);
                wire.send(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes())?;
                pause(10);
            }
            wire.send(b"0\r\n\r\n")
        }
        Plan::Tunnel => {
            wire.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: soak\r\n\r\n")?;
            while let Ok(bytes) = wire.some() {
                wire.send(&bytes.into_iter().map(echoed).collect::<Vec<u8>>())?;
            }
            Err(io::ErrorKind::UnexpectedEof.into())
        }
        Plan::Drip => {
            let all = [asked.head("").as_bytes(), &asked.body()].concat();
            for piece in all.chunks((all.len() / 8).max(1)) {
                wire.send(piece)?;
                pause(3);
            }
            Ok(())
        }
        _ => {
            if plan == Plan::Slow {
                pause(20 + id % 300);
            }
            let stray: &[u8] =
                if plan == Plan::Stray { b"HTTP/1.1 200 OK\r\nX-Stray: 1\r\n\r\n" } else { b"" };
            wire.send(&[asked.head("").as_bytes(), &asked.body(), stray].concat())
        }
    }
}

impl Asked<'_> {
    fn head(&self, more: &str) -> String {
        let Wish { id, length, chunked, .. } = self.wish;
        let framing = match chunked {
            true => "Transfer-Encoding: chunked".to_owned(),
            false => format!("Content-Length: {length}"),
        };
        let (route, received) = (self.route, &self.received);
        format!(
            "HTTP/1.1 200 OK\r\nX-Route: {route}\r\nX-Id: {id}\r\nX-Received: {received}\r\n{more}{framing}\r\n\r\n"
        )
    }

    /// With its framing.
    fn body(&self) -> Vec<u8> {
        let Wish { id, length, chunked, .. } = self.wish;
        if self.bodiless {
            return Vec::new();
        }
        let bytes = body(self.route, id, length);
        if !chunked {
            return bytes;
        }
        let mut framed = Vec::with_capacity(length + length / 8 + 16);
        for part in bytes.chunks(64 + (id % 9_000) as usize) {
            framed.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
            framed.extend_from_slice(part);
            framed.extend_from_slice(b"\r\n");
        }
        framed.extend_from_slice(b"0\r\n\r\n");
        framed
    }
}
