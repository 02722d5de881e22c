//! Another configuration for the running program: build new, swap, drain old; only what changed is touched.
//!
//! ```text
//!   SIGHUP, Reloader::reload ──┐                      problems: all are logged once, the running one stays
//!   a file changed ─debounce───┴─► load ─► bind new listeners ─► stop engines ─► control: Configure
//!                                            └─ taken: refused      ─► start engines ─► open, close listeners
//! ```
//!
//! One thread does it, so that two reloads never meet.

use super::admin::{self, Window};
use super::certs;
use super::engines::{self, Engines};
use super::listeners::Listeners;
use super::watch::{Bell, Watch};
use super::{End, Observed, StartError, now};
use crate::config::{self, Attempt, Config, FileChoice, Loaded, Sources};
use crate::control::{self, Mailbox};
use crate::error::{Place, Problem};
use crate::limits::{
    RELOAD_DEBOUNCE, RELOAD_DEBOUNCE_MOST, RELOAD_PATIENCE, RELOAD_QUEUE, RELOAD_TIMEOUT, RELOAD_TRIES,
};
use crate::net::tls::CertStore;
use crate::proxy::Shared;
use crate::runtime::CoreHandle;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

/// Where a configuration comes from, kept to be read again.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Which file.
    pub file: FileChoice,
    /// The environment, as it was at the start.
    pub env: BTreeMap<String, String>,
    /// `--http-addr`.
    pub http_addr: Option<String>,
}

impl Origin {
    /// Whether the file is one that can be read again: nobody writes to a pipe a second time, and to open it
    /// could wait for ever.
    fn lasts(&self) -> bool {
        match &self.file {
            FileChoice::Explicit(path) => std::fs::metadata(path).is_ok_and(|is| is.is_file()),
            FileChoice::Search(_) => true,
        }
    }

    /// Reads the configuration.
    pub fn attempt(&self) -> Attempt {
        let env = |name: &str| self.env.get(name).cloned();
        config::attempt(&Sources { file: self.file.clone(), env: &env, http_addr: self.http_addr.clone() })
    }
}

/// What a reload has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// False if the configuration says what it said before.
    pub changed: bool,
    /// Routes of files that are served now.
    pub file_routes: usize,
    /// Engines with a new supervisor.
    pub engines_started: Vec<String>,
    /// Engines whose supervisor was stopped; one that is in both lists was changed.
    pub engines_stopped: Vec<String>,
    /// Addresses that are listened on now and were not before.
    pub listeners_opened: Vec<SocketAddr>,
    /// Addresses that are listened on no more.
    pub listeners_closed: Vec<SocketAddr>,
    /// Whether clients get other certificates.
    pub certs_renewed: bool,
    /// What is strange but not wrong, and what needs a restart.
    pub warnings: Vec<Problem>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.changed, self.certs_renewed) {
            (false, false) => return f.write_str("nothing has changed"),
            (false, true) => return f.write_str("new certificates"),
            (true, _) => {}
        }
        write!(f, "{} routes of files", self.file_routes)?;
        let addrs = |addrs: &[SocketAddr]| addrs.iter().map(ToString::to_string).collect::<Vec<_>>();
        for (what, names) in [
            ("engines stopped", self.engines_stopped.clone()),
            ("engines started", self.engines_started.clone()),
            ("listening on", addrs(&self.listeners_opened)),
            ("no more on", addrs(&self.listeners_closed)),
        ] {
            if !names.is_empty() {
                write!(f, "; {what} {}", names.join(", "))?;
            }
        }
        f.write_str(if self.certs_renewed { "; new certificates" } else { "" })
    }
}

/// Asks for a reload, from any thread but a core's.
#[derive(Clone)]
pub struct Reloader {
    commands: Sender<Command>,
    bell: Bell,
}

enum Command {
    /// The answer goes to the sender, if somebody waits for it.
    Reload(Option<Sender<Outcome>>),
    Stop,
}

type Outcome = Result<Summary, Vec<Problem>>;

