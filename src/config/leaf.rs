//! One value: from a scalar's text to a type, or to what was expected and what was there.

use super::expand::Wrong;
use super::names;
use super::schema::Leaf;
use super::text::{bare, shown};
use crate::access::Hash;
use crate::limits::ACCESS_TEXT_BYTES;
use crate::route::Scheme;
use crate::util::{Cidr, duration, suggest};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// A converted scalar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LeafValue {
    Integer(u64),
    Bool(bool),
    Duration(Duration),
    Text(String),
    Listen { addr: SocketAddr, dual_stack: bool },
    Off,
    Scheme(Scheme),
    Port(u16),
    Network(Cidr),
    PasswordHash(Hash),
}

/// Schemes of GoDoxy's routes that are not served here.
const SCHEMES_NOT_YET: &[&str] = &["h2c", "tcp", "udp", "fileserver"];
/// Schemes of Docker Engines that are not spoken here.
const ENGINES_NOT_YET: &[&str] = &["tcp", "http", "https", "tls", "ssh"];
/// Bytes of a Unix socket's path: `sun_path` of `unix(7)` without its NUL.
const SOCKET_PATH_BYTES: usize = 107;
/// Bytes of a domain name (RFC 1035 §2.3.4).
const NAME_BYTES: usize = 253;

/// Converts `text`; `plain` scalars may be of another type than text.
///
/// # Errors
/// A sentence that says what was expected and what was there.
pub(super) fn convert(leaf: Leaf, text: &str, plain: bool) -> Result<LeafValue, Wrong> {
    let text = text.trim();
    match leaf {
        Leaf::Integer { min, max } => integer(text, plain, min, max),
        Leaf::Bool => boolean(text, plain),
        Leaf::Duration { max } => span_of_time(text, plain, max),
        Leaf::Domain => domain(text, plain),
        Leaf::Listen => listen(text, plain),
        Leaf::Loopback => loopback(text, plain),
        Leaf::HostName => host_name(text, plain),
        Leaf::EngineUrl => engine_url(text, plain),
        Leaf::File => file(text, plain),
        Leaf::Checked { check, .. } => match check(text) {
            Ok(()) => Ok(LeafValue::Text(text.to_string())),
            Err(Some(message)) => Err((format!("{message}, got {}", shown(text)), None)),
            Err(None) => Err(wrong(leaf, text, plain)),
        },
        Leaf::Word(words) => word(text, plain, words),
        Leaf::Scheme => scheme(text, plain),
        Leaf::Host => host(text, plain),
        Leaf::ServerName => server_name(text, plain),
        Leaf::Port => port(text, plain),
        Leaf::Text | Leaf::Ascii => words(leaf, text, plain),
        Leaf::PasswordHash => Hash::parse(text).map(LeafValue::PasswordHash),
        Leaf::Network => match Cidr::parse(text) {
            Some(network) => Ok(LeafValue::Network(network)),
            None => Err(wrong(leaf, text, plain)),
        },
    }
}

/// What is expected of a leaf, for a wrong type.
pub(super) fn expected(leaf: Leaf) -> String {
    match leaf {
        Leaf::Integer { min, max } => format!("a whole number from {min} to {max}"),
        Leaf::Bool => "`true` or `false`".into(),
        Leaf::Duration { .. } => "a duration such as `1h30m`, `500ms` or `30` (seconds)".into(),
        Leaf::Domain => "a domain such as `.local`".into(),
        Leaf::Listen => "an address such as `:80`, `127.0.0.1:8080` or `[::1]:80`".into(),
        Leaf::Loopback => "a loopback address such as `127.0.0.1:8888`, or `off`".into(),
        Leaf::HostName => "a whole host name such as `admin.home.lan`".into(),
        Leaf::EngineUrl => "a URL such as `unix:///var/run/docker.sock`".into(),
        Leaf::File => "the path of a file".into(),
        Leaf::Checked { expected, .. } => expected.into(),
        Leaf::Word(words) => format!("`{}`", words.join("` or `")),
        Leaf::Scheme => "`http` or `https`".into(),
        Leaf::Host => "an IP address or a name".into(),
        Leaf::Network => "a network such as `10.0.0.0/8`, `fd00::/8`, or an address".into(),
        Leaf::ServerName => "`on`, `off` or a name".into(),
        Leaf::Port => "a port from 1 to 65535".into(),
        Leaf::Text => "a text on one line".into(),
        Leaf::Ascii => "printable ASCII".into(),
        Leaf::PasswordHash => "the hash of a password".into(),
    }
}

