//! From decoded values to the configuration, with the rules that concern several of them.

use super::access;
use super::access_log;
use super::decode::{Located, Section, Value};
use super::leaf::{self, LeafValue};
use super::load::Sources;
use super::names::Name;
use super::schema::{self, Leaf};
use super::tls;
use super::types::{Config, EngineConfig, ListenAddr, OnStaleSocket};
use crate::error::{Place, Problem};
use crate::limits;
use crate::route::{Entrypoint, ProxyMode, ProxyProtocol, Scheme, Settings, Timeouts};
use crate::util::Cidr;
use std::collections::HashMap;
use std::time::Duration;

/// Variables over `entrypoint.http_addr`, the strongest first.
const HTTP_ADDR: [&str; 2] = ["TIDEGATE_HTTP_ADDR", "GODOXY_HTTP_ADDR"];
/// Variables over `entrypoint.https_addr`, the strongest first.
const HTTPS_ADDR: [&str; 2] = ["TIDEGATE_HTTPS_ADDR", "GODOXY_HTTPS_ADDR"];

/// The variable over `admin.addr`.
const ADMIN_ADDR: &str = "TIDEGATE_ADMIN_ADDR";

/// The main file's part of the configuration, and its warnings.
pub(super) fn main(root: &Section, problems: &mut Vec<Problem>) -> (Config, Vec<Problem>) {
    let mut warnings = Vec::new();
    let entrypoint = root.section("entrypoint");
    let addresses = entrypoint.get("http_addr");
    let http_addr = listeners(entrypoint, "http_addr", problems);
    // An item that was wrong has been told; a list without items has not.
    let empty = entrypoint.list("http_addr").is_empty();
    if let Some(list) = addresses.filter(|list| empty && !is_told(problems, &list.place)) {
        problems.push(Problem::new(list.place.clone(), "expected at least one address, got an empty list"));
    }
    let config = Config {
        http_addr,
        https_addr: listeners(entrypoint, "https_addr", problems),
        tls: tls::section(root.section("tls"), problems),
        redirect_http: entrypoint.leaf("redirect_http") == Some(&LeafValue::Bool(true)),
        http_addr_is_default: addresses.is_none_or(|list| list.place == Place::Default),
        access_log: access_log::section(entrypoint.section("access_log"), problems, &mut warnings),
        workers: match root.leaf("workers") {
            Some(LeafValue::Integer(workers)) => usize::try_from(*workers).ok(),
            _ => None,
        },
        workers_place: root.get("workers").map_or(Place::Default, |said| said.place.clone()),
        match_domains: root.list("match_domains").iter().filter_map(text).map(str::to_string).collect(),
        entrypoint: clients(entrypoint, problems),
        timeout_shutdown: duration(root, "timeout_shutdown"),
        recreate_wait: duration(root, "recreate_wait"),
        engines: engines(root, problems, &mut warnings),
        admin: admin(root),
        admin_host: admin_host(root),
        file_routes: Vec::new(),
    };
    (config, warnings)
}

fn clients(entrypoint: &Section, problems: &mut Vec<Problem>) -> Entrypoint {
    let timeouts = entrypoint.section("timeouts");
    let defaults = Entrypoint::default();
    Entrypoint {
        timeouts: Timeouts {
            header: duration(timeouts, "header"),
            idle: duration(timeouts, "idle"),
            connect: duration(timeouts, "connect"),
            response_header: duration(timeouts, "response_header"),
            body: duration(timeouts, "body"),
            response_body: duration(timeouts, "response_body"),
        },
        max_conns_per_client: entrypoint
            .leaf("max_conns_per_client")
            .and_then(count)
            .unwrap_or(defaults.max_conns_per_client),
        trusted_proxies: networks(entrypoint, problems),
        proxy_protocol: proxy_protocol(entrypoint, problems),
        access: access::rules(entrypoint.get("middlewares"), problems),
    }
}

