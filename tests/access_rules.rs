//! Access rules from outside: who is let in, what the others are told, what the upstream sees of it.
//! Who guesses passwords in masses stands in `access_burst.rs`: all of a process share the threads that hash.
#![allow(clippy::disallowed_methods)] // tests use std's sockets, threads and clock

mod common;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::fake::{Dir, engine};
use common::{Backend, Client, Proxy, Response, config_with_engine, wait_until, with_admin};
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tidegate::app::{App, End, Origin, Reloader};
use tidegate::config::{Config, FileChoice, Sources, load};
use tidegate::docker::fake::{Call, Page, Spec};

/// All of `secret`.
const BCRYPT: &str = "$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";
const APR1: &str = "$apr1$saltsalt$LrttParrLPdxvgutaSXWJ0";
const ARGON2: &str = "$argon2id$v=19$m=8192,t=1,p=1$c2FsdHNhbHQ$CE0pGNzrD2J1tOQsghJQaEeVII3g49YwCVYkgUJIBM0";

/// The configuration of a main file's `entrypoint` (in braces) and a route file.
fn read(dir: &Dir, entrypoint: &str, routes: &str) -> Config {
    write(dir, entrypoint, routes);
    let file = FileChoice::Explicit(dir.0.join("c.yml"));
    let loaded = load(&Sources { file, env: &|_| None, http_addr: None });
    loaded.unwrap_or_else(|problems| panic!("{problems:#?}")).config
}

fn write(dir: &Dir, entrypoint: &str, routes: &str) {
    let comma = if entrypoint.is_empty() { "" } else { ", " };
    let main = format!(
        "workers: 2\nrecreate_wait: 10s\nentrypoint: {{http_addr: '127.0.0.1:0'{comma}{entrypoint}}}\n\
         providers: {{docker: {{}}, include: [routes.yml]}}\nadmin: {{addr: 'off'}}\n"
    );
    fs::write(dir.0.join("routes.yml"), routes).unwrap();
    fs::write(dir.0.join("c.yml"), main).unwrap();
}

fn serve(entrypoint: &str, routes: &str) -> Proxy {
    Proxy::start(read(&Dir::new(), entrypoint, routes))
}

/// A route to `backend` with these `middlewares`.
fn route(alias: &str, backend: &Backend, middlewares: &str) -> String {
    let SocketAddr::V4(addr) = backend.addr else { panic!("an IPv4 backend") };
    format!("{alias}: {{host: {}, port: {}, middlewares: {middlewares}}}\n", addr.ip(), addr.port())
}

/// Answers with the `Authorization` fields it saw.
fn telling() -> Backend {
    Backend::answering(|request| format!("{:?}", request.fields("authorization")))
}

fn get(host: &str, fields: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n")
}

fn login(name: &str, password: &str) -> String {
    format!("Authorization: Basic {}\r\n", STANDARD.encode(format!("{name}:{password}")))
}

/// One request from one of this machine's addresses.
fn from(own: &str, proxy: &Proxy, request: String) -> Response {
    let mut client = Client::connect_from(SocketAddr::new(own.parse().unwrap(), 0), proxy.addr);
    client.send(request);
    client.response()
}

