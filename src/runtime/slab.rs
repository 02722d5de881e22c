//! A table of numbered entries that gives its memory back: the lowest free number is taken first, and free
//! entries at the end are cut off, so that a burst leaves nothing behind.

/// Entries by number.
pub(crate) struct Slab<T> {
    entries: Vec<Option<T>>,
    /// One bit per entry, set when it is free.
    free: Vec<u64>,
    /// No word of `free` before this one has a bit set.
    first: usize,
    live: usize,
}

impl<T> Slab<T> {
    pub(crate) fn new() -> Self {
        Slab { entries: Vec::new(), free: Vec::new(), first: 0, live: 0 }
    }

    /// Number of entries in use.
    pub(crate) fn live(&self) -> usize {
        self.live
    }

    /// Stores `value` and gives its number.
    pub(crate) fn insert(&mut self, value: T) -> u32 {
        self.live += 1;
        while let Some(word) = self.free.get_mut(self.first) {
            if *word != 0 {
                let index = self.first * 64 + word.trailing_zeros() as usize;
                *word &= *word - 1;
                self.entries[index] = Some(value);
                return index as u32;
            }
            self.first += 1;
        }
        let index = self.entries.len();
        self.entries.push(Some(value));
        if index / 64 == self.free.len() {
            self.free.push(0);
        }
        self.first = index / 64;
        index as u32
    }

    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        self.entries.get(index as usize)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.entries.get_mut(index as usize)?.as_mut()
    }

    /// Takes the entry out; its number is free again.
    pub(crate) fn remove(&mut self, index: u32) -> Option<T> {
        let at = index as usize;
        let value = self.entries.get_mut(at)?.take()?;
        self.live -= 1;
        self.free[at / 64] |= 1 << (at % 64);
        self.first = self.first.min(at / 64);
        self.trim();
        Some(value)
    }

    /// The entries in use, with their numbers.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut T)> {
        self.entries.iter_mut().enumerate().filter_map(|(i, e)| e.as_mut().map(|e| (i as u32, e)))
    }

    /// Cuts off free entries at the end.
    fn trim(&mut self) {
        while let Some(None) = self.entries.last() {
            self.entries.pop();
            let end = self.entries.len();
            self.free[end / 64] &= !(1 << (end % 64));
            if end.is_multiple_of(64) {
                self.free.pop();
            }
        }
        if self.entries.capacity() > 64 && self.entries.len() < self.entries.capacity() / 4 {
            self.entries.shrink_to(self.entries.len() * 2);
            self.free.shrink_to(self.free.len() * 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Slab;
    use crate::util::rng::Rng;
    use std::collections::HashMap;

    #[test]
    fn numbers_are_unique_and_memory_comes_back() {
        let mut rng = Rng::new(1);
        let mut slab = Slab::new();
        let mut model = HashMap::new();
        for round in 0..20_000u64 {
            let shrinking = round / 2_000 % 2 == 1;
            if rng.below(10) < if shrinking { 3 } else { 7 } {
                let index = slab.insert(round);
                assert_eq!(model.insert(index, round), None, "number {index} was given twice");
            } else if let Some(index) = model.keys().copied().min_by_key(|i| i ^ (round as u32 & 255)) {
                assert_eq!(slab.remove(index), model.remove(&index));
                assert_eq!(slab.remove(index), None);
            }
            assert_eq!(slab.live(), model.len());
        }
        for (index, value) in model.drain() {
            assert_eq!(slab.get(index), Some(&value));
            assert_eq!(slab.remove(index), Some(value));
        }
        assert_eq!((slab.live(), slab.entries.len()), (0, 0));
        assert!(slab.entries.capacity() <= 64);
    }
}
