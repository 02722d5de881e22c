//! From what the user typed to a configuration: which file, its includes, the environment.

use super::build::{self, Routes};
use super::decode::{Decoder, Value};
use super::include::{self, Included};
use super::schema::{self, Kind};
use super::source;
use super::types::Config;
use crate::error::{Place, Problem};
use crate::limits;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Which file is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileChoice {
    /// This one, named by the user: that it is missing is a problem.
    Explicit(PathBuf),
    /// The file that `TIDEGATE_CONFIG` names, else `config/config.yml` beneath this directory (empty: the
    /// working directory), else `/etc/tidegate/config.yml`, else none: the defaults.
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

/// A try to read the configuration: what came of it, and where a change would make another try worth while.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// As of [`load`].
    pub result: Result<Loaded, Vec<Problem>>,
    /// Files that were read, or would have been.
    pub files: Vec<PathBuf>,
    /// Directories whose new files may belong to it: those of patterns under `providers.include`.
    pub directories: Vec<PathBuf>,
}

/// What `tidegate check` found. Its text is `FILE: ok (N routes, M engines)`, to be printed if it is ok.
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
    /// The configuration, as far as it is right.
    pub config: Config,
}

/// Reads the configuration.
///
/// # Errors
/// All problems of all files at once: those of arguments and environment first, then file by file in the
/// order of their reading, and in each in the order of lines.
pub fn load(sources: &Sources) -> Result<Loaded, Vec<Problem>> {
    attempt(sources).result
}

/// Reads the configuration as [`load`] does, and says what it looked at even if it is wrong.
pub fn attempt(sources: &Sources) -> Attempt {
    let (loaded, directories, problems) = read_all(sources);
    let files = loaded.files.clone();
    let result = match problems.is_empty() {
        true => Ok(loaded),
        false => Err(problems),
    };
    Attempt { result, files, directories }
}

/// Where the admin API of a Tidegate with this configuration listens; none if it is off. Whatever else is wrong
/// with the configuration does not matter: the running one may be an earlier.
pub fn admin_addr(sources: &Sources) -> Option<SocketAddr> {
    read_all(sources).0.config.admin.map(|admin| admin.addr)
}

/// Reads the configuration as `load` does, and reports.
pub fn check(sources: &Sources) -> Check {
    let (loaded, _, problems) = read_all(sources);
    Check {
        file: loaded.files.first().cloned(),
        routes: loaded.config.file_routes.len(),
        engines: loaded.config.engines.len(),
        problems,
        warnings: loaded.warnings,
        config: loaded.config,
    }
}

impl Check {
    /// No problem.
    pub fn is_ok(&self) -> bool {
        self.problems.is_empty()
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{}: ", file.display())?,
            None => f.write_str("no file, the defaults: ")?,
        }
        match self.is_ok() {
            true => write!(f, "ok ({} routes, {} engines)", self.routes, self.engines),
            false => write!(f, "{} problems", self.problems.len()),
        }
    }
}

static ROOT: Kind = Kind::Section(schema::ROOT);

