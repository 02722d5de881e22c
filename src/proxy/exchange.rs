//! One request and its answer: the request's way on one screen ([`run`]), its steps below.

use super::answer::{self, Own};
use super::connection::Client;
use super::core::RequestId;
use super::download::{self, End};
use super::guard::{self, Guard};
use super::reach::{self, Reached, Unreached};
use super::record::Asked;
use super::redirect;
use super::tunnel;
use super::upload::{State, Upload};
use super::watch::{Departure, Watched};
use crate::http::{self, Body, Forward, Request, Response, ResponseFraming, Version};
use crate::limits::{BODY_BUFFER_BYTES, BODY_TIMEOUT, INTERIM_RESPONSES, RESPONSE_HEAD_BYTES};
use crate::metrics::UpstreamError;
use crate::net::Stream;
use crate::route::Timeouts;
use crate::runtime;
use std::io;
use std::rc::Rc;
use std::time::Instant;

/// What becomes of the client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// The next request may follow.
    KeepAlive,
    /// It ends in order.
    Close,
    /// It is cut, so that an incomplete body can't look complete.
    Abort,
}

/// Serves the request whose head starts `buffer`; leaves the bytes of the next one there.
pub(super) fn run(client: &Client, buffer: &mut Vec<u8>) -> After {
    let bytes = std::mem::take(buffer);
    let (after, rest) = exchange(client, &bytes);
    client.core.recycle(bytes);
    *buffer = rest;
    after
}

fn exchange(client: &Client, bytes: &[u8]) -> (After, Vec<u8>) {
    let id = client.core.request_id();
    let mut parsed = http::parse_request(bytes);
    let (request, after) = match &mut parsed {
        Ok(Some(request)) => {
            client.record.begin(request.head_len, client.stream.is_tls());
            let after = serve(client, bytes, request, &id);
            (Asked::of(request), after)
        }
        Ok(None) => refuse(client, bytes, &id, 431, "the request's head is too large"),
        Err(reject) => refuse(client, bytes, &id, reject.status, reject.reason),
    };
    client.record.end(&client.core, client.peer.ip(), &request, &id);
    after
}

fn serve(client: &Client, bytes: &[u8], request: &mut Request<'_>, id: &RequestId) -> (After, Vec<u8>) {
    let rest = &bytes[request.head_len..];
    if let Some(own) = not_served(client, request, rest) {
        return (answer_and_close(client, request, &own, id), Vec::new());
    }
    let mut guard = Guard::new(request);
    if let Some(location) = redirect::to_https(client, request) {
        if let Err(refused) = guard.addresses(client, request) {
            return guard::refuse(client, request, rest, &refused, id);
        }
        return redirect::answer(client, request, rest, &location, id);
    }
    let arrived = runtime::now();
    let departure = Departure::new(client, whole_body(request, rest).is_some());
    // A second attempt takes no kept connection: where one has ended, the next may be about to.
    let mut fresh = false;
    loop {
        let reached = match reach::reach(client, &departure, request.host, &guard, arrived, fresh) {
            Ok(reached) => reached,
            Err(Unreached::Unchecked) => match guard.check(client, request) {
                Ok(()) => continue,
                Err(refused) => return guard::refuse(client, request, rest, &refused, id),
            },
            Err(Unreached::Answer(own)) => return own_answer(client, request, rest, &own, id),
            Err(Unreached::ClientGone | Unreached::Stopped) => return (After::Close, Vec::new()),
        };
        if guard.keeps_credentials() {
            request.fields.retain(|field| !field.name.eq_ignore_ascii_case(b"authorization"));
        }
        match forward(client, &departure, request, rest, reached, id) {
            Outcome::Done(after, rest) => return (after, rest),
            Outcome::Own(own) => return own_answer(client, request, rest, &own, id),
            Outcome::NothingHeard => fresh = true,
        }
    }
}

