//! The admin API's listener and what it asks. That it can't be had is a problem, not a stop.

use crate::admin::{self, Admin, Hooks};
use crate::config::Config;
use crate::control::{Mailbox, Status};
use crate::docker::EngineState;
use crate::error::Problem;
use crate::limits::ADMIN_PATIENCE;
use crate::net::{self, BoundListener};
use crate::runtime::CoreHandle;
use crate::{logging, metrics, runtime};
use std::fmt::Write;

/// Binds `admin.addr`; none if it is off, or taken: then there is a problem.
pub(super) fn bind(config: &Config) -> (Option<BoundListener>, Option<Problem>) {
    let Some(listen) = &config.admin else { return (None, None) };
    match net::bind(listen.addr, false, 1) {
        Ok(mut listeners) => (listeners.pop(), None),
        Err(error) => {
            let problem = Problem::new(listen.place.clone(), format!("no admin API: {error}"))
                .with_hint("set `admin.addr` to another address, or to off");
            log::warn!("{problem}");
            (None, Some(problem))
        }
    }
}

/// Serves at `listener`, by the door on `core`.
pub(super) fn start(
    listener: Option<BoundListener>,
    core: Option<&CoreHandle>,
    mailbox: Mailbox,
) -> Option<Admin> {
    let (listener, core) = (listener?, core?);
    let hooks = Hooks {
        status: Box::new(move || mailbox.status(ADMIN_PATIENCE)),
        metrics: Box::new(metrics_text),
        reload: None,
    };
    match admin::start(listener, core, hooks) {
        Ok(admin) => {
            log::info!("admin API on http://{}", admin.addr());
            Some(admin)
        }
        Err(error) => {
            log::error!("no admin API: {error}");
            None
        }
    }
}

/// The Prometheus text format, version 0.0.4.
fn metrics_text(status: Option<&Status>) -> String {
    let mut out = String::new();
    let mut counter = |name: &str, help: &str, value: u64| {
        // Writing to a String can't fail.
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter\n{name} {value}");
    };
    let refused = metrics::CONNECTIONS_REFUSED.get();
    counter("tidegate_connections_refused_total", "Connections answered 503 at the cap.", refused);
    counter("tidegate_gate_full_total", "Requests answered 503 at a full gate.", metrics::GATE_FULL.get());
    counter("tidegate_panics_total", "Panics that ended one connection.", runtime::panics() as u64);
    counter("tidegate_log_dropped_total", "Log lines dropped at a full queue.", logging::dropped());
    let Some(status) = status else { return out };
    let mut gauge = |name: &str, help: &str, value: usize| {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
    };
    gauge("tidegate_routes", "Aliases that are known.", status.routes.len());
    gauge("tidegate_problems", "Problems that stand.", status.problems.len());
    let name = "tidegate_engine_up";
    let _ = writeln!(out, "# HELP {name} Whether the engine is watched.\n# TYPE {name} gauge");
    for engine in &status.engines {
        let up = u8::from(matches!(engine.state, EngineState::Ready | EngineState::Slow));
        let label = engine.name.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = writeln!(out, "{name}{{engine=\"{label}\",state=\"{}\"}} {up}", engine.state);
    }
    out
}
