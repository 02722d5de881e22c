//! One client: a pool of connections to one engine, and plain GETs over it. It knows neither Docker's
//! paths (`api`) nor its JSON (`json`).

use super::backlog::Backlog;
use super::transport::{NoResolver, UnixConnector};
use super::url::EngineUrl;
use crate::limits;
use std::fmt;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;
use ureq::Agent;
use ureq::http::Response;

/// Bytes of an answer that is not 200: engines send one JSON object with a message.
const ERROR_BYTES: u64 = 64 * 1024;
/// Idle connections kept: one for each call at once, and one for the ping.
const IDLE_CONNECTIONS: usize = limits::ENGINE_INSPECTS + 2;

/// A client of one engine. ureq's agent is a cheap clone, so it never leaves this value: who holds a lease
/// on the client holds all there is.
pub struct Client {
    agent: Agent,
    url: EngineUrl,
}

impl Client {
    /// A client that connects when it is used.
    pub fn new(url: &EngineUrl) -> Self {
        Client::build(url, None)
    }

    /// A client whose first connection is `stream`; `backlog` is told of what is read from it.
    pub fn with_stream(url: &EngineUrl, stream: UnixStream, backlog: &Arc<Backlog>) -> Self {
        Client::build(url, Some((stream, Arc::clone(backlog))))
    }

    fn build(url: &EngineUrl, stream: Option<(UnixStream, Arc<Backlog>)>) -> Self {
        let EngineUrl::Unix(path) = url;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .max_redirects(0)
            .max_idle_connections(IDLE_CONNECTIONS)
            .max_idle_connections_per_host(IDLE_CONNECTIONS)
            .input_buffer_size(16 * 1024)
            .output_buffer_size(4 * 1024)
            .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")))
            .build();
        let connector = UnixConnector::new(path.clone(), stream);
        Client { agent: Agent::with_parts(config, connector, NoResolver), url: url.clone() }
    }

    /// The engine's address.
    pub fn url(&self) -> &EngineUrl {
        &self.url
    }

    /// `GET path`; one try may take `timeout`, and the body at most `ENGINE_ANSWER_BYTES`. A connection that
    /// breaks is tried once more.
    ///
    /// # Errors
    /// [`CallError`]: any status but 200 is one.
    pub fn get(&self, path: &str, timeout: Duration) -> Result<Answer, CallError> {
        match self.get_once(path, timeout) {
            // The engine may have closed an idle connection in the very moment it was taken again. Asking
            // twice does no harm, and a break that lasts comes back as the same error.
            Err(CallError::Io(_)) => self.get_once(path, timeout),
            result => result,
        }
    }

    fn get_once(&self, path: &str, timeout: Duration) -> Result<Answer, CallError> {
        let request = self.agent.get(format!("http://localhost{path}"));
        let response = request.config().timeout_global(Some(timeout)).build().call()?;
        Answer::read(response)
    }

    /// `GET path` whose body has no end: the head may take `head_timeout`, each later byte any time.
    ///
    /// # Errors
    /// [`CallError`] as for [`Client::get`]; its body is limited and so is the time for it.
    pub fn stream(&self, path: &str, head_timeout: Duration) -> Result<impl Read + use<>, CallError> {
        let request = self.agent.get(format!("http://localhost{path}"));
        let response = request.config().timeout_recv_response(Some(head_timeout)).build().call()?;
        if response.status() != 200 {
            return Err(Answer::read(response).err().unwrap_or(CallError::Io("no stream".into())));
        }
        Ok(response.into_body().into_with_config().limit(u64::MAX).reader())
    }

    /// Ends all its connections, also those that another thread reads from; later calls fail.
    pub fn shutdown(&self) {
        self.agent.clone().shutdown();
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("url", &self.url).finish_non_exhaustive()
    }
}

/// A 200 answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The body.
    pub body: Vec<u8>,
    /// `Api-Version`, as engines send it with every answer.
    pub api_version: Option<String>,
    /// `Date`, the engine's clock.
    pub date: Option<String>,
}

impl Answer {
    fn read(response: Response<ureq::Body>) -> Result<Answer, CallError> {
        let status = response.status().as_u16();
        let field = |name: &str| -> Option<String> {
            response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let (api_version, date) = (field("api-version"), field("date"));
        let limit = if status == 200 { limits::ENGINE_ANSWER_BYTES } else { ERROR_BYTES };
        let body = response.into_body().into_with_config().limit(limit).read_to_vec();
        match status {
            200 => Ok(Answer { body: body?, api_version, date }),
            status => {
                let body = body.unwrap_or_default();
                Err(CallError::Status { status, message: super::json::error_message(&body) })
            }
        }
    }
}

/// Why a call gave no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// Nobody listens (any more), or the socket may not be opened.
    Connect(String),
    /// Not answered in time.
    Late,
    /// The engine's answer is an error.
    Status { status: u16, message: String },
    /// An answer that is no HTTP, no JSON of Docker's, or larger than it may be.
    Malformed(String),
    /// The connection broke.
    Io(String),
}

impl From<ureq::Error> for CallError {
    fn from(error: ureq::Error) -> Self {
        match error {
            ureq::Error::Timeout(_) => CallError::Late,
            ureq::Error::Io(error) => match error.kind() {
                io::ErrorKind::ConnectionRefused
                | io::ErrorKind::NotFound
                | io::ErrorKind::PermissionDenied => CallError::Connect(error.to_string()),
                _ => CallError::Io(error.to_string()),
            },
            ureq::Error::BodyExceedsLimit(limit) => {
                CallError::Malformed(format!("its answer has more than {limit} bytes"))
            }
            error => CallError::Malformed(error.to_string()),
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::Connect(why) => write!(f, "cannot connect: {why}"),
            CallError::Late => f.write_str("no answer in time"),
            CallError::Status { status, message } if message.is_empty() => write!(f, "status {status}"),
            CallError::Status { status, message } => write!(f, "status {status}: {message}"),
            CallError::Malformed(why) => write!(f, "not an answer of Docker's API: {why}"),
            CallError::Io(why) => write!(f, "the connection broke: {why}"),
        }
    }
}

impl std::error::Error for CallError {}
