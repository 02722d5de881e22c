//! Everything a supervisor decides, without a socket, a thread or a clock.
//!
//! ```text
//!                              connect failed: again in 100 ms, sooner by inotify
//!                            ┌─────────┐
//!                            ▼         │
//!    start ───────────────► Down ──────┘
//!                            │ ▲
//!                  connected │ │ the connection ends
//!                            ▼ │
//!                        Greeting ──────► Subscribing ──────► Open
//!                          version,          200            list → inspect → Synced, then
//!                          engine's time                    events, pings, a list every 5 min
//! ```
//!
//! What is told of the engine (`EngineState`):
//!
//! ```text
//!    Down, nobody listens:  Connecting (never synced) │ Lost (synced, or LiveRestore) │ else still Unverified
//!    Down, other reasons:   Stale │ Denied (never synced, or LiveRestore) │ else Unverified: somebody may listen
//!    connected … Synced:    Unverified
//!    after Synced:          Ready ◄──► Slow (a ping or list is late or fails; the stream is open)
//! ```
//!
//! Nobody listening leaves addresses as they were only if they were verified before: an engine that was
//! connected to, and ended before its list was read, may have handed them out anew. With LiveRestore its
//! containers keep them. An engine that is killed may close its streams before its listener (seen with
//! `kill -9` of dockerd, more often than not): the connect made at once then meets the old process, and is
//! no new engine (`ENGINE_DYING`).

use super::super::api::{ApiVersion, Greeting, Info};
use super::super::client::CallError;
use super::super::json::Event;
use super::super::model::Container;
use super::super::report::{EngineState, Identity};
use super::super::socket::ConnectFailure;
use super::containers::{Containers, backoff};
use super::{OnStaleSocket, Timings};
use log::Level;
use std::time::{Duration, Instant};

/// What came in.
#[derive(Debug)]
pub(super) enum Input {
    /// Begin.
    Start,
    ConnectFailed(ConnectFailure),
    Connected,
    /// The answer to [`Action::Greet`]; its time is filled in from our clock if the engine told none.
    Greeted(Greeting),
    Incompatible(String),
    /// The event stream is open.
    Subscribed,
    Event(Event),
    /// The connection of the stream is over.
    Ended(Ending),
    /// Answers to calls, with the session they were asked in.
    Info {
        session: u64,
        result: Result<Info, CallError>,
    },
    Listed {
        session: u64,
        result: Result<Vec<Container>, CallError>,
    },
    Inspected {
        session: u64,
        id: String,
        result: Result<Container, CallError>,
    },
    Pong {
        session: u64,
        result: Result<(), CallError>,
    },
    /// The deadline was reached.
    Tick,
}

/// How a stream's connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The other side closed it, or it broke.
    Closed(String),
    /// The engine answered something that it should not.
    Refused(String),
    /// More events than we keep: we closed it.
    Overflow,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Try to connect, after a pause that a change of the socket's directory ends.
    Connect {
        after: Duration,
    },
    /// Agree on a version, on the connection just made.
    Greet,
    /// Open the event stream on that connection.
    Subscribe {
        version: ApiVersion,
        since: i64,
    },
    /// Calls, in the machine's session and version.
    Info,
    List,
    Ping,
    Inspect {
        id: String,
    },
    /// Reports; a state is logged too.
    State {
        state: EngineState,
        reason: String,
        level: Level,
    },
    Identity(Identity),
    Synced(Vec<Container>),
    Changed(Box<Container>),
    Died {
        id: String,
        at: i64,
    },
    Destroyed {
        id: String,
    },
    Exit {
        reason: String,
    },
    /// A problem, for the log.
    Warn(String),
}

/// Actions in their order.
pub(super) type Actions = Vec<Action>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Down,
    Greeting,
    Subscribing,
    Open,
}

/// The supervisor's state.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    timings: Timings,
    on_stale_socket: OnStaleSocket,
    phase: Phase,
    /// Counts connects and their ends; answers of an earlier one are ignored.
    session: u64,
    version: ApiVersion,
    told: Option<(EngineState, String)>,
    /// What the engine is, as told.
    identity: Option<Identity>,
    /// The last problem that is no state, so that it is logged once.
    trouble: Option<String>,
    /// Synced at least once since the start.
    ever_synced: bool,
    /// Connected, and not synced since.
    unverified: bool,
    /// When the last verified stream ended.
    verified_until: Option<Instant>,
    /// LiveRestoreEnabled at the last info.
    live_restore: bool,
    denied_since: Option<Instant>,
    exit_told: bool,
    /// Time of the last event, for a stream opened anew by ourselves.
    last_event: Option<i64>,
    resume: Option<i64>,
    containers: Containers,
    pulse: Pulse,
    lists: Lists,
    infos: Again,
}

