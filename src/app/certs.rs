//! The certificates' files: loaded at the start, watched, and swapped when a pair that fits is there.

use super::StartError;
use crate::config::{Config, TlsConfig};
use crate::error::{Place, Problem};
use crate::limits::{CERT_WATCH_EVERY, CERT_WATCH_NONE};
use crate::net::tls::{CertStore, Certs};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

/// The store, watched until this is dropped.
pub(super) struct Watched {
    store: Arc<CertStore>,
    /// Its end is the watcher's.
    _alive: Sender<()>,
}

impl Watched {
    /// Loads the certificates and watches their files. Without any the store is empty: it refuses everybody
    /// until others are put into it.
    ///
    /// # Errors
    /// The first problem (all are logged), or the system refuses a thread.
    pub fn start(config: &Config) -> Result<Watched, StartError> {
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
        let (alive, ended) = bounded(0);
        let watched = Arc::clone(&store);
        let watcher = std::thread::Builder::new().name("certs".into());
        watcher.spawn(move || watch(&watched, &ended, before))?;
        Ok(Watched { store, _alive: alive })
    }

    pub fn store(&self) -> Arc<CertStore> {
        Arc::clone(&self.store)
    }
}

/// A file that changed makes all pairs be read anew. Certificate and key change one after the other: a set
/// that doesn't fit is tried again at each look until it does, and told once.
fn watch(store: &CertStore, ended: &Receiver<()>, mut seen: Vec<Stamp>) {
    let mut told: Option<Vec<Problem>> = None;
    let mut current = store.current();
    loop {
        let every = if current.source().certs.is_empty() { CERT_WATCH_NONE } else { CERT_WATCH_EVERY };
        if ended.recv_timeout(every) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        let serving = store.current();
        let now = stamps(serving.source());
        if !Arc::ptr_eq(&serving, &current) {
            // Somebody else has put others in; their files may have changed since they were read.
            (current, seen, told) = (serving, Vec::new(), None);
            continue;
        }
        if now == seen && told.is_none() {
            continue;
        }
        seen = now;
        match load(current.source()) {
            Ok(certs) => {
                let is_new = !certs.serve_as(&current);
                if is_new && store.renew(&current, certs) {
                    log::info!("the certificates' files have changed: new connections get the new ones");
                }
                (current, told) = (store.current(), None);
            }
            Err(problems) if told.as_ref() != Some(&problems) => {
                for problem in &problems {
                    log::error!("{problem}; the former certificates go on serving");
                }
                told = Some(problems);
            }
            Err(_) => {}
        }
    }
}

/// Loads the certificates; what is strange about them is logged.
pub(super) fn load(tls: &TlsConfig) -> Result<Certs, Vec<Problem>> {
    #[allow(clippy::disallowed_methods)] // certificates expire by the calendar
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let seconds = now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    let loaded = Certs::load(tls, seconds)?;
    for warning in &loaded.warnings {
        log::warn!("{warning}");
    }
    Ok(loaded.certs)
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
