//! `providers.include`: names of files, and patterns.

use crate::error::{Place, Problem};
use crate::limits;
use std::fs;
use std::path::{Path, PathBuf};

/// A file to include.
pub(super) struct Included {
    pub path: PathBuf,
    /// Where it, or its pattern, was named.
    pub place: Place,
    pub by_pattern: bool,
}

/// What the names under `providers.include` stand for.
#[derive(Default)]
pub(super) struct Named {
    pub files: Vec<Included>,
    /// The directories of the patterns.
    pub directories: Vec<PathBuf>,
}

/// Resolves `names` relative to `directory`. The files of a pattern come in the order of their names; as in a
/// shell, one that begins with a dot matches only a pattern that does.
pub(super) fn expand(
    directory: &Path,
    names: &[(&str, &Place)],
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<Problem>,
) -> Named {
    let mut named = Named::default();
    for (name, place) in names {
        let path = directory.join(name);
        let is_pattern = |part: &str| part.contains(['*', '?']);
        let (parent, last) = match name.rsplit_once('/') {
            Some((parent, last)) => (parent, last),
            None => ("", *name),
        };
        if is_pattern(parent) {
            let message = format!("{name}: a pattern may stand in the name of a file, not of a directory");
            problems.push(Problem::new((*place).clone(), message));
        } else if !is_pattern(last) {
            named.files.push(Included { path, place: (*place).clone(), by_pattern: false });
        } else {
            let within = path.parent().map(Path::to_path_buf).unwrap_or_default();
            let found = matching(&within, last);
            if found.is_empty() {
                warnings.push(Problem::new((*place).clone(), format!("{}: no file matches", path.display())));
            }
            let all = found.into_iter().map(|name| within.join(name));
            let place = || (*place).clone();
            named.files.extend(all.map(|path| Included { path, place: place(), by_pattern: true }));
            named.directories.push(within);
        }
    }
    named
}

/// Names of regular files (or links to them) in `directory`, sorted; one more than there may be at most.
fn matching(directory: &Path, pattern: &str) -> Vec<String> {
    let here = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let Ok(entries) = fs::read_dir(here) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let wanted = |name: &String| {
        (!name.starts_with('.') || pattern.starts_with('.'))
            && matches(pattern.as_bytes(), name.as_bytes())
            && !here.join(name).is_dir()
    };
    let mut found: Vec<String> = names.filter(wanted).collect();
    found.sort();
    found.truncate(limits::CONFIG_FILES + 1);
    found
}

/// `*` stands for any bytes, `?` for one letter.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    // Where the last `*` stands, and what of the name it has taken: it takes one more when all else fails.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        let width = 1 + name[n + 1..].iter().take_while(|b| **b & 0xC0 == 0x80).count();
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(b'?') => (p, n) = (p + 1, n + width),
            Some(byte) if *byte == name[n] => (p, n) = (p + 1, n + 1),
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    (p, n) = (at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns() {
        let is = |pattern: &str, name: &str| matches(pattern.as_bytes(), name.as_bytes());
        for (pattern, name) in [
            ("*", ""),
            ("*.yml", "a.yml"),
            ("*.yml", "a.yml.yml"),
            ("a?c*", "abc"),
            ("?.yml", "é.yml"),
            ("*a*b", "xaxb"),
        ] {
            assert!(is(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("*.yml", "a.yaml"), ("a", "ab"), ("?", ""), ("a*b", "ac"), ("", "a")] {
            assert!(!is(pattern, name), "{pattern} {name}");
        }
    }
}
