//! The lifecycle of whatever is shared and must end in order: a Docker client, an upstream endpoint, a
//! configuration generation.
//!
//! An entry is `Idle`, `Active(n)` with `n` leases out, `Draining(n)` or `Closed(n)`; [`machine`] draws it.
//! Seven rules hold, whatever the order of events:
//!
//! 1. **Look-up and count change are one step under one lock.** [`Registry::acquire`] finds the entry and
//!    counts the lease without letting go of the map. That an entry is "in the registry with a dead count"
//!    can't be observed: what is `Closed(0)` counts as absent, for a look-up as for a listing.
//! 2. **One acquire, one release, by type.** A [`Lease`] can't be cloned and its `Drop` is the only release.
//!    What it guards is lent by reference ([`Lease::get`]) for the lease's life and never leaves the entry.
//! 3. **An entry is removed from the registry only if it still is this object**, checked again under the
//!    map's lock. A late remover can't take away its successor.
//! 4. **The key holds all that decides identity.** [`Entry::serial`] is for the log only.
//! 5. **The resource closes after the last lease is back.** Nothing is closed under a holder: `close` with
//!    leases out gives `Closed(n)`, and the last release drops the resource. Until then the key is taken:
//!    an acquire is refused with [`Refused::Closed`], so that no second live resource exists for one key.
//! 6. **Every transition is logged** at `debug` with registry, key, serial, old state, new state and cause;
//!    a refused one at `warn`, at most once a second per key and cause. No transition panics.
//! 7. **The pure machine is apart from its mutex shell.** [`machine::step`] and [`slot::step`] take a state
//!    and give a state. The shell ([`entry`], [`registry`]) does what follows (log, drop the resource, tell
//!    the drainer, remove the entry) after every lock is gone. Locks are taken in the order map, entry.
//!
//! **Without a lock per request.** A core doesn't lease per request. [`CoreLeases`] takes one lease per entry
//! on first use and counts requests in a plain integer; [`slot`] draws how a lease comes back.
//!
//! The proofs are `tests/loom_lifecycle.rs` (every interleaving of small models, and two older designs that
//! fail them), `tests/lifecycle_walk.rs` (seeded random walks against a reference model),
//! `tests/lifecycle_stress.rs` (real threads, real sockets) and one test file per state in `tests/`.

pub mod entry;
pub mod machine;
pub mod per_core;
pub mod registry;
pub mod slot;
mod sync;
mod throttle;
mod transitions;

#[cfg(all(test, not(loom)))]
mod tests;

pub use entry::{Clock, Entry, Key, Lease};
pub use machine::{Action, Event, Refused, State};
pub use per_core::CoreLeases;
pub use registry::{AcquireError, Registry};
pub use slot::{SlotAction, SlotEvent, SlotState};
pub use transitions::transitions;