fn metric(proxy: &Proxy, name: &str) -> u64 {
    let text = proxy.observed.metrics_text();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

#[test]
fn lists_let_in_and_keep_out_by_address() {
    let backend = telling();
    let routes = route("home", &backend, "{cidr_whitelist: {allow: ['::ffff:127.0.0.1/128']}}")
        + &route("zoo", &backend, "{cidr_blacklist: {deny: 127.0.0.2, status: 404, message: gone fishing}}")
        + &route(
            "both",
            &backend,
            "{cidr_blacklist: {deny: 127.0.0.2}, cidr_whitelist: {allow: 127.0.0.0/8}}",
        );
    let proxy = serve("", &routes);
    for (own, host, status) in [
        ("127.0.0.1", "home", 200),
        ("127.0.0.2", "home", 403),
        ("127.0.0.1", "zoo", 200),
        ("127.0.0.2", "zoo", 404),
        ("127.0.0.1", "both", 200),
        ("127.0.0.2", "both", 403),
    ] {
        assert_eq!(from(own, &proxy, get(host, "")).status, status, "{host} from {own}");
    }
    let refused = from("127.0.0.2", &proxy, get("zoo", "Accept: text/html\r\n"));
    assert_eq!(refused.text(), "gone fishing\n");
    assert_eq!(refused.field("content-type"), Some("text/plain; charset=utf-8"));
    assert!(refused.field("x-request-id").is_some() && refused.field("cache-control") == Some("no-store"));
    let refused = from("127.0.0.2", &proxy, get("home", ""));
    assert_eq!((refused.text().as_str(), refused.field("www-authenticate")), ("IP not allowed\n", None));
    // What a stranger says about himself counts for nothing.
    let spoofed = "X-Forwarded-For: 127.0.0.1\r\nX-Real-IP: 127.0.0.1\r\nForwarded: for=127.0.0.1\r\n";
    assert_eq!(from("127.0.0.2", &proxy, get("home", spoofed)).status, 403);
    let seen = backend.connections();
    assert_eq!(metric(&proxy, "tidegate_access_refused_total{rule=\"cidr_whitelist\"}"), 3);
    assert_eq!(metric(&proxy, "tidegate_access_refused_total{rule=\"cidr_blacklist\"}"), 3);
    assert_eq!(metric(&proxy, "tidegate_requests_total{route=\"zoo\",class=\"4xx\"}"), 2);
    assert!((1..=3).contains(&seen), "{seen}");
}

#[test]
fn a_refused_request_keeps_its_connection_unless_its_body_is_still_to_come() {
    let backend = telling();
    let routes = route("home", &backend, "{cidr_whitelist: {allow: 10.0.0.0/8}}")
        + &route("open", &backend, "{}")
        + &route("login", &backend, &format!("{{basic_auth: {{users: {{alice: '{BCRYPT}'}}}}}}"));
    let proxy = serve("", &routes);
    let mut client = proxy.client();
    client.send("HEAD / HTTP/1.1\r\nHost: home\r\n\r\n");
    let head = client.response_to("HEAD");
    assert_eq!((head.status, head.field("content-length")), (403, Some("15")));
    client.send("POST / HTTP/1.1\r\nHost: home\r\nContent-Length: 4\r\n\r\nbody");
    assert_eq!(client.response().status, 403);
    client.send(get("open", ""));
    assert_eq!(client.response().status, 200, "the connection goes on, with the right bytes");
    for host in ["home", "login"] {
        let mut client = proxy.client();
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n\r\n"
        ));
        let head = client.head();
        assert!(head.starts_with("HTTP/1.1 40"), "no 100 before it: {head}");
        assert!(head.contains("Connection: close\r\n"), "{head}");
    }
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: home\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(client.response().status, 403, "an upgrade is a request");
    assert_eq!(backend.connections(), 1);
}

#[test]
fn behind_trusted_proxies_the_client_is_whom_they_name() {
    let backend = telling();
    let routes = route("home", &backend, "{cidr_whitelist: {allow: [192.0.2.0/24, 127.0.0.9]}}");
    let proxy = serve("trusted_proxies: [127.0.0.9, 127.0.0.10]", &routes);
    for (own, fields, status) in [
        ("127.0.0.9", "X-Forwarded-For: 192.0.2.1\r\n", 200),
        ("127.0.0.9", "X-Forwarded-For: 192.0.2.1, 198.51.100.1\r\n", 403),
        ("127.0.0.9", "X-Forwarded-For: 198.51.100.1, 192.0.2.1, 127.0.0.10\r\n", 200),
        ("127.0.0.9", "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 198.51.100.1\r\n", 403),
        ("127.0.0.9", "X-Forwarded-For: unknown\r\n", 403),
        ("127.0.0.9", "Forwarded: for=192.0.2.1\r\n", 403),
        ("127.0.0.9", "X-Real-IP: 192.0.2.1\r\n", 200),
        ("127.0.0.9", "", 200),
        ("127.0.0.1", "X-Forwarded-For: 192.0.2.1\r\n", 403),
    ] {
        assert_eq!(from(own, &proxy, get("home", fields)).status, status, "{own} says {fields:?}");
    }
}

#[test]
fn the_address_of_a_proxy_header_is_the_clients() {
    let backend = telling();
    let routes = route("home", &backend, "{cidr_whitelist: {allow: 192.0.2.0/24}}");
    let proxy = serve("proxy_protocol: {mode: mixed, trusted_proxies: [127.0.0.1]}", &routes);
    for (client, status) in [("192.0.2.7", 200), ("198.51.100.7", 403)] {
        let header = format!("PROXY TCP4 {client} 127.0.0.1 4711 80\r\n");
        assert_eq!(from("127.0.0.1", &proxy, header + &get("home", "")).status, status, "{client}");
    }
}

