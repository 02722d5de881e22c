//! What people send through a proxy all day passes, plain and over TLS, each byte compared: curl, a browser's
//! events and WebSocket, a WebSocket client, bodies of a gigabyte. One process takes it all and does not grow.
#![allow(clippy::disallowed_methods)] // tests use std's clock

mod cli_support;
mod common;
mod through_support;
mod tls_support;

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Instant;
use through_support::bulk::Framing;
use through_support::{Peak, Served, Way, browser, bulk, curl, events, has, say, websocket};

const GIGABYTE: u64 = 1024 * 1024 * 1024;
/// What a process may have learned after it has seen one of each kind.
const WARM_UP: u64 = 16 * 1024 * 1024;
/// What the resident memory may grow by.
const GROWTH_KB: u64 = 4 * 1024;

const FRAMINGS: [Framing; 2] = [Framing::Length, Framing::Chunked];

#[test]
fn everything_passes_and_the_process_does_not_grow() {
    let name = "everything_passes_and_the_process_does_not_grow";
    let (has_curl, has_browser) = (has("curl", name), has("chromium", name));
    let source = Arc::new(events::Source::default());
    let (results, said) = channel();
    let backend = through_support::backend(&source, &results);
    let mut served = Served::start(backend.addr);
    for way in Way::BOTH {
        websocket::pass(&served, way);
        for framing in FRAMINGS {
            bulk::upload(&served, way, WARM_UP, framing);
            bulk::download(&served, way, WARM_UP, framing);
        }
        if has_curl {
            curl::pass(&served, way, &source);
        }
    }
    let before = served.rss_kb();
    say(&format!("MEASURED: tidegate after one of each kind: {before} KB resident"));

    let peak = Peak::watch(&served);
    let step = |what: &str, step: &dyn Fn()| {
        let begin = Instant::now();
        step();
        let (took, most, now) = (begin.elapsed(), peak.take(), served.rss_kb());
        say(&format!("MEASURED: {what}: {took:.1?}, {most} KB resident at most, {now} KB after it"));
        let grown = most.max(now).saturating_sub(before);
        assert!(grown <= GROWTH_KB, "{what}: the resident memory has grown by {grown} KB");
    };
    for way in Way::BOTH {
        if has_curl {
            step(&format!("curl, {way:?}"), &|| curl::pass(&served, way, &source));
        }
        if has_browser {
            step(&format!("a browser, {way:?}"), &|| browser::pass(&served, way, &source, &said));
        }
        step(&format!("a WebSocket client, {way:?}"), &|| websocket::pass(&served, way));
        for framing in FRAMINGS {
            // TLS takes its time: each framing goes one way.
            if (way, framing) != (Way::Tls, Framing::Length) {
                step(&format!("1 GB up, {way:?}, {framing:?}"), &|| {
                    bulk::upload(&served, way, GIGABYTE, framing);
                });
            }
            if (way, framing) != (Way::Tls, Framing::Chunked) {
                step(&format!("1 GB down, {way:?}, {framing:?}"), &|| {
                    bulk::download(&served, way, GIGABYTE, framing);
                });
            }
        }
    }
    drop(peak);
    served.running.signal("TERM");
    assert_eq!(served.running.exit_code(), Some(0), "it ends in order");
}
