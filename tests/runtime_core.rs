//! The runtime from outside: coroutines, waits, wake-ups, panics.
#![allow(clippy::disallowed_methods)] // tests measure deadlines

mod runtime_support;

use std::cell::Cell;
use std::io::ErrorKind;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use runtime_support::{on_a_core, scaled, start, wait_for};
use tidegate::limits;
use tidegate::runtime::{self, CoreId, Parked, SpawnError};

#[test]
fn every_core_runs_init_first_on_a_coroutine_of_its_own_thread() {
    let (tell, told) = mpsc::channel();
    let cores = start(3, move |id| {
        let name = std::thread::current().name().map(str::to_owned);
        tell.send((id, runtime::current(), runtime::in_coroutine(), name)).unwrap();
    });
    let mut seen: Vec<_> = (0..3).map(|_| told.recv_timeout(Duration::from_secs(10)).unwrap()).collect();
    seen.sort();
    for (number, (id, current, in_coroutine, name)) in seen.into_iter().enumerate() {
        assert_eq!((id.index(), current, in_coroutine), (number, id, true));
        assert_eq!(name.as_deref(), Some(format!("test-{number}").as_str()));
    }
    assert_eq!(cores.handles().iter().map(|h| h.id().index()).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!((runtime::current(), runtime::in_coroutine()), (CoreId::NONE, false));
    cores.shutdown();
    cores.join().unwrap();
}

#[test]
fn coroutines_take_turns() {
    on_a_core(|| {
        let log = Rc::new(Cell::new(0u64));
        for digit in [1, 2, 3] {
            let log = log.clone();
            runtime::spawn(move || {
                for _ in 0..3 {
                    log.set(log.get() * 10 + digit);
                    runtime::yield_now();
                }
            })
            .unwrap();
        }
        while log.get() < 100_000_000 {
            runtime::yield_now();
        }
        assert_eq!(log.get(), 123_123_123);
    });
}

#[test]
fn a_waiting_call_off_a_coroutine_is_an_error_and_not_a_hang() {
    on_a_core(|| {
        assert!(runtime::in_coroutine());
        let outcome = runtime::on_core_stack(|| {
            assert!(!runtime::in_coroutine());
            runtime::yield_now();
            runtime::sleep_until(runtime::now() + Duration::from_secs(60))
        });
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Other);
        assert!(runtime::in_coroutine());
    });
    assert!(runtime::sleep_until(Instant::now()).is_err());
    assert!(matches!(runtime::spawn(|| ()), Err(SpawnError::NotOnACore)));
}

#[test]
fn the_cap_on_coroutines_is_an_error_and_room_comes_back() {
    let (tell, told) = mpsc::channel();
    let config = runtime::Config { cores: 1, name: "test", max_coroutines: 10, ..runtime::Config::default() };
    let cores = runtime::Cores::start(config, move |_| {
        let (go, live) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(0)));
        let wait = |go: Rc<Cell<bool>>, live: Rc<Cell<u32>>| {
            move || {
                live.set(live.get() + 1);
                while !go.get() {
                    runtime::yield_now();
                }
                live.set(live.get() - 1);
            }
        };
        for _ in 0..9 {
            runtime::spawn(wait(go.clone(), live.clone())).unwrap();
        }
        let refused = matches!(runtime::spawn(|| ()), Err(SpawnError::TooMany));
        go.set(true);
        runtime::yield_now();
        while live.get() > 0 {
            runtime::yield_now();
        }
        tell.send((refused, runtime::coroutines(), runtime::spawn(|| ()).is_ok())).unwrap();
    })
    .unwrap();
    assert_eq!(told.recv_timeout(Duration::from_secs(10)), Ok((true, 1, true)));
    cores.shutdown();
    cores.join().unwrap();
}

#[test]
fn sleep_and_park_keep_their_deadlines() {
    on_a_core(|| {
        for ms in [1, 5, 20, 100] {
            let (start, pause) = (Instant::now(), Duration::from_millis(ms));
            runtime::sleep_until(start + pause).unwrap();
            let slept = start.elapsed();
            assert!(
                slept >= pause && slept < pause + scaled(Duration::from_millis(80)),
                "{ms} ms took {slept:?}"
            );

            let (mut parker, _unparker) = runtime::parker();
            let start = Instant::now();
            assert_eq!(parker.park(Some(start + pause)).unwrap(), Parked::TimedOut);
            let parked = start.elapsed();
            assert!(
                parked >= pause && parked < pause + scaled(Duration::from_millis(80)),
                "{ms} ms took {parked:?}"
            );
        }
    });
}

