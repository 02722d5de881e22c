//! One supervisor per engine of the configuration; their reports go to control.

use super::End;
use crate::config::{self, EngineConfig};
use crate::control::Mailbox;
use crate::docker::{
    self, ClientKey, Clients, EngineUrl, OnStaleSocket, Report, Supervisor, SupervisorConfig, supervise,
};
use crate::error::Problem;
use crossbeam_channel::Sender;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The running supervisors.
pub(super) struct Engines {
    running: Vec<Running>,
    clients: Arc<Clients>,
    mailbox: Mailbox,
    ender: Sender<End>,
}

struct Running {
    config: EngineConfig,
    url: EngineUrl,
    supervisor: Supervisor,
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
    /// No supervisor yet; an engine's wish to end the process goes to `ender`.
    pub fn new(mailbox: Mailbox, ender: Sender<End>) -> Engines {
        Engines { running: Vec::new(), clients: docker::clients(), mailbox, ender }
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

    /// Starts a supervisor for each of `wanted` that has none; says which.
    ///
    /// # Errors
    /// The system refuses a thread or a descriptor; those already started go on.
    pub fn start_missing(&mut self, wanted: &[EngineConfig]) -> io::Result<Vec<String>> {
        let mut started = Vec::new();
        for engine in wanted {
            match self.running.iter_mut().find(|running| running.is(engine)) {
                Some(running) => running.config = engine.clone(),
                None => match EngineUrl::parse(&engine.url) {
                    Ok(url) => {
                        self.start(engine, url)?;
                        started.push(engine.name.clone());
                    }
                    Err(error) => log::error!("{}: {error}", engine.place),
                },
            }
        }
        Ok(started)
    }

    fn start(&mut self, engine: &EngineConfig, url: EngineUrl) -> io::Result<()> {
        let mut setup = SupervisorConfig::new(engine.name.as_str(), url.clone());
        setup.on_stale_socket = match engine.on_stale_socket {
            config::OnStaleSocket::Keep => OnStaleSocket::Keep,
            config::OnStaleSocket::Exit => OnStaleSocket::Exit,
        };
        let (mailbox, ender) = (self.mailbox.clone(), self.ender.clone());
        let heard = Arc::new(AtomicBool::new(true));
        let listening = Arc::clone(&heard);
        let report = move |report: Report| match report {
            _ if !listening.load(Ordering::Acquire) => {}
            Report::Exit { engine, reason } => {
                log::error!("engine {engine}: {reason}");
                // Full: an end is on its way already.
                let _ = ender.try_send(End::StaleSocket);
            }
            report => mailbox.report(report),
        };
        let supervisor = supervise(setup, Arc::clone(&self.clients), report)?;
        self.running.push(Running { config: engine.clone(), url, supervisor, heard });
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