/// Reads everything, whatever is wrong with it.
fn read_all(sources: &Sources) -> (Loaded, Vec<PathBuf>, Vec<Problem>) {
    let mut problems = Problems::default();
    let mut files = Vec::new();
    let main = match source::find(&sources.file, sources.env) {
        None => None,
        Some(path) => {
            let explicit = matches!(sources.file, FileChoice::Explicit(_));
            let text = source::read(&path, explicit).map_err(|problem| problems.add(vec![problem], 0)).ok();
            files.push(path.clone());
            text.map(|text| (path, text))
        }
    };
    let (path, text) = main.as_ref().map_or((None, ""), |(path, text)| (Some(path.as_path()), text));
    let mut decoder = Decoder::new(path, sources.env);
    let root = match decoder.file(text, &ROOT) {
        Value::Section(root) => root,
        _ => Default::default(),
    };
    let (mut config, mut warnings) = build::main(&root, &mut decoder.problems);
    if let Some(log) = config.access_log.as_mut().and_then(|log| log.path.as_mut()) {
        *log = path.and_then(Path::parent).unwrap_or(Path::new("")).join(&*log);
    }
    build::override_addresses(&mut config, sources, &mut decoder.problems);
    build::override_admin_addr(&mut config, sources, &mut decoder.problems);
    build::check_admin_host(&config, &mut decoder.problems);
    let includes = build::includes(&root);
    let directory = path.and_then(Path::parent).unwrap_or(Path::new(""));
    let named = include::expand(directory, &includes, &mut decoder.problems, &mut warnings);
    let included = open_includes(&named.files, &mut files, path, &mut decoder);
    problems.add(decoder.problems, decoder.untold);

    let mut routes = Routes::default();
    for (path, text) in included {
        let text = match text {
            Ok(text) => text,
            Err(problem) => {
                problems.add(vec![problem], 0);
                continue;
            }
        };
        let mut decoder = Decoder::new(Some(&path), sources.env);
        let value = decoder.file(&text, &schema::ROUTE_FILE);
        routes.add(&value, decoder.truncated, &mut decoder.problems);
        problems.add(decoder.problems, decoder.untold);
    }
    config.file_routes = routes.settings;
    (Loaded { config, files, warnings }, named.directories, problems.finish())
}

/// Reads the files under `providers.include`; what can't be read is a problem at its place there, what is no text a
/// problem of its own file.
fn open_includes(
    includes: &[Included],
    files: &mut Vec<PathBuf>,
    main: Option<&Path>,
    decoder: &mut Decoder,
) -> Vec<(PathBuf, Result<String, Problem>)> {
    let mut canonical: Vec<(PathBuf, String)> = Vec::new();
    if let Some(path) = main.and_then(|main| main.canonicalize().ok()) {
        canonical.push((path, "this very file".into()));
    }
    let mut texts = Vec::new();
    for (index, Included { path, place, by_pattern }) in includes.iter().enumerate() {
        if index >= limits::CONFIG_FILES {
            let message = format!("more than {} files", limits::CONFIG_FILES);
            decoder.push(Problem::new(place.clone(), message));
            break;
        }
        if let Ok(real) = path.canonicalize() {
            if let Some((_, first)) = canonical.iter().find(|(known, _)| *known == real) {
                // A pattern means all that are there; one of them may be named too.
                if !by_pattern {
                    let message = format!("{} is included already: {first}", path.display());
                    decoder.push(Problem::new(place.clone(), message));
                }
                continue;
            }
            canonical.push((real, format!("first at {place}")));
        }
        files.push(path.clone());
        match source::read(path, false) {
            Ok(text) => texts.push((path.clone(), Ok(text))),
            // What is wrong with the text has a place in it; what is wrong with the file is said here.
            Err(problem) if matches!(problem.place, Place::File { .. }) => {
                texts.push((path.clone(), Err(problem)));
            }
            Err(problem) => {
                let message = format!("{}: {}", path.display(), problem.message);
                decoder.push(Problem { place: place.clone(), message, ..problem });
            }
        }
    }
    texts
}

/// The problems of all files, in the order in which they are told.
#[derive(Default)]
struct Problems {
    told: Vec<Problem>,
    untold: usize,
}

impl Problems {
    /// Adds the problems of one file: those without a line first, then by line and column.
    fn add(&mut self, mut problems: Vec<Problem>, untold: usize) {
        problems.sort_by_key(|problem| match problem.place {
            Place::File { line, column, .. } => (line, column),
            _ => (0, 0),
        });
        let room = limits::CONFIG_PROBLEMS.saturating_sub(self.told.len());
        self.untold += untold + problems.len().saturating_sub(room);
        problems.truncate(room);
        self.told.append(&mut problems);
    }

    fn finish(mut self) -> Vec<Problem> {
        if self.untold > 0 {
            let place = self.told.last().map_or(Place::Default, |last| match &last.place {
                Place::File { path, .. } => Place::Path { path: path.clone() },
                other => other.clone(),
            });
            self.told.push(Problem::new(place, format!("{} more problems", self.untold)));
        }
        self.told
    }
}
