//! The demo's engine and its control page, without the proxy.
#![allow(clippy::disallowed_methods)] // tests measure deadlines

mod fake_support;

use fake_support::fake::Dir;
use fake_support::{Answer, Client, get, until};
use std::io::{Read, Write};
use std::net::TcpListener;
use tidegate::demo::DemoEngine;

/// A port where nobody listens.
const NOBODY: u16 = 1;

struct Demo {
    demo: DemoEngine,
    dir: Dir,
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.demo.shutdown();
    }
}

fn start(http_port: u16) -> Demo {
    let dir = Dir::new();
    Demo { demo: DemoEngine::start(&dir.0, http_port).unwrap(), dir }
}

impl Demo {
    fn control(&self) -> Client<std::net::TcpStream> {
        let control = self.demo.engine().container("demo").unwrap();
        Client::tcp(control.ip.unwrap(), control.port).unwrap()
    }

    fn page(&self) -> String {
        self.control().call("GET", "/").unwrap().text()
    }

    /// As a browser sends a form.
    fn post(&self, path: &str, form: &str, extra: &str) -> Answer {
        let mut client = self.control();
        let length = form.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: demo.localhost\r\nContent-Length: {length}\r\n{extra}\r\n"
        );
        client.send(&format!("{head}{form}")).unwrap();
        client.answer("POST").unwrap()
    }
}

#[test]
fn four_containers_run_and_one_sleeps() {
    let demo = start(8080);
    let states: Vec<_> = demo.demo.engine().containers().into_iter().map(|c| (c.name, c.running)).collect();
    let expected = [("whoami", true), ("hello", true), ("counter", true), ("sleeper", false), ("demo", true)];
    assert_eq!(states, expected.map(|(name, running)| (name.to_owned(), running)));
    for container in demo.demo.engine().containers().iter().filter(|c| c.running) {
        let answer = get(container.ip.unwrap(), container.port).unwrap();
        assert_eq!((answer.status, answer.header("x-container")), (200, Some(container.name.as_str())));
    }
    let urls: Vec<_> = demo.demo.urls().into_iter().map(|l| l.url).collect();
    assert!(urls.contains(&"http://whoami.localhost:8080/".to_owned()), "{urls:?}");
    assert_eq!(urls.len(), 5);
    demo.demo.set_http_port(80);
    assert_eq!(demo.demo.control_url(), "http://demo.localhost/");
    assert!(demo.demo.docker_host().starts_with("unix:///"));
    assert!(demo.dir.0.join("tidegate-demo.sock").exists());
}

#[test]
fn the_page_starts_stops_and_relabels() {
    let demo = start(NOBODY);
    let page = demo.page();
    for text in ["whoami", "sleeper", "http://counter.localhost:1/", "action=\"/stop\"", "action=\"/start\""]
    {
        assert!(page.contains(text), "the page lacks {text}");
    }
    assert!(!page.contains("{{"), "a placeholder is left");
    assert_eq!(
        page.matches("action=\"/relabel\"").count(),
        4,
        "the page offers to relabel itself, or not all"
    );

    let done = demo.post("/stop", "name=whoami", "Sec-Fetch-Site: same-origin\r\n");
    assert_eq!((done.status, done.header("location")), (303, Some("/")));
    assert!(!demo.demo.engine().container("whoami").unwrap().running);
    assert_eq!(demo.post("/stop", "name=whoami", "").status, 303, "twice is no fault");
    assert_eq!(demo.post("/start", "name=sleeper", "").status, 303);
    assert!(demo.demo.engine().container("sleeper").unwrap().running);

    let old = demo.demo.engine().container("hello").unwrap();
    assert_eq!(demo.post("/relabel", "name=hello&aliases=hi%2C+moin", "").status, 303);
    let new = demo.demo.engine().container("hello").unwrap();
    assert_eq!(new.labels["proxy.aliases"], "hi, moin");
    assert!(new.running && new.id != old.id);
    let page = demo.page();
    assert!(page.contains("http://hi.localhost:1/") && page.contains("http://moin.localhost:1/"));
    assert!(!page.contains("http://hello.localhost:1/"));
}

#[test]
fn the_page_refuses_what_it_must() {
    let demo = start(NOBODY);
    let relabel = |aliases: &str| demo.post("/relabel", &format!("name=hello&aliases={aliases}"), "");
    assert_eq!(demo.post("/stop", "name=whoami", "Sec-Fetch-Site: cross-site\r\n").status, 403);
    assert_eq!(demo.post("/stop", "name=demo", "").status, 400);
    assert_eq!(demo.post("/stop", "name=nobody", "").status, 404);
    assert_eq!(demo.post("/delete", "name=whoami", "").status, 404);
    let bad = relabel("%3Cscript%3E");
    assert_eq!(bad.status, 400);
    assert!(bad.text().contains("&lt;script&gt;") && !bad.text().contains("“<script>"), "unescaped");
    assert_eq!(relabel("").status, 400);
    assert!(demo.demo.engine().container("whoami").unwrap().running);
}

#[test]
fn the_page_tells_who_answers_behind_the_proxy() {
    // In the proxy's place: `whoami` is answered by its container, `sleeper` by the proxy, others cut.
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let demo = start(NOBODY);
    demo.demo.set_http_port(proxy.local_addr().unwrap().port());
    let server = std::thread::spawn(move || {
        for _ in 0..5 {
            let (mut stream, _) = proxy.accept().unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap();
            assert!(head.contains("X-Tidegate-Demo-Probe: 1"), "{head}");
            let answer = match head.split("Host: ").nth(1).unwrap().split('.').next().unwrap() {
                "whoami" => "HTTP/1.1 200 OK\r\nX-Container: whoami\r\n\r\n",
                "sleeper" => "HTTP/1.1 503 Service Unavailable\r\n\r\n",
                _ => continue,
            };
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    let page = demo.page();
    server.join().unwrap();
    for text in ["answered by whoami", "503 from the proxy", "no answer"] {
        assert!(page.contains(text), "the page lacks “{text}”");
    }
    let mut probed = demo.control();
    probed.send("HEAD / HTTP/1.1\r\nX-Tidegate-Demo-Probe: 1\r\n\r\n").unwrap();
    assert_eq!(probed.answer("HEAD").unwrap().status, 200);
}

#[test]
fn it_ends_without_a_trace() {
    let dir = Dir::new();
    let demo = DemoEngine::start(&dir.0, NOBODY).unwrap();
    let whoami = demo.engine().container("whoami").unwrap();
    drop(demo);
    until("the page is gone", || get(whoami.ip.unwrap(), whoami.port).is_err());
    until("the socket is gone", || std::fs::read_dir(&dir.0).unwrap().next().is_none());
}
