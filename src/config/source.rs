//! Files: which one is the main one, and their text.

use super::expand::Env;
use super::load::FileChoice;
use crate::error::{Place, Problem};
use crate::limits;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

/// Below the working directory.
const IN_DIRECTORY: &str = "config/config.yml";
/// For the whole machine.
const IN_SYSTEM: &str = "/etc/tidegate/config.yml";

/// The main file; none if there is nothing to be found.
pub(super) fn find(choice: &FileChoice, env: Env) -> Option<PathBuf> {
    let directory = match choice {
        FileChoice::Explicit(path) => return Some(path.clone()),
        FileChoice::Search(directory) => directory,
    };
    if let Some(named) = env("TIDEGATE_CONFIG").filter(|named| !named.is_empty()) {
        return Some(directory.join(named));
    }
    // A file that is there but can't be read is a problem, not a reason to look elsewhere.
    let is_there = |path: &PathBuf| match fs::metadata(path) {
        Ok(_) => true,
        Err(error) => !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory),
    };
    [directory.join(IN_DIRECTORY), PathBuf::from(IN_SYSTEM)].into_iter().find(is_there)
}

/// The text of a file: UTF-8, at most `limits::CONFIG_BYTES`, without a byte order mark. Only a file that
/// the user named on the command line may be a pipe: to open one may wait for ever.
///
/// # Errors
/// A problem with `Place::Path`, or with a place in the file if it is not UTF-8.
pub(super) fn read(path: &Path, may_be_pipe: bool) -> Result<String, Problem> {
    let here = || Place::Path { path: path.to_path_buf() };
    let failed = |error: std::io::Error| Problem::new(here(), reason(&error));
    let metadata = fs::metadata(path).map_err(failed)?;
    if metadata.is_dir() {
        return Err(Problem::new(here(), "is a directory, expected a file"));
    }
    if !metadata.is_file() && !may_be_pipe {
        return Err(Problem::new(here(), "is not a regular file"));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(limits::CONFIG_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limits::CONFIG_BYTES {
        return Err(Problem::new(here(), format!("has more than {} bytes", limits::CONFIG_BYTES)));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let good = String::from_utf8_lossy(good);
        Problem::new(place_after(path, &good), "not UTF-8")
    })?;
    Ok(text.strip_prefix('\u{feff}').map_or(text.clone(), str::to_string))
}

/// The place behind `good`.
fn place_after(path: &Path, good: &str) -> Place {
    let line = good.bytes().filter(|b| *b == b'\n').count() + 1;
    let column = good.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Place::File { path: path.to_path_buf(), line, column, key: String::new() }
}

/// An I/O error in words that are the same on every machine, where it is a common one.
fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "no such file".into(),
        ErrorKind::PermissionDenied => "permission denied".into(),
        _ => format!("can't be read: {error}"),
    }
}