impl Reloader {
    /// Reads the configuration again and applies it; waits for the end, `limits::RELOAD_TIMEOUT` at most.
    ///
    /// # Errors
    /// All problems: the running configuration stays as it is.
    pub fn reload(&self) -> Result<Summary, Vec<Problem>> {
        let (reply, answer) = bounded(1);
        let failed = |why: &str| vec![Problem::new(Place::Default, why)];
        if self.commands.try_send(Command::Reload(Some(reply))).is_err() {
            return Err(failed("too many reloads are waiting, or the program is ending"));
        }
        self.bell.ring();
        match answer.recv_timeout(RELOAD_TIMEOUT) {
            Ok(outcome) => outcome,
            Err(_) => Err(failed("the reload was not done in time")),
        }
    }

    /// Asks for a reload and doesn't wait; what comes of it is logged.
    pub fn request(&self) {
        // Full: those that wait read the same files.
        let _ = self.commands.try_send(Command::Reload(None));
        self.bell.ring();
    }
}

/// What a reload changes.
pub(super) struct Running {
    pub config: Config,
    /// `workers` as of the start: the threads are not changed.
    pub workers: Option<usize>,
    pub engines: Engines,
    pub listeners: Listeners,
    pub cores: Vec<CoreHandle>,
    pub mailbox: Mailbox,
    pub shared: Arc<Shared>,
    pub admin: Arc<Window>,
    pub certs: Arc<CertStore>,
    pub ender: Sender<End>,
    pub observed: Arc<Observed>,
}

/// The thread that reloads.
pub(super) struct Reload {
    reloader: Reloader,
    thread: JoinHandle<Running>,
}

impl Reload {
    /// Starts the thread. Without an origin there is nothing to reload.
    pub fn start(running: Running, origin: Option<Origin>) -> io::Result<Reload> {
        let (sender, commands) = bounded(RELOAD_QUEUE);
        let watch = Watch::new()?;
        let origin = origin.filter(Origin::lasts);
        let reloader = Reloader { commands: sender, bell: watch.bell() };
        let worker =
            Worker { running, origin, watch, commands, said: Vec::new(), watched: (Vec::new(), Vec::new()) };
        let thread = std::thread::Builder::new().name("reload".into()).spawn(move || worker.run())?;
        Ok(Reload { reloader, thread })
    }

    /// How others ask for a reload.
    pub fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }

    /// Ends the thread after the reload it is in; what is running is the caller's again. None if it panicked.
    pub fn stop(self) -> Option<Running> {
        let _ = self.reloader.commands.send(Command::Stop);
        self.reloader.bell.ring();
        self.thread.join().map_err(|_| log::error!("the reload's thread panicked")).ok()
    }
}

struct Worker {
    running: Running,
    origin: Option<Origin>,
    watch: Watch,
    commands: Receiver<Command>,
    /// The problems that stand and were logged.
    said: Vec<Problem>,
    /// Files and directories that were watched last.
    watched: (Vec<PathBuf>, Vec<PathBuf>),
}

/// A change of files that is waited out.
#[derive(Clone, Copy)]
struct Pending {
    at: Instant,
    /// Files that never rest are read by then.
    latest: Instant,
    /// It was read once and was wrong: it may have been half written.
    again: bool,
}

impl Worker {
    fn run(mut self) -> Running {
        // What has changed since the start's own reading is seen now, and all later changes are heard of.
        let mut pending = self.origin.as_ref().map(|_| Pending { at: now(), latest: now(), again: false });
        loop {
            let timeout = pending.map(|pending| pending.at.saturating_duration_since(now()));
            if self.watch.wait(timeout) {
                let latest = pending.map_or(now() + RELOAD_DEBOUNCE_MOST, |pending| pending.latest);
                pending = Some(Pending { at: latest.min(now() + RELOAD_DEBOUNCE), latest, again: false });
            }
            // Those who wait at the same time are answered by one reload: they mean the same files.
            let commands: Vec<Command> = self.commands.try_iter().collect();
            if commands.iter().any(|command| matches!(command, Command::Stop)) {
                return self.running;
            }
            if !commands.is_empty() {
                pending = None;
                let outcome = self.read();
                let outcome = self.conclude(outcome, true);
                for command in commands {
                    if let Command::Reload(Some(reply)) = command {
                        // The other side may have given up waiting.
                        let _ = reply.try_send(outcome.clone());
                    }
                }
            }
            if let Some(due) = pending.filter(|pending| pending.at <= now()) {
                pending = self.files_changed(due.again);
            }
        }
    }

