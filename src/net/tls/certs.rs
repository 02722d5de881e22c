//! Certificates: loaded from files, chosen by the name that a client asks for, swapped while it runs.

use super::{ALPN_SERVED, alpn, pem, provider, x509};
use crate::config::{CertPair, TlsConfig};
use crate::error::{Place, Problem};
use crate::limits::CERT_EXPIRES_SOON;
use crate::util::Locked;
use crate::util::wall_clock::rfc3339;
use rustls::ServerConfig;
use rustls::server::{ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

/// The certificates that serve now. Whoever shakes hands takes them once; a swap concerns later handshakes
/// only.
pub struct CertStore {
    state: Locked<Served>,
    on_change: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

/// What a store holds.
#[derive(Clone, Debug)]
pub struct Served {
    /// Those that serve.
    pub certs: Arc<Certs>,
    /// Counts the sets that have served, this one included.
    pub generation: u64,
    /// What is wrong with the set that lies in the files since, if it can't take over.
    pub refused: Vec<Refusal>,
}

/// Why a set can't serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which pair is wrong, by its place in `TlsConfig::certs`; none if it is the default's name.
    pub pair: Option<usize>,
    /// What is wrong, and where it was named.
    pub problem: Problem,
}

impl CertStore {
    /// Serves `certs`.
    pub fn new(certs: Certs) -> Arc<CertStore> {
        let state = Served { certs: Arc::new(certs), generation: 1, refused: Vec::new() };
        Arc::new(CertStore { state: Locked::new(state), on_change: OnceLock::new() })
    }

    /// Those that serve now.
    pub fn current(&self) -> Arc<Certs> {
        self.state.with(|state| Arc::clone(&state.certs))
    }

    /// All that is known of what serves now.
    pub fn served(&self) -> Served {
        self.state.with(|state| state.clone())
    }

    /// From the next handshake on `certs` serve. Connections live on, and tickets stay valid.
    pub fn replace(&self, certs: Certs) {
        let new = Arc::new(certs);
        let old = self.state.with(|state| state.put(new));
        drop(old);
        self.changed();
    }

    /// As [`CertStore::replace`], if `former` still serves; whether it did.
    pub fn renew(&self, former: &Arc<Certs>, certs: Certs) -> bool {
        let new = Arc::new(certs);
        let old = self.state.with(|state| Arc::ptr_eq(&state.certs, former).then(|| state.put(new)));
        let renewed = old.is_some();
        if renewed {
            self.changed();
        }
        renewed
    }

    /// Remembers why what lies in the files of `former` can't take over; nothing if it serves no more.
    pub fn refuse(&self, former: &Arc<Certs>, refused: Vec<Refusal>) {
        self.state.with(|state| {
            if Arc::ptr_eq(&state.certs, former) {
                state.refused = refused;
            }
        });
    }

    /// Has `told` be called after each swap, by the thread that swaps. Only the first call counts.
    pub fn on_change(&self, told: impl Fn() + Send + Sync + 'static) {
        // Err: somebody hears already.
        let _ = self.on_change.set(Box::new(told));
    }

    fn changed(&self) {
        if let Some(told) = self.on_change.get() {
            told();
        }
    }
}

impl Served {
    fn put(&mut self, new: Arc<Certs>) -> (Arc<Certs>, Vec<Refusal>) {
        self.generation += 1;
        (std::mem::replace(&mut self.certs, new), std::mem::take(&mut self.refused))
    }

    /// What a person should mend, as of `now` (seconds since the Unix epoch): a set that was refused, and
    /// what is strange about the one that serves.
    pub fn problems(&self, now: i64) -> Vec<Problem> {
        let refused = self.refused.iter().map(|refusal| {
            let message = format!("{}; the former certificates go on serving", refusal.problem.message);
            Problem { message, ..refusal.problem.clone() }
        });
        refused.chain(self.certs.problems(now)).collect()
    }
}

/// A set of certificates.
#[derive(Debug)]
pub struct Certs {
    source: TlsConfig,
    config: Arc<ServerConfig>,
    names: Arc<Names>,
    listed: Vec<Listed>,
    loaded_at: i64,
}

/// One certificate, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its file.
    pub cert_path: PathBuf,
    /// Its key's file.
    pub key_path: PathBuf,
    /// Where its file was named.
    pub place: Place,
    /// Its DNS names, in lower case.
    pub names: Vec<String>,
    /// Those of them that it serves: the others are an earlier certificate's.
    pub serves: Vec<String>,
    /// It serves clients that name nobody.
    pub is_default: bool,
    /// The first and the last moment of its validity, in seconds since the Unix epoch.
    pub not_before: i64,
    pub not_after: i64,
    /// Whose it is, as `CN=…, O=…`.
    pub subject: String,
    /// Who vouches for it, in the same form.
    pub issuer: String,
}

/// Certificates, and what is strange but not wrong.
#[derive(Debug)]
pub struct LoadedCerts {
    /// Ready to serve.
    pub certs: Certs,
    /// Expired ones, ones that expire soon, ones without a name.
    pub warnings: Vec<Problem>,
}

impl Certs {
    /// Reads all pairs of `tls` (blocking). `now` is in seconds since the Unix epoch.
    ///
    /// # Errors
    /// All problems: a file that can't be read or isn't PEM, a key that doesn't fit, a default that nobody
    /// serves.
    pub fn load(tls: &TlsConfig, now: i64) -> Result<LoadedCerts, Vec<Problem>> {
        let problems = |refused: Vec<Refusal>| refused.into_iter().map(|refusal| refusal.problem).collect();
        Certs::try_load(tls, now).map_err(problems)
    }

