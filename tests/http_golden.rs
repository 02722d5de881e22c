//! Golden cases of `tidegate::http`: one file a case under `tests/golden/http`.
//!
//! A file is: comments (`# …`), directives (`@key value`), the bytes in, a line `-----`, what must come out.
//! In bytes, line ends of the file itself don't count; `\r`, `\n`, `\t`, `\s` (space), `\0`, `\\` and `\xHH`
//! are escapes, `\{300*a}` is 300 times `a`. `UPDATE_GOLDEN=1` rewrites what must come out: read the diff.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use tidegate::http::{
    Answer, Body, ChunkDecoder, Field, Forward, Method, Request, ResponseBody, ResponseFraming, Target,
    Version, head_complete, is_loop, parse_request, parse_response, write_answer, write_forward_request,
    write_forward_response,
};

#[test]
fn requests_are_read_as_the_golden_files_say() {
    run("request", 100, |case| dump_requests(&case.input));
}

#[test]
fn responses_are_read_as_the_golden_files_say() {
    run("response", 40, |case| dump_responses(&case.input, case.get("to", "GET").as_bytes()));
}

#[test]
fn heads_are_forwarded_as_the_golden_files_say() {
    run("forward", 25, |case| match case.directives.contains_key("response-to") {
        true => forward_response(case),
        false => forward_request(case),
    });
}

#[test]
fn own_answers_are_written_as_the_golden_files_say() {
    run("answer", 12, answer);
}

// --- the runner ---------------------------------------------------------------------------------------

struct Case {
    directives: HashMap<String, String>,
    input: Vec<u8>,
}

impl Case {
    fn get<'c>(&'c self, key: &str, default: &'c str) -> &'c str {
        self.directives.get(key).map_or(default, String::as_str)
    }
}

/// Runs all cases of `tests/golden/http/<kind>`, of which there must be at least `at_least`.
fn run(kind: &str, at_least: usize, outcome: impl Fn(&Case) -> String) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/http").join(kind);
    let mut files: Vec<PathBuf> =
        fs::read_dir(&dir).expect("the golden directory").map(|e| e.expect("an entry").path()).collect();
    files.sort();
    assert!(files.len() >= at_least, "{} files in {}, expected {at_least}", files.len(), dir.display());
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut failed = Vec::new();
    for file in &files {
        let text = fs::read_to_string(file).expect("a golden file in UTF-8");
        let (head, expected) = text.split_once("-----\n").expect("a line of five dashes");
        let got = outcome(&read_case(head));
        if got == expected {
            continue;
        }
        if update {
            fs::write(file, format!("{head}-----\n{got}")).expect("the golden file written");
        } else {
            let name = file.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap_or(file).display();
            failed.push(format!("--- {name}\nexpected:\n{expected}got:\n{got}"));
        }
    }
    assert!(failed.is_empty(), "{} of {} fail:\n{}", failed.len(), files.len(), failed.join("\n"));
}

fn read_case(head: &str) -> Case {
    let mut case = Case { directives: HashMap::new(), input: Vec::new() };
    for line in head.lines() {
        match line.strip_prefix('@') {
            Some(directive) => {
                let (key, value) = directive.split_once(' ').unwrap_or((directive, ""));
                let text = String::from_utf8(unescape(value)).expect("directives in UTF-8");
                case.directives.insert(key.to_owned(), text);
            }
            None if line.starts_with("# ") => {}
            None => case.input.extend(unescape(line)),
        }
    }
    case
}

fn unescape(line: &str) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), line.as_bytes());
    while let Some((&b, after)) = rest.split_first() {
        rest = after;
        if b != b'\\' {
            out.push(b);
            continue;
        }
        let (&escape, after) = rest.split_first().expect("an escape");
        rest = after;
        match escape {
            b'r' => out.push(b'\r'),
            b'n' => out.push(b'\n'),
            b't' => out.push(b'\t'),
            b's' => out.push(b' '),
            b'0' => out.push(0),
            b'\\' => out.push(b'\\'),
            b'x' => {
                let digits = std::str::from_utf8(&rest[..2]).expect("two digits");
                out.push(u8::from_str_radix(digits, 16).expect("two hex digits"));
                rest = &rest[2..];
            }
            b'{' => {
                let end = rest.iter().position(|b| *b == b'}').expect("a closing brace");
                let inner = std::str::from_utf8(&rest[..end]).expect("ASCII");
                let (count, what) = inner.split_once('*').expect("count*text");
                out.extend(unescape(what).repeat(count.parse().expect("a count")));
                rest = &rest[end + 1..];
            }
            other => panic!("unknown escape \\{}", char::from(other)),
        }
    }
    out
}

