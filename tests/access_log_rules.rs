//! Which requests have lines in the access log, and what lines show: said in YAML, seen in the file.
#![allow(clippy::disallowed_methods)] // tests use std's sockets, threads and clock

mod common;

use common::fake::Dir;
use common::{Backend, Proxy, config};
use std::fs;
use std::net::SocketAddr;
use tidegate::config::{AccessLog, FileChoice, Sources, load};

/// What `entrypoint.access_log` says, its path below `dir`.
fn access_log(dir: &Dir, text: &str) -> AccessLog {
    let file = dir.0.join("config.yml");
    let log = dir.0.join("access.log");
    let text = format!(
        "providers: {{docker: {{}}}}\nentrypoint:\n  access_log:\n    path: {}\n{text}",
        log.display()
    );
    fs::write(&file, text).unwrap();
    let loaded = load(&Sources { file: FileChoice::Explicit(file), env: &|_| None, http_addr: None });
    let loaded = loaded.unwrap_or_else(|problems| panic!("{problems:#?}"));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    loaded.config.access_log.unwrap()
}

/// The lines that `requests`, one connection each, leave behind when all has ended.
fn lines(backend: SocketAddr, text: &str, requests: &[&str]) -> Vec<String> {
    let dir = Dir::new();
    let mut config = config(&[("app", backend)]);
    config.access_log = Some(access_log(&dir, text));
    let proxy = Proxy::start(config);
    for request in requests {
        let mut client = proxy.client();
        client.send(request);
        client.response();
    }
    proxy.stop();
    fs::read_to_string(dir.0.join("access.log")).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn only_what_passes_every_filter_has_a_line() {
    let backend = Backend::answering(|_| "ok".into());
    let requests = [
        "GET /1 HTTP/1.1\r\nHost: app\r\nUser-Agent: Probe\r\n\r\n",
        "POST /2 HTTP/1.1\r\nHost: app\r\nContent-Length: 0\r\nX-Kind: a\r\n\r\n",
        "GET /3 HTTP/1.1\r\nHost: none\r\n\r\n",
        "GET /4 HTTP/1.1\r\nHost: App.local:80\r\n\r\n",
        "nonsense /5\r\n\r\n",
    ];
    for (filters, expected) in [
        ("{}", "12345"),
        ("{status_codes: {negative: true}, host: {negative: true}, cidr: {negative: true}}", "12345"),
        ("{status_codes: {values: [200]}}", "124"),
        ("{statusCodes: {values: [400-403, 404]}}", "35"),
        ("{status_codes: {negative: true, values: [200-399]}}", "35"),
        ("{method: {values: [post]}}", "2"),
        ("{method: {negative: true, values: [POST]}}", "1345"),
        ("{host: {values: [app]}}", "12"),
        ("{host: {values: [app.local, none]}}", "34"),
        ("{host: {values: [\"app.local:81\"]}}", ""),
        ("{host: {negative: true, values: [app, app.local]}}", "35"),
        ("{headers: {values: [x-kind]}}", "2"),
        ("{headers: {negative: true, values: [user-agent=probe]}}", "2345"),
        ("{headers: {values: [user-agent=prob]}}", ""),
        ("{cidr: {values: [127.0.0.0/8]}}", "12345"),
        ("{cidr: {negative: true, values: [127.0.0.0/8]}}", ""),
        (
            "{method: {values: [GET]}, status_codes: {values: [200]}, host: {negative: true, values: [app]}}",
            "4",
        ),
    ] {
        let text = format!("    format: common\n    filters: {filters}\n");
        let lines = lines(backend.addr, &text, &requests);
        let has = |n: &char| lines.iter().any(|line| line.contains(&format!(" /{n}")));
        let seen: String = "12345".chars().filter(has).collect();
        assert_eq!((seen.as_str(), lines.len()), (expected, expected.len()), "{filters}: {lines:#?}");
    }
}

const SECRETS: &str = "GET /a?page=1&token=hidden&%74oken=hidden&flag HTTP/1.1\r\nHost: app\r\n\
    Referer: http://x/?token=hidden&q=2\r\nUser-Agent: u\r\nX-Key: hidden\r\nX-Many: 1\r\n\
    Cookie: theme=dark; session=hidden\r\nX-Many: \"2\r\nAuthorization: Basic hidden\r\n\r\n";

#[test]
fn text_lines_show_of_the_query_what_they_may() {
    let backend = Backend::answering(|_| "ok".into());
    for (query, target, referer) in [
        ("{}", "/a?page=1&token=hidden&%74oken=hidden&flag", "http://x/?token=hidden&q=2"),
        ("{default: drop}", "/a", "http://x/"),
        ("{default: drop, config: {page: keep}}", "/a?page=1", "http://x/"),
        (
            "{default: redact}",
            "/a?page=REDACTED&token=REDACTED&%74oken=REDACTED&REDACTED",
            "http://x/?token=REDACTED&q=REDACTED",
        ),
        (
            "{config: {token: redact}}",
            "/a?page=1&token=REDACTED&%74oken=REDACTED&flag",
            "http://x/?token=REDACTED&q=2",
        ),
    ] {
        let text = format!("    format: combined\n    fields: {{query: {query}}}\n");
        let lines = lines(backend.addr, &text, &[SECRETS]);
        let expected = format!("\"GET {target} HTTP/1.1\" 200 2 \"{referer}\" \"u\"");
        assert!(lines.len() == 1 && lines[0].ends_with(&expected), "{query}: {lines:#?}");
    }
}

#[test]
fn json_lines_show_headers_and_cookies_that_they_may() {
    let backend = Backend::answering(|_| "ok".into());
    let object = |fields: &str| -> serde_json::Value {
        let lines = lines(backend.addr, &format!("    format: json\n    fields: {fields}\n"), &[SECRETS]);
        assert_eq!(lines.len(), 1, "{lines:#?}");
        serde_json::from_str(&lines[0]).unwrap()
    };
    let usual = object("{}");
    assert!(usual.get("headers").is_none() && usual.get("cookies").is_none(), "{usual}");
    let kept = object(
        "{headers: {default: keep, config: {x-key: redact, user-agent: drop, referer: drop}}, \
          query: {config: {token: redact}}, cookies: {default: keep, config: {session: redact}}}",
    );
    assert_eq!(
        kept["headers"],
        serde_json::json!({"X-Key": ["REDACTED"], "X-Many": ["1", "\"2"], "Cookie": ["REDACTED"],
                           "Authorization": ["REDACTED"]})
    );
    assert_eq!(kept["cookies"], serde_json::json!({"theme": "dark", "session": "REDACTED"}));
    assert_eq!(kept["query"], "page=1&token=REDACTED&%74oken=REDACTED&flag");
    assert!(!kept.to_string().contains("hidden"), "{kept}");
}