#[test]
fn the_entrypoints_rules_come_first_and_hold_for_unknown_hosts_too() {
    let backend = telling();
    let routes = route("home", &backend, "{cidr_whitelist: {allow: 127.0.0.2, message: of the route}}")
        + &route("login", &backend, &format!("{{basic_auth: {{users: {{bob: '{APR1}'}}}}}}"));
    let entrypoint = format!(
        "middlewares: [{{use: cidr_blacklist, deny: 127.0.0.3, message: of the entrypoint}}, \
         {{use: basic_auth, realm: gate, users: {{alice: '{BCRYPT}', bob: '{BCRYPT}'}}}}]"
    );
    let proxy = serve(&entrypoint, &routes);
    for (own, host, fields, status, part) in [
        ("127.0.0.3", "nobody", login("alice", "secret"), 403, "of the entrypoint"),
        ("127.0.0.3", "home", login("alice", "secret"), 403, "of the entrypoint"),
        ("127.0.0.1", "home", login("alice", "secret"), 403, "of the route"),
        // An address costs nothing to look at: lists first, then passwords.
        ("127.0.0.1", "home", String::new(), 403, "of the route"),
        ("127.0.0.1", "nobody", String::new(), 401, ""),
        ("127.0.0.1", "nobody", login("alice", "secret"), 404, ""),
        ("127.0.0.2", "home", login("alice", "secret"), 200, ""),
        // The route's users as well as the entrypoint's.
        ("127.0.0.2", "login", login("alice", "secret"), 401, ""),
        ("127.0.0.2", "login", login("bob", "secret"), 200, "[]"),
    ] {
        let response = from(own, &proxy, get(host, &fields));
        assert_eq!(response.status, status, "{host} from {own} with {fields:?}: {response:?}");
        assert!(response.text().contains(part), "{response:?}");
    }
}

#[test]
fn basic_auth_takes_each_kind_of_hash_and_keeps_the_credentials() {
    let backend = telling();
    let users = format!("users: {{alice: '{BCRYPT}', bob: '{APR1}', 'jürgen': '{ARGON2}'}}");
    let routes = route("app", &backend, &format!("{{basic_auth: {{{users}, realm: 'the \"yard\"'}}}}"))
        + &route("told", &backend, &format!("{{basic_auth: {{{users}, forward_credentials: true}}}}"))
        + &route("open", &backend, "{}");
    let proxy = serve("", &routes);
    let mut client = proxy.client();
    for fields in [
        String::new(),
        login("alice", "Secret"),
        login("alice", ""),
        login("mallory", "secret"),
        login("", ""),
        "Authorization: Bearer abc\r\n".into(),
        "Authorization: Basic\r\n".into(),
        "Authorization: Basic !!!\r\n".into(),
        format!("Authorization: Basic {}\r\n", STANDARD.encode("alice")),
        login("alice", "secret") + &login("alice", "secret"),
        format!("Proxy-{}", login("alice", "secret")),
    ] {
        client.send(get("app", &fields));
        let refused = client.response();
        assert_eq!(refused.status, 401, "{fields:?}");
        let challenge = Some("Basic realm=\"the \\\"yard\\\"\", charset=\"UTF-8\"");
        assert_eq!(refused.field("www-authenticate"), challenge, "{fields:?}");
    }
    assert_eq!(backend.connections(), 0);
    for name in ["alice", "bob", "jürgen"] {
        for _ in 0..2 {
            client.send(get("app", &login(name, "secret")));
            let response = client.response();
            assert_eq!((response.status, response.text().as_str()), (200, "[]"), "{name}");
        }
        client.send(get("app", &login(name, "wrong")));
        assert_eq!(client.response().status, 401, "{name} again");
    }
    let value = STANDARD.encode("alice:secret");
    client.send(get("told", &login("alice", "secret")));
    assert_eq!(client.response().text(), format!("[\"Basic {value}\"]"));
    client.send(get("open", &login("alice", "anything")));
    assert!(client.response().text().contains("Basic "), "a route without the rule passes them on");
    assert_eq!(metric(&proxy, "tidegate_access_refused_total{rule=\"basic_auth\"}"), 14);
}

