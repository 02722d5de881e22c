//! The commands that ask a running Tidegate.
#![allow(clippy::disallowed_methods)] // tests use std's sockets, threads and clock

mod cli_support;
mod common;

use cli_support::{Home, Running, run, serve, text, tidegate};
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Output, Stdio};

/// A running Tidegate with one file route, and where its admin API is.
fn running(home: &Home) -> (Running, String) {
    let config = home.config("entrypoint: {http_addr: \"127.0.0.1:0\"}\n", "192.0.2.7:81".parse().unwrap());
    let mut command = serve(&config);
    command.env("TIDEGATE_ADMIN_ADDR", "127.0.0.1:0");
    let running = Running::start(command);
    let line = running.line("admin API on http://");
    let addr = line.rsplit("http://").next().unwrap().trim().to_owned();
    (running, addr)
}

fn ask(args: &[&str], addr: &str) -> Output {
    tidegate().args(args).env("TIDEGATE_ADMIN_ADDR", addr).output().unwrap()
}

#[test]
fn routes_and_problems_are_printed() {
    let home = Home::new();
    let (_running, addr) = running(&home);
    let output = ask(&["routes"], &addr);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let printed = text(&output.stdout).replace(&format!("{}/", home.path().display()), "");
    let expected = "\
ALIAS  LEADS TO       SCHEME  FROM                           REACHED BY
app    192.0.2.7:81   http    route file routes.yml
    host: host of the route file; port: port of the route file; scheme: default
";
    let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(squeezed(&printed), squeezed(expected), "{printed}");
    let output = ask(&["routes", "--json"], &addr);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(json["routes"][0]["alias"], "app");
    assert_eq!(json["files"].as_array().unwrap().len(), 2);
    let output = ask(&["problems"], &addr);
    assert!(output.status.success());
    assert_eq!(text(&output.stdout), "no problems\n");
    // The argument stands over the environment.
    assert!(ask(&["routes", "--admin-addr", &addr], "127.0.0.1:1").status.success());
}

#[test]
fn healthcheck_is_an_exit_code() {
    let home = Home::new();
    let (running, addr) = running(&home);
    let output = ask(&["healthcheck"], &addr);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(0), "ok\n"));
    drop(running);
    let output = ask(&["healthcheck"], &addr);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(
        said.contains("no Tidegate answers") && said.contains(&addr) && said.contains("--admin-addr"),
        "{said}"
    );
}

#[test]
fn somebody_else_at_the_address_is_no_tidegate() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = { stream }.write_all(b"SSH-2.0-x\r\n");
        }
    });
    assert_eq!(ask(&["healthcheck"], &addr).status.code(), Some(1));
    assert_eq!(ask(&["routes"], &addr).status.code(), Some(1));
}

#[test]
fn the_configuration_says_where_to_ask() {
    let home = Home::new();
    let free: SocketAddr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let admin = format!("entrypoint: {{http_addr: \"127.0.0.1:0\"}}\nadmin: {{addr: \"{free}\"}}\n");
    let config = home.config(&admin, "192.0.2.7:81".parse().unwrap());
    let mut command = serve(&config);
    command.env_remove("TIDEGATE_ADMIN_ADDR");
    let running = Running::start(command);
    running.line(&format!("admin API on http://{free}"));
    let mut command = tidegate();
    command.args(["healthcheck", "--config"]).arg(&config).env_remove("TIDEGATE_ADMIN_ADDR");
    assert!(command.status().unwrap().success());
}

#[test]
fn off_and_foreign_addresses_are_said() {
    let output = ask(&["routes"], "off");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("is off"), "{}", text(&output.stderr));
    assert_eq!(run(&["routes", "--admin-addr", "192.0.2.1:80"]).status.code(), Some(64));
    let home = Home::new();
    let config = home.config("admin: {addr: \"0.0.0.0:8888\"}\n", "192.0.2.7:81".parse().unwrap());
    let output = tidegate().arg("check").arg(&config).output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert!(text(&output.stderr).contains("did you mean `127.0.0.1:8888`?"), "{}", text(&output.stderr));
}

#[test]
fn a_taken_admin_address_is_said_and_served_without() {
    let home = Home::new();
    let (first, addr) = running(&home);
    let config = home.config("entrypoint: {http_addr: \"127.0.0.1:0\"}\n", "192.0.2.7:81".parse().unwrap());
    let mut command = serve(&config);
    command.env("TIDEGATE_ADMIN_ADDR", &addr);
    let second = Running::start(command);
    let line = second.line("no admin API");
    assert!(line.contains(&addr) && line.contains(&first.child.id().to_string()), "{line}");
    second.line("listening on http://");
    // Who is asked there is the first.
    assert!(ask(&["healthcheck"], &addr).status.success());
}

#[test]
fn completions_are_printed_for_three_shells() {
    for (shell, parts) in [
        ("bash", ["complete -o filenames -F _tidegate tidegate", "routes", "--admin-addr"]),
        ("zsh", ["#compdef tidegate", "routes", "--admin-addr"]),
        ("fish", ["complete -c tidegate", "routes", "admin-addr"]),
    ] {
        let output = run(&["completions", shell]);
        assert!(output.status.success());
        let script = text(&output.stdout);
        for part in parts {
            assert!(script.contains(part), "{shell}: {part}\n{script}");
        }
    }
    assert_eq!(run(&["completions", "tcsh"]).status.code(), Some(64));
}

#[test]
fn bash_completes() {
    let script = text(&run(&["completions", "bash"]).stdout);
    let asked = |words: &str, index: usize| {
        let test = format!(
            "{script}\nCOMP_WORDS=({words})\nCOMP_CWORD={index}\n_tidegate\necho \"${{COMPREPLY[@]}}\"\n"
        );
        let mut bash =
            Command::new("bash").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("bash");
        bash.stdin.take().unwrap().write_all(test.as_bytes()).unwrap();
        text(&bash.wait_with_output().unwrap().stdout).trim().to_owned()
    };
    assert_eq!(asked("tidegate ro", 1), "routes");
    assert_eq!(asked("tidegate routes --j", 2), "--json");
    assert_eq!(asked("tidegate completions f", 2), "fish");
}
