//! Certificates: loaded from files, chosen by the name that a client asks for, swapped while it runs.

use super::{ALPN_SERVED, alpn, pem, provider, x509};
use crate::config::{CertPair, TlsConfig};
use crate::error::Problem;
use crate::util::Locked;
use rustls::ServerConfig;
use rustls::server::{ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

/// The certificates that serve now. Whoever shakes hands takes them once; a swap concerns later handshakes
/// only.
pub struct CertStore {
    current: Locked<Arc<Certs>>,
}

impl CertStore {
    /// Serves `certs`.
    pub fn new(certs: Certs) -> Arc<CertStore> {
        Arc::new(CertStore { current: Locked::new(Arc::new(certs)) })
    }

    /// Those that serve now.
    pub fn current(&self) -> Arc<Certs> {
        self.current.with(|current| Arc::clone(current))
    }

    /// From the next handshake on `certs` serve. Connections live on, and tickets stay valid.
    pub fn replace(&self, certs: Certs) {
        let old = self.current.with(|current| std::mem::replace(current, Arc::new(certs)));
        drop(old);
    }

    /// As [`CertStore::replace`], if `former` still serves; whether it did.
    pub fn renew(&self, former: &Arc<Certs>, certs: Certs) -> bool {
        let new = Arc::new(certs);
        self.current.with(|current| {
            let same = Arc::ptr_eq(current, former);
            if same {
                *current = new;
            }
            same
        })
    }
}

/// A set of certificates.
#[derive(Debug)]
pub struct Certs {
    source: TlsConfig,
    config: Arc<ServerConfig>,
    names: Arc<Names>,
    listed: Vec<Listed>,
}

/// One certificate, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its file.
    pub cert_path: PathBuf,
    /// Its DNS names, in lower case.
    pub names: Vec<String>,
    /// The last moment of its validity, in seconds since the Unix epoch.
    pub not_after: i64,
}

/// Certificates, and what is strange but not wrong.
#[derive(Debug)]
pub struct LoadedCerts {
    /// Ready to serve.
    pub certs: Certs,
    /// Expired ones, ones without a name.
    pub warnings: Vec<Problem>,
}

