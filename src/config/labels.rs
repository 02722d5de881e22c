//! A route's fields as labels say them, decoded by the same table as a route file's. Which label means which
//! field of which alias is the labels' own grammar (`docker::discovery`).

use super::access::{self, MIDDLEWARES};
use super::build;
use super::decode::{Decoder, Located, Value};
use super::expand::Wrong;
use super::leaf;
use super::schema::{self, Key, Kind};
use super::text::shown;
use super::tree::{self, Content, Mark, Node, Pair, Scalar};
use crate::access::Rules;
use crate::error::Place;
use crate::limits;
use crate::route::Settings;
use std::rc::Rc;
use std::sync::Arc;

/// Sets the field `name` of `settings` to a label's value. A label never reads the environment: `${VAR}`
/// stays as written.
///
/// # Errors
/// What was expected, and a hint where there is one; `settings` stays as it was.
pub fn set_field(settings: &mut Settings, name: &str, value: &str) -> Result<(), Wrong> {
    let Some(key) = schema::find(schema::ROUTE, name) else {
        return Err((format!("unknown field `{name}`"), None));
    };
    let Kind::Leaf(leaf) = key.kind else {
        return Err(match key.kind {
            Kind::NotYet => (format!("`{}` is not supported yet", key.name), None),
            _ => (format!("`{}` has fields of its own", key.name), None),
        });
    };
    if value.len() > limits::LABEL_BYTES {
        return Err((format!("the value has more than {} bytes", limits::LABEL_BYTES), None));
    }
    build::set(settings, key.name, &leaf::convert(leaf, value, false)?);
    Ok(())
}

/// The names of all fields that a route can have, those that are not supported yet too.
pub fn fields() -> impl Iterator<Item = &'static str> {
    schema::ROUTE.iter().map(|key| key.name)
}

/// What one label says about an alias's `middlewares`.
#[derive(Clone, Copy, Debug)]
pub struct Guard<'a> {
    /// The path below `middlewares`: `cidr_whitelist.allow`, `cidr_whitelist`, or empty.
    pub path: &'a str,
    /// YAML where the path leads to a mapping; a list may be written with commas too.
    pub value: &'a str,
}

/// The access rules that labels say together; none if they say none. As in [`set_field`], `${VAR}` stays as
/// written.
///
/// # Errors
/// What is wrong: the index of a label, what was expected, and a hint where there is one.
pub fn middlewares(labels: &[Guard<'_>]) -> Result<Option<Arc<Rules>>, Vec<(usize, Wrong)>> {
    let mut wrong = Vec::new();
    let mut whole: Vec<Pair> = Vec::new();
    for (index, label) in labels.iter().enumerate() {
        match node(label) {
            Ok(node) => {
                if let Err(twice) = merge(&mut whole, &node, 0) {
                    wrong.push((index, (format!("{twice} is said by another label too"), None)));
                }
            }
            Err(fault) => wrong.push((index, fault)),
        }
    }
    let mut decoder = Decoder::of_label();
    let section = decoder.pairs(&whole, MIDDLEWARES, ROOT);
    let mut problems = std::mem::take(&mut decoder.problems);
    let said = Located { place: Place::Default, value: Value::Section(section) };
    let rules = access::rules(Some(&said), &mut problems);
    for problem in problems {
        let key = match &problem.place {
            Place::File { key, .. } => key.as_str(),
            _ => "",
        };
        let path = key.strip_prefix(ROOT).unwrap_or(key).trim_start_matches('.');
        let (index, rest) = whose(labels, path);
        let message = match rest {
            "" => problem.message,
            rest => format!("`{rest}`: {}", problem.message),
        };
        wrong.push((index, (message, problem.hint)));
    }
    if wrong.is_empty() { Ok(rules) } else { Err(wrong) }
}

const ROOT: &str = "middlewares";
/// Labels have no lines.
const NOWHERE: Mark = Mark { line: 0, column: 0 };

/// The label that a problem at `path` is of, and the rest of the path below what the label says.
fn whose<'p>(labels: &[Guard<'_>], path: &'p str) -> (usize, &'p str) {
    let below = |label: &Guard| {
        let rest = path.strip_prefix(label.path)?;
        let whole = rest.is_empty() || label.path.is_empty() || rest.starts_with(['.', '[']);
        whole.then(|| rest.trim_start_matches('.'))
    };
    let found = labels.iter().enumerate().filter_map(|(index, label)| Some((index, below(label)?)));
    let within = labels.iter().position(|label| label.path.starts_with(path)).unwrap_or(0);
    found.min_by_key(|(_, rest)| rest.len()).unwrap_or((within, ""))
}

