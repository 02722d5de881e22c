//! What README.md shows is true: its configuration passes `tidegate check`, its commands exist.
#![allow(clippy::disallowed_methods)] // tests block

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn readme() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    std::fs::read_to_string(path).expect("README.md")
}

fn tidegate(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tidegate")).args(args).output().expect("tidegate runs")
}

/// The blocks of YAML, in order.
fn blocks(text: &str) -> Vec<&str> {
    text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

#[test]
fn its_configuration_is_right_and_has_five_lines() {
    let text = readme();
    let blocks = blocks(&text);
    let [config, routes, ref more @ ..] = blocks[..] else { panic!("not two blocks of YAML: {blocks:?}") };
    assert_eq!(config.lines().count(), 5, "the first configuration has five lines");
    let dir: PathBuf = [env!("CARGO_TARGET_TMPDIR"), "readme"].iter().collect();
    std::fs::create_dir_all(&dir).expect("a directory");
    std::fs::write(dir.join("routes.yml"), routes).expect("the routes");
    // `check` opens what is named.
    std::fs::create_dir_all(dir.join("certs")).expect("a directory");
    for name in ["home", "nas"] {
        let made = rcgen::generate_simple_self_signed([format!("{name}.example.com")]).expect("a pair");
        let file = |ending: &str| dir.join("certs").join(format!("{name}.{ending}"));
        std::fs::write(file("crt"), made.cert.pem()).expect("the certificate");
        std::fs::write(file("key"), made.signing_key.serialize_pem()).expect("the key");
    }
    for part in [&[config], more].concat() {
        std::fs::write(dir.join("config.yml"), part).expect("the configuration");
        let out = tidegate(&["check", &dir.join("config.yml").to_string_lossy()]);
        let said = String::from_utf8_lossy(&out.stderr).into_owned() + &String::from_utf8_lossy(&out.stdout);
        assert!(out.status.success(), "{part}{said}");
        assert!(!said.contains("warning"), "{part}{said}");
    }
}

#[test]
fn its_commands_are_those_of_the_program() {
    let out = tidegate(&["help"]);
    let help = String::from_utf8_lossy(&out.stdout);
    let text = readme();
    for command in [
        "serve",
        "check",
        "routes",
        "problems",
        "certs",
        "healthcheck",
        "reload",
        "demo",
        "completions",
        "version",
        "help",
    ] {
        assert!(help.contains(&format!("  {command}")), "help does not know {command}");
        assert!(text.contains(&format!("`tidegate {command}")), "README.md does not know {command}");
    }
    for word in
        ["TIDEGATE_CONFIG", "TIDEGATE_HTTP_ADDR", "--http-addr", "--config", "--admin-addr", "RUST_LOG"]
    {
        assert!(help.contains(word) && text.contains(word), "{word} is missing in one of them");
    }
}
