//! One supervisor per engine: connect → subscribe → list → inspect → stream, for ever. What it decides
//! stands in `machine`, pure; around it are threads that only do what they are told:
//!
//! ```text
//!            commands ┌──────────┐ events, outcomes
//!          ┌─────────►│  stream  ├──────────┐          the engine's socket: inotify, connect, the endless read
//!          │          └──────────┘          ▼
//!   ┌──────┴────────────────────────────────────────┐
//!   │ shell: one thread, steps the machine, reports │──► report(Report)
//!   └──────┬────────────────────────────────────────┘
//!          │ jobs     ┌──────────┐ answers  ▲
//!          └─────────►│  calls   ├──────────┘          list, inspect, info; the ping on a thread of its own
//!                     └──────────┘
//! ```

mod calls;
mod containers;
mod machine;
mod shell;
mod stream;

use super::backlog::Backlog;
use super::client::Client;
use super::report::Report;
use super::socket::watch::Stopper;
use super::url::{ClientKey, EngineUrl};
use crate::lifecycle::Registry;
use crate::limits;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The shared clients: one for each client key, made on first use, closed when idle for long. The endless
/// event streams have clients of their own, or these would never be idle.
pub type Clients = Registry<ClientKey, Client>;

/// An empty registry of clients. Supervisors reap what is idle for `Timings::reap_after`; whoever owns it
/// closes the rest at the end.
#[allow(clippy::disallowed_methods)] // the docker lane reads the clock
pub fn clients() -> Arc<Clients> {
    Registry::new("docker client", limits::CLIENT_LEASES, Instant::now)
}

/// What to do when the engine's socket is a deleted file (bind-mounted, and the engine made a new one).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnStaleSocket {
    /// Go on with what can be served.
    #[default]
    Keep,
    /// Send [`Report::Exit`].
    Exit,
}

/// Every time a supervisor waits for. The default is what `limits` says; tests shorten it.
#[derive(Clone, Debug)]
pub struct Timings {
    /// For one list, inspect, info or ping.
    pub call: Duration,
    /// For the first answers after a connect, while the engine is starting or stopped.
    pub pending: Duration,
    /// Between two pings.
    pub ping_every: Duration,
    /// A ping later than this makes the engine slow.
    pub ping_late: Duration,
    /// Between two full lists.
    pub relist_every: Duration,
    /// Between two tries to connect.
    pub retry: Duration,
    /// Between two tries on a socket that may not be opened, or an engine of an unknown API.
    pub retry_refused: Duration,
    /// How long a socket must be closed to us to count as denied.
    pub denied_after: Duration,
    /// A connection that breaks within this time of a verified stream's end was the dying engine's.
    pub dying: Duration,
    /// Before an inspect that found nothing is tried again; doubled for other failures.
    pub again: Duration,
    /// Longest pause between two tries of a call that fails.
    pub backoff: Duration,
    /// A client nobody has used for this long is closed: its engine is gone.
    pub reap_after: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Timings {
            call: limits::ENGINE_CALL_TIMEOUT,
            pending: limits::ENGINE_PENDING,
            ping_every: limits::ENGINE_PING_EVERY,
            ping_late: limits::ENGINE_PING_LATE,
            relist_every: limits::ENGINE_RELIST_EVERY,
            retry: limits::ENGINE_RETRY_UNIX,
            retry_refused: limits::ENGINE_RETRY_REFUSED,
            denied_after: limits::ENGINE_DENIED_AFTER,
            dying: limits::ENGINE_DYING,
            again: limits::ENGINE_INSPECT_AGAIN,
            backoff: limits::ENGINE_BACKOFF,
            reap_after: limits::ENGINE_CLIENT_IDLE,
        }
    }
}

/// One engine to watch.
#[derive(Clone)]
pub struct SupervisorConfig {
    /// The name of its entry in `providers.docker`.
    pub name: Arc<str>,
    /// Where it is.
    pub url: EngineUrl,
    /// What to do about a stale socket.
    pub on_stale_socket: OnStaleSocket,
    /// Times, [`Timings::default`] outside of tests.
    pub timings: Timings,
    /// Where others see whether its events have had their effect.
    pub backlog: Arc<Backlog>,
}

impl SupervisorConfig {
    /// The engine `name` at `url`, everything else as by default.
    pub fn new(name: impl Into<Arc<str>>, url: EngineUrl) -> Self {
        let (on_stale_socket, timings) = (OnStaleSocket::default(), Timings::default());
        SupervisorConfig { name: name.into(), url, on_stale_socket, timings, backlog: Backlog::new() }
    }
}

/// Starts to watch an engine. `report` is called from one thread of the supervisor, in order; it may block
/// for a while (a full queue): then events wait, and beyond `ENGINE_EVENTS` the stream is opened anew.
///
/// # Errors
/// A thread or a descriptor could not be had. That the engine is not there is none.
pub fn supervise(
    config: SupervisorConfig,
    clients: Arc<Clients>,
    report: impl Fn(Report) + Send + Sync + 'static,
) -> io::Result<Supervisor> {
    shell::start(config, clients, Box::new(report))
}

/// A supervisor at work. Dropping it ends its threads too, without waiting for them.
pub struct Supervisor {
    name: Arc<str>,
    hand: StopHand,
    threads: Vec<JoinHandle<()>>,
    /// Disconnected when the last thread has ended.
    ended: crossbeam_channel::Receiver<()>,
}

/// What ends the threads.
struct StopHand {
    stopper: Stopper,
    slot: Arc<stream::Slot>,
    inputs: crossbeam_channel::Sender<shell::Message>,
}

impl StopHand {
    fn pull(&self) {
        self.slot.stop();
        self.stopper.stop();
        // Full: the shell sees the slot's mark after the message it works on.
        let _ = self.inputs.try_send(shell::Message::Stop);
    }
}

impl Supervisor {
    /// The name of the engine.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Ends the event stream and all threads; returns when they have ended, after a second at most: a call
    /// under way on the shared client is not broken (others may hold that client), its thread ends with it.
    /// No report is sent after a `stop` that was not cut short.
    pub fn stop(mut self) {
        self.hand.pull();
        match self.ended.recv_timeout(limits::ENGINE_STOP_WAIT) {
            Err(crossbeam_channel::RecvTimeoutError::Timeout) => {
                log::debug!("engine {}: stopped; a call is still under way", self.name);
            }
            _ => {
                for thread in self.threads.drain(..) {
                    let _ = thread.join();
                }
            }
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.hand.pull();
    }
}
