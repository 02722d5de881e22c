//! Reload without loss, seen from outside: the real binary, its files, its log and its clients.
#![allow(clippy::disallowed_methods)] // tests use std's sockets, threads and clock

mod common;
mod reload_support;

use common::fake::{Dir, engine};
use common::{Backend, Client, DEADLINE, wait_until};
use reload_support::{ANY, EndGuard, Served, free_port, main_file, replace, routes, status};
use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tidegate::app::{App, End, Origin};
use tidegate::config::FileChoice;
use tidegate::docker::fake::{Page, Spec};

#[test]
fn sighup_changes_routes_and_leaves_the_others_alone() {
    let (dir, kept, other) =
        (Dir::new(), Backend::answering(|_| "ok".into()), Backend::answering(|_| "".into()));
    fs::write(dir.0.join("c.yml"), main_file(ANY, "")).unwrap();
    let file = dir.0.join("routes.yml");
    fs::write(&file, routes(&[("kept", kept.addr)])).unwrap();
    let served = Served::start(&dir.0, "c.yml");
    let mut client = Client::connect(served.addr);
    let mut ask = || {
        client.send("GET / HTTP/1.1\r\nHost: kept\r\n\r\n");
        assert_eq!(client.response().status, 200);
    };
    ask();
    assert_eq!(served.status("added"), 404);
    replace(&file, &routes(&[("added", other.addr), ("kept", kept.addr)]));
    served.reload();
    assert_eq!(served.status("added"), 200);
    ask();
    replace(&file, &routes(&[("kept", kept.addr)]));
    served.reload();
    assert_eq!(served.status("added"), 404);
    ask();
    assert_eq!(kept.connections(), 1, "the upstream connection of the unchanged route stayed open");
    served.reload();
    served.wait_log("reloaded (asked for): nothing has changed");
}

#[test]
fn a_bad_file_keeps_the_running_configuration_and_is_told_once_with_places() {
    let (dir, backend) = (Dir::new(), Backend::answering(|_| "ok".into()));
    let (main, file) = (dir.0.join("c.yml"), dir.0.join("routes.yml"));
    fs::write(&main, main_file(ANY, "")).unwrap();
    fs::write(&file, routes(&[("app", backend.addr)])).unwrap();
    let served = Served::start(&dir.0, "c.yml");
    fs::write(&file, "app: {prot: 80}\nother: {port: many}\n").unwrap();
    served.wait_log("not reloaded (files have changed; problems: 2)");
    assert_eq!(served.status("app"), 200);
    assert!(served.log().contains("routes.yml:1:7: app.prot: "), "{}", served.log());
    assert!(served.log().contains("routes.yml:2:15: other.port: "), "{}", served.log());
    served.reload();
    served.wait_log("the same problems as before");
    assert_eq!(served.count("routes.yml:1:7:"), 1);
    fs::write(&main, "entrypoint: [").unwrap();
    served.wait_log("c.yml:1:");
    assert_eq!(served.status("app"), 200);
    // Mended in the reverse order: what is included is watched though the main file doesn't say so now.
    fs::write(&file, routes(&[("new", backend.addr)])).unwrap();
    fs::write(&main, main_file(ANY, "")).unwrap();
    served.wait_status("new", 200);
    assert_eq!(served.status("app"), 404);
}

