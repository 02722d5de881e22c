//! What is known of an engine's containers, and which of them are to be inspected: pure, stepped by
//! `machine`.
//!
//! One container at a time is in one of these:
//!
//! ```text
//!            event            a slot is free            answer, nothing happened meanwhile
//!   Nothing ───────► Queued ─────────────────► Asked ─────────────────────────► Nothing
//!      ▲               ▲                        │ │
//!      │               │   answer, but an event │ │ it failed
//!      │               ├────────────────────────┘ ▼
//!      │               └───────────────────── Later(when)
//!      └── removed: destroyed, or not found three times
//! ```
//!
//! An answer that was under way while an event arrived may be older than the event: it is asked for again
//! and never shown as running.
//!
//! An inspect waits in the engine while its container is being started or cleared away: seconds, when many
//! are. What runs must not wait behind that. So it is asked first, and one slot is its own; and a network
//! joined or left by what does not run, which is how a start begins and an end is finished, asks nothing.

use super::super::client::CallError;
use super::super::json::{Event, Happened};
use super::super::model::{Container, RunState};
use super::Timings;
use super::machine::{Action, Actions};
use crate::limits;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Tries of one inspect before a first list goes on without it, or before "not found" is believed.
const TRIES: u32 = 3;

/// All containers of one engine.
#[derive(Clone, Debug, Default)]
pub(super) struct Containers {
    entries: BTreeMap<String, Entry>,
    /// Ids to inspect; one that is not `Queued` for this turn any more is skipped.
    queue: BTreeMap<Turn, String>,
    /// Turns given so far.
    turns: i64,
    /// When to queue those that are `Later`.
    later: BTreeSet<(Instant, String)>,
    /// Inspects under way, at most `ENGINE_INSPECTS`.
    asked: Vec<(String, Life)>,
    sync: Option<Sync>,
    /// The log has said that there are too many.
    full: bool,
}

#[derive(Clone, Debug, Default)]
struct Entry {
    /// As reported last; its state is "ended" from its `die` on.
    shown: Option<Container>,
    /// `shown` was seen since the last connect.
    verified: bool,
    /// Its entry in the last list, while a sync is under way.
    listed: Option<Container>,
    life: Life,
    work: Work,
    tries: u32,
}

/// Whether it runs, as far as the last word about that goes. What does comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Life {
    Up,
    Down,
    #[default]
    Unknown,
}

impl Life {
    fn of(container: &Container) -> Life {
        if is_up(container) { Life::Up } else { Life::Down }
    }
}

/// A place in the queue: lower comes first.
type Turn = (Life, i64);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Work {
    #[default]
    Nothing,
    Queued(Turn),
    /// `touched`: an event arrived since; `died`: a `die` among them.
    Asked {
        touched: bool,
        died: bool,
    },
    Later(Instant),
}

/// Where in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before all that wait: something happened.
    Front,
    /// Behind them.
    Back,
}

/// One list being reconciled.
#[derive(Clone, Debug)]
struct Sync {
    /// The first since a connect: nothing is reported but ends until it is complete.
    first: bool,
    /// The list has arrived.
    listed: bool,
    /// Still to be inspected.
    waiting: BTreeSet<String>,
    /// Had an event since the list was asked for.
    touched: BTreeSet<String>,
    /// Were destroyed since the list was asked for.
    destroyed: BTreeSet<String>,
}

impl Entry {
    fn died(&mut self, event: &Event, out: &mut Actions) {
        if let Some(shown) = &mut self.shown
            // Replayed, of an earlier run. Were the clock set back meanwhile, the inspect would tell.
            && shown.started_at.is_none_or(|started| started <= event.at)
        {
            end(shown);
            self.life = Life::Down;
            out.push(Action::Died { id: event.id.clone(), at: event.at });
        }
    }
}

impl Containers {
    /// A new connection: answers under way belong to the old one, addresses may have changed hands.
    pub(super) fn connected(&mut self) {
        self.queue.clear();
        self.later.clear();
        self.asked.clear();
        self.sync = None;
        for entry in self.entries.values_mut() {
            *entry = Entry { shown: entry.shown.take(), ..Entry::default() };
        }
    }

    /// A list is about to be asked for.
    pub(super) fn list_asked(&mut self, first: bool) {
        let (waiting, touched, destroyed) = Default::default();
        self.sync = Some(Sync { first, listed: false, waiting, touched, destroyed });
    }