    /// Reads what has changed. What is wrong is read once more before it counts: a file may be on its way.
    fn files_changed(&mut self, again: bool) -> Option<Pending> {
        let outcome = self.read();
        if outcome.is_err() && !again {
            let at = now() + RELOAD_DEBOUNCE;
            return Some(Pending { at, latest: at + RELOAD_DEBOUNCE_MOST, again: true });
        }
        // Said in the log.
        let _ = self.conclude(outcome, false);
        None
    }

    /// Reads the configuration; what it is made of is watched from before it was read.
    fn read(&mut self) -> Result<Loaded, Vec<Problem>> {
        let Some(origin) = &self.origin else {
            return Err(vec![Problem::new(Place::Default, "there is no configuration file to read again")]);
        };
        let mut attempt = origin.attempt();
        for _ in 0..RELOAD_TRIES {
            let Attempt { result, files, directories } = attempt;
            let (mut files, mut directories) = (files, directories);
            if result.is_err() {
                // A main file that can't be read doesn't say what it includes.
                files.extend(self.watched.0.iter().cloned());
                directories.extend(self.watched.1.iter().cloned());
            }
            for list in [&mut files, &mut directories] {
                list.sort();
                list.dedup();
                list.truncate(2 * crate::limits::CONFIG_FILES);
            }
            let is_known = self.watched == (files.clone(), directories.clone());
            // Also where it is the same list: the files may be others.
            if let Err(error) = self.watch.arm(&files, &directories) {
                log::warn!("configuration files can't be watched ({error}): send SIGHUP after a change");
            }
            self.watched = (files, directories);
            attempt = origin.attempt();
            if is_known {
                break;
            }
        }
        attempt.result
    }

    /// Applies what was read, and says what came of it.
    fn conclude(&mut self, read: Result<Loaded, Vec<Problem>>, asked: bool) -> Outcome {
        let was_wrong = !self.said.is_empty();
        let outcome = read.and_then(|loaded| {
            if self.running.is(&loaded.config, asked) {
                let file_routes = loaded.config.file_routes.len();
                let certs_renewed = self.running.renew_certs(&loaded.config, asked)?;
                let warnings = loaded.warnings;
                return Ok(Summary { file_routes, certs_renewed, warnings, ..Summary::default() });
            }
            self.running.apply(loaded, asked)
        });
        let cause = if asked { "asked for" } else { "files have changed" };
        match &outcome {
            Ok(summary) => {
                self.said.clear();
                if summary.changed || asked || was_wrong {
                    // Control says what is new among the problems that stand.
                    let unsaid = summary.warnings.iter().filter(|_| !summary.changed);
                    unsaid.for_each(|warning| log::warn!("{warning}"));
                    log::info!("reloaded ({cause}): {summary}");
                }
            }
            Err(problems) if *problems == self.said => {
                if asked {
                    log::error!("not reloaded ({cause}): the same problems as before");
                }
            }
            Err(problems) => {
                problems.iter().for_each(|problem| log::error!("{problem}"));
                self.said.clone_from(problems);
                let count = problems.len();
                log::error!("not reloaded ({cause}; problems: {count}): the running configuration stays");
            }
        }
        outcome
    }
}

impl Running {
    fn own_listeners(&self) -> Vec<SocketAddr> {
        self.listeners.addrs().into_iter().chain(self.admin.addr()).collect()
    }

    /// What is not taken over.
    fn needs_restart(&self, config: &Config) -> Option<Problem> {
        let message = "a change of `workers` needs a restart: as many threads as before go on";
        (config.workers != self.workers).then(|| Problem::new(config.workers_place.clone(), message))
    }

