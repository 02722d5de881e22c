//! Text of strangers made fit for a message.

use crate::util::secret;

/// Characters of a name or value that a message shows.
const SHOWN: usize = 60;

/// `text` between back quotes, on one line, without control characters, and not too long.
pub(super) fn shown(text: &str) -> String {
    format!("`{}`", bare(text))
}

/// The same without quotes. A password's hash ends it.
pub(super) fn bare(text: &str) -> String {
    let mut out = String::new();
    for (count, (at, c)) in text.char_indices().enumerate() {
        if count == SHOWN || (c == '$' && secret::is_hash(&text[at..])) {
            out.push('…');
            break;
        }
        match c.is_control() {
            true => out.extend(c.escape_default()),
            false => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_not_shown() {
        for text in ["alice:$2y$10$abc", "alice:$$apr1$$abc", "alice:$argon2id$v=19$abc"] {
            assert_eq!(shown(text), "`alice:…`");
        }
        assert_eq!(shown("costs $20 or $DOCKER_HOST"), "`costs $20 or $DOCKER_HOST`");
    }
}
