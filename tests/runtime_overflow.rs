//! A stack overflow hits the guard region: the process ends, and nothing else is overwritten.
#![allow(clippy::disallowed_methods)] // a process of its own

mod runtime_support;

use std::process::{Command, Stdio};

use runtime_support::start;
use tidegate::runtime;

/// Each frame is larger than a page and smaller than the guard; only its ends are touched, as armv7 without
/// stack probes would.
#[inline(never)]
fn dive(depth: u64) -> u64 {
    let mut frame = [0u8; 20_000];
    frame[0] = depth as u8;
    std::hint::black_box(&mut frame);
    if depth == 0 {
        return u64::from(frame[0]);
    }
    dive(depth - 1) + u64::from(frame[frame.len() - 1])
}

/// Not a test: run in a process of its own.
#[test]
fn helper_overflow() {
    let Some(depth) = std::env::var("TIDEGATE_TEST_OVERFLOW").ok().and_then(|d| d.parse().ok()) else {
        return;
    };
    let (tell, told) = std::sync::mpsc::channel();
    let cores = start(1, move |_| {
        tell.send(dive(depth)).unwrap();
    });
    println!("\nsurvived with {}", told.recv().unwrap());
    cores.shutdown();
    cores.join().unwrap();
    assert_eq!(runtime::panics(), 0);
}

fn dive_in_a_process(depth: u32) -> (bool, String) {
    let program = std::env::current_exe().unwrap();
    let mut command = match std::env::var_os("TIDEGATE_TEST_RUNNER") {
        Some(runner) => {
            let mut command = Command::new(runner);
            command.arg(&program);
            command
        }
        None => Command::new(&program),
    };
    command.args(["--exact", "helper_overflow", "--nocapture"]).stderr(Stdio::null());
    let output = command.env("TIDEGATE_TEST_OVERFLOW", depth.to_string()).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn an_overflow_ends_the_process() {
    let (well, output) = dive_in_a_process(1);
    assert!(well && output.contains("survived"), "{output}");
    let (well, output) = dive_in_a_process(100);
    assert!(!well && !output.contains("survived"), "{output}");
}
