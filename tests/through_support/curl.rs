//! curl, as it is on everybody's machine.

use super::{HOST, Served, Way, answer, block, events, field};
use crate::common::{BackendConn, Request};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Bytes of the file that is served and sent.
const LENGTH: usize = 3 * 1024 * 1024 + 5;

/// `/curl/file`, whole or a range; `/curl/stream`, the same until its end is told; `/curl/echo`, the body that
/// came; `/curl/refuse`, an answer before the body.
pub fn serve(conn: &mut BackendConn, head: &str, path: &str) -> bool {
    let file = block(LENGTH);
    match path {
        "/curl/file" if head.starts_with("HEAD ") => {
            conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\nX-Kind: file\r\n\r\n"));
            true
        }
        "/curl/file" => match field(head, "range") {
            None => answer(conn, "200 OK", "X-Kind: file\r\n", &file),
            Some(range) => {
                let (from, to) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
                let (from, to): (usize, usize) = (from.parse().unwrap(), to.parse().unwrap());
                let said = format!("Content-Range: bytes {from}-{to}/{LENGTH}\r\n");
                answer(conn, "206 Partial Content", &said, &file[from..=to])
            }
        },
        "/curl/stream" => {
            conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            for piece in file.chunks(70_001) {
                conn.send([format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat());
            }
            conn.send("0\r\n\r\n");
            true
        }
        "/curl/refuse" => {
            answer(conn, "403 Forbidden", "Connection: close\r\n", b"no");
            false
        }
        _ => match conn.body(&Request { head: head.to_owned(), body: Vec::new() }) {
            Some(body) => {
                let coding = field(head, "transfer-encoding").unwrap_or("none");
                answer(conn, "200 OK", &format!("X-Coding: {coding}\r\n"), &body)
            }
            None => false,
        },
    }
}

/// What curl says about a transfer, and the body.
struct Got {
    said: String,
    head: String,
    body: Vec<u8>,
    trace: String,
}

/// curl with one kind of access to one Tidegate.
struct Curl<'s> {
    served: &'s Served,
    way: Way,
    file: PathBuf,
}

impl Curl<'_> {
    fn command(&self) -> Command {
        let mut command = Command::new("curl");
        command.args(["--disable", "--verbose", "--show-error"]);
        self.access(&mut command);
        command
    }

    /// What each of curl's transfers must be told.
    fn access(&self, command: &mut Command) {
        let port = self.served.addr(self.way).port();
        command.args(["--silent", "--noproxy", "*", "--max-time", "30"]);
        command.args(["--resolve", &format!("{HOST}:{port}:127.0.0.1")]);
        command.arg("--cacert").arg(self.served.file("ca.pem"));
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.served.origin(self.way))
    }

    /// Runs curl to its end; `input` is its standard input. It says version, status and connections.
    #[track_caller]
    fn get(&self, path: &str, args: &[&str], input: &[u8]) -> Got {
        let (out, head) = (self.served.file("curl.out"), self.served.file("curl.head"));
        let mut command = self.command();
        command.arg("--output").arg(&out).arg("--dump-header").arg(&head);
        command.args(["--write-out", "%{http_version} %{http_code} %{num_connects}"]);
        command.args(args).arg(self.url(path));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("curl starts");
        // Err: it may end before it has read all of it.
        let _ = child.stdin.take().unwrap().write_all(input);
        let output = child.wait_with_output().unwrap();
        let trace = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "curl {args:?} {path}: {}\n{trace}", output.status);
        let read = |path: &PathBuf| std::fs::read(path).unwrap_or_default();
        let got = Got {
            said: String::from_utf8(output.stdout).unwrap(),
            head: String::from_utf8(read(&head)).unwrap(),
            body: read(&out),
            trace,
        };
        let _ = std::fs::remove_file(&out);
        got
    }

    /// The transfer is as `said`, and its body is the file.
    #[track_caller]
    fn same(&self, path: &str, args: &[&str], input: &[u8], said: &str) -> Got {
        let got = self.get(path, args, input);
        assert_eq!(got.said, said, "{args:?} {path}\n{}", got.trace);
        assert!(got.body == block(LENGTH), "{args:?} {path}: {} bytes, others", got.body.len());
        got
    }
}

