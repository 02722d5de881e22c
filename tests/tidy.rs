//! The house style as a test: the layers of ARCHITECTURE.md, and the rules of CONTRIBUTING.md.

#[path = "tidy/findings.rs"]
mod findings;
#[path = "tidy/layers.rs"]
mod layers;
#[path = "tidy/paths.rs"]
mod paths;
#[path = "tidy/planted.rs"]
mod planted;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/tokens.rs"]
mod tokens;
#[path = "tidy/tree.rs"]
mod tree;

use findings::Finding;
use std::path::{Path, PathBuf};
use std::process::Command;
use tree::{Files, Tree};

#[test]
fn modules_import_only_from_lines_below_their_own() {
    let files = rust_files();
    let tree = Tree::read(&files);
    assert!(tree.modules.len() > 20, "only {} modules were found", tree.modules.len());
    nothing(paths::check(&tree));
}

#[test]
fn files_keep_the_rules_of_the_house() {
    let files = rust_files();
    assert!(files.len() > 20, "only {} files were found", files.len());
    nothing(rules::check(&files));
}

#[test]
fn every_dependency_says_what_it_is_for() {
    for manifest in ["Cargo.toml", "fuzz/Cargo.toml"] {
        nothing(rules::dependencies(Path::new(manifest), &read(manifest)));
    }
}

#[test]
fn no_file_promises_work_instead_of_doing_it() {
    // what a fuzzer makes up promises nothing
    let files: Vec<_> = repository_files().into_iter().filter(|p| !p.starts_with("fuzz/corpus")).collect();
    assert!(files.iter().any(|path| path == Path::new("src/lib.rs")), "the list of files is incomplete");
    let texts =
        files.iter().filter_map(|path| Some((path, std::fs::read_to_string(root().join(path)).ok()?)));
    nothing(texts.flat_map(|(path, text)| rules::words(path, &text)).collect());
}

#[test]
fn architecture_shows_the_same_layers() {
    let page = read("ARCHITECTURE.md");
    let rows: Vec<Vec<&str>> = page
        .lines()
        .skip_while(|line| !line.starts_with("| modules, top to bottom"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.split('|').nth(1).unwrap_or_default())
        .map(|cell| cell.split('·').map(|name| name.trim().trim_matches('`')).collect())
        .collect();
    assert_eq!(rows, layers::LAYERS, "ARCHITECTURE.md and tests/tidy/layers.rs differ");
}

/// Fails with every finding, one a line.
fn nothing(found: Vec<Finding>) {
    let lines: Vec<String> = found.iter().map(Finding::to_string).collect();
    assert!(found.is_empty(), "\n{}\n", lines.join("\n"));
}

/// The repository's root, as cargo says at run time: the binary may be older than the checkout's place.
fn root() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The crate's Rust files, by their path below the root.
fn rust_files() -> Files {
    let rust = |path: &PathBuf| {
        let inside = ["src", "tests", "benches", "examples", "fuzz"].iter().any(|dir| path.starts_with(dir));
        inside && path.extension().is_some_and(|e| e == "rs")
    };
    let paths = walk().into_iter().filter(rust);
    paths.map(|path| (path.clone(), read(&path.to_string_lossy()))).collect()
}

/// What git tracks or would track; without git, what lies there.
fn repository_files() -> Vec<PathBuf> {
    let list = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output();
    match list {
        Ok(out) if out.status.success() => {
            String::from_utf8_lossy(&out.stdout).lines().map(PathBuf::from).collect()
        }
        _ => walk(),
    }
}

/// All files below the root but those of git and cargo.
fn walk() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut work = vec![PathBuf::new()];
    while let Some(dir) = work.pop() {
        let entries =
            std::fs::read_dir(root().join(&dir)).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        for entry in entries.flatten() {
            let path = dir.join(entry.file_name());
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => work.push(path),
                Ok(kind) if kind.is_file() => found.push(path),
                _ => {}
            }
        }
        work.retain(|dir| !["target", ".git", "fuzz/target"].iter().any(|skip| dir == Path::new(skip)));
    }
    found
}