#[test]
fn a_wake_up_before_the_park_is_kept_and_they_do_not_add_up() {
    on_a_core(|| {
        let (mut parker, unparker) = runtime::parker();
        unparker.unpark();
        unparker.clone().unpark();
        let soon = || Some(Instant::now() + Duration::from_millis(2));
        assert_eq!(parker.park(soon()).unwrap(), Parked::Woken);
        assert_eq!(parker.park(soon()).unwrap(), Parked::TimedOut);

        let (mut parker, waker) = runtime::local_parker();
        waker.wake();
        waker.clone().wake();
        assert_eq!(parker.park(soon()).unwrap(), Parked::Woken);
        assert_eq!(parker.park(soon()).unwrap(), Parked::TimedOut);
        runtime::spawn(move || waker.wake()).unwrap();
        assert_eq!(parker.park(None).unwrap(), Parked::Woken);
    });
}

#[test]
fn a_plain_thread_can_park_too() {
    let (mut parker, unparker) = runtime::parker();
    assert_eq!(parker.park(Some(Instant::now() + Duration::from_millis(5))).unwrap(), Parked::TimedOut);
    let thread = std::thread::spawn(move || unparker.unpark());
    assert_eq!(parker.park(Some(Instant::now() + Duration::from_secs(10))).unwrap(), Parked::Woken);
    thread.join().unwrap();
}