fn proxy_protocol(entrypoint: &Section, problems: &mut Vec<Problem>) -> ProxyProtocol {
    let section = entrypoint.section("proxy_protocol");
    let mode = match section.leaf("mode") {
        Some(LeafValue::Text(word)) if word == "required" => ProxyMode::Required,
        Some(LeafValue::Text(word)) if word == "mixed" => ProxyMode::Mixed,
        _ => ProxyMode::Disabled,
    };
    let trusted_proxies = networks(section, problems);
    let said = entrypoint.get("proxy_protocol").map(|located| &located.place);
    if let Some(place) = said.filter(|place| mode != ProxyMode::Disabled && !is_told(problems, place))
        && trusted_proxies.is_empty()
    {
        let message = "without `trusted_proxies` nobody's PROXY header counts";
        problems.push(Problem::new(place.clone(), message).with_hint("name the networks of your balancers"));
    }
    ProxyProtocol { mode, trusted_proxies }
}

/// The `trusted_proxies` of `section`.
fn networks(section: &Section, problems: &mut Vec<Problem>) -> Vec<Cidr> {
    let items = section.list("trusted_proxies");
    too_many(items.iter().map(|item| &item.place), limits::TRUSTED_NETWORKS, "networks", problems);
    let network = |item: &Located| match item.value {
        Value::Leaf(LeafValue::Network(network)) => Some(network),
        _ => None,
    };
    items.iter().filter_map(network).take(limits::TRUSTED_NETWORKS).collect()
}

fn count(value: &LeafValue) -> Option<u32> {
    match value {
        LeafValue::Integer(number) => u32::try_from(*number).ok(),
        _ => None,
    }
}

/// The command line stands over the environment, the environment over the file.
pub(super) fn override_addresses(config: &mut Config, sources: &Sources, problems: &mut Vec<Problem>) {
    let place = Place::Argument { name: "--http-addr".into() };
    let argument = sources.http_addr.clone().map(|text| (text, place));
    if let Some((text, place)) = argument.or_else(|| variable(sources, &HTTP_ADDR)) {
        config.http_addr = written_listeners(&text, &place, problems);
        config.http_addr_is_default = false;
    }
    if let Some((text, place)) = variable(sources, &HTTPS_ADDR) {
        config.https_addr = written_listeners(&text, &place, problems);
    }
    tls::complete(config, problems);
}

/// The first variable that says something.
fn variable(sources: &Sources, names: &[&str]) -> Option<(String, Place)> {
    names.iter().find_map(|name| {
        let text = (sources.env)(name).filter(|text| !text.trim().is_empty())?;
        Some((text, Place::Env { name: (*name).to_string() }))
    })
}

/// Addresses with commas.
fn written_listeners(text: &str, place: &Place, problems: &mut Vec<Problem>) -> Vec<ListenAddr> {
    let mut listeners = Vec::new();
    for part in text.split(',').take(limits::LISTENERS) {
        match leaf::convert(Leaf::Listen, part, false) {
            Ok(LeafValue::Listen { addr, dual_stack }) => {
                let place = place.clone();
                add_listener(&mut listeners, ListenAddr { addr, dual_stack, place }, problems);
            }
            Ok(_) => {}
            Err((message, hint)) => problems.push(Problem { hint, ..Problem::new(place.clone(), message) }),
        }
    }
    listeners
}

/// The addresses of a list.
fn listeners(entrypoint: &Section, name: &str, problems: &mut Vec<Problem>) -> Vec<ListenAddr> {
    let listed = entrypoint.list(name);
    let mut listeners = Vec::new();
    for item in listed.iter().take(limits::LISTENERS) {
        if let Value::Leaf(LeafValue::Listen { addr, dual_stack }) = item.value {
            let place = item.place.clone();
            add_listener(&mut listeners, ListenAddr { addr, dual_stack, place }, problems);
        }
    }
    too_many(listed.iter().map(|item| &item.place), limits::LISTENERS, "addresses", problems);
    listeners
}

/// Where the admin API listens; none if it is off.
fn admin(root: &Section) -> Option<ListenAddr> {
    let located = root.section("admin").get("addr")?;
    match located.value {
        Value::Leaf(LeafValue::Listen { addr, dual_stack }) => {
            Some(ListenAddr { addr, dual_stack, place: located.place.clone() })
        }
        _ => None,
    }
}

