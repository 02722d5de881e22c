//! Certificates from files: what is wrong with them, and their renewal while connections live on.
#![allow(clippy::disallowed_methods)] // tests use std's sockets, threads and clock

mod common;
mod tls_support;

use common::{Backend, wait_until};
use rustls::version::TLS13;
use std::sync::Arc;
use tidegate::app::{App, StartError};
use tidegate::config::CertPair;
use tidegate::error::Place;
use tls_support::{Authority, Client, Dir, https, start, trusting, write};

fn refusal(certs: Vec<CertPair>, default: Option<&str>) -> String {
    match App::start(https(&[], certs, default)) {
        Err(StartError::Problem(problem)) => problem.to_string(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it started"),
    }
}

#[test]
fn what_is_wrong_with_a_pair_is_said_with_its_file() {
    let (dir, authority) = (Dir::new("wrong"), Authority::new());
    let good = authority.write(&dir, "good", &["app.test"]);
    let other = authority.write(&dir, "other", &["app.test"]);
    let crossed = CertPair { key_path: other.key_path.clone(), ..good.clone() };
    let said = refusal(vec![crossed], None);
    assert!(said.contains("other.key does not fit the certificate in"), "{said}");
    let missing = CertPair { cert_path: dir.0.join("none.crt"), ..good.clone() };
    let said = refusal(vec![good.clone(), missing], None);
    assert!(said.contains("none.crt can't be read: No such file"), "{said}");
    let file = |name: &str, text: &str| {
        std::fs::write(dir.0.join(name), text).unwrap();
        dir.0.join(name)
    };
    let cert = std::fs::read_to_string(&good.cert_path).unwrap();
    for (text, expected) in [
        ("", "no certificate (PEM) in it"),
        ("garbage\n", "no certificate (PEM) in it"),
        (&cert[..cert.len() / 2], "the file is cut off"),
        ("\n\n-----BEGIN CERT\n", "bad.crt:3: not PEM"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "the certificate is malformed"),
    ] {
        let said = refusal(vec![CertPair { cert_path: file("bad.crt", text), ..good.clone() }], None);
        assert!(said.contains(expected), "{text:?}: {said}");
    }
    let said = refusal(vec![CertPair { key_path: good.cert_path.clone(), ..good.clone() }], None);
    assert!(said.contains("no private key (PEM) in it"), "{said}");
    let said = refusal(vec![good], Some("nobody.test"));
    assert!(said.contains("no certificate is for `nobody.test`"), "{said}");
}

#[test]
fn an_expired_certificate_serves_with_a_warning() {
    let (dir, authority) = (Dir::new("expired"), Authority::new());
    let pair = write(&dir, "old", &authority.issue_until(&["app.test"], 2021));
    let tls = https(&[], vec![pair.clone()], None).tls;
    let loaded = tidegate::net::tls::Certs::load(&tls, 1_700_000_000).unwrap();
    let warning = loaded.warnings[0].to_string();
    assert!(warning.contains("expired at 2021-01-01T00:00:00Z"), "{warning}");
    assert_eq!(loaded.certs.listed()[0].not_after, 1_609_459_200);
    assert_eq!(loaded.certs.listed()[0].names, ["app.test"]);
    let proxy = start(&[], vec![pair], None);
    let config = Arc::new(trusting(&authority, &[&TLS13]));
    let error =
        Client::try_connect(proxy.https[0], &config, "app.test").err().expect("the client refuses it");
    assert!(error.to_string().contains("expired"), "{error}");
}

#[test]
fn a_renewed_pair_serves_while_connections_live_on() {
    let (dir, authority) = (Dir::new("renew"), Authority::new());
    let backend = Backend::answering(|_| "ok".into());
    let pair = authority.write(&dir, "app", &["app.test"]);
    let proxy = start(&[("app", backend.addr)], vec![pair], None);
    let served = |config: &Arc<rustls::ClientConfig>| {
        let client = Client::connect(proxy.https[0], config, "app.test");
        client.tls.conn.peer_certificates().unwrap()[0].to_vec()
    };
    let fresh = || Arc::new(trusting(&authority, &[&TLS13]));
    let first = served(&fresh());
    let mut old = Client::connect(proxy.https[0], &fresh(), "app.test");
    old.get("app.test", "/");

    // Half of the new pair: it does not fit, and the former one goes on.
    let (cert, key) = authority.issue(&["app.test"]);
    std::fs::write(dir.0.join("app.crt"), &cert).unwrap();
    let looked = std::time::Instant::now();
    while looked.elapsed() < std::time::Duration::from_secs(3) {
        assert_eq!(served(&fresh()), first, "a pair that does not fit");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    // The other half, by rename.
    std::fs::write(dir.0.join("new.key"), &key).unwrap();
    std::fs::rename(dir.0.join("new.key"), dir.0.join("app.key")).unwrap();
    wait_until("the new certificate", || served(&fresh()) != first);
    assert_eq!(old.get("app.test", "/").1, b"ok", "the former connection lives on");
}

#[test]
fn a_place_is_named() {
    let pair = CertPair {
        cert_path: "/nonexistent/a.crt".into(),
        key_path: "/nonexistent/a.key".into(),
        place: Place::File { path: "config.yml".into(), line: 3, column: 5, key: "tls.extra[0]".into() },
        key_place: Place::Default,
    };
    let said = refusal(vec![pair], None);
    assert!(said.starts_with("config.yml:3:5: tls.extra[0]: /nonexistent/a.crt"), "{said}");
}
