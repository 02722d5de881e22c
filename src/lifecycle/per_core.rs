//! The leases of one core: requests count in plain integers, and one lease stands for them all.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::entry::{Entry, Key, Lease};
use super::machine::Refused;
use super::slot::{self, SlotAction, SlotEvent, SlotState};
use super::throttle::Throttle;
use crate::limits;
use crate::util::hash::BuildFold;

/// One core's leases by key; [`slot`] draws the machine of each. It belongs to one thread.
///
/// A call that gives the last lease back may drop a resource or call a drainer's callback, which only posts
/// a message.
pub struct CoreLeases<K: Key, T> {
    slots: HashMap<K, Slot<K, T>, BuildFold>,
    warned: Throttle<K>,
}

struct Slot<K: Key, T> {
    state: SlotState,
    lease: Lease<K, T>,
}

impl<K: Key, T> CoreLeases<K, T> {
    /// Without leases.
    pub fn new() -> Self {
        CoreLeases { slots: HashMap::default(), warned: Throttle::new() }
    }

    /// A request on `entry` begins; [`CoreLeases::end`] must follow. The first one takes the core's lease.
    ///
    /// An entry that was closed while this core holds its lease is not refused here: a close reaches the
    /// core by the snapshot's generation.
    ///
    /// # Errors
    /// [`Refused::Draining`], [`Refused::Closed`] or [`Refused::Full`]: the slow path through the gate.
    pub fn begin(&mut self, entry: &Arc<Entry<K, T>>, now: Instant) -> Result<(), Refused> {
        if let Some(slot) = self.slots.get_mut(entry.key()) {
            if Arc::ptr_eq(slot.lease.entry(), entry) {
                return slot.step(SlotEvent::Begin, now).map(|_| ());
            }
            // Another object of this key. A registry makes none while a lease on the old one is out, so
            // these are entries of two registries. The old one has the slot until its requests have ended.
            if slot.state.in_flight() > 0 {
                return Err(Refused::Closed);
            }
            self.slots.remove(entry.key());
        }
        let lease = entry.acquire()?;
        let (state, _) = slot::step(SlotState::Vacant, SlotEvent::Begin, now);
        self.slots.insert(entry.key().clone(), Slot { state, lease });
        Ok(())
    }

    /// A request that [`CoreLeases::begin`] let in has ended.
    pub fn end(&mut self, key: &K, now: Instant) {
        let ended = match self.slots.get_mut(key) {
            Some(slot) => slot.step(SlotEvent::End, now),
            None => Err(Refused::Underflow),
        };
        match ended {
            Ok(Keep::Yes) => {}
            Ok(Keep::No) => drop(self.slots.remove(key)),
            Err(refused) => {
                if self.warned.admit(key.clone(), now).is_some() {
                    log::warn!("{key}: end of a request refused: {refused}");
                }
            }
        }
    }

    /// Gives the lease on `key` back: now, or with the last request in flight.
    pub fn drain(&mut self, key: &K, now: Instant) {
        let drained = self.slots.get_mut(key).map(|slot| slot.step(SlotEvent::Drain, now));
        if let Some(Ok(Keep::No)) = drained {
            self.slots.remove(key);
        }
    }

    /// Gives the leases back on all keys that `which` names: after a new snapshot, what it has no more.
    pub fn drain_where(&mut self, now: Instant, which: impl Fn(&K) -> bool) {
        self.step_where(SlotEvent::Drain, now, which);
    }

    /// Keeps the lease on `key`, if it is still there.
    pub fn undrain(&mut self, key: &K, now: Instant) {
        if let Some(slot) = self.slots.get_mut(key) {
            let undrained = slot.step(SlotEvent::Undrain, now);
            debug_assert!(undrained.is_ok(), "undrain is accepted in every state");
        }
    }

    /// Gives leases back that had no request for `limits::LEASE_KEPT`.
    pub fn tick(&mut self, now: Instant) {
        self.step_where(SlotEvent::Tick, now, |_| true);
    }

    /// When the next [`CoreLeases::tick`] has something to do, unless requests come.
    pub fn next_tick(&self) -> Option<Instant> {
        let due = self.slots.values().filter_map(|slot| match slot.state {
            SlotState::Held { in_flight: 0, last } => last.checked_add(limits::LEASE_KEPT),
            _ => None,
        });
        due.min()
    }

    /// The resource of `key`, while this core has a lease on it.
    pub fn get(&self, key: &K) -> Option<&T> {
        self.slots.get(key).map(|slot| slot.lease.get())
    }

    /// Requests in flight on `key`.
    pub fn in_flight(&self, key: &K) -> u32 {
        self.slots.get(key).map_or(0, |slot| slot.state.in_flight())
    }

    /// Leases that this core has.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// True if this core has no lease.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    fn step_where(&mut self, event: SlotEvent, now: Instant, which: impl Fn(&K) -> bool) {
        let given_back =
            |key: &K, slot: &mut Slot<K, T>| which(key) && matches!(slot.step(event, now), Ok(Keep::No));
        self.slots.extract_if(given_back).for_each(drop);
    }
}

impl<K: Key, T> Default for CoreLeases<K, T> {
    fn default() -> Self {
        CoreLeases::new()
    }
}

/// Whether the slot's lease is kept.
enum Keep {
    Yes,
    No,
}

impl<K: Key, T> Slot<K, T> {
    fn step(&mut self, event: SlotEvent, now: Instant) -> Result<Keep, Refused> {
        let (state, action) = slot::step(self.state, event, now);
        self.state = state;
        match action {
            SlotAction::GiveBack => Ok(Keep::No),
            SlotAction::Refuse(refused) => Err(refused),
            // `TakeLease` comes from `Vacant` alone, and a slot in the table has its lease.
            SlotAction::None | SlotAction::TakeLease => Ok(Keep::Yes),
        }
    }
}
