//! The door: accepts loopback clients on a core, reads one request per connection, and asks may_minihttp by a
//! head of its own making.

use super::api;
use super::server::KEY_FIELD;
use crate::http::{self, Body, HostParts, Method, Request, ResponseBody};
use crate::limits::{
    ADMIN_ANSWER_BYTES, ADMIN_BODY_BYTES, ADMIN_CONNECTIONS, ADMIN_TIMEOUT, CONNECT_TIMEOUT, HEADER_TIMEOUT,
    LISTENER_LINGER, REQUEST_HEAD_BYTES,
};
use crate::net::{BoundListener, Listener};
use crate::runtime::{self, Abort, TcpStream};
use crossbeam_channel::Sender;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Where may_minihttp is, and the key it wants.
pub(super) struct Door {
    pub server: SocketAddr,
    pub key: String,
}

/// An answer on its way to the client.
struct Reply {
    status: u16,
    content_type: String,
    allow: Option<&'static str>,
    body: Vec<u8>,
}

impl Reply {
    fn text(status: u16, reason: &str) -> Reply {
        let content_type = "text/plain; charset=utf-8".into();
        Reply { status, content_type, allow: None, body: format!("{reason}\n").into_bytes() }
    }
}

/// What a request asks for, once it may.
struct Asked {
    method: &'static str,
    path: String,
    body_at: usize,
    body_len: usize,
    head_only: bool,
    expects: bool,
}

/// A number that a door has in this process.
pub(super) type DoorId = u64;

/// What ends a door, and who waits for its end: nothing is sent, but the sender is dropped.
type Ender = (Abort, Option<Sender<Infallible>>);

thread_local! {
    /// The doors of this core.
    static DOORS: RefCell<HashMap<DoorId, Ender>> = RefCell::default();
}

