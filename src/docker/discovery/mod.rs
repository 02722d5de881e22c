//! Discovery: from a container to its routes, with a reason for every choice and every refusal. Pure: one
//! container in, one answer out.
//!
//! A route that can't be served is still there, with what to answer: "stopped" and "unreachable" are not
//! the same to a person as "no such host".

mod address;
mod exclusion;
mod guards;
mod known;
mod labels;
mod place;
mod port;

pub use exclusion::Excluded;

use super::model::{Container, RunState};
use crate::access::Rules;
use crate::error::{Place, Problem};
use crate::route::{Scheme, Tuning, UpstreamTls, canonical, check_alias};
use labels::{AliasLabels, Labels};
use port::{Chosen, Protocols};
use std::sync::Arc;

/// Where a container is seen from.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The engine's name in `providers.docker`, without the `!` ([`split_engine_name`]).
    pub engine: &'a str,
    /// Only containers with a `proxy.` label are routed.
    pub explicit_only: bool,
    /// The id of the container that Tidegate runs in (full, or its first 12 digits or more).
    pub own_id: Option<&'a str>,
    /// Which networks Tidegate reaches.
    pub reach: Reach<'a>,
}

/// Which networks of an engine Tidegate reaches.
#[derive(Clone, Copy, Debug)]
pub enum Reach<'a> {
    /// It runs on the engine's host, or in a container on the host's network: all bridges.
    Host,
    /// It runs in a container: only the networks (ids or names) of that one.
    Container { networks: &'a [String] },
}

/// What a container brings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discovery {
    /// Its routes, in the order of `proxy.aliases`, then of the labels that name further ones.
    pub routes: Vec<Found>,
    /// Why it has no route at all.
    pub excluded: Option<Excluded>,
    /// Its aliases that are not routed.
    pub skipped: Vec<(String, Excluded)>,
    /// What a person should mend.
    pub problems: Vec<Problem>,
}

/// One alias of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The alias as it is written.
    pub alias: String,
    /// How the service is spoken to.
    pub scheme: Scheme,
    /// How it is verified, if it is spoken to by TLS.
    pub tls: UpstreamTls,
    /// Whether plain requests are sent to HTTPS.
    pub redirect_http: Option<bool>,
    /// Where requests go, or what they are told.
    pub target: Target,
    /// Who may ask.
    pub access: Option<Arc<Rules>>,
    /// What its labels say about its connections.
    pub tuning: Tuning,
    /// Why.
    pub why: Why,
}

/// Where requests of a route go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// To this address. `host` is an IP (v6 without brackets) or a name.
    Address { host: String, port: u16 },
    /// Nowhere now: the container does not run.
    Stopped { state: RunState },
    /// Nowhere: Tidegate has no way to the container.
    Unreachable { reason: String },
    /// Nowhere: it needs what Tidegate can't do yet, and must not be served without.
    NotYet { reason: String },
    /// Nowhere: its labels are wrong.
    Misconfigured { reason: String },
}

/// Each choice in words; empty where none was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Why {
    /// Where the host is from.
    pub host: String,
    /// Where the port is from.
    pub port: String,
    /// Where the scheme is from.
    pub scheme: String,
}

/// The name of an engine and whether it is explicit-only: a key of `providers.docker` ends with `!` then.
pub fn split_engine_name(key: &str) -> (&str, bool) {
    match key.strip_suffix('!') {
        Some(name) => (name, true),
        None => (key, false),
    }
}

/// Finds the routes of `container`.
pub fn discover(ctx: &Context, container: &Container) -> Discovery {
    let mut labels = labels::read(ctx.engine, container);
    let mut discovery = Discovery { problems: std::mem::take(&mut labels.problems), ..Discovery::default() };
    discovery.excluded = exclusion::of_container(ctx, container, &labels);
    if discovery.excluded.is_some() {
        return discovery;
    }
    for alias in &labels.aliases {
        match route(ctx, container, &labels, alias, &mut discovery.problems) {
            Ok(found) => discovery.routes.push(found),
            Err(excluded) => discovery.skipped.push((alias.alias.clone(), excluded)),
        }
    }
    if discovery.routes.is_empty() {
        discovery.excluded = discovery.skipped.first().map(|(_, excluded)| excluded.clone());
    }
    discovery
}

