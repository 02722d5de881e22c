//! Reload with HTTPS, seen from outside: certificates, listeners and routes change under load.
#![allow(clippy::disallowed_methods)] // tests use std's sockets, threads and clock

mod common;
mod reload_support;
mod tls_support;

use common::fake::Dir;
use common::{Backend, Client, wait_until};
use reload_support::{ANY, EndGuard, Served, free_port, replace, routes, status};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tls_support::{Authority, trusting};

const NAME: &str = "app.test";

/// A main file; `tls` is what stands below it.
fn main_text(http: &str, https: &str, tls: &str) -> String {
    format!(
        "entrypoint: {{http_addr: [{http}], https_addr: [{https}]}}\nworkers: 2\n\
         tls: {{{tls}}}\nproviders: {{docker: {{}}, include: [routes.yml]}}\n"
    )
}

const PAIR: &str = "cert_path: now/tls.crt, key_path: now/tls.key";

/// Pairs of certificate and key for the same name, and which of them may be served now.
struct Generations {
    pairs: Vec<(String, String)>,
    ders: Vec<CertificateDer<'static>>,
    client: Arc<rustls::ClientConfig>,
    /// The newest that was written.
    written: AtomicUsize,
    /// The newest that is known to serve: no older one may be seen any more.
    serving: AtomicUsize,
}

impl Generations {
    fn new(count: usize) -> Generations {
        let authority = Authority::new();
        let pairs: Vec<_> = (0..count).map(|_| authority.issue(&[NAME])).collect();
        let der = |(cert, _): &(String, String)| CertificateDer::from_pem_slice(cert.as_bytes()).unwrap();
        let mut client = trusting(&authority, rustls::ALL_VERSIONS);
        // A resumed session shows no certificate.
        client.resumption = rustls::client::Resumption::disabled();
        let ders = pairs.iter().map(der).collect();
        let (written, serving) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Generations { pairs, ders, client: Arc::new(client), written, serving }
    }

    /// Connects, and looks at which certificate it is shown.
    fn connect(&self, addr: SocketAddr) -> tls_support::Client {
        let least = self.serving.load(Ordering::SeqCst);
        let client = tls_support::Client::connect(addr, &self.client, NAME);
        let shown = &client.tls.conn.peer_certificates().unwrap()[0];
        let shown = self.ders.iter().position(|der| der == shown).expect("a certificate of ours");
        let most = self.written.load(Ordering::SeqCst);
        assert!((least..=most).contains(&shown), "certificate {shown} is not of {least} to {most}");
        client
    }

    /// Has `put` write the next pair.
    fn renew(&self, put: impl FnOnce(&str, &str)) {
        let next = self.written.fetch_add(1, Ordering::SeqCst) + 1;
        put(&self.pairs[next].0, &self.pairs[next].1);
    }

    /// The newest must serve from now on.
    fn acknowledged(&self) {
        self.serving.store(self.written.load(Ordering::SeqCst), Ordering::SeqCst);
    }
}

/// The three ways in which pairs are swapped; `now` is a link to the directory of the pair.
fn by_rename(dir: &Path, cert: &str, key: &str) {
    replace(&dir.join("now/tls.key"), key);
    replace(&dir.join("now/tls.crt"), cert);
}

fn in_place(dir: &Path, cert: &str, key: &str) {
    fs::write(dir.join("now/tls.crt"), cert).unwrap();
    fs::write(dir.join("now/tls.key"), key).unwrap();
}

fn by_link(dir: &Path, cert: &str, key: &str) {
    let version = (0..).map(|n| format!("v{n}")).find(|name| !dir.join(name).exists()).unwrap();
    fs::create_dir(dir.join(&version)).unwrap();
    fs::write(dir.join(&version).join("tls.crt"), cert).unwrap();
    fs::write(dir.join(&version).join("tls.key"), key).unwrap();
    symlink(&version, dir.join("next")).unwrap();
    fs::rename(dir.join("next"), dir.join("now")).unwrap();
}

/// Answers at once; `/slow` when it is told to; `/stream` with a line every few milliseconds until it is told.
struct App {
    backend: Backend,
    held: Arc<AtomicUsize>,
    slow_go: Arc<AtomicUsize>,
    stream_ends: Arc<AtomicBool>,
}