/// A number for one more door.
pub(super) fn next_id() -> DoorId {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Accepts on this core until it stops, or the door is closed.
pub(super) fn open(id: DoorId, listener: BoundListener, door: Door) {
    let door = Rc::new(door);
    let abort = Abort::new();
    DOORS.with_borrow_mut(|doors| doors.insert(id, (abort.clone(), None)));
    let spawned = runtime::spawn(move || {
        accept_loop(&door, listener, &abort);
        DOORS.with_borrow_mut(|doors| doors.remove(&id));
    });
    if let Err(error) = spawned {
        log::error!("the admin API can't accept: {error}");
        DOORS.with_borrow_mut(|doors| doors.remove(&id));
    }
}

/// Accepts no more at this door; what was accepted is answered. `told` is dropped when the listener is closed.
pub(super) fn close(id: DoorId, told: Sender<Infallible>) {
    let abort = DOORS.with_borrow_mut(|doors| {
        let (abort, waits) = doors.get_mut(&id)?;
        *waits = Some(told);
        Some(abort.clone())
    });
    if let Some(abort) = abort {
        abort.fire();
    }
}

fn accept_loop(door: &Rc<Door>, bound: BoundListener, abort: &Abort) {
    let listener = match bound.listen() {
        Ok(listener) => listener,
        Err(error) => return log::error!("the admin API's listener can't be watched: {error}"),
    };
    let open = Rc::new(Cell::new(0));
    let ended = accept_until(door, &listener, &open, None, Some(abort));
    if runtime::is_aborted(&ended) {
        // Without the filter a handshake that ends between the last look and the close is lost.
        if listener.refuse_new().is_ok() {
            accept_until(door, &listener, &open, Some(runtime::now() + LISTENER_LINGER), None);
        }
        while let Ok(Some((stream, _))) = listener.try_accept() {
            enter(door, stream, &open);
        }
    } else if !runtime::is_stopped(&ended) {
        log::error!("the admin API accepts no more: {ended}");
    }
}

/// Accepts until it can't; says why.
fn accept_until(
    door: &Rc<Door>,
    listener: &Listener,
    open: &Rc<Cell<usize>>,
    deadline: Option<Instant>,
    abort: Option<&Abort>,
) -> io::Error {
    loop {
        match listener.accept_until(deadline, abort) {
            Ok((stream, _)) => enter(door, stream, open),
            Err(error) => return error,
        }
    }
}

fn enter(door: &Rc<Door>, stream: TcpStream, open: &Rc<Cell<usize>>) {
    if open.get() >= ADMIN_CONNECTIONS {
        let _ = stream.try_write(&head(&Reply::text(503, ""), 0));
        return stream.linger_close();
    }
    let place = Place::taken(open);
    let door = Rc::clone(door);
    let spawned = runtime::spawn(move || {
        serve(&door, stream);
        drop(place);
    });
    if let Err(error) = spawned {
        log::warn!("no stack for a connection to the admin API: {error}");
    }
}

/// One of the connections at once, until it is dropped.
struct Place(Rc<Cell<usize>>);

impl Place {
    fn taken(open: &Rc<Cell<usize>>) -> Place {
        open.set(open.get() + 1);
        Place(Rc::clone(open))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// One request, one answer, closed: what a client sends after its request is never read as another.
fn serve(door: &Door, stream: TcpStream) {
    let deadline = runtime::now() + ADMIN_TIMEOUT;
    let mut buf = Vec::new();
    let Ok(true) = read_head(&stream, &mut buf, runtime::now() + HEADER_TIMEOUT) else { return };
    let (reply, head_only) = match judge(&buf) {
        Ok(asked) => {
            let reply = match read_body(&stream, &mut buf, &asked, deadline) {
                Ok(()) => door.ask(&asked, &buf, deadline),
                Err(_) => return,
            };
            let reply = reply.unwrap_or_else(|error| {
                log::warn!("admin API: {}: {error}", asked.path);
                Reply::text(502, &format!("the admin server did not answer: {error}"))
            });
            (reply, asked.head_only)
        }
        Err(reply) => (reply, buf.starts_with(b"HEAD ")),
    };
    let head = head(&reply, reply.body.len());
    let body: &[u8] = if head_only { b"" } else { &reply.body };
    // A client that is gone needs no answer.
    if stream.write_all_vectored(&[&head, body], Some(deadline)).is_ok() {
        stream.linger_close();
    }
}

/// Reads until a verdict on the head is possible; false if the client left without one.
fn read_head(stream: &TcpStream, buf: &mut Vec<u8>, deadline: Instant) -> io::Result<bool> {
    let mut scanned = 0;
    let mut chunk = [0; 4096];
    while !http::head_complete(buf, &mut scanned) && buf.len() <= REQUEST_HEAD_BYTES {
        match stream.read(&mut chunk, Some(deadline))? {
            0 => return Ok(false),
            n => buf.extend_from_slice(&chunk[..n]),
        }
    }
    Ok(true)
}

fn read_body(stream: &TcpStream, buf: &mut Vec<u8>, asked: &Asked, deadline: Instant) -> io::Result<()> {
    let end = asked.body_at + asked.body_len;
    if asked.expects && buf.len() < end {
        stream.write_all(http::CONTINUE, Some(deadline))?;
    }
    let mut chunk = [0; 4096];
    while buf.len() < end {
        match stream.read(&mut chunk, Some(deadline))? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => buf.extend_from_slice(&chunk[..n]),
        }
    }
    Ok(())
}

/// Whether the request at the beginning of `buf` may pass, else what it is told.
fn judge(buf: &[u8]) -> Result<Asked, Reply> {
    let request = match http::parse_request(buf) {
        Ok(Some(request)) => request,
        Ok(None) => return Err(Reply::text(400, "an incomplete head")),
        Err(reject) => return Err(Reply::text(reject.status, reject.reason)),
    };
    // Another site's name that leads here (DNS rebinding) is told nothing.
    if !is_loopback(request.host) {
        return Err(Reply::text(403, "the Host must be localhost or a loopback address"));
    }
    let target = String::from_utf8_lossy(request.path_and_query());
    let path = target.split('?').next().unwrap_or_default();
    let Some(allow) = api::allowed(path) else {
        return Err(Reply::text(404, "no such page of the admin API"));
    };
    let (method, head_only) = match request.method {
        Method::Get => ("GET", false),
        Method::Head => ("GET", true),
        Method::Post => ("POST", false),
        _ => ("", false),
    };
    let fits = !method.is_empty() && allow.split(", ").any(|allowed| allowed == method);
    if !fits {
        let reason = format!("this page takes {allow}");
        return Err(Reply { allow: Some(allow), ..Reply::text(405, &reason) });
    }
    if method == "POST" && is_of_a_page(&request) {
        return Err(Reply::text(403, "a web page may not call this"));
    }
    let body_len = match request.body {
        Body::None => 0,
        Body::Length(length) => usize::try_from(length).unwrap_or(usize::MAX),
        Body::Chunked => return Err(Reply::text(411, "send a Content-Length")),
    };
    if body_len > ADMIN_BODY_BYTES {
        return Err(Reply::text(413, "the body is too long"));
    }
    let (body_at, expects) = (request.head_len, request.expect_continue);
    Ok(Asked { method, path: path.to_owned(), body_at, body_len, head_only, expects })
}

/// Browsers say so: by Origin with each POST, by Sec-Fetch-Site with every request.
fn is_of_a_page(request: &Request) -> bool {
    let by_user = request.field("sec-fetch-site").is_none_or(|site| site == b"none");
    request.field("origin").is_some() || !by_user
}

fn is_loopback(host: &[u8]) -> bool {
    let Ok(HostParts { name, .. }) = http::parse_host(host) else { return false };
    let Ok(name) = std::str::from_utf8(name) else { return false };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let is_loopback = |ip: IpAddr| ip.to_canonical().is_loopback();
    name.trim_end_matches('.').eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(is_loopback)
}

impl Door {
    fn ask(&self, asked: &Asked, buf: &[u8], deadline: Instant) -> io::Result<Reply> {
        let connect = deadline.min(runtime::now() + CONNECT_TIMEOUT);
        let server = TcpStream::connect(self.server, Some(connect), None)?;
        let Asked { method, path, body_len, .. } = asked;
        let key = &self.key;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{KEY_FIELD}: {key}\r\nContent-Length: {body_len}\r\n\r\n"
        );
        let body = &buf[asked.body_at..asked.body_at + body_len];
        server.write_all_vectored(&[head.as_bytes(), body], Some(deadline))?;
        receive(&server, deadline)
    }
}

fn receive(server: &TcpStream, deadline: Instant) -> io::Result<Reply> {
    let mut buf = Vec::new();
    let mut chunk = vec![0; 16 * 1024];
    let mut wanted = None;
    loop {
        if wanted.is_none()
            && let Some(response) =
                http::parse_response(&buf, &Method::Get).map_err(|bad| io::Error::other(bad.0))?
        {
            let ResponseBody::Length(length) = response.body else {
                return Err(io::Error::other("an answer without a length"));
            };
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            if length > ADMIN_ANSWER_BYTES {
                return Err(io::Error::other("the answer is too long"));
            }
            let content_type = response.field("content-type").unwrap_or(b"text/plain");
            let content_type = String::from_utf8_lossy(content_type).into_owned();
            let reply = Reply { status: response.status, content_type, allow: None, body: Vec::new() };
            wanted = Some((reply, response.head_len, response.head_len + length));
        }
        if let Some((mut reply, begin, end)) = wanted.take_if(|(_, _, end)| buf.len() >= *end) {
            reply.body = buf[begin..end].to_vec();
            return Ok(reply);
        }
        match server.read(&mut chunk, Some(deadline))? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => buf.extend_from_slice(&chunk[..n]),
        }
    }
}

fn head(reply: &Reply, length: usize) -> Vec<u8> {
    let Reply { status, content_type, allow, .. } = reply;
    let allow = allow.map_or(String::new(), |allow| format!("Allow: {allow}\r\n"));
    let text = http::status_text(*status);
    format!(
        "HTTP/1.1 {status} {text}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n{allow}\
         Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
    )
    .into_bytes()
}