/// All of it.
pub fn pass(served: &Served, way: Way, source: &events::Source) {
    let file = served.file("curl.in");
    std::fs::write(&file, block(LENGTH)).unwrap();
    let curl = Curl { served, way, file };
    downloads(&curl);
    uploads(&curl);
    one_connection(&curl);
    live_events(&curl, source);
}

fn downloads(curl: &Curl<'_>) {
    curl.same("/curl/file", &[], b"", "1.1 200 1");
    curl.same("/curl/stream", &[], b"", "1.1 200 1");
    // Told by its length, and by the connection's end.
    curl.same("/curl/file", &["--http1.0"], b"", "1.1 200 1");
    let got = curl.same("/curl/stream", &["--http1.0"], b"", "1.1 200 1");
    assert_eq!(field(&got.head, "transfer-encoding"), None, "{}", got.head);
    let got = curl.get("/curl/file", &["--range", "1000000-1000099"], b"");
    assert_eq!(got.said, "1.1 206 1");
    assert!(got.body == block(LENGTH)[1_000_000..=1_000_099]);
    let range = format!("bytes 1000000-1000099/{LENGTH}");
    assert_eq!(field(&got.head, "content-range"), Some(&range[..]), "{}", got.head);
    let got = curl.get("/curl/file", &["--head"], b"");
    assert_eq!(got.said, "1.1 200 1");
    assert_eq!(field(&got.head, "content-length"), Some(&LENGTH.to_string()[..]), "{}", got.head);
    assert_eq!(field(&got.head, "x-kind"), Some("file"), "{}", got.head);
}

fn uploads(curl: &Curl<'_>) {
    let body = format!("@{}", curl.file.display());
    let post = ["--data-binary", &body, "--header"];
    let got = curl.same("/curl/echo", &[&post[..], &["Expect:"]].concat(), b"", "1.1 200 1");
    assert_eq!(field(&got.head, "x-coding"), Some("none"), "{}", got.head);
    // It waits for the 100 for longer than it may take.
    let expect = ["Expect: 100-continue", "--expect100-timeout", "60"];
    let got = curl.same("/curl/echo", &[post, expect].concat(), b"", "1.1 200 1");
    assert!(got.trace.contains("HTTP/1.1 100 Continue"), "{}", got.trace);
    let got = curl.get("/curl/refuse", &[post, expect].concat(), b"");
    assert!(got.said.starts_with("1.1 403 ") && got.body == b"no", "{}\n{}", got.said, got.trace);
    // Chunks, from a pipe.
    let got =
        curl.same("/curl/echo", &["--upload-file", "-", "--header", "Expect:"], &block(LENGTH), "1.1 200 1");
    assert_eq!(field(&got.head, "x-coding"), Some("chunked"), "{}", got.head);
    let got = curl.same("/curl/echo", &["--http1.0", "--data-binary", &body], b"", "1.1 200 1");
    assert_eq!(field(&got.head, "x-coding"), Some("none"), "{}", got.head);
}

/// Requests one after the other on one connection: the later ones need none.
fn one_connection(curl: &Curl<'_>) {
    let body = format!("@{}", curl.file.display());
    let (file, echo) = (curl.url("/curl/file"), curl.url("/curl/echo"));
    let mut command = curl.command();
    let each = ["--output", "/dev/null", "--write-out", "%{num_connects} %{http_code} %{size_download}\n"];
    command.args(each).arg(&file);
    for args in [&["--data-binary", &body, &echo][..], &[&echo], &["--head", &file]] {
        command.arg("--next");
        curl.access(&mut command);
        command.args(each).args(args);
    }
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said, format!("1 200 {LENGTH}\n0 200 {LENGTH}\n0 200 0\n0 200 0\n"));
}

/// Events one by one: the source waits until curl has written out the one before.
fn live_events(curl: &Curl<'_>, source: &events::Source) {
    source.renew();
    let mut command = curl.command();
    command.args(["--no-buffer", &curl.url("/events")]);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("curl starts");
    let mut seen = String::new();
    let mut number = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        seen.push_str(&line);
        seen.push('\n');
        if line.starts_with("id: ") {
            number += 1;
        } else if line.is_empty() && number > 0 {
            source.acknowledge(number);
        }
    }
    assert!(child.wait().unwrap().success(), "curl's stream ends in order");
    assert_eq!(seen, events::text(events::FIRST));
    source.renew();
}
