//! What each page of the admin API answers.

use super::certs;
use crate::control::{EngineStatus, Exclusion, RouteStatus, Status, Whereto};
use crate::error::{Place, Problem};
use crate::net::tls::Served;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};

/// What the pages ask of the program.
pub struct Hooks {
    /// What is served now and why; none if control does not answer in time.
    pub status: Box<dyn Fn() -> Option<Status> + Send + Sync>,
    /// The certificates of HTTPS.
    pub certs: Box<dyn Fn() -> Served + Send + Sync>,
    /// The text of `/metrics` (Prometheus text format 0.0.4).
    pub metrics: MetricsText,
    /// Reads the configuration again; none if this program can't.
    pub reload: Option<ReloadHook>,
}

/// Makes the text of `/metrics`.
pub type MetricsText = Box<dyn Fn() -> String + Send + Sync>;

/// Reloads the configuration and waits for the end.
pub type ReloadHook = Box<dyn Fn() -> Reloaded + Send + Sync>;

/// What became of a reload.
pub enum Reloaded {
    /// The new configuration serves; what has changed, in words.
    Done(String),
    /// The running configuration is kept, for these reasons.
    Kept(Vec<Problem>),
}

/// The methods that a path takes, as `Allow` says them; none if there is no such page.
pub(super) fn allowed(path: &str) -> Option<&'static str> {
    match path {
        "/healthz" | "/readyz" | "/metrics" | "/api/routes" | "/api/problems" | "/api/engines"
        | "/api/certs" => Some("GET, HEAD"),
        "/api/reload" => Some("POST"),
        _ => None,
    }
}

/// An answer; `content_type` is a whole field line.
pub(super) struct Answer {
    pub status: u16,
    pub content_type: &'static str,
    pub body: Vec<u8>,
}

impl Answer {
    fn text(status: u16, text: impl Into<String>) -> Answer {
        let content_type = "Content-Type: text/plain; charset=utf-8";
        Answer { status, content_type, body: text.into().into_bytes() }
    }

    fn json(status: u16, value: &Value) -> Answer {
        let mut body = value.to_string().into_bytes();
        body.push(b'\n');
        Answer { status, content_type: "Content-Type: application/json", body }
    }
}

/// The pages.
pub(super) struct Api {
    hooks: Hooks,
    ending: AtomicBool,
}

impl Api {
    pub fn new(hooks: Hooks) -> Api {
        Api { hooks, ending: AtomicBool::new(false) }
    }

