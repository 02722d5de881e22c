//! One supervisor per engine of the configuration; their reports go to control.

use super::{End, Observed};
use crate::config::{self, Config};
use crate::control::Mailbox;
use crate::docker::{
    self, Backlog, Clients, EngineUrl, OnStaleSocket, Report, Supervisor, SupervisorConfig, supervise,
};
use crossbeam_channel::Sender;
use std::io;
use std::sync::Arc;

/// The running supervisors.
pub(super) struct Engines {
    supervisors: Vec<Supervisor>,
    clients: Arc<Clients>,
}

/// Starts a supervisor for each engine.
pub(super) fn start(
    config: &Config,
    backlogs: &[Arc<Backlog>],
    mailbox: &Mailbox,
    ender: &Sender<End>,
    observed: &Arc<Observed>,
) -> io::Result<Engines> {
    let clients = docker::clients();
    let mut supervisors = Vec::with_capacity(config.engines.len());
    for (engine, backlog) in config.engines.iter().zip(backlogs) {
        let url = match EngineUrl::parse(&engine.url) {
            Ok(url) => url,
            Err(error) => {
                log::error!("{}: {error}", engine.place);
                continue;
            }
        };
        let mut setup = SupervisorConfig::new(engine.name.as_str(), url);
        setup.backlog = Arc::clone(backlog);
        setup.on_stale_socket = match engine.on_stale_socket {
            config::OnStaleSocket::Keep => OnStaleSocket::Keep,
            config::OnStaleSocket::Exit => OnStaleSocket::Exit,
        };
        let (mailbox, ender) = (mailbox.clone(), ender.clone());
        let observed = Arc::clone(observed);
        let report = move |report: Report| match observed.note(report) {
            Report::Exit { engine, reason } => {
                log::error!("engine {engine}: {reason}");
                // Full: an end is on its way already.
                let _ = ender.try_send(End::StaleSocket);
            }
            report => mailbox.report(report),
        };
        supervisors.push(supervise(setup, Arc::clone(&clients), report)?);
    }
    Ok(Engines { supervisors, clients })
}

impl Engines {
    /// Ends every supervisor and closes the clients.
    pub fn stop(self) {
        for supervisor in self.supervisors {
            supervisor.stop();
        }
        self.clients.close_all("shutdown");
    }
}
