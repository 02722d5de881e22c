//! The admin API from outside: what each page answers, by raw sockets.
#![allow(clippy::disallowed_methods)] // tests use std's sockets, threads and clock

mod common;

use common::fake::Dir;
use common::{Client, Proxy, Response, config, config_with_engine, wait_until, with_admin};
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpListener};
use tidegate::config::ListenAddr;
use tidegate::docker::fake::{FakeEngine, Options, Page, Spec};
use tidegate::error::Place;

fn ask(admin: SocketAddr, method: &str, path: &str) -> Response {
    let mut client = Client::connect(admin);
    client.send(format!("{method} {path} HTTP/1.1\r\nHost: {admin}\r\n\r\n"));
    client.response_to(method)
}

fn page(admin: SocketAddr, path: &str) -> Value {
    let answer = ask(admin, "GET", path);
    assert_eq!((answer.status, answer.field("content-type")), (200, Some("application/json")), "{answer:?}");
    serde_json::from_slice(&answer.body).expect("JSON")
}

fn engine(dir: &Dir) -> FakeEngine {
    FakeEngine::start(Options::new(dir.socket())).expect("the fake engine starts")
}

#[test]
fn health_and_readiness() {
    let dir = Dir::new();
    let engine = engine(&dir);
    engine.run(Spec::new("app").page(Page::Hello)).unwrap();
    let proxy = Proxy::start(with_admin(config_with_engine(&dir.socket())));
    let admin = proxy.admin.unwrap();
    let health = ask(admin, "GET", "/healthz");
    assert_eq!((health.status, health.text().as_str()), (200, "ok\n"));
    assert_eq!(health.field("cache-control"), Some("no-store"));
    wait_until("it is ready", || ask(admin, "GET", "/readyz").status == 200);
}

#[test]
fn an_engine_that_is_there_and_not_listed_yet_is_waited_for() {
    let dir = Dir::new();
    let engine = engine(&dir);
    // Fails for longer than the test takes.
    engine.fail(tidegate::docker::fake::Call::List, 500, 1_000);
    let proxy = Proxy::start(with_admin(config_with_engine(&dir.socket())));
    let admin = proxy.admin.unwrap();
    wait_until("it is not ready", || ask(admin, "GET", "/readyz").text().contains("unverified"));
    let answer = ask(admin, "GET", "/readyz");
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("engine local"), "{}", answer.text());
    engine.fail(tidegate::docker::fake::Call::List, 500, 0);
    wait_until("it is ready", || ask(admin, "GET", "/readyz").status == 200);
}

#[test]
fn an_engine_that_cannot_be_reached_is_not_waited_for() {
    let dir = Dir::new();
    let proxy = Proxy::start(with_admin(config_with_engine(&dir.socket())));
    let admin = proxy.admin.unwrap();
    wait_until("it is ready", || ask(admin, "GET", "/readyz").status == 200);
    let engines = page(admin, "/api/engines");
    assert_eq!(engines["engines"][0]["name"], "local");
    assert_eq!(engines["engines"][0]["listed"], false);
    assert_eq!(engines["engines"][0]["url"], format!("unix://{}", dir.socket().display()));
}

#[test]
fn engines_say_what_they_are() {
    let dir = Dir::new();
    let engine = engine(&dir);
    let proxy = Proxy::start(with_admin(config_with_engine(&dir.socket())));
    let admin = proxy.admin.unwrap();
    let local = || page(admin, "/api/engines")["engines"][0].clone();
    wait_until("it has said", || !local()["version"].is_null());
    assert_eq!((&local()["version"], &local()["api_version"]), (&json!("20.10.24"), &json!("1.41")));
    assert_eq!(local()["system"], "Tidegate's fake engine");
    assert!(local()["architecture"].as_str().is_some_and(|word| !word.is_empty()), "{}", local());
    let metric = "tidegate_engine_info{engine=\"local\",version=\"20.10.24\",api_version=\"1.41\",\
                  system=\"Tidegate's fake engine\"} 1\n";
    let text = ask(admin, "GET", "/metrics").text();
    assert!(text.contains(metric), "{text}");
    drop(engine);
}