    pub fn ending(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    /// The answer to one request; the door has checked method and path.
    pub fn answer(&self, method: &str, path: &str) -> Answer {
        match (method, path) {
            ("GET", "/healthz") => Answer::text(200, "ok\n"),
            ("GET", "/readyz") => self.ready(),
            ("GET", "/metrics") => {
                let text = (self.hooks.metrics)();
                let content_type = "Content-Type: text/plain; version=0.0.4; charset=utf-8";
                Answer { status: 200, content_type, body: text.into_bytes() }
            }
            ("GET", "/api/routes") => self.with_status(|status| {
                let files: Vec<String> = status.files.iter().map(|file| file.display().to_string()).collect();
                json!({
                    "routes": status.routes.iter().map(route).collect::<Vec<_>>(),
                    "excluded": status.excluded.iter().map(exclusion).collect::<Vec<_>>(),
                    "files": files,
                })
            }),
            ("GET", "/api/problems") => self.with_status(
                |status| json!({ "problems": status.problems.iter().map(problem).collect::<Vec<_>>() }),
            ),
            ("GET", "/api/engines") => self.with_status(
                |status| json!({ "engines": status.engines.iter().map(engine).collect::<Vec<_>>() }),
            ),
            ("GET", "/api/certs") => self.with_status(|status| certs::page(&(self.hooks.certs)(), status)),
            ("POST", "/api/reload") => self.reload(),
            _ => Answer::text(404, "no such page of the admin API\n"),
        }
    }

    fn with_status(&self, page: impl FnOnce(&Status) -> Value) -> Answer {
        match (self.hooks.status)() {
            Some(status) => Answer::json(200, &page(&status)),
            None => Answer::text(503, "the control thread does not answer\n"),
        }
    }

    fn ready(&self) -> Answer {
        if self.ending.load(Ordering::Relaxed) {
            return Answer::text(503, "ending\n");
        }
        let Some(status) = (self.hooks.status)() else {
            return Answer::text(503, "the control thread does not answer\n");
        };
        let awaited = status.engines.iter().filter(|engine| engine.awaited);
        let reasons: String = awaited
            .map(|engine| format!("engine {}: {}: {}\n", engine.name, engine.state, engine.reason))
            .collect();
        match reasons.is_empty() {
            true => Answer::text(200, "ready\n"),
            false => Answer::text(503, reasons),
        }
    }

    fn reload(&self) -> Answer {
        let Some(reload) = &self.hooks.reload else {
            return Answer::json(501, &json!({ "error": "this program can't reload: restart it" }));
        };
        match reload() {
            Reloaded::Done(what) => Answer::json(200, &json!({ "reloaded": true, "what": what })),
            Reloaded::Kept(problems) => {
                let problems: Vec<Value> = problems.iter().map(problem).collect();
                Answer::json(422, &json!({ "reloaded": false, "problems": problems }))
            }
        }
    }
}

fn route(route: &RouteStatus) -> Value {
    let target = match &route.target {
        Whereto::Serve { host, port } => json!({ "does": "serve", "host": host, "port": port }),
        Whereto::Wait { reason, longest } => {
            json!({ "does": "wait", "reason": reason, "seconds": longest.as_secs_f64() })
        }
        Whereto::Refuse { status, reason } => json!({ "does": "refuse", "status": status, "reason": reason }),
    };
    let said = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    json!({
        "alias": route.alias,
        "target": target,
        "scheme": route.scheme.as_str(),
        "network": route.network,
        "origin": route.origin,
        "engine": route.engine,
        "container": route.container,
        "state": route.state,
        "access": route.access,
        "why": {
            "host": said(&route.why.host),
            "port": said(&route.why.port),
            "scheme": said(&route.why.scheme),
        },
    })
}

fn exclusion(exclusion: &Exclusion) -> Value {
    json!({
        "engine": exclusion.engine,
        "container": exclusion.container,
        "alias": exclusion.alias,
        "reason": exclusion.reason,
    })
}

fn engine(engine: &EngineStatus) -> Value {
    json!({
        "name": engine.name,
        "url": engine.url,
        "state": engine.state.to_string(),
        "reason": engine.reason,
        "listed": engine.listed,
        "containers": engine.containers,
        "version": engine.identity.as_ref().map(|identity| &identity.version),
        "api_version": engine.identity.as_ref().map(|identity| identity.api.to_string()),
        "system": engine.identity.as_ref().map(|identity| &identity.system),
        "architecture": engine.identity.as_ref().map(|identity| &identity.architecture),
    })
}

pub(super) fn problem(problem: &Problem) -> Value {
    let mut value = json!({
        "place": problem.place.to_string(),
        "message": problem.message,
        "hint": problem.hint,
    });
    match &problem.place {
        Place::File { path, line, column, key } => {
            value["file"] = json!(path.display().to_string());
            value["line"] = json!(line);
            value["column"] = json!(column);
            value["key"] = json!(key);
        }
        Place::Label { engine, container, label } => {
            value["engine"] = json!(engine);
            value["container"] = json!(container);
            value["label"] = json!(label);
        }
        Place::Container { engine, container } => {
            value["engine"] = json!(engine);
            value["container"] = json!(container);
        }
        Place::Engine { name } => value["engine"] = json!(name),
        _ => {}
    }
    value
}
