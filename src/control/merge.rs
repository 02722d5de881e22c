//! Who serves an alias when several want it. The winner is the same in any order of arrival.

use crate::access::Rules;
use crate::docker::Container;
use crate::docker::discovery::{Found, Target, Why};
use crate::error::{Place, Problem};
use crate::net::tls::TlsTarget;
use crate::route::{self, Scheme, UpstreamTls};
use crate::snapshot::EndpointKey;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// Somebody who wants to serve an alias.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    /// In its canonical form.
    pub alias: Arc<str>,
    pub origin: Origin,
    /// For people: `container app of engine local`.
    pub name: String,
    /// Each choice in words, with a leading separator; empty for a file.
    pub why: String,
    pub target: Target,
    /// The endpoint it would lead to.
    pub key: Option<EndpointKey>,
    pub tuning: route::Tuning,
    pub redirect_http: Option<bool>,
    pub access: Option<Arc<Rules>>,
    /// How to verify it, if it is spoken to by TLS.
    pub tls: Option<UpstreamTls>,
    place: Place,
}

/// Without the line, which moves when others come and go.
fn file_of(place: &Place) -> String {
    match place {
        Place::File { path, .. } => path.display().to_string(),
        place => place.to_string(),
    }
}

/// Where a candidate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// `admin.host` of the configuration.
    Admin,
    File,
    /// `engine` is its index; a stopped one yields to a running one.
    Container {
        engine: usize,
        running: bool,
        name: String,
        id: String,
    },
}

impl Candidate {
    /// The way to the admin API at `addr`, if it listens; `life` as for a file's address.
    pub fn of_admin(
        host: &str,
        place: &Place,
        addr: Option<SocketAddr>,
        life: impl Fn(&str, u16) -> u64,
    ) -> Candidate {
        let (target, key) = match addr {
            Some(addr) => {
                let (host, port) = (addr.ip().to_string(), addr.port());
                let key = EndpointKey::Address { life: life(&host, port), host: host.as_str().into(), port };
                (Target::Address { host, port }, Some(key))
            }
            None => {
                (Target::Misconfigured { reason: "it does not listen: its address is taken".into() }, None)
            }
        };
        Candidate {
            alias: host.into(),
            origin: Origin::Admin,
            name: "the admin API (admin.host)".into(),
            why: String::new(),
            target,
            key,
            tuning: route::Tuning::default(),
            redirect_http: None,
            access: None,
            tls: None,
            place: place.clone(),
        }
    }

    /// `life` says which life of an address this is.
    pub fn of_file(settings: &route::Settings, life: impl Fn(&str, u16) -> u64) -> Candidate {
        let host = settings.host.clone().unwrap_or_else(|| "localhost".into());
        let port = settings.port.unwrap_or(80);
        let target = Target::Address { host: host.clone(), port };
        let key = EndpointKey::Address { life: life(&host, port), host: host.into(), port };
        Candidate {
            alias: route::canonical(&settings.alias).into(),
            origin: Origin::File,
            name: format!("route file {}", file_of(&settings.place)),
            why: String::new(),
            target,
            key: Some(key),
            tuning: settings.tuning,
            redirect_http: settings.redirect_http,
            access: settings.access.clone(),
            tls: (settings.scheme == Some(Scheme::Https)).then(|| settings.tls.clone()),
            place: settings.place.clone(),
        }
    }

    pub fn of_container(index: usize, engine: &Arc<str>, container: &Container, found: &Found) -> Candidate {
        let key = container.started_at.map(|started_at| EndpointKey::Run {
            engine: Arc::clone(engine),
            id: container.id.as_str().into(),
            started_at,
        });
        Candidate {
            alias: route::canonical(&found.alias).into(),
            origin: Origin::Container {
                engine: index,
                running: container.is_running(),
                name: container.name.clone(),
                id: container.id.clone(),
            },
            name: format!("container {}", container.name),
            why: reasons(&found.why),
            target: found.target.clone(),
            key,
            tuning: found.tuning,
            redirect_http: found.redirect_http,
            access: found.access.clone(),
            tls: (found.scheme == Scheme::Https).then(|| found.tls.clone()),
            place: Place::Container { engine: engine.to_string(), container: container.name.clone() },
        }
    }

    /// How the upstream at `host` is verified, if it is spoken to by TLS.
    pub fn tls_target(&self, host: &str) -> Option<Arc<TlsTarget>> {
        let settings = self.tls.clone()?;
        Some(Arc::new(TlsTarget { host: host.to_owned(), settings }))
    }

    /// Lower wins, and of equals the first: the admin API, files, then running before stopped, engines in their order, then by name and id.
    fn rank(&self) -> (bool, bool, usize, &str, &str) {
        match &self.origin {
            Origin::Admin | Origin::File => (false, false, 0, "", ""),
            Origin::Container { engine, running, name, id } => (true, !running, *engine, name, id),
        }
    }

    fn is_running(&self) -> bool {
        !matches!(&self.origin, Origin::Container { running: false, .. })
    }
}

fn reasons(why: &Why) -> String {
    format!("; host: {}; port: {}; scheme: {}", why.host, why.port, why.scheme)
}

/// Who serves, by alias.
pub(super) type Winners<R> = BTreeMap<Arc<str>, (Candidate, R)>;

/// One candidate per alias, and a problem for each that lost while it runs. `R` goes with its candidate.
pub(super) fn winners<R>(mut candidates: Vec<(Candidate, R)>) -> (Winners<R>, Vec<Problem>) {
    candidates.sort_by(|(a, _), (b, _)| a.rank().cmp(&b.rank()));
    let mut winners: Winners<R> = BTreeMap::new();
    let mut problems = Vec::new();
    for (candidate, with) in candidates {
        match winners.get(&candidate.alias) {
            Some((winner, _)) if candidate.is_running() => {
                let message = format!("alias `{}` is already served by {}", candidate.alias, winner.name);
                let hint = "give one of them another alias by `proxy.aliases`";
                problems.push(Problem::new(candidate.place, message).with_hint(hint));
            }
            Some(_) => {}
            None => {
                winners.insert(Arc::clone(&candidate.alias), (candidate, with));
            }
        }
    }
    (winners, problems)
}
