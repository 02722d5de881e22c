//! A fast hasher for tables on the requests' way: a folded multiplication per eight bytes, as `foldhash` and
//! `wyhash` do.
//!
//! Not proof against chosen keys: only for tables in which clients look up and never insert. What is inserted
//! comes from the operator's engines, labels and files.

use std::hash::{BuildHasherDefault, Hasher};

/// Builds the hasher.
pub type BuildFold = BuildHasherDefault<Fold>;

/// Odd, with its bits spread evenly: the fraction of the golden ratio.
const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;
/// Where every hash starts: the fraction of pi, so that a first word of zeros is not a fixed point.
const START: u64 = 0x243F_6A88_85A3_08D3;

/// The state of one hash.
pub struct Fold(u64);

impl Default for Fold {
    fn default() -> Self {
        Fold(START)
    }
}

impl Fold {
    #[inline]
    fn mix(&mut self, word: u64) {
        let wide = u128::from(self.0 ^ word) * u128::from(FACTOR);
        self.0 = (wide as u64) ^ ((wide >> 64) as u64);
    }
}

impl Hasher for Fold {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let (words, tail) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        if !tail.is_empty() {
            self.mix(tail.iter().fold(0, |word, byte| (word << 8) | u64::from(*byte)));
        }
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        self.mix(number);
    }

    #[inline]
    fn write_i64(&mut self, number: i64) {
        self.mix(number as u64);
    }

    #[inline]
    fn write_u32(&mut self, number: u32) {
        self.mix(u64::from(number));
    }

    #[inline]
    fn write_u16(&mut self, number: u16) {
        self.mix(u64::from(number));
    }

    #[inline]
    fn write_u8(&mut self, number: u8) {
        self.mix(u64::from(number));
    }

    #[inline]
    fn write_isize(&mut self, number: isize) {
        self.mix(number as u64);
    }

    // A slice hashes its length first: it tells "a" from "\0a".
    #[inline]
    fn write_usize(&mut self, number: usize) {
        self.mix(number as u64);
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::hash::BuildHasher;

    /// Keys per bucket, squared and summed: about n + n²/m for a good hash of n keys into m buckets.
    fn crowding(names: &[String], bucket: impl Fn(u64) -> u64) -> u64 {
        let build = BuildFold::default();
        let mut counts: HashMap<u64, u64> = HashMap::new();
        for name in names {
            *counts.entry(bucket(build.hash_one(name.as_bytes()))).or_default() += 1;
        }
        counts.values().map(|n| n * n).sum()
    }

    #[test]
    fn names_that_differ_little_spread_like_random_ones() {
        let shapes: [fn(usize) -> String; 3] =
            [|n| format!("app{n}"), |n| format!("{n:06}.example.com"), |n| format!("service-{n}-web")];
        for shape in shapes {
            let names: Vec<String> = (0..10_000).map(shape).collect();
            let expected = 10_000 + 10_000 * 10_000 / 16_384;
            let low = crowding(&names, |hash| hash & 0x3FFF);
            let high = crowding(&names, |hash| hash >> 50);
            assert!(low < expected * 11 / 10, "low bits: {low}, a random hash gives {expected}");
            assert!(high < expected * 11 / 10, "high bits: {high}, a random hash gives {expected}");
        }
    }
}
