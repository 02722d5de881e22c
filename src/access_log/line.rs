//! One exchange as one line.
//!
//! The shapes are GoDoxy's: `common` is its host, then NCSA's common log format; `combined` adds referer and
//! user agent; `json` is one object a line, GoDoxy's keys first, then ours. Times are UTC.

use super::escape::{bare, json, quoted};
use super::fields::Fields;
use crate::http::{Field, status_text};
use crate::util::text::{address, decimal};
use crate::util::wall_clock::WallTime;
use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `host ip - user [time] "METHOD target HTTP/1.1" status size`
    Common,
    /// As `common`, then `"referer" "user agent"`.
    #[default]
    Combined,
    /// `{"time":…,"ip":…,"method":…,"scheme":…,"host":…,"path":…,"protocol":…,"status":…,…}`
    Json,
}

/// One exchange.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Its end.
    pub time: WallTime,
    pub duration: Duration,
    pub client: IpAddr,
    /// The name that was proven by `basic_auth`; empty without one.
    pub user: &'a [u8],
    pub scheme: &'a str,
    pub method: &'a [u8],
    /// Path and query as sent; the whole first line if it could not be understood.
    pub target: &'a [u8],
    /// As asked for; empty if that could not be understood.
    pub host: &'a [u8],
    /// `HTTP/1.1`
    pub protocol: &'a [u8],
    /// The route's alias; empty if there is none.
    pub route: &'a str,
    /// The status sent, 0 if the client had gone before.
    pub status: u16,
    /// Bytes of the answer's body that were sent, without framing; of a tunnel, all behind its 101.
    pub size: u64,
    /// Bytes received of this exchange, head, framing and tunnel included.
    pub received: u64,
    /// The answer's media type.
    pub content_type: &'a [u8],
    pub referer: &'a [u8],
    pub user_agent: &'a [u8],
    /// The request's head, as sent; empty if it could not be understood.
    pub headers: &'a [Field<'a>],
    pub request_id: &'a str,
    /// How the upstream failed.
    pub upstream_error: Option<&'static str>,
    /// The answer is Tidegate's, not the upstream's.
    pub own: bool,
}

impl Format {
    /// Appends `entry` as one line, its line feed included.
    pub(super) fn write(self, out: &mut Vec<u8>, entry: &Entry<'_>, fields: &Fields, stamp: &mut Stamp) {
        let (target, referer) = (fields.target(entry.target), fields.target(entry.referer));
        let entry = &Entry { target: &target, referer: &referer, ..*entry };
        match self {
            Format::Common => common(out, entry, stamp),
            Format::Combined => combined(out, entry, stamp),
            Format::Json => object(out, entry, fields),
        }
        out.push(b'\n');
    }

