//! What `loom` has to see. `util::Locked` switches its mutex in the same way.
//!
//! Entries and registries are held by `std::sync::Arc` even under loom: loom has no `Weak`, and nothing is
//! decided by their counts. The resource's count decides when it is dropped, so loom watches that one.

#[cfg(loom)]
pub use loom::sync::Arc as Handle;
#[cfg(not(loom))]
pub use std::sync::Arc as Handle;

/// Runs foreign code (the drop of a resource, a drainer's callback) so that its panic ends here: it may run
/// in a `Drop` during another panic, where a second one would end the process. False if it panicked.
#[cfg(not(loom))]
pub fn contain(f: impl FnOnce()) -> bool {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).is_ok()
}

/// Under loom a panic is a finding and must get out.
#[cfg(loom)]
pub fn contain(f: impl FnOnce()) -> bool {
    f();
    true
}