/// A scalar's type by YAML's core schema, and its text.
pub(super) fn describe(text: &str, plain: bool) -> String {
    let what = match core(text, plain) {
        serde_yaml::Value::Null => return "nothing".into(),
        _ if text.is_empty() => return "an empty text".into(),
        serde_yaml::Value::Bool(_) => "the boolean",
        serde_yaml::Value::Number(number) if number.is_f64() => "the number",
        serde_yaml::Value::Number(_) => "the integer",
        _ => "the text",
    };
    format!("{what} {}", shown(text))
}

/// Whether a scalar says nothing.
pub(super) fn is_null(text: &str, plain: bool) -> bool {
    core(text, plain).is_null()
}

/// Types a scalar by YAML's core schema. Only what may be something else than text goes to serde_yaml: a
/// longer or stranger text is text.
fn core(text: &str, plain: bool) -> serde_yaml::Value {
    let odd = |b: u8| !(b.is_ascii_alphanumeric() || b"+-.~_".contains(&b));
    if !plain || text.len() > 64 || text.bytes().any(odd) {
        return serde_yaml::Value::String(text.to_string());
    }
    match serde_yaml::from_str(text) {
        Ok(value @ (serde_yaml::Value::Null | serde_yaml::Value::Bool(_) | serde_yaml::Value::Number(_))) => {
            value
        }
        _ => serde_yaml::Value::String(text.to_string()),
    }
}

fn wrong(leaf: Leaf, text: &str, plain: bool) -> Wrong {
    (format!("expected {}, got {}", expected(leaf), describe(text, plain)), None)
}

fn hinted(leaf: Leaf, text: &str, plain: bool, hint: impl Into<String>) -> Wrong {
    (wrong(leaf, text, plain).0, Some(hint.into()))
}

/// The text of a scalar that is not of another type.
fn text_only(leaf: Leaf, text: &str, plain: bool) -> Result<&str, Wrong> {
    match core(text, plain) {
        serde_yaml::Value::String(_) if !text.is_empty() => Ok(text),
        _ => Err(wrong(leaf, text, plain)),
    }
}

fn decimal(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn integer(text: &str, plain: bool, min: u64, max: u64) -> Result<LeafValue, Wrong> {
    match decimal(text).filter(|number| (min..=max).contains(number)) {
        Some(number) => Ok(LeafValue::Integer(number)),
        None => Err(wrong(Leaf::Integer { min, max }, text, plain)),
    }
}

fn boolean(text: &str, plain: bool) -> Result<LeafValue, Wrong> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => Ok(LeafValue::Bool(true)),
        "false" | "no" | "off" => Ok(LeafValue::Bool(false)),
        _ => Err(wrong(Leaf::Bool, text, plain)),
    }
}

fn span_of_time(text: &str, plain: bool, max: Duration) -> Result<LeafValue, Wrong> {
    let leaf = Leaf::Duration { max };
    match duration::parse(text) {
        Ok(time) if time <= max => Ok(LeafValue::Duration(time)),
        Ok(_) => {
            let hours = max.as_secs() / 3600;
            Err((format!("expected a duration of at most {hours}h, got {}", shown(text)), None))
        }
        Err(_) => Err(match text.strip_suffix('d').filter(|days| !days.is_empty()).and_then(decimal) {
            Some(_) => hinted(leaf, text, plain, "there is no unit for days, write hours: one day is `24h`"),
            None => wrong(leaf, text, plain),
        }),
    }
}

fn domain(text: &str, plain: bool) -> Result<LeafValue, Wrong> {
    let leaf = Leaf::Domain;
    let text = text_only(leaf, text, plain)?;
    let name = text.strip_prefix('.').unwrap_or(text);
    if is_name(name.strip_suffix('.').unwrap_or(name)) {
        return Ok(LeafValue::Text(text.to_string()));
    }
    match text.strip_prefix("*.").filter(|rest| is_name(rest)) {
        Some(rest) => Err(hinted(leaf, text, plain, format!("did you mean `.{}`?", bare(rest)))),
        None => Err(wrong(leaf, text, plain)),
    }
}

