//! Places and quotations for problems. What an engine sends may hold anything: control characters are
//! escaped and long texts cut, so that a label can't write the log; a password's hash ends a text.

use crate::error::Place;
use crate::util::secret;

/// Characters of a foreign text that a problem quotes.
const SHOWN: usize = 120;

/// `text` fit for a message.
pub fn shown(text: &str) -> String {
    let mut out = String::new();
    for (n, (at, c)) in text.char_indices().enumerate() {
        match c {
            '$' if secret::is_hash(&text[at..]) => {
                out.push_str("...");
                break;
            }
            _ if n == SHOWN => {
                out.push_str("...");
                break;
            }
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

/// The place of a label.
pub fn label(engine: &str, container: &str, label: &str) -> Place {
    Place::Label { engine: engine.to_owned(), container: shown(container), label: shown(label) }
}

/// The place of a container.
pub fn container(engine: &str, container: &str) -> Place {
    Place::Container { engine: engine.to_owned(), container: shown(container) }
}
