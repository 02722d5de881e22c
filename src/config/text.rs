//! Text of strangers made fit for a message.

/// Characters of a name or value that a message shows.
const SHOWN: usize = 60;

/// `text` between back quotes, on one line, without control characters, and not too long.
pub(super) fn shown(text: &str) -> String {
    format!("`{}`", bare(text))
}

/// The same without quotes.
pub(super) fn bare(text: &str) -> String {
    let mut out = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == SHOWN {
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
