//! Where an engine is, and which client serves it.

use std::fmt;
use std::path::PathBuf;

/// Where Docker listens when nobody says otherwise (`DOCKER_HOST` unset).
pub const DEFAULT_SOCKET: &str = "/var/run/docker.sock";

/// Longest path of a Unix socket: `sun_path` holds 108 bytes with its closing zero (unix(7)).
const SOCKET_PATH_BYTES: usize = 107;

/// The address of an engine, as `DOCKER_HOST` writes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EngineUrl {
    /// `unix:///var/run/docker.sock`
    Unix(PathBuf),
}

impl EngineUrl {
    /// Parses `unix:///path`. A bare absolute path is taken as well; an empty text is the default socket,
    /// as Docker's own client has it for an empty `DOCKER_HOST`.
    ///
    /// # Errors
    /// One sentence: what was expected, or that remote engines (tcp, ssh, http, https) cannot be used yet.
    pub fn parse(text: &str) -> Result<EngineUrl, String> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(EngineUrl::default());
        }
        let path = match text.split_once("://") {
            Some(("unix", path)) => path,
            Some((scheme @ ("tcp" | "ssh" | "http" | "https" | "tls" | "npipe" | "fd"), _)) => {
                return Err(format!(
                    "not yet: an engine by {scheme}:// (`{text}`); only unix:///path/to/docker.sock works"
                ));
            }
            Some(_) => return Err(expected(text)),
            None => text,
        };
        if !path.starts_with('/') || path.contains('\0') {
            return Err(expected(text));
        }
        if path.len() > SOCKET_PATH_BYTES {
            return Err(format!("the path of a Unix socket has at most {SOCKET_PATH_BYTES} bytes: `{path}`"));
        }
        Ok(EngineUrl::Unix(PathBuf::from(path)))
    }
}

fn expected(text: &str) -> String {
    format!("expected an engine such as `unix://{DEFAULT_SOCKET}`, got `{text}`")
}

impl Default for EngineUrl {
    fn default() -> Self {
        EngineUrl::Unix(PathBuf::from(DEFAULT_SOCKET))
    }
}

impl fmt::Display for EngineUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EngineUrl::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

/// What decides which client serves a call: the engine's address and its TLS material. Two entries of
/// `providers.docker` with the same key share one client.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientKey {
    /// The engine's address.
    pub url: EngineUrl,
    /// Hash of the TLS material; 0 for none (a Unix socket has none).
    pub tls: u64,
}

impl ClientKey {
    /// The key of an engine without TLS.
    pub fn plain(url: EngineUrl) -> Self {
        ClientKey { url, tls: 0 }
    }
}

impl fmt::Display for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.tls {
            0 => write!(f, "{}", self.url),
            tls => write!(f, "{}#{tls:016x}", self.url),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_unix_sockets_and_says_not_yet_to_the_rest() {
        let unix = |path: &str| Ok(EngineUrl::Unix(PathBuf::from(path)));
        assert_eq!(EngineUrl::parse("unix:///run/x.sock"), unix("/run/x.sock"));
        assert_eq!(EngineUrl::parse(" /run/x.sock "), unix("/run/x.sock"));
        assert_eq!(EngineUrl::parse(""), unix(DEFAULT_SOCKET));
        assert_eq!(EngineUrl::default().to_string(), "unix:///var/run/docker.sock");
        for remote in ["tcp://10.0.0.2:2375", "ssh://me@box", "https://box:2376", "http://x", "tls://x:1"] {
            let error = EngineUrl::parse(remote).unwrap_err();
            assert!(error.starts_with("not yet: "), "{error}");
        }
        for bad in ["unix://relative", "docker.sock", "ftp://x", "unix://"] {
            assert!(EngineUrl::parse(bad).unwrap_err().starts_with("expected an engine"), "{bad}");
        }
        let long = format!("unix:///{}", "x".repeat(107));
        assert!(EngineUrl::parse(&long).unwrap_err().contains("107 bytes"));
    }
}
