//! Which file is read, what a file may be, and how much of it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tidegate::config::{FileChoice, Loaded, Sources, check, load};
use tidegate::error::{Place, Problem};
use tidegate::limits;

/// A directory for one test, removed at its end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("tidegate-load-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn search(directory: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Vec<Problem>> {
    load(&Sources { file: FileChoice::Search(directory.to_path_buf()), env, http_addr: None })
}

fn explicit(path: &Path) -> Result<Loaded, Vec<Problem>> {
    load(&Sources { file: FileChoice::Explicit(path.to_path_buf()), env: &|_| None, http_addr: None })
}

/// The one problem of a file, as text without the directory.
fn only_problem(path: &Path) -> String {
    let problems = explicit(path).expect_err("no problem");
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems[0].to_string().replace(&format!("{}/", path.parent().unwrap().display()), "")
}

#[test]
fn the_environment_stands_over_the_working_directory() {
    let directory = Directory::new("search");
    let there = directory.write("config/config.yml", "workers: 2");
    let named = directory.write("other.yml", "workers: 3");
    let loaded = search(&directory.0, &|_| None).unwrap();
    assert_eq!((loaded.config.workers, loaded.files), (Some(2), vec![there]));
    for value in ["other.yml", named.to_str().unwrap()] {
        let env = |name: &str| (name == "TIDEGATE_CONFIG").then(|| value.to_string());
        let loaded = search(&directory.0, &env).unwrap();
        assert_eq!((loaded.config.workers, loaded.files), (Some(3), vec![named.clone()]));
        let path = directory.0.join("config/config.yml");
        let command_line = Sources { file: FileChoice::Explicit(path), env: &env, http_addr: None };
        assert_eq!(load(&command_line).unwrap().config.workers, Some(2));
    }
}

#[test]
fn no_file_at_all_means_the_defaults() {
    let system = Path::new("/etc/tidegate/config.yml");
    if system.exists() {
        assert!(std::env::var_os("TIDEGATE_REQUIRE_ALL").is_none(), "{} is there", system.display());
        eprintln!("SKIPPED: no_file_at_all_means_the_defaults: {} is there", system.display());
        return;
    }
    let directory = Directory::new("none");
    let loaded = search(&directory.0, &|_| None).unwrap();
    assert_eq!(loaded.files, [] as [PathBuf; 0]);
    assert!(loaded.config.http_addr_is_default);
    assert_eq!(loaded.config.engines.len(), 1);
    let sources = Sources { file: FileChoice::Search(directory.0.clone()), env: &|_| None, http_addr: None };
    assert_eq!(check(&sources).to_string(), "no file, the defaults: ok (0 routes, 1 engines)");
}

#[test]
fn a_named_file_must_be_there() {
    let directory = Directory::new("missing");
    assert_eq!(only_problem(&directory.0.join("none.yml")), "none.yml: no such file");
    let env = |name: &str| (name == "TIDEGATE_CONFIG").then(|| "none.yml".to_string());
    let problems = search(&directory.0, &env).unwrap_err();
    assert_eq!(problems[0].place, Place::Path { path: directory.0.join("none.yml") });
}