    /// A relist that failed is given up until the next.
    pub(super) fn list_failed(&mut self) {
        if self.sync.as_ref().is_some_and(|sync| !sync.first) {
            self.sync = None;
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// An event was read.
    pub(super) fn event(&mut self, event: &Event, out: &mut Actions) {
        if event.happened == Happened::Destroy {
            return self.destroyed(&event.id, out);
        }
        let died = event.happened == Happened::Die;
        if let Some(entry) = self.entries.get_mut(&event.id) {
            match event.happened {
                Happened::Network if entry.life == Life::Down => return,
                Happened::Die => entry.died(event, out),
                _ => {}
            }
        }
        if let Some(sync) = &mut self.sync {
            sync.touched.insert(event.id.clone());
        }
        let began = event.happened == Happened::Start;
        if began && let Some(entry) = self.entry(&event.id, out) {
            entry.life = Life::Up;
        }
        self.ask_again(&event.id, died, out);
    }

    fn destroyed(&mut self, id: &str, out: &mut Actions) {
        if let Some(sync) = &mut self.sync {
            sync.waiting.remove(id);
            sync.destroyed.insert(id.to_owned());
        }
        self.remove(id, out);
    }

    fn remove(&mut self, id: &str, out: &mut Actions) {
        if let Some(entry) = self.entries.remove(id)
            && entry.shown.is_some()
        {
            out.push(Action::Destroyed { id: id.to_owned() });
        }
    }

    /// What happened to `id` wants an inspect, before all that the list wants.
    fn ask_again(&mut self, id: &str, died: bool, out: &mut Actions) {
        let Some(entry) = self.entry(id, out) else { return };
        match &mut entry.work {
            // It started meanwhile, or ended: that changes its turn.
            Work::Queued((life, _)) if *life != entry.life => self.enqueue(id, Place::Front),
            Work::Queued(_) => {}
            Work::Asked { touched, died: died_before } => {
                *touched = true;
                *died_before |= died;
            }
            Work::Nothing | Work::Later(_) => {
                entry.tries = 0;
                self.enqueue(id, Place::Front);
            }
        }
    }

    /// Gives a turn among those whose life is the same.
    fn enqueue(&mut self, id: &str, place: Place) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        if let Work::Queued(turn) = entry.work {
            self.queue.remove(&turn);
        }
        self.turns += 1;
        let turn = (entry.life, if place == Place::Front { -self.turns } else { self.turns });
        entry.work = Work::Queued(turn);
        self.queue.insert(turn, id.to_owned());
    }

    /// The entry of `id`, made if there is room.
    fn entry(&mut self, id: &str, out: &mut Actions) -> Option<&mut Entry> {
        if self.entries.len() >= limits::ENGINE_CONTAINERS && !self.entries.contains_key(id) {
            if !std::mem::replace(&mut self.full, true) {
                out.push(Action::Warn(format!(
                    "more than {} containers: the rest is left out",
                    limits::ENGINE_CONTAINERS
                )));
            }
            return None;
        }
        Some(self.entries.entry(id.to_owned()).or_default())
    }

    /// The list arrived: what is not in it is forgotten, what is new or changed is queued.
    pub(super) fn listed(&mut self, list: Vec<Container>, out: &mut Actions) {
        let Some(mut sync) = self.sync.take() else { return };
        sync.listed = true;
        let inspect_all = list.len() <= limits::ENGINE_INSPECT_ALL;
        let ids: BTreeSet<&str> = list.iter().map(|container| container.id.as_str()).collect();
        self.entries.retain(|id, _| ids.contains(id.as_str()) || sync.touched.contains(id));
        let (up, down): (Vec<_>, Vec<_>) = list.into_iter().partition(is_up);
        for container in up.into_iter().chain(down) {
            if !sync.destroyed.contains(&container.id) {
                self.reconcile(container, inspect_all, &mut sync, out);
            }
        }
        self.sync = Some(sync);
    }

    fn reconcile(&mut self, listed: Container, inspect_all: bool, sync: &mut Sync, out: &mut Actions) {
        let id = listed.id.clone();
        let Some(entry) = self.entry(&id, out) else { return };
        let same = entry.shown.as_ref().is_some_and(|shown| looks_same(shown, &listed));
        let idle = matches!(entry.work, Work::Nothing);
        if same && entry.verified && idle {
            return;
        }
        if inspect_all || is_up(&listed) {
            sync.waiting.insert(id.clone());
        } else {
            // Too many to wait for those that serve nothing: as the list has it, the rest comes later.
            entry.verified = true;
            if !same {
                entry.shown = Some(listed.clone());
            }
        }
        if idle {
            entry.life = Life::of(&listed);
        }
        entry.listed = Some(listed);
        if idle {
            self.enqueue(&id, Place::Back);
        }
    }

    /// An inspect was answered, or failed.
    pub(super) fn inspected(
        &mut self,
        id: &str,
        result: Result<Container, CallError>,
        now: Instant,
        timings: &Timings,
        out: &mut Actions,
    ) {
        if let Some(at) = self.asked.iter().position(|(asked, _)| asked == id) {
            self.asked.swap_remove(at);
        }
        let Some(entry) = self.entries.get_mut(id) else { return };
        let Work::Asked { touched, died } = entry.work else { return };
        entry.work = Work::Nothing;
        let failed = match result {
            Ok(container) => {
                entry.tries = 0;
                self.answered(id, container, touched, died, out);
                None
            }
            Err(error) => Some(error),
        };
        if touched {
            return self.ask_again(id, false, out);
        }
        if let Some(error) = failed {
            self.failed(id, &error, now, timings, out);
        }
    }

    fn answered(&mut self, id: &str, mut container: Container, touched: bool, died: bool, out: &mut Actions) {
        let first = self.sync.as_ref().is_some_and(|sync| sync.first);
        let Some(entry) = self.entries.get_mut(id) else { return };
        if touched && !first {
            return; // the next answer will tell
        }
        if died {
            end(&mut container);
        }
        if !touched {
            entry.life = Life::of(&container);
        }
        entry.verified = true;
        if !first && entry.shown.as_ref() != Some(&container) {
            out.push(Action::Changed(Box::new(container.clone())));
        }
        entry.shown = Some(container);
        self.settled(id);
    }

    fn settled(&mut self, id: &str) {
        if let Some(sync) = &mut self.sync {
            sync.waiting.remove(id);
        }
    }

    fn failed(&mut self, id: &str, error: &CallError, now: Instant, timings: &Timings, out: &mut Actions) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        entry.tries = entry.tries.saturating_add(1);
        let tries = entry.tries;
        let not_found = matches!(error, CallError::Status { status: 404, .. });
        if not_found && tries >= TRIES {
            self.settled(id);
            return self.remove(id, out);
        }
        let pause = match error {
            CallError::Status { status: 404 | 409, .. } => timings.again,
            _ => backoff(tries, timings),
        };
        entry.work = Work::Later(now + pause);
        self.later.insert((now + pause, id.to_owned()));
        if tries == TRIES {
            self.give_up_for_now(id, error, out);
        }
    }

