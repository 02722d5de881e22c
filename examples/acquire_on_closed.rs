//! Embeds the library, acquires on what is closed, and goes on: the log has a `WARN` line, nothing panics.
//!
//! ```sh
//! cargo run --release --example acquire_on_closed
//! ```

use std::convert::Infallible;
use std::process::ExitCode;
use std::time::Instant;

use tidegate::lifecycle::{AcquireError, Refused, Registry};

fn main() -> ExitCode {
    env_logger::Builder::new().filter_level(log::LevelFilter::Debug).parse_default_env().init();
    #[allow(clippy::disallowed_methods)] // the program around the library gives it its clock
    let registry = Registry::new("docker client", 100, Instant::now);
    let key = "unix:///var/run/docker.sock".to_owned();
    let make = || Ok::<_, Infallible>("a client");

    let lease = registry.acquire(&key, make).expect("a new entry can be acquired");
    let entry = lease.entry().clone();
    registry.close(&key, "the engine is gone");

    // By key and by entry, a hundred times: each is refused, and the log says so once a second.
    for _ in 0..50 {
        let by_key = registry.acquire(&key, make).map(drop);
        assert_eq!(by_key, Err(AcquireError::Refused(Refused::Closed)));
        assert_eq!(entry.acquire().map(drop), Err(Refused::Closed));
    }
    println!("still held: {}", lease.get());
    drop(lease);

    // The key is free again.
    match registry.acquire(&key, make) {
        Ok(lease) => {
            println!("went on with: {}", lease.get());
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("did not go on: {error}");
            ExitCode::FAILURE
        }
    }
}
