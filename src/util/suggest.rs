//! "Did you mean": the nearest of the known words.

/// The word of `known` nearest to `word`, if it is near enough to be a slip of the pen: at most a third of
/// its letters differ (Damerau–Levenshtein, at least one).
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let word: Vec<char> = word.chars().take(64).flat_map(char::to_lowercase).collect();
    let allowed = (word.len() / 3).max(1);
    let scored = known.into_iter().map(|k| {
        let letters: Vec<char> = k.chars().take(64).flat_map(char::to_lowercase).collect();
        (distance(&word, &letters), k)
    });
    scored.filter(|(d, _)| *d <= allowed).min_by_key(|(d, _)| *d).map(|(_, k)| k)
}

/// Edits (insert, delete, replace, swap of neighbours) from `a` to `b`.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replace.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_finds_a_slip_and_refuses_a_stranger() {
        let known = ["scheme", "host", "port"];
        assert_eq!(nearest("prot", known), Some("port"));
        assert_eq!(nearest("Hots", known), Some("host"));
        assert_eq!(nearest("schema", known), Some("scheme"));
        assert_eq!(nearest("healthcheck", known), None);
    }
}
