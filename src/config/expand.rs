//! `${VAR}` in values: `$$` is a dollar, `$DOCKER_HOST` the one variable that needs no braces, and any other
//! `$` stays as written.

use super::text::shown;
use crate::limits;

/// What is said instead of `$DOCKER_HOST` when it is unset or empty.
pub(super) const DEFAULT_ENGINE_URL: &str = "unix:///var/run/docker.sock";

/// The environment, as a parameter.
pub(super) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What is wrong with a value, and how to mend it.
pub type Wrong = (String, Option<String>);

/// Expands `text`.
///
/// # Errors
/// An unset variable, a brace that is not closed, a name that is none, or a result that is too long.
pub(super) fn expand(text: &str, env: Env) -> Result<String, Wrong> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, after) = (&rest[..at], &rest[at + 1..]);
        out.push_str(before);
        rest = if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            after
        } else if let Some(after) = after.strip_prefix('{') {
            let Some((name, after)) = after.split_once('}') else {
                return Err(("`${` without its `}`".into(), Some("write `$$` for a dollar".into())));
            };
            out.push_str(&variable(name, env)?);
            after
        } else if let Some(after) = docker_host(after) {
            let value = env("DOCKER_HOST").filter(|value| !value.is_empty());
            out.push_str(value.as_deref().unwrap_or(DEFAULT_ENGINE_URL));
            after
        } else {
            out.push('$');
            after
        };
        // The file is bounded, so this bounds what variables add to one value.
        if out.len() > text.len() + limits::LABEL_BYTES {
            return Err((format!("more than {} bytes after expansion", limits::LABEL_BYTES), None));
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn variable(name: &str, env: Env) -> Result<String, Wrong> {
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    if !first || !name.bytes().all(is_name_byte) {
        let message = format!("expected a variable's name between the braces, got {}", shown(name));
        return Err((message, Some("write `$${` for a dollar and a brace".into())));
    }
    if let Some(value) = env(name) {
        return Ok(value);
    }
    // GoDoxy looks for its own prefixes as well; here a name is what it says.
    let prefixed = ["TIDEGATE_", "GODOXY_", "GOPROXY_"].map(|prefix| format!("{prefix}{name}"));
    let set = prefixed.into_iter().find(|name| env(name).is_some());
    let hint = set.map(|name| format!("did you mean `${{{name}}}`?"));
    Err((format!("the environment variable {} is not set", shown(name)), hint))
}

/// What follows `DOCKER_HOST`, if `after` starts with that name and no longer one.
fn docker_host(after: &str) -> Option<&str> {
    after.strip_prefix("DOCKER_HOST").filter(|rest| !rest.bytes().next().is_some_and(is_name_byte))
}

fn is_name_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "A" => Some("one".into()),
            "EMPTY" => Some(String::new()),
            "GODOXY_TOKEN" => Some("t".into()),
            "LONG" => Some("x".repeat(limits::LABEL_BYTES)),
            _ => None,
        }
    }

    #[test]
    fn expands_what_has_braces_and_docker_host() {
        let cases = [
            ("no dollar", "no dollar"),
            ("${A}", "one"),
            ("a${A}b${A}", "aonebone"),
            ("${EMPTY}", ""),
            ("$$", "$"),
            ("$${A}", "${A}"),
            ("$$DOCKER_HOST", "$DOCKER_HOST"),
            ("$$$$", "$$"),
            ("$A $1 $", "$A $1 $"),
            ("$DOCKER_HOST", DEFAULT_ENGINE_URL),
            ("$DOCKER_HOSTS", "$DOCKER_HOSTS"),
            ("$DOCKER_HOST/x", "unix:///var/run/docker.sock/x"),
        ];
        for (text, expected) in cases {
            assert_eq!(expand(text, &env).as_deref(), Ok(expected), "{text}");
        }
        let set =
            |name: &str| (name == "DOCKER_HOST").then(|| "unix:///run/user/1000/docker.sock".to_string());
        assert_eq!(expand("$DOCKER_HOST", &set).as_deref(), Ok("unix:///run/user/1000/docker.sock"));
        let empty = |name: &str| (name == "DOCKER_HOST").then(String::new);
        assert_eq!(expand("$DOCKER_HOST", &empty).as_deref(), Ok(DEFAULT_ENGINE_URL));
    }

    #[test]
    fn what_is_expanded_is_not_expanded_again() {
        let nested = |name: &str| (name == "A").then(|| "${B}$$".to_string());
        assert_eq!(expand("${A}", &nested).as_deref(), Ok("${B}$$"));
    }

    #[test]
    fn refuses_what_cannot_be_expanded() {
        for bad in ["${NONE}", "${", "${A", "${}", "${A:-x}", "${1}", "${DOCKER_HOST}", "${LONG}${LONG}"] {
            assert!(expand(bad, &env).is_err(), "{bad} was taken");
        }
        let (message, hint) = expand("${TOKEN}", &env).unwrap_err();
        assert_eq!(message, "the environment variable `TOKEN` is not set");
        assert_eq!(hint.as_deref(), Some("did you mean `${GODOXY_TOKEN}`?"));
    }
}