/// What is understood but not served, and a body that is known to be bad before anybody is asked.
fn not_served(client: &Client, request: &Request<'_>, rest: &[u8]) -> Option<Own> {
    if request.body == Body::Chunked
        && let Err(error) = http::check_chunks(rest)
    {
        return Some(Own::new(400, error.0));
    }
    if http::is_loop(request, &client.core.shared.instance) {
        return Some(Own::new(508, "the request has come back to this Tidegate: its route leads to itself"));
    }
    None
}

/// How one attempt at an upstream ended.
enum Outcome {
    Done(After, Vec<u8>),
    Own(Own),
    /// A reused connection ended before the first byte of an answer to a request that may be sent twice.
    NothingHeard,
}

fn forward(
    client: &Client,
    departure: &Departure,
    request: &Request<'_>,
    rest: &[u8],
    reached: Reached,
    id: &RequestId,
) -> Outcome {
    let Reached { stream, key, reused, in_flight, timeouts, occupied, admin } = reached;
    let mut as_localhost = admin.then(|| request.clone());
    let request = match &mut as_localhost {
        Some(own) => {
            own.host = b"localhost";
            own
        }
        None => request,
    };
    let upstream = Rc::new(stream);
    let repeatable = reused && request.method.is_idempotent() && request.body == Body::None;
    let sent = match send(client, request, rest, &upstream, &timeouts, id) {
        Ok(sent) => sent,
        Err(_) if repeatable => return Outcome::NothingHeard,
        Err(error) => {
            let reason = format!("the request could not be sent: {error}");
            return Outcome::Own(Own::failed(UpstreamError::of(error.kind()), 502, reason));
        }
    };
    if let Sent::Going(upload) = &sent {
        departure.uploading(upload);
    }
    let watched = Watched::new(departure, &upstream, timeouts);
    let mut buffer = client.core.buffer();
    let answered = respond(client, request, &watched, &sent, &mut buffer, repeatable);
    client.core.recycle(buffer);
    client.record.body_received(sent.received(rest));
    let (end, keep_upstream, keep_client) = match answered {
        Ok(answered) => answered,
        Err(outcome) => {
            sent.abandon();
            return outcome.unwrap_or_else(failed);
        }
    };
    sent.abandon();
    drop(in_flight);
    let kept = occupied.is_none() && !admin;
    let (uploaded, next) = sent.finish();
    // Err: the upload's coroutine still drains the client.
    if let Ok(stream) = Rc::try_unwrap(upstream) {
        match end {
            End::Complete { .. } if keep_upstream && uploaded && kept => {
                client.core.upstreams.put_back(key, stream, runtime::now());
            }
            // It may take no more bytes: an end behind them would never arrive.
            End::Cut | End::Bad(_) => stream.reset(),
            End::Complete { .. } | End::ClientGone => {}
        }
    }
    drop(occupied);
    let after = match end {
        End::Complete { .. } if keep_client && uploaded => After::KeepAlive,
        End::Complete { .. } | End::ClientGone => After::Close,
        End::Cut | End::Bad(_) => After::Abort,
    };
    Outcome::Done(after, next)
}

/// A request that is sent, or being sent.
enum Sent {
    /// Whole; these are the next request's bytes.
    Whole(Vec<u8>),
    /// Its body is on its way.
    Going(Rc<Upload>),
}

impl Sent {
    /// Bytes of the body that came from the client; `rest` is what followed the head.
    fn received(&self, rest: &[u8]) -> u64 {
        match self {
            Sent::Whole(next) => (rest.len() - next.len()) as u64,
            Sent::Going(upload) => upload.received(),
        }
    }

    fn state(&self) -> State {
        match self {
            Sent::Whole(_) => State::Done,
            Sent::Going(upload) => upload.state(),
        }
    }

    /// When the request last made progress, if it is still on its way.
    fn progress(&self) -> Option<Instant> {
        match self {
            Sent::Going(upload) if upload.state() == State::Running => Some(upload.progress()),
            _ => None,
        }
    }

