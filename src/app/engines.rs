//! One supervisor per engine of the configuration; their reports go to control.

use super::End;
use crate::config::{self, Config};
use crate::control::Mailbox;
use crate::docker::{
    ClientRegistry, EngineState, EngineUrl, OnStaleSocket, Report, Supervisor, SupervisorConfig, Timings,
    supervise,
};
use crate::lifecycle::Registry;
use crate::limits::CLIENT_LEASES;
use crossbeam_channel::Sender;
use std::io;
use std::sync::Arc;

/// The running supervisors.
pub(super) struct Engines {
    supervisors: Vec<Supervisor>,
    clients: Arc<ClientRegistry>,
}

/// Starts a supervisor for each engine.
pub(super) fn start(config: &Config, mailbox: &Mailbox, ender: &Sender<End>) -> io::Result<Engines> {
    let clients = Registry::new("docker client", CLIENT_LEASES, super::now);
    let mut supervisors = Vec::with_capacity(config.engines.len());
    for engine in &config.engines {
        let url = match EngineUrl::parse(&engine.url) {
            Ok(url) => url,
            Err(error) => {
                log::error!("{}: {error}", engine.place);
                continue;
            }
        };
        let exits = engine.on_stale_socket == config::OnStaleSocket::Exit;
        let setup = SupervisorConfig {
            name: engine.name.as_str().into(),
            url,
            on_stale_socket: if exits { OnStaleSocket::Exit } else { OnStaleSocket::Keep },
            timings: Timings::default(),
        };
        let (mailbox, ender) = (mailbox.clone(), ender.clone());
        let report = move |report: Report| {
            if exits && matches!(report, Report::State { state: EngineState::Stale { .. }, .. }) {
                // Full: an end is on its way already.
                let _ = ender.try_send(End::StaleSocket);
            }
            mailbox.report(report);
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
