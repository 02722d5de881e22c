//! `entrypoint.access_log`: its keys, and what follows from them.

use super::build::{is_told, too_many};
use super::decode::{Located, Section, Value};
use super::leaf::LeafValue;
use super::names::Name;
use super::schema::{Key, Kind, Leaf, Names, key};
use super::types::{AccessLog, AccessLogFormat};
use crate::access_log::{
    Fields, Filter, Filters, HeaderMatch, HostMatch, Mode, Retention, Rotation, Rules, Statuses, is_token,
};
use crate::error::{Place, Problem};
use crate::limits::{self, ACCESS_LOG_ARCHIVES, ACCESS_LOG_INTERVAL_MIN, ACCESS_LOG_VALUES};
use crate::util::Cidr;
use std::time::Duration;

pub(super) static KEYS: &[Key] = &[
    Key {
        default_words: "none",
        unit: "file, relative to this file",
        meaning: "Appended to, and opened anew on SIGUSR1 and SIGHUP, for a program that renames it.",
        example: "access.log",
        ..key("path", Kind::Leaf(Leaf::File))
    },
    Key {
        default: "false",
        unit: "true or false",
        meaning: "Write the lines to standard output.",
        example: "true",
        ..key("stdout", Kind::Leaf(Leaf::Word(&["true", "false"])))
    },
    Key {
        default: "combined",
        unit: "common, combined or json",
        meaning: "How a line looks. `common` is the host, then the common log format; `combined` adds \
                  referer and user agent; `json` is one object a line. Times are UTC.",
        example: "json",
        ..key("format", Kind::Leaf(Leaf::Word(&["common", "combined", "json"])))
    },
    Key {
        default: "30 days",
        unit: "N days, weeks or months (of 30 days); N KB, MB or GB (of 1024); last N (lines); or off",
        meaning: "What is kept of the file at `path`: it is renamed to path.20060102T150405.000000000Z, and of \
                  such files the old ones are deleted. By age it is renamed at each `rotate_interval`; by size \
                  or lines as soon as it holds an eighth of them. Of lines, at least so many are kept. `off` \
                  renames and deletes nothing. `keep` is another name for it.",
        example: "30 days",
        also: "keep",
        ..key("retention", Kind::Leaf(RETENTION))
    },
    Key {
        default: "1h",
        unit: "duration, 1s to 720h",
        meaning: "How often the file is renamed if `retention` goes by age: at each whole interval (UTC) with \
                  lines.",
        example: "24h",
        ..key("rotate_interval", Kind::Leaf(Leaf::Duration { max: limits::ACCESS_LOG_INTERVAL_MAX }))
    },
    Key {
        meaning: "Which requests have lines: those that pass every filter. A request passes one of them if it \
                  matches any of its `values` (with `negative: true`: none of them), or if it has no values.",
        ..key("filters", Kind::Section(FILTERS))
    },
    Key {
        meaning: "What lines show: keep, drop, or redact (the name, with REDACTED for the value).",
        ..key("fields", Kind::Section(FIELDS))
    },
];

const RETENTION: Leaf = Leaf::Checked {
    expected: "`30 days`, `4 weeks`, `1 month`, `last 1000`, `100 MB` or `off`",
    check: |text| Retention::parse(text).map(drop),
};
const STATUSES: Leaf = Leaf::Checked {
    expected: "a status such as `404`, or a range such as `500-599`",
    check: |text| found(Statuses::parse(text)),
};
const METHOD: Leaf = Leaf::Checked {
    expected: "a method such as `GET`",
    check: |text| found(Some(text).filter(|text| is_token(text))),
};
const HOST: Leaf = Leaf::Checked {
    expected: "a host such as `app.example.com`, or `app.example.com:8080`",
    check: |text| found(HostMatch::parse(text)),
};
const HEADER: Leaf = Leaf::Checked {
    expected: "a header's name, or `Name=value`",
    check: |text| found(HeaderMatch::parse(text)),
};

fn found<T>(parsed: Option<T>) -> Result<(), Option<String>> {
    parsed.map(drop).ok_or(None)
}

const NEGATIVE: Key = Key {
    default: "false",
    unit: "true or false",
    meaning: "Those that match none of the values pass.",
    example: "true",
    ..key("negative", Kind::Leaf(Leaf::Bool))
};

const fn values(leaf: Leaf, unit: &'static str, example: &'static str) -> Key {
    Key { default: "[]", unit, meaning: "What matches.", example, ..key("values", Kind::OneOrList(leaf)) }
}

