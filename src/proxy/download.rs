//! The response on its way to the client.

use super::bulk::Bulk;
use super::connection::Client;
use super::core::Core;
use super::watch::Watched;
use crate::http::{
    CHUNK_END, ChunkDecoder, ResponseBody, ResponseFraming, write_chunk_head, write_last_chunk,
};
use crate::limits::BODY_BUFFER_BYTES;
use crate::runtime;
use std::io;
use std::time::Duration;

/// How a body's transfer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Complete on both sides; true if no byte is left over.
    Complete { clean: bool },
    /// The upstream cut it off or broke its framing: the client's connection must be cut too.
    Cut,
    /// The upstream broke its framing before a byte had gone to the client: another answer may be sent.
    Bad(&'static str),
    /// The client has gone.
    ClientGone,
}

/// Sends `out` (the head, already written) and the body whose first bytes are `buffered`.
pub(super) fn transfer(
    client: &Client,
    upstream: &Watched<'_>,
    body: ResponseBody,
    framing: ResponseFraming,
    out: Vec<u8>,
    buffered: &[u8],
) -> End {
    let mut sender = Sender {
        client,
        out,
        chunked: framing == ResponseFraming::ChunkedOut,
        timeout: upstream.timeouts.body,
        trailers: Vec::new(),
        begun: false,
    };
    let end = match body {
        ResponseBody::None => Ok(buffered.is_empty()),
        ResponseBody::Length(length) => length_body(&mut sender, upstream, length, buffered),
        ResponseBody::Chunked => chunked_body(&mut sender, upstream, buffered),
        ResponseBody::UntilClose => until_close(&mut sender, upstream, buffered),
    };
    let end = end.and_then(|clean| sender.finish().map(|()| clean));
    let Sender { out, begun, .. } = sender;
    client.core.recycle(out);
    match end {
        _ if upstream.client_has_gone() => End::ClientGone,
        Err(End::Bad(_)) if begun => End::Cut,
        Ok(clean) => End::Complete { clean },
        Err(end) => end,
    }
}

/// Collects what goes out together, so that a head and its first bytes are one send.
struct Sender<'c> {
    client: &'c Client,
    out: Vec<u8>,
    chunked: bool,
    /// For the client to take some bytes.
    timeout: Duration,
    /// The upstream's, once its last chunk is read.
    trailers: Vec<u8>,
    /// Bytes may have gone to the client.
    begun: bool,
}

impl Sender<'_> {
    fn data(&mut self, data: &[u8]) -> Result<(), End> {
        if data.is_empty() {
            return Ok(());
        }
        if self.chunked {
            write_chunk_head(&mut self.out, data.len());
        }
        let tail: &[u8] = if self.chunked { CHUNK_END } else { b"" };
        let deadline = runtime::now() + self.timeout;
        self.begun = true;
        let sent = self.client.stream.write_all_vectored(&[&self.out, data, tail], Some(deadline));
        if sent.is_ok() {
            self.client.record.sent(self.out.len() + data.len() + tail.len(), data.len());
        }
        self.out.clear();
        sent.map_err(|_| End::ClientGone)
    }

    /// Sends what is still collected: a head without a body, before a wait.
    fn flush(&mut self) -> Result<(), End> {
        if self.out.is_empty() {
            return Ok(());
        }
        self.begun = true;
        let sent = self.client.stream.write_all(&self.out, Some(runtime::now() + self.timeout));
        if sent.is_ok() {
            self.client.record.sent(self.out.len(), 0);
        }
        self.out.clear();
        sent.map_err(|_| End::ClientGone)
    }

    fn finish(&mut self) -> Result<(), End> {
        if self.chunked {
            write_last_chunk(&mut self.out, &self.trailers);
        }
        self.flush()
    }
}

