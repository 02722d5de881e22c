//! The edges of RFC 9110, 9112 and 6455 through a whole Tidegate over real sockets: `tests/golden/edges/*.txt`,
//! one case a file (`edges_support::case` says how they are written). `UPDATE_GOLDEN=1` writes what was seen:
//! judge it by the RFC that the file names before it is committed.
#![allow(clippy::disallowed_methods)] // tests use std's sockets, threads and clock

mod common;
mod edges_support;

use edges_support::case::{Case, Meant};
use edges_support::judge;
use edges_support::play::{Outcome, Stage};
use edges_support::readers::Reader;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

const RULE: &str = "-----\n";
const AT_LEAST: usize = 200;

/// A file, played.
struct Played {
    path: PathBuf,
    input: String,
    expected: Option<String>,
    case: Case,
    outcome: Result<Outcome, String>,
}

impl Played {
    fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// All files, each played once for all tests.
static PLAYED: LazyLock<Vec<Played>> = LazyLock::new(|| {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/edges");
    let mut paths: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let stage = Stage::new();
    paths.into_iter().map(|path| play(&stage, path)).collect()
});

fn play(stage: &Stage, path: PathBuf) -> Played {
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (input, expected) = match text.split_once(RULE) {
        Some((input, expected)) => (input.to_owned(), Some(expected.to_owned())),
        None => (text, None),
    };
    let case = Case::parse(&input).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let outcome = stage.run(&case);
    Played { path, input, expected, case, outcome }
}

#[test]
fn the_edges_are_as_the_golden_files_say() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1");
    let mut wrong = Vec::new();
    for played in PLAYED.iter() {
        let got = match &played.outcome {
            Ok(outcome) => &outcome.text,
            Err(error) => {
                wrong.push(format!("--- {}: {error}", played.name()));
                continue;
            }
        };
        if played.expected.as_ref() == Some(got) {
            continue;
        }
        if update {
            fs::write(&played.path, format!("{}{RULE}{got}", played.input)).unwrap();
        } else {
            let expected = played.expected.as_deref().unwrap_or("(no line `-----`)\n");
            wrong.push(format!("--- {}\nexpected:\n{expected}got:\n{got}", played.name()));
        }
    }
    assert!(wrong.is_empty(), "{} of {} fail:\n{}", wrong.len(), PLAYED.len(), wrong.join("\n"));
    assert!(PLAYED.len() >= AT_LEAST, "only {} cases", PLAYED.len());
}

/// What the backend saw is exactly the requests that were meant, in whichever way it reads them.
#[test]
fn every_reader_behind_sees_the_requests_that_were_meant_and_no_other() {
    let mut wrong = Vec::new();
    for played in PLAYED.iter() {
        let Ok(outcome) = &played.outcome else { continue };
        for reader in Reader::all() {
            if let Err(error) = judge(&played.case, outcome, &reader) {
                wrong.push(format!("{}: {error}, to {reader:?}", played.name()));
                break;
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The corpus is worth its name only if those readers would be deceived without a Tidegate before them.
#[test]
fn without_tidegate_the_readers_would_not_agree() {
    let deceives = |played: &&Played| {
        let bytes = played.case.client_bytes();
        let strict = Reader::default().read_all(&bytes);
        Reader::all().any(|reader| reader.read_all(&bytes) != strict)
    };
    let deceiving: Vec<_> = PLAYED.iter().filter(deceives).collect();
    assert!(deceiving.len() >= 40, "only {} cases can be read in two ways", deceiving.len());
    // They reach no backend, but for those whose ambiguous part is left out.
    let refused = deceiving.iter().filter(|played| played.case.meant.is_empty()).count();
    assert!(refused * 2 > deceiving.len(), "{refused} of {} are refused", deceiving.len());
}

fn judge(case: &Case, outcome: &Outcome, reader: &Reader) -> Result<(), String> {
    let seen = judge::seen(case, outcome, reader)?;
    let meant: Vec<Meant> = case.meant.iter().cloned().chain([judge::probe()]).collect();
    match seen == meant {
        true => Ok(()),
        false => Err(format!("saw {:.600}", format!("{seen:?}"))),
    }
}
