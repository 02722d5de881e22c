//! The admin API by a host of the data plane: off by default, and for clients on this machine alone.
#![allow(clippy::disallowed_methods)] // tests use std's sockets, threads and clock

mod common;
mod tls_support;

use common::fake::Dir;
use common::{Backend, Client, Proxy, Response, config, config_with_engine, wait_until, with_admin};
use rustls::version::TLS13;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use tidegate::config::{Config, ListenAddr};
use tidegate::docker::fake::{FakeEngine, Options, Page, Spec};
use tidegate::error::Place;
use tidegate::route::{ProxyMode, ProxyProtocol};
use tidegate::util::Cidr;
use tls_support::{Authority, https, trusting};

const HOST: &str = "admin.home.test";

fn with_way(config: Config) -> Config {
    Config { admin_host: Some((HOST.into(), Place::Default)), ..with_admin(config) }
}

fn ask(addr: SocketAddr, request: &str) -> Response {
    let mut client = Client::connect(addr);
    client.send(request);
    client.response_to(request.split(' ').next().unwrap())
}

fn get(proxy: &Proxy, path: &str, fields: &str) -> Response {
    ask(proxy.addr, &format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n"))
}

#[test]
fn by_default_no_host_leads_there() {
    let proxy = Proxy::start(with_admin(config(&[])));
    for host in [HOST, "localhost", "127.0.0.1", "admin"] {
        assert_eq!(proxy.get(host, "/healthz").status, 404, "{host}");
    }
}

#[test]
fn a_client_on_this_machine_is_answered() {
    let proxy = Proxy::start(with_way(config(&[])));
    let health = get(&proxy, "/healthz", "");
    assert_eq!((health.status, health.text().as_str()), (200, "ok\n"));
    assert_eq!(get(&proxy, "/api/routes", "").field("content-type"), Some("application/json"));
    assert!(get(&proxy, "/metrics", "").text().contains("tidegate_info"));
    assert_eq!(get(&proxy, "/nothing", "").status, 404);
    // Any case, any port, a last dot; and again on the same connection.
    let mut client = proxy.client();
    for host in ["ADMIN.home.Test", "admin.home.test:8443", "admin.home.test."] {
        client.send(format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(client.response().status, 200, "{host}");
    }
    let routes = get(&proxy, "/api/routes", "").text();
    assert!(routes.contains("the admin API (admin.host)"), "{routes}");
}

#[test]
fn it_is_the_whole_host_and_no_part_of_one() {
    let mut setup = with_way(config(&[]));
    setup.match_domains = vec!["home.test".into(), "evil.test".into()];
    for setup in [with_way(config(&[])), setup] {
        let proxy = Proxy::start(setup);
        for host in
            ["admin", "admin.evil.test", "admin.home.test.evil.test", "x.admin.home.test", "evil.test"]
        {
            assert_eq!(proxy.get(host, "/healthz").status, 404, "{host}");
        }
    }
}

#[test]
fn whoever_is_said_to_come_from_elsewhere_is_refused() {
    let mut trusting = with_way(config(&[]));
    trusting.entrypoint.trusted_proxies = vec![Cidr::parse("127.0.0.0/8").unwrap()];
    for (setup, who) in [(with_way(config(&[])), "a stranger"), (trusting, "a trusted proxy")] {
        let proxy = Proxy::start(setup);
        for fields in [
            "X-Forwarded-For: 192.0.2.7\r\n",
            "X-Forwarded-For: 127.0.0.1, 192.0.2.7\r\n",
            "X-Forwarded-For: 192.0.2.7, 127.0.0.1\r\n",
            "X-Forwarded-For: 127.0.0.1\r\nx-forwarded-for: 192.0.2.7\r\n",
            "X-Forwarded-For: unknown\r\n",
            "X-Real-IP: 192.0.2.7\r\n",
            "Forwarded: for=192.0.2.7\r\n",
            "Forwarded: for=127.0.0.1, for=\"[2001:db8::1]:80\"\r\n",
            "Forwarded: proto=https\r\n",
            "CF-Connecting-IP: 192.0.2.7\r\n",
            "Via: 1.1 hidden\r\n",
        ] {
            let answer = get(&proxy, "/api/routes", fields);
            assert_eq!(answer.status, 403, "{fields:?} of {who}");
            assert!(!answer.text().contains("alias"), "{}", answer.text());
        }
        for fields in [
            "X-Forwarded-For: 127.0.0.1\r\nVia: 1.1 here\r\n",
            "X-Forwarded-For: ::1, 127.0.0.1\r\nX-Real-IP: ::1\r\n",
            "Forwarded: for=\"[::1]:80\";proto=https\r\n",
        ] {
            assert_eq!(get(&proxy, "/healthz", fields).status, 200, "{fields:?} of {who}");
        }
    }
}

#[test]
fn whom_a_proxy_header_names_is_who_asks() {
    let mut setup = with_way(config(&[]));
    let trusted_proxies = vec![Cidr::parse("127.0.0.0/8").unwrap()];
    setup.entrypoint.proxy_protocol = ProxyProtocol { mode: ProxyMode::Mixed, trusted_proxies };
    let proxy = Proxy::start(setup);
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    for (header, status) in [
        ("", 200),
        ("PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n", 200),
        ("PROXY TCP4 192.0.2.7 127.0.0.1 1 2\r\n", 403),
        ("PROXY TCP6 2001:db8::7 ::1 1 2\r\n", 403),
    ] {
        let mut client = proxy.client();
        client.send(format!("{header}{request}"));
        assert_eq!(client.response().status, status, "{header:?}");
    }
}

/// An address of this machine that is not of the loopback. Nothing is sent to find it.
fn other_address() -> Option<SocketAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_loopback() && !ip.is_unspecified()).then(|| SocketAddr::new(ip, 0))
}

