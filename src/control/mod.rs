//! The one thread that decides: engines report, it steps the [`World`] and publishes snapshots.
//!
//! ```text
//!   supervisors ──Report──► bounded queue ──► control: World::apply ──► Publisher ──► announce to the cores
//! ```
//!
//! All that waits in the queue is applied before one snapshot is published, and nothing waits longer than
//! that: a `die` closes its endpoint as soon as it is read.

mod merge;
mod status;
mod world;

pub use status::{EngineStatus, Exclusion, RouteStatus, Status, Whereto};
pub use world::{AdminWay, Change, EngineSetup, World, WorldSetup};

use crate::docker::Report;
use crate::error::Problem;
use crate::limits::{CONTROL_BATCH, CONTROL_QUEUE, TELL_AGAIN};
use crate::snapshot::Publisher;
use crossbeam_channel::{Receiver, RecvTimeoutError, SendError, Sender, bounded};
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What the control thread is told.
#[derive(Debug)]
pub enum Message {
    /// From an engine's supervisor.
    Engine(Report),
    /// What is served now, and why.
    Status(Sender<Status>),
    /// What a person should mend about the certificates of HTTPS.
    Certificates(Vec<Problem>),
    /// Another configuration; the sender is told when it is served.
    Configure(Box<Change>, Sender<()>),
    /// Close all endpoints and end.
    Stop,
}

/// The running control thread.
pub struct Control {
    queue: Sender<Message>,
    thread: JoinHandle<()>,
}

/// The way to the control thread.
#[derive(Clone)]
pub struct Mailbox(Sender<Message>);

impl Mailbox {
    /// Hands a report over; waits while the queue is full, which slows the supervisor, not its reader.
    pub fn report(&self, report: Report) {
        // What it holds is not shown: labels may have secrets.
        if let Err(SendError(Message::Engine(report))) = self.0.send(Message::Engine(report)) {
            log::debug!("control has ended: a report of engine {} is not heard", report.engine());
        }
    }

    /// What is served now, and why; none if the thread does not answer within `patience`. Blocks.
    pub fn status(&self, patience: Duration) -> Option<Status> {
        let (asker, answer) = bounded(1);
        self.0.send_timeout(Message::Status(asker), patience).ok()?;
        answer.recv_timeout(patience).ok()
    }
}

impl Mailbox {
    /// Replaces what is known to be wrong with the certificates of HTTPS; false if control does not take it
    /// within `patience`.
    pub fn certificates(&self, problems: Vec<Problem>, patience: Duration) -> bool {
        self.0.send_timeout(Message::Certificates(problems), patience).is_ok()
    }

    /// Has the world take `change`; true once requests are answered by it, false if that takes longer than
    /// `patience` or control has ended.
    pub fn configure(&self, change: Change, patience: Duration) -> bool {
        let (told, heard) = bounded(1);
        let message = Message::Configure(Box::new(change), told);
        self.0.send_timeout(message, patience).is_ok() && heard.recv_timeout(patience).is_ok()
    }
}

impl Control {
    /// Starts the thread; the first snapshot of `world` is published already. `announce` tells the cores of a
    /// new snapshot; false means that one was too busy and has to be told again.
    ///
    /// # Errors
    /// If the thread can't be started.
    pub fn start(
        mut world: World,
        publisher: Arc<Publisher>,
        announce: impl Fn() -> bool + Send + 'static,
    ) -> io::Result<Control> {
        let (queue, messages) = bounded(CONTROL_QUEUE);
        let thread = std::thread::Builder::new()
            .name("control".into())
            .spawn(move || run(&mut world, &publisher, &messages, &announce))?;
        Ok(Control { queue, thread })
    }

    /// The way to this thread.
    pub fn mailbox(&self) -> Mailbox {
        Mailbox(self.queue.clone())
    }

    /// Ends the thread after what is already queued.
    pub fn stop(self) {
        // Err: it has ended already.
        let _ = self.queue.send(Message::Stop);
        if self.thread.join().is_err() {
            log::error!("the control thread panicked");
        }
    }
}

fn run(world: &mut World, publisher: &Publisher, messages: &Receiver<Message>, announce: &dyn Fn() -> bool) {
    let mut told = announce();
    loop {
        let timeout = if told { Duration::MAX } else { TELL_AGAIN };
        let first = match messages.recv_timeout(timeout) {
            Ok(message) => Some(message),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        let mut stop = false;
        let mut changed = false;
        let mut unannounced = false;
        let mut configured = Vec::new();
        for message in first.into_iter().chain(messages.try_iter().take(CONTROL_BATCH)) {
            match message {
                Message::Engine(report) => changed |= world.apply(report, now()),
                Message::Certificates(problems) => {
                    world.set_certificates(problems);
                    changed = true;
                }
                Message::Configure(change, told) => {
                    world.configure(*change);
                    configured.push(told);
                    changed = true;
                }
                // Whoever asked may have given up waiting. What was reported before is in the answer.
                Message::Status(asker) => {
                    if std::mem::take(&mut changed) {
                        publish(world, publisher);
                        unannounced = true;
                    }
                    drop(asker.try_send(world.status()));
                }
                Message::Stop => stop = true,
            }
        }
        if stop {
            break;
        }
        changed |= !configured.is_empty();
        if changed {
            publish(world, publisher);
        }
        if changed || unannounced || !told {
            told = announce();
        }
        for told in configured {
            // The other side may have given up waiting.
            let _ = told.try_send(());
        }
    }
    world.close();
}

/// Publishes the world as it is now.
fn publish(world: &mut World, publisher: &Publisher) {
    publisher.publish(world.snapshot(now()));
    world.published();
}

#[allow(clippy::disallowed_methods)] // the one place where the control thread reads the clock
fn now() -> Instant {
    Instant::now()
}
