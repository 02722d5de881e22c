//! `tidegate check` opens the files that a configuration names.
#![allow(clippy::disallowed_methods)] // tests use std's processes and files

mod cli_support;
mod common;
mod tls_support;

use cli_support::{Home, run, text};
use tls_support::Authority;

/// The exit code and what was printed, errors first, without the directory.
fn check(home: &Home) -> (Option<i32>, String) {
    let output = run(&["check", home.path().join("config.yml").to_str().unwrap()]);
    let said = text(&output.stderr) + &text(&output.stdout);
    (output.status.code(), said.replace(&format!("{}/", home.path().display()), ""))
}

fn pair(home: &Home, name: &str, (cert, key): &(String, String)) {
    home.write(&format!("{name}.crt"), cert);
    home.write(&format!("{name}.key"), key);
}

const CONFIG: &str = "\
tls:
  cert_path: a.crt
  key_path: a.key
  extra:
    - {cert_path: b.crt, key_path: b.key}
  default: a.test
providers:
  docker: {}
  include: [routes.yml]
";

/// Two good pairs and a good authority.
fn home() -> (Home, Authority) {
    let (home, authority) = (Home::new(), Authority::new());
    pair(&home, "a", &authority.issue(&["a.test"]));
    pair(&home, "b", &authority.issue(&["b.test"]));
    home.write("ca.crt", &authority.pem);
    home.write("config.yml", CONFIG);
    home.write("routes.yml", "nas:\n  scheme: https\n  host: nas.lan\n  ssl_trusted_certificate: ca.crt\n");
    (home, authority)
}

#[test]
fn what_is_right_passes() {
    let (home, _) = home();
    assert_eq!(check(&home), (Some(0), "config.yml: ok (1 routes, 0 engines)\n".into()));
}

#[test]
fn each_wrong_file_is_said_at_the_value_that_names_it() {
    let (home, authority) = home();
    std::fs::remove_file(home.path().join("a.crt")).unwrap();
    home.write("b.key", &authority.issue(&["b.test"]).1);
    home.write("ca.crt", "nothing\n");
    let (code, said) = check(&home);
    assert_eq!(code, Some(64), "{said}");
    let expected = "\
config.yml:2:14: tls.cert_path: a.crt can't be read: No such file or directory (os error 2)
config.yml:5:36: tls.extra[0].key_path: the key in b.key does not fit the certificate in b.crt
routes.yml:4:28: nas.ssl_trusted_certificate: ca.crt: no certificate (PEM) in it
3 problems in the configuration
";
    assert_eq!(said, expected);
    std::fs::remove_file(home.path().join("ca.crt")).unwrap();
    std::fs::create_dir(home.path().join("ca.crt")).unwrap();
    assert!(check(&home).1.contains("routes.yml:4:28: nas.ssl_trusted_certificate: ca.crt is no file"));
}

#[test]
fn faults_of_the_configuration_and_of_files_come_together() {
    let (home, _) = home();
    home.write("config.yml", &format!("{CONFIG}workers: many\n"));
    std::fs::remove_file(home.path().join("a.key")).unwrap();
    let (code, said) = check(&home);
    assert_eq!(code, Some(64), "{said}");
    assert!(said.contains("config.yml:10:10: workers:"), "{said}");
    assert!(said.contains("config.yml:3:13: tls.key_path: a.key can't be read"), "{said}");
    assert!(said.contains("2 problems in the configuration"), "{said}");
}

#[test]
fn a_default_that_nobody_serves_is_said() {
    let (home, _) = home();
    home.write("config.yml", &CONFIG.replace("default: a.test", "default: c.test"));
    let (code, said) = check(&home);
    assert_eq!(code, Some(64), "{said}");
    assert!(said.contains("config.yml:6:12: tls.default: no certificate is for `c.test`"), "{said}");
    // The certificate for it may be the one whose path was wrong.
    home.write("config.yml", &CONFIG.replace("default: a.test", "default: c.test").replace("b.crt", "[b]"));
    assert!(!check(&home).1.contains("tls.default"), "{}", check(&home).1);
}

#[test]
fn what_serves_though_it_has_expired_is_a_warning() {
    let (home, authority) = home();
    pair(&home, "a", &authority.issue_until(&["a.test"], 2021));
    let (code, said) = check(&home);
    assert_eq!(code, Some(0), "{said}");
    let expected =
        "warning: config.yml:2:14: tls.cert_path: the certificate in a.crt expired at 2021-01-01T00:00:00Z";
    assert!(said.contains(expected), "{said}");
}
