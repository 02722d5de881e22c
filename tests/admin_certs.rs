//! The certificates as the admin API, the metrics and `tidegate certs` show them.
#![allow(clippy::disallowed_methods)] // tests use std's sockets, threads and clock

mod cli_support;
mod common;
mod tls_support;

use cli_support::{Home, Running, serve, text, tidegate};
use common::{Client, Proxy, config, wait_until, with_admin};
use serde_json::{Value, json};
use std::net::SocketAddr;
use tidegate::util::wall_clock::{self, WallTime};
use tls_support::{Authority, Dir, https, write};

fn ask(admin: SocketAddr, path: &str) -> String {
    let mut client = Client::connect(admin);
    client.send(format!("GET {path} HTTP/1.1\r\nHost: {admin}\r\n\r\n"));
    let answer = client.response();
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.text()
}

fn page(admin: SocketAddr, path: &str) -> Value {
    serde_json::from_str(&ask(admin, path)).expect("JSON")
}

/// The day that is so many days from now.
fn day(from_now: u64) -> (i32, u8, u8) {
    let seconds = wall_clock::now().seconds + from_now * 86_400;
    let civil = WallTime { seconds, millis: 0 }.civil();
    (civil.year as i32, civil.month, civil.day)
}

#[test]
fn each_certificate_is_shown_with_what_it_serves() {
    let (dir, authority) = (Dir::new("admin-certs"), Authority::new());
    let first = authority.write(&dir, "first", &["one.test", "*.wild.test"]);
    let second = authority.write(&dir, "second", &["one.test", "two.test"]);
    let mut setup = with_admin(https(&[], vec![first.clone(), second], Some("two.test")));
    std::fs::write(dir.0.join("ca.crt"), &authority.pem).unwrap();
    setup.file_routes = config(&[("nas", "192.0.2.9:443".parse().unwrap())]).file_routes;
    setup.file_routes.extend(config(&[("pve", "192.0.2.9:443".parse().unwrap())]).file_routes);
    for (route, file) in setup.file_routes.iter_mut().zip(["ca.crt", "none.crt"]) {
        route.scheme = Some(tidegate::route::Scheme::Https);
        route.tls.trusted = Some(dir.0.join(file));
    }
    let proxy = Proxy::start(setup);
    let admin = proxy.admin.unwrap();
    let answer = page(admin, "/api/certs");
    assert_eq!((&answer["generation"], &answer["refused"]), (&json!(1), &json!([])), "{answer}");
    assert!(answer["loaded_at"].as_str().unwrap().starts_with("20"), "{answer}");
    let [one, two] = answer["certificates"].as_array().unwrap().as_slice() else { panic!("{answer}") };
    assert_eq!(one["certificate"], first.cert_path.display().to_string());
    assert_eq!(one["key"], first.key_path.display().to_string());
    assert_eq!(one["serves"], json!(["one.test", "*.wild.test"]));
    assert_eq!((&one["default"], &two["default"]), (&json!(false), &json!(true)));
    assert_eq!(
        (&two["names"], &two["serves"]),
        (&json!(["one.test", "two.test"]), &json!(["two.test"])),
        "the first of two serves a name"
    );
    assert_eq!(one["not_before"], "2020-01-01T00:00:00Z");
    assert_eq!(one["not_after"], "2040-01-01T00:00:00Z");
    let seconds = 2_208_988_800 - wall_clock::now().unix();
    assert!([0, 1].contains(&(one["days_left"].as_i64().unwrap() - seconds / 86_400).abs()), "{one}");
    let authority = json!("CN=an authority of the tests");
    assert_eq!((&one["subject"], &one["issuer"]), (&json!("CN=rcgen self signed cert"), &authority));
    assert_eq!(one["refused"], Value::Null);

    let [ca, none] = answer["trusted"].as_array().unwrap().as_slice() else { panic!("{answer}") };
    assert_eq!((&ca["routes"], &ca["error"]), (&json!(["nas"]), &Value::Null), "{answer}");
    assert_eq!(ca["certificates"][0]["subject"], authority);
    assert_eq!(none["routes"], json!(["pve"]));
    assert!(none["error"].as_str().unwrap().contains("none.crt can't be read"), "{answer}");
    let metric = format!(
        "tidegate_certificate_expiry_timestamp_seconds{{certificate=\"{}\"}} 2208988800\n",
        first.cert_path.display()
    );
    assert!(ask(admin, "/metrics").contains(&metric), "no {metric}");
}

#[test]
fn without_certificates_the_page_is_empty() {
    let proxy = Proxy::start(with_admin(config(&[])));
    let answer = page(proxy.admin.unwrap(), "/api/certs");
    assert_eq!((&answer["certificates"], &answer["trusted"]), (&json!([]), &json!([])));
}