    fn abandon(&self) {
        if let Sent::Going(upload) = self {
            upload.abandon();
        }
    }

    /// Whether the body went whole, and the bytes after it.
    fn finish(self) -> (bool, Vec<u8>) {
        match self {
            Sent::Whole(rest) => (true, rest),
            Sent::Going(upload) => (upload.state() == State::Done, upload.take_rest()),
        }
    }
}

/// What to tell the client when its own body ended the exchange.
fn failed(state: State) -> Outcome {
    match state {
        State::ClientBad(reason) => Outcome::Own(Own::new(400, reason)),
        _ => Outcome::Done(After::Close, Vec::new()),
    }
}

/// Sends the head, with the body if all of it is here; else the body follows in its own coroutine.
fn send(
    client: &Client,
    request: &Request<'_>,
    rest: &[u8],
    upstream: &Rc<Stream>,
    timeouts: &Timeouts,
    id: &RequestId,
) -> io::Result<Sent> {
    let mut out = client.core.buffer();
    let forward = Forward {
        client: client.peer.ip().to_canonical(),
        trusted: client.core.entrypoint(|entrypoint| entrypoint.trusts(client.peer.ip())),
        scheme: if client.stream.is_tls() { "https" } else { "http" },
        local_port: client.local_port(),
        request_id: id.as_str(),
        instance: &client.core.shared.instance,
    };
    http::write_forward_request(&mut out, request, &forward);
    let whole = whole_body(request, rest);
    if let Some(length) = whole {
        out.extend_from_slice(&rest[..length]);
    }
    let written = upstream.write_all(&out, Some(runtime::now() + timeouts.body));
    client.core.recycle(out);
    written?;
    match whole {
        Some(length) => Ok(Sent::Whole(rest[length..].to_vec())),
        None => {
            if request.expect_continue && rest.is_empty() {
                // The endpoint is reached and takes the head: the client may send (RFC 9110 §10.1.1).
                // Err: it has gone, as the upload will see.
                client.stream.write_all(http::CONTINUE, Some(runtime::now() + BODY_TIMEOUT)).ok();
            }
            let (core, body) = (&client.core, request.body);
            let upload = Upload::start(core, &client.stream, upstream, body, rest.to_vec(), timeouts.body);
            upload.map(Sent::Going).map_err(io::Error::other)
        }
    }
}

type Answered = (End, bool, bool);

/// Receives the answer and passes it on. `Err(Err(state))`: the client's own body ended the exchange.
fn respond(
    client: &Client,
    request: &Request<'_>,
    watched: &Watched<'_>,
    sent: &Sent,
    buffer: &mut Vec<u8>,
    repeatable: bool,
) -> Result<Answered, Result<Outcome, State>> {
    let mut interim = 0;
    loop {
        let response = match http::parse_answer(buffer, request) {
            Ok(Some(response)) => response,
            Ok(None) if buffer.len() > RESPONSE_HEAD_BYTES => return bad("the answer's head is too large"),
            Ok(None) => {
                receive_head(watched, sent, buffer, repeatable)?;
                continue;
            }
            Err(error) => return bad(error.0),
        };
        if response.status == 101 {
            // What ends a tunnel is its own affair.
            watched.departure.end();
            return Ok((switch(client, request, watched.upstream, sent, &response, buffer), false, false));
        }
        if response.is_interim() {
            let head_len = response.head_len;
            interim += 1;
            if interim > INTERIM_RESPONSES {
                return bad("too many interim answers");
            }
            pass_interim(client, request, &response)?;
            buffer.drain(..head_len);
            continue;
        }
        return pass_on(client, request, watched, sent, &response, &buffer[response.head_len..]);
    }
}

