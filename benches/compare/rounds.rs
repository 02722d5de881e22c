//! Interleaved rounds: in each, every contender is measured once, in an order that turns.

use crate::args::Args;
use crate::cases::{Case, Kind, takes_part};
use crate::contender::{self, Running};
use crate::load::{Load, Pace, Plan};
use crate::{measure, wire};
use rustls::ClientConfig;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// One contender in one round.
#[derive(Clone)]
pub struct Sample {
    pub contender: &'static str,
    pub round: usize,
    pub requests: u64,
    pub seconds: f64,
    /// CPU time of the contender, in nanoseconds.
    pub cpu: u64,
    /// p50, p99 and p99.9 in nanoseconds.
    pub latency: [u64; 3],
}

impl Sample {
    pub fn cpu_per_request(&self) -> f64 {
        self.cpu as f64 / self.requests.max(1) as f64
    }

    pub fn rate(&self) -> f64 {
        self.requests as f64 / self.seconds
    }
}

/// What came of a case.
pub struct Outcome {
    pub case: Case,
    pub samples: Vec<Sample>,
    /// Who failed and how: then the case is not reported.
    pub failed: Vec<String>,
}

/// Measures a case.
pub fn run(case: Case, running: &[Running], tls: &Arc<ClientConfig>, args: &Args) -> Outcome {
    let mut outcome = Outcome { case, samples: vec![], failed: vec![] };
    let mut loads = Vec::new();
    for peer in running.iter().filter(|peer| takes_part(case.kind, peer.contender)) {
        match plan(case, peer, tls).map(Load::new) {
            Some(Ok(load)) => loads.push((peer, load)),
            Some(Err(e)) => outcome.failed.push(format!("{}: {e}", peer.contender.name)),
            None => {}
        }
        peer.logged();
    }
    for round in 0..args.rounds {
        let count = loads.len();
        for turn in 0..count {
            let (peer, load) = &mut loads[(turn + round) % count];
            match sample(case, peer, load, round, args) {
                Ok(sample) => outcome.samples.push(sample),
                Err(why) => outcome.failed.push(format!("{}: {why}", peer.contender.name)),
            }
        }
        // A case in which somebody failed is not reported: one round shows all who do.
        if !outcome.failed.is_empty() {
            return outcome;
        }
    }
    drop(loads);
    for peer in running {
        let asked = outcome.samples.iter().any(|sample| sample.contender == peer.contender.name);
        // The lines of a WebSocket come when it ends; GoDoxy writes late.
        if asked
            && peer.logged() == Some(0)
            && peer.contender.name != "godoxy"
            && case.kind != Kind::WebSocket
        {
            outcome.failed.push(format!("{}: no access log", peer.contender.name));
        }
    }
    outcome
}

fn sample(case: Case, peer: &Running, load: &mut Load, round: usize, args: &Args) -> Result<Sample, String> {
    let warm = load.run(Pace::Closed(args.length / 10));
    let pace = match case.kind {
        Kind::OpenLoop => Pace::Open(args.rate, args.length * 3),
        _ => Pace::Closed(args.length),
    };
    // What follows a request, such as its log line, is counted too.
    let rest = || crate::pause(Duration::from_millis(60));
    rest();
    let before = measure::cpu(peer.pid());
    let tally = load.run(pace);
    rest();
    let cpu = measure::cpu_between(&before, &measure::cpu(peer.pid()));
    let failures = warm.failures + tally.failures;
    if failures > 0 || tally.requests == 0 {
        let why = warm.failure.or(tally.failure).unwrap_or("no answers".into());
        return Err(format!("{failures} failed, the first: {why}"));
    }
    Ok(Sample {
        contender: peer.contender.name,
        round,
        requests: tally.requests,
        seconds: tally.seconds,
        cpu,
        latency: [0.5, 0.99, 0.999].map(|share| tally.latency.quantile(share)),
    })
}

/// The load of a case; none if the contender can't take it.
fn plan(case: Case, peer: &Running, tls: &Arc<ClientConfig>) -> Option<Plan> {
    let host = wire::HOST;
    let plain = |exchanges| Plan {
        addr: peer.plain,
        tls: None,
        exchanges,
        connections: case.connections,
        fresh: false,
        upgrade: None,
    };
    Some(match case.kind {
        Kind::Get(path) => plain(vec![wire::get(host, path, false)]),
        Kind::OpenLoop => plain(vec![wire::get(host, "/100", false)]),
        Kind::Connect => Plan { fresh: true, ..plain(vec![wire::get(host, "/100", true)]) },
        Kind::Upload => plain(vec![wire::upload(host)]),
        Kind::Routes(count) => {
            plain((0..count).map(|i| wire::get(&contender::host(i), "/100", false)).collect())
        }
        Kind::WebSocket => {
            let (upgrade, message) = wire::websocket(host);
            Plan { upgrade: Some(upgrade), ..plain(vec![message]) }
        }
        Kind::Tls(path) => {
            Plan { addr: peer.tls?, tls: Some(tls.clone()), ..plain(vec![wire::get(host, path, false)]) }
        }
        Kind::Handshake => Plan {
            addr: peer.tls?,
            tls: Some(tls.clone()),
            fresh: true,
            ..plain(vec![wire::get(host, "/100", true)])
        },
    })
}

/// System calls of so many requests.
pub struct Calls {
    pub contender: &'static str,
    pub connections: usize,
    pub requests: u64,
    pub sum: u64,
    pub calls: Vec<(String, u64)>,
}

/// Counts the system calls of a contender.
pub fn syscalls(peer: &Running, connections: usize, dir: &std::path::Path) -> io::Result<Calls> {
    let case = Case { name: "", kind: Kind::Get("/100"), connections, quick: false };
    let exchanges = vec![wire::get(wire::HOST, "/100", false)];
    let plan = Plan {
        addr: peer.plain,
        tls: None,
        exchanges,
        connections: case.connections,
        fresh: false,
        upgrade: None,
    };
    let mut load = Load::new(plan)?;
    load.run(Pace::Count(1_000));
    let counting = measure::Syscalls::start(peer.pid(), dir)?;
    let tally = load.run(Pace::Count(20_000));
    let (sum, calls) = counting.stop()?;
    if tally.failures > 0 {
        return Err(io::Error::other(tally.failure.unwrap_or_default()));
    }
    Ok(Calls { contender: peer.contender.name, connections, requests: tally.requests, sum, calls })
}
