//! The control page: one HTML page with a form for each thing that can be done. It works without scripts;
//! with them it refreshes itself.

use super::probe::{self, Answer};
use super::{ALIASES, CONTROL, url};
use crate::docker::fake::builtin::escape;
use crate::docker::fake::{FakeEngine, Page, Request, Response, View, WeakEngine};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

const DOCUMENT: &str = include_str!("control.html");
/// Bytes of a list of aliases that is taken from the form.
const ALIASES_BYTES: usize = 200;
/// Letters of one alias: a DNS label.
const ALIAS_LETTERS: usize = 63;

/// The page, as a container of `engine` serves it.
pub(super) fn page(engine: WeakEngine, http_port: Arc<AtomicU16>) -> Page {
    Page::raw(move |request| match engine.upgrade() {
        Some(engine) => answer(&engine, http_port.load(Ordering::Relaxed), request),
        None => Response::text(503, "the demo has ended\n"),
    })
}

/// A container's aliases: its label's, else its name.
pub(super) fn aliases(name: &str, labels: &BTreeMap<String, String>) -> Vec<String> {
    match labels.get(ALIASES) {
        Some(list) => list.split(',').map(str::trim).filter(|a| !a.is_empty()).map(str::to_owned).collect(),
        None => vec![name.to_owned()],
    }
}

/// By name, so that a recreated container keeps its place.
pub(super) fn sorted(engine: &FakeEngine) -> Vec<View> {
    let mut containers = engine.containers();
    containers.sort_by(|a, b| a.name.cmp(&b.name));
    containers
}

fn answer(engine: &FakeEngine, port: u16, request: &Request) -> Response {
    let probed = request.header(probe::MARK).is_some();
    match (request.method.as_str(), request.path()) {
        ("GET" | "HEAD", "/") if probed => Response::text(200, ""),
        ("GET" | "HEAD", "/") => document(engine, port, 200, None),
        ("GET", "/containers") => Response::html(200, table(engine, port)).with("Cache-Control", "no-store"),
        ("POST", action @ ("/start" | "/stop" | "/relabel")) => match act(engine, action, request) {
            Ok(()) => Response::text(303, "").with("Location", "/"),
            Err((status, message)) => document(engine, port, status, Some(&message)),
        },
        _ => Response::text(404, "The control page has only one page: /\n"),
    }
}

/// Does what a form asks for.
fn act(engine: &FakeEngine, action: &str, request: &Request) -> Result<(), (u16, String)> {
    // Another site's page could send a form here, too.
    if !matches!(request.header("sec-fetch-site"), None | Some("same-origin" | "none")) {
        return Err((403, "This form was sent by another site".into()));
    }
    let name = request.form("name").unwrap_or_default();
    let Some(container) = engine.containers().into_iter().find(|c| c.name == name) else {
        return Err((404, format!("There is no container {name}")));
    };
    if container.name == CONTROL {
        return Err((400, "This page would saw off its own branch".into()));
    }
    let result = match action {
        "/start" => engine.start_container(&name),
        "/stop" => engine.stop_container(&name),
        _ => {
            let list = check_aliases(&request.form("aliases").unwrap_or_default()).map_err(|e| (400, e))?;
            let mut labels = container.labels;
            labels.insert(ALIASES.into(), list);
            engine.relabel(&name, labels).map(|_| ())
        }
    };
    match result {
        Err(e) if e.status != 304 => Err((e.status, e.message)),
        _ => Ok(()),
    }
}

/// A list of aliases as the label holds it, or what is wrong with it.
fn check_aliases(text: &str) -> Result<String, String> {
    if text.len() > ALIASES_BYTES {
        return Err(format!("Aliases may have {ALIASES_BYTES} bytes in all"));
    }
    let list: Vec<&str> = text.split(',').map(str::trim).filter(|a| !a.is_empty()).collect();
    let legal = |a: &str| {
        a.len() <= ALIAS_LETTERS
            && a.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !a.starts_with('-')
    };
    match list.iter().find(|a| !legal(a)) {
        Some(bad) => Err(format!("“{bad}” is no alias: letters, digits, - and _, at most {ALIAS_LETTERS}")),
        None if list.is_empty() => Err("At least one alias is needed".into()),
        None => Ok(list.join(", ")),
    }
}

