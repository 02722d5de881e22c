//! What fuzzing found, and what it began with, again: each file of `fuzz/corpus/TARGET` keeps the property of
//! that target (`fuzz/properties`).

#[path = "../fuzz/properties/mod.rs"]
mod properties;

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

/// Files of one target.
const FILES: usize = 200;
/// Bytes of one file, and of all.
const FILE_BYTES: u64 = 4 * 1024;
const ALL_BYTES: u64 = 1024 * 1024;

#[test]
fn request_heads() {
    replay("request_head");
}

#[test]
fn response_heads() {
    replay("response_head");
}

#[test]
fn chunked_bodies() {
    replay("chunked");
}

#[test]
fn hosts() {
    replay("host_match");
}

#[test]
fn configurations() {
    replay("config");
}

#[test]
fn labels() {
    replay("labels");
}

#[test]
fn docker_answers_and_events() {
    replay("docker");
}

/// Every target has its program, its corpus and its test, and none is without a property.
#[test]
fn targets_programs_and_corpora_are_the_same() {
    let stems = |dir: &str| -> BTreeSet<String> {
        entries(&fuzz().join(dir))
            .iter()
            .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
            .collect()
    };
    let targets: BTreeSet<String> = properties::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(stems("fuzz_targets"), targets);
    assert_eq!(stems("corpus"), targets);
    let own = include_str!("corpus.rs");
    for target in &targets {
        assert!(own.contains(&format!("replay(\"{target}\")")), "{target} is not replayed");
        let program = fuzz().join(format!("fuzz_targets/{target}.rs"));
        assert!(fs::read_to_string(program).unwrap().contains(&format!("run(\"{target}\"")), "{target}");
    }
    let files = targets.iter().flat_map(|target| corpus(target));
    let bytes: u64 = files.map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(bytes <= ALL_BYTES, "{bytes} bytes in all");
}

fn replay(target: &str) {
    let files = corpus(target);
    assert!((10..=FILES).contains(&files.len()), "{} files for {target}", files.len());
    let mut broken = Vec::new();
    for path in &files {
        let input = fs::read(path).unwrap();
        assert!(input.len() as u64 <= FILE_BYTES, "{}: {} bytes", path.display(), input.len());
        if catch_unwind(|| properties::run(target, &input)).is_err() {
            broken.push(path.display().to_string());
        }
    }
    assert!(broken.is_empty(), "the property {target} does not hold for\n{}", broken.join("\n"));
}

fn corpus(target: &str) -> Vec<PathBuf> {
    entries(&fuzz().join("corpus").join(target))
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let list = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut paths: Vec<PathBuf> = list.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}