fn length_body(sender: &mut Sender<'_>, up: &Watched<'_>, length: u64, buffered: &[u8]) -> Result<bool, End> {
    let take = usize::try_from(length).unwrap_or(usize::MAX).min(buffered.len());
    sender.data(&buffered[..take])?;
    let clean = take == buffered.len();
    let mut left = length - take as u64;
    let client = sender.client;
    if let Some(bulk) = Bulk::new(&client.core, up.upstream, &client.stream, left) {
        sender.flush()?;
        spliced(client, up, bulk, left)?;
        return Ok(clean);
    }
    let mut buffer = BodyBuffer::new(&client.core);
    while left > 0 {
        sender.flush()?;
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(BODY_BUFFER_BYTES);
        let read = buffer.read(up, want).map_err(|_| End::Cut)?;
        if read.is_empty() {
            return Err(End::Cut);
        }
        left -= read.len() as u64;
        sender.data(read)?;
    }
    Ok(clean)
}

/// The rest of a long body, by way of the kernel.
fn spliced(client: &Client, up: &Watched<'_>, mut bulk: Bulk<'_>, mut left: u64) -> Result<(), End> {
    while left > 0 {
        let deadline = runtime::now() + up.timeouts.response_body;
        match up.wait(deadline, |until| bulk.fill(left, until)) {
            Ok(0) | Err(_) => return Err(End::Cut),
            Ok(n) => left -= n as u64,
        }
        bulk.drain(up.timeouts.body, |n| client.record.sent(n, n)).map_err(|_| End::ClientGone)?;
    }
    Ok(())
}

fn chunked_body(sender: &mut Sender<'_>, up: &Watched<'_>, buffered: &[u8]) -> Result<bool, End> {
    let mut decoder = ChunkDecoder::new();
    if let Some(clean) = decode(sender, &mut decoder, buffered)? {
        return Ok(clean);
    }
    let mut buffer = BodyBuffer::new(&sender.client.core);
    loop {
        sender.flush()?;
        let read = buffer.read(up, BODY_BUFFER_BYTES).map_err(|_| End::Cut)?;
        if read.is_empty() {
            return Err(End::Cut);
        }
        if let Some(clean) = decode(sender, &mut decoder, read)? {
            return Ok(clean);
        }
    }
}

/// Sends the data within `input`; at the body's end says whether nothing is left over.
fn decode(sender: &mut Sender<'_>, decoder: &mut ChunkDecoder, input: &[u8]) -> Result<Option<bool>, End> {
    let mut at = 0;
    while at < input.len() {
        let step = decoder.step(&input[at..]).map_err(|error| End::Bad(error.0))?;
        sender.data(&input[at..][step.data.clone()])?;
        at += step.consumed;
        if step.done {
            sender.trailers.extend_from_slice(decoder.trailers());
            return Ok(Some(at == input.len()));
        }
    }
    Ok(None)
}

fn until_close(sender: &mut Sender<'_>, up: &Watched<'_>, buffered: &[u8]) -> Result<bool, End> {
    sender.data(buffered)?;
    let mut buffer = BodyBuffer::new(&sender.client.core);
    loop {
        sender.flush()?;
        // A reset is a cut; only an orderly close ends the body (RFC 9112 §8).
        let read = buffer.read(up, BODY_BUFFER_BYTES).map_err(|_| End::Cut)?;
        if read.is_empty() {
            return Ok(false);
        }
        sender.data(read)?;
    }
}

/// A copy buffer that goes back to its core.
struct BodyBuffer<'c> {
    core: &'c Core,
    bytes: Vec<u8>,
}

impl<'c> BodyBuffer<'c> {
    fn new(core: &'c Core) -> Self {
        BodyBuffer { core, bytes: core.buffer() }
    }

    fn read(&mut self, from: &Watched<'_>, at_most: usize) -> io::Result<&[u8]> {
        self.bytes.clear();
        from.read_append(&mut self.bytes, at_most, runtime::now() + from.timeouts.response_body)?;
        Ok(&self.bytes)
    }
}

impl Drop for BodyBuffer<'_> {
    fn drop(&mut self) {
        self.core.recycle(std::mem::take(&mut self.bytes));
    }
}
