//! The property of this name for what libFuzzer thinks of.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| properties::run("response_head", input));
