//! The engine's API itself, where the docker CLI would cost more than what is measured: one process per call.

use super::http::{Response, parse};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Time for one call; an engine that starts hundreds of containers at once takes its time.
const LIMIT: Duration = Duration::from_secs(180);

/// An engine's socket.
#[derive(Clone, Debug)]
pub struct Api(PathBuf);

impl Api {
    /// The engine that listens at `socket`.
    pub fn new(socket: &Path) -> Api {
        Api(socket.to_owned())
    }

    /// Makes a container `name` of the image `app` on the default bridge, with one label: its alias. It is
    /// not started, and killed at once when it is stopped.
    #[track_caller]
    pub fn create(&self, name: &str) {
        let body = format!(
            "{{\"Image\":\"app\",\"Cmd\":[\"/app\"],\"Env\":[\"NAME={name}\"],\"StopSignal\":\"KILL\",\
             \"Labels\":{{\"proxy.aliases\":\"{name}\"}}}}"
        );
        self.post(&format!("/containers/create?name={name}"), &body, 201);
    }

    /// Starts a container; gives the moment in which the call returned.
    #[track_caller]
    pub fn start(&self, name: &str) -> Instant {
        self.post(&format!("/containers/{name}/start"), "", 204)
    }

    /// Kills a container; the call returns before it is dead.
    #[track_caller]
    pub fn kill(&self, name: &str) -> Instant {
        self.post(&format!("/containers/{name}/kill"), "", 204)
    }

    /// Removes a container, running or not.
    #[track_caller]
    pub fn remove(&self, name: &str) -> Instant {
        self.call("DELETE", &format!("/containers/{name}?force=1"), "", 204)
    }

    #[track_caller]
    fn post(&self, path: &str, body: &str, wanted: u16) -> Instant {
        self.call("POST", path, body, wanted)
    }

    /// One call on a connection of its own; gives the moment in which its answer was whole.
    #[track_caller]
    fn call(&self, method: &str, path: &str, body: &str, wanted: u16) -> Instant {
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: docker\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        let (answer, at) =
            self.exchange(request.as_bytes()).unwrap_or_else(|e| panic!("{method} {path}: {e}"));
        assert_eq!(answer.status, wanted, "{method} {path}: {}", answer.text());
        at
    }

    fn exchange(&self, request: &[u8]) -> std::io::Result<(Response, Instant)> {
        let mut stream = UnixStream::connect(&self.0)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.write_all(request)?;
        let (mut bytes, mut part) = (Vec::new(), [0; 4096]);
        loop {
            let length = stream.read(&mut part)?;
            bytes.extend_from_slice(&part[..length]);
            if let Some(answer) = parse(&bytes) {
                return Ok((answer, Instant::now()));
            }
            if length == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}
