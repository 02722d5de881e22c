//! The thread that owns the connection of the event stream: it connects, agrees on a version, subscribes
//! and reads, all when told. While it reads it only parses and enqueues: moby skips a subscriber whose
//! queue of 1,024 events is full for 100 ms.

use super::super::api::{Api, ApiVersion, GreetError, greet};
use super::super::backlog::Backlog;
use super::super::client::{CallError, Client};
use super::super::json;
use super::super::socket::watch::{Waited, Watch};
use super::super::socket::{self, ConnectFailure};
use super::super::url::EngineUrl;
use super::machine::{Ending, Input};
use super::shell::Message;
use crate::limits;
use crate::util::Locked;
use crossbeam_channel::{Receiver, Sender};
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// What the thread is told.
#[derive(Clone, Copy, Debug)]
pub(super) enum Command {
    Connect { after: Duration },
    Greet,
    Subscribe { version: ApiVersion, since: i64 },
}

/// The client of the stream, where another thread can end it.
#[derive(Default)]
pub(super) struct Slot {
    state: Locked<SlotState>,
}

#[derive(Default)]
struct SlotState {
    stopped: bool,
    client: Option<Arc<Client>>,
}

impl Slot {
    /// Wakes the thread from whatever it reads, and lets it read no more.
    pub(super) fn stop(&self) {
        let client = self.state.with(|state| {
            state.stopped = true;
            state.client.take()
        });
        if let Some(client) = client {
            client.shutdown();
        }
    }

    /// True after `stop`.
    pub(super) fn is_stopped(&self) -> bool {
        self.state.with(|state| state.stopped)
    }

    /// False after `stop`: then `client` must not be used.
    fn put(&self, client: &Arc<Client>) -> bool {
        let (kept, old) = self.state.with(|state| match state.stopped {
            true => (false, None),
            false => (true, state.client.replace(Arc::clone(client))),
        });
        drop(old); // closes its connections, not under the lock
        kept
    }

    fn clear(&self) {
        drop(self.state.with(|state| state.client.take()));
    }
}

/// The thread's state.
pub(super) struct Stream {
    pub(super) name: Arc<str>,
    pub(super) url: EngineUrl,
    pub(super) pending: Duration,
    pub(super) slot: Arc<Slot>,
    pub(super) watch: Watch,
    pub(super) commands: Receiver<Command>,
    pub(super) events: Sender<Message>,
    /// Told of every event until its effect is published.
    pub(super) backlog: Arc<Backlog>,
    /// Lines that could not be read, so far.
    pub(super) malformed: u64,
}

/// The thread is to end.
struct Stopped;

impl Stream {
    /// Works until stopped, or until nobody sends commands or takes events any more.
    pub(super) fn run(mut self) {
        let mut client: Option<Arc<Client>> = None;
        while let Ok(command) = self.commands.recv() {
            let done = match (command, &client) {
                (Command::Connect { after }, _) => {
                    self.slot.clear();
                    self.backlog.forget();
                    client = None;
                    self.connect(after).map(|connected| client = connected)
                }
                (Command::Greet, Some(client)) => self.greet(client),
                (Command::Subscribe { version, since }, Some(client)) => {
                    self.subscribe(client, version, since)
                }
                (_, None) => Ok(()),
            };
            if done.is_err() || self.slot.is_stopped() {
                break;
            }
        }
        self.slot.clear();
    }

    fn send(&self, input: Input) -> Result<(), Stopped> {
        self.events.send(Message::Input(input)).map_err(|_| Stopped)
    }

    /// Waits, tries once (a few times when the socket has just appeared), and says how it went.
    fn connect(&mut self, after: Duration) -> Result<Option<Arc<Client>>, Stopped> {
        let mut waited = Waited::Elapsed;
        if !after.is_zero() {
            waited = self.watch.pause(after);
        }
        self.watch.arm();
        let mut result = self.connect_once();
        let settle: &[Duration] = if waited == Waited::Changed { &limits::ENGINE_SETTLE } else { &[] };
        for pause in settle {
            if waited == Waited::Stopped || result.is_ok() {
                break;
            }
            waited = self.watch.pause(*pause);
            result = self.connect_once();
        }
        if waited == Waited::Stopped {
            return Err(Stopped);
        }
        let stream = match result {
            Ok(stream) => stream,
            Err(failure) => return self.send(Input::ConnectFailed(failure)).map(|()| None),
        };
        self.watch.disarm();
        // The machine knows before anything is asked.
        self.send(Input::Connected)?;
        if let Err(error) = self.backlog.watch(&stream) {
            log::debug!("engine {}: its events can't be watched: {error}", self.name);
        }
        let client = Arc::new(Client::with_stream(&self.url, stream, &self.backlog));
        if self.slot.put(&client) { Ok(Some(client)) } else { Err(Stopped) }
    }

    fn connect_once(&self) -> Result<UnixStream, ConnectFailure> {
        let EngineUrl::Unix(path) = &self.url;
        socket::connect(path).map_err(|error| socket::explain(path, &error))
    }

    fn greet(&self, client: &Client) -> Result<(), Stopped> {
        self.send(match greet(client, self.pending) {
            Ok(mut greeting) => {
                greeting.engine_time = greeting.engine_time.or_else(our_time);
                Input::Greeted(greeting)
            }
            Err(GreetError::Incompatible(why)) => Input::Incompatible(why),
            Err(GreetError::Call(error)) => Input::Ended(ending(&error)),
        })
    }