#[test]
fn what_expires_soon_is_a_problem_until_it_is_renewed() {
    let (dir, authority) = (Dir::new("admin-soon"), Authority::new());
    let soon = write(&dir, "soon", &authority.issue_until_day(&["soon.test"], day(5)));
    let over = write(&dir, "over", &authority.issue_until(&["over.test"], 2021));
    let later = write(&dir, "later", &authority.issue_until_day(&["later.test"], day(16)));
    let proxy = Proxy::start(with_admin(https(&[], vec![soon.clone(), over, later], None)));
    let admin = proxy.admin.unwrap();
    let problems = || page(admin, "/api/problems")["problems"].clone();
    wait_until("the problems", || problems().as_array().unwrap().len() == 2);
    let said = problems().to_string();
    assert!(said.contains("over.crt expired at 2021-01-01T00:00:00Z"), "{said}");
    let (year, month, date) = day(5);
    let end = format!("soon.crt expires at {year}-{month:02}-{date:02}T00:00:00Z, in less than 14 days");
    assert!(said.contains(&end), "{said}");
    assert_eq!(page(admin, "/api/certs")["certificates"][1]["days_left"].as_i64().unwrap().signum(), -1);
    assert!(ask(admin, "/metrics").contains("tidegate_problems 2\n"));
    let (cert, key) = authority.issue(&["soon.test"]);
    std::fs::write(&soon.cert_path, cert).unwrap();
    std::fs::write(&soon.key_path, key).unwrap();
    wait_until("one is mended", || problems().as_array().unwrap().len() == 1);
    assert!(problems().to_string().contains("over.crt"), "{}", problems());
    assert_eq!(page(admin, "/api/certs")["generation"], 2);
}

#[test]
fn a_pair_that_does_not_fit_is_shown_beside_the_one_that_serves() {
    let (dir, authority) = (Dir::new("admin-refused"), Authority::new());
    let good = authority.write(&dir, "good", &["good.test"]);
    let pair = authority.write(&dir, "app", &["app.test"]);
    let proxy = Proxy::start(with_admin(https(&[], vec![good, pair.clone()], None)));
    let admin = proxy.admin.unwrap();
    let served = page(admin, "/api/certs")["certificates"][1].clone();
    let (cert, key) = authority.issue_until(&["app.test"], 2041);
    std::fs::write(&pair.cert_path, cert).unwrap();
    wait_until("it is refused", || !page(admin, "/api/certs")["certificates"][1]["refused"].is_null());
    let answer = page(admin, "/api/certs");
    let why = answer["certificates"][1]["refused"].as_str().unwrap().to_owned();
    assert!(why.contains("app.key does not fit the certificate in"), "{why}");
    assert_eq!(answer["certificates"][0]["refused"], Value::Null);
    assert_eq!(answer["certificates"][1]["not_after"], served["not_after"], "the former one goes on");
    assert_eq!(answer["refused"][0]["message"], why);
    wait_until("it is a problem", || {
        page(admin, "/api/problems").to_string().contains("the former certificates go on serving")
    });
    std::fs::write(&pair.key_path, key).unwrap();
    wait_until("the new one serves", || page(admin, "/api/certs")["generation"] == 2);
    let answer = page(admin, "/api/certs");
    assert_eq!(answer["certificates"][1]["not_after"], "2041-01-01T00:00:00Z");
    assert_eq!((&answer["refused"], &answer["certificates"][1]["refused"]), (&json!([]), &Value::Null));
    wait_until("it is mended", || page(admin, "/api/problems")["problems"] == json!([]));
}

#[test]
fn the_command_prints_them() {
    let (home, authority) = (Home::new(), Authority::new());
    let (cert, key) = authority.issue(&["app.test", "www.app.test"]);
    home.write("app.crt", &cert);
    home.write("app.key", &key);
    let config = home.config(
        "entrypoint: {http_addr: \"127.0.0.1:0\", https_addr: \"127.0.0.1:0\"}\n\
         tls: {cert_path: app.crt, key_path: app.key, default: app.test}\n",
        "192.0.2.7:81".parse().unwrap(),
    );
    let mut command = serve(&config);
    command.env("TIDEGATE_ADMIN_ADDR", "127.0.0.1:0");
    let running = Running::start(command);
    let line = running.line("admin API on http://");
    let addr = line.rsplit("http://").next().unwrap().trim().to_owned();
    let ask = |args: &[&str]| {
        let output = tidegate().args(args).env("TIDEGATE_ADMIN_ADDR", &addr).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let printed = ask(&["certs"]);
    let mut lines = printed.lines();
    assert!(lines.next().unwrap().starts_with("SERVES"), "{printed}");
    let line = lines.next().unwrap();
    assert!(line.starts_with("app.test, www.app.test (default)  2040-01-01T00:00:00Z"), "{printed}");
    assert!(lines.next().unwrap().ends_with("/app.crt"), "{printed}");
    let json: Value = serde_json::from_str(&ask(&["certs", "--json"])).expect("JSON");
    let place = json["certificates"][0]["place"].as_str().unwrap();
    assert!(place.ends_with("config.yml:6:18: tls.cert_path"), "{place}");
}
