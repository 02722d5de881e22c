//! Every request's three witnesses: its client, its backend, its line in the access log. Once all that can be said of
//! one is in, it is judged and forgotten, so that an hour's requests fit into memory.

use super::plan::Wish;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What a client saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// An answer with this status; of a whole 200, the bytes of its body, and those of the request if all were sent.
    Answer { status: u16, whole: Option<(u64, u64)> },
    /// It left, or was cut before it knew.
    Unknown,
}

#[derive(Clone, Debug)]
struct Line {
    route: String,
    status: u16,
    size: u64,
    received: u64,
}

#[derive(Default)]
struct Entry {
    route: &'static str,
    repeatable: bool,
    client: Option<Seen>,
    line: Option<Line>,
    heads: u8,
}

#[derive(Default)]
pub struct Ledger {
    open: Mutex<HashMap<u64, Entry>>,
    closed: Mutex<HashSet<u64>>,
    counts: Mutex<BTreeMap<(String, &'static str), u64>>,
    failures: Mutex<Vec<String>>,
    failed: AtomicBool,
    pub requests: AtomicU64,
    pub answers: AtomicU64,
    pub lines: AtomicU64,
    pub received: AtomicU64,
    pub connects: AtomicU64,
    /// Those in TLS whose client left: its last word of the handshake may have been lost in its reset.
    pub left_in_tls: AtomicU64,
    /// Bytes of whole answers that clients have read.
    pub read: AtomicU64,
    /// Bytes that went into tunnels and came out of them, heads of the answers included.
    pub tunnel_sent: AtomicU64,
    pub tunnel_read: AtomicU64,
    pub tunnels: AtomicU64,
}

pub fn class(status: u16) -> &'static str {
    ["1xx", "2xx", "3xx", "4xx", "5xx"].get(usize::from(status / 100).wrapping_sub(1)).unwrap_or(&"none")
}

impl Ledger {
    pub fn fail(&self, what: String) {
        self.failed.store(true, Ordering::Relaxed);
        let mut failures = self.failures.lock().unwrap();
        if failures.len() < 20 {
            eprintln!("soak: {what}");
            failures.push(what);
        }
    }

    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    pub fn failures(&self) -> Vec<String> {
        self.failures.lock().unwrap().clone()
    }

    /// A client is about to ask.
    pub fn ask(&self, id: u64, route: &'static str, repeatable: bool) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let entry = Entry { route, repeatable, ..Entry::default() };
        self.open.lock().unwrap().insert(id, entry);
    }

    /// A head has reached a backend; gives how often this one has.
    pub fn head(&self, wish: &Wish, route: &str) -> u8 {
        let mut open = self.open.lock().unwrap();
        let Some(entry) = open.get_mut(&wish.id) else {
            drop(open);
            // A backend may be slow to read what its client and Tidegate have left already.
            if !self.closed.lock().unwrap().contains(&wish.id) {
                self.fail(format!("request {} at {route}'s backend, which nobody has asked", wish.id));
            }
            return 1;
        };
        entry.heads += 1;
        let (heads, wanted, most) = (entry.heads, entry.route, if entry.repeatable { 2 } else { 1 });
        drop(open);
        if wanted != route {
            self.fail(format!("{wish:?} of {wanted} reached {route}'s backend"));
        }
        if heads > most {
            self.fail(format!("{wish:?} was sent {heads} times"));
        }
        heads
    }

    /// A client is done with a request.
    pub fn saw(&self, id: u64, seen: Seen) {
        self.answers.fetch_add(u64::from(seen != Seen::Unknown), Ordering::Relaxed);
        self.settle(id, |entry| entry.client = Some(seen));
    }

    /// A line of the access log.
    pub fn line(&self, text: &str) {
        let Ok(json) = serde_json::from_str::<serde_json::Value>(text) else {
            return self.fail(format!("no JSON in the access log: {text}"));
        };
        let number = |key: &str| json[key].as_u64().unwrap_or(u64::MAX);
        let line = Line {
            route: json["route"].as_str().unwrap_or("?").to_owned(),
            status: number("status") as u16,
            size: number("size"),
            received: number("received"),
        };
        self.lines.fetch_add(1, Ordering::Relaxed);
        self.received.fetch_add(line.received, Ordering::Relaxed);
        *self.counts.lock().unwrap().entry((line.route.clone(), class(line.status))).or_default() += 1;
        let Some(wish) = json["path"].as_str().and_then(Wish::parse) else {
            return self.fail(format!("a line of no request: {text}"));
        };
        self.settle(wish.id, |entry| {
            if entry.line.replace(line.clone()).is_some() {
                self.fail(format!("a second line: {text}"));
            }
        });
    }

    fn settle(&self, id: u64, note: impl FnOnce(&mut Entry)) {
        let mut open = self.open.lock().unwrap();
        let Some(entry) = open.get_mut(&id) else {
            drop(open);
            let known = self.closed.lock().unwrap().contains(&id);
            return self.fail(format!("request {id} once more; known and done: {known}"));
        };
        note(entry);
        let (Some(seen), Some(line)) = (entry.client, &entry.line) else { return };
        if let Some(what) = judge(entry, seen, line) {
            self.fail(format!("request {id}: {what}"));
        }
        open.remove(&id);
        drop(open);
        self.closed.lock().unwrap().insert(id);
    }

    /// All is quiet: what is still open are those that left before they had asked. Gives their number.
    pub fn close(&self) -> usize {
        let open = std::mem::take(&mut *self.open.lock().unwrap());
        let left = open.len();
        for (id, entry) in open {
            if entry.client != Some(Seen::Unknown) || entry.heads > 0 {
                let (seen, heads) = (entry.client, entry.heads);
                self.fail(format!(
                    "request {id} of {} has no line: {seen:?}, sent {heads} times",
                    entry.route
                ));
            }
        }
        left
    }

    /// Requests that have been answered and have no line yet.
    pub fn waiting(&self) -> usize {
        let open = self.open.lock().unwrap();
        open.values().filter(|entry| entry.client != Some(Seen::Unknown)).count()
    }

    /// Lines by route and class.
    pub fn counts(&self) -> BTreeMap<(String, &'static str), u64> {
        self.counts.lock().unwrap().clone()
    }
}

fn judge(entry: &Entry, seen: Seen, line: &Line) -> Option<String> {
    if line.route != entry.route && !(seen == Seen::Unknown && line.route.is_empty()) {
        return Some(format!("asked of {}: {line:?}", entry.route));
    }
    if line.status == 200 && entry.heads == 0 {
        return Some(format!("answered by nobody: {line:?}"));
    }
    let Seen::Answer { status, whole } = seen else { return None };
    let told = whole.is_none_or(|(size, sent)| (line.size, line.received) == (size, sent));
    (line.status != status || !told).then(|| format!("its client saw {seen:?}: {line:?}"))
}
