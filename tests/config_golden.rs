//! Golden cases: `tests/golden/config/*.txt` hold files, a line `-----`, and what the loader makes of them.
//!
//! Before the files, lines `env NAME=VALUE` make the environment and `http_addr VALUE` the command line. A
//! line `=== NAME` starts a file; the first one is loaded. `UPDATE_GOLDEN=1` writes what comes out.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use tidegate::config::{AccessLog, Config, FileChoice, ListenAddr, Loaded, Sources, load};
use tidegate::error::{Place, Problem};
use tidegate::route::{Settings, UpstreamTls};

const END: &str = "-----\n";

/// What a golden file holds.
struct Case {
    env: BTreeMap<String, String>,
    http_addr: Option<String>,
    files: Vec<(String, String)>,
    input: String,
    expected: String,
}

impl Case {
    fn parse(text: &str) -> Case {
        let (input, expected) = text.split_once(END).unwrap_or((text, ""));
        let mut case = Case {
            env: BTreeMap::new(),
            http_addr: None,
            files: Vec::new(),
            input: input.to_string(),
            expected: expected.to_string(),
        };
        for line in input.split_inclusive('\n') {
            if let Some(name) = line.strip_prefix("=== ") {
                case.files.push((name.trim().to_string(), String::new()));
            } else if let Some((_, body)) = case.files.last_mut() {
                body.push_str(line);
            } else if let Some((name, value)) = line.strip_prefix("env ").and_then(|l| l.split_once('=')) {
                case.env.insert(name.to_string(), value.trim_end().to_string());
            } else if let Some(value) = line.strip_prefix("http_addr ") {
                case.http_addr = Some(value.trim_end().to_string());
            } else {
                panic!("what is `{line}`?");
            }
        }
        case
    }

    /// Writes the files to `directory` and loads them; its path does not show in what comes out.
    fn run(&self, directory: &Path) -> String {
        for (name, body) in &self.files {
            let path = directory.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, body).unwrap();
        }
        let env = |name: &str| self.env.get(name).cloned();
        let file = match self.files.first() {
            Some((name, _)) => FileChoice::Explicit(directory.join(name)),
            None => FileChoice::Search(directory.to_path_buf()),
        };
        let loaded = load(&Sources { file, env: &env, http_addr: self.http_addr.clone() });
        let text = match loaded {
            Ok(loaded) => dump(&loaded),
            Err(problems) => lines(&problems),
        };
        text.replace(&format!("{}/", directory.display()), "")
    }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().fold(String::new(), |mut text, problem| {
        writeln!(text, "{problem}").unwrap();
        text
    })
}

fn dump(loaded: &Loaded) -> String {
    // Without a pattern `..`: a new field does not compile until it is shown.
    let Config {
        http_addr,
        http_addr_is_default,
        access_log,
        https_addr,
        tls,
        redirect_http,
        workers,
        workers_place,
        match_domains,
        entrypoint,
        timeout_shutdown,
        recreate_wait,
        engines,
        admin,
        admin_host,
        file_routes,
    } = &loaded.config;
    let mut text = String::from("ok\n");
    for listener in http_addr {
        let kind = if listener.dual_stack { " dual-stack" } else { "" };
        writeln!(text, "http_addr {}{kind} from {}", listener.addr, listener.place).unwrap();
    }
    writeln!(text, "http_addr_is_default {http_addr_is_default}").unwrap();
    access_log.iter().for_each(|log| dump_access_log(&mut text, log));
    for listener in https_addr {
        let kind = if listener.dual_stack { " dual-stack" } else { "" };
        writeln!(text, "https_addr {}{kind} from {}", listener.addr, listener.place).unwrap();
    }
    for pair in &tls.certs {
        let (cert, key) = (pair.cert_path.display(), pair.key_path.display());
        writeln!(text, "certificate {cert} from {} key {key} from {}", pair.place, pair.key_place).unwrap();
    }
    if let Some((name, place)) = &tls.default {
        writeln!(text, "default certificate {name} from {place}").unwrap();
    }
    if *redirect_http {
        text.push_str("redirect_http\n");
    }
    match workers {
        Some(workers) => writeln!(text, "workers {workers} from {workers_place}").unwrap(),
        None => writeln!(text, "workers None").unwrap(),
    }
    writeln!(text, "match_domains {match_domains:?}").unwrap();
    writeln!(text, "timeout_shutdown {timeout_shutdown:?}").unwrap();
    writeln!(text, "recreate_wait {recreate_wait:?}").unwrap();
    if *entrypoint != Default::default() {
        writeln!(text, "{entrypoint:?}").unwrap();
    }
    for engine in engines {
        let only = if engine.explicit_only { " explicit-only" } else { "" };
        let (stale, place) = (engine.on_stale_socket, &engine.place);
        writeln!(text, "engine {}{only} {} {stale:?} from {place}", engine.name, engine.url).unwrap();
    }
    dump_admin(&mut text, admin.as_ref(), admin_host.as_ref());
    file_routes.iter().for_each(|route| dump_route(&mut text, route));
    for file in &loaded.files {
        writeln!(text, "file {}", file.display()).unwrap();
    }
    for warning in &loaded.warnings {
        writeln!(text, "warning {warning}").unwrap();
    }
    text
}

