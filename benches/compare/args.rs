//! The command line.

use std::path::PathBuf;
use std::time::Duration;

pub const HELP: &str = "\
usage: scripts/bench [OPTION...]

Measures Tidegate beside nginx and every other proxy that it finds, and writes docs/benchmarks.
Needs root (or user namespaces), unshare, ip, taskset and nginx; perf for system calls.
Caddy, Traefik, GoDoxy, pingora and floor are looked for in the directory PEERS_BIN (benches/peers/README.md).

  --cases A,B     only these cases; the first part of a name is enough (--cases list names all)
  --peers A,B     only these beside nginx and tidegate
  --rounds N      rounds of each case (9)
  --seconds S     length of one measurement (1)
  --rate N        requests a second of the open loop (2000)
  --workers N     worker threads or processes of each (1: on one CPU of its own)
  --quick         3 rounds of 0.5 s, few cases, written to target/benchmarks
  --out DIR       where the report goes
";

#[derive(Clone)]
pub struct Args {
    pub cases: Vec<String>,
    pub peers: Vec<String>,
    pub rounds: usize,
    pub length: Duration,
    pub rate: f64,
    pub workers: usize,
    pub quick: bool,
    pub out: PathBuf,
}

/// What stands there; an error in words. None: help was asked for.
pub fn parse(words: impl Iterator<Item = String>) -> Result<Option<Args>, String> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut args = Args {
        cases: vec![],
        peers: vec![],
        rounds: 0,
        length: Duration::ZERO,
        rate: 2000.0,
        workers: 1,
        quick: false,
        out: PathBuf::new(),
    };
    let mut words = words;
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} wants a value"));
        let list = |text: String| text.split(',').map(str::to_owned).collect();
        match word.as_str() {
            "--cases" => args.cases = list(value()?),
            "--peers" => args.peers = list(value()?),
            "--rounds" => args.rounds = number(&value()?)?,
            "--seconds" => args.length = Duration::from_secs_f64(number::<f64>(&value()?)?.clamp(0.1, 60.0)),
            "--rate" => args.rate = number::<f64>(&value()?)?.clamp(1.0, 1e6),
            "--workers" => args.workers = number::<usize>(&value()?)?.clamp(1, 64),
            "--out" => args.out = value()?.into(),
            "--quick" => args.quick = true,
            "--bench" => {}
            "--help" | "-h" => return Ok(None),
            _ => return Err(format!("unknown option {word}; --help shows all")),
        }
    }
    if args.rounds == 0 {
        args.rounds = if args.quick { 3 } else { 9 };
    }
    if args.length.is_zero() {
        args.length = if args.quick { Duration::from_millis(500) } else { Duration::from_secs(1) };
    }
    if args.out.as_os_str().is_empty() {
        args.out = root.join(if args.quick { "target/benchmarks" } else { "docs/benchmarks" });
    }
    Ok(Some(args))
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text} is not a number"))
}
