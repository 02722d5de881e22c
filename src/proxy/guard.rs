//! Access rules on a request's way: before gate and upstream, and again if the rules change while it waits.

use super::answer::Own;
use super::connection::Client;
use super::core::RequestId;
use super::exchange::{self, After};
use super::local;
use crate::access::{self, BasicAuth, Kind, Rules, Told};
use crate::blocking::{Lane, LaneError};
use crate::http::{self, Refusal, Request};
use crate::limits::{BODY_TIMEOUT, CREDENTIALS_BYTES, HASH_QUEUE, HASH_THREADS, HASH_TIMEOUT};
use crate::net::lane_run;
use crate::runtime;
use crate::snapshot::Route;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

type Held = Option<Arc<Rules>>;

/// A request before its rules.
pub(super) struct Guard<'b> {
    /// The value of its `Authorization`; none also if it has several.
    authorization: Option<&'b [u8]>,
    /// The rules that it has passed: the entrypoint's and its route's.
    passed: (Held, Held),
    /// It is known to come from this machine.
    local: bool,
}

/// Why it goes no further.
pub(super) enum Refused {
    /// A rule of that kind says so.
    By(Arc<Rules>, Kind),
    /// The admin API is for clients on this machine alone.
    NotLocal,
    /// Too much waits to be verified already.
    Busy(&'static str),
    /// The core stops.
    Stopped,
}

impl<'b> Guard<'b> {
    /// It has passed nothing.
    pub fn new(request: &Request<'b>) -> Guard<'b> {
        let mut all = request.fields.iter().filter(|field| field.name.eq_ignore_ascii_case(b"authorization"));
        let authorization = all.next().map(|field| field.value).filter(|_| all.next().is_none());
        Guard { authorization, passed: (None, None), local: false }
    }

    /// Whether what it has passed is what holds now.
    pub fn covers(&self, entrypoint: &Held, route: Option<&Route>) -> bool {
        let same = |passed: &Held, now: Option<&Arc<Rules>>| match (passed, now) {
            (_, None) => true,
            (Some(passed), Some(now)) => Arc::ptr_eq(passed, now),
            (None, Some(_)) => false,
        };
        let of_route = route.and_then(|route| route.access.as_ref());
        let is_local = self.local || route.is_none_or(|route| !route.admin);
        is_local && same(&self.passed.0, entrypoint.as_ref()) && same(&self.passed.1, of_route)
    }

    /// Holds it against the lists of addresses that are in force now.
    pub fn addresses(&mut self, client: &Client, request: &Request<'_>) -> Result<(), Refused> {
        self.rules(client, request).map(drop)
    }

    /// Holds it against all rules that are in force now. Waits where a password has to be verified.
    pub fn check(&mut self, client: &Client, request: &Request<'_>) -> Result<(), Refused> {
        let rules = self.rules(client, request)?;
        for rules in [&rules.0, &rules.1].into_iter().flatten() {
            if let Some(basic) = &rules.basic_auth {
                let user = authenticate(client, rules, basic, self.authorization)?;
                client.record.user(user);
            }
        }
        self.passed = rules;
        Ok(())
    }

    /// Whether its credentials were for us, and not for the upstream.
    pub fn keeps_credentials(&self) -> bool {
        let ours = |rules: &Held| {
            let basic = rules.as_ref().and_then(|rules| rules.basic_auth.as_ref());
            basic.is_some_and(|basic| !basic.forward_credentials)
        };
        ours(&self.passed.0) || ours(&self.passed.1)
    }

    /// The rules in force, their lists passed.
    fn rules(&mut self, client: &Client, request: &Request<'_>) -> Result<(Held, Held), Refused> {
        let snapshot = client.core.snapshot();
        let route = snapshot.route(request.host);
        if let Some(route) = route {
            client.record.route(&client.core, route);
        }
        if route.is_some_and(|route| route.admin) {
            self.local = local::is_local(client, request);
            if !self.local {
                return Err(Refused::NotLocal);
            }
        }
        let rules = (snapshot.entrypoint.access.clone(), route.and_then(|route| route.access.clone()));
        let from = address(client, request);
        for rules in [&rules.0, &rules.1].into_iter().flatten() {
            if let Some((kind, _)) = rules.refuses(from) {
                return Err(Refused::By(Arc::clone(rules), kind));
            }
        }
        Ok(rules)
    }
}

/// Whom the request is from: the other side, or whom trusted proxies name. None if they can't be understood.
fn address(client: &Client, request: &Request<'_>) -> Option<IpAddr> {
    let values = |name: &'static [u8]| {
        let fields = request.fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name));
        fields.map(|field| field.value)
    };
    client.core.entrypoint(|entrypoint| {
        let told =
            Told { real_ip: request.field("x-real-ip"), forwarded: request.field("forwarded").is_some() };
        access::client(client.peer.ip(), |ip| entrypoint.trusts(ip), values(b"x-forwarded-for"), told)
    })
}