static FILTERS: &[Key] = &[
    Key { meaning: "The status sent.", ..key("status_codes", Kind::Section(STATUS_FILTER)) },
    Key { meaning: "The method, in any case.", ..key("method", Kind::Section(METHOD_FILTER)) },
    Key {
        meaning: "The host that is asked for, in any case; without a port it matches all ports.",
        ..key("host", Kind::Section(HOST_FILTER))
    },
    Key {
        meaning: "The request's headers, name and value in any case.",
        ..key("headers", Kind::Section(HEADER_FILTER))
    },
    Key { meaning: "The client's address.", ..key("cidr", Kind::Section(CIDR_FILTER)) },
];
static STATUS_FILTER: &[Key] =
    &[NEGATIVE, values(STATUSES, "list of statuses (404) and ranges (500-599)", "[400-499, 500-599]")];
static METHOD_FILTER: &[Key] = &[NEGATIVE, values(METHOD, "list of methods", "[GET, HEAD]")];
static HOST_FILTER: &[Key] = &[NEGATIVE, values(HOST, "list of host or host:port", "[app.example.com]")];
static HEADER_FILTER: &[Key] = &[
    NEGATIVE,
    values(HEADER, "list of names (it is there) and Name=value (it is this)", "[User-Agent=probe]"),
];
static CIDR_FILTER: &[Key] =
    &[NEGATIVE, values(Leaf::Network, "list of networks (10.0.0.0/8) and addresses", "[192.168.0.0/16]")];

const MODE: Leaf = Leaf::Word(&["keep", "drop", "redact"]);

const fn mode(default: &'static str) -> Key {
    Key {
        default,
        unit: "keep, drop or redact",
        meaning: "Of all that are not named below.",
        example: default,
        ..key("default", Kind::Leaf(MODE))
    }
}

const fn by_name(names: Names, meaning: &'static str, example: &'static str) -> Key {
    let kind = Kind::Named { names, value: &Kind::Leaf(MODE), example: "" };
    Key { default: "{}", unit: "name: keep, drop or redact", meaning, example, ..key("config", kind) }
}

static FIELDS: &[Key] = &[
    Key {
        meaning: "The request's headers, in `json` lines. Of Authorization, Proxy-Authorization and Cookie the \
                  values are redacted unless they are named.",
        also: "header",
        ..key("headers", Kind::Section(HEADER_FIELDS))
    },
    Key {
        meaning: "The query's parameters, in all lines, and in the referer.",
        also: "queries",
        ..key("query", Kind::Section(QUERY_FIELDS))
    },
    Key {
        meaning: "Cookies, in `json` lines.",
        also: "cookie",
        ..key("cookies", Kind::Section(COOKIE_FIELDS))
    },
];
static HEADER_FIELDS: &[Key] =
    &[mode("drop"), by_name(Names::Header, "By name, in any case.", "{X-Forwarded-For: keep}")];
static QUERY_FIELDS: &[Key] = &[mode("keep"), by_name(Names::Field, "By name.", "{token: redact}")];
static COOKIE_FIELDS: &[Key] = &[mode("drop"), by_name(Names::Field, "By name.", "{theme: keep}")];

/// Without a place to write to there is none.
pub(super) fn section(
    section: &Section,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<Problem>,
) -> Option<AccessLog> {
    let word = |name| match section.leaf(name) {
        Some(LeafValue::Text(text)) => Some(text.as_str()),
        _ => None,
    };
    let format = match word("format") {
        Some("common") => AccessLogFormat::Common,
        Some("json") => AccessLogFormat::Json,
        _ => AccessLogFormat::Combined,
    };
    let log = AccessLog {
        path: word("path").map(Into::into),
        stdout: word("stdout") == Some("true"),
        format,
        filters: filters(section.section("filters"), problems),
        fields: fields(section.section("fields"), problems),
        rotation: rotation(section, problems),
    };
    let is_on = log.path.is_some() || log.stdout;
    without_effect(section, &log, is_on, warnings);
    is_on.then_some(log)
}

/// What is said but means nothing.
fn without_effect(section: &Section, log: &AccessLog, is_on: bool, warnings: &mut Vec<Problem>) {
    let said = |name| section.get(name).map(|said| &said.place).filter(|place| **place != Place::Default);
    let mut warn = |name, message: &str| {
        if let Some(place) = said(name) {
            warnings.push(Problem::new(place.clone(), message));
        }
    };
    if !is_on {
        warn("format", "there is no access log to have a format: say its `path`, or `stdout: true`");
        for name in ["retention", "rotate_interval", "filters", "fields"] {
            warn(name, "there is no access log: say its `path`, or `stdout: true`");
        }
    } else if log.path.is_none() {
        warn("retention", "standard output is not rotated: say a `path`");
        warn("rotate_interval", "standard output is not rotated: say a `path`");
    } else if !matches!(log.rotation.retention, Retention::Days(_)) {
        warn("rotate_interval", "has no effect: with this `retention` the file is not renamed by time");
    }
    let is_json = log.format == AccessLogFormat::Json;
    let fields = section.section("fields");
    for name in ["headers", "cookies"] {
        if let Some(said) = fields.get(name).filter(|said| said.place != Place::Default && is_on && !is_json)
        {
            let message = "has no effect: only `format: json` shows them";
            warnings.push(Problem::new(said.place.clone(), message));
        }
    }
}

