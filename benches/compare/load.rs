//! The load: one thread, a number of connections, closed or open loop. Every answer is checked.

use crate::client::{Client, Step, open, open_for_load};
use crate::hist::Histogram;
use crate::wire::{self, Exchange};
use rustix::event::{Timespec, epoll};
use rustls::ClientConfig;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

const BUFFER: usize = 512 * 1024;
/// An answer that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(10);
/// Failures after which a run ends: the rest would be no other.
const ENOUGH: u64 = 100;

/// What to send and where.
pub struct Plan {
    pub addr: SocketAddr,
    pub tls: Option<Arc<ClientConfig>>,
    /// In turn.
    pub exchanges: Vec<Exchange>,
    pub connections: usize,
    /// A connection for each request.
    pub fresh: bool,
    /// The head that turns a connection into a WebSocket first.
    pub upgrade: Option<Vec<u8>>,
}

/// When requests are sent.
#[derive(Clone, Copy)]
pub enum Pace {
    /// The next one as soon as an answer is whole.
    Closed(Duration),
    /// So many a second, whatever the answers do. Latency counts from when a request should have been sent.
    Open(f64, Duration),
    /// Closed, until so many requests have been sent.
    Count(u64),
}

/// What came of it.
pub struct Tally {
    pub requests: u64,
    pub failures: u64,
    /// The first failure, in words.
    pub failure: Option<String>,
    pub seconds: f64,
    pub latency: Histogram,
}

/// Connections that are kept from one run to the next.
pub struct Load {
    plan: Plan,
    epoll: rustix::fd::OwnedFd,
    clients: Vec<Slot>,
    idle: Vec<usize>,
    buffer: Vec<u8>,
    next: usize,
}

struct Slot {
    client: Option<Client>,
    exchange: usize,
    /// None between requests.
    since: Option<Instant>,
    writable: bool,
}

impl Load {
    /// Opens the connections.
    pub fn new(plan: Plan) -> io::Result<Load> {
        let count = plan.connections;
        let slots = (0..count).map(|_| Slot { client: None, exchange: 0, since: None, writable: false });
        let mut load = Load {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            clients: slots.collect(),
            idle: (0..count).rev().collect(),
            buffer: vec![0; BUFFER],
            next: 0,
            plan,
        };
        if !load.plan.fresh {
            (0..count).try_for_each(|slot| load.connect(slot))?;
        }
        Ok(load)
    }

    fn connect(&mut self, slot: usize) -> io::Result<()> {
        let socket = match &self.plan.upgrade {
            None => open_for_load(self.plan.addr, self.plan.tls.as_ref())?,
            Some(head) => crate::client::Socket::Plain(upgraded(self.plan.addr, head)?),
        };
        let data = epoll::EventData::new_u64(slot as u64);
        epoll::add(&self.epoll, socket.tcp(), data, epoll::EventFlags::IN)?;
        self.clients[slot].client = Some(Client::new(socket));
        self.clients[slot].writable = false;
        Ok(())
    }