#[test]
fn a_change_of_any_file_is_seen_however_it_is_made() {
    let (dir, backend) = (Dir::new(), Backend::answering(|_| "ok".into()));
    let at = |name: &str| dir.0.join(name);
    let text = |aliases: &[&str]| {
        let all: Vec<_> = aliases.iter().map(|alias| (*alias, backend.addr)).collect();
        routes(&all)
    };
    for version in ["v1", "v2"] {
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("mounted.yml"), text(&[&format!("mounted-{version}")])).unwrap();
    }
    fs::create_dir(at("more")).unwrap();
    // As in a volume of Kubernetes: the file is a link through `..data`, which is swapped.
    fs::create_dir(at("volume")).unwrap();
    symlink("../v1", at("volume/..data")).unwrap();
    symlink("..data/mounted.yml", at("volume/mounted.yml")).unwrap();
    fs::write(at("plain.yml"), text(&["plain"])).unwrap();
    let main = format!(
        "entrypoint: {{http_addr: {ANY}}}\nworkers: 1\n\
         providers: {{docker: {{}}, include: [plain.yml, volume/mounted.yml, \"more/*.yml\"]}}\n"
    );
    fs::write(at("c.yml"), &main).unwrap();
    let served = Served::start(&dir.0, "c.yml");
    assert_eq!((served.status("plain"), served.status("mounted-v1")), (200, 200));

    fs::write(at("plain.yml"), text(&["in-place"])).unwrap();
    served.wait_status("in-place", 200);
    replace(&at("plain.yml"), &text(&["renamed"]));
    served.wait_status("renamed", 200);
    symlink("../v2", at("volume/..new")).unwrap();
    fs::rename(at("volume/..new"), at("volume/..data")).unwrap();
    served.wait_status("mounted-v2", 200);
    assert_eq!(served.status("mounted-v1"), 404);
    fs::write(at("v2/mounted.yml"), text(&["behind-the-link"])).unwrap();
    served.wait_status("behind-the-link", 200);
    // As a file that is mounted alone: written in place, under a name elsewhere.
    fs::hard_link(at("plain.yml"), at("v1/elsewhere.yml")).unwrap();
    fs::write(at("v1/elsewhere.yml"), text(&["from-elsewhere"])).unwrap();
    served.wait_status("from-elsewhere", 200);
    fs::write(at("more/b.yml"), text(&["globbed"])).unwrap();
    served.wait_status("globbed", 200);
    fs::remove_file(at("more/b.yml")).unwrap();
    served.wait_status("globbed", 404);
    replace(&at("c.yml"), &main.replace("plain.yml, ", ""));
    served.wait_status("from-elsewhere", 404);

    // Gone for a moment: an editor that moves the old file away first.
    fs::rename(at("c.yml"), at("c.yml.bak")).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    fs::rename(at("c.yml.bak"), at("c.yml")).unwrap();
    // Touched, and rewritten with the same words.
    let reloads = served.count("reloaded");
    fs::write(at("c.yml"), main.replace("plain.yml, ", "")).unwrap();
    std::thread::sleep(Duration::from_millis(900));
    assert_eq!(served.count("reloaded"), reloads, "nothing to say:\n{}", served.log());
}

#[test]
fn a_route_that_is_taken_out_and_put_back_serves_at_once() {
    let dir = Dir::new();
    let (let_go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let backend = Backend::start(move |mut conn| {
        while let Some(request) = conn.request() {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha");
            if request.line().contains("/slow") {
                let _ = wait.lock().unwrap().recv_timeout(DEADLINE);
            }
            conn.send("lf");
        }
    });
    let file = dir.0.join("routes.yml");
    fs::write(dir.0.join("c.yml"), main_file(ANY, "").replace("workers: 2", "workers: 1")).unwrap();
    fs::write(&file, routes(&[("app", backend.addr)])).unwrap();
    let served = Served::start(&dir.0, "c.yml");
    let mut slow = Client::connect(served.addr);
    slow.send("GET /slow HTTP/1.1\r\nHost: app\r\n\r\n");
    assert!(slow.head().starts_with("HTTP/1.1 200"));
    for _ in 0..3 {
        replace(&file, "");
        served.reload();
        assert_eq!(served.status("app"), 404);
        replace(&file, &routes(&[("app", backend.addr)]));
        served.reload();
        assert_eq!(served.status("app"), 200);
    }
    let_go.send(()).unwrap();
    assert_eq!(slow.exactly(4), b"half", "the answer under way went on");
}

#[test]
fn whoever_embeds_it_is_told_what_a_reload_did() {
    let (dir, backend) = (Dir::new(), Backend::answering(|_| "ok".into()));
    let file = dir.0.join("c.yml");
    fs::write(&file, main_file(ANY, "")).unwrap();
    fs::write(dir.0.join("routes.yml"), "").unwrap();
    let origin = Origin { file: FileChoice::Explicit(file.clone()), env: BTreeMap::new(), http_addr: None };
    let app =
        App::start_reloadable(origin.attempt().result.unwrap(), origin).unwrap_or_else(|e| panic!("{e}"));
    let (reloader, ender, addr) = (app.reloader(), app.ender(), app.addrs()[0]);
    let thread = std::thread::spawn(move || app.run());
    let summary = reloader.reload().unwrap();
    assert!(!summary.changed, "{summary:?}");
    fs::write(dir.0.join("routes.yml"), routes(&[("app", backend.addr)])).unwrap();
    fs::write(&file, main_file(&format!("{ANY}, {ANY}"), "")).unwrap();
    let summary = reloader.reload().unwrap();
    assert_eq!((summary.changed, summary.file_routes), (true, 1));
    assert_eq!((summary.listeners_opened.len(), summary.listeners_closed.len()), (1, 0));
    assert_eq!((status(addr, "app"), status(summary.listeners_opened[0], "app")), (200, 200));
    fs::write(&file, "workers: none\nworker: 1\n").unwrap();
    let problems = reloader.reload().unwrap_err();
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].to_string().contains("c.yml:1:10: workers: "), "{}", problems[0]);
    // Several at once are answered, all of them.
    let threads: Vec<_> =
        (0..8).map(|_| reloader.clone()).map(|r| std::thread::spawn(move || r.reload())).collect();
    assert!(threads.into_iter().all(|thread| thread.join().unwrap() == Err(problems.clone())));
    ender.send(End::Asked).unwrap();
    thread.join().unwrap().unwrap();
    assert!(reloader.reload().is_err(), "it has ended");
}

