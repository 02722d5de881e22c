//! `config/example.yaml`, made from the schema table.

use super::schema::{self, Key, Kind};

/// Columns of a comment.
const WIDTH: usize = 100;
/// The line between the main file and the route file.
const ROUTE_FILE: &str = "# --- routes.yml ---";

const HEAD: &str = "\
# Tidegate's configuration: every key with its meaning, unit and default. No file, or an empty one, works too.
#
# To use a key, take the `#` before it away. Keys are matched in any case and with or without `_`.
# `${VAR}` in a value is the environment variable VAR (one that is unset is an error), `$$` is a dollar;
# only $DOCKER_HOST needs no braces. Keys that start with `x-` are ignored: a place for anchors.
# `tidegate check FILE` says all that is wrong with a file.
";

const ROUTES_HEAD: &str = "
# A route file, named under providers.include, is a file of its own. Each of its keys is an alias: `app` is
# served under app.<any domain>, `app.example.com` under that name alone, `*.example.com` under every
# name with one more label.
";

/// The text of `config/example.yaml`: every key of the table, all but the sections commented out.
pub fn example() -> String {
    let mut out = String::from(HEAD);
    keys(&mut out, schema::ROOT, 0);
    out.push_str(ROUTES_HEAD);
    out.push_str(ROUTE_FILE);
    out.push('\n');
    if let Kind::Named { value: Kind::Section(fields), example, .. } = &schema::ROUTE_FILE {
        out.push_str(&format!("#{example}:\n"));
        keys(&mut out, fields, 1);
    }
    out
}

fn keys(out: &mut String, keys: &'static [Key], depth: usize) {
    for key in keys.iter().filter(|key| !matches!(key.kind, Kind::NotYet)) {
        if depth == 0 {
            out.push('\n');
        }
        explain(out, key, depth);
        let indent = "  ".repeat(depth);
        match &key.kind {
            Kind::Section(below) => {
                out.push_str(&format!("{indent}{}:\n", key.name));
                self::keys(out, below, depth + 1);
            }
            Kind::Optional(below) => {
                out.push_str(&format!("{indent}#{}:\n", key.name));
                self::keys(out, below, depth + 1);
            }
            Kind::Named { value: Kind::Short(below), example, .. } => {
                out.push_str(&format!("{indent}#{}:\n{indent}  #{example}:\n", key.name));
                self::keys(out, below, depth + 2);
            }
            _ => out.push_str(&format!("{indent}#{}: {}\n", key.name, key.example)),
        }
    }
}

/// The comment above a key.
fn explain(out: &mut String, key: &Key, depth: usize) {
    comment(out, depth, key.meaning);
    if !key.unit.is_empty() {
        comment(out, depth, &format!("Value: {}", key.unit));
    }
    match (key.default_words, key.default) {
        ("", "") if matches!(key.kind, Kind::Section(_)) => {}
        ("", "") if matches!(key.kind, Kind::Optional(_)) => comment(out, depth, "Default: none"),
        ("", "") => comment(out, depth, "Default: none, it must be said"),
        ("", default) => comment(out, depth, &format!("Default: {default}")),
        (words, "") => comment(out, depth, &format!("Default: {words}")),
        (words, default) => comment(out, depth, &format!("Default: {default} ({words})")),
    }
    if !key.env.is_empty() {
        comment(out, depth, &format!("Environment: {} (stands over the file)", key.env.join(", else ")));
    }
}

/// `text` as comment lines.
fn comment(out: &mut String, depth: usize, text: &str) {
    let start = format!("{}#", "  ".repeat(depth));
    let mut line = start.clone();
    for word in text.split_whitespace() {
        if line.len() + 1 + word.len() > WIDTH && line != start {
            out.push_str(&line);
            out.push('\n');
            line.clone_from(&start);
        }
        line.push(' ');
        line.push_str(word);
    }
    out.push_str(&line);
    out.push('\n');
}
