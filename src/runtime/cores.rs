//! Starting and ending the cores, and what other threads hold of them.

use std::error::Error;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};

use super::core::{Core, read_clock};
use super::inbox::{Full, Inbox};
use super::panics;
use crate::limits;

/// How the cores are set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Cores; 0 means one per CPU this process may use.
    pub cores: usize,
    /// Prefix of the threads' names.
    pub name: &'static str,
    /// Stacks a busy core keeps for reuse; an idle one gives them back within seconds.
    pub stacks_kept: usize,
    /// Coroutines at once on one core.
    pub max_coroutines: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            cores: 0,
            name: "core",
            stacks_kept: limits::STACKS_KEPT_PER_CORE,
            max_coroutines: limits::COROUTINES_PER_CORE,
        }
    }
}

/// Number of a core, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CoreId(usize);

impl CoreId {
    /// What [`current`](super::current) gives on a thread that is no core.
    pub const NONE: CoreId = CoreId(usize::MAX);

    /// The number, to index a table of cores.
    pub fn index(self) -> usize {
        self.0
    }
}

impl fmt::Display for CoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            CoreId::NONE => f.write_str("none"),
            CoreId(number) => write!(f, "{number}"),
        }
    }
}

/// Why a coroutine could not be started.
#[derive(Debug)]
pub enum SpawnError {
    /// The core runs as many as it may.
    TooMany,
    /// No memory or no mapping for a stack (`vm.max_map_count`).
    NoStack(io::Error),
    /// The cores shut down.
    Stopped,
    /// The calling thread is no core.
    NotOnACore,
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SpawnError::TooMany => f.write_str("the core runs as many coroutines as it may"),
            SpawnError::NoStack(e) => write!(f, "no stack for a coroutine: {e}"),
            SpawnError::Stopped => f.write_str("the runtime is shutting down"),
            SpawnError::NotOnACore => f.write_str("not on a core"),
        }
    }
}

impl Error for SpawnError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            SpawnError::NoStack(e) => Some(e),
            _ => None,
        }
    }
}

/// A core, for other threads.
#[derive(Clone)]
pub struct CoreHandle {
    id: CoreId,
    inbox: Arc<Inbox>,
}

impl CoreHandle {
    /// Which core.
    pub fn id(&self) -> CoreId {
        self.id
    }

    /// Has the core run `f` on its own stack soon, also when it is idle. `f` must not block; it may spawn.
    ///
    /// # Errors
    /// [`Full`] when `limits::CORE_QUEUE` closures wait already, or the core has ended.
    pub fn post(&self, f: impl FnOnce() + Send + 'static) -> Result<(), Full> {
        self.inbox.post(Box::new(f))
    }
}

/// The running cores. Dropping it stops them without waiting.
pub struct Cores {
    handles: Vec<CoreHandle>,
    threads: Vec<JoinHandle<()>>,
    /// Disconnected once every thread has ended.
    ended: Receiver<()>,
}

impl Cores {
    /// Starts the cores. `init` runs as the first coroutine on each.
    ///
    /// # Errors
    /// A poller, eventfd or thread could not be made; those already started are stopped.
    pub fn start(config: Config, init: impl Fn(CoreId) + Send + Sync + 'static) -> io::Result<Cores> {
        panics::install_hook();
        let count = match config.cores {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            count => count,
        };
        let init = Arc::new(init);
        let (alive, ended) = bounded::<()>(0);
        let mut cores = Cores { handles: Vec::new(), threads: Vec::new(), ended };
        for number in 0..count {
            let id = CoreId(number);
            let inbox = Arc::new(Inbox::new()?);
            let (tell, told) = bounded(1);
            let (config, init, alive) = (config.clone(), init.clone(), alive.clone());
            let name = format!("{}-{number}", config.name);
            let handle = CoreHandle { id, inbox: inbox.clone() };
            let thread = std::thread::Builder::new().name(name).spawn(move || {
                let _alive = alive;
                match Core::new(id, &config, inbox) {
                    Err(e) => drop(tell.send(Err(e))),
                    Ok(core) => {
                        drop(tell.send(Ok(())));
                        Rc::new(core).run(move || init(id));
                    }
                }
            })?;
            cores.threads.push(thread);
            told.recv().map_err(|_| io::Error::other("a core ended before it began"))??;
            cores.handles.push(handle);
        }
        Ok(cores)
    }

    /// The cores in order of their numbers.
    pub fn handles(&self) -> &[CoreHandle] {
        &self.handles
    }

    /// Tells every core to end: each waiter wakes with an error of [`is_stopped`](super::is_stopped), nothing
    /// new is spawned, and what has not ended after `limits::STOP_GRACE` is abandoned. Returns at once.
    pub fn shutdown(&self) {
        self.handles.iter().for_each(|h| h.inbox.stop());
    }

    /// Waits until every core has ended (after [`shutdown`](Cores::shutdown), from anywhere).
    ///
    /// # Errors
    /// `TimedOut` when a core doesn't end within the grace after a shutdown because a coroutine never waits.
    pub fn join(mut self) -> io::Result<()> {
        loop {
            match self.ended.recv_timeout(limits::STOP_GRACE) {
                Err(RecvTimeoutError::Disconnected) => break,
                _ if self.handles.iter().all(|h| h.inbox.is_stopped()) => {
                    // The cores have the same grace; one more for what they do after it.
                    let end = read_clock() + limits::STOP_GRACE;
                    match self.ended.recv_deadline(end) {
                        Err(RecvTimeoutError::Disconnected) => break,
                        _ => return Err(io::ErrorKind::TimedOut.into()),
                    }
                }
                _ => {}
            }
        }
        for thread in self.threads.drain(..) {
            thread.join().map_err(|_| io::Error::other("a core's thread panicked"))?;
        }
        Ok(())
    }
}

impl Drop for Cores {
    fn drop(&mut self) {
        self.shutdown();
    }
}