fn dump_admin(text: &mut String, admin: Option<&ListenAddr>, host: Option<&(String, Place)>) {
    match admin {
        Some(listen) => writeln!(text, "admin {} from {}", listen.addr, listen.place).unwrap(),
        None => writeln!(text, "admin off").unwrap(),
    }
    if let Some((host, place)) = host {
        writeln!(text, "admin by {host} from {place}").unwrap();
    }
}

fn dump_access_log(text: &mut String, log: &AccessLog) {
    let AccessLog { path, stdout, format, filters, fields, rotation } = log;
    let path = path.as_ref().map(|path| path.display().to_string());
    writeln!(text, "access_log {path:?} stdout {stdout} {format:?}").unwrap();
    if *filters != Default::default() {
        writeln!(text, "access_log {filters:?}").unwrap();
    }
    if *fields != Default::default() {
        writeln!(text, "access_log {fields:?}").unwrap();
    }
    if *rotation != Default::default() {
        writeln!(text, "access_log {rotation:?}").unwrap();
    }
}

fn dump_route(text: &mut String, route: &Settings) {
    let (host, port) = (route.host.as_deref().unwrap_or("-"), route.port.unwrap_or(0));
    let scheme = route.scheme.map_or("-", |scheme| scheme.as_str());
    write!(text, "route {} {scheme} {host} {port}", route.alias).unwrap();
    if let Some(redirect) = route.redirect_http {
        write!(text, " redirect_http {redirect}").unwrap();
    }
    if route.tls != UpstreamTls::default() {
        let UpstreamTls { no_verify, server_name, trusted } = &route.tls;
        let trusted = trusted.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        write!(text, " no_verify {no_verify} server_name {server_name:?} trusted {trusted}").unwrap();
    }
    writeln!(text, " from {}", route.place).unwrap();
    if route.tuning != Default::default() {
        writeln!(text, "  {:?}", route.tuning).unwrap();
    }
    if let Some(access) = &route.access {
        writeln!(text, "  {access:?}").unwrap();
    }
}

#[test]
fn golden_cases() {
    let golden = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/config");
    let scratch = std::env::temp_dir().join(format!("tidegate-golden-{}", std::process::id()));
    let mut paths: Vec<PathBuf> = fs::read_dir(&golden).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let (mut cases, mut wrong) = (0, Vec::new());
    for path in paths.iter().filter(|path| path.extension().is_some_and(|ext| ext == "txt")) {
        let case = Case::parse(&fs::read_to_string(path).unwrap());
        let name = path.file_stem().unwrap();
        let actual = case.run(&scratch.join(name));
        cases += 1;
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(path, format!("{}{END}{actual}", case.input)).unwrap();
        } else if actual != case.expected {
            wrong.push(format!("{name:?}\n--- expected\n{}--- got\n{actual}", case.expected));
        }
    }
    fs::remove_dir_all(&scratch).unwrap();
    assert!(cases >= 10, "only {cases} golden cases were found");
    assert!(wrong.is_empty(), "{}\nUPDATE_GOLDEN=1 writes them anew", wrong.join("\n"));
}

#[test]
fn the_case_of_the_six_faults_has_six_in_two_files() {
    let golden = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/config/six-faults.txt");
    let case = Case::parse(&fs::read_to_string(golden).unwrap());
    let directory = std::env::temp_dir().join(format!("tidegate-six-{}", std::process::id()));
    case.run(&directory);
    let file = FileChoice::Explicit(directory.join("config.yml"));
    let problems = load(&Sources { file, env: &|_| None, http_addr: None }).unwrap_err();
    fs::remove_dir_all(&directory).unwrap();
    let files: Vec<&str> = problems
        .iter()
        .map(|problem| match &problem.place {
            Place::File { path, .. } => path.file_name().unwrap().to_str().unwrap(),
            other => panic!("{other} is no place in a file"),
        })
        .collect();
    assert_eq!(files, ["config.yml", "config.yml", "config.yml", "routes.yml", "routes.yml", "routes.yml"]);
}