    /// Whether lines show [`Entry::content_type`].
    pub fn shows_content_type(self) -> bool {
        self == Format::Json
    }
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// The time of text lines: the same for all lines of a second.
#[derive(Debug, Default)]
pub(super) struct Stamp {
    of: Option<u64>,
    text: Vec<u8>,
}

impl Stamp {
    fn of(&mut self, time: WallTime) -> &[u8] {
        if self.of != Some(time.seconds) {
            self.of = Some(time.seconds);
            let c = time.civil();
            let month = MONTHS.get(usize::from(c.month) - 1).unwrap_or(&"-");
            self.text.clear();
            // Writing to a Vec can't fail, here and below.
            let _ = write!(
                self.text,
                "[{:02}/{month}/{:04}:{:02}:{:02}:{:02} +0000]",
                c.day, c.year, c.hour, c.minute, c.second
            );
        }
        &self.text
    }
}

fn common(out: &mut Vec<u8>, entry: &Entry<'_>, stamp: &mut Stamp) {
    bare(out, entry.host);
    out.push(b' ');
    address(out, entry.client);
    out.extend_from_slice(b" - ");
    bare(out, entry.user);
    out.push(b' ');
    out.extend_from_slice(stamp.of(entry.time));
    out.extend_from_slice(b" \"");
    let parts = [entry.method, entry.target, entry.protocol];
    for (index, part) in parts.iter().filter(|part| !part.is_empty()).enumerate() {
        if index > 0 {
            out.push(b' ');
        }
        quoted(out, part);
    }
    out.extend_from_slice(b"\" ");
    decimal(out, u64::from(entry.status));
    out.push(b' ');
    decimal(out, entry.size);
}

fn combined(out: &mut Vec<u8>, entry: &Entry<'_>, stamp: &mut Stamp) {
    common(out, entry, stamp);
    for field in [entry.referer, entry.user_agent] {
        out.extend_from_slice(b" \"");
        quoted(out, field);
        out.push(b'"');
    }
}

fn object(out: &mut Vec<u8>, entry: &Entry<'_>, fields: &Fields) {
    let c = entry.time.civil();
    let _ = write!(
        out,
        "{{\"time\":\"{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z\",\"ip\":\"{}\"",
        c.year, c.month, c.day, c.hour, c.minute, c.second, entry.time.millis, entry.client
    );
    let mut text = |key: &str, value: &[u8]| {
        let _ = write!(out, ",\"{key}\":");
        json(out, value);
    };
    let query = entry.target.iter().position(|b| *b == b'?');
    let path = &entry.target[..query.unwrap_or(entry.target.len())];
    text("method", entry.method);
    text("scheme", entry.scheme.as_bytes());
    text("host", entry.host);
    text("path", path);
    text("protocol", entry.protocol);
    let _ = write!(out, ",\"status\":{}", entry.status);
    let mut text = |key: &str, value: &[u8]| {
        if !value.is_empty() {
            let _ = write!(out, ",\"{key}\":");
            json(out, value);
        }
    };
    if entry.status >= 400 {
        text("error", status_text(entry.status).as_bytes());
    }
    text("type", entry.content_type);
    let _ = write!(out, ",\"size\":{}", entry.size);
    let mut text = |key: &str, value: &[u8]| {
        let _ = write!(out, ",\"{key}\":");
        json(out, value);
    };
    text("referer", entry.referer);
    text("useragent", entry.user_agent);
    if let Some(at) = query {
        text("query", &entry.target[at + 1..]);
    }
    fields.headers(out, entry.headers);
    fields.cookies(out, entry.headers);
    let mut text = |key: &str, value: &[u8]| {
        let _ = write!(out, ",\"{key}\":");
        json(out, value);
    };
    text("route", entry.route.as_bytes());
    if !entry.user.is_empty() {
        text("user", entry.user);
    }
    if let Some(kind) = entry.upstream_error {
        text("upstream_error", kind.as_bytes());
    }
    text("request_id", entry.request_id.as_bytes());
    let seconds = (entry.duration.as_secs(), entry.duration.subsec_micros());
    let _ = write!(
        out,
        ",\"received\":{},\"duration\":{}.{:06},\"own\":{}}}",
        entry.received, seconds.0, seconds.1, entry.own
    );
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::fields::{Mode, Rules};
    use super::*;
    use crate::util::rng::Rng;

    pub const PLAIN: Entry<'_> = Entry {
        time: WallTime { seconds: 1_136_214_245, millis: 7 },
        duration: Duration::from_micros(1_500_042),
        client: IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
        user: b"",
        scheme: "http",
        method: b"GET",
        target: b"/a?b=c",
        host: b"app.local",
        protocol: b"HTTP/1.1",
        route: "app",
        status: 200,
        size: 12,
        received: 99,
        content_type: b"text/plain",
        referer: b"http://x/",
        user_agent: b"curl/8",
        headers: &[],
        request_id: "00ff",
        upstream_error: None,
        own: false,
    };

