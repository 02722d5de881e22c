//! Faults that tests ask for, and counts of calls.

use super::spec::Call;
use std::collections::BTreeMap;
use std::time::Duration;

/// What is to go wrong with one kind of call.
#[derive(Clone, Copy, Default)]
struct Fault {
    latency: Duration,
    fail: Option<(u16, u32)>,
    cut: u32,
}

/// What happens to one call.
#[derive(Clone, Copy, Default)]
pub(super) struct Verdict {
    pub latency: Duration,
    /// Answer this status instead.
    pub fail: Option<u16>,
    /// Close the connection in the middle of the answer.
    pub cut: bool,
}

/// Faults and counts.
#[derive(Default)]
pub(super) struct Faults {
    by_call: BTreeMap<Call, Fault>,
    pub calls: BTreeMap<Call, u64>,
    pub connections_total: u64,
}

impl Faults {
    pub(super) fn set_latency(&mut self, call: Call, latency: Duration) {
        self.by_call.entry(call).or_default().latency = latency;
    }

    pub(super) fn fail(&mut self, call: Call, status: u16, times: u32) {
        self.by_call.entry(call).or_default().fail = Some((status, times));
    }

    pub(super) fn cut(&mut self, call: Call, times: u32) {
        self.by_call.entry(call).or_default().cut = times;
    }

    /// Counts a call and says what is to happen to it.
    pub(super) fn judge(&mut self, call: Call) -> Verdict {
        *self.calls.entry(call).or_default() += 1;
        let Some(fault) = self.by_call.get_mut(&call) else { return Verdict::default() };
        let mut verdict = Verdict { latency: fault.latency, ..Verdict::default() };
        if let Some((status, times @ 1..)) = &mut fault.fail {
            *times -= 1;
            verdict.fail = Some(*status);
        } else if fault.cut > 0 {
            fault.cut -= 1;
            verdict.cut = true;
        }
        verdict
    }
}
