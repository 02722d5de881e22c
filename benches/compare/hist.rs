//! Latencies in buckets that grow with the value: 64 for each power of two, so that a quantile is off by 1.6 %
//! at most.

const SUB: usize = 64;

/// Counts of nanoseconds.
#[derive(Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    pub fn new() -> Histogram {
        Histogram { counts: vec![0; SUB * 64], total: 0 }
    }

    pub fn add(&mut self, nanos: u64) {
        self.counts[bucket(nanos)] += 1;
        self.total += 1;
    }

    /// The value below which a share of all lies, in nanoseconds; 0 without any.
    pub fn quantile(&self, share: f64) -> u64 {
        let wanted = ((self.total as f64 * share).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return middle(index);
            }
        }
        0
    }
}

fn bucket(nanos: u64) -> usize {
    if nanos < SUB as u64 {
        return nanos as usize;
    }
    let power = 63 - nanos.leading_zeros() as usize;
    let shift = power - SUB.trailing_zeros() as usize;
    (shift + 1) * SUB + ((nanos >> shift) as usize - SUB)
}

fn middle(index: usize) -> u64 {
    if index < SUB {
        return index as u64;
    }
    let shift = index / SUB - 1;
    (((index % SUB + SUB) as u64) << shift) + (1 << shift) / 2
}
