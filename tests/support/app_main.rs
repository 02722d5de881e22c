//! The application inside the tests' containers: a small HTTP/1.1 server on threads, built alone by `rustc`
//! into one static binary. Its answers say who it is, so that a wrong one is seen.
//!
//! Environment: `NAME` (who it is), `PORT` (one or several, with commas; 80), `LISTEN_AFTER_MS` (time until
//! it listens), `LOG` (a directory: `NAME.heads` gets the `id` of each request whose head has come,
//! `NAME.listening` the time of each start in nanoseconds since the Unix epoch).
//!
//! Paths: `/` name and container id; `/slow?ms=N`; `/big?bytes=N` with a length, `/chunked?bytes=N` without;
//! `/cut?bytes=N` half a body, then the end; `/echo` the request's body; `/hash` its length and FNV-1a;
//! `/head` the request's head as it came.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Bytes of a head, a line or an echoed body that are taken.
const LIMIT: usize = 1 << 20;

struct App {
    name: String,
    host: String,
    heads: Option<File>,
}

fn main() -> Result<()> {
    let setting = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_string());
    let name = setting("NAME", "app");
    let wait = setting("LISTEN_AFTER_MS", "0").parse().unwrap_or(0);
    std::thread::sleep(Duration::from_millis(wait));
    let log = std::env::var("LOG").ok();
    let open = |kind: &str| -> Result<Option<File>> {
        let Some(dir) = &log else { return Ok(None) };
        OpenOptions::new().append(true).create(true).open(format!("{dir}/{name}.{kind}")).map(Some)
    };
    let heads = open("heads")?;
    let mut listening = open("listening")?;
    let app = Arc::new(App { name: name.clone(), host: setting("HOSTNAME", ""), heads });
    let mut threads = Vec::new();
    for port in setting("PORT", "80").split(',') {
        let listener = TcpListener::bind(("0.0.0.0", port.trim().parse().expect("PORT is a number")))?;
        let app = app.clone();
        threads.push(std::thread::spawn(move || accept(&listener, &app)));
    }
    if let Some(file) = &mut listening {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock past 1970");
        file.write_all(format!("{}\n", now.as_nanos()).as_bytes())?;
    }
    for thread in threads {
        let _ = thread.join();
    }
    Ok(())
}

fn accept(listener: &TcpListener, app: &Arc<App>) {
    for stream in listener.incoming().flatten() {
        let app = app.clone();
        std::thread::spawn(move || {
            let _ = connection(stream, &app);
        });
    }
}

/// Serves requests until the client ends, or something is not understood.
fn connection(stream: TcpStream, app: &App) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut input = BufReader::new(stream.try_clone()?);
    let mut output = stream;
    while let Some(request) = Request::read(&mut input)? {
        if let (Some(id), Some(mut file)) = (request.text("id"), app.heads.as_ref()) {
            file.write_all(format!("{id}\n").as_bytes())?;
        }
        answer(app, &request, &mut input, &mut output)?;
        if request.field("connection").is_some_and(|v| v.eq_ignore_ascii_case("close")) {
            break;
        }
    }
    Ok(())
}

struct Request {
    head: String,
    target: String,
    fields: Vec<(String, String)>,
}

impl Request {
    fn read(input: &mut impl BufRead) -> Result<Option<Request>> {
        let mut head = String::new();
        loop {
            let mut line = String::new();
            if input.by_ref().take(LIMIT as u64).read_line(&mut line)? == 0 {
                return Ok(None);
            }
            if line == "\r\n" {
                break;
            }
            head.push_str(&line);
            if head.len() > LIMIT {
                return Err(Error::new(ErrorKind::InvalidData, "the head is too long"));
            }
        }
        let target = head.split(' ').nth(1).unwrap_or("/").to_string();
        let fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
        let fields = fields.map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_string())).collect();
        Ok(Some(Request { target, fields, head }))
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or("/")
    }

    /// A parameter of the query.
    fn text(&self, name: &str) -> Option<&str> {
        let query = self.target.split_once('?')?.1;
        query.split('&').filter_map(|pair| pair.split_once('=')).find(|(n, _)| *n == name).map(|(_, v)| v)
    }

    fn number(&self, name: &str) -> usize {
        self.text(name).and_then(|text| text.parse().ok()).unwrap_or(0)
    }
}

