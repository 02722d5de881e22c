//! Configurations: no panic, the same verdict twice, and every problem at a place that is there.
//!
//! An input is the main file, or, after a line `=== routes.yml`, the file of that name beside it.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use tidegate::config::{FileChoice, Loaded, Sources, attempt, check as check_files, load};
use tidegate::error::{Place, Problem};
use tidegate::limits;
use tidegate::route::check_alias;

const RULE: &[u8] = b"=== routes.yml\n";

/// Loads the files of `input`.
pub fn check(input: &[u8]) {
    let at = input.windows(RULE.len()).position(|w| w == RULE);
    let at = at.filter(|at| *at == 0 || input[at - 1] == b'\n');
    let (main, routes) = at.map_or((input, None), |at| (&input[..at], Some(&input[at + RULE.len()..])));
    let files = Files::write(main, routes);
    let first = files.load();
    assert_eq!(first, files.load(), "a second reading says otherwise");
    agree(&files, &first);
    match &first {
        Ok(loaded) => {
            for settings in &loaded.config.file_routes {
                assert_eq!(check_alias(&settings.alias), Ok(()));
            }
            loaded.warnings.iter().for_each(|warning| files.place(warning));
        }
        Err(problems) => {
            assert!(!problems.is_empty() && problems.len() <= limits::CONFIG_PROBLEMS + 1);
            problems.iter().for_each(|problem| files.place(problem));
            file_by_file(problems);
        }
    }
    a_comment_moves_places_only(&files, &first);
}

/// Problems stand file by file, and in each in the order of its lines.
fn file_by_file(problems: &[Problem]) {
    let (mut done, mut last) = (Vec::new(), None);
    for problem in problems {
        let Place::File { path, line, column, .. } = &problem.place else { continue };
        match last {
            Some((file, at)) if file == path => assert!(at <= (*line, *column), "{problems:#?}"),
            _ => assert!(!done.contains(path), "{problems:#?}"),
        }
        done.push(path.clone());
        last = Some((path, (*line, *column)));
    }
}

/// Whoever reads gets the same.
fn agree(files: &Files, first: &Result<Loaded, Vec<Problem>>) {
    let (checked, tried) = (check_files(&files.sources()), attempt(&files.sources()));
    assert_eq!(&tried.result, first);
    match first {
        Ok(loaded) => assert!(checked.is_ok() && checked.routes == loaded.config.file_routes.len()),
        Err(problems) => assert_eq!(&checked.problems, problems),
    }
}

/// A comment before everything moves every place in the main file by a line, and changes nothing else.
fn a_comment_moves_places_only(files: &Files, first: &Result<Loaded, Vec<Problem>>) {
    if files.main.starts_with("\u{feff}".as_bytes()) || std::str::from_utf8(&files.main).is_err() {
        return;
    }
    let moved = Files::write(&[b"# comment\n", files.main.as_slice()].concat(), files.routes.as_deref());
    let places = |files: &Files, problems: &[Problem], by: usize| -> Vec<_> {
        let place = |problem: &Problem| match &problem.place {
            Place::File { path, line, column, key } => {
                let is_main = *path == files.path;
                (is_main, line + if is_main { by } else { 0 }, *column, key.clone())
            }
            other => (false, 0, 0, format!("{:?}", std::mem::discriminant(other))),
        };
        problems.iter().map(place).collect()
    };
    match (first, moved.load()) {
        (Ok(first), Ok(moved_to)) => {
            let places = [places(files, &first.warnings, 1), places(&moved, &moved_to.warnings, 0)];
            assert_eq!(places[0], places[1]);
            let aliases = |loaded: &Loaded| -> Vec<_> {
                loaded.config.file_routes.iter().map(|r| (r.alias.clone(), r.port, r.host.clone())).collect()
            };
            assert_eq!(aliases(first), aliases(&moved_to));
            assert_eq!(first.config.entrypoint, moved_to.config.entrypoint);
        }
        (Err(first), Err(moved_to)) => {
            assert_eq!(places(files, first, 1), places(&moved, &moved_to, 0), "{first:#?} {moved_to:#?}");
        }
        (first, moved) => panic!("a comment changes the verdict: {first:?} {moved:?}"),
    }
}

/// The environment.
fn variable(name: &str) -> Option<String> {
    match name {
        "A" => Some("a".to_owned()),
        "DOCKER_HOST" => Some("unix:///x".to_owned()),
        _ => None,
    }
}

/// The files of an input, in a directory of memory, if there is one.
struct Files {
    directory: PathBuf,
    path: PathBuf,
    main: Vec<u8>,
    routes: Option<Vec<u8>>,
}

impl Files {
    fn write(main: &[u8], routes: Option<&[u8]>) -> Files {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let memory = PathBuf::from("/dev/shm");
        let base = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = base.join(format!("tidegate-property-{}-{number}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        let path = directory.join("config.yml");
        fs::write(&path, main).expect("the main file");
        if let Some(routes) = routes {
            fs::write(directory.join("routes.yml"), routes).expect("the route file");
        }
        Files { directory, path, main: main.to_vec(), routes: routes.map(<[u8]>::to_vec) }
    }

    fn sources(&self) -> Sources<'static> {
        Sources { file: FileChoice::Explicit(self.path.clone()), env: &variable, http_addr: None }
    }

    fn load(&self) -> Result<Loaded, Vec<Problem>> {
        load(&self.sources())
    }

    /// A problem is one line of text; one in a file has a line and a column that are there.
    fn place(&self, problem: &Problem) {
        assert!(!problem.message.is_empty());
        assert!(!problem.to_string().contains(|c: char| c.is_control()), "{problem:?}");
        let Place::File { path, line, column, .. } = &problem.place else { return };
        let bytes = match path.file_name().and_then(|name| name.to_str()) {
            Some("config.yml") if *path == self.path => &self.main,
            Some("routes.yml") if self.routes.is_some() => self.routes.as_ref().expect("just seen"),
            _ => return, // another file of the machine, which a pattern found
        };
        // what is not UTF-8 is said at its first byte
        let text = String::from_utf8_lossy(bytes);
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text).replace("\r\n", "\n");
        // YAML takes a lone CR for a line end too, whoever looks for bytes that are no text does not
        let lines: Vec<&str> = text.split(['\n', '\r']).collect();
        assert!((1..=lines.len()).contains(line), "of {} lines: {problem:?}", lines.len());
        let len = match text.contains('\r') {
            true => text.chars().count(),
            false => lines[line - 1].chars().count(),
        };
        assert!((1..=len + 1).contains(column), "of {len} columns: {problem:?}");
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}
