//! Memory: PSS at rest, and with connections that made one request and then nothing.

use crate::contender::{self, Running, Setup};
use crate::{load, measure, room, wire};
use std::net::Ipv4Addr;
use std::time::Duration;

/// What a contender holds, in KiB.
pub struct Memory {
    pub contender: &'static str,
    /// After its start and one request.
    pub idle: u64,
    /// Connections, PSS before them, PSS with them.
    pub with: Vec<(usize, u64, u64)>,
}

/// Connections from one address: some proxies limit what one client may have.
const PER_ADDRESS: usize = 500;

/// Starts a contender for each count and fills it.
pub fn measure_one(index: usize, setup: &Setup, counts: &[usize]) -> Result<Memory, String> {
    let mut memory = Memory { contender: contender::ALL[index].name, idle: 0, with: vec![] };
    for wanted in counts {
        let count = room::idle_connections(*wanted);
        // A proxy that reserves its memory at the start does so for what it is asked to hold.
        let room = if *wanted <= 1_000 { 8_192 } else { count + 50 };
        let setup = Setup { connections: room, tls: false, routes: 1, ..setup.clone() };
        let running = Running::start(index, &setup)?;
        crate::pause(Duration::from_secs(2));
        let before = measure::pss(running.pid());
        if memory.with.is_empty() {
            memory.idle = before;
        }
        let mut held = Vec::with_capacity(count);
        for number in 0..count {
            let from = Ipv4Addr::new(127, 0, 1, 1 + (number / PER_ADDRESS) as u8);
            let stream = load::ask(Some(from), running.plain, wire::HOST);
            held.push(stream.map_err(|e| format!("connection {number}: {e}"))?);
        }
        crate::pause(Duration::from_secs(3));
        let with = measure::pss(running.pid());
        for stream in &held {
            let alive = stream.set_nonblocking(true).is_ok()
                && stream.peek(&mut [0]).is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock);
            if !alive {
                return Err(format!("it closed some of {count} idle connections"));
            }
        }
        memory.with.push((count, before, with));
    }
    Ok(memory)
}