impl App {
    fn start() -> App {
        let (held, slow_go) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let stream_ends = Arc::new(AtomicBool::new(false));
        let (count, go, ends) = (Arc::clone(&held), Arc::clone(&slow_go), Arc::clone(&stream_ends));
        let backend = Backend::start(move |mut conn| {
            while let Some(request) = conn.request() {
                if request.line().contains("/stream") {
                    conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                    for number in 0.. {
                        conn.send(format!("9\r\n{number:08}\n\r\n"));
                        if ends.load(Ordering::SeqCst) {
                            break;
                        }
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    conn.send("0\r\n\r\n");
                    continue;
                }
                if request.line().contains("/slow") {
                    let number = count.fetch_add(1, Ordering::SeqCst);
                    wait_until("it may answer", || go.load(Ordering::SeqCst) > number);
                }
                conn.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            }
        });
        App { backend, held, slow_go, stream_ends }
    }
}

struct Load<'a> {
    served: &'a Served,
    https: SocketAddr,
    generations: &'a Generations,
    ending: &'a AtomicBool,
    plain: AtomicUsize,
    fresh_tls: AtomicUsize,
    kept_tls: AtomicUsize,
}

impl Load<'_> {
    fn going(&self) -> bool {
        !self.ending.load(Ordering::Relaxed)
    }

    /// Requests on connections that are kept, and made anew now and then.
    fn plain(&self, host: &str) {
        let mut client = Client::connect(self.served.addr);
        while self.going() {
            client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
            let response = client.response();
            assert_eq!(response.status, 200, "{host}: {response:?}");
            if self.plain.fetch_add(1, Ordering::Relaxed).is_multiple_of(32) {
                client = Client::connect(self.served.addr);
            }
        }
    }

    /// A handshake for each request.
    fn fresh_tls(&self) {
        while self.going() {
            let (head, body) = self.generations.connect(self.https).get(NAME, "/");
            assert!(head.starts_with("HTTP/1.1 200") && body == b"ok", "{head}");
            self.fresh_tls.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One connection for all requests.
    fn kept_tls(&self) {
        let mut client = self.generations.connect(self.https);
        while self.going() {
            let (head, body) = client.get(NAME, "/");
            assert!(head.starts_with("HTTP/1.1 200") && body == b"ok", "{head}");
            self.kept_tls.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// One answer from before the first reload until after the last.
    fn stream(&self) -> usize {
        let mut client = Client::connect(self.served.addr);
        client.send("GET /stream HTTP/1.1\r\nHost: app\r\n\r\n");
        let response = client.response();
        assert!(response.complete, "the stream is cut");
        let text = response.text();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.iter().enumerate().all(|(n, line)| *line == format!("{n:08}")), "lines are lost");
        lines.len()
    }

    fn wait_for_some(&self) {
        let counts = [&self.plain, &self.fresh_tls, &self.kept_tls];
        let before = counts.map(|count| count.load(Ordering::Relaxed));
        wait_until("some answers of each kind", || {
            counts.iter().zip(before).all(|(count, before)| count.load(Ordering::Relaxed) > before + 2)
        });
    }
}

/// What changes, and how.
struct Story<'a> {
    dir: &'a Path,
    app: &'a App,
    served: &'a Served,
    generations: &'a Generations,
    /// Of listeners that come and go: plain, and with TLS.
    ports: [u16; 2],
    in_flight: Option<(Client, tls_support::Client)>,
}

impl Story<'_> {
    fn write_main(&self, listeners: bool, tls: &str) {
        let more = |port: u16| if listeners { format!(", \"127.0.0.1:{port}\"") } else { String::new() };
        let [http, https] = self.ports.map(|port| format!("{ANY}{}", more(port)));
        replace(&self.dir.join("c.yml"), &main_text(&http, &https, tls));
    }

    fn write_routes(&self, text: &str) {
        replace(&self.dir.join("routes.yml"), text);
    }

    fn good_routes(&self, more: bool) -> String {
        let addr = self.app.backend.addr;
        let all = [("app", addr), ("moving", addr), ("more", addr)];
        routes(if more { &all } else { &all[..2] })
    }

    /// One step, up to and with its reload.
    fn step(&mut self, round: usize) {
        let dir = self.dir;
        match round % 10 {
            0 => self.write_routes(&self.good_routes(true)),
            1 => self.generations.renew(|cert, key| by_rename(dir, cert, key)),
            2 => self.write_routes("app: {port: none}\nmoving: [\n"),
            3 => {
                self.write_routes(&self.good_routes(false));
                self.generations.renew(|cert, key| by_link(dir, cert, key));
            }
            4 => replace(&dir.join("now/tls.key"), &self.generations.pairs[0].1),
            5 => self.generations.renew(|cert, key| in_place(dir, cert, key)),
            6 => self.write_main(true, PAIR),
            7 => self.leave_in_flight(),
            8 => self.write_main(false, &format!("{PAIR}, extra: [{{{PAIR}}}]")),
            _ => self.write_main(false, PAIR),
        }
        let refused = self.served.count("not reloaded (asked for");
        self.served.reload();
        let is_refused = self.served.count("not reloaded (asked for") > refused;
        assert_eq!(is_refused, matches!(round % 10, 2 | 4), "round {round}:\n{}", self.served.log());
        match round % 10 {
            1 | 3 | 5 => self.generations.acknowledged(),
            4 => assert!(self.served.log().contains("tls.key does not fit the certificate in")),
            6 => self.listeners_serve(),
            7 => self.in_flight_finishes(),
            _ => {}
        }
    }

    fn addrs(&self) -> [SocketAddr; 2] {
        self.ports.map(|port| SocketAddr::from(([127, 0, 0, 1], port)))
    }

    fn listeners_serve(&self) {
        let [http, https] = self.addrs();
        assert_eq!(status(http, "app"), 200);
        assert_eq!(self.generations.connect(https).get(NAME, "/").1, b"ok");
    }

    /// Asks what is not answered yet, and has the listeners go.
    fn leave_in_flight(&mut self) {
        let [http, https] = self.addrs();
        let (mut plain, mut tls) = (Client::connect(http), self.generations.connect(https));
        plain.send("GET /slow HTTP/1.1\r\nHost: app\r\n\r\n");
        tls.send(format!("GET /slow HTTP/1.1\r\nHost: {NAME}\r\n\r\n"));
        let go = self.app.slow_go.load(Ordering::SeqCst);
        wait_until("both are at the backend", || self.app.held.load(Ordering::SeqCst) == go + 2);
        self.in_flight = Some((plain, tls));
        self.write_main(false, PAIR);
    }

    fn in_flight_finishes(&mut self) {
        for addr in self.addrs() {
            assert!(TcpStream::connect(addr).is_err(), "nobody listens at {addr}");
        }
        self.app.slow_go.fetch_add(2, Ordering::SeqCst);
        let (mut plain, mut tls) = self.in_flight.take().unwrap();
        assert_eq!(plain.response().text(), "ok");
        assert_eq!(tls.response().unwrap().1, b"ok");
        plain.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
        assert_eq!(plain.response().text(), "ok", "a connection outlives its listener");
    }
}

