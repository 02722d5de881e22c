//! The calls of Docker's API that Tidegate needs, and the negotiation of its version.

use super::client::{Answer, CallError, Client};
use super::json;
use super::model::Container;
use crate::util::timestamp::parse_rfc3339;
use std::fmt;
use std::io::Read;
use std::time::Duration;

/// The oldest API spoken here: Docker 19.03.
pub const OLDEST: ApiVersion = ApiVersion { major: 1, minor: 40 };
/// The newest API spoken here: Docker 29.
pub const NEWEST: ApiVersion = ApiVersion { major: 1, minor: 52 };

/// A version of Docker's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiVersion {
    pub major: u16,
    pub minor: u16,
}

impl ApiVersion {
    /// Parses `1.41`.
    pub fn parse(text: &str) -> Option<ApiVersion> {
        let (major, minor) = text.trim().split_once('.')?;
        Some(ApiVersion { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// What an engine says of itself at a connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// The version both speak.
    pub version: ApiVersion,
    /// The engine's clock in whole seconds, as nanoseconds since the Unix epoch, not later than now.
    pub engine_time: Option<i64>,
}

/// Why no version was agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GreetError {
    /// No answer.
    Call(CallError),
    /// The engine speaks only other versions; the text says which.
    Incompatible(String),
}

impl From<CallError> for GreetError {
    fn from(error: CallError) -> Self {
        GreetError::Call(error)
    }
}

impl fmt::Display for GreetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GreetError::Call(error) => error.fmt(f),
            GreetError::Incompatible(why) => f.write_str(why),
        }
    }
}

/// Agrees on a version by the unversioned `GET /_ping` (header `Api-Version`), asking `GET /version` only
/// if that header is missing or newer than what is spoken here. `timeout` is for each of the two.
///
/// # Errors
/// [`GreetError`].
pub fn greet(client: &Client, timeout: Duration) -> Result<Greeting, GreetError> {
    let pong = client.get("/_ping", timeout)?;
    let engine_time = pong.date.as_deref().and_then(parse_http_date);
    let newest = pong.api_version.as_deref().and_then(ApiVersion::parse);
    let version = match newest {
        Some(newest) if newest <= NEWEST => agree(newest, None)?,
        _ => {
            let answer = client.get("/version", timeout)?;
            let version: json::Version = json::read(&answer.body)?;
            let newest = ApiVersion::parse(&version.api_version).or(newest);
            let newest = newest.ok_or_else(|| CallError::Malformed("no ApiVersion in /version".into()))?;
            agree(newest, ApiVersion::parse(&version.min_api_version))?
        }
    };
    Ok(Greeting { version, engine_time })
}

/// The newest version that both speak; `newest` and `oldest` are the engine's.
fn agree(newest: ApiVersion, oldest: Option<ApiVersion>) -> Result<ApiVersion, GreetError> {
    let oldest = oldest.unwrap_or(OLDEST);
    if newest < OLDEST {
        return Err(GreetError::Incompatible(format!(
            "the engine speaks API {newest}, older than the {OLDEST} needed here: update Docker to 19.03 or later"
        )));
    }
    if oldest > NEWEST {
        return Err(GreetError::Incompatible(format!(
            "the engine speaks API {oldest} and later, newer than the {NEWEST} known here: update Tidegate"
        )));
    }
    Ok(newest.min(NEWEST))
}

/// `GET /version` in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineVersion {
    /// The engine's own, `20.10.24`.
    pub version: String,
    /// The newest API it speaks.
    pub api: Option<ApiVersion>,
    /// The oldest API it speaks.
    pub oldest_api: Option<ApiVersion>,
}

/// `GET /info`, what matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// The engine's own version, `20.10.24`.
    pub server_version: String,
    /// The system it runs on, in its own words.
    pub operating_system: String,
    /// Of its processor, `x86_64`.
    pub architecture: String,
    /// Containers and their addresses outlive the engine's process.
    pub live_restore: bool,
    /// The engine's clock, nanoseconds since the Unix epoch.
    pub system_time: Option<i64>,
}

/// The calls, over a client that is lent, in a version agreed on. Each may take `timeout`.
#[derive(Clone, Copy, Debug)]
pub struct Api<'c> {
    client: &'c Client,
    version: ApiVersion,
    timeout: Duration,
}

impl<'c> Api<'c> {
    /// Calls over `client`.
    pub fn new(client: &'c Client, version: ApiVersion, timeout: Duration) -> Self {
        Api { client, version, timeout }
    }

    fn get(&self, path: &str) -> Result<Answer, CallError> {
        self.client.get(&format!("/v{}{path}", self.version), self.timeout)
    }

    /// `GET /_ping`.
    ///
    /// # Errors
    /// [`CallError`], as for all that follow.
    pub fn ping(&self) -> Result<(), CallError> {
        self.client.get("/_ping", self.timeout).map(drop)
    }

