//! `scripts/bench`: Tidegate beside nginx and every other proxy that is found, in interleaved rounds.
//! What is measured: `cases`. How the others are set up: `contender`, `benches/peers`. What is written:
//! `report`.
#![allow(clippy::disallowed_methods)] // a bench reads the clock, sleeps, and blocks as it likes

mod args;
mod backend;
mod cases;
mod client;
mod contender;
mod hist;
mod load;
mod measure;
mod memory;
mod report;
mod room;
mod rounds;
mod stats;
mod svg;
mod tables;
mod wire;

use args::Args;
use cases::{Kind, MEMORY, SYSCALLS, chosen};
use contender::{Running, Setup};
use report::Results;
use rustls::{ClientConfig, RootCertStore};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tidegate::docker::fake::{FakeEngine, Options, Spec};

/// Containers of the fake engine that Tidegate watches meanwhile. None of them is asked for.
const CONTAINERS: usize = 10;

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    if words.first().is_none_or(|word| word != "run") {
        println!("run it by scripts/bench: it takes a while and a quiet machine");
        return ExitCode::SUCCESS;
    }
    words.remove(0);
    let args = match args::parse(words.iter().cloned()) {
        Ok(Some(args)) => args,
        Ok(None) => {
            print!("{}", args::HELP);
            return ExitCode::SUCCESS;
        }
        Err(why) => {
            println!("bench: {why}");
            return ExitCode::from(64);
        }
    };
    if args.cases == ["list"] {
        cases::ALL.iter().map(|case| case.name).chain([SYSCALLS, MEMORY]).for_each(|name| println!("{name}"));
        return ExitCode::SUCCESS;
    }
    if room::inside() {
        return match measure_all(&args) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(why) => {
                println!("bench: {why}");
                ExitCode::FAILURE
            }
        };
    }
    let lacking = room::lacking();
    lacking.rest.iter().for_each(|what| println!("lacking: {what}"));
    lacking.fatal.iter().for_each(|what| println!("lacking, and nothing can be measured without: {what}"));
    if lacking.fatal.is_empty() { room::run_inside(&words, args.workers) } else { ExitCode::FAILURE }
}

/// Waits. Never while something is measured.
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// False if a case is not reported.
fn measure_all(args: &Args) -> Result<bool, String> {
    let text = |e: std::io::Error| e.to_string();
    let control = room::set_up()?;
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compare");
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).map_err(text)?;
    let (setup, tls) = prepare(&dir, args)?;
    backend::start(SocketAddr::from((Ipv4Addr::LOCALHOST, contender::BACKEND_PORT))).map_err(text)?;
    let _engine = engine(&setup)?;
    let mut results = Results::new(&control);
    let peers: Vec<usize> = (0..contender::ALL.len()).filter(|i| wanted(*i, args)).collect();

    let few = |kind| !matches!(kind, Kind::Routes(_));
    in_rounds(&peers, &setup, &tls, args, &few, &mut results);
    let many = |kind| matches!(kind, Kind::Routes(_));
    let with_routes: Vec<usize> = peers.iter().copied().filter(|i| contender::ALL[*i].routes).collect();
    in_rounds(
        &with_routes,
        &Setup { routes: 1_000, tls: false, ..setup.clone() },
        &tls,
        args,
        &many,
        &mut results,
    );
    if chosen(args, MEMORY, true) {
        for index in &peers {
            say(&format!("{MEMORY}: {}", contender::ALL[*index].name));
            match memory::measure_one(*index, &setup, &cases::IDLE) {
                Ok(memory) => results.memory.push(memory),
                Err(why) => results.fail(MEMORY, &format!("{}: {why}", contender::ALL[*index].name)),
            }
        }
    }
    report::write(&results, args).map_err(text)?;
    let _ = fs::remove_dir_all(&dir);
    Ok(results.failed.is_empty())
}

/// All cases of one set-up.
fn in_rounds(
    peers: &[usize],
    setup: &Setup,
    tls: &Arc<ClientConfig>,
    args: &Args,
    of: &dyn Fn(Kind) -> bool,
    results: &mut Results,
) {
    let cases: Vec<_> =
        cases::ALL.into_iter().filter(|case| of(case.kind) && chosen(args, case.name, case.quick)).collect();
    let syscalls =
        of(Kind::Connect) && chosen(args, SYSCALLS, true) && measure::Syscalls::available().is_ok();
    if cases.is_empty() && !syscalls {
        return;
    }
    let mut running = Vec::new();
    for index in peers {
        match Running::start(*index, setup) {
            Ok(peer) => running.push(peer),
            Err(why) => results.fail("start", &format!("{}: {why}", contender::ALL[*index].name)),
        }
    }
    for case in cases {
        say(case.name);
        let outcome = rounds::run(case, &running, tls, args);
        outcome.failed.iter().for_each(|why| say(&format!("{} is not reported: {why}", case.name)));
        results.take(outcome);
    }
    for peer in running.iter().filter(|_| syscalls) {
        say(&format!("{SYSCALLS}: {}", peer.contender.name));
        for connections in cases::SYSCALLS_AT {
            match rounds::syscalls(peer, connections, &setup.dir) {
                Ok(calls) => results.calls.push(calls),
                Err(e) => results.fail(SYSCALLS, &format!("{}: {e}", peer.contender.name)),
            }
        }
    }
}

fn say(what: &str) {
    println!("bench: {what}");
}

fn wanted(index: usize, args: &Args) -> bool {
    let contender = &contender::ALL[index];
    let always = ["nginx", "tidegate"].contains(&contender.name);
    let asked = args.peers.is_empty() || args.peers.iter().any(|peer| peer == contender.name);
    contender.binary().is_some() && (always || asked) && (contender.threads || args.workers == 1)
}

/// A certificate for the host, the client that trusts it, and how the contenders are set up.
fn prepare(dir: &Path, args: &Args) -> Result<(Setup, Arc<ClientConfig>), String> {
    let text = |e: std::io::Error| e.to_string();
    let made = rcgen::generate_simple_self_signed([wire::HOST.to_owned()]).map_err(|e| e.to_string())?;
    let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let pem = ["bench.crt", "bench.key", "bench.pem"].map(|name| dir.join(name));
    fs::write(&pem[0], &cert).map_err(text)?;
    fs::write(&pem[1], &key).map_err(text)?;
    fs::write(&pem[2], cert + &key).map_err(text)?;
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).map_err(|e| e.to_string())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions =
        ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]);
    let builder = versions.map_err(|e| e.to_string())?;
    let mut tls = builder.with_root_certificates(roots).with_no_client_auth();
    tls.resumption = rustls::client::Resumption::disabled();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let setup = Setup {
        dir: dir.to_owned(),
        pem,
        workers: args.workers,
        tls: true,
        routes: 1,
        connections: 8_192,
        engine: dir.join("engine.sock"),
        cpus: (args.workers == 1).then(|| "0".to_owned()),
    };
    Ok((setup, Arc::new(tls)))
}

fn engine(setup: &Setup) -> Result<FakeEngine, String> {
    let engine =
        FakeEngine::start(Options::new(&setup.engine)).map_err(|e| format!("the fake engine: {e}"))?;
    for number in 0..CONTAINERS {
        engine.run(Spec::new(format!("container-{number}"))).map_err(|e| format!("a container: {e:?}"))?;
    }
    Ok(engine)
}