fn route(
    ctx: &Context,
    container: &Container,
    labels: &Labels,
    alias: &AliasLabels,
    problems: &mut Vec<Problem>,
) -> Result<Found, Excluded> {
    if let Some(excluded) = exclusion::of_alias(&alias.slot) {
        return Err(excluded);
    }
    let chosen = port::choose(container, alias);
    let (target, host_why) = match (&alias.refused, &chosen) {
        (Some(refused), _) => (refused.clone(), String::new()),
        (None, Some(chosen)) => target(ctx, container, labels, alias, chosen, problems)?,
        // asleep by design, and before its first start an engine may not know its ports
        (None, None) if labels.idle && !container.is_running() => (stopped(container), String::new()),
        (None, None) => return Err(Excluded::NoPort),
    };
    let scheme = match (&chosen, &alias.scheme) {
        (Some(Chosen { speaks: Protocols::Http(scheme), .. }), _) => *scheme,
        (_, Some(said)) => said.value,
        _ => Scheme::Http,
    };
    let (port, scheme_why) = chosen.map(|c| (c.port_why, c.scheme_why)).unwrap_or_default();
    let why = Why { host: host_why, port, scheme: scheme_why };
    let redirect_http = alias.redirect_http.as_ref().map(|said| said.value);
    let (tls, tuning) = (alias.tls(), alias.tuning());
    let access = alias.access.clone();
    Ok(Found { alias: alias.alias.clone(), scheme, tls, redirect_http, target, access, tuning, why })
}

/// The target of an alias whose labels are in order.
fn target(
    ctx: &Context,
    container: &Container,
    labels: &Labels,
    alias: &AliasLabels,
    chosen: &Chosen,
    problems: &mut Vec<Problem>,
) -> Result<(Target, String), Excluded> {
    let later = match chosen.speaks {
        Protocols::Http(_) => None,
        Protocols::Tcp if !labels.explicit => {
            return Err(Excluded::NoHttp { reason: chosen.scheme_why.clone() });
        }
        Protocols::Tcp => Some("tcp"),
        Protocols::Udp => Some("udp"),
    };
    if let Some(what) = later {
        let reason = format!("{what} is not supported yet ({})", chosen.scheme_why);
        let message = format!("alias `{}`: {reason}", alias.alias);
        let name = &alias.alias;
        let hint = match (&alias.scheme, &alias.port) {
            _ if chosen.speaks == Protocols::Udp => None,
            (Some(_), _) => None,
            (None, Some(_)) => {
                Some(format!("if it speaks plain http there, set `proxy.{name}.scheme` to http"))
            }
            (None, None) => Some(format!("if it has a port for plain http, set `proxy.{name}.port`")),
        };
        problems.push(Problem { place: cause(ctx, container, alias), message, hint });
        return Ok((Target::NotYet { reason }, String::new()));
    }
    if !container.is_running() {
        return Ok((stopped(container), String::new()));
    }
    let (target, why) = address::choose(ctx, container, alias, chosen.port);
    if let (Target::Unreachable { reason }, true) = (&target, labels.explicit) {
        let message = format!("alias `{}`: {reason}", alias.alias);
        let place = place::container(ctx.engine, &container.name);
        problems.push(Problem { place, message, hint: address::hint(ctx, container).map(str::to_owned) });
    }
    Ok((target, why))
}

fn stopped(container: &Container) -> Target {
    Target::Stopped { state: container.state }
}

/// Where a choice that can't be served comes from: the label that made it, else the container.
fn cause(ctx: &Context, container: &Container, alias: &AliasLabels) -> Place {
    let scheme = alias.scheme.as_ref().map(|said| &said.label);
    match scheme.or(alias.port.as_ref().map(|said| &said.label)) {
        Some(label) => place::label(ctx.engine, &container.name, label),
        None => place::container(ctx.engine, &container.name),
    }
}
