//! Names: those a person may choose, and the nearest of those that are known.

use super::expand::Wrong;
use super::leaf::is_name;
use super::schema::{self, Key, Kind, Names};
use super::text::shown;
use crate::access_log::is_token;
use crate::limits;
use crate::util::suggest;

/// Letters of a word for which a near one is looked for: a longer one is no slip of the pen.
pub(super) const LETTERS: usize = 40;

/// A name of a person's choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Engine {
        name: String,
        explicit_only: bool,
    },
    Alias(String),
    User(String),
    /// A header (in lower case), a parameter or a cookie.
    Field(String),
}

impl Name {
    /// What two spellings of the same name have in common.
    pub fn identity(&self) -> String {
        match self {
            Name::Engine { name, .. } => name.clone(),
            Name::Alias(alias) => alias.to_ascii_lowercase(),
            Name::User(name) | Name::Field(name) => name.clone(),
        }
    }
}

/// Checks a name against its rule.
///
/// # Errors
/// What a name may be.
pub(super) fn check(rule: Names, written: &str) -> Result<Name, Wrong> {
    match rule {
        Names::Engine => engine(written.trim()),
        Names::Alias => alias(written.trim()),
        Names::User => user(written),
        Names::Header => header(written.trim()),
        Names::Field => field(written),
    }
}

/// What was written is not shown: it may be `name:hash`, as `htpasswd` has it.
fn user(written: &str) -> Result<Name, Wrong> {
    let bytes = limits::USER_BYTES;
    let wrong =
        |what: String| Err((format!("expected a user's name {what}"), Some("write `name: hash`".into())));
    match written {
        "" => wrong("that is not empty".into()),
        _ if written.contains(':') => wrong("without `:`".into()),
        _ if written.chars().any(char::is_control) => wrong("without control characters".into()),
        _ if written.len() > bytes => wrong(format!("of at most {bytes} bytes")),
        _ => Ok(Name::User(written.to_string())),
    }
}

fn header(written: &str) -> Result<Name, Wrong> {
    match is_token(written) && written.len() <= limits::FIELD_NAME_BYTES {
        true => Ok(Name::Field(written.to_ascii_lowercase())),
        false => Err((format!("expected a header's name, got {}", shown(written)), None)),
    }
}

fn field(written: &str) -> Result<Name, Wrong> {
    match written.is_empty() || written.len() > limits::FIELD_NAME_BYTES {
        true => Err((format!("expected a name of 1 to {} bytes", limits::FIELD_NAME_BYTES), None)),
        false => Ok(Name::Field(written.to_string())),
    }
}

fn engine(written: &str) -> Result<Name, Wrong> {
    let (name, explicit_only) = match written.strip_suffix('!') {
        Some(name) => (name, true),
        None => (written, false),
    };
    if !is_name(name) {
        let message = format!("expected an engine's name, got {}", shown(written));
        return Err((message, Some("use letters, digits, `-`, `_` and `.`".into())));
    }
    Ok(Name::Engine { name: name.to_string(), explicit_only })
}

fn alias(written: &str) -> Result<Name, Wrong> {
    let name = written.strip_prefix("*.").unwrap_or(written);
    if !is_name(name) {
        let message = format!(
            "expected an alias such as `app`, `app.example.com` or `*.example.com`, got {}",
            shown(written)
        );
        let hint =
            (!written.is_ascii()).then(|| "write its punycode (`xn--…`), as browsers send it".to_string());
        return Err((message, hint));
    }
    Ok(Name::Alias(written.to_string()))
}

/// What the unknown key `written` may have meant among `keys`, or elsewhere in the table.
pub(super) fn hint(written: &str, keys: &'static [Key]) -> Option<String> {
    if written.chars().count() <= LETTERS {
        let near = suggest::nearest(written, supported(keys).map(|key| key.name));
        if let Some(near) = near {
            return Some(format!("did you mean `{near}`?"));
        }
        if let Some(path) = elsewhere(written) {
            return Some(format!("did you mean `{path}` of the main file?"));
        }
    }
    let known: Vec<&str> = supported(keys).map(|key| key.name).collect();
    Some(format!("known here: {}", known.join(", ")))
}

fn supported(keys: &'static [Key]) -> impl Iterator<Item = &'static Key> {
    keys.iter().filter(|key| !matches!(key.kind, Kind::NotYet))
}

/// The path of a key of the main file that has this name in another section.
fn elsewhere(written: &str) -> Option<String> {
    let mut sections = vec![(String::new(), schema::ROOT)];
    while let Some((at, keys)) = sections.pop() {
        for key in supported(keys) {
            if schema::same_name(written, key.name) {
                return Some(format!("{at}{}", key.name));
            }
            if let Kind::Section(below) = key.kind {
                sections.push((format!("{at}{}.", key.name), below));
            }
        }
    }
    None
}
