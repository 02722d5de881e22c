//! Every interleaving of the hand-over to a core (flag in front of the eventfd):
//! `RUSTFLAGS="--cfg loom" cargo test --profile loom --target-dir target/loom --test loom_runtime`.
#![cfg(loom)]
#![allow(clippy::disallowed_methods)] // loom's locks, in the model alone

use std::collections::VecDeque;

use loom::sync::atomic::{AtomicU8, Ordering};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use tidegate::runtime::handover::Handover;

/// A flag in front of a doorbell: ours, or a wrong one that the model must catch.
trait Flag: Send + Sync + 'static {
    fn new() -> Self;
    fn announce(&self) -> bool;
    fn doze(&self) -> bool;
    fn rouse(&self) -> bool;
}

impl Flag for Handover {
    fn new() -> Self {
        Handover::new()
    }

    fn announce(&self) -> bool {
        Handover::announce(self)
    }

    fn doze(&self) -> bool {
        Handover::doze(self)
    }

    fn rouse(&self) -> bool {
        Handover::rouse(self)
    }
}

/// An inbox and its core as in the runtime, with an eventfd of loom's making.
struct Model<F> {
    flag: F,
    queue: Mutex<VecDeque<u32>>,
    rings: Mutex<u32>,
    rung: Condvar,
}

impl<F: Flag> Model<F> {
    fn new() -> Arc<Self> {
        let (queue, rings) = (Mutex::new(VecDeque::new()), Mutex::new(0));
        Arc::new(Model { flag: F::new(), queue, rings, rung: Condvar::new() })
    }

    fn post(&self, item: u32) {
        self.queue.lock().unwrap().push_back(item);
        if self.flag.announce() {
            *self.rings.lock().unwrap() += 1;
            self.rung.notify_one();
        }
    }

    /// One turn of the core: block if nothing is announced, then take what has come.
    fn turn(&self, seen: &mut Vec<u32>) {
        if self.flag.doze() {
            let mut rings = self.rings.lock().unwrap();
            while *rings == 0 {
                rings = self.rung.wait(rings).unwrap();
            }
            *rings = 0;
        }
        if self.flag.rouse() {
            seen.extend(self.queue.lock().unwrap().drain(..));
        }
    }
}

/// Producers post, the core turns until it has all; a lost wake-up is a deadlock, which loom reports. At most
/// `preemptions` switches of threads that could go on (`None`: all).
fn explore<F: Flag>(preemptions: Option<usize>, producers: &'static [&'static [u32]]) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.check(move || {
        let model = Model::<F>::new();
        let threads: Vec<_> = producers
            .iter()
            .map(|items| {
                let model = model.clone();
                thread::spawn(move || items.iter().for_each(|item| model.post(*item)))
            })
            .collect();
        let (mut seen, total) = (Vec::new(), producers.iter().map(|p| p.len()).sum::<usize>());
        while seen.len() < total {
            model.turn(&mut seen);
        }
        threads.into_iter().for_each(|t| t.join().unwrap());
        seen.sort_unstable();
        let mut all: Vec<u32> = producers.concat();
        all.sort_unstable();
        assert_eq!(seen, all);
    });
}

/// The same without a deadlock: when the core sleeps, the producers end, and then somebody must have rung if
/// anything is left. A wrong flag fails an assertion here, which a test can expect.
fn explore_to_the_end<F: Flag>(items: &'static [u32]) {
    loom::model(move || {
        let model = Model::<F>::new();
        let posting = model.clone();
        let mut producer = Some(thread::spawn(move || items.iter().for_each(|item| posting.post(*item))));
        let mut seen = Vec::new();
        while seen.len() < items.len() {
            if model.flag.doze() {
                if let Some(producer) = producer.take() {
                    producer.join().unwrap();
                }
                let rung = std::mem::take(&mut *model.rings.lock().unwrap()) > 0;
                assert!(rung, "lost wake-up");
            }
            if model.flag.rouse() {
                seen.extend(model.queue.lock().unwrap().drain(..));
            }
        }
        assert_eq!(seen, items);
    });
}

#[test]
fn one_producer_is_never_forgotten() {
    explore_to_the_end::<Handover>(&[1, 2, 3]);
    explore::<Handover>(None, &[&[1, 2]]);
}

#[test]
fn two_producers_are_never_forgotten() {
    // Without a bound on preemptions three threads take hours; a lost wake-up needs one or two.
    explore::<Handover>(Some(3), &[&[1], &[2]]);
}

/// The core notes that it sleeps without looking whether something came.
struct BlindDoze(AtomicU8);

impl Flag for BlindDoze {
    fn new() -> Self {
        BlindDoze(AtomicU8::new(0))
    }

    fn announce(&self) -> bool {
        self.0.swap(1, Ordering::AcqRel) == 2
    }

    fn doze(&self) -> bool {
        self.0.store(2, Ordering::Release);
        true
    }

    fn rouse(&self) -> bool {
        self.0.swap(0, Ordering::AcqRel) == 1
    }
}

#[test]
#[should_panic(expected = "lost wake-up")]
fn the_model_catches_a_core_that_dozes_blindly() {
    explore_to_the_end::<BlindDoze>(&[1, 2]);
}

/// The producer looks and then writes, in two steps.
struct TwoStepAnnounce(AtomicU8);

impl Flag for TwoStepAnnounce {
    fn new() -> Self {
        TwoStepAnnounce(AtomicU8::new(0))
    }

    fn announce(&self) -> bool {
        let asleep = self.0.load(Ordering::Acquire) == 2;
        self.0.store(1, Ordering::Release);
        asleep
    }

    fn doze(&self) -> bool {
        self.0.compare_exchange(0, 2, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn rouse(&self) -> bool {
        self.0.swap(0, Ordering::AcqRel) == 1
    }
}

#[test]
#[should_panic(expected = "lost wake-up")]
fn the_model_catches_an_announcement_in_two_steps() {
    explore_to_the_end::<TwoStepAnnounce>(&[1, 2]);
}
