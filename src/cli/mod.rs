//! Commands, help, and what is printed.
//!
//! Exit codes: 0 done, 1 the system or a running part failed, 64 a wrong command line or configuration.

mod args;

use crate::app::{App, End, StartError};
use crate::config::{self, FileChoice, Loaded, Sources};
use crate::error::Problem;
use crate::{demo, logging};
use args::Command;
use std::ffi::OsString;
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
        Command::Demo { http_addr } => with_log(|| demo::run(http_addr.as_deref())),
    }
}

fn load(file: Option<PathBuf>, http_addr: Option<String>) -> Result<Loaded, Vec<Problem>> {
    let env = |name: &str| std::env::var(name).ok();
    let from_env = || std::env::var_os("TIDEGATE_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
    let choice = match file.or_else(from_env) {
        Some(path) => FileChoice::Explicit(path),
        None => FileChoice::Search(std::env::current_dir().unwrap_or_default()),
    };
    config::load(&Sources { file: choice, env: &env, http_addr })
}

fn serve(file: Option<PathBuf>, http_addr: Option<String>) -> ExitCode {
    let loaded = match load(file, http_addr) {
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
        run(loaded)
    })
}

fn run(loaded: Loaded) -> ExitCode {
    let app = match App::start(loaded.config) {
        Ok(app) => app,
        Err(StartError::Problem(problem)) => {
            log::error!("{problem}");
            return ExitCode::FAILURE;
        }
        Err(StartError::Io(error)) => {
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

/// Starts the log, runs `f`, and writes what is still queued.
fn with_log(f: impl FnOnce() -> ExitCode) -> ExitCode {
    if let Err(error) = logging::init() {
        eprintln!("tidegate: the log can't be started: {error}");
        return ExitCode::FAILURE;
    }
    let code = f();
    logging::flush();
    code
}

fn check(file: Option<PathBuf>) -> ExitCode {
    let loaded = match load(file, None) {
        Ok(loaded) => loaded,
        Err(problems) => return refuse(&problems),
    };
    for warning in &loaded.warnings {
        println!("warning: {warning}");
    }
    for file in &loaded.files {
        println!("{}: ok", file.display());
    }
    if loaded.files.is_empty() {
        println!("no configuration file: the defaults are used");
    }
    let (routes, engines) = (loaded.config.file_routes.len(), loaded.config.engines.len());
    println!("{routes} routes from files, {engines} engines");
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