    fn subscribe(&mut self, client: &Client, version: ApiVersion, since: i64) -> Result<(), Stopped> {
        let api = Api::new(client, version, self.pending);
        let mut body = match api.events(since, self.pending) {
            Ok(body) => body,
            Err(error) => return self.send(Input::Ended(ending(&error))),
        };
        self.send(Input::Subscribed)?;
        let ending = self.read(&mut body)?;
        // The end is on its way to the machine before it is no longer in the socket.
        let mark = self.backlog.mark();
        self.backlog.forget();
        drop(body);
        self.events.send(Message::Event(Input::Ended(ending), mark)).map_err(|_| Stopped)
    }

    /// Reads until the stream ends.
    fn read(&mut self, body: &mut impl Read) -> Result<Ending, Stopped> {
        let mut lines = Lines::default();
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let read = match body.read(&mut buffer) {
                Ok(0) => return Ok(Ending::Closed("the engine ended it".into())),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Ok(Ending::Closed(error.to_string())),
            };
            let mut rest = &buffer[..read];
            while let Some(line) = lines.next(&mut rest) {
                let event = match line.map_err(CallError::Malformed).and_then(json::event) {
                    Ok(Some(event)) => event,
                    Ok(None) => continue,
                    Err(error) => {
                        self.malformed(&error);
                        continue;
                    }
                };
                if self.events.len() >= limits::ENGINE_EVENTS {
                    return Ok(Ending::Overflow);
                }
                let message = Message::Event(Input::Event(event), self.backlog.mark());
                self.events.send(message).map_err(|_| Stopped)?;
            }
        }
    }

    /// Logged once, counted always.
    fn malformed(&mut self, error: &CallError) {
        self.malformed += 1;
        if self.malformed == 1 {
            log::warn!(
                "engine {}: an event cannot be read: {error}; more of them are only counted",
                self.name
            );
        } else {
            log::debug!("engine {}: {} events could not be read: {error}", self.name, self.malformed);
        }
    }
}

/// An engine that starts, stops or is killed breaks connections; other answers are a problem to be told.
fn ending(error: &CallError) -> Ending {
    match error {
        CallError::Io(_) | CallError::Connect(_) => Ending::Closed(error.to_string()),
        CallError::Late | CallError::Status { .. } | CallError::Malformed(_) => {
            Ending::Refused(format!("connected, but: {error}"))
        }
    }
}

/// Our own clock, for an engine that tells no time: on one machine it is the same.
#[allow(clippy::disallowed_methods)] // the docker lane reads the clock
fn our_time() -> Option<i64> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_nanos()).ok()
}

/// Cuts a stream into lines of at most `ENGINE_EVENT_BYTES`.
#[derive(Default)]
struct Lines {
    line: Vec<u8>,
    /// The last line was given out.
    taken: bool,
    too_long: bool,
}

impl Lines {
    /// The next line of `rest`, without its end; none if `rest` holds no end any more. Empty lines are
    /// skipped; of a line that is too long only the error is given.
    fn next(&mut self, rest: &mut &[u8]) -> Option<Result<&[u8], String>> {
        if std::mem::take(&mut self.taken) {
            self.line.clear();
        }
        while let Some(end) = rest.iter().position(|b| *b == b'\n') {
            let (line, after) = rest.split_at(end);
            *rest = &after[1..];
            self.push(line);
            if std::mem::take(&mut self.too_long) {
                return Some(Err(format!("a line of more than {} bytes", limits::ENGINE_EVENT_BYTES)));
            }
            if !self.line.trim_ascii().is_empty() {
                self.taken = true;
                return Some(Ok(&self.line));
            }
            self.line.clear();
        }
        self.push(rest);
        *rest = &[];
        None
    }

    fn push(&mut self, part: &[u8]) {
        if self.too_long || self.line.len() + part.len() > limits::ENGINE_EVENT_BYTES {
            self.too_long = true;
            self.line = Vec::new();
        } else {
            self.line.extend_from_slice(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(parts: &[&[u8]]) -> Vec<Result<Vec<u8>, String>> {
        let mut lines = Lines::default();
        let mut all = Vec::new();
        for part in parts {
            let mut rest = *part;
            while let Some(line) = lines.next(&mut rest) {
                all.push(line.map(<[u8]>::to_vec));
            }
        }
        all
    }

    #[test]
    fn lines_are_cut_wherever_the_reads_fall() {
        let text = b"{\"a\":1}\n\n{\"b\":2}\r\n{\"c\":3}\n{\"open\":";
        let whole = cut(&[text]);
        assert_eq!(whole.len(), 3);
        assert_eq!(whole[0], Ok(b"{\"a\":1}".to_vec()));
        for at in 0..text.len() {
            assert_eq!(cut(&[&text[..at], &text[at..]]), whole, "cut at {at}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_dropped_and_the_next_one_read() {
        let long = vec![b'x'; limits::ENGINE_EVENT_BYTES / 2 + 1];
        let lines = cut(&[b"{}\n", &long, &long, b"tail\n{}\n"]);
        assert_eq!(lines.len(), 3);
        assert!(lines[0].is_ok() && lines[1].is_err() && lines[2] == Ok(b"{}".to_vec()));
    }
}