fn listen(text: &str, plain: bool) -> Result<LeafValue, Wrong> {
    let leaf = Leaf::Listen;
    if decimal(text).is_some_and(|number| number <= 65535) && !text.is_empty() {
        return Err(hinted(leaf, text, plain, format!("did you mean `:{text}`?")));
    }
    let text = text_only(leaf, text, plain)?;
    if let Some(port) = text.strip_prefix(':') {
        let port = decimal(port).filter(|_| !port.is_empty()).and_then(|port| u16::try_from(port).ok());
        let port = port.ok_or_else(|| wrong(leaf, text, plain))?;
        let addr = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port);
        return Ok(LeafValue::Listen { addr, dual_stack: true });
    }
    if let Ok(addr) = text.parse() {
        return Ok(LeafValue::Listen { addr, dual_stack: false });
    }
    Err(match text.rsplit_once(':') {
        Some(("*", port)) => hinted(leaf, text, plain, format!("did you mean `:{}`?", bare(port))),
        Some(("localhost", port)) => {
            hinted(leaf, text, plain, format!("did you mean `127.0.0.1:{}`?", bare(port)))
        }
        _ => wrong(leaf, text, plain),
    })
}

fn loopback(text: &str, plain: bool) -> Result<LeafValue, Wrong> {
    let leaf = Leaf::Loopback;
    if text.eq_ignore_ascii_case("off") {
        return Ok(LeafValue::Off);
    }
    match text.parse::<SocketAddr>() {
        Ok(addr) if addr.ip().is_loopback() => Ok(LeafValue::Listen { addr, dual_stack: false }),
        Ok(addr) => Err(hinted(leaf, text, plain, format!("did you mean `127.0.0.1:{}`?", addr.port()))),
        Err(_) => Err(match text.rsplit_once(':').and_then(|(_, port)| decimal(port)) {
            Some(port) if port <= 65535 => {
                hinted(leaf, text, plain, format!("did you mean `127.0.0.1:{port}`?"))
            }
            _ => wrong(leaf, text, plain),
        }),
    }
}

fn engine_url(text: &str, plain: bool) -> Result<LeafValue, Wrong> {
    let leaf = Leaf::EngineUrl;
    let text = text_only(leaf, text, plain)?;
    if text.starts_with('/') {
        return Err(hinted(leaf, text, plain, format!("did you mean `unix://{}`?", bare(text))));
    }
    let Some((scheme, rest)) = text.split_once("://") else { return Err(wrong(leaf, text, plain)) };
    let scheme = scheme.to_ascii_lowercase();
    if ENGINES_NOT_YET.contains(&scheme.as_str()) {
        let message = format!("engines at `{scheme}://` are not supported yet, got {}", shown(text));
        return Err((message, Some("use `unix:///path/of/the.sock`".into())));
    }
    if scheme != "unix" || !rest.starts_with('/') || rest.contains('\0') {
        return Err(wrong(leaf, text, plain));
    }
    if rest.len() > SOCKET_PATH_BYTES {
        return Err((format!("the path of a socket has at most {SOCKET_PATH_BYTES} bytes"), None));
    }
    Ok(LeafValue::Text(format!("unix://{rest}")))
}

fn file(text: &str, plain: bool) -> Result<LeafValue, Wrong> {
    let text = text_only(Leaf::File, text, plain)?;
    match text.contains('\0') {
        true => Err(wrong(Leaf::File, text, plain)),
        false => Ok(LeafValue::Text(text.to_string())),
    }
}

fn word(text: &str, plain: bool, words: &'static [&'static str]) -> Result<LeafValue, Wrong> {
    let leaf = Leaf::Word(words);
    match words.iter().find(|word| word.eq_ignore_ascii_case(text)) {
        Some(word) => Ok(LeafValue::Text((*word).to_string())),
        None => Err(with_nearest(leaf, text, plain, words)),
    }
}

