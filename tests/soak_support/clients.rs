//! Clients: a seeded mix of what they ask and how they behave; each answer is judged.

use super::ledger::{Ledger, Seen};
use super::plan::{Plan, Wish, body, digest, echoed, event};
use super::wire::{Answer, End, Wire};
use rustls::ClientConfig;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tidegate::util::rng::Rng;

/// What all clients share.
pub struct World {
    pub http: SocketAddr,
    pub https: SocketAddr,
    pub tls: Arc<ClientConfig>,
    pub ledger: Arc<Ledger>,
    pub ending: AtomicBool,
    pub header_timeout: Duration,
}

impl World {
    pub fn goes_on(&self) -> bool {
        !self.ending.load(Ordering::Relaxed) && !self.ledger.has_failed()
    }
}

/// One client; its walk is its seed's alone.
pub struct Client<'w> {
    world: &'w World,
    rng: Rng,
    next: u64,
}

/// A request, as it is sent and as it must be answered.
struct Request {
    wish: Wish,
    route: &'static str,
    method: &'static str,
    old: bool,
    /// A request behind it on the same connection is cut: the reset takes what still lies unsent, its answer's end too.
    overtaken: bool,
    bytes: Vec<u8>,
    head: usize,
    /// What the backend must say that it has received.
    digest: String,
}

/// Routes, each as often as it shall be asked; the last is nobody's.
const ROUTES: [(&str, u64); 8] = [
    ("a", 40),
    ("b", 20),
    ("moving", 15),
    ("fickle", 10),
    ("flap", 6),
    ("down", 3),
    ("hung", 1),
    ("nobody", 5),
];

const PLANS: [(Plan, u64); 11] = [
    (Plan::Right, 60),
    (Plan::Slow, 8),
    (Plan::Drip, 6),
    (Plan::Reset, 4),
    (Plan::Close, 4),
    (Plan::HalfHead, 3),
    (Plan::Cut, 4),
    (Plan::CutReset, 3),
    (Plan::Garbage, 3),
    (Plan::Early, 2),
    (Plan::Events, 3),
];

