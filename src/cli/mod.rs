//! Commands, help, and what is printed.
//!
//! Exit codes: 0 done, 1 the system or a running part failed or nobody answered, 64 a wrong command line or
//! configuration, 130 or 143 a second SIGINT or SIGTERM cut the drain short.

mod args;
mod ask;
mod completions;
mod hash;
mod show;

use crate::app::{App, End, Origin, check_files};
use crate::config::{self, FileChoice, Loaded, Sources};
use crate::error::Problem;
use crate::limits::{LOG_FLUSH, LOG_QUEUE};
use crate::{demo, logging};
use args::Command;
use ask::Question;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

/// A wrong command line or configuration (`EX_USAGE` of sysexits.h).
const USAGE: u8 = 64;

/// Runs the command line `args` (without the program's name) and returns the process's exit code.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let command = match args::parse(args) {
        Ok(command) => command,
        Err(message) => {
            eprintln!("tidegate: {message}\ntry `tidegate help`");
            return ExitCode::from(USAGE);
        }
    };
    match command {
        Command::Help => {
            print!("{}", args::HELP);
            ExitCode::SUCCESS
        }
        Command::Version => {
            println!("tidegate {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        Command::Check { file } => check(file),
        Command::Serve { file, http_addr } => serve(file, http_addr),
        Command::Ask { question, file, admin_addr, json } => ask_running(question, file, admin_addr, json),
        Command::Completions { shell } => {
            print!("{}", completions::script(shell));
            ExitCode::SUCCESS
        }
        Command::Hash => hash::run(),
        Command::Demo { http_addr } => with_log(|| demo(http_addr)),
    }
}

fn sources(file: Option<PathBuf>, http_addr: Option<String>) -> Sources<'static> {
    let file = match file {
        Some(path) => FileChoice::Explicit(path),
        None => FileChoice::Search(PathBuf::new()),
    };
    Sources { file, env: &variable, http_addr }
}

/// Asks where the command line says, else the environment, else the configuration.
fn ask_running(question: Question, file: Option<PathBuf>, addr: Option<String>, json: bool) -> ExitCode {
    let addr = match addr {
        Some(text) => match text.parse::<SocketAddr>() {
            Ok(addr) if addr.ip().is_loopback() => Some(addr),
            _ => {
                eprintln!(
                    "tidegate: --admin-addr: expected a loopback address such as 127.0.0.1:8888, got `{text}`"
                );
                return ExitCode::from(USAGE);
            }
        },
        None => config::admin_addr(&sources(file, None)),
    };
    match addr {
        Some(addr) => ask::ask(question, addr, json),
        None => {
            eprintln!(
                "tidegate: the admin API is off: set `admin.addr`, TIDEGATE_ADMIN_ADDR or --admin-addr"
            );
            ExitCode::FAILURE
        }
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn serve(file: Option<PathBuf>, http_addr: Option<String>) -> ExitCode {
    let sources = sources(file, http_addr);
    let loaded = match config::load(&sources) {
        Ok(loaded) => loaded,
        Err(problems) => return refuse(&problems),
    };
    with_log(|| {
        for file in &loaded.files {
            log::info!("configuration from {}", file.display());
        }
        for warning in &loaded.warnings {
            log::warn!("{warning}");
        }
        run(loaded, origin(&sources))
    })
}

/// What a reload reads: the same file, command line and environment.
fn origin(sources: &Sources) -> Origin {
    let text =
        |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
    let env = std::env::vars_os().filter_map(text).collect();
    Origin { file: sources.file.clone(), env, http_addr: sources.http_addr.clone() }
}

fn run(loaded: Loaded, origin: Origin) -> ExitCode {
    let app = match App::start_reloadable(loaded, origin) {
        Ok(app) => app,
        Err(error) => {
            log::error!("can't start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match app.run() {
        Ok(End::StaleSocket) => ExitCode::FAILURE,
        Ok(End::Signal(_) | End::Asked) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn demo(http_addr: Option<String>) -> ExitCode {
    let demo = match demo::start(http_addr.as_deref()) {
        Ok(demo) => demo,
        Err(error) => {
            log::error!("the demo can't start: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("The demo is up. Open one of these in a browser (Ctrl-C ends it):\n");
    println!("  {}   start, stop and relabel its containers", demo.control_url());
    for link in demo.links() {
        println!("  {}", link.url);
    }
    println!("\nor ask by hand: curl -H 'Host: whoami.localhost' http://{}/", demo.addr());
    match demo.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Starts the log, runs `f`, and writes what is still queued.
fn with_log(f: impl FnOnce() -> ExitCode) -> ExitCode {
    if let Err(error) = logging::init(LOG_QUEUE) {
        eprintln!("tidegate: the log can't be started: {error}");
        return ExitCode::FAILURE;
    }
    let code = f();
    logging::flush(LOG_FLUSH);
    code
}

fn check(file: Option<PathBuf>) -> ExitCode {
    let mut report = config::check(&sources(file, None));
    let (problems, warnings) = check_files(&report.config, !report.is_ok());
    for warning in report.warnings.iter().chain(&warnings) {
        println!("warning: {warning}");
    }
    report.problems.extend(problems);
    if !report.is_ok() {
        return refuse(&report.problems);
    }
    println!("{report}");
    ExitCode::SUCCESS
}

fn refuse(problems: &[Problem]) -> ExitCode {
    for problem in problems {
        eprintln!("{problem}");
    }
    let count = problems.len();
    eprintln!("{count} problem{} in the configuration", if count == 1 { "" } else { "s" });
    ExitCode::from(USAGE)
}