    /// As [`Certs::load`].
    ///
    /// # Errors
    /// The same, and which pairs are wrong.
    pub fn try_load(tls: &TlsConfig, now: i64) -> Result<LoadedCerts, Vec<Refusal>> {
        let mut names = Names::default();
        let (mut listed, mut refused) = (Vec::new(), Vec::new());
        let mut keys = Vec::new();
        for (index, pair) in tls.certs.iter().enumerate() {
            match load_pair(pair) {
                Ok((key, facts)) => {
                    let serves = names.add(&facts.names, &key);
                    listed.push(Listed::new(pair, facts, serves));
                    keys.push(key);
                }
                Err(problem) => refused.push(Refusal { pair: Some(index), problem }),
            }
        }
        if let Some((name, place)) = &tls.default {
            names.default = names.find(name).cloned();
            if names.default.is_none() && refused.is_empty() {
                let message = format!("no certificate is for `{name}`");
                refused.push(Refusal { pair: None, problem: Problem::new(place.clone(), message) });
            }
        }
        if !refused.is_empty() {
            return Err(refused);
        }
        for (listed, key) in listed.iter_mut().zip(&keys) {
            listed.is_default = names.default.as_ref().is_some_and(|default| Arc::ptr_eq(default, key));
        }
        let names = Arc::new(names);
        match server_config(&names) {
            Ok(config) => {
                let certs = Certs { source: tls.clone(), config, names, listed, loaded_at: now };
                let warnings = certs.problems(now);
                Ok(LoadedCerts { certs, warnings })
            }
            Err(error) => {
                let problem = Problem::new(Place::Default, format!("TLS: {error}"));
                Err(vec![Refusal { pair: None, problem }])
            }
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

    /// When they were read, in seconds since the Unix epoch.
    pub fn loaded_at(&self) -> i64 {
        self.loaded_at
    }

    /// What is strange about them as of `now`. Its words stay the same from day to day.
    pub fn problems(&self, now: i64) -> Vec<Problem> {
        self.listed.iter().flat_map(|listed| strange(listed, now)).collect()
    }

    /// Whether a certificate serves a client that asks for `name`, or names nobody.
    pub(super) fn has(&self, name: Option<&str>) -> bool {
        self.names.choose(name).is_some()
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }
}

impl Listed {
    fn new(pair: &CertPair, facts: x509::Facts, serves: Vec<String>) -> Listed {
        let x509::Facts { subject, issuer, names, not_before, not_after } = facts;
        Listed {
            cert_path: pair.cert_path.clone(),
            key_path: pair.key_path.clone(),
            place: pair.place.clone(),
            names,
            serves,
            is_default: false,
            not_before,
            not_after,
            subject,
            issuer,
        }
    }
}

fn load_pair(pair: &CertPair) -> Result<(Arc<CertifiedKey>, x509::Facts), Problem> {
    let of_cert = |message: String| Problem::new(pair.place.clone(), message);
    let of_key = |message: String| Problem::new(pair.key_place.clone(), message);
    let chain = pem::certificates(&pair.cert_path).map_err(of_cert)?;
    let facts = chain.first().and_then(|first| x509::facts(first));
    let malformed = || of_cert(format!("{}: the certificate is malformed", pair.cert_path.display()));
    let facts = facts.ok_or_else(malformed)?;
    let key = pem::key(&pair.key_path).map_err(of_key)?;
    let certified = CertifiedKey::from_der(chain, key, &provider());
    match certified {
        Ok(certified) => Ok((Arc::new(certified), facts)),
        Err(rustls::Error::InconsistentKeys(_)) => Err(of_key(format!(
            "the key in {} does not fit the certificate in {}",
            pair.key_path.display(),
            pair.cert_path.display()
        ))),
        Err(error) => Err(of_key(format!("{}: the key can't be used: {error}", pair.key_path.display()))),
    }
}

fn strange(listed: &Listed, now: i64) -> Vec<Problem> {
    let path = listed.cert_path.display();
    let soon = i64::try_from(CERT_EXPIRES_SOON.as_secs()).unwrap_or(0);
    let mut said = Vec::new();
    let end = || rfc3339(listed.not_after);
    if listed.not_after < now {
        said.push(format!("the certificate in {path} expired at {}", end()));
    } else if listed.not_after < now.saturating_add(soon) {
        let days = soon / 86_400;
        said.push(format!("the certificate in {path} expires at {}, in less than {days} days", end()));
    }
    if listed.not_before > now {
        let begin = rfc3339(listed.not_before);
        said.push(format!("the certificate in {path} is not valid before {begin}"));
    }
    if listed.names.is_empty() {
        said.push(format!(
            "the certificate in {path} names no DNS name (subjectAltName): no client can ask for it"
        ));
    }
    said.into_iter().map(|message| Problem::new(listed.place.clone(), message)).collect()
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
    /// The first certificate to claim a name has it; says which are this one's.
    fn add(&mut self, names: &[String], key: &Arc<CertifiedKey>) -> Vec<String> {
        let mut claimed = Vec::new();
        for name in names {
            let (map, bare) = match name.strip_prefix("*.") {
                Some(below) => (&mut self.wildcard, below),
                None => (&mut self.exact, name.as_str()),
            };
            if let Entry::Vacant(free) = map.entry(bare.to_owned()) {
                free.insert(Arc::clone(key));
                claimed.push(name.clone());
            }
        }
        claimed
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