#[test]
fn a_connection_from_another_address_is_refused_whatever_it_says() {
    let Some(other) = other_address() else {
        eprintln!("SKIPPED: a_connection_from_another_address_...: this machine has the loopback alone");
        assert!(std::env::var_os("TIDEGATE_REQUIRE_ALL").is_none_or(|v| v != "1"), "nothing may be skipped");
        return;
    };
    let mut setup = with_way(config(&[]));
    setup.http_addr[0].addr = other;
    setup.entrypoint.trusted_proxies = vec![Cidr::parse("0.0.0.0/0").unwrap()];
    let proxy = Proxy::start(setup);
    for fields in ["", "X-Forwarded-For: 127.0.0.1\r\n", "X-Real-IP: ::1\r\nForwarded: for=127.0.0.1\r\n"] {
        assert_eq!(get(&proxy, "/healthz", fields).status, 403, "{fields:?}");
    }
}

#[test]
fn web_pages_may_not_change_anything() {
    let proxy = Proxy::start(with_way(config(&[])));
    let post = |host: &str, fields: &str| {
        let head = format!("POST /api/reload HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n{fields}\r\n");
        ask(proxy.addr, &head).status
    };
    // 501: this app has no reload; it is the page's own answer.
    assert_eq!(post(HOST, ""), 501);
    assert_eq!(post(HOST, "Origin: http://evil.test\r\n"), 403);
    assert_eq!(post(HOST, &format!("Origin: http://{HOST}\r\n")), 403);
    assert_eq!(post(HOST, "Sec-Fetch-Site: cross-site\r\n"), 403);
    assert_eq!(post("evil.test", ""), 404, "a name that is made to lead here");
    assert_eq!(get(&proxy, "/api/reload", "").status, 405);
    let put = format!("PUT /api/routes HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    assert_eq!(ask(proxy.addr, &put).status, 405);
}

#[test]
fn https_leads_there_too() {
    let authority = Authority::new();
    let dir = tls_support::Dir::new("admin-way");
    let pair = authority.write(&dir, "admin", &[HOST]);
    let proxy = Proxy::start(with_way(https(&[], vec![pair], None)));
    let mut client =
        tls_support::Client::connect(proxy.https[0], &Arc::new(trusting(&authority, &[&TLS13])), HOST);
    assert_eq!(client.get(HOST, "/healthz").1, b"ok\n");
}

#[test]
fn no_container_and_no_route_file_takes_its_place() {
    let dir = Dir::new();
    let engine = FakeEngine::start(Options::new(dir.socket())).expect("the fake engine starts");
    let label = |name: &'static str, aliases: &'static str| {
        Spec::new(name).page(Page::Hello).label("proxy.aliases", aliases)
    };
    engine.run(label("thief", HOST)).unwrap();
    // Where `home.test` is a domain, `admin` is the alias of this very host.
    engine.run(label("short", "admin")).unwrap();
    engine.run(label("wild", "*.home.test")).unwrap();
    // There is no label that opens the way.
    engine
        .run(label("opener", "opener").label("proxy.opener.admin", "true").label("proxy.admin.host", "x"))
        .unwrap();
    let file = Backend::answering(|_| "a route file".into());
    let mut setup = with_way(config_with_engine(&dir.socket()));
    setup.match_domains = vec!["home.test".into()];
    setup.file_routes = config(&[(HOST, file.addr)]).file_routes;
    let proxy = Proxy::start(setup);
    wait_until("the containers serve", || proxy.get("opener.home.test", "/").status == 200);
    assert_eq!(get(&proxy, "/healthz", "").text(), "ok\n");
    let problems = get(&proxy, "/api/problems", "").text();
    let taken = format!("alias `{HOST}` is already served by the admin API (admin.host)");
    assert_eq!(problems.matches(&taken).count(), 2, "the container and the file are told: {problems}");
    let healthy = proxy.get("opener.home.test", "/healthz").text();
    assert!(!healthy.starts_with("ok\n"), "a container's own page, not the admin API's");
}

#[test]
fn an_api_that_could_not_have_its_address_is_not_looked_for_there() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut setup = with_way(config(&[]));
    let addr = holder.local_addr().unwrap();
    setup.admin = Some(ListenAddr { addr, dual_stack: false, place: Place::Default });
    let proxy = Proxy::start(setup);
    let answer = get(&proxy, "/healthz", "");
    assert_eq!(answer.status, 502);
    assert!(answer.text().contains("its address is taken"), "{}", answer.text());
}