/// Passes an interim answer on (RFC 9110 §15.2): not to an HTTP/1.0 client, and no second 100 to one that
/// asked for it and got ours.
fn pass_interim(
    client: &Client,
    request: &Request<'_>,
    response: &Response<'_>,
) -> Result<(), Result<Outcome, State>> {
    if request.version == Version::Http10 || (response.status == 100 && request.expect_continue) {
        return Ok(());
    }
    let mut out = client.core.buffer();
    http::write_forward_response(&mut out, response, ResponseFraming::None, true, request.version);
    let sent = client.stream.write_all(&out, Some(runtime::now() + BODY_TIMEOUT));
    client.record.sent(out.len(), 0);
    client.core.recycle(out);
    sent.map_err(|_| Err(State::ClientGone))
}

/// Passes the 101 on and tunnels until both sides have ended.
fn switch(
    client: &Client,
    request: &Request<'_>,
    upstream: &Rc<Stream>,
    sent: &Sent,
    response: &Response<'_>,
    buffer: &[u8],
) -> End {
    let mut to_client = Vec::new();
    http::write_forward_response(&mut to_client, response, ResponseFraming::None, true, request.version);
    to_client.extend_from_slice(&buffer[response.head_len..]);
    let head = to_client.len() - (buffer.len() - response.head_len);
    client.record.answered(&client.core, response.status, None);
    client.record.switched(&client.core);
    let to_upstream = match sent {
        Sent::Whole(rest) => rest.clone(),
        Sent::Going(_) => Vec::new(),
    };
    tunnel::run(client, upstream, to_client, head, to_upstream)
}

fn bad<T>(reason: &str) -> Result<T, Result<Outcome, State>> {
    let reason = format!("the service's answer is not valid HTTP: {reason}");
    Err(Ok(Outcome::Own(Own::failed(UpstreamError::BadAnswer, 502, reason))))
}

fn receive_head(
    upstream: &Watched<'_>,
    sent: &Sent,
    buffer: &mut Vec<u8>,
    repeatable: bool,
) -> Result<(), Result<Outcome, State>> {
    let held = buffer.len();
    let deadline = runtime::now() + upstream.timeouts.response_header;
    let read = upstream.read_append(buffer, BODY_BUFFER_BYTES, deadline);
    let state = sent.state();
    let own = |kind, status, reason: String| Err(Ok(Outcome::Own(Own::failed(kind, status, reason))));
    match read {
        Ok(1..) => Ok(()),
        _ if upstream.client_has_gone() => Err(Err(State::ClientGone)),
        _ if matches!(state, State::ClientBad(_) | State::ClientGone) => Err(Err(state)),
        Ok(0) | Err(_) if repeatable && held == 0 && !timed_out(&read) => Err(Ok(Outcome::NothingHeard)),
        Ok(_) => {
            let reason = "the service closed the connection before its answer was complete";
            own(UpstreamError::Closed, 502, reason.into())
        }
        Err(error) if runtime::is_stopped(&error) => Err(Err(State::ClientGone)),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            // The clock of the answer starts when the request is whole.
            let progress = sent.progress().map(|at| runtime::now().saturating_duration_since(at));
            match progress {
                Some(since) if since < upstream.timeouts.body => Ok(()),
                _ => own(UpstreamError::TimedOut, 504, "the service did not answer in time".into()),
            }
        }
        Err(error) => {
            let kind = UpstreamError::of(error.kind());
            own(kind, 502, format!("the connection to the service broke: {error}"))
        }
    }
}

fn timed_out(read: &io::Result<usize>) -> bool {
    read.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::TimedOut || runtime::is_stopped(error))
}

