//! The thread that steps the machine and does what it says, and the start of all threads.

use super::super::backlog::{Backlog, Mark};
use super::super::report::Report;
use super::super::socket::watch::{Stopper, Watch};
use super::super::url::{ClientKey, EngineUrl};
use super::calls::{Call, Caller, Job};
use super::machine::{Action, Input, Machine};
use super::stream::{Command, Slot, Stream};
use super::{Clients, StopHand, Supervisor, SupervisorConfig};
use crate::limits;
use crossbeam_channel::{Receiver, Sender, bounded, never, select, unbounded};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

/// Stack of one thread: JSON of any depth that serde_json takes (128 levels) fits many times.
const STACK_BYTES: usize = 512 * 1024;
/// Calls waiting: those of the session, and what is left of an earlier one.
const JOBS: usize = 4 * limits::ENGINE_INSPECTS;
/// Answers waiting; a full queue makes the calling threads wait.
const ANSWERS: usize = 64;

/// What the shell's thread receives.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // all but one are inputs
pub(super) enum Message {
    Input(Input),
    /// Of the event stream; the mark is dropped when it has had its effect.
    Event(Input, Mark),
    Stop,
}

type ReportFn = Box<dyn Fn(Report) + Send + Sync>;

/// Starts all threads.
pub(super) fn start(
    config: SupervisorConfig,
    clients: Arc<Clients>,
    report: ReportFn,
) -> io::Result<Supervisor> {
    // Bounded by its one sender: a bounded queue has all its memory from the start.
    let (events, events_in) = unbounded();
    let (inputs, inputs_in) = bounded(ANSWERS);
    let (commands, commands_in) = bounded(4);
    let (jobs, jobs_in) = bounded(JOBS);
    let (pings, pings_in) = bounded(1);
    let (alive, ended) = bounded::<()>(0);
    let stopper = Stopper::new()?;
    let slot = Arc::new(Slot::default());
    let hand = StopHand { stopper: stopper.clone(), slot: Arc::clone(&slot), inputs: inputs.clone() };
    // From here on an early return drops this, which ends the threads started so far.
    let mut supervisor = Supervisor { name: Arc::clone(&config.name), hand, threads: Vec::new(), ended };

    let EngineUrl::Unix(path) = &config.url;
    let stream = Stream {
        name: Arc::clone(&config.name),
        url: config.url.clone(),
        pending: config.timings.pending,
        slot: Arc::clone(&slot),
        watch: Watch::new(path, stopper),
        commands: commands_in,
        events,
        backlog: Arc::clone(&config.backlog),
        malformed: 0,
    };
    let caller = |jobs: Receiver<Job>| Caller {
        clients: Arc::clone(&clients),
        key: ClientKey::plain(config.url.clone()),
        timeout: config.timings.call,
        reap_after: config.timings.reap_after,
        jobs,
        answers: inputs.clone(),
    };
    let shell = Shell {
        name: Arc::clone(&config.name),
        report,
        slot,
        events: events_in,
        inputs: inputs_in,
        commands,
        jobs,
        pings,
        refused: VecDeque::new(),
        backlog: Arc::clone(&config.backlog),
        mark: None,
    };
    let machine = Machine::new(config.timings.clone(), config.on_stale_socket);
    let threads = &mut supervisor.threads;
    threads.push(spawn("docker-events", &alive, move || stream.run())?);
    for _ in 0..limits::ENGINE_INSPECTS {
        let caller = caller(jobs_in.clone());
        threads.push(spawn("docker-call", &alive, move || caller.run())?);
    }
    let pinger = caller(pings_in);
    threads.push(spawn("docker-ping", &alive, move || pinger.run())?);
    threads.push(spawn("docker-engine", &alive, move || shell.run(machine))?);
    Ok(supervisor)
}

fn spawn(name: &str, alive: &Sender<()>, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    let alive = alive.clone();
    Builder::new().name(name.into()).stack_size(STACK_BYTES).spawn(move || {
        work();
        drop(alive);
    })
}