/// When to ask for the info again: the engine's configuration is reloaded without a restart (SIGHUP).
#[derive(Clone, Debug, Default)]
struct Again {
    next: Option<Instant>,
    failed: u32,
}

/// Pings of this session.
#[derive(Clone, Debug, Default)]
struct Pulse {
    sent: Option<Instant>,
    next: Option<Instant>,
    late: Option<String>,
}

/// Lists of this session.
#[derive(Clone, Debug, Default)]
struct Lists {
    next: Option<Instant>,
    failed: u32,
    late: Option<String>,
}

impl Machine {
    pub(super) fn new(timings: Timings, on_stale_socket: OnStaleSocket) -> Self {
        Machine {
            timings,
            on_stale_socket,
            phase: Phase::Down,
            session: 0,
            version: super::super::api::OLDEST,
            told: None,
            identity: None,
            trouble: None,
            ever_synced: false,
            unverified: false,
            verified_until: None,
            live_restore: false,
            denied_since: None,
            exit_told: false,
            last_event: None,
            resume: None,
            containers: Containers::default(),
            pulse: Pulse::default(),
            lists: Lists::default(),
            infos: Again::default(),
        }
    }

    /// The session that calls asked for now belong to, and the version to ask in.
    pub(super) fn session(&self) -> (u64, ApiVersion) {
        (self.session, self.version)
    }

    /// When to step `Tick`, if nothing else comes.
    pub(super) fn deadline(&self) -> Option<Instant> {
        if self.phase != Phase::Open {
            return None;
        }
        let late = self.pulse.sent.filter(|_| self.pulse.late.is_none());
        let late = late.map(|sent| sent + self.timings.ping_late);
        let times = [self.pulse.next, late, self.lists.next, self.infos.next, self.containers.deadline()];
        times.into_iter().flatten().min()
    }

    /// One step.
    pub(super) fn step(mut self, input: Input, now: Instant) -> (Machine, Actions) {
        let mut out = Vec::new();
        match input {
            Input::Start => out.push(Action::Connect { after: Duration::ZERO }),
            Input::ConnectFailed(failure) => self.connect_failed(failure, now, &mut out),
            Input::Connected => self.connected(&mut out),
            Input::Greeted(greeting) => self.greeted(greeting, &mut out),
            Input::Incompatible(why) => self.incompatible(why, &mut out),
            Input::Subscribed => self.subscribed(&mut out),
            Input::Event(event) => self.event(&event, &mut out),
            Input::Ended(ending) => self.ended(ending, now, &mut out),
            Input::Info { session, result } if session == self.session => self.info(result, now, &mut out),
            Input::Listed { session, result } if session == self.session => {
                self.listed(result, now, &mut out);
            }
            Input::Inspected { session, id, result } if session == self.session => {
                self.containers.inspected(&id, result, now, &self.timings, &mut out);
            }
            Input::Pong { session, result } if session == self.session => self.pong(result, now),
            Input::Tick => self.tick(now, &mut out),
            Input::Info { .. } | Input::Listed { .. } | Input::Inspected { .. } | Input::Pong { .. } => {}
        }
        if self.phase == Phase::Open {
            self.containers.pump(now, &mut out);
            self.conclude(now, &mut out);
        }
        (self, out)
    }

    // ---- down -------------------------------------------------------------------------------------------

    fn connect_failed(&mut self, failure: ConnectFailure, now: Instant, out: &mut Actions) {
        if !matches!(failure, ConnectFailure::Denied(_)) {
            self.denied_since = None;
        }
        let after = match failure {
            ConnectFailure::Nobody(why) => self.nobody(why, out),
            ConnectFailure::Stale(why) => self.stale(why, out),
            ConnectFailure::Denied(why) => self.denied(why, now, out),
            ConnectFailure::Unknown(why) => self.unknown(why, out),
        };
        out.push(Action::Connect { after });
    }

    fn nobody(&mut self, why: String, out: &mut Actions) -> Duration {
        if !self.ever_synced {
            self.tell(EngineState::Connecting, why, out);
        } else if self.unverified && !self.live_restore {
            self.tell(EngineState::Unverified, format!("{why}; it ended before its list was read"), out);
        } else {
            self.tell(EngineState::Lost, why, out);
        }
        self.timings.retry
    }

