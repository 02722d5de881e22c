//! What can be known of a running Tidegate, from any thread.

use crate::access_log::{AccessLog, Format, Setup};
use crate::config::{self, Config};
use crate::docker::{EngineState, Identity, Report};
use crate::limits::LOG_FLUSH;
use crate::metrics::{self, EngineRow, Metrics, Process};
use crate::net::tls::{CertStore, Listed};
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
    access_log: Arc<AccessLog>,
    publisher: Arc<Publisher>,
    engines: Locked<Vec<EngineRow>>,
    certs: Arc<CertStore>,
}

impl Observed {
    /// The text of `/metrics`, Prometheus' format 0.0.4 (`text/plain; version=0.0.4`).
    pub fn metrics_text(&self) -> String {
        let snapshot = self.publisher.current();
        self.metrics.routes.sweep(now(), |alias| snapshot.aliases.contains(alias));
        let certs = self.certs.current();
        let expiry = |listed: &Listed| (listed.cert_path.display().to_string(), listed.not_after);
        let process = Process {
            certificates: certs.listed().iter().map(expiry).collect(),
            version: env!("CARGO_PKG_VERSION"),
            engines: self.engines.with(|engines| engines.clone()),
            engine_states: &ENGINE_STATES,
            problems: snapshot.problems as u64,
            routes: snapshot.aliases.len() as u64,
            transitions: lifecycle::transitions().to_vec(),
            log_lines_dropped: logging::dropped(),
            access_lines_lost: self.access_log.lost(),
            panics: runtime::panics() as u64,
            generation: snapshot.generation,
        };
        metrics::render(&self.metrics, &process)
    }

    /// Has the access log open its path anew; nothing happens if it is off.
    pub fn reopen_access_log(&self) {
        self.access_log.reopen();
    }

    /// Prepares the counts of `cores` cores, and the access log and engines of `config`.
    pub(super) fn start(
        config: &Config,
        cores: usize,
        publisher: &Arc<Publisher>,
        certs: Arc<CertStore>,
    ) -> io::Result<Arc<Observed>> {
        let observed = Observed {
            metrics: Metrics::new(cores),
            access_log: Arc::new(AccessLog::off()),
            publisher: Arc::clone(publisher),
            engines: Locked::default(),
            certs,
        };
        observed.configure(config)?;
        Ok(Arc::new(observed))
    }

    /// Takes over the access log and the engines of `config`. Engines that stay keep their counts.
    ///
    /// # Errors
    /// If the access log's thread can't be started; all else is taken over.
    pub(super) fn configure(&self, config: &Config) -> io::Result<()> {
        self.engines.with(|rows| {
            let mut old = std::mem::take(rows);
            for engine in &config.engines {
                let known = old.iter().position(|row| *row.name == *engine.name);
                rows.push(match known {
                    Some(at) => old.swap_remove(at),
                    None => EngineRow {
                        name: engine.name.as_str().into(),
                        state: word(&EngineState::Connecting),
                        events: 0,
                        info: None,
                    },
                });
            }
        });
        self.access_log.configure(config.access_log.as_ref().map(setup))
    }

    /// For the cores.
    pub(super) fn observers(&self) -> Observers {
        Observers { metrics: Arc::clone(&self.metrics), access_log: Arc::clone(&self.access_log) }
    }

    /// Takes note of what an engine reports, and hands it back.
    pub(super) fn note(&self, report: Report) -> Report {
        self.engines.with(|engines| {
            let Some(row) = engines.iter_mut().find(|row| row.name == *report.engine()) else { return };
            match &report {
                Report::State { state, .. } => row.state = word(state),
                Report::Identity { identity, .. } => {
                    let Identity { version, api, system, .. } = identity;
                    row.info = Some([version.clone(), api.to_string(), system.clone()]);
                }
                Report::Exit { .. } => {}
                _ => row.events += 1,
            }
        });
        report
    }

    /// The cores have ended: what they logged is written.
    pub(super) fn stop(&self) {
        if !self.access_log.stop(LOG_FLUSH) {
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
        filters: config.filters.clone(),
        fields: config.fields.clone(),
        rotation: config.rotation,
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
