//! Where the admin API listens, and what it asks. That an address can't be had is a problem, not a stop.

use super::{Observed, Reloader};
use crate::admin::{Admin, Hooks, ReloadHook, Reloaded};
use crate::config::{Config, ListenAddr};
use crate::control::{AdminWay, Mailbox};
use crate::error::{Place, Problem};
use crate::limits::ADMIN_PATIENCE;
use crate::net::tls::CertStore;
use crate::net::{self, BoundListener};
use crate::runtime::Cores;
use crate::util::Locked;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

/// The admin API of this program.
pub(super) struct Window {
    admin: Admin,
    /// The address of the configuration that it listens on (port 0 as it was said), if it does.
    at: Locked<Option<SocketAddr>>,
    reloader: Arc<OnceLock<Reloader>>,
}

/// What has to be done for another configuration.
pub(super) enum Change {
    /// Nothing; or what was wanted can't be had.
    Keep,
    /// Listen here, then no more at the former address.
    Open(SocketAddr, BoundListener),
    /// Listen nowhere.
    Close,
}

impl Change {
    /// Where it will listen, if it listens at `now`.
    pub fn addr(&self, now: Option<SocketAddr>) -> Option<SocketAddr> {
        match self {
            Change::Keep => now,
            Change::Open(_, listener) => listener.local_addr().ok(),
            Change::Close => None,
        }
    }
}

/// As [`plan`], at the start, when nobody else logs the problem.
pub(super) fn first(config: &Config) -> (Change, Option<Problem>) {
    let (change, problem) = plan(config, None);
    problem.iter().for_each(|problem| log::warn!("{problem}"));
    (change, problem)
}

/// Binds `admin.addr`, unless it is off or where the API is already. If it can't be had there is a problem.
pub(super) fn plan(config: &Config, now: Option<SocketAddr>) -> (Change, Option<Problem>) {
    let Some(ListenAddr { addr, place, .. }) = &config.admin else { return (Change::Close, None) };
    if now == Some(*addr) {
        return (Change::Keep, None);
    }
    let error = match net::bind(*addr, false, 1).map(|mut listeners| listeners.pop()) {
        Ok(Some(listener)) => return (Change::Open(*addr, listener), None),
        Ok(None) => "no listener".to_owned(),
        Err(error) => error.to_string(),
    };
    let what = match now {
        Some(now) => format!("the admin API stays at {now}: {error}"),
        None => format!("no admin API: {error}"),
    };
    let hint = "set `admin.addr` to another address, or to off";
    (Change::Keep, Some(Problem::new(place.clone(), what).with_hint(hint)))
}

/// The way of the data plane to the API at `addr`, if `config` opens one.
pub(super) fn way(config: &Config, addr: Option<SocketAddr>) -> Option<AdminWay> {
    let (host, place) = config.admin_host.clone()?;
    Some(AdminWay { host, place, addr })
}

impl Window {
    /// Listens nowhere yet. Its doors are on the first of `cores`; with `reloadable` it can reload, once there is a reloader.
    pub fn new(
        cores: &Cores,
        mailbox: Mailbox,
        observed: &Arc<Observed>,
        certs: Arc<CertStore>,
        reloadable: bool,
    ) -> io::Result<Arc<Window>> {
        let core = cores.handles().first().cloned().ok_or_else(|| io::Error::other("there is no core"))?;
        let observed = Arc::clone(observed);
        let reloader: Arc<OnceLock<Reloader>> = Arc::default();
        let own = Arc::clone(&reloader);
        let hooks = Hooks {
            status: Box::new(move || mailbox.status(ADMIN_PATIENCE)),
            metrics: Box::new(move || observed.metrics_text()),
            certs: Box::new(move || certs.served()),
            reload: reloadable.then(|| Box::new(move || reload(own.get())) as ReloadHook),
        };
        Ok(Arc::new(Window { admin: Admin::new(core, hooks), at: Locked::new(None), reloader }))
    }

    /// Who reloads.
    pub fn set_reloader(&self, reloader: Reloader) {
        // Err: it is known already.
        let _ = self.reloader.set(reloader);
    }

    /// Does what `change` says; says where it listens now and did not before, and the other way round.
    pub fn apply(&self, change: Change) -> (Option<SocketAddr>, Option<SocketAddr>) {
        let before = self.admin.addr();
        match change {
            Change::Keep => {}
            Change::Close => {
                self.at.with(|at| *at = None);
                self.admin.close();
            }
            Change::Open(wanted, listener) => match self.admin.open(listener) {
                Ok(addr) => {
                    log::info!("admin API on http://{addr}");
                    self.at.with(|at| *at = Some(wanted));
                }
                Err(error) => log::error!("the admin API can't be opened: {error}"),
            },
        }
        let now = self.admin.addr();
        (now.filter(|_| now != before), before.filter(|_| now != before))
    }

    /// The address of the configuration that it listens on, if it does.
    pub fn at(&self) -> Option<SocketAddr> {
        self.at.with(|at| *at)
    }

    /// Where it listens, if it does.
    pub fn addr(&self) -> Option<SocketAddr> {
        self.admin.addr()
    }

    /// The program is ending: no longer ready.
    pub fn ending(&self) {
        self.admin.ending();
    }
}

fn reload(reloader: Option<&Reloader>) -> Reloaded {
    let Some(reloader) = reloader else {
        return Reloaded::Kept(vec![Problem::new(Place::Default, "the program is starting: ask again")]);
    };
    match reloader.reload() {
        Ok(summary) => Reloaded::Done(summary.to_string()),
        Err(problems) => Reloaded::Kept(problems),
    }
}