fn document(engine: &FakeEngine, port: u16, status: u16, message: Option<&str>) -> Response {
    let notice = message.map(|m| format!("<p class=\"notice\" role=\"alert\">{}</p>", escape(m)));
    let socket = escape(&engine.socket().display().to_string());
    let body = DOCUMENT
        .replace("{{socket}}", &socket)
        .replace("{{notice}}", &notice.unwrap_or_default())
        .replace("{{containers}}", &table(engine, port));
    Response::html(status, body).with("Cache-Control", "no-store")
}

fn table(engine: &FakeEngine, port: u16) -> String {
    let containers = sorted(engine);
    let routes: Vec<(usize, String)> = containers
        .iter()
        .enumerate()
        .flat_map(|(at, c)| aliases(&c.name, &c.labels).into_iter().map(move |alias| (at, alias)))
        .collect();
    let hosts: Vec<String> = routes.iter().map(|(_, alias)| format!("{alias}.localhost")).collect();
    let answers = probe::ask(port, &hosts);
    let mut out = String::new();
    for (at, container) in containers.iter().enumerate() {
        let mine = routes.iter().zip(&answers).filter(|((owner, _), _)| *owner == at);
        let links: String = mine.map(|((_, alias), answer)| route_line(alias, port, answer)).collect();
        let _ = write!(out, "{}", row(container, &links));
    }
    out
}

fn route_line(alias: &str, port: u16, answer: &Answer) -> String {
    let (class, says) = match answer {
        Answer::Container(name) => ("ok", format!("answered by {name}")),
        Answer::Proxy(404) => ("off", "404, no such route".to_owned()),
        Answer::Proxy(status) => ("off", format!("{status} from the proxy")),
        Answer::Nobody => ("off", "no answer".to_owned()),
    };
    let url = escape(&url(alias, port));
    format!("<div><a href=\"{url}\">{url}</a> <small class=\"{class}\">{}</small></div>", escape(&says))
}

fn row(container: &View, links: &str) -> String {
    let name = escape(&container.name);
    let state = if container.running { "running" } else { "stopped" };
    let address = container.ip.map(|ip| format!("{ip}:{}", container.port)).unwrap_or_default();
    let id = container.id.get(..12).unwrap_or_default();
    let list = aliases(&container.name, &container.labels).join(", ");
    format!(
        "<tr><th scope=\"row\"><span class=\"dot {state}\"></span>{name}<small>{state} · {id}</small>\
         <small>{address}</small></th>\n<td>{links}</td>\n<td>{}</td></tr>\n",
        if container.name == CONTROL {
            "<small>this page</small>".to_owned()
        } else {
            forms(&name, container.running, &escape(&list))
        }
    )
}

fn forms(name: &str, running: bool, aliases: &str) -> String {
    let (action, word) = if running { ("stop", "Stop") } else { ("start", "Start") };
    format!(
        "<form method=\"post\" action=\"/{action}\"><input type=\"hidden\" name=\"name\" value=\"{name}\">\
         <button>{word}</button></form>\
         <form method=\"post\" action=\"/relabel\"><input type=\"hidden\" name=\"name\" value=\"{name}\">\
         <input name=\"aliases\" value=\"{aliases}\" aria-label=\"aliases of {name}\" required \
         maxlength=\"{ALIASES_BYTES}\">\
         <button>Relabel</button></form>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_from_the_form_are_checked() {
        assert_eq!(check_aliases(" a ,b-1,, "), Ok("a, b-1".into()));
        for bad in ["", " , ", "a b", "a.b", "<x>", "-a", "*", &"a".repeat(64), &"a,".repeat(101)] {
            assert!(check_aliases(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_container_without_the_label_has_its_name_as_alias() {
        let labels = |text: &str| BTreeMap::from([(ALIASES.to_owned(), text.to_owned())]);
        assert_eq!(aliases("x", &BTreeMap::new()), ["x"]);
        assert_eq!(aliases("x", &labels("a, b")), ["a", "b"]);
    }
}
