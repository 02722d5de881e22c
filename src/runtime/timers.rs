//! Deadlines of one core: a four-ary heap that knows the place of each entry, so that cancelling removes at
//! once.
//!
//! Nearly every deadline is cancelled. A new one is later than most, so it stays near the heap's end, and
//! both arming and cancelling touch one or two entries. Nothing is left behind: 10^5 armed and cancelled
//! deadlines keep the memory of the largest number that was armed at once, and less when that falls.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use super::slab::Slab;

/// Names one armed timer; stale names are harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimerId {
    slot: u32,
    generation: NonZeroU32,
}

/// The armed timers of a core.
pub(crate) struct Timers<A> {
    /// Times count from here, in nanoseconds.
    epoch: Instant,
    heap: Vec<Entry>,
    slots: Slab<Slot<A>>,
    generation: NonZeroU32,
}

#[derive(Clone, Copy)]
struct Entry {
    at: u64,
    slot: u32,
}

struct Slot<A> {
    place: u32,
    generation: NonZeroU32,
    action: A,
}

impl<A> Timers<A> {
    pub(crate) fn new(epoch: Instant) -> Self {
        Timers { epoch, heap: Vec::new(), slots: Slab::new(), generation: NonZeroU32::MIN }
    }

    /// Arms `action` for `at`.
    pub(crate) fn arm(&mut self, at: Instant, action: A) -> TimerId {
        let generation = self.generation;
        self.generation = generation.checked_add(1).unwrap_or(NonZeroU32::MIN);
        let slot = self.slots.insert(Slot { place: self.heap.len() as u32, generation, action });
        self.heap.push(Entry { at: self.nanos(at), slot });
        self.up(self.heap.len() - 1);
        TimerId { slot, generation }
    }

    /// Cancels; a timer that fired or was cancelled before is left alone.
    pub(crate) fn cancel(&mut self, id: TimerId) {
        let Some(slot) = self.slots.get(id.slot).filter(|s| s.generation == id.generation) else { return };
        let place = slot.place as usize;
        self.slots.remove(id.slot);
        self.take_out(place);
    }

    /// The next timer that is due at `now`, removed.
    pub(crate) fn due(&mut self, now: Instant) -> Option<A> {
        let first = self.heap.first().copied()?;
        if first.at > self.nanos_down(now) {
            return None;
        }
        self.take_out(0);
        self.slots.remove(first.slot).map(|s| s.action)
    }

    /// Time from `now` to the next timer.
    pub(crate) fn next_in(&self, now: Instant) -> Option<Duration> {
        let first = self.heap.first()?;
        Some(Duration::from_nanos(first.at.saturating_sub(self.nanos_down(now))))
    }

    /// Forgets all; none of their actions runs.
    pub(crate) fn clear(&mut self) {
        self.heap = Vec::new();
        self.slots = Slab::new();
    }

    fn nanos(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.epoch).as_nanos()).unwrap_or(u64::MAX)
    }

    /// As `nanos`; a separate name because a deadline that saturates must never be due.
    fn nanos_down(&self, now: Instant) -> u64 {
        self.nanos(now).min(u64::MAX - 1)
    }

    fn take_out(&mut self, place: usize) {
        let Some(last) = self.heap.pop() else { return };
        if place < self.heap.len() {
            self.put(place, last);
            self.up(place);
            self.down(place);
        }
        if self.heap.capacity() > 64 && self.heap.len() < self.heap.capacity() / 4 {
            self.heap.shrink_to(self.heap.len() * 2);
        }
    }

    fn put(&mut self, place: usize, entry: Entry) {
        self.heap[place] = entry;
        if let Some(slot) = self.slots.get_mut(entry.slot) {
            slot.place = place as u32;
        }
    }

    fn up(&mut self, mut place: usize) {
        let entry = self.heap[place];
        while place > 0 {
            let parent = (place - 1) / 4;
            if self.heap[parent].at <= entry.at {
                break;
            }
            self.put(place, self.heap[parent]);
            place = parent;
        }
        self.put(place, entry);
    }

    fn down(&mut self, mut place: usize) {
        let entry = self.heap[place];
        loop {
            let children = place * 4 + 1..(place * 4 + 5).min(self.heap.len());
            let Some(least) = children.min_by_key(|c| self.heap[*c].at) else { break };
            if self.heap[least].at >= entry.at {
                break;
            }
            self.put(place, self.heap[least]);
            place = least;
        }
        self.put(place, entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::rng::Rng;
    use std::collections::BTreeMap;

    #[allow(clippy::disallowed_methods)] // any instant will do as the epoch
    fn epoch() -> Instant {
        Instant::now()
    }

    #[test]
    fn fires_in_order_what_was_not_cancelled() {
        let start = epoch();
        let (mut timers, mut model, mut rng) = (Timers::new(start), BTreeMap::new(), Rng::new(7));
        for number in 0..5_000u64 {
            let at = start + Duration::from_nanos(rng.below(1_000_000) * 5_000 + number);
            model.insert(at, (number, timers.arm(at, number)));
            if rng.below(3) > 0 {
                let nth = rng.below(model.len() as u64) as usize;
                let at = model.keys().copied().nth(nth).unwrap();
                let (_, id) = model.remove(&at).unwrap();
                timers.cancel(id);
                timers.cancel(id);
            }
        }
        let end = start + Duration::from_secs(3600);
        for (at, (number, _)) in model {
            assert_eq!(timers.next_in(start), Some(at - start));
            assert_eq!(timers.due(at - Duration::from_nanos(1)), None);
            assert_eq!(timers.due(at), Some(number));
        }
        assert_eq!((timers.due(end), timers.next_in(end)), (None, None));
    }

    #[test]
    fn a_hundred_thousand_cancelled_deadlines_leave_nothing() {
        let start = epoch();
        let mut timers = Timers::new(start);
        for _ in 0..100_000 {
            let id = timers.arm(start + Duration::from_secs(60), ());
            timers.cancel(id);
        }
        assert!(timers.heap.capacity() <= 64, "{}", timers.heap.capacity());
        let ids: Vec<_> = (0..100_000).map(|i| timers.arm(start + Duration::from_nanos(i), ())).collect();
        ids.into_iter().for_each(|id| timers.cancel(id));
        assert!(timers.heap.capacity() <= 64, "{}", timers.heap.capacity());
        assert_eq!(timers.slots.live(), 0);
    }

    #[test]
    fn a_deadline_beyond_the_clock_is_never_due() {
        let start = epoch();
        let mut timers = Timers::new(start);
        let far = start.checked_add(Duration::from_secs(1 << 40)).unwrap();
        timers.arm(far, ());
        assert_eq!(timers.due(far), None);
    }
}