    /// `GET /version`.
    ///
    /// # Errors
    /// [`CallError`]
    pub fn version(&self) -> Result<EngineVersion, CallError> {
        let answer = self.client.get("/version", self.timeout)?;
        let version: json::Version = json::read(&answer.body)?;
        let api = ApiVersion::parse(&version.api_version);
        let oldest_api = ApiVersion::parse(&version.min_api_version);
        Ok(EngineVersion { version: version.version, api, oldest_api })
    }

    /// `GET /info`.
    ///
    /// # Errors
    /// [`CallError`]
    pub fn info(&self) -> Result<Info, CallError> {
        let answer = self.get("/info")?;
        let info: json::Info = json::read(&answer.body)?;
        Ok(Info {
            live_restore: info.live_restore_enabled,
            system_time: parse_rfc3339(&info.system_time),
            server_version: info.server_version,
            operating_system: info.operating_system,
            architecture: info.architecture,
        })
    }

    /// `GET /containers/json?all=1`: every container, without `started_at`; what does not run is listed
    /// without its exposed ports.
    ///
    /// # Errors
    /// [`CallError`]
    pub fn list(&self) -> Result<Vec<Container>, CallError> {
        json::listed(&self.get("/containers/json?all=1")?.body)
    }

    /// `GET /containers/{id}/json`.
    ///
    /// # Errors
    /// [`CallError`]; status 404 if there is no such container.
    pub fn inspect(&self, id: &str) -> Result<Container, CallError> {
        // An id comes from an engine, and still must not be able to name another path.
        if id.is_empty() || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b)) {
            return Err(CallError::Malformed(format!("`{}` is no container's id", id.escape_default())));
        }
        json::inspected(&self.get(&format!("/containers/{id}/json"))?.body)
    }

    /// `GET /events?since=…`: the lines of the endless stream of container and network events, from
    /// `since` (nanoseconds since the Unix epoch) on. The engine replays at most the last 256 events
    /// (moby's history; a second's worth of replay costs nothing).
    ///
    /// The answer's head is sent before the subscription exists, so it is `since` that makes the stream
    /// complete, not the order of the calls.
    ///
    /// # Errors
    /// [`CallError`]; `head_timeout` is for the answer's head alone.
    pub fn events(&self, since: i64, head_timeout: Duration) -> Result<impl Read + use<>, CallError> {
        let (seconds, nanos) = (since.div_euclid(1_000_000_000), since.rem_euclid(1_000_000_000));
        let path = format!("/v{}/events?since={seconds}.{nanos:09}&filters={EVENT_FILTERS}", self.version);
        self.client.stream(&path, head_timeout)
    }
}

/// `{"type":["container","network"],"event":[…]}`, percent-encoded. What is not listed (every `exec_*` of a
/// health check, `attach`, `kill`, `top`) never wakes us. Docker matches `health_status` by its beginning;
/// `died` and `remove` are Podman's words, which Docker takes for names of events that never happen.
const EVENT_FILTERS: &str = "%7B%22type%22%3A%5B%22container%22%2C%22network%22%5D%2C%22event%22%3A%5B\
    %22create%22%2C%22start%22%2C%22die%22%2C%22died%22%2C%22destroy%22%2C%22remove%22%2C%22rename%22%2C\
    %22pause%22%2C%22unpause%22%2C%22health_status%22%2C%22connect%22%2C%22disconnect%22%5D%7D";

/// `Tue, 24 Nov 2026 21:07:14 GMT` (RFC 9110 §5.6.7), as nanoseconds since the Unix epoch.
fn parse_http_date(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = text.split_once(", ")?.1.split(' ');
    let (day, month, year, time) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    parse_rfc3339(&format!("{year}-{month:02}-{day:0>2}T{time}Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v(minor: u16) -> ApiVersion {
        ApiVersion { major: 1, minor }
    }

    #[test]
    fn agrees_on_the_newest_both_speak() {
        assert_eq!(agree(v(41), None), Ok(v(41)));
        assert_eq!(agree(v(52), Some(v(44))), Ok(v(52)));
        assert_eq!(agree(v(60), Some(v(44))), Ok(v(52)));
        let too_old = agree(v(39), Some(v(12))).unwrap_err().to_string();
        assert!(too_old.contains("1.39") && too_old.contains("1.40"), "{too_old}");
        let too_new = agree(v(60), Some(v(53))).unwrap_err().to_string();
        assert!(too_new.contains("1.53") && too_new.contains("1.52"), "{too_new}");
        assert_eq!(ApiVersion::parse("1.41"), Some(v(41)));
        assert_eq!(ApiVersion::parse("one.two"), None);
    }

    #[test]
    fn reads_the_engine_clock() {
        let at = parse_http_date("Wed, 25 Nov 2026 22:07:14 GMT");
        assert_eq!(at, parse_rfc3339("2026-11-25T22:07:14Z"));
        assert!(at.is_some());
        for bad in ["", "Wed, 25 Nov", "Wed, 25 Foo 2026 22:07:14 GMT", "x, y z a b"] {
            assert_eq!(parse_http_date(bad), None, "{bad}");
        }
    }
}
