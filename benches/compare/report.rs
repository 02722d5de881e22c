//! What was measured, as a page, a picture and raw figures.

use crate::args::Args;
use crate::cases::Case;
use crate::contender;
use crate::memory::Memory;
use crate::rounds::{Calls, Outcome, Sample};
use crate::{svg, tables};
use std::fmt::Write;
use std::process::Command;
use std::{fs, io};

/// All that is reported.
pub struct Results {
    pub control: String,
    pub outcomes: Vec<(Case, Vec<Sample>)>,
    pub memory: Vec<Memory>,
    pub calls: Vec<Calls>,
    /// Case, and who failed how.
    pub failed: Vec<(String, String)>,
    /// How busy the machine was at the start.
    load: String,
}

impl Results {
    pub fn new(control: &str) -> Results {
        Results {
            control: control.into(),
            outcomes: vec![],
            memory: vec![],
            calls: vec![],
            failed: vec![],
            load: fs::read_to_string("/proc/loadavg").unwrap_or_default(),
        }
    }

    /// A case in which somebody failed is named and not reported.
    pub fn take(&mut self, outcome: Outcome) {
        if outcome.failed.is_empty() {
            self.outcomes.push((outcome.case, outcome.samples));
        }
        outcome.failed.iter().for_each(|why| self.failed.push((outcome.case.name.into(), why.clone())));
    }

    pub fn fail(&mut self, case: &str, why: &str) {
        println!("bench: {case}: {why}");
        self.failed.push((case.into(), why.into()));
    }

    /// Contenders that were measured, in the report's order.
    pub fn contenders(&self) -> Vec<&'static str> {
        let names = contender::ALL.iter().map(|contender| contender.name);
        let measured = |name: &&str| {
            self.outcomes.iter().any(|(_, samples)| samples.iter().any(|s| s.contender == *name))
                || self.memory.iter().any(|memory| memory.contender == *name)
                || self.calls.iter().any(|calls| calls.contender == *name)
        };
        names.filter(measured).collect()
    }
}

/// Writes it; prints the page too.
pub fn write(results: &Results, args: &Args) -> io::Result<()> {
    fs::create_dir_all(&args.out)?;
    let page = page(results, args);
    fs::write(args.out.join("README.md"), &page)?;
    fs::write(args.out.join("rounds.tsv"), raw(results))?;
    fs::write(args.out.join("cpu.svg"), svg::cpu(results))?;
    println!("\n{page}\nbench: written to {}", args.out.display());
    Ok(())
}

fn page(results: &Results, args: &Args) -> String {
    let mut page = String::from("# Benchmarks\n\nMade by `scripts/bench`, not by hand.");
    if args.quick {
        page += " A quick run: few rounds, wide spread.";
    }
    let _ = write!(page, "\n\n{}\n", set_up(results, args));
    page += "![CPU time per request](cpu.svg)\n\n";
    page += &tables::cpu(results);
    page += &tables::throughput(results);
    page += &tables::latency(results, args);
    page += &tables::memory(results);
    page += &tables::syscalls(results);
    if !results.failed.is_empty() {
        page +=
            "## Not reported\n\nA case in which anybody failed a request is not reported for anybody.\n\n";
        for (case, why) in &results.failed {
            let _ = writeln!(page, "- {case}: {}", why.replace('\n', " "));
        }
    }
    page.trim_end().to_owned() + "\n"
}

fn set_up(results: &Results, args: &Args) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "| what | how |\n| --- | --- |");
    let mut row = |what: &str, how: &str| {
        let _ = writeln!(text, "| {what} | {how} |");
    };
    row("date", &said("date", &["-u", "+%F"]));
    row("machine", &machine());
    row("system", &format!("{}, Linux {}", system(), said("uname", &["-r"])));
    let load = results.load.split(' ').next().unwrap_or_default();
    row("load average at the start", &format!("{load}; it should be near 0"));
    row("commit", &said("git", &["describe", "--always", "--dirty", "--abbrev=12"]));
    for contender in contender::ALL.iter().filter(|c| results.contenders().contains(&c.name)) {
        row(contender.name, &contender.version());
    }
    let place = if args.workers == 1 {
        "1 worker each, alone on CPU 0; load and backend on the others"
    } else {
        "no CPU is anybody's own"
    };
    row("workers", &format!("{}: {place}", args.workers));
    row("rounds", &format!("{} of {:?} each, interleaved, the order turns", args.rounds, args.length));
    row("network", &format!("loopback in a namespace of its own, TCP {}", results.control));
    text += include_str!("prose/method.md");
    text
}

fn said(program: &str, arguments: &[&str]) -> String {
    let out = Command::new(program).args(arguments).output();
    out.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned()).unwrap_or_default()
}

fn machine() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("an unknown CPU");
    let count = text.lines().filter(|line| line.starts_with("processor")).count();
    let virtual_machine = if text.contains("hypervisor") { ", a virtual machine" } else { "" };
    format!("{count} CPUs, {}{virtual_machine}", model.trim_start_matches(['\t', ' ', ':']))
}

fn system() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.unwrap_or("Linux").trim_matches('"').to_owned()
}

fn raw(results: &Results) -> String {
    let mut text = String::from(
        "case\tround\tcontender\trequests\tseconds\tcpu_ns_per_request\trequests_per_s\tp50_us\tp99_us\tp999_us\t\
         cpus_busy\n",
    );
    for (case, samples) in &results.outcomes {
        for sample in samples {
            let [p50, p99, p999] = sample.latency.map(|nanos| nanos as f64 / 1e3);
            let _ = writeln!(
                text,
                "{}\t{}\t{}\t{}\t{:.3}\t{:.0}\t{:.0}\t{p50:.1}\t{p99:.1}\t{p999:.1}\t{:.2}",
                case.name,
                sample.round + 1,
                sample.contender,
                sample.requests,
                sample.seconds,
                sample.cpu_per_request(),
                sample.rate(),
                sample.cpu as f64 / 1e9 / sample.seconds
            );
        }
    }
    text
}