/// What a label says, as the mapping that it would be in a file.
fn node(label: &Guard) -> Result<Vec<Pair>, Wrong> {
    if label.value.len() > limits::LABEL_BYTES {
        return Err((format!("the value has more than {} bytes", limits::LABEL_BYTES), None));
    }
    let (path, kind) = walk(label.path);
    let value = match kind {
        Some(Kind::Optional(_) | Kind::Named { .. }) => yaml(label.value)?,
        Some(Kind::List(_) | Kind::OneOrList(_)) => match label.value.trim_start().starts_with(['[', '-']) {
            true => yaml(label.value)?,
            false => {
                let items = label.value.split(',').map(str::trim).filter(|item| !item.is_empty());
                Node::new(NOWHERE, Content::List(items.map(scalar).collect()))
            }
        },
        _ => scalar(label.value),
    };
    let nested = path.iter().rev().fold(value, |value, key| {
        Node::new(NOWHERE, Content::Map(vec![Pair { key: scalar(key), value, rank: 0 }]))
    });
    match &nested.content {
        Content::Map(pairs) => Ok(pairs.clone()),
        _ => {
            Err(("expected a mapping of rules, such as `cidr_whitelist: {allow: [10.0.0.0/8]}`".into(), None))
        }
    }
}

/// The keys of a path, and what stands at its end if that is known. Behind a key with free names all is one name.
fn walk(path: &str) -> (Vec<&str>, Option<&'static Kind>) {
    let (mut keys, mut rest) = (Vec::new(), path);
    let mut kind: Option<&'static Kind> = Some(&WHOLE);
    while !rest.is_empty() {
        let known: Option<&'static [Key]> = match kind {
            Some(Kind::Optional(keys)) => Some(keys),
            _ => None,
        };
        let (name, below) = match (known, kind) {
            (Some(_), _) => rest.split_once('.').unwrap_or((rest, "")),
            (None, _) => (rest, ""),
        };
        kind = match (known, kind) {
            (Some(known), _) => schema::find(known, name).map(|key| &key.kind),
            (None, Some(Kind::Named { value, .. })) => Some(value),
            (None, _) => None,
        };
        keys.push(name);
        rest = below;
    }
    (keys, kind)
}

static WHOLE: Kind = Kind::Optional(MIDDLEWARES);

fn scalar(text: &str) -> Rc<Node> {
    Node::new(NOWHERE, Content::Scalar(Scalar { text: text.to_owned(), plain: false }))
}

fn yaml(text: &str) -> Result<Rc<Node>, Wrong> {
    let parsed = tree::parse(text);
    if let Some(fault) = parsed.faults.into_iter().next() {
        return Err((fault.message, fault.hint));
    }
    Ok(parsed.root.unwrap_or_else(|| scalar("")))
}

/// Adds `more` to `whole`; of mappings that both have, the fields are taken together. As deep as the table is.
fn merge(whole: &mut Vec<Pair>, more: &[Pair], depth: usize) -> Result<(), String> {
    for pair in more {
        // Below two known keys stand names of a person's choice.
        let same = |known: &str| match depth {
            0 | 1 => schema::same_name(known, pair.name()),
            _ => known == pair.name(),
        };
        let Some(known) = whole.iter_mut().find(|known| same(known.name())) else {
            whole.push(pair.clone());
            continue;
        };
        match (&known.value.content, &pair.value.content) {
            (Content::Map(first), Content::Map(second)) if depth < 2 => {
                let mut both = first.clone();
                merge(&mut both, second, depth + 1)?;
                known.value = Node::new(known.value.mark, Content::Map(both));
            }
            _ => return Err(shown(pair.name())),
        }
    }
    Ok(())
}
