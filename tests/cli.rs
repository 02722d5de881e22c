//! The program from outside: commands, exit codes, the order of command line, environment and file.
#![allow(clippy::disallowed_methods)] // tests use std's sockets, threads and clock

mod cli_support;
mod common;

use cli_support::{Home, Running, get, run, serve, text, tidegate};
use common::{Backend, Client, DEADLINE};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Instant;
use tidegate::access::Hash;

#[test]
fn help_and_version_say_what_they_should() {
    let help = run(&["help"]);
    assert!(help.status.success());
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/cli/help.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(golden, &help.stdout).unwrap();
    }
    assert_eq!(
        text(&help.stdout),
        std::fs::read_to_string(golden).unwrap(),
        "UPDATE_GOLDEN=1 writes it anew"
    );
    assert_eq!(text(&run(&["version"]).stdout), format!("tidegate {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_wrong_command_line_exits_64() {
    for args in [&["sevre"][..], &["serve", "--nope"], &["check", "a", "b"], &["serve", "--config"]] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(64), "{args:?}");
        assert!(text(&output.stderr).contains("tidegate help"), "{args:?}");
    }
}

#[test]
fn check_reports_all_problems_of_all_files_and_exits_64() {
    let dir = Home::new();
    dir.write("routes.yml", "app:\n  hots: 10.0.0.1\n  port: 70000\napp2: just text\n");
    let config = dir.write(
        "config.yml",
        "entrypoint:\n  http_adr: :80\nworkers: many\nworkers: 2\nproviders:\n  include: [routes.yml]\n",
    );
    for command in ["check", "serve"] {
        let output = run(&[command, "--config", config.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(64), "{command}");
        let text = text(&output.stderr).replace(&format!("{}/", dir.path().display()), "");
        let expected = include_str!("golden/cli/six-faults.txt");
        assert_eq!(text, expected, "{command} prints:\n{text}");
    }
}

#[test]
fn check_of_a_right_configuration_counts_what_it_found() {
    let dir = Home::new();
    let config = dir.config("", "127.0.0.1:9".parse().unwrap());
    let output = run(&["check", config.to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("ok (1 routes, 1 engines)"), "{}", text(&output.stdout));
}

#[test]
fn a_missing_file_that_was_named_is_a_problem() {
    let output = run(&["serve", "--config", "/nonexistent/tidegate.yml"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(text(&output.stderr).contains("/nonexistent/tidegate.yml"));
}

#[test]
fn serve_answers_and_sigterm_ends_it_with_0() {
    let backend = Backend::answering(|_| "from a file route".into());
    let dir = Home::new();
    let config = dir.config("entrypoint: {http_addr: \"127.0.0.1:0\"}\n", backend.addr);
    let mut running = Running::start(serve(&config));
    let addr = running.addr();
    assert_eq!(get(addr, "app.local").text(), "from a file route");
    assert_eq!(get(addr, "nobody.local").status, 404);
    running.signal("TERM");
    assert_eq!(running.exit_code(), Some(0));
}

#[test]
fn command_line_over_environment_over_file() {
    let dir = Home::new();
    // The file's address is no address of this machine: whoever takes it fails.
    let config = dir.config("entrypoint: {http_addr: \"192.0.2.1:80\"}\n", "127.0.0.1:9".parse().unwrap());
    let mut by_environment = serve(&config);
    by_environment.env("TIDEGATE_HTTP_ADDR", "127.0.0.1:0").env("GODOXY_HTTP_ADDR", "192.0.2.1:81");
    Running::start(by_environment).addr();
    let mut by_argument = serve(&config);
    by_argument.env("TIDEGATE_HTTP_ADDR", "192.0.2.1:82").args(["--http-addr", "127.0.0.1:0"]);
    Running::start(by_argument).addr();
    let mut by_old_name = tidegate();
    by_old_name.arg("serve").env("TIDEGATE_CONFIG", &config).env("GODOXY_HTTP_ADDR", "127.0.0.1:0");
    Running::start(by_old_name).addr();
    let output = serve(&config).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("192.0.2.1:80"), "{}", text(&output.stderr));
}

#[test]
fn a_taken_port_names_its_owner() {
    let dir = Home::new();
    let config = dir.config("entrypoint: {http_addr: \"127.0.0.1:0\"}\n", "127.0.0.1:9".parse().unwrap());
    let first = Running::start(serve(&config));
    let addr = first.addr();
    let output = serve(&config).args(["--http-addr", &addr.to_string()]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let line = text(&output.stderr);
    assert!(line.contains(&addr.to_string()) && line.contains(&first.child.id().to_string()), "{line}");
}

#[test]
fn connections_over_the_cap_are_answered_503_and_closed() {
    let backend = Backend::answering(|_| "ok".into());
    let dir = Home::new();
    let config = dir.config("entrypoint: {http_addr: \"127.0.0.1:0\"}\nworkers: 1\n", backend.addr);
    // 300 descriptors leave (300 - 256) / 2 connections.
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "ulimit -n 300 && exec \"$0\" serve --config \"$1\"",
        env!("CARGO_BIN_EXE_tidegate"),
    ]);
    let running = Running::start({
        command.arg(&config).env_remove("TIDEGATE_HTTP_ADDR").env_remove("RUST_LOG");
        command.env("TIDEGATE_ADMIN_ADDR", "off");
        command
    });
    let addr = running.addr();
    let mut kept: Vec<Client> = (0..22).map(|_| Client::connect(addr)).collect();
    for client in &mut kept {
        client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
        assert_eq!(client.response().status, 200);
    }
    let mut over = Client::connect(addr);
    let refused = over.response();
    assert_eq!((refused.status, refused.field("connection")), (503, Some("close")));
    running.line("too many connections");
    kept.pop();
    let deadline = Instant::now() + DEADLINE;
    while get(addr, "app").status != 200 {
        assert!(Instant::now() < deadline, "a place that was given back is not used");
    }
}

#[test]
fn the_demo_serves_its_containers() {
    let mut command = tidegate();
    command.args(["demo", "--http-addr", "127.0.0.1:0"]);
    let mut running = Running::start(command);
    let line = running.line("curl -H 'Host: whoami.localhost' http://");
    let addr = line.rsplit("http://").next().unwrap().trim_end_matches('/').parse().unwrap();
    let deadline = Instant::now() + DEADLINE;
    loop {
        let response = get(addr, "whoami.localhost");
        if response.status == 200 {
            assert_eq!(response.field("x-container"), Some("whoami"));
            break;
        }
        assert!(Instant::now() < deadline, "{response:?}");
    }
    assert_eq!(get(addr, "sleeper.localhost").status, 503);
    running.signal("INT");
    assert_eq!(running.exit_code(), Some(0));
}

#[test]
fn hash_takes_a_password_from_standard_input() {
    let run = |input: &[u8]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.arg("hash").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap()
    };
    let texts: Vec<String> = ["open sesame\n", "open sesame", "open sesame\r\nmore"]
        .iter()
        .map(|input| {
            let out = run(input.as_bytes());
            assert_eq!((out.status.code(), out.stderr.as_slice()), (Some(0), &b""[..]), "{out:?}");
            String::from_utf8(out.stdout).unwrap()
        })
        .collect();
    for text in &texts {
        let hash = Hash::parse(text.trim_end()).unwrap();
        assert!(hash.verify(b"open sesame") && !hash.verify(b"open sesame\n"), "{text}");
    }
    assert!(texts[0] != texts[1], "each has a salt of its own");
    for (input, part) in [(Vec::new(), "is empty"), (vec![b'x'; 72], "more than 71 bytes")] {
        let out = run(&input);
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!((out.status.code(), out.stdout.is_empty()), (Some(1), true), "{said}");
        assert!(said.contains(part), "{said}");
    }
}
