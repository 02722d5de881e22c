//! Golden cases: files of an input, a line `-----`, and what must come out of it.
//! `UPDATE_GOLDEN=1 cargo test --test ...` rewrites the second part; read the diff before you commit it.

use std::fs;
use std::path::{Path, PathBuf};

const RULE: &str = "-----\n";

/// Runs every `*.txt` of tests/golden/`dir`, at least `at_least` of them, and fails with the names of those
/// whose outcome differs.
pub fn run(dir: &str, at_least: usize, outcome: impl Fn(&str) -> Result<String, String>) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(dir);
    let mut files: Vec<PathBuf> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ext| ext == "txt"));
    files.sort();
    assert!(files.len() >= at_least, "only {} cases in {}", files.len(), dir.display());
    let update = std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1");
    let failures: Vec<String> = files.iter().filter_map(|path| one(path, update, &outcome).err()).collect();
    let (failed, all) = (failures.len(), files.len());
    assert!(failures.is_empty(), "{failed} of {all} cases failed:\n{}", failures.join("\n"));
}

fn one(path: &Path, update: bool, outcome: impl Fn(&str) -> Result<String, String>) -> Result<(), String> {
    let name = path.display();
    let text = fs::read_to_string(path).map_err(|err| format!("{name}: {err}"))?;
    let (input, expected) = match text.split_once(RULE) {
        Some(parts) => parts,
        None if update => (text.as_str(), ""),
        None => return Err(format!("{name}: no line `-----`")),
    };
    let got = outcome(input).map_err(|err| format!("{name}: {err}"))?;
    if got == expected {
        return Ok(());
    }
    if update {
        return fs::write(path, format!("{input}{RULE}{got}")).map_err(|err| format!("{name}: {err}"));
    }
    Err(format!("{name}:\n--- expected\n{expected}--- got\n{got}"))
}

/// The `key: value` lines of an input; empty lines and `#` comments are left out. `\n` and `\t` in a value
/// stand for what they say, `\xNN` for a byte below 80.
pub fn lines(input: &str) -> Result<Vec<(String, String)>, String> {
    let mut out = Vec::new();
    for line in input.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (key, value) = line.split_once(':').ok_or_else(|| format!("no `key: value`: {line}"))?;
        out.push((key.to_owned(), unescape(value.trim())?));
    }
    Ok(out)
}

fn unescape(text: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let (c, len) = match after.as_bytes().first() {
            Some(b'n') => ('\n', 1),
            Some(b't') => ('\t', 1),
            Some(b'x') => {
                let digits = after.get(1..3).ok_or("a short \\x")?;
                (char::from(u8::from_str_radix(digits, 16).map_err(|err| err.to_string())?), 3)
            }
            _ => return Err(format!("unknown escape in {text}")),
        };
        out.push(c);
        rest = &after[len..];
    }
    Ok(out + rest)
}