#[test]
fn a_configuration_from_a_pipe_is_read_once() {
    let dir = Dir::new();
    let pipe = dir.0.join("c.yml");
    if !Command::new("mkfifo").arg(&pipe).status().is_ok_and(|status| status.success()) {
        assert!(std::env::var_os("TIDEGATE_REQUIRE_ALL").is_none(), "no mkfifo");
        eprintln!("SKIPPED: a_configuration_from_a_pipe_is_read_once: no mkfifo");
        return;
    }
    let writer = std::thread::spawn({
        let pipe = pipe.clone();
        move || fs::write(pipe, format!("entrypoint: {{http_addr: {ANY}}}\nproviders: {{docker: {{}}}}\n"))
    });
    let served = Served::start(&dir.0, "c.yml");
    writer.join().unwrap().unwrap();
    assert_eq!(served.count("eloaded"), 0, "{}", served.log());
    served.reload();
    served.wait_log("there is no configuration file to read again");
    assert_eq!(served.status("app"), 404);
}

#[test]
fn listeners_come_and_go_without_a_lost_connection() {
    let (dir, backend) = (Dir::new(), Backend::answering(|_| "ok".into()));
    let port = free_port();
    let with = main_file(&format!("{ANY}, \"127.0.0.1:{port}\""), "");
    let main = dir.0.join("c.yml");
    fs::write(&main, main_file(ANY, "")).unwrap();
    fs::write(dir.0.join("routes.yml"), routes(&[("app", backend.addr)])).unwrap();
    let served = Served::start(&dir.0, "c.yml");
    let addr = SocketAddr::from(([127, 0, 0, 1], port));
    let (ending, tried, answered) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !ending.load(Ordering::Relaxed) {
                    // Refused is no loss: nobody listens. What is connected must be answered.
                    let Ok(stream) = TcpStream::connect(addr) else {
                        tried.fetch_add(1, Ordering::Relaxed);
                        continue;
                    };
                    let mut client = Client::over(stream);
                    client.send("GET / HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n");
                    assert_eq!(client.response().status, 200);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let done = EndGuard(&ending);
        for _ in 0..10 {
            replace(&main, &with);
            served.reload();
            let mut kept = Client::connect(addr);
            let before = answered.load(Ordering::Relaxed);
            wait_until("some answers", || answered.load(Ordering::Relaxed) > before + 20);
            replace(&main, &main_file(ANY, ""));
            served.reload();
            assert!(TcpStream::connect(addr).is_err(), "nobody listens there");
            kept.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
            assert_eq!(kept.response().status, 200, "a connection outlives its listener");
        }
        drop(done);
    });
    eprintln!("{} answered, {} refused", answered.into_inner(), tried.into_inner());
}

#[test]
fn a_taken_port_refuses_the_whole_reload() {
    let (dir, backend) = (Dir::new(), Backend::answering(|_| "ok".into()));
    let main = dir.0.join("c.yml");
    fs::write(&main, main_file(ANY, "")).unwrap();
    fs::write(dir.0.join("routes.yml"), routes(&[("app", backend.addr)])).unwrap();
    let served = Served::start(&dir.0, "c.yml");
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap();
    fs::write(dir.0.join("routes.yml"), routes(&[("new", backend.addr)])).unwrap();
    fs::write(&main, main_file(&format!("{ANY}, \"{taken}\""), "")).unwrap();
    served.reload();
    assert!(served.log().contains(&format!("{taken} is taken by ")), "{}", served.log());
    assert_eq!((served.status("app"), served.status("new")), (200, 404));
    drop(other);
    served.reload();
    assert_eq!((served.status("app"), served.status("new")), (404, 200));
    assert_eq!(status(taken, "new"), 200);
}

