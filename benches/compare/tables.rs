//! The tables of the report.

use crate::args::Args;
use crate::cases::{Case, Kind};
use crate::report::Results;
use crate::rounds::Sample;
use crate::stats::{Spread, spread};
use std::fmt::Write;

/// The contender that all ratios are to.
pub const MEASURE: &str = "nginx";

/// Ratios to nginx in the same round; none if one of the two was not measured.
pub fn ratio(samples: &[Sample], contender: &str, figure: impl Fn(&Sample) -> f64) -> Option<Spread> {
    let of = |name: &str, round: usize| {
        samples.iter().find(|s| s.contender == name && s.round == round).map(&figure)
    };
    let rounds = samples.iter().map(|s| s.round).max()?;
    spread((0..=rounds).filter_map(|round| Some(of(contender, round)? / of(MEASURE, round)?)))
}

fn median(samples: &[Sample], contender: &str, figure: impl Fn(&Sample) -> f64) -> Option<f64> {
    spread(samples.iter().filter(|s| s.contender == contender).map(figure)).map(|spread| spread.median)
}

fn others(results: &Results) -> Vec<&'static str> {
    results.contenders().into_iter().filter(|name| *name != MEASURE).collect()
}

fn head(text: &mut String, columns: &[&str]) {
    let _ = writeln!(text, "| {} |", columns.join(" | "));
    let _ = writeln!(text, "|{}", " --- |".repeat(columns.len()));
}

fn cell(spread: Option<Spread>) -> String {
    spread.map_or("–".into(), |s| format!("**{:.2}** ({:.2}–{:.2})", s.median, s.low, s.high))
}

/// A table of ratios, nginx itself in a unit.
fn ratios(
    results: &Results,
    unit: &str,
    cases: impl Fn(&Case) -> bool,
    figure: impl Fn(&Sample) -> f64,
    own: impl Fn(f64) -> String,
) -> String {
    let mut text = String::new();
    let first = format!("{MEASURE}, {unit}");
    let others = others(results);
    let columns: Vec<&str> = ["case", first.as_str()].into_iter().chain(others.iter().copied()).collect();
    head(&mut text, &columns);
    for (case, samples) in results.outcomes.iter().filter(|(case, _)| cases(case)) {
        let measure = median(samples, MEASURE, &figure).map_or("–".into(), &own);
        let cells: Vec<String> = others.iter().map(|name| cell(ratio(samples, name, &figure))).collect();
        let _ = writeln!(text, "| {} | {measure} | {} |", case.name, cells.join(" | "));
    }
    text + "\n"
}

pub fn cpu(results: &Results) -> String {
    if results.outcomes.is_empty() {
        return String::new();
    }
    let micros = |nanos: f64| format!("{:.1}", nanos / 1e3);
    let table = ratios(results, "µs", |_| true, Sample::cpu_per_request, micros);
    include_str!("prose/cpu.md").to_owned() + &table
}

pub fn throughput(results: &Results) -> String {
    let cases = |case: &Case| case.kind != Kind::OpenLoop;
    if !results.outcomes.iter().any(|(case, _)| cases(case)) {
        return String::new();
    }
    let table = ratios(results, "1/s", cases, Sample::rate, |rate| format!("{rate:.0}"));
    include_str!("prose/throughput.md").to_owned() + &table
}

pub fn latency(results: &Results, args: &Args) -> String {
    let Some((_, samples)) = results.outcomes.iter().find(|(case, _)| case.kind == Kind::OpenLoop) else {
        return String::new();
    };
    let mut text = format!(
        "## Latency\n\n{} requests a second whatever the answers do, over 64 connections; counted from the moment \
         when a\nrequest should have been sent. Milliseconds, and the ratio to nginx in the same round.\n\n",
        args.rate
    );
    head(&mut text, &["contender", "p50", "p99", "p99.9", "p50 ratio", "p99 ratio", "p99.9 ratio"]);
    for name in results.contenders() {
        let of = |place: usize| {
            let nanos = median(samples, name, |s| s.latency[place] as f64);
            nanos.map_or("–".into(), |nanos| format!("{:.2}", nanos / 1e6))
        };
        let own = [0, 1, 2].map(of).join(" | ");
        let to_nginx =
            [0, 1, 2].map(|place| cell(ratio(samples, name, |s| s.latency[place] as f64))).join(" | ");
        let _ = writeln!(text, "| {name} | {own} | {to_nginx} |");
    }
    text + "\n"
}

pub fn memory(results: &Results) -> String {
    let Some(first) = results.memory.first() else { return String::new() };
    let mut text = include_str!("prose/memory.md").to_owned();
    let counts: Vec<String> = first.with.iter().map(|(count, ..)| format!("{count} idle")).collect();
    let columns = ["contender", "idle"].into_iter().chain(counts.iter().map(String::as_str));
    head(&mut text, &columns.chain(["B per connection"]).collect::<Vec<_>>());
    for memory in &results.memory {
        let with: Vec<String> = memory.with.iter().map(|(_, _, with)| with.to_string()).collect();
        let each = memory.with.last().map_or(0.0, |(count, before, with)| {
            with.saturating_sub(*before) as f64 * 1024.0 / *count as f64
        });
        let _ =
            writeln!(text, "| {} | {} | {} | {each:.0} |", memory.contender, memory.idle, with.join(" | "));
    }
    text + "\n"
}

pub fn syscalls(results: &Results) -> String {
    if results.calls.is_empty() {
        return String::new();
    }
    let mut text = include_str!("prose/syscalls.md").to_owned();
    head(&mut text, &["contender", "connections", "calls per request", "which"]);
    for calls in &results.calls {
        let each = |count: u64| count as f64 / calls.requests as f64;
        let named = calls.calls.iter().filter(|(_, count)| each(*count) >= 0.01);
        let named: Vec<String> = named.map(|(call, count)| format!("{call} {:.2}", each(*count))).collect();
        let _ = writeln!(
            text,
            "| {} | {} | **{:.2}** | {} |",
            calls.contender,
            calls.connections,
            each(calls.sum),
            named.join(", ")
        );
    }
    text + "\n"
}
