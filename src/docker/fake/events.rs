//! The engine's events: the history of the last 256 and the subscribers' queues.

use super::clock;
use crate::limits;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// One event.
#[derive(Debug)]
pub(super) struct Event {
    /// `container` or `network`.
    pub kind: &'static str,
    pub action: &'static str,
    /// `Actor.ID`.
    pub actor: String,
    /// `Actor.Attributes`; a container's hold its `image` and `name`.
    pub attributes: BTreeMap<String, String>,
    /// `timeNano`; no two events of an engine have the same.
    pub at: i64,
}

impl Event {
    /// One line of the stream.
    pub(super) fn line(&self) -> String {
        let mut event = Map::new();
        if self.kind == "container" {
            event.insert("status".into(), json!(self.action));
            event.insert("id".into(), json!(self.actor));
            event.insert("from".into(), json!(self.attributes.get("image")));
        }
        event.insert("Type".into(), json!(self.kind));
        event.insert("Action".into(), json!(self.action));
        event.insert("Actor".into(), json!({ "ID": self.actor, "Attributes": self.attributes }));
        event.insert("scope".into(), json!("local"));
        event.insert("time".into(), json!(self.at / 1_000_000_000));
        event.insert("timeNano".into(), json!(self.at));
        let mut line = Value::Object(event).to_string();
        line.push('\n');
        line
    }
}

/// `filters` of `/events`: for each key, one of the values must match. Unknown keys match everything.
#[derive(Debug, Default)]
pub(super) struct Filter(BTreeMap<String, Vec<String>>);

impl Filter {
    /// Reads both of Docker's spellings: `{"type":["container"]}` and `{"type":{"container":true}}`.
    pub(super) fn parse(text: &str) -> Option<Filter> {
        let Value::Object(keys) = serde_json::from_str(text).ok()? else { return None };
        let mut filter = BTreeMap::new();
        for (key, values) in keys {
            let words = match values {
                Value::Array(list) => list.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect(),
                Value::Object(set) => set.keys().cloned().collect(),
                _ => return None,
            };
            filter.insert(key, words);
        }
        Some(Filter(filter))
    }

    pub(super) fn matches(&self, event: &Event) -> bool {
        let name = event.attributes.get("name").map_or("", String::as_str);
        self.0.iter().all(|(key, words)| match key.as_str() {
            "type" => words.iter().any(|w| w == event.kind),
            "event" => words.iter().any(|w| w == event.action),
            "container" => words.iter().any(|w| *w == event.actor || w == name),
            _ => true,
        })
    }
}

/// History and subscribers.
#[derive(Default)]
pub(super) struct Events {
    history: VecDeque<Arc<Event>>,
    subscribers: Vec<(u64, Sender<Arc<Event>>)>,
    next: u64,
    last: i64,
    /// Nothing is seen, and nothing remembered, while the engine is dead.
    pub recording: bool,
}

impl Events {
    /// A time that no event has had: now, or a nanosecond after the last.
    pub(super) fn tick(&mut self) -> i64 {
        self.last = clock::wall_nanos().max(self.last + 1);
        self.last
    }

    /// Records an event and hands it to the subscribers. One whose queue is full misses it, as in Docker.
    pub(super) fn push(
        &mut self,
        kind: &'static str,
        action: &'static str,
        actor: &str,
        attributes: BTreeMap<String, String>,
    ) {
        let at = self.tick();
        if !self.recording {
            return;
        }
        let event = Arc::new(Event { kind, action, actor: actor.to_owned(), attributes, at });
        if self.history.len() == limits::FAKE_EVENT_HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(event.clone());
        self.subscribers.retain(|(_, queue)| match queue.try_send(event.clone()) {
            Ok(()) | Err(TrySendError::Full(_)) => true,
            Err(TrySendError::Disconnected(_)) => false,
        });
    }

    /// Whether every subscriber has been sent the last event: each holds it until then.
    pub(super) fn is_told(&self) -> bool {
        self.history.back().is_none_or(|event| Arc::strong_count(event) == 1)
    }

    /// The remembered events not older than `since`, and a queue of those to come.
    pub(super) fn subscribe(&mut self, since: Option<i64>) -> (Vec<Arc<Event>>, u64, Receiver<Arc<Event>>) {
        let replay = match since {
            Some(since) => self.history.iter().filter(|e| e.at >= since).cloned().collect(),
            None => Vec::new(),
        };
        let (sender, receiver) = bounded(limits::FAKE_SUBSCRIBER_QUEUE);
        self.next += 1;
        self.subscribers.push((self.next, sender));
        (replay, self.next, receiver)
    }

    pub(super) fn unsubscribe(&mut self, id: u64) {
        self.subscribers.retain(|(key, _)| *key != id);
    }

    pub(super) fn streams(&self) -> usize {
        self.subscribers.len()
    }

    /// A new engine process: an empty memory.
    pub(super) fn reset(&mut self, recording: bool) {
        self.history.clear();
        self.subscribers.clear();
        self.recording = recording;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_history_holds_the_last_256_and_replays_from_a_time() {
        let mut events = Events { recording: true, ..Events::default() };
        for _ in 0..300 {
            events.push("container", "start", "id", BTreeMap::new());
        }
        let (all, _, _queue) = events.subscribe(Some(0));
        assert_eq!(all.len(), 256);
        let (some, _, _queue) = events.subscribe(Some(all[250].at));
        assert_eq!(
            some.iter().map(|e| e.at).collect::<Vec<_>>(),
            all[250..].iter().map(|e| e.at).collect::<Vec<_>>()
        );
        assert!(all.windows(2).all(|w| w[0].at < w[1].at), "two events at the same time");
    }

    #[test]
    fn filters_are_read_in_both_spellings() {
        let event =
            |kind, action| Event { kind, action, actor: "i".into(), attributes: BTreeMap::new(), at: 0 };
        for text in [
            r#"{"type":["container"],"event":["die"]}"#,
            r#"{"type":{"container":true},"event":{"die":true}}"#,
        ] {
            let filter = Filter::parse(text).unwrap();
            assert!(filter.matches(&event("container", "die")));
            assert!(!filter.matches(&event("container", "start")));
            assert!(!filter.matches(&event("network", "die")));
        }
        assert!(Filter::parse("[]").is_none());
    }
}
