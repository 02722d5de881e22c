//! `config/example.yaml` holds every key of the schema table, and works.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use tidegate::config::schema::{self, Key, Kind};
use tidegate::config::{FileChoice, Sources, example, load};

const MARKER: &str = "# --- routes.yml ---";

fn no_env(_: &str) -> Option<String> {
    None
}

fn committed() -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config/example.yaml");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // Whole at once: the other tests read it at the same time.
        let new = path.with_extension(format!("{:?}", std::thread::current().id()));
        fs::write(&new, example()).unwrap();
        fs::rename(&new, &path).unwrap();
    }
    fs::read_to_string(&path).unwrap()
}

/// Takes the `#` before a key away; prose has a space behind its `#`.
fn uncommented(text: &str) -> String {
    let line = |line: &str| {
        let body = line.trim_start();
        let is_key = body.strip_prefix('#').is_some_and(|rest| !rest.is_empty() && !rest.starts_with(' '));
        if is_key { line.replacen('#', "", 1) } else { line.to_string() }
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// A directory of its own for one test.
fn directory(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("tidegate-{name}-{}", std::process::id()));
    fs::create_dir_all(&path).unwrap();
    path
}

fn all_names(keys: &'static [Key], names: &mut BTreeSet<&'static str>) {
    for key in keys.iter().filter(|key| !matches!(key.kind, Kind::NotYet)) {
        names.insert(key.name);
        match &key.kind {
            Kind::Section(below) | Kind::Optional(below) | Kind::Named { value: Kind::Short(below), .. } => {
                all_names(below, names)
            }
            _ => {}
        }
    }
}

#[test]
fn the_example_is_what_the_table_says() {
    assert_eq!(committed(), example(), "run with UPDATE_GOLDEN=1 and look at the difference");
}

#[test]
fn every_key_of_the_table_stands_in_the_example_with_meaning_unit_and_default() {
    let (text, mut names) = (committed(), BTreeSet::new());
    all_names(schema::ROOT, &mut names);
    all_names(schema::ROUTE, &mut names);
    assert!(names.len() >= 12, "the table is too small: {names:?}");
    let lines: Vec<&str> = text.lines().collect();
    for name in names {
        let is_key = |line: &&str| line.trim_start().trim_start_matches('#').starts_with(&format!("{name}:"));
        let at = lines.iter().position(is_key);
        let at = at.unwrap_or_else(|| panic!("{name} is not in the example"));
        let comment: Vec<&str> = lines[..at].iter().rev().take_while(|l| l.contains("# ")).copied().collect();
        assert!(!comment.is_empty(), "{name} has no comment");
        if !lines[at].trim_end().ends_with(':') {
            for part in ["Value: ", "Default: "] {
                assert!(comment.iter().any(|line| line.contains(part)), "{name} does not say its {part}");
            }
        }
    }
}

#[test]
fn every_key_of_the_table_is_explained() {
    let mut open = vec![schema::ROOT, schema::ROUTE];
    while let Some(keys) = open.pop() {
        for key in keys.iter().filter(|key| !matches!(key.kind, Kind::NotYet)) {
            assert!(key.meaning.ends_with('.'), "{} has no meaning", key.name);
            match &key.kind {
                Kind::Section(below)
                | Kind::Optional(below)
                | Kind::Named { value: Kind::Short(below), .. } => open.push(below),
                _ => assert!(!key.unit.is_empty() && !key.example.is_empty(), "{} has no unit", key.name),
            }
        }
    }
}

#[test]
fn the_example_as_it_is_means_the_defaults() {
    let path = directory("example-as-is").join("config.yml");
    fs::write(&path, committed()).unwrap();
    let with_file = load(&Sources { file: FileChoice::Explicit(path), env: &no_env, http_addr: None })
        .expect("no problem");
    let nowhere = directory("example-nowhere");
    let without = load(&Sources { file: FileChoice::Search(nowhere), env: &no_env, http_addr: None })
        .expect("no problem");
    assert_eq!(with_file.config, without.config);
}

#[test]
fn the_example_with_all_keys_taken_has_no_problem() {
    let text = uncommented(&committed());
    let (main, routes) = text.split_once(MARKER).expect("the example shows a route file");
    let directory = directory("example-all");
    fs::write(directory.join("config.yml"), main).unwrap();
    fs::write(directory.join("routes.yml"), routes).unwrap();
    let file = FileChoice::Explicit(directory.join("config.yml"));
    let loaded = load(&Sources { file, env: &no_env, http_addr: None }).unwrap_or_else(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        panic!("{}\n{main}", lines.join("\n"));
    });
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.config.workers, Some(4));
    assert_eq!(loaded.config.http_addr.len(), 3);
    assert_eq!(loaded.config.match_domains, [".home.example.com", ".local"]);
    assert_eq!(loaded.config.engines.len(), 1);
    assert_eq!(loaded.config.file_routes.len(), 1);
    assert_eq!(loaded.config.file_routes[0].port, Some(8080));
}
