//! Chunked bodies: the same however they are cut, as a second reader reads them, and the same once more when they
//! are written again.

use super::show;
use tidegate::http::{ChunkDecoder, write_chunk, write_last_chunk};
use tidegate::util::rng::Rng;

/// What came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    pub data: Vec<u8>,
    pub end: End,
    /// The trailer section's lines so far.
    pub trailers: Vec<u8>,
}

/// How a body ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The body took so many bytes.
    Whole(usize),
    Refused(&'static str),
    Cut,
}

/// Reads `input` as a chunked body and what follows it.
pub fn check(input: &[u8]) -> Decoded {
    let decoded = decode(input, |_| usize::MAX);
    assert_eq!(decode(input, |_| 1), decoded, "byte by byte: {}", show(input));
    let seed = input.iter().fold(7_u64, |sum, b| sum.wrapping_mul(31).wrapping_add(u64::from(*b)));
    let mut rng = Rng::new(seed);
    for most in [4, 64, 4096] {
        let at_random = decode(input, |_| 1 + rng.below(most) as usize);
        assert_eq!(at_random, decoded, "at random: {}", show(input));
    }
    let bounded =
        matches!(decoded.end, End::Refused(why) if why.contains("too long") || why.contains("too much"));
    if !input.contains(&b';') && !bounded {
        // the second reader knows no extensions and no bounds
        let got = match &decoded {
            Decoded { data, end: End::Whole(len), .. } => Some((data.clone(), *len)),
            _ => None,
        };
        assert_eq!(got, second_reader(input), "{}", show(input));
    }
    if let End::Whole(len) = decoded.end {
        let short = decode(&input[..len - 1], |_| usize::MAX);
        assert_eq!((short.end, &short.data), (End::Cut, &decoded.data), "one byte less: {}", show(input));
        written_again(&decoded, &mut rng);
    }
    decoded
}

/// Decodes `input` in pieces whose lengths `piece` chooses (given how much is left).
pub fn decode(input: &[u8], mut piece: impl FnMut(usize) -> usize) -> Decoded {
    let (mut decoder, mut data, mut at) = (ChunkDecoder::new(), Vec::new(), 0);
    while at < input.len() {
        let end = at.saturating_add(piece(input.len() - at)).min(input.len());
        let mut rest = &input[at..end];
        while !rest.is_empty() {
            let step = match decoder.step(rest) {
                Ok(step) => step,
                Err(error) => {
                    assert_eq!(decoder.step(b""), Err(error), "an error stays");
                    return Decoded { data, end: End::Refused(error.0), trailers: Vec::new() };
                }
            };
            assert!(step.consumed > 0 && step.data.end <= step.consumed, "a step goes on: {step:?}");
            data.extend_from_slice(&rest[step.data.clone()]);
            at += step.consumed;
            rest = &rest[step.consumed..];
            if step.done {
                return Decoded { data, end: End::Whole(at), trailers: decoder.trailers().to_vec() };
            }
        }
    }
    Decoded { data, end: End::Cut, trailers: decoder.trailers().to_vec() }
}

/// What goes on in chunks of our own is the same body, and its trailers are those that may go on.
fn written_again(decoded: &Decoded, rng: &mut Rng) {
    let (mut wire, mut left) = (Vec::new(), decoded.data.as_slice());
    while !left.is_empty() {
        let (piece, rest) = left.split_at(1 + rng.below(left.len() as u64) as usize);
        write_chunk(&mut wire, piece);
        left = rest;
    }
    write_last_chunk(&mut wire, &decoded.trailers);
    let len = wire.len();
    wire.extend_from_slice(b"GET / HTTP/1.1\r\n");
    let again = decode(&wire, |left| 1 + rng.below(left as u64) as usize);
    assert_eq!((again.end, &again.data), (End::Whole(len), &decoded.data), "{}", show(&wire));
    let lines: Vec<&[u8]> = decoded.trailers.split_inclusive(|b| *b == b'\n').collect();
    let forbidden = [
        "authorization",
        "connection",
        "content-length",
        "cookie",
        "host",
        "set-cookie",
        "te",
        "trailer",
        "transfer-encoding",
        "x-forwarded-for",
        "x-real-ip",
    ];
    let mut kept = lines.iter();
    for line in again.trailers.split_inclusive(|b| *b == b'\n') {
        assert!(kept.any(|one| *one == line), "a trailer is new: {}", show(&wire));
        let name = super::wire::fold(line.split(|b| *b == b':').next().unwrap_or_default());
        assert!(!forbidden.contains(&name.as_str()), "{name} in trailers: {}", show(&wire));
    }
    let mut once_more = Vec::new();
    write_last_chunk(&mut once_more, &again.trailers);
    let last = decode(&once_more, |_| usize::MAX);
    assert_eq!(last.trailers, again.trailers, "what goes on stays: {}", show(&once_more));
}

/// The body and its length on the wire, if `input` begins with a whole one: read in one go, line by line.
fn second_reader(input: &[u8]) -> Option<(Vec<u8>, usize)> {
    let line_at = |at: usize| {
        let end = at + input[at..].windows(2).position(|w| w == b"\r\n")?;
        (!input[at..end].iter().any(|b| b"\r\n".contains(b))).then_some((&input[at..end], end + 2))
    };
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let (line, after) = line_at(at)?;
        let is_size = !line.is_empty() && line.iter().all(u8::is_ascii_hexdigit);
        let size = is_size.then(|| usize::from_str_radix(std::str::from_utf8(line).ok()?, 16).ok())??;
        at = after;
        if size == 0 {
            break;
        }
        body.extend_from_slice(input.get(at..at.checked_add(size)?)?);
        at += size;
        if input.get(at..at + 2)? != b"\r\n" {
            return None;
        }
        at += 2;
    }
    loop {
        let (line, after) = line_at(at)?;
        at = after;
        if line.is_empty() {
            return Some((body, at));
        }
        let colon = line.iter().position(|b| *b == b':')?;
        let (name, value) = line.split_at(colon);
        let name_ok = |b: &u8| b.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(b);
        if name.is_empty() || !name.iter().all(name_ok) {
            return None;
        }
        if value.iter().any(|b| (*b < b' ' && *b != b'\t') || *b == 0x7f) {
            return None;
        }
    }
}
