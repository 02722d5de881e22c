//! A route's fields as labels say them, decoded by the same table as a route file's. Which label means which
//! field of which alias is the labels' own grammar (`docker::discovery`).

use super::build;
use super::expand::Wrong;
use super::leaf;
use super::schema::{self, Kind};
use crate::limits;
use crate::route::Settings;

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
        return Err((format!("`{}` is not supported yet", key.name), None));
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