    fn stale(&mut self, why: String, out: &mut Actions) -> Duration {
        self.tell(EngineState::Stale { trusted: self.live_restore }, why.clone(), out);
        if self.on_stale_socket == OnStaleSocket::Exit && !self.exit_told {
            self.exit_told = true;
            out.push(Action::Exit { reason: why });
        }
        self.timings.retry
    }

    /// An engine that makes its socket closes it to everybody for a moment; somebody listens meanwhile.
    fn denied(&mut self, why: String, now: Instant, out: &mut Actions) -> Duration {
        let since = *self.denied_since.get_or_insert(now);
        if now.saturating_duration_since(since) >= self.timings.denied_after {
            if self.ever_synced && !self.live_restore {
                // It may have started again behind the closed door, and handed out addresses.
                self.tell(EngineState::Unverified, why.clone(), out);
                self.trouble(why, out);
            } else {
                self.tell(EngineState::Denied, why, out);
            }
            return self.timings.retry_refused;
        }
        self.unknown(why, out)
    }

    fn unknown(&mut self, why: String, out: &mut Actions) -> Duration {
        if self.ever_synced {
            self.tell(EngineState::Unverified, why, out);
        } else if self.told.as_ref().is_none_or(|(state, _)| *state != EngineState::Denied) {
            self.tell(EngineState::Connecting, why, out);
        }
        self.timings.retry
    }

    // ---- connecting -------------------------------------------------------------------------------------

    fn connected(&mut self, out: &mut Actions) {
        self.phase = Phase::Greeting;
        self.session += 1;
        self.unverified = true;
        self.denied_since = None;
        self.containers.connected();
        self.pulse = Pulse::default();
        self.lists = Lists::default();
        self.infos = Again::default();
        self.tell(EngineState::Unverified, "connected; reading its containers".into(), out);
        out.push(Action::Greet);
    }

    fn greeted(&mut self, greeting: Greeting, out: &mut Actions) {
        self.phase = Phase::Subscribing;
        self.version = greeting.version;
        let since = self.resume.take().or(greeting.engine_time).unwrap_or(0);
        out.push(Action::Subscribe { version: self.version, since });
    }

    fn incompatible(&mut self, why: String, out: &mut Actions) {
        self.phase = Phase::Down;
        self.trouble(why, out);
        out.push(Action::Connect { after: self.timings.retry_refused });
    }

    fn subscribed(&mut self, out: &mut Actions) {
        self.phase = Phase::Open;
        self.ask_list(true, out);
        out.push(Action::Info);
    }

    fn ended(&mut self, ending: Ending, now: Instant, out: &mut Actions) {
        let was_synced = self.phase == Phase::Open && !self.unverified;
        if was_synced {
            self.verified_until = Some(now);
        }
        let since_verified = self.verified_until.map(|end| now.saturating_duration_since(end));
        let dying = !was_synced && since_verified.is_some_and(|time| time < self.timings.dying);
        if dying && matches!(ending, Ending::Closed(_)) {
            self.unverified = false;
        }
        self.phase = Phase::Down;
        self.session += 1;
        match ending {
            // The state that follows says what matters.
            Ending::Closed(why) => log::debug!("event stream ended: {why}"),
            Ending::Refused(why) => self.trouble(why, out),
            Ending::Overflow => {
                self.resume = self.last_event;
                self.trouble("more events than can be kept: reading all anew".into(), out);
            }
        }
        // What breaks at once, again and again, shall not be tried without a pause.
        let after = match (was_synced, dying) {
            (true, _) => Duration::ZERO,
            (false, true) => self.timings.retry / 10,
            (false, false) => self.timings.retry,
        };
        out.push(Action::Connect { after });
    }

    // ---- open -------------------------------------------------------------------------------------------

    fn event(&mut self, event: &Event, out: &mut Actions) {
        if self.phase == Phase::Open {
            self.last_event = Some(event.at);
            self.containers.event(event, out);
        }
    }

    fn info(&mut self, result: Result<Info, CallError>, now: Instant, out: &mut Actions) {
        match result {
            Ok(info) => {
                self.live_restore = info.live_restore;
                self.identify(info, out);
                self.infos = Again { next: Some(now + self.timings.relist_every), failed: 0 };
            }
            Err(error) => {
                log::debug!("info failed: {error}");
                self.infos.failed = self.infos.failed.saturating_add(1);
                self.infos.next = Some(now + backoff(self.infos.failed, &self.timings));
            }
        }
    }

