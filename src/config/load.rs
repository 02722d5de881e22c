//! From what the user typed to a configuration: which file, its includes, the environment.

use super::types::Config;
use crate::error::{Place, Problem};
use std::fmt;
use std::path::PathBuf;

/// Which file is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileChoice {
    /// This one, named by the user: that it is missing is a problem.
    Explicit(PathBuf),
    /// The file that `TIDEGATE_CONFIG` names, else `config/config.yml` beneath this directory, else
    /// `/etc/tidegate/config.yml`, else none: the defaults.
    Search(PathBuf),
}

/// All that a configuration is made from.
pub struct Sources<'a> {
    /// The file.
    pub file: FileChoice,
    /// Looks a variable up. The loader never reads the process's environment itself.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// `--http-addr`, one address or several with commas: over the environment, over the file.
    pub http_addr: Option<String>,
}

/// A configuration without problems.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The files that were read: the main file, then its includes. Empty if the defaults stand alone.
    pub files: Vec<PathBuf>,
    /// What is strange but not wrong.
    pub warnings: Vec<Problem>,
}

/// Reads the configuration.
///
/// # Errors
/// All problems of all files at once: those of arguments and environment first, then file by file in the
/// order of their reading, and in each in the order of lines.
pub fn load(sources: &Sources) -> Result<Loaded, Vec<Problem>> {
    let _ = (&sources.file, sources.env, &sources.http_addr);
    Err(vec![Problem::new(Place::Default, "the loader is not built yet")])
}

/// What `tidegate check` found.
#[derive(Clone, Debug)]
pub struct Check {
    /// The file, or none if the defaults stand alone.
    pub file: Option<PathBuf>,
    /// Routes of the included files.
    pub routes: usize,
    /// Docker engines.
    pub engines: usize,
    /// What is wrong: the exit code is 64 if there is any.
    pub problems: Vec<Problem>,
    /// What is strange but not wrong.
    pub warnings: Vec<Problem>,
}

impl Check {
    /// No problem.
    pub fn is_ok(&self) -> bool {
        self.problems.is_empty()
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ok ({} routes, {} engines)", self.routes, self.engines)
    }
}

/// Loads as `load` does and reports.
pub fn check(sources: &Sources) -> Check {
    let mut check = Check { file: None, routes: 0, engines: 0, problems: Vec::new(), warnings: Vec::new() };
    match load(sources) {
        Ok(loaded) => {
            check.routes = loaded.config.file_routes.len();
            check.engines = loaded.config.engines.len();
            check.file = loaded.files.first().cloned();
            check.warnings = loaded.warnings;
        }
        Err(problems) => check.problems = problems,
    }
    check
}