/// The name of the user whom `authorization` proves.
fn authenticate(
    client: &Client,
    rules: &Arc<Rules>,
    basic: &BasicAuth,
    authorization: Option<&[u8]>,
) -> Result<Arc<str>, Refused> {
    let refused = || Refused::By(Arc::clone(rules), Kind::BasicAuth);
    let mut buffer = [0; CREDENTIALS_BYTES];
    let said = authorization.and_then(|value| access::credentials(value, &mut buffer));
    let (name, password) = said.ok_or_else(refused)?;
    let core = &client.core;
    let known = basic.user(name);
    if let Some(user) =
        known.filter(|user| core.verified(|verified| verified.holds(user, password, runtime::now())))
    {
        return Ok(Arc::clone(&user.name));
    }
    let Some(_one) = core.verifying(client.peer) else {
        return Err(Refused::Busy("too many passwords from your address are being checked"));
    };
    let (by, name, given) = (Arc::clone(rules), name.to_vec(), password.to_vec());
    let verify = move || by.basic_auth.as_ref().is_some_and(|basic| basic.verify(&name, &given));
    let right = lane().map(|lane| lane_run(lane, verify, Some(runtime::now() + HASH_TIMEOUT)));
    match (right, known) {
        (Ok(Ok(true)), Some(user)) => {
            core.verified(|verified| verified.put(user, password, runtime::now()));
            Ok(Arc::clone(&user.name))
        }
        (Ok(Ok(_)), _) => Err(refused()),
        (Ok(Err(LaneError::Stopped)), _) => Err(Refused::Stopped),
        (Ok(Err(error)), _) => {
            log::debug!("{}: a password is not checked: {error}", client.peer);
            Err(Refused::Busy("too many passwords are being checked"))
        }
        (Err(error), _) => {
            log::error!("passwords can't be checked: {error}");
            Err(Refused::Busy("passwords can't be checked"))
        }
    }
}

/// The threads that hash. Started by the first password.
fn lane() -> io::Result<&'static Lane> {
    static LANE: OnceLock<Lane> = OnceLock::new();
    if let Some(lane) = LANE.get() {
        return Ok(lane);
    }
    let lane = Lane::new("hash", HASH_THREADS, HASH_QUEUE)?;
    Ok(LANE.get_or_init(|| lane))
}

/// Answers a request that is refused.
pub(super) fn refuse(
    client: &Client,
    request: &Request<'_>,
    rest: &[u8],
    refused: &Refused,
    id: &RequestId,
) -> (After, Vec<u8>) {
    let metrics = &client.core.metrics;
    let (rules, kind) = match refused {
        Refused::By(rules, kind) => (rules, *kind),
        Refused::Busy(why) => {
            metrics.passwords_unchecked.add(1);
            return exchange::own_answer(client, request, rest, &Own::new(503, *why), id);
        }
        Refused::NotLocal => {
            let own = Own::new(403, "this host is for clients on the machine itself");
            return exchange::own_answer(client, request, rest, &own, id);
        }
        Refused::Stopped => return (After::Close, Vec::new()),
    };
    metrics.access_refused[kind.index()].add(1);
    log::debug!("{} {}: refused by {}", id.as_str(), client.peer, kind.name());
    let list = match kind {
        Kind::CidrBlacklist => rules.blacklist.as_ref(),
        Kind::CidrWhitelist => rules.whitelist.as_ref(),
        Kind::BasicAuth => None,
    };
    let (status, message) = match list {
        Some(list) => (list.status, list.message.as_str()),
        None => (401, "a user name and a password are required"),
    };
    let basic = rules.basic_auth.as_ref().filter(|_| kind == Kind::BasicAuth);
    exchange::early_answer(client, request, rest, |keep_alive| {
        let refusal = Refusal {
            status,
            message,
            challenge: basic.map(BasicAuth::challenge),
            request_id: id.as_str(),
            keep_alive,
            head_only: request.method.is_head(),
        };
        let mut out = client.core.buffer();
        http::write_refusal(&mut out, &refusal);
        let body = if refusal.head_only { 0 } else { message.len() + 1 };
        let sent = client.stream.write_all(&out, Some(runtime::now() + BODY_TIMEOUT));
        if sent.is_ok() {
            client.record.own_answer(status, out.len(), body);
        }
        client.core.recycle(out);
        sent
    })
}
