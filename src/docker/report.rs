//! What a supervisor tells the control thread.

use super::api::ApiVersion;
use super::backlog::Mark;
use super::model::Container;
use std::fmt;
use std::sync::Arc;

/// State of an engine, for the log, `routes` and the gates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineState {
    /// Never reached since the start.
    Connecting,
    /// A connect succeeded and the first list is not reconciled yet: its addresses may have changed hands.
    Unverified,
    /// Its event stream is open and its list is reconciled.
    Ready,
    /// Its event stream is open but a ping or list is late: old routes serve.
    Slow,
    /// Nobody listens on its socket: nobody hands out addresses, old routes serve.
    Lost,
    /// Its socket is a deleted file (bind-mounted, nlink 0); `trusted` if LiveRestoreEnabled was true at
    /// the last `/info`: only then old routes serve.
    Stale { trusted: bool },
    /// We may not open its socket.
    Denied,
}

impl fmt::Display for EngineState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            EngineState::Connecting => "connecting",
            EngineState::Unverified => "unverified",
            EngineState::Ready => "ready",
            EngineState::Slow => "slow",
            EngineState::Lost => "lost",
            EngineState::Stale { .. } => "stale socket",
            EngineState::Denied => "denied",
        })
    }
}

/// What an engine is, as it says at each connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The engine's own version (`ServerVersion` of `/info`), `20.10.24`.
    pub version: String,
    /// The API version that was agreed on.
    pub api: ApiVersion,
    /// `OperatingSystem` of `/info`.
    pub system: String,
    /// `Architecture` of `/info`, `x86_64`.
    pub architecture: String,
}

/// One report. `engine` is the name of its entry in `providers.docker`.
#[derive(Clone, Debug)]
pub enum Report {
    /// The engine's state changed; `reason` is for people.
    State { engine: Arc<str>, state: EngineState, reason: String },
    /// What the engine is; when it is first known and when it is another.
    Identity { engine: Arc<str>, identity: Identity },
    /// A full list, reconciled: what is not in it is gone. Ends `Unverified`.
    Synced { engine: Arc<str>, containers: Vec<Container> },
    /// One container is new or changed (inspected after its event).
    Changed { engine: Arc<str>, container: Box<Container> },
    /// A container's run ended (`die`); `at` is the event's time in nanoseconds since the Unix epoch: older
    /// than the run's StartedAt means an earlier run.
    /// `mark` is dropped when this is published: see [`Backlog`](super::Backlog).
    Died { engine: Arc<str>, id: String, at: i64, mark: Mark },
    /// A container was removed (`destroy`).
    Destroyed { engine: Arc<str>, id: String },
    /// The socket is stale and `on_stale_socket: exit` was asked for: the program should end, so that
    /// whoever restarts it mounts the new socket. Sent once, after the state.
    Exit { engine: Arc<str>, reason: String },
}

impl Report {
    /// The engine that reports.
    pub fn engine(&self) -> &Arc<str> {
        match self {
            Report::State { engine, .. }
            | Report::Identity { engine, .. }
            | Report::Synced { engine, .. }
            | Report::Changed { engine, .. }
            | Report::Died { engine, .. }
            | Report::Destroyed { engine, .. }
            | Report::Exit { engine, .. } => engine,
        }
    }
}
