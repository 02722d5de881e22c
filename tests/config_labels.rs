//! Route fields by label: the same table, the same sentences, the label as the place.

use tidegate::config::labels::decode_route;
use tidegate::error::Place;
use tidegate::limits;
use tidegate::route::{Scheme, Settings};

fn place(label: &str) -> Place {
    Place::Label { engine: "local".into(), container: "c".into(), label: label.into() }
}

/// Decodes labels written as `proxy.app.<field>`.
fn decode(fields: &[(&str, &str)]) -> (Settings, Vec<String>) {
    let labels: Vec<String> = fields.iter().map(|(field, _)| format!("proxy.app.{field}")).collect();
    let fields: Vec<(&str, &str, &str)> =
        fields.iter().zip(&labels).map(|((field, value), label)| (label.as_str(), *field, *value)).collect();
    let (settings, problems) = decode_route(" app ", &fields, place);
    let prefix = "engine local, container c, label proxy.app.";
    let lines = problems.iter().map(|problem| problem.to_string().replacen(prefix, "", 1)).collect();
    (settings, lines)
}

#[test]
fn fields_are_decoded_in_any_case() {
    let (settings, problems) = decode(&[("Port", " 8080 "), ("SCHEME", "HTTPS"), ("h_ost", "10.0.0.1")]);
    assert_eq!(problems, [] as [String; 0]);
    assert_eq!(settings.alias, "app");
    assert_eq!(settings.place, place("proxy.app.Port"));
    let said = (settings.port, settings.scheme, settings.host.as_deref());
    assert_eq!(said, (Some(8080), Some(Scheme::Https), Some("10.0.0.1")));
}

#[test]
fn what_is_not_said_stays_open() {
    let (settings, problems) = decode(&[]);
    assert_eq!(problems, [] as [String; 0]);
    assert_eq!(settings, Settings::new("app", place("")));
}

#[test]
fn a_wrong_field_is_told_and_the_others_stay() {
    let (settings, problems) = decode(&[
        ("prot", "80"),
        ("port", "80a"),
        ("scheme", "tcp"),
        ("middlewares.oidc.priority", "1"),
        ("host.name", "x"),
        ("Scheme", "http"),
        ("host", "${SECRET}"),
        ("", "port: 80"),
        ("healthcheck", ""),
    ]);
    assert_eq!(
        problems,
        [
            "prot: unknown field `prot`; did you mean `port`?",
            "port: expected a port from 1 to 65535, got the text `80a`",
            "scheme: the scheme `tcp` is not supported yet; use `http`",
            "middlewares.oidc.priority: `middlewares` is not supported yet",
            "host.name: `host` has nothing below it",
            "Scheme: says the same as label `proxy.app.scheme`",
            "host: expected an IP address or a name, got the text `${SECRET}`",
            ": YAML in a label is not supported yet; write a label for each field: `proxy.app.port`",
            "healthcheck: `healthcheck` is not supported yet",
        ]
    );
    assert_eq!((settings.port, settings.scheme, settings.host), (None, None, None));
    let (settings, problems) = decode(&[("prot", "80"), ("port", "81")]);
    assert_eq!((settings.port, problems.len()), (Some(81), 1));
}

#[test]
fn labels_are_bounded_and_fit_for_a_message() {
    let long = "x".repeat(limits::LABEL_BYTES + 1);
    let (_, problems) = decode(&[("host", &long), ("po\nrt", "80"), ("port", "8\u{1b}[31m0")]);
    assert!(problems[0].contains("more than 65536 bytes"), "{problems:?}");
    assert!(problems[1].contains(r"unknown field `po\nrt`"), "{problems:?}");
    assert!(problems[2].contains(r"got the text `8\u{1b}[31m0`"), "{problems:?}");
    let many = vec![("unknown_field", "x"); limits::LABELS + 10];
    let (_, problems) = decode(&many);
    assert_eq!(problems.len(), limits::LABELS + 1);
}