    /// Reports what the engine is, if it is another than the last.
    fn identify(&mut self, info: Info, out: &mut Actions) {
        let Info { server_version: version, operating_system: system, architecture, .. } = info;
        let identity = Identity { version, api: self.version, system, architecture };
        if self.identity.as_ref() != Some(&identity) {
            self.identity = Some(identity.clone());
            out.push(Action::Identity(identity));
        }
    }

    fn ask_list(&mut self, first: bool, out: &mut Actions) {
        self.lists.next = None;
        self.containers.list_asked(first);
        out.push(Action::List);
    }

    fn listed(&mut self, result: Result<Vec<Container>, CallError>, now: Instant, out: &mut Actions) {
        match result {
            Ok(list) => {
                self.lists.failed = 0;
                self.lists.late = None;
                self.containers.listed(list, out);
            }
            Err(error) => {
                self.lists.failed = self.lists.failed.saturating_add(1);
                self.lists.next = Some(now + backoff(self.lists.failed, &self.timings));
                self.containers.list_failed();
                let text = format!("its list of containers failed: {error}");
                if self.unverified {
                    self.trouble(text, out);
                } else {
                    self.lists.late.get_or_insert(text);
                }
            }
        }
    }

    fn pong(&mut self, result: Result<(), CallError>, now: Instant) {
        self.pulse.sent = None;
        match result {
            Ok(()) => {
                self.pulse.late = None;
                self.pulse.next = Some(now + self.timings.ping_every);
            }
            Err(error) => {
                self.pulse.late.get_or_insert(format!("its ping failed: {error}"));
                self.pulse.next = Some(now + self.timings.retry_refused.min(self.timings.ping_every));
                // One that was not answered in time is asked again at once: the engine may go on any moment.
                if error == CallError::Late {
                    self.pulse.next = Some(now + self.timings.again);
                }
            }
        }
    }

    fn tick(&mut self, now: Instant, out: &mut Actions) {
        if self.phase != Phase::Open {
            return;
        }
        if self.pulse.next.is_some_and(|next| next <= now) {
            self.pulse.next = None;
            self.pulse.sent = Some(now);
            out.push(Action::Ping);
        }
        let late = |sent: Instant| now.saturating_duration_since(sent) >= self.timings.ping_late;
        if self.pulse.sent.is_some_and(late) {
            let text = || format!("its ping is not answered within {:?}", self.timings.ping_late);
            self.pulse.late.get_or_insert_with(text);
        }
        if self.lists.next.is_some_and(|next| next <= now) {
            self.ask_list(self.unverified, out);
        }
        if self.infos.next.is_some_and(|next| next <= now) {
            self.infos.next = None;
            out.push(Action::Info);
        }
    }

    /// A list that is complete is reported; then the state follows from pings and lists.
    fn conclude(&mut self, now: Instant, out: &mut Actions) {
        if let Some((containers, first)) = self.containers.complete() {
            if first {
                self.unverified = false;
                self.ever_synced = true;
                self.trouble = None;
                self.pulse.next = Some(now + self.timings.ping_every);
            }
            self.lists.next = Some(now + self.timings.relist_every);
            out.push(Action::Synced(containers));
        }
        if self.unverified {
            return;
        }
        match self.pulse.late.clone().or_else(|| self.lists.late.clone()) {
            Some(why) => {
                let why = format!("{why}; its event stream is open, old routes serve");
                self.tell(EngineState::Slow, why, out);
            }
            None => {
                let why = format!("Docker's API {}, {} containers", self.version, self.containers.len());
                self.tell(EngineState::Ready, why, out);
            }
        }
    }

    // ---- telling ----------------------------------------------------------------------------------------

    /// Reports a state if it is another than the last.
    fn tell(&mut self, state: EngineState, reason: String, out: &mut Actions) {
        if self.told.as_ref().is_some_and(|(told, _)| *told == state) {
            return;
        }
        let level = match state {
            EngineState::Ready | EngineState::Unverified => Level::Info,
            _ => Level::Warn,
        };
        self.told = Some((state.clone(), reason.clone()));
        out.push(Action::State { state, reason, level });
    }

    /// A problem that does not change the state, logged once; its text becomes the state's reason.
    fn trouble(&mut self, text: String, out: &mut Actions) {
        if self.trouble.as_ref() == Some(&text) {
            return;
        }
        match &mut self.told {
            Some((state, reason)) => {
                reason.clone_from(&text);
                out.push(Action::State { state: state.clone(), reason: text.clone(), level: Level::Warn });
            }
            None => out.push(Action::Warn(text.clone())),
        }
        self.trouble = Some(text);
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
