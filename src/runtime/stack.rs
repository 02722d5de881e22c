//! Stacks of coroutines: mappings with a wide guard region below, committed as they are touched, and kept for
//! the next coroutine.
//!
//! The guard is 64 KB because armv7 has no stack probes: a frame larger than one guard page would jump it. A
//! stack overflow therefore always hits the guard, and is fatal (SIGSEGV): nothing of the process can be
//! trusted then.

use std::ffi::c_void;
use std::io;
use std::ptr;

use corosensei::stack::{Stack, StackPointer};
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

/// Bytes of guard region below each stack.
const GUARD_BYTES: usize = 64 * 1024;
/// Usable bytes. The deepest path known (HTTP/2 over TLS) takes 37 KB in release and 124 KB in debug.
const STACK_BYTES: usize = if cfg!(debug_assertions) { 256 * 1024 } else { 64 * 1024 };
/// Both are multiples of every page size in use (64 KB on some aarch64 kernels).
const MAPPING_BYTES: usize = GUARD_BYTES + STACK_BYTES;

/// One mapping; unmapped when dropped.
pub(crate) struct MappedStack {
    /// The mapping's lowest address, the start of its guard.
    start: *mut c_void,
    base: StackPointer,
}

impl MappedStack {
    /// Maps a stack.
    ///
    /// # Errors
    /// The kernel's, most likely ENOMEM at `vm.max_map_count` (two mappings a stack).
    pub(crate) fn map() -> io::Result<Self> {
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::STACK;
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches no existing memory.
        let start = unsafe { mmap_anonymous(ptr::null_mut(), MAPPING_BYTES, ProtFlags::empty(), flags)? };
        let Some(base) = StackPointer::new(start as usize + MAPPING_BYTES) else {
            return Err(io::Error::other("the kernel mapped a stack at the end of the address space"));
        };
        // Dropped, and so unmapped, if the next call fails.
        let stack = MappedStack { start, base };
        let usable = start.wrapping_byte_add(GUARD_BYTES);
        // SAFETY: the range lies within the mapping just made, which nobody else knows of.
        unsafe { mprotect(usable, STACK_BYTES, MprotectFlags::READ | MprotectFlags::WRITE)? };
        Ok(stack)
    }
}

impl Drop for MappedStack {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours alone, and a stack is dropped only after its coroutine has ended.
        let unmapped = unsafe { munmap(self.start, MAPPING_BYTES) };
        debug_assert!(unmapped.is_ok(), "munmap of a stack failed: {unmapped:?}");
    }
}

// SAFETY: `base` and `limit` bound one live mapping whose lowest GUARD_BYTES are inaccessible and whose rest
// is readable, writable, page-aligned and larger than MIN_STACK_SIZE for as long as the value lives.
unsafe impl Stack for MappedStack {
    fn base(&self) -> StackPointer {
        self.base
    }

    fn limit(&self) -> StackPointer {
        // The mapping's start: never null, because `base` isn't MAPPING_BYTES.
        StackPointer::new(self.start as usize).unwrap_or(self.base)
    }
}

/// The stacks a core keeps. A busy core reuses hot stacks; what it has not needed for a second goes back.
pub(crate) struct Pool {
    stacks: Vec<MappedStack>,
    /// Kept even when idle.
    base: usize,
    /// Kept at most.
    most: usize,
    /// The fewest in the pool since the last trim: that many were not needed.
    low_water: usize,
}

impl Pool {
    /// Keeps `base` stacks for ever and up to `most` for a second.
    pub(crate) fn new(base: usize, most: usize) -> Self {
        Pool { stacks: Vec::new(), base, most: most.max(base), low_water: 0 }
    }

    /// The stack that was used last, or a new one.
    pub(crate) fn take(&mut self) -> io::Result<MappedStack> {
        let stack = self.stacks.pop();
        self.low_water = self.low_water.min(self.stacks.len());
        stack.map_or_else(MappedStack::map, Ok)
    }

    /// Gives back a stack whose coroutine has ended. True: the pool wants to be trimmed in a second.
    pub(crate) fn give(&mut self, stack: MappedStack) -> bool {
        if self.stacks.len() < self.most {
            self.stacks.push(stack);
        }
        self.stacks.len() > self.base
    }

    /// Unmaps what was not needed since the last trim. True: trim again in a second.
    pub(crate) fn trim(&mut self) -> bool {
        let surplus = self.low_water.min(self.stacks.len().saturating_sub(self.base));
        // The oldest lie at the front; the hot ones stay.
        self.stacks.drain(..surplus);
        if self.stacks.capacity() > 64 && self.stacks.len() < self.stacks.capacity() / 4 {
            self.stacks.shrink_to(self.stacks.len() * 2);
        }
        self.low_water = self.stacks.len();
        self.stacks.len() > self.base
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_keeps_hot_stacks_and_gives_back_the_rest() {
        let mut pool = Pool::new(2, 8);
        let taken: Vec<_> = (0..10).map(|_| pool.take().unwrap()).collect();
        for stack in taken {
            pool.give(stack);
        }
        assert_eq!(pool.stacks.len(), 8);
        assert!(pool.trim(), "nothing is known of the first second");
        let hot: Vec<_> = (0..3).map(|_| pool.take().unwrap()).collect();
        for stack in hot {
            pool.give(stack);
        }
        assert!(pool.trim());
        assert_eq!(pool.stacks.len(), 3, "five of eight were idle");
        assert!(!pool.trim());
        assert_eq!(pool.stacks.len(), 2);
    }
}
