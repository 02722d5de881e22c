//! Docker's JSON: a list, one container, a line of events. What an engine adds does not matter, and what it leaves
//! out is as good as `null`.

use super::{labels, show};
use serde_json::Value;
use std::fmt::Debug;
use tidegate::docker::client::CallError;
use tidegate::docker::discovery::{Context, Reach};
use tidegate::docker::json::{Event, event, inspected, listed};
use tidegate::docker::{Container, RunState};

/// Reads `input` as each of the three.
pub fn check(input: &[u8]) {
    for container in tolerant(input, listed).iter().flatten() {
        assert_eq!(container.started_at, None);
        sound(container);
    }
    if let Some(container) = tolerant(input, inspected) {
        sound(&container);
    }
    if let Some(Some(Event { id, .. })) = tolerant(input, event) {
        assert!(!id.is_empty());
    }
}

/// What `read` makes of `input`: the same of all that says the same.
fn tolerant<T: Debug + PartialEq>(input: &[u8], read: fn(&[u8]) -> Result<T, CallError>) -> Option<T> {
    let first = match read(input) {
        Ok(first) => first,
        Err(CallError::Malformed(why)) => {
            assert!(!why.is_empty());
            return None;
        }
        Err(other) => panic!("{other:?} of {}", show(input)),
    };
    if let Ok(value) = serde_json::from_slice::<Value>(input) {
        for change in
            [|_: &mut Value| {}, |value: &mut Value| more(value, ""), |value: &mut Value| less(value, "")]
        {
            let mut changed = value.clone();
            change(&mut changed);
            let again = read(changed.to_string().as_bytes());
            assert_eq!(again.as_ref().ok(), Some(&first), "{changed}");
        }
    }
    Some(first)
}

/// Objects whose keys are names of things.
const MAPS: [&str; 5] = ["ExposedPorts", "Labels", "Networks", "PortBindings", "Ports"];

/// Adds a field that nobody knows to every object.
fn more(value: &mut Value, of: &str) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| more(item, of)),
        Value::Object(fields) => {
            fields.iter_mut().for_each(|(name, field)| more(field, name));
            if !MAPS.contains(&of) {
                fields.insert("A-Later-Version".to_owned(), 1.into());
            }
        }
        _ => {}
    }
}

/// Leaves out what is `null`.
fn less(value: &mut Value, of: &str) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| less(item, of)),
        Value::Object(fields) => {
            fields.iter_mut().for_each(|(name, field)| less(field, name));
            fields.retain(|_, field| MAPS.contains(&of) || !field.is_null());
        }
        _ => {}
    }
}

fn sound(container: &Container) {
    assert!(!container.id.is_empty() && !container.name.starts_with('/'));
    assert!(container.ports.is_sorted(), "{:?}", container.ports);
    for pair in container.ports.windows(2) {
        assert_ne!(pair[0], pair[1]);
    }
    assert!(container.ports.iter().all(|port| port.private > 0 && port.public != Some(0)));
    let up = matches!(container.state, RunState::Running | RunState::Paused);
    assert!(up || container.networks.iter().all(|network| network.ip.is_none()), "{container:?}");
    let ctx = Context { engine: "local", explicit_only: false, own_id: None, reach: Reach::Host };
    labels::sound(&ctx, container);
}
