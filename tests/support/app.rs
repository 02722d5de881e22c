//! Builds the containers' application: `app_main.rs`, one static binary by `rustc` alone.

use super::room::scratch;
use std::path::PathBuf;
use std::process::Command;

/// The path of the binary; built when its source is newer. One builds at a time: callers hold the room's lock.
pub fn binary() -> PathBuf {
    let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/support/app_main.rs");
    let target = scratch().join("app");
    let age = |path: &PathBuf| path.metadata().and_then(|meta| meta.modified()).ok();
    if age(&target).is_some_and(|built| Some(built) > age(&source)) {
        return target;
    }
    let fresh = scratch().join("app.new");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let status = Command::new(rustc)
        .args(["--edition", "2024", "-O", "-C", "panic=abort", "-C", "strip=symbols"])
        .args(["-C", "target-feature=+crt-static", "-o"])
        .args([&fresh, &source])
        .status()
        .expect("rustc runs");
    assert!(status.success(), "rustc could not build {}", source.display());
    std::fs::rename(&fresh, &target).expect("the app is renamed");
    target
}
