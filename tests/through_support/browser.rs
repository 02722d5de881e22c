//! Headless Chromium: a page that comes through Tidegate reads events, speaks over a WebSocket, and sends back
//! what it saw.

use super::{HOST, Served, Way, answer, events, field};
use crate::common::BackendConn;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

/// Time for a browser to start and the page to end: some seconds on a machine that is not busy.
const LIMIT: Duration = Duration::from_secs(90);

/// Where the page's words go.
pub type Results = Sender<String>;

/// `/page` and what it sends.
pub fn serve(conn: &mut BackendConn, head: &str, path: &str, results: &Results) -> bool {
    if path.starts_with("/page") {
        let page = include_str!("page.html").replace("ALL", &events::ALL.to_string());
        return answer(conn, "200 OK", "Content-Type: text/html\r\n", page.as_bytes());
    }
    let length = field(head, "content-length").expect("a length").parse().unwrap();
    let Some(body) = conn.exactly(length) else { return false };
    let _ = results.send(String::from_utf8(body).unwrap());
    answer(conn, "204 No Content", "", b"")
}

/// A browser and all its processes; ended when dropped.
struct Browser {
    child: Child,
    log: std::path::PathBuf,
}

impl Browser {
    fn open(served: &Served, way: Way) -> Browser {
        let log = served.file(&format!("chromium-{way:?}.log"));
        let out = File::create(&log).unwrap();
        let home = served.file(&format!("chromium-{way:?}"));
        std::fs::create_dir(&home).unwrap();
        let child = Command::new("chromium")
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .args(["--no-first-run", "--disable-background-networking", "--disable-component-update"])
            .args(["--disable-sync", "--disable-extensions", "--no-proxy-server"])
            .args(["--disable-features=HttpsUpgrades,HttpsFirstBalancedModeAutoEnable"])
            // It asks nobody else.
            .arg(format!("--host-resolver-rules=MAP {HOST} 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"))
            .arg(format!("--ignore-certificate-errors-spki-list={}", served.pin))
            .arg(format!("--user-data-dir={}", home.display()))
            .arg(format!("{}/page", served.origin(way)))
            .envs([("HOME", &home), ("TMPDIR", &home)])
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .process_group(0)
            .spawn()
            .expect("chromium starts");
        Browser { child, log }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let group = Pid::from_raw(self.child.id().cast_signed()).unwrap();
        let _ = kill_process_group(group, Signal::KILL);
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- chromium's log:\n{}", std::fs::read_to_string(&self.log).unwrap_or_default());
        }
    }
}

/// The page runs to its end and has seen all.
pub fn pass(served: &Served, way: Way, source: &events::Source, results: &Receiver<String>) {
    source.renew();
    let browser = Browser::open(served, way);
    let said = results.recv_timeout(LIMIT).expect("the page's words");
    let said: Value = serde_json::from_str(&said).expect("JSON");
    let events: Vec<Value> =
        (1..=events::ALL).map(|number| json!([number.to_string(), events::data(number)])).collect();
    let wanted = json!({
        "events": events,
        "reopened": 1,
        "echoes": ["grüße, 世界", "the same bytes", "ask me"],
        "closed": [4001, "the server's wish", true],
        "errors": [],
    });
    assert_eq!(said, wanted);
    let begins = source.renew();
    assert_eq!(begins, [None, Some(events::FIRST.to_string())], "what each stream began with");
    drop(browser);
}
