//! What must not be shown.

/// Whether `text`, which begins with a dollar, begins like the hash of a password, its dollars doubled or not.
/// Who reads one in a log may guess at leisure.
pub fn is_hash(text: &str) -> bool {
    const KINDS: [&str; 10] = ["2a$", "2b$", "2x$", "2y$", "argon2", "apr1$", "1$", "5$", "6$", "y$"];
    let text = text.trim_start_matches('$');
    KINDS.iter().any(|kind| text.starts_with(kind))
}