    /// Whether nothing would come of applying `config`.
    fn is(&self, config: &Config, asked: bool) -> bool {
        // Who asks may have freed the admin API's address.
        let wanted = config.admin.as_ref().map(|listen| listen.addr);
        *config == self.config && (!asked || wanted == self.admin.at())
    }

    /// Has the certificates of `config` serve from the next handshake on; whether they are others. Whose files
    /// alone may have changed are read if somebody asked: else their watcher reads them.
    ///
    /// # Errors
    /// They can't be loaded: those before go on.
    fn renew_certs(&self, config: &Config, asked: bool) -> Result<bool, Vec<Problem>> {
        let configured_anew = config.tls != self.config.tls;
        if !asked && !configured_anew {
            return Ok(false);
        }
        let certs = certs::load(&config.tls)?;
        let renewed = !certs.serve_as(&self.certs.current());
        if renewed || configured_anew {
            self.certs.replace(certs);
        } else {
            // What was refused meanwhile is not in the files any more.
            self.certs.refuse(&self.certs.current(), Vec::new());
        }
        Ok(renewed)
    }

    /// Applies another configuration: as a whole, or not at all.
    fn apply(&mut self, loaded: Loaded, asked: bool) -> Outcome {
        let Loaded { config, files, mut warnings } = loaded;
        let problems = engines::check(&config.engines);
        if !problems.is_empty() {
            return Err(problems);
        }
        let listeners = self.listeners.difference(&config, self.cores.len()).map_err(problems_of)?;
        let certs_renewed = self.renew_certs(&config, asked)?;
        warnings.extend(self.needs_restart(&config));
        let (to_admin, problem) = admin::plan(&config, self.admin.at());
        warnings.extend(problem);
        let stopped = self.engines.stop_others(&config.engines);
        if let Err(error) = self.observed.configure(&config) {
            let message = format!("the access log can't be started: {error}");
            warnings.push(Problem::new(Place::Default, message));
        }
        let change = control::Change {
            engines: self.engines.plan(&config.engines),
            restarted: stopped.moved,
            file_routes: config.file_routes.clone(),
            match_domains: config.match_domains.clone(),
            recreate_wait: config.recreate_wait,
            entrypoint: Arc::new(config.entrypoint.clone()),
            redirect_http: config.redirect_http,
            standing: warnings.clone(),
            files,
            admin: admin::way(&config, to_admin.addr(self.admin.addr())),
        };
        if !self.mailbox.configure(change, RELOAD_PATIENCE) {
            log::error!("control is too busy: the new routes come late");
        }
        let (mailbox, ender, observed) = (&self.mailbox, &self.ender, &self.observed);
        let started = self.engines.start_missing(&config.engines, mailbox, ender, observed);
        let engines_started = started.unwrap_or_else(|error| {
            let message = format!("an engine's threads can't be started: {error}");
            log::error!("{message}");
            warnings.push(Problem::new(Place::Default, message));
            Vec::new()
        });
        let (new, gone) = listeners.into_parts();
        let mut own = self.own_listeners();
        let mut listeners_opened = self.listeners.open(new, &self.cores);
        own.extend(&listeners_opened);
        own.extend(to_admin.addr(None));
        self.shared.set_own_listeners(own);
        self.shared.set_https_port(self.listeners.https_port(&config));
        let mut listeners_closed = match gone.is_empty() {
            true => Vec::new(),
            false => self.listeners.close(&gone, &self.cores),
        };
        let (admin_opened, admin_closed) = self.admin.apply(to_admin);
        listeners_opened.extend(admin_opened);
        listeners_closed.extend(admin_closed);
        self.shared.set_own_listeners(self.own_listeners());
        let file_routes = config.file_routes.len();
        self.config = config;
        let engines_stopped = stopped.names;
        Ok(Summary {
            changed: true,
            file_routes,
            engines_started,
            engines_stopped,
            listeners_opened,
            listeners_closed,
            certs_renewed,
            warnings,
        })
    }
}

fn problems_of(error: StartError) -> Vec<Problem> {
    vec![match error {
        StartError::Problem(problem) => problem,
        StartError::Io(error) => Problem::new(Place::Default, error.to_string()),
    }]
}