#[test]
fn a_hundred_reloads_with_certificates_lose_nothing() {
    let (dir, app, generations) = (Dir::new(), App::start(), Generations::new(32));
    let path = dir.0.as_path();
    by_link(path, &generations.pairs[0].0, &generations.pairs[0].1);
    fs::write(path.join("c.yml"), main_text(ANY, ANY, PAIR)).unwrap();
    fs::write(path.join("routes.yml"), routes(&[("app", app.backend.addr), ("moving", app.backend.addr)]))
        .unwrap();
    let served = Served::start(path, "c.yml");
    let (ending, https, begin) = (AtomicBool::new(false), served.https(), Instant::now());
    let none = || AtomicUsize::new(0);
    let load = Load {
        served: &served,
        https,
        generations: &generations,
        ending: &ending,
        plain: none(),
        fresh_tls: none(),
        kept_tls: none(),
    };
    let mut story = Story {
        dir: path,
        app: &app,
        served: &served,
        generations: &generations,
        ports: [free_port(), free_port()],
        in_flight: None,
    };
    let lines = std::thread::scope(|scope| {
        let stream = scope.spawn(|| load.stream());
        scope.spawn(|| load.plain("app"));
        scope.spawn(|| load.plain("moving"));
        scope.spawn(|| load.fresh_tls());
        scope.spawn(|| load.fresh_tls());
        scope.spawn(|| load.kept_tls());
        let done = (EndGuard(&ending), EndGuard(&app.stream_ends));
        let mut first = (0, 0);
        for round in 0..100 {
            story.step(round);
            load.wait_for_some();
            if round == 9 {
                first = (served.descriptors(), served.rss_kb());
            }
        }
        let last = (served.descriptors(), served.rss_kb());
        drop(done);
        eprintln!("MEASURED: after 10 and 100 reloads: descriptors and KB {first:?}, {last:?}");
        assert!(last.0 <= first.0 + 16, "descriptors grew from {} to {}", first.0, last.0);
        assert!(last.1 <= first.1 + 4096, "RSS grew from {} to {} KB", first.1, last.1);
        stream.join().unwrap()
    });
    let [plain, fresh, kept] = [load.plain, load.fresh_tls, load.kept_tls].map(AtomicUsize::into_inner);
    let took = begin.elapsed();
    eprintln!(
        "MEASURED: {plain} plain, {fresh} + {kept} TLS requests, {lines} lines of one stream in {took:?}"
    );
}

/// A program with HTTPS and one route, `app`, that answers `ok`.
struct Small {
    dir: Dir,
    backend: Backend,
    generations: Generations,
}