impl<'w> Client<'w> {
    /// Client number `number` of the run with `seed`; its requests' ids are its own.
    pub fn new(world: &'w World, seed: u64, number: u64) -> Client<'w> {
        let rng = Rng::new(seed.wrapping_mul(1_000_003).wrapping_add(number));
        Client { world, rng, next: number << 40 }
    }

    fn draw<T: Copy>(&mut self, weighted: &[(T, u64)]) -> T {
        let mut at = self.rng.below(weighted.iter().map(|(_, weight)| weight).sum());
        for (thing, weight) in weighted {
            if at < *weight {
                return *thing;
            }
            at -= weight;
        }
        weighted[0].0
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.rng.below(100) < percent
    }

    fn pause(&mut self, most_ms: u64) {
        std::thread::sleep(Duration::from_millis(self.rng.below(most_ms + 1)));
    }

    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Sessions, one after another, until the world ends.
    pub fn run(mut self) {
        while self.world.goes_on() {
            let kinds = [(0, 50), (1, 15), (2, 10), (3, 8), (4, 12), (5, 5)];
            match self.draw(&kinds) {
                0 => self.keeps_alive(),
                1 => self.pipelines(),
                2 => self.reads_slowly(),
                3 => self.writes_slowly(),
                4 => self.leaves(),
                _ => self.is_refused(),
            }
        }
    }

    /// Plain or in TLS; none, and a failure, if it can't connect.
    fn connect(&mut self) -> Option<Wire> {
        let world = self.world;
        let wire = match self.chance(35) {
            true => Wire::tls(world.https, &world.tls, "a.soak.test"),
            false => Wire::plain(world.http),
        };
        match wire {
            Ok(wire) => {
                world.ledger.connects.fetch_add(1, Ordering::Relaxed);
                Some(wire)
            }
            Err(error) => {
                world.ledger.fail(format!("a connection attempt failed: {error}"));
                None
            }
        }
    }

    fn length(&mut self) -> usize {
        let most = self.draw(&[(300, 50), (20_000, 30), (300_000, 16), (1_500_000, 2)]);
        self.rng.below(most) as usize
    }

    fn request(&mut self) -> Request {
        let route = self.draw(&ROUTES);
        let method = self.draw(&[("GET", 60), ("POST", 25), ("PATCH", 5), ("HEAD", 5)]);
        let uploads = method == "POST" || method == "PATCH";
        let plan = match route {
            "hung" => Plan::Hang,
            "fickle" => self.draw(&[(Plan::Right, 2), (Plan::Stray, 1), (Plan::After, 1)]),
            "down" | "nobody" => Plan::Right,
            _ if method == "HEAD" => Plan::Right,
            _ => self.draw(&PLANS),
        };
        let mut length = self.length();
        match plan {
            Plan::Events => length %= 30,
            Plan::Stray | Plan::After => length %= 4_000,
            Plan::Cut | Plan::CutReset => length += 2,
            _ => {}
        }
        let chunked = plan == Plan::Events || self.chance(40);
        let wish = Wish { id: self.id(), plan, length, chunked };
        let plan = if uploads || plan != Plan::Early { plan } else { Plan::Right };
        let upload = if uploads { Some(self.length()) } else { None };
        self.written(Wish { plan, ..wish }, route, method, upload)
    }

    fn written(
        &mut self,
        wish: Wish,
        route: &'static str,
        method: &'static str,
        upload: Option<usize>,
    ) -> Request {
        let old = self.chance(10);
        let version = if old { "1.0" } else { "1.1" };
        let mut bytes = format!("{method} {} HTTP/{version}\r\nHost: {route}.soak.test\r\n", wish.path());
        let sent = body("upload", wish.id, upload.unwrap_or(0));
        let chunked = upload.is_some() && !old && self.chance(50);
        match upload {
            Some(_) if chunked => bytes += "Transfer-Encoding: chunked\r\n",
            Some(length) => bytes += &format!("Content-Length: {length}\r\n"),
            None => {}
        }
        bytes += "\r\n";
        let head = bytes.len();
        let mut bytes = bytes.into_bytes();
        if chunked {
            for part in sent.chunks(1 + self.rng.below(30_000) as usize) {
                bytes.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
                bytes.extend_from_slice(part);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
        } else {
            bytes.extend_from_slice(&sent);
        }
        Request { wish, route, method, old, overtaken: false, bytes, head, digest: digest(&sent) }
    }

    /// Enters it into the ledger, before its first byte is sent.
    fn ask(&self, request: &Request) {
        let counted = if request.route == "nobody" { "" } else { request.route };
        self.world.ledger.ask(request.wish.id, counted, matches!(request.method, "GET" | "HEAD"));
    }

    /// Notes what came of it; whether the connection goes on.
    fn judge(&self, wire: &Wire, request: &Request, sent: bool, got: Result<Answer, End>) -> bool {
        let tls = wire.is_tls();
        let (seen, keeps) = match got {
            Ok(answer) => {
                if let Err(what) = request.check(&answer) {
                    let head = &answer.head;
                    self.world.ledger.fail(format!(
                        "{:?} of {} (TLS: {tls}): {what}\n{head}",
                        request.wish, request.route
                    ));
                }
                let seen = request.seen(&answer, sent);
                if matches!(seen, Seen::Answer { whole: Some(_), .. }) {
                    let read = answer.head.len() + answer.body.len();
                    self.world.ledger.read.fetch_add(read as u64, Ordering::Relaxed);
                }
                (seen, answer.keeps() && !request.old)
            }
            Err(end) => {
                if end == End::Silent || !request.may_be_cut(sent) {
                    let method = request.method;
                    let what = format!("{method} {:?} of {}: {end:?}", request.wish, request.route);
                    self.world.ledger.fail(format!("{what}, no answer; sent whole: {sent}"));
                }
                (Seen::Unknown, false)
            }
        };
        self.world.ledger.saw(request.wish.id, seen);
        keeps
    }

    fn keeps_alive(&mut self) {
        let Some(mut wire) = self.connect() else { return };
        for _ in 0..1 + self.rng.below(10) {
            let request = self.request();
            self.ask(&request);
            let sent = wire.send(&request.bytes).is_ok();
            let got = wire.answer(request.method);
            if !self.judge(&wire, &request, sent, got) || !self.world.goes_on() {
                return;
            }
        }
    }

    /// All heads at once. Behind an answer that is cut, or closes, the rest is not answered.
    fn pipelines(&mut self) {
        let Some(mut wire) = self.connect() else { return };
        let mut all = Vec::new();
        while all.len() < 2 + self.rng.below(5) as usize {
            let request = self.request();
            if request.method == "GET" && !request.old {
                all.push(request);
            }
        }
        let last_cut = all.iter().rposition(|r| matches!(r.wish.plan, Plan::Cut | Plan::CutReset));
        all.iter_mut().take(last_cut.unwrap_or(0)).for_each(|request| request.overtaken = true);
        all.iter().for_each(|request| self.ask(request));
        let bytes: Vec<u8> = all.iter().flat_map(|request| request.bytes.clone()).collect();
        let sent = wire.send(&bytes).is_ok();
        let mut goes_on = true;
        for request in &all {
            if !goes_on {
                self.world.ledger.saw(request.wish.id, Seen::Unknown);
                continue;
            }
            let got = wire.answer(request.method);
            goes_on = self.judge(&wire, request, sent, got);
        }
    }

    fn reads_slowly(&mut self) {
        let Some(mut wire) = self.connect() else { return };
        let length = 100_000 + self.rng.below(400_000) as usize;
        let wish = Wish { id: self.id(), plan: Plan::Right, length, chunked: self.chance(50) };
        let request = self.written(wish, "a", "GET", None);
        self.ask(&request);
        let sent = wire.send(&request.bytes).is_ok();
        let got = wire.answer_slowly("GET", &mut |_| std::thread::sleep(Duration::from_millis(10)));
        self.judge(&wire, &request, sent, got);
    }

    fn writes_slowly(&mut self) {
        let Some(mut wire) = self.connect() else { return };
        let request = self.request();
        self.ask(&request);
        let parts = 2 + self.rng.below(6) as usize;
        let mut sent = true;
        for part in request.bytes.chunks(request.bytes.len() / parts + 1) {
            sent = sent && wire.send(part).is_ok();
            self.pause(30);
        }
        let got = wire.answer(request.method);
        self.judge(&wire, &request, sent, got);
    }

    /// Leaves within the request, before the answer or within it; by an end or a reset.
    fn leaves(&mut self) {
        let Some(mut wire) = self.connect() else { return };
        let request = self.request();
        self.ask(&request);
        let length = request.bytes.len();
        let most = if self.chance(50) { length as u64 + 1 } else { request.head as u64 };
        let until = self.rng.below(most) as usize;
        let until = if self.chance(40) { length } else { until };
        let sent = wire.send(&request.bytes[..until]);
        if sent.is_ok() && until == length && self.chance(50) {
            let _ = wire.head();
        } else {
            self.pause(20);
        }
        self.world.ledger.left_in_tls.fetch_add(u64::from(wire.is_tls()), Ordering::Relaxed);
        if self.chance(50) {
            wire.reset();
        }
        self.world.ledger.saw(request.wish.id, Seen::Unknown);
    }

    fn is_refused(&mut self) {
        let Some(mut wire) = self.connect() else { return };
        let wish = Wish { id: self.id(), plan: Plan::Right, length: 0, chunked: false };
        let bad = [
            ("HTTP/1.1\r\n", 1),
            ("HTTP/1.1\r\nHost: a.soak.test\r\nHost: b.soak.test\r\n", 1),
            ("HTTP/1.1\r\nHost: a.soak.test\r\nContent-Length: 5\r\nContent-Length: 6\r\n", 1),
            ("HTTP/1.1\r\nHost: a.soak.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n", 1),
            ("HTTP/1.1\r\nHost: a.soak.test\r\nTransfer-Encoding: xchunked\r\n", 1),
            ("HTTP/1.1\r\nHost: a.soak.test\r\nX : y\r\n", 1),
            ("HTTP/3.7\r\nHost: a.soak.test\r\n", 1),
            ("HTTP/1.1\r\nHost: a.soak.test\r\nContent-Length: -1\r\n", 1),
        ];
        let rest = self.draw(&bad);
        let ledger = &self.world.ledger;
        ledger.ask(wish.id, "", false);
        let bytes = format!("GET {} {rest}\r\n", wish.path());
        let sent = wire.send(bytes.as_bytes());
        match wire.answer("GET") {
            Ok(answer) if sent.is_ok() && (400..=505).contains(&answer.status) && !answer.keeps() => {
                let ended = wire.rest();
                if ended != (End::Eof, Vec::new()) {
                    ledger.fail(format!("behind the refusal of {rest:?}: {ended:?}"));
                }
                ledger.saw(wish.id, Seen::Answer { status: answer.status, whole: None });
            }
            other => {
                ledger.fail(format!("{rest:?} was not refused: {other:?}"));
                ledger.saw(wish.id, Seen::Unknown);
            }
        }
    }

    /// Heads that never end, some at once: each is closed in time.
    pub fn half_open(mut self) {
        while self.world.goes_on() {
            let mut open = Vec::new();
            for _ in 0..20 {
                let Some(mut wire) = self.connect() else { return };
                let wish = Wish { id: self.id(), plan: Plan::Right, length: 0, chunked: false };
                self.world.ledger.ask(wish.id, "", false);
                let begun = Instant::now();
                let _ = wire.send(format!("GET {} HTTP/1.1\r\nHost: a.te", wish.path()).as_bytes());
                open.push((wish, wire, begun));
            }
            for (wish, mut wire, begun) in open {
                let status = wire.answer("GET").map_or(0, |answer| answer.status);
                let (took, limit) = (begun.elapsed(), self.world.header_timeout);
                // Tidegate's clock is read once in a round of its poller.
                if status != 408 || took < limit.mul_f64(0.95) || took > limit * 10 {
                    self.world.ledger.fail(format!("a half head: {status} after {took:?}"));
                }
                self.world.ledger.saw(wish.id, Seen::Answer { status, whole: None });
            }
        }
    }

    /// A tunnel that is held from the beginning to the end; what comes back is what went in.
    pub fn tunnel(mut self) {
        let ledger = Arc::clone(&self.world.ledger);
        let Some(mut wire) = self.connect() else { return };
        let wish = Wish { id: self.id(), plan: Plan::Tunnel, length: 0, chunked: false };
        ledger.ask(wish.id, "a", false);
        ledger.tunnels.fetch_add(1, Ordering::Relaxed);
        let upgrade = "Host: a.soak.test\r\nConnection: Upgrade\r\nUpgrade: soak\r\n\r\n";
        let _ = wire.send(format!("GET {} HTTP/1.1\r\n{upgrade}", wish.path()).as_bytes());
        let status = wire.answer("GET").map_or(0, |answer| answer.status);
        if status != 101 {
            return ledger.fail(format!("no tunnel, but {status}"));
        }
        while self.world.goes_on() {
            let most = self.draw(&[(100, 10), (60_000, 2)]);
            let (salt, length) = (self.rng.next_u64(), 1 + self.rng.below(most) as usize);
            let bytes = body("tunnel", salt, length);
            let sent = wire.send(&bytes);
            ledger.tunnel_sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            let back = wire.exactly(bytes.len());
            let wanted: Vec<u8> = bytes.into_iter().map(echoed).collect();
            if back.as_ref() != Ok(&wanted) {
                return ledger.fail(format!("a tunnel's echo: sent {sent:?}, {:?}", back.map(|b| b.len())));
            }
            self.pause(100);
        }
        ledger.tunnel_read.fetch_add(wire.read, Ordering::Relaxed);
        ledger.saw(wish.id, Seen::Answer { status, whole: None });
    }
}

impl Request {
    /// Whether its connection may end before an answer's head.
    fn may_be_cut(&self, sent: bool) -> bool {
        // The upstream's fault cuts the connection, with what lies unread; and who still sends when the answer has
        // gone out may lose it.
        matches!(self.wish.plan, Plan::Cut | Plan::CutReset | Plan::Early) || self.overtaken || !sent
    }

    fn seen(&self, answer: &Answer, sent: bool) -> Seen {
        let counted = answer.status == 200 && answer.cut.is_none() && sent && self.wish.plan != Plan::Early;
        let whole = counted.then_some((answer.body.len() as u64, self.bytes.len() as u64));
        Seen::Answer { status: answer.status, whole }
    }

    fn check(&self, answer: &Answer) -> Result<(), String> {
        let repeatable = matches!(self.method, "GET" | "HEAD");
        let faulty = matches!(self.wish.plan, Plan::Reset | Plan::Close | Plan::HalfHead | Plan::Garbage);
        let cut = matches!(self.wish.plan, Plan::Cut | Plan::CutReset);
        let allowed: &[u16] = match self.route {
            "nobody" => &[404],
            "down" => &[502, 503],
            "hung" => &[504],
            "flap" => &[200, 502, 503],
            "fickle" => &[200, 502],
            _ if faulty && !repeatable => &[502],
            _ if faulty || cut || self.wish.plan == Plan::Early => &[200, 502],
            _ => &[200],
        };
        if !allowed.contains(&answer.status) {
            return Err(format!("{} instead of {allowed:?}", answer.status));
        }
        if answer.status != 200 {
            return match answer.field("x-route") {
                Some(_) => Err("a backend's fields in an answer of its own".into()),
                None => Ok(()),
            };
        }
        if answer.cut.is_none() && cut && !repeatable {
            return Err("a cut body looks whole".into());
        }
        if answer.cut.is_some() && !cut && !self.overtaken && self.wish.plan != Plan::Early {
            return Err(format!("its body is cut by {:?} after {}", answer.cut, answer.body.len()));
        }
        self.right(answer)
    }

    /// Whether a backend's answer is this request's own, byte for byte.
    fn right(&self, answer: &Answer) -> Result<(), String> {
        let Wish { id, plan, length, .. } = self.wish;
        let field = |name: &str| answer.field(name).unwrap_or("none").to_owned();
        if (field("x-route"), field("x-id")) != (self.route.to_owned(), id.to_string()) {
            return Err("another request's answer".into());
        }
        let unread = matches!(plan, Plan::Early | Plan::Cut | Plan::CutReset) && field("x-received") == "-";
        if !unread && field("x-received") != self.digest {
            return Err(format!("the backend received another body than {}", self.digest));
        }
        let events = || (0..length).map(|number| event(self.route, id, number)).collect::<String>();
        let wanted = match (self.method, plan) {
            ("HEAD", _) => Vec::new(),
            (_, Plan::Events) => events().into_bytes(),
            _ => body(self.route, id, length),
        };
        let right = match answer.cut {
            None => answer.body == wanted,
            Some(_) => wanted.starts_with(&answer.body),
        };
        match right {
            true => Ok(()),
            false => Err(format!("wrong bytes: {} of {}", answer.body.len(), wanted.len())),
        }
    }
}