#[test]
fn an_address_becomes_wider_in_place() {
    let (dir, backend) = (Dir::new(), Backend::answering(|_| "ok".into()));
    let port = free_port();
    let main = dir.0.join("c.yml");
    fs::write(&main, main_file(&format!("\"127.0.0.1:{port}\""), "")).unwrap();
    fs::write(dir.0.join("routes.yml"), routes(&[("app", backend.addr)])).unwrap();
    let served = Served::start(&dir.0, "c.yml");
    fs::write(&main, main_file(&format!("\"0.0.0.0:{port}\""), "")).unwrap();
    served.reload();
    for ip in ["127.0.0.1", "127.0.0.2"] {
        assert_eq!(status(SocketAddr::new(ip.parse().unwrap(), port), "app"), 200);
    }
    fs::write(&main, main_file(&format!("\"127.0.0.2:{port}\""), "")).unwrap();
    served.reload();
    assert_eq!(status(SocketAddr::from(([127, 0, 0, 2], port)), "app"), 200);
    assert!(TcpStream::connect(served.addr).is_err(), "narrower again");
}

#[test]
fn an_address_takes_ipv4_too_and_no_more() {
    if TcpListener::bind("[::1]:0").is_err() {
        assert!(std::env::var_os("TIDEGATE_REQUIRE_ALL").is_none(), "no IPv6");
        eprintln!("SKIPPED: an_address_takes_ipv4_too_and_no_more: no IPv6");
        return;
    }
    let (dir, backend) = (Dir::new(), Backend::answering(|_| "ok".into()));
    let port = free_port();
    let main = dir.0.join("c.yml");
    fs::write(&main, main_file(&format!("\"[::]:{port}\""), "")).unwrap();
    fs::write(dir.0.join("routes.yml"), routes(&[("app", backend.addr)])).unwrap();
    let served = Served::start(&dir.0, "c.yml");
    let [v4, v6] = ["127.0.0.1", "::1"].map(|ip| SocketAddr::new(ip.parse().unwrap(), port));
    assert_eq!(status(v6, "app"), 200);
    assert!(TcpStream::connect(v4).is_err());
    for _ in 0..2 {
        fs::write(&main, main_file(&format!("\":{port}\""), "")).unwrap();
        served.reload();
        assert_eq!((status(v6, "app"), status(v4, "app")), (200, 200), "{}", served.log());
        fs::write(&main, main_file(&format!("\"[::]:{port}\""), "")).unwrap();
        served.reload();
        assert_eq!(status(v6, "app"), 200);
        assert!(TcpStream::connect(v4).is_err(), "{}", served.log());
    }
}

#[test]
fn engines_come_and_go_and_the_others_are_not_asked_again() {
    let (first, second, dir) = (engine(), engine(), Dir::new());
    first.run(Spec::new("one").page(Page::Hello)).unwrap();
    second.run(Spec::new("two").page(Page::Hello)).unwrap();
    let url = |engine: &common::fake::Engine| format!("unix://{}", engine.socket().display());
    let main = dir.0.join("c.yml");
    let write = |engines: &str| {
        replace(&main, &main_file(ANY, engines));
    };
    fs::write(dir.0.join("routes.yml"), "").unwrap();
    write(&format!("a: \"{}\"", url(&first)));
    let served = Served::start(&dir.0, "c.yml");
    served.wait_status("one", 200);
    assert_eq!(served.status("two"), 404);
    write(&format!("a: \"{}\", b: \"{}\"", url(&first), url(&second)));
    served.reload();
    served.wait_log("engines started b");
    served.wait_status("two", 200);
    assert_eq!(served.count("engine a"), served.log().lines().filter(|l| l.contains("engine a")).count());
    let connected = served.count("route one →");
    // Only those with labels: the containers are looked at anew, the supervisor goes on.
    write(&format!("a!: \"{}\", b: \"{}\"", url(&first), url(&second)));
    served.reload();
    assert_eq!((served.status("one"), served.status("two")), (404, 200));
    write(&format!("a: \"{}\"", url(&first)));
    served.reload();
    served.wait_log("engines stopped b");
    assert_eq!((served.status("one"), served.status("two")), (200, 404));
    assert_eq!(served.count("route one →"), connected + 1);
    // Another engine under the same name: nothing of the old one is believed.
    write(&format!("a: \"{}\"", url(&second)));
    served.reload();
    served.wait_status("two", 200);
    assert_eq!(served.status("one"), 404);
    assert_eq!(served.count("engines started a"), 1);
}