#[test]
fn the_access_log_names_the_user_and_nobody_forges_it() {
    let (dir, backend) = (Dir::new(), telling());
    let log = dir.0.join("access.log");
    let users = format!("{{'al \"ice': '{BCRYPT}'}}");
    let entrypoint = format!("access_log: {{path: '{}'}}", log.display());
    let routes = route("app", &backend, &format!("{{basic_auth: {{users: {users}}}}}"));
    let proxy = Proxy::start(read(&dir, &entrypoint, &routes));
    let mut client = proxy.client();
    for fields in [login("al \"ice", "secret"), login("mallory", "x"), String::new()] {
        client.send(get("app", &fields));
        client.response();
    }
    let lines = || fs::read_to_string(&log).unwrap_or_default();
    wait_until("three lines", || lines().lines().count() == 3);
    let begins: Vec<String> =
        lines().lines().map(|line| line.split(" [").next().unwrap().to_owned()).collect();
    assert_eq!(begins, ["app 127.0.0.1 - al\\x20\\x22ice", "app 127.0.0.1 - -", "app 127.0.0.1 - -"]);
    assert!(lines().contains("\" 401 40 \""), "{}", lines());
}

#[test]
fn a_refused_request_waits_at_no_gate() {
    let held = Arc::new(AtomicBool::new(true));
    let until = Arc::clone(&held);
    let backend = Backend::answering(move |_| {
        wait_until("it may answer", || !until.load(Ordering::SeqCst));
        "ok".into()
    });
    let SocketAddr::V4(addr) = backend.addr else { panic!("an IPv4 backend") };
    let rule = "{cidr_whitelist: {allow: 127.0.0.1}}";
    let fields = format!("host: {}, port: {}, max_conns_per_host: 1", addr.ip(), addr.port());
    let proxy = serve("", &format!("app: {{{fields}, middlewares: {rule}}}\n"));
    let mut first = proxy.client();
    first.send(get("app", ""));
    wait_until("the only connection is taken", || backend.connections() == 1);
    let asked = Instant::now();
    assert_eq!(from("127.0.0.2", &proxy, get("app", "")).status, 403);
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    held.store(false, Ordering::SeqCst);
    assert_eq!(first.response().status, 200);
}

/// A Tidegate that reads its files again when it is asked to.
struct Reloadable {
    dir: Dir,
    addr: SocketAddr,
    reloader: Reloader,
    ender: crossbeam_channel::Sender<End>,
    thread: Option<std::thread::JoinHandle<std::io::Result<End>>>,
}

impl Reloadable {
    fn start(routes: &str) -> Reloadable {
        let dir = Dir::new();
        write(&dir, "", routes);
        let file = FileChoice::Explicit(dir.0.join("c.yml"));
        let origin = Origin { file, env: BTreeMap::new(), http_addr: None };
        let loaded = origin.attempt().result.unwrap();
        let app = App::start_reloadable(loaded, origin).unwrap_or_else(|error| panic!("{error}"));
        let (reloader, ender, addr) = (app.reloader(), app.ender(), app.addrs()[0]);
        Reloadable { dir, addr, reloader, ender, thread: Some(std::thread::spawn(move || app.run())) }
    }

    fn change(&self, routes: &str) {
        write(&self.dir, "", routes);
        self.reloader.reload().unwrap_or_else(|problems| panic!("{problems:?}"));
    }
}

impl Drop for Reloadable {
    fn drop(&mut self) {
        let _ = self.ender.try_send(End::Asked);
        let ended = self.thread.take().map(std::thread::JoinHandle::join);
        assert!(std::thread::panicking() || ended.is_some_and(|ended| ended.is_ok()));
    }
}