/// The inverse of `unescape`, with a line end after each LF; long runs of one byte are shortened.
fn escape(bytes: &[u8]) -> String {
    let mut out = String::new();
    let mut rest = bytes;
    while let Some(&b) = rest.first() {
        let run = rest.iter().take_while(|other| **other == b).count();
        let taken = if run > 40 { run } else { 1 };
        let one = match b {
            b'\r' => "\\r".to_owned(),
            b'\n' => "\\n".to_owned(),
            b'\t' => "\\t".to_owned(),
            b'\\' => "\\\\".to_owned(),
            0 => "\\0".to_owned(),
            b' '..=b'~' => char::from(b).to_string(),
            _ => format!("\\x{b:02x}"),
        };
        match taken {
            1 => out.push_str(&one),
            n => write!(out, "\\{{{n}*{one}}}").expect("a String takes it"),
        }
        rest = &rest[taken..];
        if b == b'\n' {
            out.push('\n');
        }
    }
    out
}

// --- what is dumped -----------------------------------------------------------------------------------

fn dump_requests(input: &[u8]) -> String {
    let mut out = String::new();
    let mut at = 0;
    while at < input.len() {
        let buf = &input[at..];
        let request = match parse_request(buf) {
            Ok(Some(request)) => request,
            Ok(None) => {
                assert!(!head_complete(buf, &mut 0), "head_complete promises a verdict");
                writeln!(out, "incomplete: {} bytes", buf.len()).expect("a String takes it");
                break;
            }
            Err(reject) => {
                assert!(head_complete(buf, &mut 0), "head_complete hides a verdict: {reject:?}");
                writeln!(out, "reject {}: {}", reject.status, reject.reason).expect("a String takes it");
                break;
            }
        };
        assert!(head_complete(buf, &mut 0), "head_complete hides a request");
        dump_request(&mut out, &request);
        at += request.head_len;
        let framing = match request.body {
            Body::None => ResponseBody::None,
            Body::Length(n) => ResponseBody::Length(n),
            Body::Chunked => ResponseBody::Chunked,
        };
        match dump_body(&mut out, &input[at..], framing) {
            Some(consumed) => at += consumed,
            None => break,
        }
    }
    out
}

fn dump_request(out: &mut String, request: &Request<'_>) {
    let target = match request.target {
        Target::Origin(p) => format!("origin {}", escape(p)),
        Target::Absolute { authority, path_and_query } => {
            format!("absolute {} {}", escape(authority), escape(path_and_query))
        }
        Target::Asterisk => "asterisk".to_owned(),
    };
    let mut text = format!("{} {target} {}\n", escape(request.method.as_bytes()), version(request.version));
    text += &format!("host {}\n", escape(request.host));
    text +=
        &format!("body {:?}, keep-alive {}, head {}\n", request.body, request.keep_alive, request.head_len);
    if request.expect_continue {
        text += "expects 100-continue\n";
    }
    if let Some(protocols) = request.upgrade {
        text += &format!("upgrade {}\n", escape(protocols));
    }
    out.push_str(&text);
    dump_fields(out, &request.fields);
}