/// By which host the data plane leads to the admin API; none if it does not.
fn admin_host(root: &Section) -> Option<(String, Place)> {
    let located = root.section("admin").get("host")?;
    match &located.value {
        Value::Leaf(LeafValue::Text(host)) => Some((host.clone(), located.place.clone())),
        _ => None,
    }
}

/// A way to an API that is not there.
pub(super) fn check_admin_host(config: &Config, problems: &mut Vec<Problem>) {
    if let (None, Some((_, place))) = (&config.admin, &config.admin_host) {
        let message = "the admin API is off: there is nothing that this host could lead to";
        let hint = "set `admin.addr` (or TIDEGATE_ADMIN_ADDR) to an address, or leave `admin.host` out";
        problems.push(Problem::new(place.clone(), message).with_hint(hint));
    }
}

/// The environment stands over the file.
pub(super) fn override_admin_addr(config: &mut Config, sources: &Sources, problems: &mut Vec<Problem>) {
    let Some(text) = (sources.env)(ADMIN_ADDR).filter(|text| !text.trim().is_empty()) else { return };
    let place = Place::Env { name: ADMIN_ADDR.into() };
    match leaf::convert(Leaf::Loopback, &text, false) {
        Ok(LeafValue::Listen { addr, dual_stack }) => {
            config.admin = Some(ListenAddr { addr, dual_stack, place });
        }
        Ok(_) => config.admin = None,
        Err((message, hint)) => problems.push(Problem { hint, ..Problem::new(place, message) }),
    }
}

/// The files under `providers.include`, as written.
pub(super) fn includes(root: &Section) -> Vec<(&str, &Place)> {
    let items = root.section("providers").list("include").iter();
    items.filter_map(|item| text(item).map(|text| (text, &item.place))).collect()
}

/// The routes of all files so far.
#[derive(Default)]
pub(super) struct Routes {
    pub settings: Vec<Settings>,
    places: HashMap<String, Place>,
}

impl Routes {
    /// Adds the routes of one decoded file.
    pub fn add(&mut self, file: &Value, truncated: bool, problems: &mut Vec<Problem>) {
        let Value::Named(entries) = file else { return };
        for (name, located) in entries {
            let (Name::Alias(alias), Value::Section(fields)) = (name, &located.value) else { continue };
            let place = located.place.clone();
            if let Some(first) = self.places.get(&name.identity()) {
                problems.push(Problem::new(place, format!("alias `{alias}` is taken, first at {first}")));
                continue;
            }
            self.places.insert(name.identity(), place.clone());
            if says_no_target(fields) && !truncated && !is_told(problems, &place) {
                let message = "a route needs a `host`, a `port`, or both";
                problems.push(Problem::new(place.clone(), message).with_hint("for example `{port: 8080}`"));
            }
            let access = access::rules(fields.get("middlewares"), problems);
            self.settings.push(Settings { access, ..settings(alias, fields, place) });
        }
    }
}

/// A route of a file, its defaults filled in.
fn settings(alias: &str, fields: &Section, place: Place) -> Settings {
    let mut settings = Settings::new(alias, place);
    for key in schema::ROUTE {
        if let Some(value) = fields.leaf(key.name) {
            set(&mut settings, key.name, value);
        }
    }
    settings.trusted_place = fields.get("ssl_trusted_certificate").map(|said| said.place.clone());
    settings.tls.trusted = settings.tls.trusted.map(|path| tls::beside(&settings.place, path));
    let usual = if settings.scheme == Some(Scheme::Https) { 443 } else { 80 };
    settings.port.get_or_insert(usual);
    settings
}