#[test]
fn an_access_log_begins_and_ends() {
    let dir = Dir::new();
    let (main, log) = (dir.0.join("c.yml"), dir.0.join("access.log"));
    let without = main_file(ANY, "");
    fs::write(&main, &without).unwrap();
    fs::write(dir.0.join("routes.yml"), "").unwrap();
    let served = Served::start(&dir.0, "c.yml");
    assert_eq!(served.status("before"), 404);
    fs::write(&main, without.replace("}\nworkers", ", access_log: {path: access.log}}\nworkers")).unwrap();
    served.reload();
    assert_eq!(served.status("during"), 404);
    let lines = || fs::read_to_string(&log).unwrap_or_default().lines().count();
    wait_until("a line", || lines() == 1);
    fs::write(&main, &without).unwrap();
    served.reload();
    assert_eq!(served.status("after"), 404);
    assert_eq!(lines(), 1);
}

#[test]
fn a_change_of_workers_needs_a_restart_and_says_so() {
    let dir = Dir::new();
    fs::write(dir.0.join("c.yml"), main_file(ANY, "")).unwrap();
    fs::write(dir.0.join("routes.yml"), "").unwrap();
    let served = Served::start(&dir.0, "c.yml");
    fs::write(dir.0.join("c.yml"), main_file(ANY, "").replace("workers: 2", "workers: 3")).unwrap();
    served.reload();
    served.wait_log("needs a restart");
    assert_eq!(served.count("needs a restart"), 1, "a problem is logged once:\n{}", served.log());
}

#[test]
fn a_hundred_reloads_under_load_lose_nothing() {
    let (dir, kept, moving) =
        (Dir::new(), Backend::answering(|_| "ok".into()), Backend::answering(|_| "".into()));
    let engine = engine();
    engine.run(Spec::new("contained").page(Page::Hello)).unwrap();
    let engines = format!("a: \"unix://{}\"", engine.socket().display());
    let (main, file) = (dir.0.join("c.yml"), dir.0.join("routes.yml"));
    let port = free_port();
    let mains = [main_file(ANY, &engines), main_file(&format!("{ANY}, \"127.0.0.1:{port}\""), &engines)];
    fs::write(&main, &mains[0]).unwrap();
    fs::write(&file, routes(&[("kept", kept.addr), ("moving", moving.addr)])).unwrap();
    let served = Served::start(&dir.0, "c.yml");
    served.wait_status("contained", 200);
    let (ending, answered) = (AtomicBool::new(false), Arc::new(AtomicUsize::new(0)));
    std::thread::scope(|scope| {
        for host in ["kept", "moving", "contained", "kept"] {
            let (served, ending, answered) = (&served, &ending, Arc::clone(&answered));
            scope.spawn(move || {
                let mut client = Client::connect(served.addr);
                while !ending.load(Ordering::Relaxed) {
                    client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
                    let response = client.response();
                    assert_eq!(response.status, 200, "{host}: {response:?}");
                    if answered.fetch_add(1, Ordering::Relaxed) % 32 == 0 {
                        client = Client::connect(served.addr);
                    }
                }
            });
        }
        let done = EndGuard(&ending);
        let mut first = (0, 0);
        for round in 0..100 {
            match round % 4 {
                // Another address for one route, and back; a route more or less.
                0 => replace(
                    &file,
                    &routes(&[("kept", kept.addr), ("moving", kept.addr), ("more", moving.addr)]),
                ),
                1 => fs::write(&file, "kept: {port: none}\n").unwrap(),
                2 => {
                    fs::write(&file, routes(&[("kept", kept.addr), ("moving", moving.addr)])).unwrap();
                    replace(&main, &mains[1]);
                }
                _ => replace(&main, &mains[0]),
            }
            let before = answered.load(Ordering::Relaxed);
            served.reload();
            wait_until("some answers", || answered.load(Ordering::Relaxed) > before + 8);
            if round == 19 {
                first = (served.descriptors(), served.rss_kb());
            }
        }
        let last = (served.descriptors(), served.rss_kb());
        drop(done);
        eprintln!(
            "MEASURED: {} requests; after 20 and 100 reloads: {} and {} descriptors, {} and {} KB",
            answered.load(Ordering::Relaxed),
            first.0,
            last.0,
            first.1,
            last.1
        );
        assert!(last.0 <= first.0 + 16, "descriptors grew from {} to {}", first.0, last.0);
        assert!(last.1 <= first.1 + 4096, "RSS grew from {} to {} KB", first.1, last.1);
    });
}
