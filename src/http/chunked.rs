//! The chunked transfer coding (RFC 9112 §7.1).

use std::ops::Range;

use crate::http::fields::forbidden_in_trailers;
use crate::http::head::is_token_char;
use crate::limits;

/// The chunk that ends a body, with an empty trailer section.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
/// What follows a chunk's data.
pub const CHUNK_END: &[u8] = b"\r\n";

/// Appends the line before a chunk of `len` bytes; [`CHUNK_END`] has to follow the data. `len` must not be
/// 0: that would end the body.
pub fn write_chunk_head(out: &mut Vec<u8>, len: usize) {
    debug_assert!(len > 0, "an empty chunk ends the body");
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut digits = [0; 16];
    let mut at = digits.len();
    let mut rest = len;
    loop {
        at -= 1;
        digits[at] = HEX[rest & 15];
        rest >>= 4;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
}

/// Appends `data` as one chunk; nothing if it is empty.
pub fn write_chunk(out: &mut Vec<u8>, data: &[u8]) {
    if !data.is_empty() {
        write_chunk_head(out, data.len());
        out.extend_from_slice(data);
        out.extend_from_slice(CHUNK_END);
    }
}

/// Appends the chunk that ends a body, with those of the fields in `trailers` (a [`ChunkDecoder`]'s) that may
/// stand there: none that frames or routes the message, says who asks, changes how the body is read, or that
/// a proxy sets (RFC 9110 §6.5.1).
pub fn write_last_chunk(out: &mut Vec<u8>, trailers: &[u8]) {
    out.extend_from_slice(b"0\r\n");
    for line in trailers.split_inclusive(|b| *b == b'\n') {
        let name = line.split(|b| *b == b':').next().unwrap_or_default();
        if line.ends_with(b"\r\n") && !name.is_empty() && !forbidden_in_trailers(name) {
            out.extend_from_slice(line);
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// Why a chunked body is refused. The other side can't be understood any more: its connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkError(pub &'static str);

/// Checks as much of a chunked body as has arrived.
///
/// # Errors
/// As [`ChunkDecoder::step`].
pub fn check_chunks(begin: &[u8]) -> Result<(), ChunkError> {
    let mut decoder = ChunkDecoder::new();
    let mut rest = begin;
    while !rest.is_empty() {
        let step = decoder.step(rest)?;
        if step.done {
            break;
        }
        rest = &rest[step.consumed..];
    }
    Ok(())
}

/// What one step made of its input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkStep {
    /// Bytes of the input that are done with.
    pub consumed: usize,
    /// Where the body's bytes lie among them; may be empty.
    pub data: Range<usize>,
    /// The body has ended; what follows `consumed` is the next message's.
    pub done: bool,
}

/// Reads a chunked body step by step. However the input is cut, the same bytes and the same verdict come
/// out. Extensions are checked and dropped, trailers checked and kept: [`ChunkDecoder::trailers`].
///
/// ```text
///            hex digits        ;…              CR            LF, size > 0
///  ──► Size ───────────► Size ────► Extension ────► SizeLf ───────────────► Data
///       ▲                  └──────────────────────────▲  │                   │ size bytes
///       └───────────── LF ── DataLf ◄── CR ── DataCr ◄───┼───────────────────┘
///                                                        │ LF, size = 0
///                                                        ▼     CR            LF
///                                    TrailerLf ─ LF ─► TrailerStart ────► EndLf ────► Done
///                                        ▲               │ token
///                                        └─ CR ── value ◄─ : ── name
/// ```
#[derive(Clone, Debug)]
pub struct ChunkDecoder {
    state: State,
    /// Bytes of the chunk that are still to come (its size while that is read).
    left: u64,
    /// Bytes of this chunk's line, or of the trailer section.
    line: usize,
    /// Bytes of framing beyond what a body of chunks needs.
    overhead: u64,
    /// The lines of the trailer section so far.
    trailers: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the first digit of a size.
    SizeStart,
    Size,
    Extension(Extension),
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    Done,
    Failed(ChunkError),
}

/// Within `*( BWS ";" BWS name [ BWS "=" BWS value ] )`; the white space before the first `;` is refused, for
/// `5 \r\n` is read by some as a size and by others not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extension {
    BeforeName,
    Name,
    AfterName,
    BeforeValue,
    Value,
    Quoted,
    QuotedPair,
    AfterValue,
}

impl Default for ChunkDecoder {
    fn default() -> Self {
        ChunkDecoder::new()
    }
}

impl ChunkDecoder {
    /// A decoder before the first byte of a body.
    pub fn new() -> Self {
        ChunkDecoder { state: State::SizeStart, left: 0, line: 0, overhead: 0, trailers: Vec::new() }
    }

    /// The trailer section's field lines as they came, complete once the body is done.
    pub fn trailers(&self) -> &[u8] {
        &self.trailers
    }

    /// Reads framing up to the next data, and as much of that as `input` holds. Call again with what is left
    /// until `done` or nothing is left.
    ///
    /// # Errors
    /// Whatever isn't exactly as RFC 9112 writes it, a size beyond 64 bits, more than
    /// `limits::CHUNK_LINE_BYTES`, `CHUNK_OVERHEAD_BYTES` or `TRAILER_BYTES`. The error stays.
    pub fn step(&mut self, input: &[u8]) -> Result<ChunkStep, ChunkError> {
        let mut at = 0;
        while at < input.len() {
            match self.state {
                State::Failed(error) => return Err(error),
                State::Done => break,
                State::Data => {
                    let start = at;
                    let available = (input.len() - at) as u64;
                    let taken = available.min(self.left);
                    self.left -= taken;
                    at += taken as usize;
                    if self.left == 0 {
                        self.state = State::DataCr;
                    }
                    return Ok(ChunkStep { consumed: at, data: start..at, done: false });
                }
                _ => {
                    if let Err(error) = self.framing(input[at]) {
                        self.state = State::Failed(error);
                        return Err(error);
                    }
                    self.keep_trailer(input[at]);
                    at += 1;
                }
            }
        }
        if let State::Failed(error) = self.state {
            return Err(error);
        }
        Ok(ChunkStep { consumed: at, data: at..at, done: self.state == State::Done })
    }

    /// One byte that isn't data.
    fn framing(&mut self, b: u8) -> Result<(), ChunkError> {
        self.count(b)?;
        self.state = match (self.state, b) {
            (State::SizeStart | State::Size, b) if b.is_ascii_hexdigit() => self.digit(b)?,
            (State::Size, b';') => State::Extension(Extension::BeforeName),
            (State::Size, b'\r') => State::SizeLf,
            (State::SizeStart | State::Size, _) => return Err(ChunkError("malformed chunk size")),
            (State::Extension(within), b) => within.next(b)?,
            (State::SizeLf, b'\n') => self.size_done()?,
            (State::SizeLf, _) => return Err(ChunkError("a chunk's size line doesn't end in CRLF")),
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::SizeStart,
            (State::DataCr | State::DataLf, _) => {
                return Err(ChunkError("a chunk's data doesn't end in CRLF"));
            }
            (State::TrailerStart, b'\r') => State::EndLf,
            (State::TrailerStart | State::TrailerName, b) if is_token_char(b) => State::TrailerName,
            (State::TrailerName, b':') => State::TrailerValue,
            (State::TrailerValue, b'\r') => State::TrailerLf,
            (State::TrailerValue, b'\t' | b' '..=b'~' | 0x80..) => State::TrailerValue,
            (State::TrailerLf, b'\n') => State::TrailerStart,
            (State::EndLf, b'\n') => State::Done,
            _ => return Err(ChunkError("malformed trailer section")),
        };
        Ok(())
    }

    /// After a byte of framing: keeps it if it belongs to a trailer's line. `count` bounds them.
    fn keep_trailer(&mut self, b: u8) {
        let begun = !self.trailers.is_empty();
        match self.state {
            State::TrailerName | State::TrailerValue | State::TrailerLf => self.trailers.push(b),
            State::TrailerStart if begun => self.trailers.push(b),
            _ => {}
        }
    }

    /// Counts a byte of framing against the limit of its line or section.
    fn count(&mut self, b: u8) -> Result<(), ChunkError> {
        let (limit, fault) = match self.state {
            State::TrailerStart
            | State::TrailerName
            | State::TrailerValue
            | State::TrailerLf
            | State::EndLf => (limits::TRAILER_BYTES, "trailer section too long"),
            State::DataCr | State::DataLf => return Ok(()),
            _ => (limits::CHUNK_LINE_BYTES, "chunk size line too long"),
        };
        // the end of a line is always let through to be judged as what it is
        if self.line >= limit && !matches!(b, b'\r' | b'\n') {
            return Err(ChunkError(fault));
        }
        self.line += 1;
        Ok(())
    }

    fn digit(&mut self, b: u8) -> Result<State, ChunkError> {
        let digit = match b {
            b'0'..=b'9' => b - b'0',
            _ => (b | 0x20) - b'a' + 10,
        };
        if self.left >> 60 != 0 {
            return Err(ChunkError("chunk size beyond 64 bits"));
        }
        self.left = self.left << 4 | u64::from(digit);
        Ok(State::Size)
    }

    /// After the LF of a size line.
    fn size_done(&mut self) -> Result<State, ChunkError> {
        let fair = self.left.saturating_mul(2).saturating_add(16);
        self.overhead = (self.overhead + self.line as u64).saturating_sub(fair);
        self.line = 0;
        if self.overhead > limits::CHUNK_OVERHEAD_BYTES {
            return Err(ChunkError("too much chunk framing for its data"));
        }
        Ok(if self.left == 0 { State::TrailerStart } else { State::Data })
    }
}

impl Extension {
    fn next(self, b: u8) -> Result<State, ChunkError> {
        use Extension::*;
        Ok(State::Extension(match (self, b) {
            (Name | AfterName | Value | AfterValue, b'\r') => return Ok(State::SizeLf),
            (Name | AfterName | Value | AfterValue, b';') => BeforeName,
            (BeforeName | AfterName | BeforeValue | AfterValue, b' ' | b'\t') => self,
            (BeforeName | Name, b) if is_token_char(b) => Name,
            (Name, b' ' | b'\t') => AfterName,
            (Name | AfterName, b'=') => BeforeValue,
            (BeforeValue, b'"') => Quoted,
            (BeforeValue | Value, b) if is_token_char(b) => Value,
            (Value, b' ' | b'\t') => AfterValue,
            (Quoted, b'"') => AfterValue,
            (Quoted, b'\\') => QuotedPair,
            (Quoted | QuotedPair, b'\t' | b' '..=b'~' | 0x80..) => Quoted,
            _ => return Err(ChunkError("malformed chunk extension")),
        }))
    }
}