#[test]
fn routes_say_what_is_served_and_why() {
    let dir = Dir::new();
    let engine = engine(&dir);
    let app = engine.run(Spec::new("app").page(Page::Hello).label("proxy.aliases", "web")).unwrap();
    engine.create(Spec::new("sleeper").page(Page::Hello));
    engine.run(Spec::new("hidden").page(Page::Hello).label("proxy.exclude", "true")).unwrap();
    let mut setup = with_admin(config_with_engine(&dir.socket()));
    setup.file_routes = config(&[("nas", "192.0.2.9:5000".parse().unwrap())]).file_routes;
    let proxy = Proxy::start(setup);
    let admin = proxy.admin.unwrap();
    wait_until("it is ready", || ask(admin, "GET", "/readyz").status == 200);
    let answer = page(admin, "/api/routes");
    let routes = answer["routes"].as_array().unwrap();
    let named = |alias: &str| routes.iter().find(|route| route["alias"] == alias).expect("a route");

    let web = named("web");
    let target = json!({ "does": "serve", "host": app.ip.unwrap().to_string(), "port": app.port });
    assert_eq!(web["target"], target);
    assert_eq!(
        (&web["container"], &web["engine"], &web["state"]),
        (&json!("app"), &json!("local"), &json!("running"))
    );
    assert_eq!((&web["scheme"], &web["network"]), (&json!("http"), &json!("bridge")));
    assert_eq!(web["why"]["host"], "address on network bridge");
    assert!(web["why"]["port"].is_string(), "{web}");

    let sleeper = named("sleeper");
    assert_eq!((&sleeper["target"]["does"], &sleeper["target"]["status"]), (&json!("refuse"), &json!(503)));
    assert!(sleeper["target"]["reason"].as_str().unwrap().contains("created but not started"), "{sleeper}");

    let nas = named("nas");
    assert_eq!(nas["target"], json!({ "does": "serve", "host": "192.0.2.9", "port": 5000 }));
    assert!(nas["engine"].is_null() && nas["origin"].as_str().unwrap().starts_with("route file"), "{nas}");

    let hidden = json!({
        "container": "hidden", "engine": "local", "alias": null, "reason": "manual: label proxy.exclude",
    });
    assert_eq!(answer["excluded"], json!([hidden]));
}

#[test]
fn problems_have_places_and_hints() {
    let dir = Dir::new();
    let engine = engine(&dir);
    engine.run(Spec::new("app").page(Page::Hello).label("proxy.app.prot", "80")).unwrap();
    let proxy = Proxy::start(with_admin(config_with_engine(&dir.socket())));
    let admin = proxy.admin.unwrap();
    wait_until("it is ready", || ask(admin, "GET", "/readyz").status == 200);
    let answer = page(admin, "/api/problems");
    let problem = &answer["problems"][0];
    assert_eq!(
        (&problem["container"], &problem["label"]),
        (&json!("app"), &json!("proxy.app.prot")),
        "{answer}"
    );
    assert!(problem["hint"].as_str().unwrap().contains("port"), "{answer}");
}

#[test]
fn metrics_are_prometheus_text() {
    let dir = Dir::new();
    let _engine = engine(&dir);
    let proxy = Proxy::start(with_admin(config_with_engine(&dir.socket())));
    let admin = proxy.admin.unwrap();
    wait_until("the engine is up", || {
        ask(admin, "GET", "/metrics")
            .text()
            .contains("tidegate_engine_state{engine=\"local\",state=\"ready\"} 1")
    });
    let answer = ask(admin, "GET", "/metrics");
    assert_eq!(answer.field("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    for name in ["tidegate_connections_refused_total", "tidegate_problems", "tidegate_routes"] {
        assert!(answer.text().contains(&format!("# TYPE {name} ")), "{name}");
    }
}

#[test]
fn thousands_of_routes_come_whole() {
    let aliases: Vec<String> = (0..5_000).map(|i| format!("route-number-{i}")).collect();
    let routes: Vec<(&str, SocketAddr)> =
        aliases.iter().map(|alias| (alias.as_str(), "192.0.2.1:80".parse().unwrap())).collect();
    let proxy = Proxy::start(with_admin(config(&routes)));
    let answer = page(proxy.admin.unwrap(), "/api/routes");
    assert_eq!(answer["routes"].as_array().unwrap().len(), 5_000);
}

#[test]
fn a_taken_address_is_a_problem_and_not_a_stop() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = ListenAddr { addr: holder.local_addr().unwrap(), dual_stack: false, place: Place::Default };
    let backend = common::Backend::answering(|_| "serves".into());
    let mut setup = config(&[("app", backend.addr)]);
    setup.admin = Some(taken);
    let proxy = Proxy::start(setup);
    assert_eq!(proxy.admin, None);
    assert_eq!(proxy.get("app", "/").text(), "serves");
}

#[test]
fn two_in_one_process_answer_for_themselves() {
    let first = Proxy::start(with_admin(config(&[("one", "192.0.2.1:80".parse().unwrap())])));
    let second = Proxy::start(with_admin(config(&[("two", "192.0.2.1:80".parse().unwrap())])));
    let alias = |proxy: &Proxy| page(proxy.admin.unwrap(), "/api/routes")["routes"][0]["alias"].clone();
    assert_eq!((alias(&first), alias(&second)), (json!("one"), json!("two")));
    let gone = first.admin.unwrap();
    first.stop();
    assert!(std::net::TcpStream::connect(gone).is_err(), "a stopped one still listens");
    assert_eq!(alias(&second), "two");
}
