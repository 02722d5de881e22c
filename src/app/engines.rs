//! One supervisor per engine of the configuration; their reports go to control.

use super::{End, Observed};
use crate::config::{self, EngineConfig};
use crate::control::{EngineSetup, Mailbox};
use crate::docker::{
    self, Backlog, ClientKey, Clients, EngineUrl, OnStaleSocket, Report, Supervisor, SupervisorConfig,
    supervise,
};
use crate::error::Problem;
use crossbeam_channel::Sender;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The running supervisors.
pub(super) struct Engines {
    running: Vec<Running>,
    /// Of those to be started: control has them first.
    planned: BTreeMap<String, Arc<Backlog>>,
    clients: Arc<Clients>,
}

impl Default for Engines {
    fn default() -> Self {
        Engines { running: Vec::new(), planned: BTreeMap::new(), clients: docker::clients() }
    }
}

struct Running {
    config: EngineConfig,
    url: EngineUrl,
    supervisor: Supervisor,
    backlog: Arc<Backlog>,
    /// False once it was told to stop: what it still says is about an engine that is no more.
    heard: Arc<AtomicBool>,
}

/// What [`Engines::stop_others`] has stopped.
#[derive(Default)]
pub(super) struct Stopped {
    pub names: Vec<String>,
    /// Those that come back at another URL.
    pub moved: Vec<Arc<str>>,
}

/// The engines that can't be: a URL of a kind that is not known.
pub(super) fn check(engines: &[EngineConfig]) -> Vec<Problem> {
    let wrong = |engine: &EngineConfig| {
        EngineUrl::parse(&engine.url).err().map(|error| Problem::new(engine.place.clone(), error))
    };
    engines.iter().filter_map(wrong).collect()
}

impl Engines {
    /// What control has to know of `wanted`, of which some run and some are to be started.
    pub fn plan(&mut self, wanted: &[EngineConfig]) -> Vec<EngineSetup> {
        self.planned.clear();
        let mut setups = Vec::with_capacity(wanted.len());
        for engine in wanted {
            let backlog = match self.running.iter().find(|running| running.is(engine)) {
                Some(running) => Arc::clone(&running.backlog),
                None => Arc::clone(self.planned.entry(engine.name.clone()).or_default()),
            };
            let (name, explicit_only) = (engine.name.as_str().into(), engine.explicit_only);
            let url = engine.url.clone();
            setups.push(EngineSetup { name, url, explicit_only, backlog });
        }
        setups
    }

    /// Stops the supervisors of engines that `wanted` has not, or has otherwise. The others are not touched.
    pub fn stop_others(&mut self, wanted: &[EngineConfig]) -> Stopped {
        let mut stopped = Stopped::default();
        let (kept, others): (Vec<_>, Vec<_>) =
            self.running.drain(..).partition(|running| wanted.iter().any(|engine| running.is(engine)));
        self.running = kept;
        for running in others {
            let name = running.config.name.clone();
            if wanted.iter().any(|engine| engine.name == name && engine.url != running.config.url) {
                stopped.moved.push(name.as_str().into());
            }
            running.heard.store(false, Ordering::Release);
            running.supervisor.stop();
            let is_used = self.running.iter().any(|other| other.url == running.url)
                || wanted.iter().any(|engine| EngineUrl::parse(&engine.url).as_ref() == Ok(&running.url));
            if !is_used {
                self.clients.close(&ClientKey::plain(running.url), "its engine is configured no more");
            }
            stopped.names.push(name);
        }
        stopped
    }

    /// Starts a supervisor for each of `wanted` (the last plan) that has none; says which. An engine's wish to end
    /// the process goes to `ender`.
    ///
    /// # Errors
    /// The system refuses a thread or a descriptor; those already started go on.
    pub fn start_missing(
        &mut self,
        wanted: &[EngineConfig],
        mailbox: &Mailbox,
        ender: &Sender<End>,
        observed: &Arc<Observed>,
    ) -> io::Result<Vec<String>> {
        let mut started = Vec::new();
        for engine in wanted {
            match self.running.iter_mut().find(|running| running.is(engine)) {
                Some(running) => running.config = engine.clone(),
                None => match EngineUrl::parse(&engine.url) {
                    Ok(url) => {
                        let (mailbox, ender, observed) =
                            (mailbox.clone(), ender.clone(), Arc::clone(observed));
                        let report = move |report: Report| match observed.note(report) {
                            Report::Exit { engine, reason } => {
                                log::error!("engine {engine}: {reason}");
                                // Full: an end is on its way already.
                                let _ = ender.try_send(End::StaleSocket);
                            }
                            report => mailbox.report(report),
                        };
                        self.start(engine, url, report)?;
                        started.push(engine.name.clone());
                    }
                    Err(error) => log::error!("{}: {error}", engine.place),
                },
            }
        }
        Ok(started)
    }

    fn start(
        &mut self,
        engine: &EngineConfig,
        url: EngineUrl,
        report: impl Fn(Report) + Send + Sync + 'static,
    ) -> io::Result<()> {
        let backlog = self.planned.remove(&engine.name).unwrap_or_default();
        let mut setup = SupervisorConfig::new(engine.name.as_str(), url.clone());
        setup.backlog = Arc::clone(&backlog);
        setup.on_stale_socket = match engine.on_stale_socket {
            config::OnStaleSocket::Keep => OnStaleSocket::Keep,
            config::OnStaleSocket::Exit => OnStaleSocket::Exit,
        };
        let heard = Arc::new(AtomicBool::new(true));
        let listening = Arc::clone(&heard);
        let report = move |said: Report| {
            if listening.load(Ordering::Acquire) {
                report(said);
            }
        };
        let supervisor = supervise(setup, Arc::clone(&self.clients), report)?;
        self.running.push(Running { config: engine.clone(), url, supervisor, backlog, heard });
        Ok(())
    }

    /// Ends every supervisor and closes the clients.
    pub fn stop(self) {
        for running in self.running {
            running.supervisor.stop();
        }
        self.clients.close_all("shutdown");
    }
}

impl Running {
    /// Whether it is this engine's supervisor. `explicit_only` is control's concern.
    fn is(&self, engine: &EngineConfig) -> bool {
        let own = &self.config;
        own.name == engine.name && own.url == engine.url && own.on_stale_socket == engine.on_stale_socket
    }
}