/// The thread's state, beside the machine.
struct Shell {
    name: Arc<str>,
    report: ReportFn,
    slot: Arc<Slot>,
    events: Receiver<Message>,
    inputs: Receiver<Message>,
    commands: Sender<Command>,
    jobs: Sender<Job>,
    pings: Sender<Job>,
    /// Answers to jobs that found no room.
    refused: VecDeque<Input>,
    backlog: Arc<Backlog>,
    /// Of the event that is worked on.
    mark: Option<Mark>,
}

impl Shell {
    #[allow(clippy::disallowed_methods)] // the docker lane reads the clock; the machine is given `now`
    fn run(mut self, machine: Machine) {
        let mut machine = machine;
        let mut next = Some(Input::Start);
        while let Some(input) = next {
            let actions;
            (machine, actions) = machine.step(input, Instant::now());
            for action in actions {
                if self.slot.is_stopped() {
                    return;
                }
                self.perform(action, &machine);
            }
            self.mark = None;
            next = self.refused.pop_front().or_else(|| self.receive(machine.deadline()));
        }
    }

    /// The next input; none when stopped.
    fn receive(&mut self, deadline: Option<Instant>) -> Option<Input> {
        let timer = deadline.map_or_else(never, crossbeam_channel::at);
        let message = select! {
            recv(self.events) -> message => message.ok()?,
            recv(self.inputs) -> message => message.ok()?,
            recv(timer) -> _ => Message::Input(Input::Tick),
        };
        match message {
            Message::Input(input) if !self.slot.is_stopped() => Some(input),
            Message::Event(input, mark) if !self.slot.is_stopped() => {
                self.mark = Some(mark);
                Some(input)
            }
            _ => None,
        }
    }

    fn perform(&mut self, action: Action, machine: &Machine) {
        let engine = || Arc::clone(&self.name);
        let (session, version) = machine.session();
        let job = |call| Job { session, version, call };
        match action {
            Action::Connect { after } => self.command(Command::Connect { after }),
            Action::Greet => self.command(Command::Greet),
            Action::Subscribe { version, since } => self.command(Command::Subscribe { version, since }),
            Action::Info => self.call(job(Call::Info)),
            Action::List => self.call(job(Call::List)),
            Action::Inspect { id } => self.call(job(Call::Inspect(id))),
            Action::Ping => self.call(job(Call::Ping)),
            Action::State { state, reason, level } => {
                log::log!(level, "engine {}: {state}: {reason}", self.name);
                (self.report)(Report::State { engine: engine(), state, reason });
            }
            Action::Identity(identity) => (self.report)(Report::Identity { engine: engine(), identity }),
            Action::Synced(containers) => (self.report)(Report::Synced { engine: engine(), containers }),
            Action::Changed(container) => (self.report)(Report::Changed { engine: engine(), container }),
            Action::Died { id, at } => {
                let mark = self.mark.clone().unwrap_or_else(|| self.backlog.mark());
                (self.report)(Report::Died { engine: engine(), id, at, mark });
            }
            Action::Destroyed { id } => (self.report)(Report::Destroyed { engine: engine(), id }),
            Action::Exit { reason } => (self.report)(Report::Exit { engine: engine(), reason }),
            Action::Warn(text) => log::warn!("engine {}: {text}", self.name),
        }
    }

    /// The machine gives one command at a time: there is always room, or the thread has ended.
    fn command(&self, command: Command) {
        if self.commands.try_send(command).is_err() {
            log::debug!("engine {}: {command:?} after the end", self.name);
        }
    }

    fn call(&mut self, job: Job) {
        let queue = if matches!(job.call, Call::Ping) { &self.pings } else { &self.jobs };
        if let Err(error) = queue.try_send(job) {
            self.refused.push_back(error.into_inner().refused());
        }
    }
}
