//! Route fields by label: the same table and the same sentences as a route file's.

use tidegate::config::labels::{fields, set_field};
use tidegate::error::Place;
use tidegate::limits;
use tidegate::route::{Scheme, Settings};

fn settings() -> Settings {
    Settings::new("app", Place::Default)
}

/// What is said to a wrong value; with its hint after a semicolon.
fn refused(name: &str, value: &str) -> String {
    let mut settings = settings();
    let (message, hint) = set_field(&mut settings, name, value).expect_err("it was taken");
    assert_eq!(settings, Settings::new("app", Place::Default), "a refused field changes nothing");
    hint.map_or(message.clone(), |hint| format!("{message}; {hint}"))
}

#[test]
fn fields_are_set_in_any_case() {
    let mut settings = settings();
    for (name, value) in [("Port", " 8080 "), ("SCHEME", "HTTPS"), ("h_ost", "10.0.0.1")] {
        set_field(&mut settings, name, value).unwrap();
    }
    let said = (settings.port, settings.scheme, settings.host.as_deref());
    assert_eq!(said, (Some(8080), Some(Scheme::Https), Some("10.0.0.1")));
}

#[test]
fn a_wrong_value_is_told_and_changes_nothing() {
    for (name, value, expected) in [
        ("prot", "80", "unknown field `prot`"),
        ("port", "80a", "expected a port from 1 to 65535, got the text `80a`"),
        ("port", "8\u{1b}[31m0", r"expected a port from 1 to 65535, got the text `8\u{1b}[31m0`"),
        ("scheme", "tcp", "the scheme `tcp` is not supported yet; use `http`"),
        ("host", "${SECRET}", "expected an IP address or a name, got the text `${SECRET}`"),
        ("host", "0.0.0.0", "expected an IP address or a name, got the text `0.0.0.0`"),
        ("middlewares", "x", "`middlewares` has fields of its own"),
        ("rules", "x", "`rules` is not supported yet"),
    ] {
        assert_eq!(refused(name, value), expected, "{name}: {value}");
    }
}

#[test]
fn values_are_bounded() {
    let long = "x".repeat(limits::LABEL_BYTES + 1);
    assert!(refused("host", &long).contains("more than 65536 bytes"));
}

#[test]
fn every_field_has_a_name() {
    assert!(["scheme", "host", "port"].iter().all(|name| fields().any(|field| field == *name)));
}
