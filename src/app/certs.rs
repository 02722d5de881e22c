//! The certificates' files: loaded at the start, watched, and swapped when a pair that fits is there. What is
//! strange about them goes to control as problems.

use super::StartError;
use crate::config::{Config, TlsConfig};
use crate::control::Mailbox;
use crate::error::{Place, Problem};
use crate::limits::{ADMIN_PATIENCE, CERT_WATCH_EVERY, CERT_WATCH_NONE};
use crate::net::tls::{self, CertStore, Certs, Refusal};
use crate::util::wall_clock;
use crossbeam_channel::{Receiver, Sender, bounded, select};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

/// The store, watched until this is dropped.
pub(super) struct Watched {
    store: Arc<CertStore>,
    /// The files as of the loading.
    before: Vec<Stamp>,
    /// Its end is the watcher's.
    _alive: Option<Sender<()>>,
}

impl Watched {
    /// Loads the certificates. Without any the store is empty: it refuses everybody until others are put into
    /// it.
    ///
    /// # Errors
    /// The first problem (all are logged).
    pub fn load(config: &Config) -> Result<Watched, StartError> {
        let before = stamps(&config.tls);
        let store = match load(&config.tls) {
            Ok(certs) => CertStore::new(certs),
            Err(problems) => {
                for problem in problems.iter().skip(1) {
                    log::error!("{problem}");
                }
                let first = problems.into_iter().next();
                let unknown = || Problem::new(Place::Default, "the certificates can't be loaded");
                return Err(StartError::Problem(first.unwrap_or_else(unknown)));
            }
        };
        Ok(Watched { store, before, _alive: None })
    }

    /// Watches the files from now on; problems go to `mailbox`.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn watch(&mut self, mailbox: Mailbox) -> io::Result<()> {
        let ((alive, ended), (bell, rung)) = (bounded(0), bounded(1));
        let (store, before) = (Arc::clone(&self.store), std::mem::take(&mut self.before));
        self.store.on_change(move || {
            // Full: it rings already.
            let _ = bell.try_send(());
        });
        let watcher = std::thread::Builder::new().name("certs".into());
        watcher.spawn(move || watch(&store, &mailbox, &ended, &rung, before))?;
        self._alive = Some(alive);
        Ok(())
    }

    pub fn store(&self) -> Arc<CertStore> {
        Arc::clone(&self.store)
    }
}

/// A file that changed makes all pairs be read anew. Certificate and key change one after the other: a set
/// that doesn't fit is tried again at each look until it does. `rung`: somebody has put others into the store.
fn watch(
    store: &CertStore,
    mailbox: &Mailbox,
    ended: &Receiver<()>,
    rung: &Receiver<()>,
    mut seen: Vec<Stamp>,
) {
    let mut refused: Vec<Refusal> = Vec::new();
    let mut told = Vec::new();
    let mut current = store.current();
    loop {
        let problems = store.served().problems(wall_clock::now().unix());
        if problems != told && mailbox.certificates(problems.clone(), ADMIN_PATIENCE) {
            told = problems;
        }
        let every = if current.source().certs.is_empty() { CERT_WATCH_NONE } else { CERT_WATCH_EVERY };
        select! {
            recv(ended) -> _ => return,
            recv(rung) -> _ => {}
            default(every) => {}
        }
        let serving = store.current();
        let now = stamps(serving.source());
        if !Arc::ptr_eq(&serving, &current) {
            // Somebody else has put others in; their files may have changed since they were read.
            (current, seen, refused) = (serving, Vec::new(), Vec::new());
            continue;
        }
        if now == seen && refused.is_empty() {
            continue;
        }
        seen = now;
        match Certs::try_load(current.source(), wall_clock::now().unix()) {
            Ok(loaded) => {
                if loaded.certs.serve_as(&current) {
                    store.refuse(&current, Vec::new());
                } else if store.renew(&current, loaded.certs) {
                    log::info!("the certificates' files have changed: new connections get the new ones");
                }
                (current, refused) = (store.current(), Vec::new());
            }
            Err(why) => {
                if refused != why {
                    store.refuse(&current, why.clone());
                }
                refused = why;
            }
        }
    }
}

/// Loads the certificates. What is strange about them is told once they serve.
pub(super) fn load(tls: &TlsConfig) -> Result<Certs, Vec<Problem>> {
    Certs::load(tls, wall_clock::now().unix()).map(|loaded| loaded.certs)
}

/// Opens the files that `config` names, as `serve` will: problems, and what is strange but not wrong. With
/// `in_part` some of the configuration is missing because it was wrong.
pub fn check_files(config: &Config, in_part: bool) -> (Vec<Problem>, Vec<Problem>) {
    let mut tls = config.tls.clone();
    if in_part {
        // The certificate with this name may be what was wrong.
        tls.default = None;
    }
    let (mut problems, warnings) = match Certs::load(&tls, wall_clock::now().unix()) {
        Ok(loaded) => (Vec::new(), loaded.warnings),
        Err(problems) => (problems, Vec::new()),
    };
    for route in &config.file_routes {
        let (Some(path), Some(place)) = (&route.tls.trusted, &route.trusted_place) else { continue };
        if let Err(message) = tls::trusted(path) {
            problems.push(Problem::new(place.clone(), message));
        }
    }
    (problems, warnings)
}

/// What changes when a file does: device, inode, size, time.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

fn stamps(tls: &TlsConfig) -> Vec<Stamp> {
    let stamp = |path: &Path| {
        let meta = std::fs::metadata(path).ok()?;
        Some((meta.dev(), meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()))
    };
    tls.certs.iter().flat_map(|pair| [stamp(&pair.cert_path), stamp(&pair.key_path)]).collect()
}
