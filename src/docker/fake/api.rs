//! Docker's API: which call a request is, and its answer.

use super::Shared;
use super::clock;
use super::events::Filter;
use super::json;
use super::ops::{Address, End};
use super::spec::{Call, Refused};
use super::wire::{self, Message};
use serde_json::{Value, json};

/// What the server is to send.
pub(super) enum Answer {
    Json(u16, Value),
    Text(u16, String),
    /// 204 or 304.
    Empty(u16),
    Events(Subscription),
}

/// The query of `/events`; times in nanoseconds since the Unix epoch.
pub(super) struct Subscription {
    pub since: Option<i64>,
    pub until: Option<i64>,
    pub filter: Filter,
}

/// A request, taken apart.
pub(super) struct Route<'m> {
    pub call: Call,
    version: Option<&'m str>,
    /// Id or name.
    container: String,
    query: &'m str,
}

impl<'m> Route<'m> {
    pub(super) fn of(message: &'m Message) -> Route<'m> {
        let (path, query) = message.target.split_once('?').unwrap_or((&message.target, ""));
        let (version, path) = split_version(path);
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        let (call, container) = match (message.method.as_str(), parts.as_slice()) {
            ("GET" | "HEAD", ["_ping"]) => (Call::Ping, ""),
            ("GET", ["version"]) => (Call::Version, ""),
            ("GET", ["info"]) => (Call::Info, ""),
            ("GET", ["events"]) => (Call::Events, ""),
            ("GET", ["containers", "json"]) => (Call::List, ""),
            ("GET", ["containers", key, "json"]) => (Call::Inspect, *key),
            ("POST", ["containers", key, "start"]) => (Call::Start, *key),
            ("POST", ["containers", key, "stop"]) => (Call::Stop, *key),
            ("POST", ["containers", key, "kill"]) => (Call::Kill, *key),
            ("POST", ["containers", key, "restart"]) => (Call::Restart, *key),
            ("DELETE", ["containers", key]) => (Call::Remove, *key),
            _ => (Call::Other, ""),
        };
        Route { call, version, container: wire::percent_decode(container), query }
    }

    fn query(&self, name: &str) -> Option<String> {
        wire::query_value(self.query, name)
    }

    /// Docker's booleans in queries.
    fn flag(&self, name: &str) -> bool {
        self.query(name).is_some_and(|v| !matches!(v.as_str(), "" | "0" | "no" | "false" | "none"))
    }
}

/// Takes `/v1.41` off a path.
fn split_version(path: &str) -> (Option<&str>, &str) {
    let Some(rest) = path.strip_prefix("/v") else { return (None, path) };
    let (version, after) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if number(version).is_some() { (Some(version), after) } else { (None, path) }
}

/// `1.41` as (1, 41).
fn number(version: &str) -> Option<(u32, u32)> {
    let (major, minor) = version.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Docker's error body.
pub(super) fn error(status: u16, message: impl Into<String>) -> Answer {
    Answer::Json(status, json!({ "message": message.into() }))
}

impl Shared {
    /// Answers a call. May block as long as the operation takes.
    pub(super) fn answer(&self, route: &Route<'_>) -> Answer {
        if let Some(refusal) = self.check_version(route) {
            return refusal;
        }
        let key = route.container.as_str();
        let gateway = self.world.with(|w| w.subnet.gateway());
        match route.call {
            Call::Ping => Answer::Text(200, "OK".into()),
            Call::Version => Answer::Json(200, json::version(&self.options)),
            Call::Info => {
                Answer::Json(200, self.world.with(|w| json::info(&self.options, w.containers.iter())))
            }
            Call::List => self.list(route.flag("all")),
            Call::Inspect => match self.with_idle(key, |c| Ok(json::inspect(c, gateway))) {
                Ok(value) => Answer::Json(200, value),
                Err(e) => error(e.status, e.message),
            },
            Call::Events => subscription(route),
            Call::Start => done(self.start(key, Address::LowestFree)),
            Call::Stop => done(self.end(key, End::Stop)),
            Call::Kill => done(self.end(key, End::Kill)),
            Call::Restart => done(self.restart(key)),
            Call::Remove => done(self.remove(key, route.flag("force"))),
            Call::Other => error(404, "page not found"),
        }
    }

    fn check_version(&self, route: &Route<'_>) -> Option<Answer> {
        let asked = route.version?;
        let (max, min) = (&self.options.api_version, &self.options.min_api_version);
        if number(asked) > number(max) {
            let message =
                format!("client version {asked} is too new. Maximum supported API version is {max}");
            return Some(error(400, message));
        }
        if number(asked) < number(min) {
            // To clients this old Docker speaks plain text.
            let advice = "please upgrade your client to a newer version";
            let facts = format!("client version {asked} is too old. Minimum supported API version is {min}");
            return Some(Answer::Text(400, format!("{facts}, {advice}\n")));
        }
        None
    }

    /// Newest first, as Docker lists.
    fn list(&self, all: bool) -> Answer {
        let (containers, gateway) = self.world.with(|w| (w.containers.clone(), w.subnet.gateway()));
        let shown = containers.iter().rev().filter(|c| all || c.status.is_up());
        Answer::Json(200, shown.map(|c| json::summary(c, gateway)).collect())
    }
}

fn done(result: Result<(), Refused>) -> Answer {
    match result {
        Ok(()) => Answer::Empty(204),
        Err(e) if e.status == 304 => Answer::Empty(304),
        Err(e) => error(e.status, e.message),
    }
}

fn subscription(route: &Route<'_>) -> Answer {
    let time = |name: &str| match route.query(name).filter(|v| !v.is_empty()) {
        None => Ok(None),
        Some(text) => clock::parse_query_time(&text).map(Some).ok_or(text),
    };
    let filter = match route.query("filters").filter(|v| !v.is_empty()) {
        None => Some(Filter::default()),
        Some(text) => Filter::parse(&text),
    };
    match (time("since"), time("until"), filter) {
        (Ok(since), Ok(until), Some(filter)) => Answer::Events(Subscription { since, until, filter }),
        (Err(text), _, _) | (_, Err(text), _) => {
            error(500, format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
        }
        (_, _, None) => error(400, "invalid filter"),
    }
}
