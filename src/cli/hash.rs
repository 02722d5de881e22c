//! `tidegate hash`: a password becomes what `basic_auth` takes.

use crate::access;
use crate::limits::{BCRYPT_COST_MADE, PASSWORD_BYTES};
use ring::rand::{SecureRandom, SystemRandom};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use std::io::{self, BufRead, IsTerminal, Read};
use std::process::ExitCode;

/// Reads one line from standard input and prints its bcrypt hash.
pub(super) fn run() -> ExitCode {
    match password().and_then(|password| made(&password)) {
        Ok(hash) => {
            println!("{hash}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("tidegate: {why}");
            ExitCode::FAILURE
        }
    }
}

fn made(password: &[u8]) -> Result<String, String> {
    let mut salt = [0; 16];
    SystemRandom::new().fill(&mut salt).map_err(|_| "the system gives no random numbers")?;
    access::hash(password, salt, BCRYPT_COST_MADE)
}

/// One line, without its end. At a terminal it is asked for, and does not show.
fn password() -> Result<Vec<u8>, String> {
    let input = io::stdin();
    let before = input.is_terminal().then(|| tcgetattr(&input)).transpose();
    let before = before.map_err(|error| format!("the terminal can't be asked: {error}"))?;
    if let Some(before) = &before {
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        eprint!("Password: ");
        tcsetattr(&input, OptionalActions::Flush, &silent).map_err(|error| error.to_string())?;
    }
    let mut line = Vec::new();
    let read = input.lock().take(PASSWORD_BYTES).read_until(b'\n', &mut line);
    if let Some(before) = &before {
        eprintln!();
        tcsetattr(&input, OptionalActions::Now, before).map_err(|error| error.to_string())?;
    }
    read.map_err(|error| format!("standard input can't be read: {error}"))?;
    let line = line.strip_suffix(b"\n").unwrap_or(&line);
    Ok(line.strip_suffix(b"\r").unwrap_or(line).to_vec())
}