    /// Sends requests as the pace says and waits for the last answer.
    pub fn run(&mut self, pace: Pace) -> Tally {
        let begin = Instant::now();
        let mut tally =
            Tally { requests: 0, failures: 0, failure: None, seconds: 0.0, latency: Histogram::new() };
        let mut due = Due::new(pace, begin);
        let mut events = Vec::with_capacity(512);
        loop {
            due.look(Instant::now());
            while let Some(since) = due.take(!self.idle.is_empty() && tally.failures < ENOUGH) {
                let slot = self.idle.pop().expect("one is idle");
                self.start(slot, since, &mut tally);
            }
            if self.idle.len() == self.clients.len() && (due.over() || tally.failures >= ENOUGH) {
                break;
            }
            let wait = Timespec::try_from(due.wait(Instant::now())).expect("a short time");
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&wait)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => panic!("the load can't wait: {e}"),
            }
            for event in &events {
                self.go_on(event.data.u64() as usize, &mut tally);
            }
            if events.is_empty() {
                self.give_up_on_late(&mut tally);
            }
        }
        tally.seconds = begin.elapsed().as_secs_f64();
        tally
    }

    fn start(&mut self, slot: usize, since: Instant, tally: &mut Tally) {
        self.clients[slot].exchange = self.next % self.plan.exchanges.len();
        self.clients[slot].since = Some(since);
        self.next += 1;
        if self.clients[slot].client.is_none()
            && let Err(e) = self.connect(slot)
        {
            return self.fail(slot, &e, tally);
        }
        if let Some(client) = &mut self.clients[slot].client {
            client.begin();
        }
        self.advance(slot, false, tally);
    }

    fn go_on(&mut self, slot: usize, tally: &mut Tally) {
        if self.clients[slot].since.is_some() {
            self.advance(slot, true, tally);
        } else if let Some(client) = &mut self.clients[slot].client
            && !client.rest(&mut self.buffer)
        {
            self.clients[slot].client = None;
        }
    }

    fn advance(&mut self, slot: usize, readable: bool, tally: &mut Tally) {
        let Slot { client, exchange, since, writable } = &mut self.clients[slot];
        let Some(client) = client else { return };
        match client.step(&self.plan.exchanges[*exchange], &mut self.buffer, readable) {
            Ok(Step::Wait(blocked)) if blocked != *writable => {
                let out = if blocked { epoll::EventFlags::OUT } else { epoll::EventFlags::empty() };
                let data = epoll::EventData::new_u64(slot as u64);
                let changed =
                    epoll::modify(&self.epoll, client.socket.tcp(), data, epoll::EventFlags::IN | out);
                *writable = blocked;
                if let Err(e) = changed {
                    self.fail(slot, &e.into(), tally);
                }
            }
            Ok(Step::Wait(_)) => {}
            Ok(Step::Done) => {
                let took = since.take().map_or(0, |since| since.elapsed().as_nanos() as u64);
                tally.requests += 1;
                tally.latency.add(took);
                if self.plan.fresh || client.ends {
                    self.clients[slot].client = None;
                }
                self.idle.push(slot);
            }
            Err(e) => self.fail(slot, &e, tally),
        }
    }

    fn fail(&mut self, slot: usize, error: &io::Error, tally: &mut Tally) {
        tally.failures += 1;
        tally.failure.get_or_insert_with(|| error.to_string());
        self.clients[slot].client = None;
        self.clients[slot].since = None;
        self.idle.push(slot);
    }

    fn give_up_on_late(&mut self, tally: &mut Tally) {
        let late = |slot: &Slot| slot.since.is_some_and(|since| since.elapsed() > PATIENCE);
        let slots: Vec<usize> = (0..self.clients.len()).filter(|i| late(&self.clients[*i])).collect();
        for slot in slots {
            self.fail(slot, &io::Error::new(ErrorKind::TimedOut, "no answer in time"), tally);
        }
    }
}

/// Which requests are due.
struct Due {
    pace: Pace,
    begin: Instant,
    now: Instant,
    sent: u64,
    queue: VecDeque<Instant>,
}

impl Due {
    fn new(pace: Pace, begin: Instant) -> Due {
        Due { pace, begin, now: begin, sent: 0, queue: VecDeque::new() }
    }

    fn at(&self, number: u64, rate: f64) -> Instant {
        self.begin + Duration::from_secs_f64(number as f64 / rate)
    }

    fn look(&mut self, now: Instant) {
        self.now = now;
        if let Pace::Open(rate, length) = self.pace {
            while self.at(self.sent, rate) <= now && self.at(self.sent, rate) < self.begin + length {
                self.queue.push_back(self.at(self.sent, rate));
                self.sent += 1;
            }
        }
    }

    /// The moment from which the next request counts, if one is due and can be sent.
    fn take(&mut self, can: bool) -> Option<Instant> {
        match self.pace {
            _ if !can => None,
            Pace::Open(..) => self.queue.pop_front(),
            Pace::Closed(_) | Pace::Count(_) if self.over() => None,
            Pace::Closed(_) | Pace::Count(_) => {
                self.sent += 1;
                Some(Instant::now())
            }
        }
    }

    fn over(&self) -> bool {
        match self.pace {
            Pace::Closed(length) => self.now >= self.begin + length,
            Pace::Count(count) => self.sent >= count,
            Pace::Open(rate, length) => {
                self.queue.is_empty() && self.at(self.sent, rate) >= self.begin + length
            }
        }
    }

    fn wait(&self, now: Instant) -> Duration {
        let most = Duration::from_millis(100);
        match self.pace {
            Pace::Open(rate, length) if self.at(self.sent, rate) < self.begin + length => {
                self.at(self.sent, rate).saturating_duration_since(now).min(most)
            }
            _ => most,
        }
    }
}

/// A connection that has become a WebSocket.
fn upgraded(addr: SocketAddr, head: &[u8]) -> io::Result<TcpStream> {
    let mut stream = open(None, addr)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(head)?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        answer.extend_from_slice(&byte);
    }
    if !answer.starts_with(b"HTTP/1.1 101 ") {
        return Err(io::Error::new(ErrorKind::InvalidData, "no WebSocket"));
    }
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// One request on a connection that stays open. Blocks.
pub fn ask(from: Option<Ipv4Addr>, addr: SocketAddr, host: &str) -> io::Result<TcpStream> {
    let stream = open(from, addr)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let exchange = wire::get(host, "/100", false);
    let mut client = Client::new(crate::client::Socket::Plain(stream.try_clone()?));
    let mut buffer = [0; 4096];
    loop {
        match client.step(&exchange, &mut buffer, true)? {
            Step::Done => return Ok(stream),
            Step::Wait(_) => {}
        }
    }
}