impl Certs {
    /// Reads all pairs of `tls` (blocking). `now` is in seconds since the Unix epoch.
    ///
    /// # Errors
    /// All problems: a file that can't be read or isn't PEM, a key that doesn't fit, a default that nobody
    /// serves.
    pub fn load(tls: &TlsConfig, now: i64) -> Result<LoadedCerts, Vec<Problem>> {
        let mut names = Names::default();
        let (mut listed, mut problems, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
        for pair in &tls.certs {
            match load_pair(pair) {
                Ok((key, facts)) => {
                    warnings.extend(strange(pair, &facts, now));
                    names.add(&facts.names, &key);
                    listed.push(Listed {
                        cert_path: pair.cert_path.clone(),
                        names: facts.names,
                        not_after: facts.not_after,
                    });
                }
                Err(message) => problems.push(Problem::new(pair.place.clone(), message)),
            }
        }
        if let Some((name, place)) = &tls.default {
            names.default = names.find(name).cloned();
            if names.default.is_none() && problems.is_empty() {
                let message = format!("no certificate is for `{name}`");
                problems.push(Problem::new(place.clone(), message));
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let names = Arc::new(names);
        match server_config(&names) {
            Ok(config) => {
                Ok(LoadedCerts { certs: Certs { source: tls.clone(), config, names, listed }, warnings })
            }
            Err(error) => Err(vec![Problem::new(crate::error::Place::Default, format!("TLS: {error}"))]),
        }
    }

    /// What they were loaded from.
    pub fn source(&self) -> &TlsConfig {
        &self.source
    }

    /// What serves, for people.
    pub fn listed(&self) -> &[Listed] {
        &self.listed
    }

    /// Whether every client gets the same certificate as from `other`.
    pub fn serve_as(&self, other: &Certs) -> bool {
        self.names.serve_as(&other.names)
    }

    /// Whether a certificate serves a client that asks for `name`, or names nobody.
    pub(super) fn has(&self, name: Option<&str>) -> bool {
        self.names.choose(name).is_some()
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }
}

fn load_pair(pair: &CertPair) -> Result<(Arc<CertifiedKey>, x509::Facts), String> {
    let chain = pem::certificates(&pair.cert_path)?;
    let key = pem::key(&pair.key_path)?;
    let facts = chain.first().and_then(|first| x509::facts(first));
    let facts = facts.ok_or_else(|| format!("{}: the certificate is malformed", pair.cert_path.display()))?;
    let certified = CertifiedKey::from_der(chain, key, &provider());
    match certified {
        Ok(certified) => Ok((Arc::new(certified), facts)),
        Err(rustls::Error::InconsistentKeys(_)) => Err(format!(
            "the key in {} does not fit the certificate in {}",
            pair.key_path.display(),
            pair.cert_path.display()
        )),
        Err(error) => Err(format!("{}: the key can't be used: {error}", pair.key_path.display())),
    }
}

fn strange(pair: &CertPair, facts: &x509::Facts, now: i64) -> Vec<Problem> {
    let path = pair.cert_path.display();
    let mut said = Vec::new();
    if facts.not_after < now {
        said.push(format!("the certificate in {path} expired {} days ago", (now - facts.not_after) / 86_400));
    }
    if facts.not_before > now {
        said.push(format!("the certificate in {path} is not valid yet"));
    }
    if facts.names.is_empty() {
        said.push(format!(
            "the certificate in {path} names no DNS name (subjectAltName): no client can ask for it"
        ));
    }
    said.into_iter().map(|message| Problem::new(pair.place.clone(), message)).collect()
}

fn server_config(names: &Arc<Names>) -> Result<Arc<ServerConfig>, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let resolver: Arc<dyn ResolvesServerCert> = names.clone();
    let mut config = builder.with_no_client_auth().with_cert_resolver(resolver);
    config.alpn_protocols = alpn(ALPN_SERVED);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = ticketer()?;
    Ok(Arc::new(config))
}

/// One for all cores and all configurations: a session resumes wherever it comes back.
fn ticketer() -> Result<Arc<dyn ProducesTickets>, rustls::Error> {
    static TICKETER: OnceLock<Arc<dyn ProducesTickets>> = OnceLock::new();
    if let Some(ticketer) = TICKETER.get() {
        return Ok(Arc::clone(ticketer));
    }
    let new = rustls::crypto::ring::Ticketer::new()?;
    Ok(Arc::clone(TICKETER.get_or_init(|| new)))
}

/// Who serves which name.
#[derive(Debug, Default)]
struct Names {
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By what stands behind `*.`.
    wildcard: HashMap<String, Arc<CertifiedKey>>,
    /// For clients that name nobody.
    default: Option<Arc<CertifiedKey>>,
}

impl Names {
    /// The first certificate to claim a name has it.
    fn add(&mut self, names: &[String], key: &Arc<CertifiedKey>) {
        for name in names {
            let (map, name) = match name.strip_prefix("*.") {
                Some(below) => (&mut self.wildcard, below),
                None => (&mut self.exact, name.as_str()),
            };
            map.entry(name.to_owned()).or_insert_with(|| Arc::clone(key));
        }
    }

    fn serve_as(&self, other: &Names) -> bool {
        let same = |own: &HashMap<String, Arc<CertifiedKey>>, other: &HashMap<String, Arc<CertifiedKey>>| {
            let found = |(name, key): (&String, &Arc<CertifiedKey>)| {
                other.get(name).is_some_and(|other| other.cert == key.cert)
            };
            own.len() == other.len() && own.iter().all(found)
        };
        let default = |names: &Names| names.default.as_ref().map(|key| key.cert.clone());
        same(&self.exact, &other.exact)
            && same(&self.wildcard, &other.wildcard)
            && default(self) == default(other)
    }

    fn choose(&self, name: Option<&str>) -> Option<&Arc<CertifiedKey>> {
        match name {
            Some(name) => self.find(name),
            None => self.default.as_ref(),
        }
    }

    fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let by_wildcard = || self.wildcard.get(name.split_once('.')?.1);
        self.exact.get(&name).or_else(by_wildcard)
    }
}

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name()).cloned()
    }
}