fn scheme(text: &str, plain: bool) -> Result<LeafValue, Wrong> {
    let lower = text.to_ascii_lowercase();
    match lower.as_str() {
        "http" => Ok(LeafValue::Scheme(Scheme::Http)),
        "https" => Ok(LeafValue::Scheme(Scheme::Https)),
        other if SCHEMES_NOT_YET.contains(&other) => {
            Err((format!("the scheme `{other}` is not supported yet"), Some("use `http`".into())))
        }
        _ => Err(with_nearest(Leaf::Scheme, text, plain, &["http", "https"])),
    }
}

fn with_nearest(leaf: Leaf, text: &str, plain: bool, words: &[&str]) -> Wrong {
    let near = match text.len() <= names::LETTERS {
        true => suggest::nearest(text, words.iter().copied()),
        false => None,
    };
    match near {
        Some(near) => hinted(leaf, text, plain, format!("did you mean `{near}`?")),
        None => wrong(leaf, text, plain),
    }
}

fn host(text: &str, plain: bool) -> Result<LeafValue, Wrong> {
    let leaf = Leaf::Host;
    if let Ok(ip) = text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        let usable = !ip.is_unspecified() && !ip.is_multicast();
        return if usable { Ok(LeafValue::Text(ip.to_string())) } else { Err(wrong(leaf, text, plain)) };
    }
    let text = text_only(leaf, text, plain)?;
    // A name whose last label is a number is a mistyped IPv4 address.
    let last = text.rsplit('.').next().unwrap_or_default();
    if is_name(text) && decimal(last).is_none() {
        return Ok(LeafValue::Text(text.to_string()));
    }
    Err(match text {
        _ if text.contains("://") => hinted(leaf, text, plain, "`scheme` and `port` are keys of their own"),
        _ if text.contains(':') => hinted(leaf, text, plain, "`port` is a key of its own"),
        _ => wrong(leaf, text, plain),
    })
}

/// With a dot: it is compared as a whole, not by its first label as an alias is.
fn host_name(text: &str, plain: bool) -> Result<LeafValue, Wrong> {
    let leaf = Leaf::HostName;
    let name = text_only(leaf, text, plain)?.trim_end_matches('.');
    let last = name.rsplit('.').next().unwrap_or_default();
    match is_name(name) && name.contains('.') && decimal(last).is_none() {
        true => Ok(LeafValue::Text(name.to_ascii_lowercase())),
        false => Err(wrong(leaf, text, plain)),
    }
}

fn server_name(text: &str, plain: bool) -> Result<LeafValue, Wrong> {
    match boolean(text, plain) {
        Ok(LeafValue::Bool(true)) => Ok(LeafValue::Text("on".into())),
        Ok(_) => Ok(LeafValue::Text("off".into())),
        Err(_) if is_name(text) => Ok(LeafValue::Text(text.to_ascii_lowercase())),
        Err(_) => Err(wrong(Leaf::ServerName, text, plain)),
    }
}

fn words(leaf: Leaf, text: &str, plain: bool) -> Result<LeafValue, Wrong> {
    let fits = |c: char| !c.is_control() && (c.is_ascii() || !matches!(leaf, Leaf::Ascii));
    match text {
        _ if text.len() > ACCESS_TEXT_BYTES => Err((format!("more than {ACCESS_TEXT_BYTES} bytes"), None)),
        _ if text.is_empty() || !text.chars().all(fits) => Err(wrong(leaf, text, plain)),
        _ => Ok(LeafValue::Text(text.to_string())),
    }
}

fn port(text: &str, plain: bool) -> Result<LeafValue, Wrong> {
    let number = decimal(text).and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
    if let Some(port) = number {
        return Ok(LeafValue::Port(port));
    }
    let is_number = |part: &str| !part.is_empty() && decimal(part).is_some();
    match text.split_once(':') {
        Some((listen, port)) if is_number(listen) && is_number(port) => {
            let message = "a listening port before the port is not supported yet";
            Err((format!("{message}, got {}", shown(text)), Some(format!("write `{}`", bare(port)))))
        }
        _ => Err(wrong(Leaf::Port, text, plain)),
    }
}

/// Whether `text` can be a host's name: labels of letters, digits, `-` and `_` (containers' names).
pub(super) fn is_name(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    text.len() <= NAME_BYTES && text.split('.').all(label)
}