fn filters(section: &Section, problems: &mut Vec<Problem>) -> Filters {
    Filters {
        status_codes: filter(section.section("status_codes"), problems, |leaf| text(leaf, Statuses::parse)),
        method: filter(section.section("method"), problems, |leaf| text(leaf, |text| Some(text.to_owned()))),
        host: filter(section.section("host"), problems, |leaf| text(leaf, HostMatch::parse)),
        headers: filter(section.section("headers"), problems, |leaf| text(leaf, HeaderMatch::parse)),
        cidr: filter::<Cidr>(section.section("cidr"), problems, |leaf| match leaf {
            LeafValue::Network(network) => Some(*network),
            _ => None,
        }),
    }
}

fn text<T>(leaf: &LeafValue, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
    match leaf {
        LeafValue::Text(text) => parse(text),
        _ => None,
    }
}

fn filter<T>(
    section: &Section,
    problems: &mut Vec<Problem>,
    value: impl Fn(&LeafValue) -> Option<T>,
) -> Filter<T> {
    let items = section.list("values");
    too_many(items.iter().map(|item| &item.place), ACCESS_LOG_VALUES, "values", problems);
    let values = items.iter().filter_map(|item| match &item.value {
        Value::Leaf(leaf) => value(leaf),
        _ => None,
    });
    Filter {
        negative: section.leaf("negative") == Some(&LeafValue::Bool(true)),
        values: values.take(ACCESS_LOG_VALUES).collect(),
    }
}

fn fields(section: &Section, problems: &mut Vec<Problem>) -> Fields {
    let mut rules = |name, usual| {
        let section = section.section(name);
        let named = section.named("config");
        too_many(named.iter().map(|(_, located)| &located.place), ACCESS_LOG_VALUES, "names", problems);
        let one = |(name, located): &(Name, Located)| match (name, &located.value) {
            (Name::Field(name), Value::Leaf(leaf)) => Some((name.clone(), mode_of(leaf)?)),
            _ => None,
        };
        Rules {
            default: section.leaf("default").and_then(mode_of).unwrap_or(usual),
            config: named.iter().filter_map(one).take(ACCESS_LOG_VALUES).collect(),
        }
    };
    Fields {
        headers: rules("headers", Mode::Drop),
        query: rules("query", Mode::Keep),
        cookies: rules("cookies", Mode::Drop),
    }
}

fn mode_of(leaf: &LeafValue) -> Option<Mode> {
    text(leaf, |text| match text {
        "keep" => Some(Mode::Keep),
        "drop" => Some(Mode::Drop),
        "redact" => Some(Mode::Redact),
        _ => None,
    })
}

fn rotation(section: &Section, problems: &mut Vec<Problem>) -> Rotation {
    let usual = Rotation::default();
    let retention = section.leaf("retention").and_then(|leaf| text(leaf, |text| Retention::parse(text).ok()));
    let retention = retention.unwrap_or(usual.retention);
    let Some(Located { place, value: Value::Leaf(LeafValue::Duration(interval)) }) =
        section.get("rotate_interval")
    else {
        return Rotation { retention, ..usual };
    };
    if *interval < ACCESS_LOG_INTERVAL_MIN {
        problems.push(Problem::new(place.clone(), "expected a duration of at least 1s"));
        return Rotation { retention, ..usual };
    }
    let retention_place = section.get("retention").map_or(place, |said| &said.place);
    if let Retention::Days(days) = retention
        && !is_told(problems, retention_place)
    {
        let files = Duration::from_secs(days * 86_400).as_millis() / interval.as_millis();
        if files > ACCESS_LOG_ARCHIVES as u128 {
            let place = if *place == Place::Default { retention_place } else { place };
            let message = format!("would keep {files} files, at most {ACCESS_LOG_ARCHIVES} are possible");
            let hint = "make `rotate_interval` longer, or `retention` shorter";
            problems.push(Problem::new(place.clone(), message).with_hint(hint));
        }
    }
    Rotation { retention, interval: *interval }
}
