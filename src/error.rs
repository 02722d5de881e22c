//! Problems: what a person should know and can mend, each with its place.

use std::fmt::{self, Write};
use std::path::PathBuf;

/// Where a problem is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// A node of a YAML file; line and column count from 1, `key` is the path of keys (`a.b[2].c`).
    File { path: PathBuf, line: usize, column: usize, key: String },
    /// A whole file.
    Path { path: PathBuf },
    /// An environment variable.
    Env { name: String },
    /// An argument of the command line.
    Argument { name: String },
    /// A label of a container.
    Label { engine: String, container: String, label: String },
    /// A container.
    Container { engine: String, container: String },
    /// An engine: one entry of `providers.docker`.
    Engine { name: String },
    /// A listener's address.
    Listener { addr: String },
    /// Built in, nothing a person wrote.
    Default,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File { path, line, column, key } if key.is_empty() => {
                write!(f, "{}:{line}:{column}", path.display())
            }
            Place::File { path, line, column, key } => {
                write!(f, "{}:{line}:{column}: {key}", path.display())
            }
            Place::Path { path } => write!(f, "{}", path.display()),
            Place::Env { name } => write!(f, "environment variable {name}"),
            Place::Argument { name } => write!(f, "argument {name}"),
            Place::Label { engine, container, label } => {
                write!(f, "engine {engine}, container {container}, label {label}")
            }
            Place::Container { engine, container } => write!(f, "engine {engine}, container {container}"),
            Place::Engine { name } => write!(f, "engine {name}"),
            Place::Listener { addr } => write!(f, "listener {addr}"),
            Place::Default => f.write_str("default"),
        }
    }
}

/// Something that is wrong, where, and how to mend it where that is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What is wrong, one sentence without a full stop.
    pub message: String,
    /// What to do ("did you mean `port`?").
    pub hint: Option<String>,
}

impl Problem {
    /// A problem without a hint.
    pub fn new(place: Place, message: impl Into<String>) -> Self {
        Problem { place, message: message.into(), hint: None }
    }

    /// The same problem with a hint.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// One line, whatever is quoted: control characters are escaped.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = OneLine(f);
        write!(out, "{}: {}", self.place, self.message)?;
        match &self.hint {
            Some(hint) => write!(out, "; {hint}"),
            None => Ok(()),
        }
    }
}

struct OneLine<'a, 'f>(&'a mut fmt::Formatter<'f>);

impl fmt::Write for OneLine<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(char::is_control) {
            let (plain, from) = rest.split_at(at);
            self.0.write_str(plain)?;
            let mut chars = from.chars();
            chars.next().map_or(Ok(()), |c| write!(self.0, "{}", c.escape_default()))?;
            rest = chars.as_str();
        }
        self.0.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_one_line_whatever_it_quotes() {
        let place = Place::Path { path: "a\nb".into() };
        let problem = Problem::new(place, "\u{1b}[31mé: no such file").with_hint("\r");
        assert_eq!(problem.to_string(), r"a\nb: \u{1b}[31mé: no such file; \r");
    }
}
