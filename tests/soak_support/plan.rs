//! What a request asks its backend to do: it stands in the path, so that client and backend agree on it.

use tidegate::util::rng::Rng;

/// What the backend does with a request once its head has come. A request that comes again (Tidegate may send some
/// twice) is answered rightly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Answers at once.
    Right,
    /// Answers after a while.
    Slow,
    /// Answers by small pieces.
    Drip,
    /// Resets, closes, without a byte.
    Reset,
    Close,
    /// Closes within the head, within the body; resets within the body.
    HalfHead,
    Cut,
    CutReset,
    /// Says something that is no HTTP.
    Garbage,
    /// Answers rightly, with bytes of another answer behind it.
    Stray,
    /// Answers rightly, then closes without having said so.
    After,
    /// Never answers.
    Hang,
    /// Answers before the request's body has come, and closes.
    Early,
    /// Server-sent events.
    Events,
    /// Switches, then echoes.
    Tunnel,
}

pub const ALL: [(Plan, &str); 15] = [
    (Plan::Right, "right"),
    (Plan::Slow, "slow"),
    (Plan::Drip, "drip"),
    (Plan::Reset, "reset"),
    (Plan::Close, "close"),
    (Plan::HalfHead, "halfhead"),
    (Plan::Cut, "cut"),
    (Plan::CutReset, "cutreset"),
    (Plan::Garbage, "garbage"),
    (Plan::Stray, "stray"),
    (Plan::After, "after"),
    (Plan::Hang, "hang"),
    (Plan::Early, "early"),
    (Plan::Events, "events"),
    (Plan::Tunnel, "tunnel"),
];

/// One request, as its path says it.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    pub id: u64,
    pub plan: Plan,
    /// Bytes of the answer's body.
    pub length: usize,
    /// The answer is chunked.
    pub chunked: bool,
}

impl Wish {
    /// `/soak/ID/PLAN/LENGTH/c`
    pub fn path(&self) -> String {
        let name = ALL.iter().find(|(plan, _)| *plan == self.plan).map_or("", |(_, name)| name);
        let framing = if self.chunked { 'c' } else { 'l' };
        format!("/soak/{}/{name}/{}/{framing}", self.id, self.length)
    }

    /// From a path, or a request line.
    pub fn parse(text: &str) -> Option<Wish> {
        let mut parts = text.split_once("/soak/")?.1.split([' ', '/']);
        let id = parts.next()?.parse().ok()?;
        let name = parts.next()?;
        let plan = ALL.iter().find(|(_, known)| *known == name)?.0;
        Some(Wish { id, plan, length: parts.next()?.parse().ok()?, chunked: parts.next()? == "c" })
    }
}

/// The bytes of a body: others for each route and request, and at each place.
pub fn body(route: &str, id: u64, length: usize) -> Vec<u8> {
    let seed = route.bytes().fold(id, |sum, byte| sum.wrapping_mul(257).wrapping_add(u64::from(byte)));
    let mut rng = Rng::new(seed);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend_from_slice(&rng.next_u64().to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// FNV-1a of a body, with its length: what the backend says that it has received.
pub fn digest(bytes: &[u8]) -> String {
    let fnv = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    format!("{}-{:016x}", bytes.len(), bytes.iter().fold(0xcbf2_9ce4_8422_2325, fnv))
}

/// What server-sent events look like: `count` of them.
pub fn event(route: &str, id: u64, number: usize) -> String {
    format!("data: {route} {id} {number}\n\n")
}

/// What a tunnel's backend makes of a byte.
pub fn echoed(byte: u8) -> u8 {
    byte ^ 0x5a
}
