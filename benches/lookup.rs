//! `cargo bench --bench lookup`: the look-up of one host among 10,000 routes against among 10. It must not
//! be slower than 1.1 times; exits with 1 if it is. Random hosts are reported only: among 10,000 routes they
//! miss the processor's caches, which no table can help.
#![allow(clippy::disallowed_methods)] // a bench reads the clock

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;
use tidegate::route::Table;
use tidegate::util::rng::Rng;

const LIMIT: f64 = 1.1;
/// Measured one after the other, small and large in turn, so that both see the machine's moods alike.
const ROUNDS: usize = 401;
const LOOKUPS: usize = 2_000;

/// Ways of a look-up, each with its host.
const FIXED: [(&str, &str); 4] = [
    ("whole host", "app3.example.com"),
    ("first label", "Nas.home.lan:8080"),
    ("wildcard", "anything.wild.example"),
    ("nothing", "nothing.here.example"),
];

fn main() -> ExitCode {
    if !std::env::args().any(|arg| arg == "--bench") {
        println!("run it by `cargo bench --bench lookup`: an unoptimised build measures nothing");
        return ExitCode::SUCCESS;
    }
    let (small, large) = (table(10), table(10_000));
    let mut worst: f64 = 0.0;
    for (way, host) in FIXED {
        let hosts = [host.to_owned()];
        let (few, many, ratio) = compare(&small, &large, &hosts, &hosts);
        println!(
            "{way:12} {host:24} 10 routes {few:6.1} ns   10,000 routes {many:6.1} ns   ratio {ratio:.3}"
        );
        worst = worst.max(ratio);
    }
    let (few, many, ratio) = compare(&small, &large, &random_hosts(10), &random_hosts(10_000));
    println!("{:37} 10 routes {few:6.1} ns   10,000 routes {many:6.1} ns   ratio {ratio:.3}", "random hosts");
    println!("worst ratio of one host: {worst:.3} (limit {LIMIT})");
    if worst <= LIMIT { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// `count` routes, among them those that [`FIXED`] finds.
fn table(count: usize) -> Table<usize> {
    let some = ["app3.example.com", "nas", "*.wild.example"].map(str::to_owned);
    let more = (0..).map(|n| alias(n + 10)).take(count - some.len());
    Table::build(&[], some.into_iter().chain(more).zip(0..))
}

fn alias(n: usize) -> String {
    match n % 3 {
        0 => format!("app{n}.example.com"),
        1 => format!("service-{n}"),
        _ => format!("*.team{n}.example.com"),
    }
}

/// Hosts of the routes of a table with `count` of them, in a random order.
fn random_hosts(count: usize) -> Vec<String> {
    let mut rng = Rng::new(7);
    let host = |n: usize| match n % 3 {
        1 => format!("{}.home.lan", alias(n)),
        _ => alias(n).replace('*', "x"),
    };
    (0..LOOKUPS).map(|_| host(10 + rng.below(count as u64 - 3) as usize)).collect()
}

/// Nanoseconds of a look-up in both tables (medians), and the median of the rounds' ratios.
fn compare(small: &Table<usize>, large: &Table<usize>, few: &[String], many: &[String]) -> (f64, f64, f64) {
    let (mut small_ns, mut large_ns, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let (s, l) = match round % 2 {
            0 => {
                let s = time(small, few);
                (s, time(large, many))
            }
            _ => {
                let l = time(large, many);
                (time(small, few), l)
            }
        };
        small_ns.push(s);
        large_ns.push(l);
        ratios.push(l / s);
    }
    (median(small_ns), median(large_ns), median(ratios))
}

fn time(table: &Table<usize>, hosts: &[String]) -> f64 {
    let start = Instant::now();
    for host in hosts.iter().cycle().take(LOOKUPS) {
        black_box(table.find(black_box(host.as_bytes())));
    }
    start.elapsed().as_nanos() as f64 / LOOKUPS as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
