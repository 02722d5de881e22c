//! Aliases: the names that routes are found by. An alias is one label (`app`), a whole host name
//! (`app.example.com`) or a one-label wildcard (`*.example.com`).

use crate::limits::ALIAS_BYTES;

/// Says whether `alias` can be an alias.
///
/// # Errors
/// A clause that says what is wrong with it ("is empty", "contains `/`, ..."), without the alias itself.
pub fn check_alias(alias: &str) -> Result<(), String> {
    let name = alias.strip_suffix('.').unwrap_or(alias);
    let rest = name.strip_prefix("*.").unwrap_or(name);
    if rest.is_empty() {
        return Err("is empty".to_owned());
    }
    if name.len() > ALIAS_BYTES {
        return Err(format!("is longer than the {ALIAS_BYTES} bytes of a host name"));
    }
    if let Some(bad) = rest.chars().find(|c| !is_host_char(*c)) {
        return Err(wrong_char(bad));
    }
    if rest.split('.').any(str::is_empty) {
        return Err("has an empty label (two dots, or a dot at its start)".to_owned());
    }
    Ok(())
}

/// The slot of `alias`: two aliases with the same canonical form are the same route. Lower case, without
/// white space around and without the trailing dot.
pub fn canonical(alias: &str) -> String {
    let alias = alias.trim();
    alias.strip_suffix('.').unwrap_or(alias).to_ascii_lowercase()
}

/// Letters, digits, `-`, `_` (containers of Compose have them) and `.`.
pub(super) const fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

fn is_host_char(c: char) -> bool {
    u8::try_from(c).is_ok_and(is_host_byte)
}

fn wrong_char(bad: char) -> String {
    match bad {
        '*' => "has a `*` that is not its whole first label (`*.example.com`)".to_owned(),
        c if c.is_control() => format!("contains the control character {}", c.escape_default()),
        c if !c.is_ascii() => format!("contains `{c}`; names beyond ASCII are written as `xn--...`"),
        c => format!("contains `{c}`; a host name has letters, digits, `-`, `_` and `.`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_labels_host_names_and_wildcards() {
        for good in ["app", "App_1", "a-b", "app.example.com", "app.example.com.", "*.example.com", "*.x."] {
            assert_eq!(check_alias(good), Ok(()), "{good:?}");
        }
        assert_eq!(check_alias(&"a".repeat(253)), Ok(()));
    }

    #[test]
    fn refuses_the_rest_and_says_why() {
        let cases = [
            ("", "is empty"),
            (".", "is empty"),
            ("*.", "has a `*`"),
            ("*", "has a `*`"),
            ("*.*.x", "has a `*`"),
            ("a*", "has a `*`"),
            ("a..b", "has an empty label"),
            (".a", "has an empty label"),
            ("a/b", "contains `/`"),
            ("a:80", "contains `:`"),
            ("a b", "contains ` `"),
            ("[::1]", "contains `[`"),
            ("a\nb", "contains the control character \\n"),
            ("a\u{7f}", "contains the control character \\u{7f}"),
            ("a\u{85}", "contains the control character"),
            ("büro", "contains `ü`; names beyond ASCII"),
        ];
        for (alias, why) in cases {
            let got = check_alias(alias).expect_err(alias);
            assert!(got.starts_with(why), "{alias:?}: {got}");
        }
        assert!(check_alias(&"a".repeat(254)).is_err());
    }

    #[test]
    fn one_slot_for_every_spelling() {
        assert_eq!(canonical(" *.Example.COM. "), "*.example.com");
        assert_eq!(canonical("*.example.com"), "*.example.com");
        assert_eq!(canonical("App"), "app");
    }
}
