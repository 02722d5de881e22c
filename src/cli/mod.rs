//! Commands, help, and what is printed.

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the command line `args` (without the program's name) and returns the process's exit code.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    drop(args);
    ExitCode::SUCCESS
}