fn dump_fields(out: &mut String, fields: &[Field<'_>]) {
    for field in fields {
        writeln!(out, "  {}: {}", escape(field.name), escape(field.value)).expect("a String takes it");
    }
}

/// Returns how much of `input` the body takes; `None` if nothing can follow it.
fn dump_body(out: &mut String, input: &[u8], framing: ResponseBody) -> Option<usize> {
    let (body, consumed, verdict) = match framing {
        ResponseBody::None => return Some(0),
        ResponseBody::Length(n) if n <= input.len() as u64 => {
            (input[..n as usize].to_vec(), n as usize, "whole")
        }
        ResponseBody::Length(_) => (input.to_vec(), input.len(), "cut"),
        ResponseBody::UntilClose => (input.to_vec(), input.len(), "until close"),
        ResponseBody::Chunked => decode(input),
    };
    let quoted = escape(&body).replace('\n', "");
    writeln!(out, "body \"{quoted}\" {verdict}").expect("a String takes it");
    matches!(verdict, "whole").then_some(consumed)
}

fn decode(input: &[u8]) -> (Vec<u8>, usize, &'static str) {
    let (mut decoder, mut body, mut at) = (ChunkDecoder::new(), Vec::new(), 0);
    while at < input.len() {
        match decoder.step(&input[at..]) {
            Ok(step) => {
                body.extend_from_slice(&input[at..][step.data.clone()]);
                at += step.consumed;
                if step.done {
                    return (body, at, "whole");
                }
            }
            Err(error) => return (body, at, error.0),
        }
    }
    (body, at, "cut")
}

fn version(version: Version) -> &'static str {
    match version {
        Version::Http10 => "HTTP/1.0",
        Version::Http11 => "HTTP/1.1",
    }
}

fn dump_responses(input: &[u8], to: &[u8]) -> String {
    let mut out = String::new();
    let mut at = 0;
    while at < input.len() {
        let buf = &input[at..];
        let response = match parse_response(buf, &Method::from_bytes(to)) {
            Ok(Some(response)) => response,
            Ok(None) => {
                assert!(!head_complete(buf, &mut 0), "head_complete promises a verdict");
                out += &format!("incomplete: {} bytes\n", buf.len());
                break;
            }
            Err(bad) => {
                out += &format!("bad: {}\n", bad.0);
                break;
            }
        };
        out += &format!("{} {} \"{}\"", version(response.version), response.status, escape(response.reason));
        out += if response.is_interim() { " interim\n" } else { "\n" };
        out += &format!(
            "body {:?}, keep-alive {}, head {}\n",
            response.body, response.keep_alive, response.head_len
        );
        dump_fields(&mut out, &response.fields);
        at += response.head_len;
        match dump_body(&mut out, &input[at..], response.body) {
            Some(consumed) => at += consumed,
            None => break,
        }
        if !response.is_interim() {
            if at < input.len() {
                out += &format!("{} bytes too many\n", input.len() - at);
            }
            break;
        }
    }
    out
}

fn forward_request(case: &Case) -> String {
    let request = match parse_request(&case.input) {
        Ok(Some(request)) => request,
        other => panic!("the case's request isn't valid: {other:?}"),
    };
    let forward = Forward {
        client: case.get("client", "192.0.2.7").parse().expect("an address"),
        trusted: case.get("trusted", "no") == "yes",
        scheme: if case.get("scheme", "http") == "https" { "https" } else { "http" },
        local_port: case.get("port", "8080").parse().expect("a port"),
        request_id: case.get("id", "r-1"),
        instance: case.get("instance", "tidegate-test"),
    };
    if is_loop(&request, forward.instance) {
        return "loop\n".to_owned();
    }
    let mut out = Vec::new();
    write_forward_request(&mut out, &request, &forward);
    escape(&out)
}

fn forward_response(case: &Case) -> String {
    let to = case.get("response-to", "GET").as_bytes();
    let response = match parse_response(&case.input, &Method::from_bytes(to)) {
        Ok(Some(response)) => response,
        other => panic!("the case's response isn't valid: {other:?}"),
    };
    let client = if case.get("client", "1.1") == "1.0" { Version::Http10 } else { Version::Http11 };
    let how = match case.get("how", "auto") {
        "auto" => ResponseFraming::of(response.body, client),
        "close" => ResponseFraming::Close,
        other => panic!("unknown framing {other}"),
    };
    let mut out = Vec::new();
    write_forward_response(&mut out, &response, how, case.get("keep-alive", "yes") == "yes", client);
    escape(&out)
}

fn answer(case: &Case) -> String {
    let a = Answer {
        status: case.get("status", "404").parse().expect("a status"),
        reason: case.get("reason", "no route for host app.local"),
        request_id: case.get("id", "r-1"),
        retry_after: case.directives.get("retry-after").map(|s| s.parse().expect("seconds")),
        keep_alive: case.get("keep-alive", "yes") == "yes",
        head_only: case.get("head-only", "no") == "yes",
    };
    let mut out = Vec::new();
    write_answer(&mut out, case.directives.get("accept").map(|accept| accept.as_bytes()), &a);
    escape(&out)
}