/// Sets a field of a route: the table's name, the converted value.
pub(super) fn set(settings: &mut Settings, field: &str, value: &LeafValue) {
    match (field, value) {
        ("scheme", LeafValue::Scheme(scheme)) => settings.scheme = Some(*scheme),
        ("host", LeafValue::Text(host)) => settings.host = Some(host.clone()),
        ("port", LeafValue::Port(port)) => settings.port = Some(*port),
        ("connect_timeout", LeafValue::Duration(time)) => settings.tuning.connect_timeout = Some(*time),
        ("response_header_timeout", LeafValue::Duration(time)) => {
            settings.tuning.response_header_timeout = Some(*time);
        }
        ("body_timeout", LeafValue::Duration(time)) => settings.tuning.body_timeout = Some(*time),
        ("response_body_timeout", LeafValue::Duration(time)) => {
            settings.tuning.response_body_timeout = Some(*time);
        }
        ("max_conns_per_host", value) => settings.tuning.max_conns_per_host = count(value),
        ("access_log", LeafValue::Bool(on)) => settings.tuning.access_log = Some(*on),
        ("redirect_http", LeafValue::Bool(on)) => settings.redirect_http = Some(*on),
        ("no_tls_verify", LeafValue::Bool(on)) => settings.tls.no_verify = *on,
        ("ssl_trusted_certificate", LeafValue::Text(path)) => settings.tls.trusted = Some(path.into()),
        ("ssl_server_name", LeafValue::Text(name)) => settings.tls.server_name = tls::server_name(name),
        _ => {}
    }
}

fn says_no_target(fields: &Section) -> bool {
    let host_said = fields.get("host").is_some_and(|host| host.place != Place::Default);
    !host_said && fields.get("port").is_none()
}

/// Whether something at or within `place` is wrong already: then what is missing may be what was wrong.
pub(super) fn is_told(problems: &[Problem], place: &Place) -> bool {
    let Place::File { key: outer, .. } = place else { return false };
    // Of too many problems some are only counted: it may be among them.
    problems.len() >= limits::CONFIG_PROBLEMS
        || problems.iter().any(|problem| match &problem.place {
            Place::File { key, .. } => key
                .strip_prefix(outer.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '['])),
            _ => false,
        })
}

fn engines(root: &Section, problems: &mut Vec<Problem>, warnings: &mut Vec<Problem>) -> Vec<EngineConfig> {
    let mut engines: Vec<EngineConfig> = Vec::new();
    let entries = root.section("providers").named("docker");
    too_many(entries.iter().map(|(_, located)| &located.place), limits::ENGINES, "engines", problems);
    for (name, located) in entries.iter().take(limits::ENGINES) {
        let Name::Engine { name, explicit_only } = name else { continue };
        let Value::Section(fields) = &located.value else { continue };
        let Some(LeafValue::Text(url)) = fields.leaf("url") else { continue };
        let on_stale_socket = match fields.leaf("on_stale_socket") {
            Some(LeafValue::Text(word)) if word == "exit" => OnStaleSocket::Exit,
            _ => OnStaleSocket::Keep,
        };
        if let Some(twin) = engines.iter().find(|engine| engine.url == *url) {
            let message = format!("has the same URL as engine {}, first at {}", twin.name, twin.place);
            warnings.push(Problem::new(located.place.clone(), message));
        }
        engines.push(EngineConfig {
            name: name.clone(),
            explicit_only: *explicit_only,
            url: url.clone(),
            on_stale_socket,
            place: located.place.clone(),
        });
    }
    engines
}

/// A problem at the first of `places` beyond `most`.
pub(super) fn too_many<'p>(
    mut places: impl Iterator<Item = &'p Place>,
    most: usize,
    what: &str,
    problems: &mut Vec<Problem>,
) {
    if let Some(place) = places.nth(most) {
        problems.push(Problem::new(place.clone(), format!("more than {most} {what}")));
    }
}

fn add_listener(listeners: &mut Vec<ListenAddr>, new: ListenAddr, problems: &mut Vec<Problem>) {
    let twin = listeners.iter().find(|known| known.addr == new.addr && new.addr.port() != 0);
    match twin {
        Some(twin) => {
            let message = format!("{} is listened on twice, first at {}", new.addr, twin.place);
            problems.push(Problem::new(new.place, message));
        }
        None => listeners.push(new),
    }
}

fn text(located: &Located) -> Option<&str> {
    match &located.value {
        Value::Leaf(LeafValue::Text(text)) => Some(text),
        _ => None,
    }
}

/// A duration that has a default in the table.
fn duration(root: &Section, name: &str) -> Duration {
    match root.leaf(name) {
        Some(LeafValue::Duration(time)) => *time,
        _ => Duration::ZERO,
    }
}
