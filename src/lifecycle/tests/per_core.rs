//! The leases of a core, seen by one thread.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::scenario::{at, start};
use crate::lifecycle::{CoreLeases, Entry, Refused, Registry, State};

type Numbers = Registry<&'static str, u32>;

fn entry(registry: &Arc<Numbers>, key: &'static str) -> Arc<Entry<&'static str, u32>> {
    registry.entry(&key, || Ok::<_, Infallible>(7)).unwrap()
}

fn numbers() -> Arc<Numbers> {
    Registry::new("test", 9, start)
}

#[test]
fn many_requests_take_one_lease_and_give_it_back_a_second_after_the_last() {
    let (registry, mut core) = (numbers(), CoreLeases::new());
    let k = entry(&registry, "k");
    for _ in 0..3 {
        core.begin(&k, at(0)).unwrap();
    }
    assert_eq!((core.in_flight(&"k"), k.state(), core.get(&"k")), (3, State::Active(1), Some(&7)));
    for _ in 0..3 {
        core.end(&"k", at(5));
    }
    assert_eq!(core.next_tick(), Some(at(6)));
    core.tick(at(5));
    assert_eq!((core.len(), k.state()), (1, State::Active(1)), "kept for a second");
    core.tick(at(6));
    assert_eq!((core.len(), core.next_tick(), k.state()), (0, None, State::Idle { since: start() }));
}

#[test]
fn a_request_within_the_second_keeps_the_lease() {
    let (registry, mut core) = (numbers(), CoreLeases::new());
    let k = entry(&registry, "k");
    core.begin(&k, at(0)).unwrap();
    core.end(&"k", at(0));
    core.begin(&k, at(1)).unwrap();
    core.tick(at(60));
    assert_eq!((core.in_flight(&"k"), core.next_tick()), (1, None), "in flight, however long");
    core.end(&"k", at(60));
    assert_eq!(core.next_tick(), Some(at(61)));
}

#[test]
fn a_drain_ends_with_the_last_request_of_the_last_core() {
    let (registry, mut busy, mut quiet) = (numbers(), CoreLeases::new(), CoreLeases::new());
    let k = entry(&registry, "k");
    busy.begin(&k, at(0)).unwrap();
    quiet.begin(&k, at(0)).unwrap();
    quiet.end(&"k", at(0));
    let told = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&told);
    k.drain(move || count.store(1 + count.load(Ordering::Relaxed), Ordering::Relaxed)).unwrap();
    for core in [&mut busy, &mut quiet] {
        core.drain(&"k", at(1));
    }
    assert!(quiet.is_empty(), "an idle core gives back at once");
    assert_eq!(busy.begin(&k, at(1)), Err(Refused::Draining));
    assert_eq!(quiet.begin(&k, at(1)), Err(Refused::Draining));
    assert_eq!(told.load(Ordering::Relaxed), 0);
    busy.end(&"k", at(2));
    assert_eq!((told.load(Ordering::Relaxed), k.state()), (1, State::Draining(0)));
}

#[test]
fn an_undrain_lets_requests_in_again() {
    let (registry, mut core) = (numbers(), CoreLeases::new());
    let k = entry(&registry, "k");
    core.begin(&k, at(0)).unwrap();
    k.drain(|| ()).unwrap();
    core.drain(&"k", at(1));
    k.undrain().unwrap();
    core.undrain(&"k", at(2));
    core.begin(&k, at(2)).unwrap();
    assert_eq!((core.in_flight(&"k"), k.state()), (2, State::Active(1)));
}

#[test]
fn a_new_snapshot_drains_what_it_has_no_more() {
    let (registry, mut core) = (numbers(), CoreLeases::new());
    for key in ["stays", "goes", "goes busy"] {
        core.begin(&entry(&registry, key), at(0)).unwrap();
    }
    core.end(&"stays", at(0));
    core.end(&"goes", at(0));
    core.drain_where(at(1), |key| *key != "stays");
    assert_eq!((core.len(), core.in_flight(&"goes busy")), (2, 1));
    core.end(&"goes busy", at(1));
    assert_eq!((core.len(), core.get(&"stays")), (1, Some(&7)));
}

#[test]
fn a_refused_first_request_leaves_no_slot() {
    let (registry, mut core) = (numbers(), CoreLeases::new());
    let k = entry(&registry, "k");
    k.close("test");
    assert_eq!(core.begin(&k, at(0)), Err(Refused::Closed));
    assert!(core.is_empty());
}

#[test]
fn a_closed_entry_ends_when_the_core_gives_its_lease_back() {
    let (registry, mut core) = (numbers(), CoreLeases::new());
    let k = entry(&registry, "k");
    core.begin(&k, at(0)).unwrap();
    k.close("test");
    assert_eq!((k.state(), core.get(&"k")), (State::Closed(1), Some(&7)));
    core.end(&"k", at(0));
    core.drain(&"k", at(0));
    assert_eq!(k.state(), State::Closed(0));
    core.begin(&entry(&registry, "k"), at(1)).unwrap();
}

#[test]
fn another_object_of_the_same_key_waits_for_the_old_ones_requests() {
    let (one, two, mut core) = (numbers(), numbers(), CoreLeases::new());
    let (old, new) = (entry(&one, "k"), entry(&two, "k"));
    core.begin(&old, at(0)).unwrap();
    assert_eq!(core.begin(&new, at(0)), Err(Refused::Closed));
    core.end(&"k", at(0));
    core.begin(&new, at(0)).unwrap();
    assert_eq!((old.state(), new.state()), (State::Idle { since: start() }, State::Active(1)));
}

#[test]
fn an_end_too_many_is_harmless() {
    let (registry, mut core) = (numbers(), CoreLeases::new());
    let k = entry(&registry, "k");
    core.end(&"k", at(0));
    core.begin(&k, at(0)).unwrap();
    core.end(&"k", at(0));
    core.end(&"k", at(0));
    assert_eq!((core.in_flight(&"k"), core.len()), (0, 1));
}

#[test]
fn a_core_that_ends_gives_all_back() {
    let (registry, mut core) = (numbers(), CoreLeases::new());
    let k = entry(&registry, "k");
    core.begin(&k, at(0)).unwrap();
    drop(core);
    assert_eq!(k.state(), State::Idle { since: start() });
}
