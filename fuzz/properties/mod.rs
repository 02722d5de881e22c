//! What must hold for every input: one file a target of cargo-fuzz, each a function that panics if its input
//! breaks the property. `fuzz/fuzz_targets` feeds them what libFuzzer thinks of, `tests/corpus.rs` the corpus,
//! `tests/http_properties.rs` random walks.

pub mod chunked;
pub mod config;
pub mod docker;
pub mod host;
pub mod labels;
pub mod request;
pub mod response;
mod wire;

/// Panics if `input` breaks the property.
pub type Property = fn(&[u8]);

/// Every target: its corpus is `fuzz/corpus/NAME`.
pub const TARGETS: [(&str, Property); 7] = [
    ("request_head", |input| _ = request::check(input)),
    ("response_head", |input| _ = response::check(input)),
    ("chunked", |input| drop(chunked::check(input))),
    ("host_match", host::check),
    ("config", config::check),
    ("labels", labels::check),
    ("docker", docker::check),
];

/// Runs the property of the target `name`.
pub fn run(name: &str, input: &[u8]) {
    let (_, property) = TARGETS.iter().find(|(target, _)| *target == name).expect("a target of that name");
    property(input);
}

/// How a head was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Taken,
    Refused,
    /// Its end is not there yet.
    Partial,
}

/// `bytes` for a message.
pub fn show(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
