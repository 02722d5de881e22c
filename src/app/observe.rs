//! What can be known of a running Tidegate, from any thread.

use crate::access_log::{AccessLog, Format, Setup};
use crate::config::{self, Config};
use crate::docker::{EngineState, Report};
use crate::limits::LOG_FLUSH;
use crate::metrics::{self, EngineRow, Metrics, Process};
use crate::proxy::Observers;
use crate::snapshot::Publisher;
use crate::util::Locked;
use crate::{lifecycle, logging, runtime};
use std::io;
use std::sync::Arc;
use std::time::Instant;

/// Counts and states of one running Tidegate.
pub struct Observed {
    metrics: Arc<Metrics>,
    access_log: Option<Arc<AccessLog>>,
    publisher: Arc<Publisher>,
    engines: Locked<Vec<EngineRow>>,
}

impl Observed {
    /// The text of `/metrics`, Prometheus' format 0.0.4 (`text/plain; version=0.0.4`).
    pub fn metrics_text(&self) -> String {
        let snapshot = self.publisher.current();
        self.metrics.routes.sweep(now(), |alias| snapshot.aliases.contains(alias));
        let process = Process {
            version: env!("CARGO_PKG_VERSION"),
            engines: self.engines.with(|engines| engines.clone()),
            engine_states: &ENGINE_STATES,
            problems: snapshot.problems as u64,
            routes: snapshot.aliases.len() as u64,
            transitions: lifecycle::transitions().to_vec(),
            log_lines_dropped: logging::dropped(),
            access_lines_lost: self.access_log.as_ref().map_or(0, |log| log.lost()),
            panics: runtime::panics() as u64,
            generation: snapshot.generation,
        };
        metrics::render(&self.metrics, &process)
    }

    /// Has the access log open its path anew; nothing happens without one.
    pub fn reopen_access_log(&self) {
        if let Some(log) = &self.access_log {
            log.reopen();
        }
    }

    /// Starts the access log that `config` asks for, and the counts of `cores` cores.
    pub(super) fn start(
        config: &Config,
        cores: usize,
        publisher: &Arc<Publisher>,
    ) -> io::Result<Arc<Observed>> {
        let access_log = config.access_log.as_ref().map(|log| AccessLog::start(setup(log))).transpose()?;
        let row =
            |name: &str| EngineRow { name: name.into(), state: word(&EngineState::Connecting), events: 0 };
        Ok(Arc::new(Observed {
            metrics: Metrics::new(cores),
            access_log: access_log.map(Arc::new),
            publisher: Arc::clone(publisher),
            engines: Locked::new(config.engines.iter().map(|engine| row(&engine.name)).collect()),
        }))
    }

    /// For the cores.
    pub(super) fn observers(&self) -> Observers {
        Observers { metrics: Arc::clone(&self.metrics), access_log: self.access_log.clone() }
    }

    /// Takes note of what an engine reports, and hands it back.
    pub(super) fn note(&self, report: Report) -> Report {
        self.engines.with(|engines| {
            let Some(row) = engines.iter_mut().find(|row| row.name == *report.engine()) else { return };
            match &report {
                Report::State { state, .. } => row.state = word(state),
                Report::Exit { .. } => {}
                _ => row.events += 1,
            }
        });
        report
    }

    /// The cores have ended: what they logged is written.
    pub(super) fn stop(&self) {
        if let Some(log) = &self.access_log
            && !log.stop(LOG_FLUSH)
        {
            log::warn!("access log: its writer is blocked, its last lines may be lost");
        }
    }
}

fn setup(config: &config::AccessLog) -> Setup {
    Setup {
        path: config.path.clone(),
        stdout: config.stdout,
        format: match config.format {
            config::AccessLogFormat::Common => Format::Common,
            config::AccessLogFormat::Combined => Format::Combined,
            config::AccessLogFormat::Json => Format::Json,
        },
    }
}

const ENGINE_STATES: [&str; 7] = ["connecting", "unverified", "ready", "slow", "lost", "stale", "denied"];

fn word(state: &EngineState) -> &'static str {
    match state {
        EngineState::Connecting => "connecting",
        EngineState::Unverified => "unverified",
        EngineState::Ready => "ready",
        EngineState::Slow => "slow",
        EngineState::Lost => "lost",
        EngineState::Stale { .. } => "stale",
        EngineState::Denied => "denied",
    }
}

#[allow(clippy::disallowed_methods)] // whoever asks for the metrics is no core
fn now() -> Instant {
    Instant::now()
}
