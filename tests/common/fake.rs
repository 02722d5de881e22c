//! A directory and a fake engine that end with their test.
#![allow(dead_code)] // each test binary uses a part

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use tidegate::docker::fake::{FakeEngine, Options};

/// A directory that goes with the test.
pub struct Dir(pub PathBuf);

impl Dir {
    pub fn new() -> Dir {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("tidegate-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Dir(path)
    }

    pub fn socket(&self) -> PathBuf {
        self.0.join("docker.sock")
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An engine that ends with the test.
pub struct Engine {
    pub fake: FakeEngine,
    pub dir: Dir,
}

impl std::ops::Deref for Engine {
    type Target = FakeEngine;
    fn deref(&self) -> &FakeEngine {
        &self.fake
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.fake.shutdown();
    }
}

pub fn engine() -> Engine {
    engine_with(|options| options)
}

pub fn engine_with(change: impl FnOnce(Options) -> Options) -> Engine {
    let dir = Dir::new();
    let fake = FakeEngine::start(change(Options::new(dir.socket()))).unwrap();
    Engine { fake, dir }
}
