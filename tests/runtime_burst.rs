//! A burst of coroutines leaves nothing behind. Alone in its program: it measures the process.
#![allow(clippy::disallowed_methods)] // tests measure deadlines

mod runtime_support;

use std::cell::Cell;
use std::fs;
use std::io::Read;
use std::rc::Rc;
use std::time::{Duration, Instant};

use runtime_support::{on_a_core, scaled};
use tidegate::runtime;

/// At once.
const WAVE: usize = 10_000;
const WAVES: usize = 10;

#[test]
fn a_hundred_thousand_coroutines_leave_no_mapping_and_no_memory_behind() {
    on_a_core(|| {
        // The warm-up brings in the pages of the code; the mappings are those of before it.
        let cold = measure();
        wave(100);
        settle(&Measure { resident: usize::MAX / 2, ..cold });
        let before = Measure { mappings: cold.mappings, ..measure() };
        let mut peak = 0;
        for _ in 0..WAVES {
            peak = peak.max(wave(scaled(WAVE)));
        }
        assert!(peak >= scaled(WAVE), "only {peak} mappings at the peak: they were not there at once");
        settle(&before);
    });
}

/// Runs `count` coroutines that are all alive at once; gives the mappings while they are.
fn wave(count: usize) -> usize {
    let (running, go) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
    for _ in 0..count {
        let (running, go) = (running.clone(), go.clone());
        let work = move || {
            running.set(running.get() + 1);
            while !go.get() {
                runtime::sleep_until(runtime::now() + Duration::from_millis(5)).unwrap();
            }
            running.set(running.get() - 1);
        };
        runtime::spawn(work).unwrap_or_else(|e| panic!("after {} coroutines: {e}", runtime::coroutines()));
    }
    while running.get() < count {
        runtime::yield_now();
    }
    assert_eq!(runtime::coroutines(), count + 1);
    let mappings = measure().mappings;
    go.set(true);
    while running.get() > 0 {
        runtime::sleep_until(runtime::now() + Duration::from_millis(1)).unwrap();
    }
    mappings
}

#[derive(Debug)]
struct Measure {
    mappings: usize,
    resident: usize,
}

fn measure() -> Measure {
    // Read in pieces: the whole text at the peak is larger than what is looked for.
    let (mut maps, mut piece, mut mappings) = (fs::File::open("/proc/self/maps").unwrap(), [0; 4096], 0);
    while let n @ 1.. = maps.read(&mut piece).unwrap() {
        mappings += piece[..n].iter().filter(|b| **b == b'\n').count();
    }
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let resident = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
    let kilobytes: usize = resident.trim().trim_end_matches(" kB").parse().unwrap();
    Measure { mappings, resident: kilobytes * 1024 }
}

/// Two mappings for each of the 16 stacks that an idle core keeps, and some of the allocator's.
const MAPPINGS: usize = 2 * 16 + 8;
const BYTES: usize = 1024 * 1024;

/// Waits until mappings and memory are what they were.
fn settle(before: &Measure) {
    // An emulator keeps tables of its own for every page it has ever seen; there only the mappings count.
    let emulated = std::env::var_os("TIDEGATE_TEST_RUNNER").is_some();
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let now = measure();
        if now.mappings <= before.mappings + MAPPINGS && (emulated || now.resident <= before.resident + BYTES)
        {
            println!("before {before:?}, after {now:?}");
            return;
        }
        assert!(Instant::now() < end, "before {before:?}, still {now:?}");
        runtime::sleep_until(runtime::now() + Duration::from_millis(50)).unwrap();
    }
}