    /// One container that can't be inspected must not keep all others waiting: the list has to do, without
    /// the time of its start.
    fn give_up_for_now(&mut self, id: &str, error: &CallError, out: &mut Actions) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        let name = entry.listed.as_ref().or(entry.shown.as_ref()).map_or(id, |container| &container.name);
        out.push(Action::Warn(format!("cannot inspect container {name}: {error}; going on to try")));
        let waits = self.sync.as_ref().is_some_and(|sync| sync.waiting.contains(id));
        if waits && !entry.verified {
            entry.verified = entry.listed.is_some();
            entry.shown = entry.listed.clone();
        }
        self.settled(id);
    }

    /// Starts as many inspects as there are slots for.
    pub(super) fn pump(&mut self, now: Instant, out: &mut Actions) {
        while let Some((when, _)) = self.later.first()
            && *when <= now
            && let Some((when, id)) = self.later.pop_first()
        {
            if self.entries.get(&id).is_some_and(|entry| entry.work == Work::Later(when)) {
                self.enqueue(&id, Place::Back);
            }
        }
        while let Some(turn) = self.queue.first_entry() {
            let (life, _) = *turn.key();
            let others = self.asked.iter().filter(|(_, life)| *life != Life::Up).count();
            if self.asked.len() >= limits::ENGINE_INSPECTS
                || (life != Life::Up && others >= limits::ENGINE_INSPECTS_DOWN)
            {
                break;
            }
            let (turn, id) = turn.remove_entry();
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            if entry.work == Work::Queued(turn) {
                entry.work = Work::Asked { touched: false, died: false };
                self.asked.push((id.clone(), life));
                out.push(Action::Inspect { id });
            }
        }
    }

    /// When `pump` has something to do next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.later.first().map(|(when, _)| *when)
    }

    /// All that is verified, and whether this was the first list since the connect; once, when the last
    /// inspect of a list is done.
    pub(super) fn complete(&mut self) -> Option<(Vec<Container>, bool)> {
        let sync = self.sync.take_if(|sync| sync.listed && sync.waiting.is_empty())?;
        for entry in self.entries.values_mut() {
            entry.listed = None;
        }
        let verified = self.entries.values().filter(|entry| entry.verified);
        Some((verified.filter_map(|entry| entry.shown.clone()).collect(), sync.first))
    }
}

/// Doubles with every try.
pub(super) fn backoff(tries: u32, timings: &Timings) -> Duration {
    let factor = 1_u32.checked_shl(tries).unwrap_or(u32::MAX);
    timings.again.saturating_mul(factor).min(timings.backoff)
}

fn is_up(container: &Container) -> bool {
    matches!(container.state, RunState::Running | RunState::Paused | RunState::Restarting)
}

/// Its run is over: its addresses are about to be given to others.
fn end(container: &mut Container) {
    container.state = RunState::Exited;
    for network in &mut container.networks {
        network.ip = None;
    }
}

/// As far as a list tells. Its `image` becomes an id when the tag moves on, its ports miss the exposed ones.
fn looks_same(shown: &Container, listed: &Container) -> bool {
    let addresses = |container: &Container| -> BTreeSet<(String, Option<std::net::IpAddr>)> {
        container.networks.iter().map(|network| (network.name.clone(), network.ip)).collect()
    };
    shown.state == listed.state
        && shown.name == listed.name
        && shown.labels == listed.labels
        && addresses(shown) == addresses(listed)
}