#[test]
fn a_file_that_is_found_and_not_readable_is_not_passed_over() {
    let directory = Directory::new("unreadable");
    let path = directory.write("config/config.yml", "workers: 2");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read(&path).is_ok() {
        assert!(
            std::env::var_os("TIDEGATE_REQUIRE_ALL").is_none() || is_root(),
            "readable without the right"
        );
        eprintln!(
            "SKIPPED: a_file_that_is_found_and_not_readable_is_not_passed_over: this user reads all files"
        );
        // A directory in its place can't be read by anybody.
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(search(&directory.0, &|_| None).is_err());
        return;
    }
    assert!(search(&directory.0, &|_| None).unwrap_err()[0].message.contains("permission denied"));
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

#[test]
fn relative_includes_are_relative_to_the_file_that_names_them() {
    let directory = Directory::new("relative");
    let path = directory.write("a/config.yml", "providers: {include: [../b/routes.yml]}");
    directory.write("b/routes.yml", "app: {port: 80}");
    let loaded = explicit(&path).unwrap();
    assert_eq!(loaded.files, [path, directory.0.join("a/../b/routes.yml")]);
    assert_eq!(loaded.config.file_routes[0].alias, "app");
}

#[test]
fn byte_order_mark_and_carriage_returns_are_no_problem_and_shift_no_place() {
    let directory = Directory::new("bom");
    let text = "\u{feff}timeout_shutdown: 7s\r\nproviders:\r\n  docker: {}\r\nworkers: x\r\n";
    let problem = only_problem(&directory.write("bom.yml", text));
    assert!(problem.starts_with("bom.yml:4:10: workers: "), "{problem}");
    let loaded = explicit(&directory.write("good.yml", text.replace('x', "3"))).unwrap();
    assert_eq!((loaded.config.workers, loaded.config.timeout_shutdown.as_secs()), (Some(3), 7));
    let problem = only_problem(&directory.write("first.yml", "\u{feff}wrokers: 3"));
    assert!(problem.starts_with("first.yml:1:1: wrokers: unknown key"), "{problem}");
}

#[test]
fn empty_files_say_nothing() {
    let directory = Directory::new("empty");
    let defaults = explicit(&directory.write("empty.yml", "")).unwrap().config;
    for text in ["\n\n", "# only a comment", "---\n", "---\n...\n", "~", "{}", "\u{feff}"] {
        assert_eq!(explicit(&directory.write("same.yml", text)).unwrap().config, defaults, "{text:?}");
    }
}

#[test]
fn what_is_no_text_is_a_problem_with_its_place() {
    let directory = Directory::new("bytes");
    let problem = only_problem(&directory.write("latin.yml", b"workers: 2\n# caf\xe9\n"));
    assert_eq!(problem, "latin.yml:2:6: not UTF-8");
    let problem = only_problem(&directory.write("utf16.yml", b"\xff\xfew\0o\0"));
    assert_eq!(problem, "utf16.yml:1:1: not UTF-8");
    assert_eq!(
        only_problem(&directory.0),
        format!("{}: is a directory, expected a file", directory.0.display())
            .replace(&format!("{}/", directory.0.parent().unwrap().display()), "")
    );
}

#[test]
fn a_file_beyond_its_limit_is_not_read() {
    let directory = Directory::new("big");
    let most = usize::try_from(limits::CONFIG_BYTES).unwrap();
    let problem = only_problem(&directory.write("big.yml", "#".repeat(most + 1)));
    assert_eq!(problem, format!("big.yml: has more than {most} bytes"));
    assert!(explicit(&directory.write("most.yml", "#".repeat(most))).is_ok());
    assert!(only_problem(Path::new("/dev/zero")).contains("has more than"));
}

#[test]
fn a_pattern_includes_what_matches_in_the_order_of_names() {
    let directory = Directory::new("pattern");
    for (file, text) in
        [("b.yml", "b: {port: 1}"), ("a.yml", "a: {port: 1}"), (".c.yml", "c: {port: 1}"), ("d.txt", "d: 1")]
    {
        directory.write(&format!("routes/{file}"), text);
    }
    let path = directory.write("c.yml", "providers: {include: [\"routes/*.yml\", \"*.yml\"]}");
    let loaded = explicit(&path).unwrap();
    let aliases: Vec<&str> = loaded.config.file_routes.iter().map(|route| route.alias.as_str()).collect();
    assert_eq!(aliases, ["a", "b"], "the main file is not its own route file");
    let path = directory.write("n.yml", "providers: {include: [\"none/?.yml\"]}");
    let warning = explicit(&path).unwrap().warnings[0].to_string();
    assert!(
        warning.contains("n.yml:1:23: providers.include[0]: ") && warning.ends_with("no file matches"),
        "{warning}"
    );
    let problem = only_problem(&directory.write("d.yml", "providers: {include: [\"*/a.yml\"]}"));
    assert!(problem.contains("a pattern may stand in the name of a file"), "{problem}");
}

#[test]
fn an_included_pipe_is_not_waited_for() {
    let directory = Directory::new("pipe");
    let pipe = directory.0.join("pipe.yml");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    if !made.is_ok_and(|status| status.success()) {
        assert!(std::env::var_os("TIDEGATE_REQUIRE_ALL").is_none(), "no mkfifo");
        eprintln!("SKIPPED: an_included_pipe_is_not_waited_for: no mkfifo");
        return;
    }
    let problem = only_problem(&directory.write("c.yml", "providers: {include: [pipe.yml]}"));
    assert_eq!(problem, "c.yml:1:23: providers.include[0]: pipe.yml: is not a regular file");
}

#[test]
fn check_reports_in_one_line() {
    let directory = Directory::new("check");
    let path = directory.write("config.yml", "providers: {include: [routes.yml]}");
    directory.write("routes.yml", "a: {port: 1}\nb: {port: 2}");
    let file = FileChoice::Explicit(path.clone());
    let report = check(&Sources { file: file.clone(), env: &|_| None, http_addr: None });
    assert!(report.is_ok());
    assert_eq!(report.to_string(), format!("{}: ok (2 routes, 1 engines)", path.display()));
    directory.write("routes.yml", "a: {port: 0}\nb: {port: 2}");
    let report = check(&Sources { file, env: &|_| None, http_addr: None });
    assert_eq!(report.problems.len(), 1);
}

#[test]
fn problems_beyond_the_limit_are_counted() {
    let directory = Directory::new("many");
    let text: String = (0..2000).map(|number| format!("key{number}: 1\n")).collect();
    let problems = explicit(&directory.write("many.yml", text)).unwrap_err();
    assert_eq!(problems.len(), limits::CONFIG_PROBLEMS + 1);
    let rest = 2000 - limits::CONFIG_PROBLEMS;
    assert_eq!(problems.last().unwrap().message, format!("{rest} more problems"));
}

#[test]
fn listeners_engines_and_files_are_bounded() {
    let directory = Directory::new("bounds");
    let addresses = vec![":0"; limits::LISTENERS + 1].join(", ");
    let problem =
        only_problem(&directory.write("a.yml", format!("entrypoint: {{http_addr: [{addresses}]}}")));
    assert!(problem.ends_with("more than 64 addresses"), "{problem}");
    let engines: String = (0..=limits::ENGINES).map(|n| format!("e{n}: unix:///{n}, ")).collect();
    let problem = only_problem(&directory.write("e.yml", format!("providers: {{docker: {{{engines}}}}}")));
    assert!(problem.ends_with("more than 64 engines"), "{problem}");
    let files: String = (0..=limits::CONFIG_FILES)
        .map(|number| {
            directory.write(&format!("{number}.yml"), "");
            format!("{number}.yml, ")
        })
        .collect();
    let problem = only_problem(&directory.write("f.yml", format!("providers: {{include: [{files}]}}")));
    assert!(problem.ends_with("more than 100 files"), "{problem}");
}
