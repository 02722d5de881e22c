//! Counts by route. They belong to the alias, not to a snapshot or an endpoint: a restarted container goes
//! on counting. A core looks its block up once per snapshot and route, under a lock; then it counts in it.

use super::Tally;
use crate::limits::{METRIC_ROUTE_KEPT, METRIC_ROUTES};
use crate::util::Locked;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Upper bounds of the histogram's buckets, in microseconds; beyond the last there is one more.
pub const BUCKETS: [u64; 10] =
    [1_000, 5_000, 10_000, 50_000, 100_000, 500_000, 1_000_000, 5_000_000, 10_000_000, 60_000_000];

/// The classes of a status; the last is for requests that got none, because their client had gone.
pub const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "none"];

/// What one core counts of one route.
#[derive(Debug, Default)]
#[repr(align(64))] // no line of memory that two cores write
pub struct RouteTally {
    /// Requests by [`CLASSES`].
    pub classes: [Tally; CLASSES.len()],
    /// Requests by [`BUCKETS`], each in one bucket; the last is for what took longer.
    pub buckets: [Tally; BUCKETS.len() + 1],
    /// The sum of the durations, in microseconds.
    pub micros: Tally,
}

impl RouteTally {
    /// Counts a request: the status that was sent (0 for none) and how long it took.
    pub fn count(&self, status: u16, took: Duration) {
        let class = match status {
            100..600 => usize::from(status / 100 - 1),
            _ => CLASSES.len() - 1,
        };
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS.iter().position(|bound| micros <= *bound).unwrap_or(BUCKETS.len());
        self.classes[class].add(1);
        self.buckets[bucket].add(1);
        self.micros.add(micros);
    }
}

/// The blocks of all routes and cores.
pub struct Routes {
    cores: usize,
    known: Locked<BTreeMap<Arc<str>, Known>>,
}

struct Known {
    per_core: Vec<Arc<RouteTally>>,
    /// Since when no snapshot has it.
    gone: Option<Instant>,
}

impl Routes {
    pub(super) fn new(cores: usize) -> Routes {
        Routes { cores, known: Locked::default() }
    }

    /// The block of `alias` on core number `core`; none beyond `limits::METRIC_ROUTES`.
    pub fn of(&self, alias: &Arc<str>, core: usize) -> Option<Arc<RouteTally>> {
        self.known.with(|known| {
            if !known.contains_key(alias) && known.len() >= METRIC_ROUTES {
                let gone = known.iter().find(|(_, route)| route.gone.is_some());
                let gone = gone.map(|(alias, _)| Arc::clone(alias))?;
                known.remove(&gone);
            }
            let route = known.entry(Arc::clone(alias)).or_insert_with(|| Known {
                per_core: (0..self.cores).map(|_| Arc::default()).collect(),
                gone: None,
            });
            route.per_core.get(core).cloned()
        })
    }

    /// Drops what has been gone for `limits::METRIC_ROUTE_KEPT`. `exists` says what is not gone.
    pub fn sweep(&self, now: Instant, exists: impl Fn(&str) -> bool) {
        self.known.with(|known| {
            known.retain(|alias, route| {
                if exists(alias) {
                    route.gone = None;
                    return true;
                }
                let since = *route.gone.get_or_insert(now);
                now.saturating_duration_since(since) < METRIC_ROUTE_KEPT
            });
        });
    }

    pub(super) fn all(&self) -> Vec<(Arc<str>, Vec<Arc<RouteTally>>)> {
        self.known.with(|known| {
            known.iter().map(|(alias, route)| (Arc::clone(alias), route.per_core.clone())).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_keeps_its_counts_until_it_has_been_gone_for_long() {
        #[allow(clippy::disallowed_methods)] // any moment will do
        let start = Instant::now();
        let routes = Routes::new(2);
        let app: Arc<str> = "app".into();
        routes.of(&app, 1).unwrap().count(200, Duration::from_millis(2));
        routes.sweep(start, |_| false);
        routes.sweep(start + METRIC_ROUTE_KEPT / 2, |_| true);
        routes.sweep(start + METRIC_ROUTE_KEPT, |_| false);
        assert_eq!(routes.of(&app, 1).unwrap().classes[1].get(), 1);
        routes.sweep(start + METRIC_ROUTE_KEPT * 2, |_| false);
        assert_eq!(routes.of(&app, 1).unwrap().classes[1].get(), 0);
        assert!(routes.of(&app, 2).is_none(), "there is no third core");
    }

    #[test]
    fn beyond_the_bound_only_what_is_gone_makes_room() {
        #[allow(clippy::disallowed_methods)] // any moment will do
        let start = Instant::now();
        let routes = Routes::new(1);
        for n in 0..METRIC_ROUTES {
            assert!(routes.of(&format!("app{n}").into(), 0).is_some());
        }
        assert!(routes.of(&"more".into(), 0).is_none());
        routes.sweep(start, |alias| alias != "app7");
        assert!(routes.of(&"more".into(), 0).is_some());
        assert!(routes.of(&"and-more".into(), 0).is_none());
        assert_eq!(routes.all().len(), METRIC_ROUTES);
    }

    #[test]
    fn every_status_and_duration_has_its_place() {
        let tally = RouteTally::default();
        for (status, took) in
            [(0, 0), (99, 1), (101, 1_000), (204, 1_001), (599, 60_000_000), (600, u64::MAX)]
        {
            tally.count(status, Duration::from_micros(took));
        }
        let classes: Vec<u64> = tally.classes.iter().map(Tally::get).collect();
        assert_eq!(classes, [1, 1, 0, 0, 1, 3]);
        let buckets: Vec<u64> = tally.buckets.iter().map(Tally::get).collect();
        assert_eq!(buckets, [3, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
    }
}