    fn line(format: Format, entry: &Entry<'_>) -> String {
        let mut out = Vec::new();
        format.write(&mut out, entry, &Fields::default(), &mut Stamp::default());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_shapes_are_godoxys() {
        let common = "app.local 192.0.2.1 - - [02/Jan/2006:15:04:05 +0000] \"GET /a?b=c HTTP/1.1\" 200 12";
        assert_eq!(line(Format::Common, &PLAIN), format!("{common}\n"));
        assert_eq!(line(Format::Combined, &PLAIN), format!("{common} \"http://x/\" \"curl/8\"\n"));
        assert_eq!(
            line(Format::Json, &PLAIN),
            "{\"time\":\"2006-01-02T15:04:05.007Z\",\"ip\":\"192.0.2.1\",\"method\":\"GET\",\"scheme\":\"http\",\
             \"host\":\"app.local\",\"path\":\"/a\",\"protocol\":\"HTTP/1.1\",\"status\":200,\
             \"type\":\"text/plain\",\"size\":12,\"referer\":\"http://x/\",\"useragent\":\"curl/8\",\
             \"query\":\"b=c\",\"route\":\"app\",\"request_id\":\"00ff\",\"received\":99,\
             \"duration\":1.500042,\"own\":false}\n"
        );
    }

    #[test]
    fn a_user_has_a_field_of_its_own() {
        let entry = Entry { user: b"al ice\"", ..PLAIN };
        assert!(line(Format::Combined, &entry).starts_with("app.local 192.0.2.1 - al\\x20ice\\x22 [02/Jan"));
        assert!(line(Format::Json, &entry).contains(r#","user":"al ice\"","#));
    }

    #[test]
    fn any_bytes_make_exactly_one_line_of_as_many_fields() {
        let seed = 0x5eed_ac1d;
        let mut rng = Rng::new(seed);
        let keep = || Rules { default: Mode::Keep, config: Vec::new() };
        let named = Rules { default: Mode::Redact, config: vec![("a".into(), Mode::Drop)] };
        let kept = Fields { headers: keep(), query: named, cookies: keep() };
        for round in 0..3_000 {
            let mut bytes = || -> Vec<u8> {
                let length = rng.next_u64() % 40;
                // Half of them are those that mean something to a line or a reader.
                let special = b"\r\n\"\\ \x1b\x85\xe2\x80\xa8{}[]\0\t";
                let byte = |n: u64| match n % 2 {
                    0 => special[(n >> 8) as usize % special.len()],
                    _ => (n >> 8) as u8,
                };
                (0..length).map(|_| byte(rng.next_u64())).collect()
            };
            let all: Vec<Vec<u8>> = (0..8).map(|_| bytes()).collect();
            let entry = Entry {
                method: &all[0],
                target: &all[1],
                host: &all[2],
                protocol: &all[3],
                content_type: &all[4],
                referer: &all[5],
                user_agent: &all[6],
                user: &all[7],
                ..PLAIN
            };
            let headers =
                [Field { name: &all[6], value: &all[5] }, Field { name: b"Cookie", value: &all[4] }];
            let entry = Entry { headers: &headers, ..entry };
            for format in [Format::Common, Format::Combined, Format::Json] {
                let mut line = Vec::new();
                format.write(&mut line, &entry, &kept, &mut Stamp::default());
                let line = String::from_utf8(line).unwrap();
                let body = line.strip_suffix('\n').expect("a line feed at the end");
                let context = format!("seed {seed:#x}, round {round}: {line:?}");
                assert!(body.bytes().all(|b| matches!(b, b' '..=b'~')), "{context}");
                match format {
                    Format::Common => assert_eq!(body.matches('"').count(), 2, "{context}"),
                    Format::Combined => assert_eq!(body.matches('"').count(), 6, "{context}"),
                    Format::Json => {
                        let value: serde_json::Value = serde_json::from_str(body).expect(&context);
                        let agent = String::from_utf8_lossy(entry.user_agent);
                        assert_eq!(value["useragent"], *agent, "{context}");
                    }
                }
                if format != Format::Json {
                    assert!(body.split(' ').nth(2) == Some("-"), "{context}");
                }
            }
        }
    }
}
