//! What the tests of TLS share: certificates made on the spot, a strict client, a backend.
#![allow(dead_code)] // each test binary uses its part

use crate::common::{DEADLINE, Proxy, config};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    SupportedProtocolVersion,
};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tidegate::config::{CertPair, Config, ListenAddr};
use tidegate::error::Place;

/// A directory of its own, removed at the end.
pub struct Dir(pub PathBuf);

impl Dir {
    pub fn new(name: &str) -> Dir {
        let path = std::env::temp_dir().join(format!("tidegate-tls-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Dir(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An authority of the test's own.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
    pub der: CertificateDer<'static>,
}

impl Authority {
    pub fn new() -> Authority {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Another name than that of what it issues: OpenSSL takes those for self-signed else.
        params.distinguished_name.push(DnType::CommonName, "an authority of the tests");
        let cert = params.self_signed(&key).unwrap();
        let (pem, der) = (cert.pem(), cert.der().clone());
        Authority { issuer: Issuer::new(params, key), pem, der }
    }

    /// A certificate and its key, as PEM.
    pub fn issue(&self, names: &[&str]) -> (String, String) {
        self.issue_until(names, 2040)
    }

    pub fn issue_until(&self, names: &[&str], year: i32) -> (String, String) {
        self.issue_until_day(names, (year, 1, 1))
    }

    /// Until the beginning of a day: year, month, day.
    pub fn issue_until_day(&self, names: &[&str], (year, month, day): (i32, u8, u8)) -> (String, String) {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, month, day);
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// Issues and writes `NAME.crt` and `NAME.key`.
    pub fn write(&self, dir: &Dir, file: &str, names: &[&str]) -> CertPair {
        write(dir, file, &self.issue(names))
    }
}

pub fn write(dir: &Dir, file: &str, (cert, key): &(String, String)) -> CertPair {
    let at = |ending: &str| dir.0.join(format!("{file}.{ending}"));
    std::fs::write(at("crt"), cert).unwrap();
    std::fs::write(at("key"), key).unwrap();
    let (place, key_place) = (Place::Default, Place::Default);
    CertPair { cert_path: at("crt"), key_path: at("key"), place, key_place }
}

/// Like `openssl req -x509`: its own authority.
pub fn self_signed(names: &[&str]) -> (String, String) {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

/// A configuration that serves HTTPS with `certs`.
pub fn https(routes: &[(&str, SocketAddr)], certs: Vec<CertPair>, default: Option<&str>) -> Config {
    let mut config = config(routes);
    let addr = "127.0.0.1:0".parse().unwrap();
    config.https_addr = vec![ListenAddr { addr, dual_stack: false, place: Place::Default }];
    config.tls.certs = certs;
    config.tls.default = default.map(|name| (name.to_owned(), Place::Default));
    config
}

pub fn start(routes: &[(&str, SocketAddr)], certs: Vec<CertPair>, default: Option<&str>) -> Proxy {
    Proxy::start(https(routes, certs, default))
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// A client's configuration that trusts `authority`.
pub fn trusting(authority: &Authority, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(authority.der.clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(versions).unwrap();
    builder.with_root_certificates(roots).with_no_client_auth()
}

/// A client over TLS.
pub struct Client {
    pub tls: StreamOwned<ClientConnection, TcpStream>,
    buffer: Vec<u8>,
}

impl Client {
    pub fn connect(addr: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> Client {
        Client::try_connect(addr, config, name)
            .unwrap_or_else(|error| panic!("handshake for {name}: {error}"))
    }

    /// Connects and completes the handshake.
    pub fn try_connect(addr: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> io::Result<Client> {
        Client::shake(TcpStream::connect(addr)?, &[], config, name)
    }

    /// Completes the handshake on a connection.
    pub fn over(tcp: TcpStream, config: &Arc<ClientConfig>, name: &str) -> io::Result<Client> {
        Client::shake(tcp, &[], config, name)
    }

    /// Completes the handshake; `first` goes out with the hello in one write.
    pub fn shake(
        mut tcp: TcpStream,
        first: &[u8],
        config: &Arc<ClientConfig>,
        name: &str,
    ) -> io::Result<Client> {
        tcp.set_read_timeout(Some(DEADLINE))?;
        tcp.set_write_timeout(Some(DEADLINE))?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut conn = ClientConnection::new(Arc::clone(config), name).unwrap();
        let mut bytes = first.to_vec();
        conn.write_tls(&mut bytes)?;
        tcp.write_all(&bytes)?;
        while conn.is_handshaking() {
            conn.complete_io(&mut tcp)?;
        }
        Ok(Client { tls: StreamOwned::new(conn, tcp), buffer: Vec::new() })
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.tls.write_all(bytes.as_ref()).expect("send over TLS");
    }

    pub fn get(&mut self, host: &str, path: &str) -> (String, Vec<u8>) {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        self.response().expect("a response")
    }

    /// The next response: its head, and its body as it came (chunks with their framing).
    pub fn response(&mut self) -> io::Result<(String, Vec<u8>)> {
        let end = loop {
            match self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                Some(end) => break end + 4,
                None => self.fill()?,
            }
        };
        let rest = self.buffer.split_off(end);
        let head = String::from_utf8(std::mem::replace(&mut self.buffer, rest)).unwrap();
        let lower = head.to_ascii_lowercase();
        let length = lower.lines().find_map(|line| line.strip_prefix("content-length:"));
        match length.map(|length| length.trim().parse::<usize>().unwrap()) {
            Some(length) => {
                while self.buffer.len() < length {
                    self.fill()?;
                }
                let rest = self.buffer.split_off(length);
                Ok((head, std::mem::replace(&mut self.buffer, rest)))
            }
            None => {
                while !self.buffer.ends_with(b"0\r\n\r\n") {
                    self.fill()?;
                }
                Ok((head, std::mem::take(&mut self.buffer)))
            }
        }
    }

    /// The bytes up to `end`, with it.
    pub fn until(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = self.buffer.windows(end.len()).position(|bytes| bytes == end) {
                return self.exactly(at + end.len());
            }
            self.fill().expect("more bytes");
        }
    }

    /// The next `length` bytes.
    pub fn exactly(&mut self, length: usize) -> Vec<u8> {
        while self.buffer.len() < length {
            self.fill().expect("more bytes");
        }
        let rest = self.buffer.split_off(length);
        std::mem::replace(&mut self.buffer, rest)
    }

    /// Whether it ends with `close_notify` and nothing else.
    pub fn ends_in_order(&mut self) -> bool {
        self.tls.read(&mut [0; 1]).is_ok_and(|n| n == 0)
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut chunk = [0; 16 * 1024];
        match self.tls.read(&mut chunk)? {
            0 => Err(io::Error::other("an orderly end within a message")),
            n => {
                self.buffer.extend_from_slice(&chunk[..n]);
                Ok(())
            }
        }
    }
}

/// The first bytes that a client sends.
pub fn hello(config: &Arc<ClientConfig>, name: &str) -> Vec<u8> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut conn = ClientConnection::new(Arc::clone(config), name).unwrap();
    let mut bytes = Vec::new();
    conn.write_tls(&mut bytes).unwrap();
    bytes
}

/// What the proxy says to `bytes`, until it closes.
pub fn answer_to(addr: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut tcp = TcpStream::connect(addr).unwrap();
    tcp.set_read_timeout(Some(DEADLINE)).unwrap();
    tcp.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    tcp.read_to_end(&mut answer).unwrap();
    answer
}

/// A backend over TLS that answers each request with its line and the name that was asked for.
pub struct TlsBackend {
    pub addr: SocketAddr,
    pub connections: Arc<AtomicUsize>,
}

impl TlsBackend {
    /// The thread ends with the process.
    pub fn start((cert, key): &(String, String)) -> TlsBackend {
        let chain = vec![CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let builder = ServerConfig::builder_with_provider(provider());
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let config = Arc::new(builder.with_single_cert(chain, key).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        std::thread::spawn(move || {
            for tcp in listener.incoming() {
                let (tcp, config) = (tcp.unwrap(), Arc::clone(&config));
                counted.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || serve(tcp, config));
            }
        });
        TlsBackend { addr, connections }
    }
}

fn serve(tcp: TcpStream, config: Arc<ServerConfig>) {
    tcp.set_nodelay(true).unwrap();
    let mut tls = StreamOwned::new(ServerConnection::new(config).unwrap(), tcp);
    let mut buffer = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end + 4;
            }
            let mut chunk = [0; 4096];
            match tls.read(&mut chunk) {
                Ok(0) | Err(_) => return,
                Ok(n) => buffer.extend_from_slice(&chunk[..n]),
            }
        };
        let head: Vec<u8> = buffer.drain(..end).collect();
        let line = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned();
        let body = format!("{line} sni={}", tls.conn.server_name().unwrap_or("-"));
        if line.contains("/cut") {
            // A body that ends early, without close_notify.
            let _ = tls.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf");
            let _ = tls.flush();
            return;
        }
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        if tls.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// Resident bytes of a process.
pub fn resident(pid: u32) -> i64 {
    let statm = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("statm")).unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<i64>().unwrap() * 4096
}