impl Small {
    fn new() -> Small {
        let (dir, backend) = (Dir::new(), Backend::answering(|_| "ok".into()));
        let generations = Generations::new(2);
        by_link(&dir.0, &generations.pairs[0].0, &generations.pairs[0].1);
        fs::write(dir.0.join("routes.yml"), routes(&[("app", backend.addr)])).unwrap();
        Small { dir, backend, generations }
    }

    fn write(&self, http: &str, https: &str, tls: &str) {
        replace(&self.dir.0.join("c.yml"), &main_text(http, https, tls));
    }
}

#[test]
fn files_that_change_right_after_a_reload_are_noticed_too() {
    let small = Small::new();
    small.write(ANY, ANY, PAIR);
    let served = Served::start(&small.dir.0, "c.yml");
    let https = served.https();
    small.write(ANY, ANY, &format!("{PAIR}, extra: [{{{PAIR}}}]"));
    served.reload();
    small.generations.connect(https);
    small.generations.renew(|cert, key| by_rename(&small.dir.0, cert, key));
    served.wait_log("the certificates' files have changed");
    small.generations.acknowledged();
    small.generations.connect(https);
}

#[test]
fn a_reload_that_is_asked_for_says_whether_certificates_are_new() {
    let small = Small::new();
    small.write(ANY, ANY, PAIR);
    let served = Served::start(&small.dir.0, "c.yml");
    in_place(&small.dir.0, &small.generations.pairs[0].0, &small.generations.pairs[0].1);
    served.reload();
    served.wait_log("reloaded (asked for): nothing has changed");
    assert_eq!(served.count("the certificates' files have changed"), 0, "the same words");
    // Together with another change; whoever was first to see the files, the reload or their watcher, they serve.
    small.generations.renew(|cert, key| in_place(&small.dir.0, cert, key));
    replace(&small.dir.0.join("routes.yml"), &routes(&[("other", small.backend.addr)]));
    served.reload();
    small.generations.acknowledged();
    assert_eq!(small.generations.connect(served.https()).get("other.test", "/").1, b"ok");
    assert_eq!(served.count("new certificates") + served.count("files have changed: new connections"), 1);
}

#[test]
fn plain_requests_are_sent_to_where_https_is_now() {
    let (small, port) = (Small::new(), free_port());
    let write = |https: &str| {
        small.write(ANY, https, PAIR);
        let main = small.dir.0.join("c.yml");
        let text = fs::read_to_string(&main).unwrap();
        replace(&main, &text.replace("entrypoint: {", "entrypoint: {redirect_http: true, "));
    };
    write(ANY);
    let served = Served::start(&small.dir.0, "c.yml");
    let ask = || {
        let mut client = Client::connect(served.addr);
        client.send("GET /a HTTP/1.1\r\nHost: app.test\r\n\r\n");
        let response = client.response();
        (response.status, response.field("location").map(str::to_owned))
    };
    let sent_to = |port: u16| (308, Some(format!("https://app.test:{port}/a")));
    assert_eq!(ask(), sent_to(served.https().port()));
    write(&format!("\"127.0.0.1:{port}\""));
    served.reload();
    assert_eq!(ask(), sent_to(port));
    assert_eq!(small.generations.connect(([127, 0, 0, 1], port).into()).get(NAME, "/").1, b"ok");
    // A second one changes nothing; the first one counts.
    write(&format!("{ANY}, \"127.0.0.1:{port}\""));
    served.reload();
    let log = served.log();
    let opened = log.rsplit_once("listening on ").unwrap().1.split([';', '\n']).next().unwrap();
    assert_eq!(ask(), sent_to(opened.parse::<SocketAddr>().unwrap().port()));
    replace(&small.dir.0.join("c.yml"), &main_text(ANY, "", PAIR).replace(", https_addr: []", ""));
    served.reload();
    assert_eq!(ask().0, 200, "nobody serves HTTPS:\n{}", served.log());
}

#[test]
fn an_address_changes_what_is_spoken_there() {
    let (small, port) = (Small::new(), free_port());
    let (own, addr) = (format!("\"127.0.0.1:{port}\""), SocketAddr::from(([127, 0, 0, 1], port)));
    small.write(&format!("{ANY}, {own}"), ANY, PAIR);
    let served = Served::start(&small.dir.0, "c.yml");
    assert_eq!(status(addr, "app"), 200);
    small.write(ANY, &format!("{ANY}, {own}"), PAIR);
    served.reload();
    assert_eq!(small.generations.connect(addr).get(NAME, "/").1, b"ok");
    small.write(&format!("{ANY}, {own}"), ANY, PAIR);
    served.reload();
    assert_eq!(status(addr, "app"), 200);
}
