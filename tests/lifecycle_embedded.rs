//! A program that embeds the library acquires on Closed, in the release profile: it is warned and goes on.
#![cfg(not(loom))]

use std::path::Path;
use std::process::Command;

#[test]
fn acquire_on_closed_warns_and_goes_on_in_release() {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("target/tmp has a parent");
    let output = Command::new(env!("CARGO"))
        .args(["run", "--release", "--quiet", "--example", "acquire_on_closed", "--target-dir"])
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_remove("RUST_LOG")
        .output()
        .expect("cargo, which built this test, runs");
    let (out, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{log}", output.status);
    assert_eq!(out, "still held: a client\nwent on with: a client\n");

    let entry = "docker client unix:///var/run/docker.sock";
    let warned: Vec<&str> = log.lines().filter(|line| line.contains("WARN")).collect();
    let refused = format!("{entry} #1: Closed(1): acquire refused: it is closed");
    assert!(!warned.is_empty() && warned.iter().all(|line| line.contains(&refused)), "{log}");
    assert!(warned.len() < 100, "a warning a second, not one for each of a hundred refusals: {log}");
    for transition in [
        "#1: made, Idle",
        "#1: Idle -> Active(1) (acquire)",
        "#1: Active(1) -> Closed(1) (the engine is gone)",
        "#1: Closed(1) -> Closed(0) (release)",
        "#2: Idle -> Active(1) (acquire)",
    ] {
        let line = format!("{entry} {transition}");
        assert!(log.lines().any(|l| l.contains("DEBUG") && l.contains(&line)), "no `{line}` in:\n{log}");
    }
}