#[test]
fn wake_ups_from_other_threads_are_never_lost() {
    const WAKERS: usize = 4;
    let end = Instant::now() + Duration::from_secs(3);
    let rounds = Arc::new(AtomicUsize::new(0));
    let cores = start(2, |_| ());
    let threads: Vec<_> = (0..WAKERS)
        .map(|n| {
            let (handle, rounds) = (cores.handles()[n % 2].clone(), rounds.clone());
            std::thread::spawn(move || {
                let mut round = 0u64;
                while Instant::now() < end {
                    round += 1;
                    // One coroutine per round: posted (the core may be idle), parked, unparked from here.
                    let (tell, told) = mpsc::channel();
                    let (done, finished) = mpsc::channel();
                    handle
                        .post(move || {
                            runtime::spawn(move || {
                                let (mut parker, unparker) = runtime::parker();
                                tell.send(unparker).unwrap();
                                let deadline = Some(Instant::now() + Duration::from_secs(20));
                                done.send(parker.park(deadline).unwrap()).unwrap();
                            })
                            .unwrap();
                        })
                        .unwrap();
                    let unparker = told.recv_timeout(Duration::from_secs(20)).expect("a post was lost");
                    for _ in 0..round % 64 {
                        std::hint::spin_loop();
                    }
                    unparker.unpark();
                    let parked = finished.recv_timeout(Duration::from_secs(20)).expect("a wake-up was lost");
                    assert_eq!(parked, Parked::Woken, "a wake-up was lost");
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|t| t.join().unwrap());
    assert!(rounds.load(Ordering::Relaxed) > 100, "only {} rounds", rounds.load(Ordering::Relaxed));
    cores.shutdown();
    cores.join().unwrap();
}

#[test]
fn posts_run_on_the_cores_stack_in_order_and_a_full_queue_is_an_error() {
    let cores = start(1, |_| ());
    let handle = cores.handles()[0].clone();
    let (block, blocked) = mpsc::channel::<()>();
    let (began, begun) = mpsc::channel();
    let wait = move || blocked.recv().map_err(drop).unwrap_or_default();
    handle.post(move || began.send(()).map(|()| wait()).unwrap()).unwrap();
    begun.recv_timeout(Duration::from_secs(20)).unwrap();
    let (tell, told) = mpsc::channel();
    let mut accepted = 0;
    let refused = (0..20_000).any(|n| {
        let tell = tell.clone();
        let posted = handle.post(move || tell.send((n, runtime::in_coroutine())).unwrap());
        accepted += usize::from(posted.is_ok());
        posted.is_err()
    });
    drop(tell);
    assert!(refused, "the queue has no bound");
    assert_eq!(accepted, limits::CORE_QUEUE);
    drop(block);
    let ran: Vec<_> = told.iter().collect();
    assert!(ran.iter().map(|(n, _)| *n).eq(0..accepted), "the order was lost");
    assert!(ran.iter().all(|(_, in_coroutine)| !in_coroutine));
    cores.shutdown();
    cores.join().unwrap();
}

#[test]
fn panics_are_contained_and_counted() {
    let before = runtime::panics();
    on_a_core(move || {
        let dropped = Rc::new(Cell::new(0));
        struct CountDrop(Rc<Cell<u32>>);
        impl Drop for CountDrop {
            fn drop(&mut self) {
                self.0.set(self.0.get() + 1);
            }
        }
        let guard = CountDrop(dropped.clone());
        runtime::spawn(move || {
            let _guard = guard;
            runtime::yield_now();
            panic!("planted in a coroutine");
        })
        .unwrap();
        let ticks = Rc::new(Cell::new(0));
        let ticked = ticks.clone();
        runtime::every(Duration::from_millis(1), move || {
            ticked.set(ticked.get() + 1);
            assert_ne!(ticked.get(), 2, "planted in a tick");
        });
        wait_for("a tick after the panic", || ticks.get() > 3);
        assert_eq!(dropped.get(), 1, "destructors run");
        let caught =
            std::panic::catch_unwind(|| runtime::on_core_stack(|| panic!("planted on the core's stack")));
        assert!(caught.is_err() && runtime::in_coroutine());
        assert_eq!(runtime::panics() - before, 2);
    });
}

#[test]
fn every_ticks_at_its_period() {
    on_a_core(|| {
        let ticks = Rc::new(Cell::new(0u32));
        // The core's own clock: it counts from the begin of its turn, before this coroutine was resumed.
        let (ticked, start) = (ticks.clone(), runtime::now());
        runtime::every(Duration::from_millis(10), move || {
            assert!(!runtime::in_coroutine());
            ticked.set(ticked.get() + 1);
        });
        wait_for("five ticks", || ticks.get() >= 5);
        assert!(start.elapsed() >= Duration::from_millis(50));
    });
}

thread_local! {
    static MARK: Cell<usize> = const { Cell::new(0) };
}

/// The test that a migrating runtime fails on ARM: the compiler keeps the address of a thread-local across a
/// call.
#[test]
fn a_thread_local_is_the_same_before_and_after_every_wait() {
    #[inline(always)]
    fn mark() -> usize {
        MARK.with(|m| m as *const Cell<usize> as usize + m.get())
    }
    let stale = Arc::new(AtomicUsize::new(0));
    let waits = Arc::new(AtomicUsize::new(0));
    let cores = start(4, |id| MARK.set(id.index() + 1));
    let (tell, told) = mpsc::channel::<()>();
    let coroutines = 8;
    for handle in cores.handles() {
        let others: Vec<_> = cores.handles().to_vec();
        let (stale, waits, tell) = (stale.clone(), waits.clone(), tell.clone());
        handle
            .post(move || {
                for n in 0..coroutines {
                    let (stale, waits, tell, others) =
                        (stale.clone(), waits.clone(), tell.clone(), others.clone());
                    runtime::spawn(move || {
                        let thread = std::thread::current().id();
                        for round in 0..scaled(100) {
                            let before = mark();
                            match (n + round) % 3 {
                                0 => runtime::yield_now(),
                                1 => runtime::sleep_until(runtime::now() + Duration::from_millis(1)).unwrap(),
                                _ => {
                                    let (mut parker, unparker) = runtime::parker();
                                    others[round % others.len()].post(move || unparker.unpark()).unwrap();
                                    parker.park(None).unwrap();
                                }
                            }
                            waits.fetch_add(1, Ordering::Relaxed);
                            let same = before == mark() && thread == std::thread::current().id();
                            stale.fetch_add(usize::from(!same), Ordering::Relaxed);
                        }
                        drop(tell);
                    })
                    .unwrap();
                }
            })
            .unwrap();
    }
    drop(tell);
    assert_eq!(told.recv_timeout(Duration::from_secs(60)), Err(mpsc::RecvTimeoutError::Disconnected));
    assert_eq!(waits.load(Ordering::Relaxed), 4 * coroutines * scaled(100));
    assert_eq!(stale.load(Ordering::Relaxed), 0, "a coroutine saw another thread's thread-local");
    cores.shutdown();
    cores.join().unwrap();
}