fn answer(app: &App, request: &Request, input: &mut impl BufRead, output: &mut TcpStream) -> Result<()> {
    let mut upload = Upload::default();
    upload.read(request, input, output)?;
    if request.text("ms").is_some() {
        std::thread::sleep(Duration::from_millis(request.number("ms") as u64));
    }
    let bytes = request.number("bytes");
    match request.path() {
        "/big" => {
            output.write_all(head(app, &format!("Content-Length: {bytes}")).as_bytes())?;
            pattern(bytes, |part| output.write_all(part))
        }
        "/cut" => {
            output.write_all(head(app, &format!("Content-Length: {bytes}")).as_bytes())?;
            pattern(bytes / 2, |part| output.write_all(part))?;
            Err(Error::new(ErrorKind::Other, "cut as asked"))
        }
        "/chunked" => {
            output.write_all(head(app, "Transfer-Encoding: chunked").as_bytes())?;
            pattern(bytes, |part| {
                output.write_all(format!("{:x}\r\n", part.len()).as_bytes())?;
                output.write_all(part)?;
                output.write_all(b"\r\n")
            })?;
            output.write_all(b"0\r\n\r\n")
        }
        "/echo" => whole(app, output, &upload.kept),
        "/hash" => whole(app, output, format!("{} {:016x}\n", upload.length, upload.hash).as_bytes()),
        "/head" => whole(app, output, request.head.as_bytes()),
        _ => whole(app, output, format!("{} {}\n", app.name, app.host).as_bytes()),
    }
}

fn head(app: &App, framing: &str) -> String {
    let (name, host) = (&app.name, &app.host);
    format!(
        "HTTP/1.1 200 OK\r\nX-App: {name}\r\nX-Container: {host}\r\nContent-Type: text/plain\r\n{framing}\r\n\r\n"
    )
}

fn whole(app: &App, output: &mut TcpStream, body: &[u8]) -> Result<()> {
    let mut bytes = head(app, &format!("Content-Length: {}", body.len())).into_bytes();
    bytes.extend_from_slice(body);
    output.write_all(&bytes)
}

/// `0123456789…` in parts of at most 16 KB.
fn pattern(bytes: usize, mut write: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let block: Vec<u8> = (b'0'..=b'9').cycle().take(16_000).collect();
    let mut left = bytes;
    while left > 0 {
        let part = left.min(block.len());
        write(&block[..part])?;
        left -= part;
    }
    Ok(())
}

/// The request's body: its beginning, its length and its hash.
#[derive(Default)]
struct Upload {
    kept: Vec<u8>,
    length: usize,
    hash: u64,
}

impl Upload {
    fn read(&mut self, request: &Request, input: &mut impl BufRead, output: &mut TcpStream) -> Result<()> {
        self.hash = 0xcbf2_9ce4_8422_2325;
        if request.field("expect").is_some_and(|v| v.eq_ignore_ascii_case("100-continue")) {
            output.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        if request.field("transfer-encoding").is_some() {
            loop {
                let size = usize::from_str_radix(line(input)?.split(';').next().unwrap_or("").trim(), 16);
                let size = size.map_err(|_| Error::new(ErrorKind::InvalidData, "no chunk size"))?;
                self.take(size, input)?;
                if size == 0 {
                    while !line(input)?.is_empty() {}
                    return Ok(());
                }
                line(input)?;
            }
        }
        let length = request.field("content-length").and_then(|v| v.parse().ok()).unwrap_or(0);
        self.take(length, input)
    }

    fn take(&mut self, mut left: usize, input: &mut impl BufRead) -> Result<()> {
        let mut part = [0; 16_384];
        while left > 0 {
            let wanted = left.min(part.len());
            let got = input.read(&mut part[..wanted])?;
            if got == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            for byte in &part[..got] {
                self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
            let room = LIMIT.saturating_sub(self.kept.len()).min(got);
            self.kept.extend_from_slice(&part[..room]);
            self.length += got;
            left -= got;
        }
        Ok(())
    }
}

fn line(input: &mut impl BufRead) -> Result<String> {
    let mut line = String::new();
    input.by_ref().take(LIMIT as u64).read_line(&mut line)?;
    Ok(line.trim_end().to_string())
}
