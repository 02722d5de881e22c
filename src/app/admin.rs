//! The admin API's listener and what it asks. That it can't be had is a problem, not a stop.

use super::{Observed, Reloader};
use crate::admin::{self, Admin, Hooks, ReloadHook, Reloaded};
use crate::config::Config;
use crate::control::Mailbox;
use crate::error::Problem;
use crate::limits::ADMIN_PATIENCE;
use crate::net::tls::CertStore;
use crate::net::{self, BoundListener};
use crate::runtime::CoreHandle;
use std::sync::Arc;

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
    observed: &Arc<Observed>,
    certs: Arc<CertStore>,
    reloader: Option<Reloader>,
) -> Option<Admin> {
    let (listener, core) = (listener?, core?);
    let observed = Arc::clone(observed);
    let hooks = Hooks {
        status: Box::new(move || mailbox.status(ADMIN_PATIENCE)),
        metrics: Box::new(move || observed.metrics_text()),
        certs: Box::new(move || certs.served()),
        reload: reloader.map(|reloader| Box::new(move || reload(&reloader)) as ReloadHook),
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

fn reload(reloader: &Reloader) -> Reloaded {
    match reloader.reload() {
        Ok(summary) => Reloaded::Done(summary.to_string()),
        Err(problems) => Reloaded::Kept(problems),
    }
}