#[test]
fn changed_rules_hold_from_the_next_request_on() {
    let backend = telling();
    let basic = |users: &str| route("app", &backend, &format!("{{basic_auth: {{users: {users}}}}}"));
    let served = Reloadable::start(&route("app", &backend, "{}"));
    let mut client = Client::connect(served.addr);
    let mut status = |fields: &str| {
        client.send(get("app", fields));
        client.response().status
    };
    assert_eq!(status(""), 200);
    served.change(&basic(&format!("{{alice: '{BCRYPT}', bob: '{BCRYPT}'}}")));
    assert_eq!(status(""), 401);
    for _ in 0..2 {
        assert_eq!(status(&login("alice", "secret")), 200);
    }
    // What was verified a moment ago is of no use without the user, or with another password.
    served.change(&basic(&format!("{{bob: '{BCRYPT}'}}")));
    assert_eq!(status(&login("alice", "secret")), 401);
    assert_eq!(status(&login("bob", "secret")), 200);
    let other = tidegate::access::hash(b"other", [9; 16], 4).unwrap();
    served.change(&basic(&format!("{{bob: '{other}'}}")));
    assert_eq!(status(&login("bob", "secret")), 401);
    assert_eq!(status(&login("bob", "other")), 200);
    served.change(&route("app", &backend, "{cidr_blacklist: {deny: 127.0.0.0/8}}"));
    assert_eq!(status(&login("bob", "other")), 403);
    served.change(&route("app", &backend, "{}"));
    assert_eq!(status(""), 200);
}

#[test]
fn rules_that_come_while_a_request_waits_are_held_against_it() {
    let engine = engine();
    let guarded =
        Spec::new("app").page(Page::Hello).label("proxy.app.middlewares.cidr_whitelist.allow", "10.0.0.1");
    engine.run(guarded).unwrap();
    engine.run(Spec::new("open").page(Page::Hello).label("proxy.aliases", "open")).unwrap();
    // The engine answers, but what it runs is not known yet.
    engine.fail(Call::List, 500, 1_000);
    let proxy = Proxy::start(config_with_engine(&engine.dir.socket()));
    let mut clients: Vec<Client> = ["app", "open"]
        .map(|host| {
            let mut client = proxy.client();
            client.send(get(host, ""));
            client
        })
        .into();
    wait_until("both wait", || metric(&proxy, "tidegate_gate_waiting") == 2);
    engine.fail(Call::List, 500, 0);
    let answers: Vec<u16> = clients.iter_mut().map(|client| client.response().status).collect();
    assert_eq!(answers, [403, 200]);
}

#[test]
fn labels_guard_and_a_guard_in_doubt_withholds_its_route() {
    let engine = engine();
    let spec = |name: &str| Spec::new(name).page(Page::Hello);
    let label = |name: &str, field: &str| format!("proxy.{name}.middlewares.{field}");
    engine.run(spec("login").label(label("login", "basic_auth.users.alice"), BCRYPT)).unwrap();
    engine
        .run(spec("near").label(label("near", "cidr_whitelist"), "allow: [127.0.0.1]\nstatus: 404\n"))
        .unwrap();
    engine
        .run(spec("doubled").label(label("doubled", "basic_auth.users.alice"), BCRYPT.replace('$', "$$")))
        .unwrap();
    engine.run(spec("slip").label(label("slip", "cidr_whitelst.allow"), "127.0.0.1")).unwrap();
    engine.run(spec("shown").label(label("shown", "basic_auth"), format!("alice:{BCRYPT}"))).unwrap();
    let proxy = Proxy::start(with_admin(config_with_engine(&engine.dir.socket())));
    proxy.get_until("near", |response| response.status == 200);
    assert_eq!(from("127.0.0.2", &proxy, get("near", "")).status, 404);
    assert_eq!(from("127.0.0.1", &proxy, get("login", "")).status, 401);
    assert_eq!(from("127.0.0.1", &proxy, get("login", &login("alice", "secret"))).status, 200);
    for name in ["doubled", "slip", "shown"] {
        let response = proxy.get(name, "/");
        assert!(response.status >= 500, "{name} is served: {response:?}");
        assert!(!response.text().contains("2y$"), "{response:?}");
    }
    let admin = proxy.admin.unwrap();
    let mut all = String::new();
    for page in ["/api/routes", "/api/problems", "/api/status", "/metrics"] {
        let mut client = Client::connect(admin);
        client.send(format!("GET {page} HTTP/1.1\r\nHost: {admin}\r\n\r\n"));
        all += &client.response().text();
    }
    for part in
        ["basic auth: 1 user", "only from 127.0.0.1/32", "did you mean `cidr_whitelist`?", "written once"]
    {
        let part = part.replace("written once", "write `$` once");
        assert!(all.contains(&part), "no {part} in {all}");
    }
    assert!(!all.contains("2y$") && !all.contains("abcdefghijklmnopqrstuu"), "a hash is shown: {all}");
}