fn pass_on(
    client: &Client,
    request: &Request<'_>,
    upstream: &Watched<'_>,
    sent: &Sent,
    response: &Response<'_>,
    buffered: &[u8],
) -> Result<Answered, Result<Outcome, State>> {
    let framing = ResponseFraming::of(response.body, request.version);
    let keep_client = request.keep_alive
        && !client.core.draining()
        && sent.state() == State::Done
        && framing != ResponseFraming::Close;
    let mut out = client.core.buffer();
    http::write_forward_response(&mut out, response, framing, keep_client, request.version);
    let content_type = response.field("content-type");
    client.record.answered(&client.core, response.status, content_type);
    if content_type.is_some_and(is_event_stream) {
        upstream.departure.answer_is_endless();
    }
    let end = download::transfer(client, upstream, response.body, framing, out, buffered);
    match (end, sent.state()) {
        (End::Bad(reason), _) => {
            client.record.answered(&client.core, 0, None);
            return bad(reason);
        }
        // The upload has ended the exchange.
        (End::Cut, State::ClientBad(_) | State::ClientGone) => {}
        (End::Cut, _) => client.record.upstream_failed(&client.core, UpstreamError::Cut),
        (End::Complete { .. } | End::ClientGone, _) => {}
    }
    let keep_upstream = response.keep_alive && end == End::Complete { clean: true };
    Ok((end, keep_upstream, keep_client))
}

/// Whether it is the media type of server-sent events, with or without parameters.
fn is_event_stream(content_type: &[u8]) -> bool {
    let end = content_type.iter().position(|b| *b == b';').unwrap_or(content_type.len());
    content_type[..end].trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
}

/// An answer of our own.
pub(super) fn own_answer(
    client: &Client,
    request: &Request<'_>,
    rest: &[u8],
    own: &Own,
    id: &RequestId,
) -> (After, Vec<u8>) {
    early_answer(client, request, rest, |keep| write_own(client, request, own, id, keep))
}

/// An answer that does not wait for the request's body, written by `write` with whether the connection is kept:
/// it is unless some of that body is still to come.
pub(super) fn early_answer(
    client: &Client,
    request: &Request<'_>,
    rest: &[u8],
    write: impl FnOnce(bool) -> io::Result<()>,
) -> (After, Vec<u8>) {
    let whole = whole_body(request, rest);
    if let Some(length) = whole {
        client.record.body_received(length as u64);
    }
    let next = whole.filter(|_| request.keep_alive && !client.core.draining()).map(|length| &rest[length..]);
    // Err: the client has gone, and the connection ends in any case.
    match (next, write(next.is_some())) {
        (Some(next), Ok(())) => (After::KeepAlive, next.to_vec()),
        _ => (After::Close, Vec::new()),
    }
}

fn answer_and_close(client: &Client, request: &Request<'_>, own: &Own, id: &RequestId) -> After {
    // Err: the client has gone, and the connection ends in any case.
    write_own(client, request, own, id, false).ok();
    After::Close
}

fn write_own(
    client: &Client,
    request: &Request<'_>,
    own: &Own,
    id: &RequestId,
    keep: bool,
) -> io::Result<()> {
    log::debug!("{} {}: {} {}", id.as_str(), client.peer, own.status, own.reason);
    answer::send(client, request.field("accept"), own, id.as_str(), request.method.is_head(), keep)
}

/// The length of the request's body, if all of it lies in `rest` already.
pub(super) fn whole_body(request: &Request<'_>, rest: &[u8]) -> Option<usize> {
    match request.body {
        Body::None => Some(0),
        Body::Length(length) => usize::try_from(length).ok().filter(|length| *length <= rest.len()),
        Body::Chunked => None,
    }
}

fn refuse<'b>(
    client: &Client,
    head: &'b [u8],
    id: &RequestId,
    status: u16,
    reason: &'static str,
) -> (Asked<'b>, (After, Vec<u8>)) {
    log::debug!("{} {}: {status} {reason}", id.as_str(), client.peer);
    client.record.begin(head.len(), client.stream.is_tls());
    answer::send(client, None, &Own::new(status, reason), id.as_str(), false, false).ok();
    (Asked::of_refused(head), (After::Close, Vec::new()))
}
