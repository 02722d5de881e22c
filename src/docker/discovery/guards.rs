//! Labels that guard: `proxy.<alias>.middlewares…`. They are read together, and a route whose guard is in doubt
//! is not served.

use super::Target;
use super::place::shown;
use crate::access::Rules;
use crate::config::labels::{Guard, middlewares};
use std::sync::Arc;

/// What the labels of one alias say, in their order.
#[derive(Debug, Default)]
pub(super) struct Guards<'a>(Vec<(&'a str, Guard<'a>)>);

/// Something wrong with one of them.
pub(super) struct Fault<'a> {
    /// The whole key as it is written.
    pub key: &'a str,
    pub message: String,
    pub hint: Option<String>,
}

impl<'a> Guards<'a> {
    /// The label `key` says `value` at the path below `middlewares`.
    pub fn add(&mut self, key: &'a str, path: &'a str, value: &'a str) {
        self.0.push((key, Guard { path, value }));
    }

    /// The rules, if there are any, or what is wrong with them and what the route is withheld for.
    pub fn rules(&self) -> Result<Option<Arc<Rules>>, (Target, Vec<Fault<'a>>)> {
        let guards: Vec<Guard> = self.0.iter().map(|(_, guard)| *guard).collect();
        middlewares(&guards).map_err(|wrong| {
            let faults: Vec<Fault> = wrong
                .into_iter()
                .map(|(index, (message, hint))| Fault { key: self.0[index].0, message, hint })
                .collect();
            (withheld(&faults), faults)
        })
    }
}

fn withheld(faults: &[Fault]) -> Target {
    let reason = match faults.first() {
        Some(fault) => format!("label `{}`: {}", shown(fault.key), fault.message),
        None => "its middlewares can't be read".to_owned(),
    };
    match reason.ends_with("is not supported yet") {
        true => Target::NotYet { reason },
        false => Target::Misconfigured { reason },
    }
}
