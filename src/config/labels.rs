//! Route fields that come from a container's labels, decoded by the same table as a route file's.

use super::build;
use super::expand::Wrong;
use super::leaf::{self, LeafValue};
use super::names;
use super::schema::{self, Key, Kind};
use super::text::shown;
use crate::error::{Place, Problem};
use crate::limits;
use crate::route::Settings;

/// Decodes the fields of one alias. Each of `fields` is the label as the container has it (for the place),
/// the field's path below the alias (`port`, `middlewares.oidc`), and the label's value. `place` makes a
/// place of a label. A field with a problem is left out of the settings; `settings.place` is the first
/// label's, or `place("")` without any. What was not said is `None`: a container's defaults are others than
/// a file's. A label never reads the environment: `${VAR}` stays as written.
pub fn decode_route(
    alias: &str,
    fields: &[(&str, &str, &str)],
    place: impl Fn(&str) -> Place,
) -> (Settings, Vec<Problem>) {
    let first = fields.first().map_or("", |(label, _, _)| *label);
    let mut settings = Settings::new(alias.trim(), place(first));
    let mut problems = Vec::new();
    let mut seen: Vec<(&'static str, &str)> = Vec::new();
    for (count, (label, field, value)) in fields.iter().enumerate() {
        if count >= limits::LABELS {
            let message = format!("more than {} labels, the rest is ignored", limits::LABELS);
            problems.push(Problem::new(place(label), message));
            break;
        }
        let decoded = find(field).and_then(|key| match seen.iter().find(|(name, _)| *name == key.name) {
            Some((_, first)) => Err((format!("says the same as label {}", shown(first)), None)),
            None => {
                seen.push((key.name, label));
                Ok((key, convert(key, value)?))
            }
        });
        match decoded {
            Ok((key, value)) => build::set(&mut settings, key.name, &value),
            Err((message, hint)) => problems.push(Problem { hint, ..Problem::new(place(label), message) }),
        }
    }
    (settings, problems)
}

/// The key that a field's path names.
fn find(field: &str) -> Result<&'static Key, Wrong> {
    let (name, below) = match field.split_once('.') {
        Some((name, below)) => (name, Some(below)),
        None => (field, None),
    };
    if name.is_empty() {
        let hint = Some("write a label for each field: `proxy.app.port`".to_string());
        return Err(("YAML in a label is not supported yet".into(), hint));
    }
    let Some(key) = schema::find(schema::ROUTE, name) else {
        return Err((format!("unknown field {}", shown(name)), names::hint(name, schema::ROUTE)));
    };
    match (&key.kind, below) {
        (Kind::Leaf(_), None) => Ok(key),
        (Kind::Leaf(_), Some(_)) => Err((format!("`{}` has nothing below it", key.name), None)),
        _ => Err((format!("`{}` is not supported yet", key.name), None)),
    }
}

fn convert(key: &Key, value: &str) -> Result<LeafValue, Wrong> {
    if value.len() > limits::LABEL_BYTES {
        return Err((format!("the value has more than {} bytes", limits::LABEL_BYTES), None));
    }
    match key.kind {
        Kind::Leaf(leaf) => leaf::convert(leaf, value, false),
        _ => Err((format!("`{}` is not supported yet", key.name), None)),
    }
}
