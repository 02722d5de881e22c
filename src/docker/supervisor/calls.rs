//! The threads that call: list, inspect and info on `ENGINE_INSPECTS` of them, the ping on one of its own
//! (it must not wait behind a slow list). All over the shared client, whose lease is held for one batch of
//! jobs and given back when there is nothing more to ask.

use super::super::api::{Api, ApiVersion};
use super::super::client::{CallError, Client};
use super::Clients;
use super::machine::Input;
use super::shell::Message;
use crate::docker::url::ClientKey;
use crate::lifecycle::Lease;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

/// One call to make.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) session: u64,
    pub(super) version: ApiVersion,
    pub(super) call: Call,
}

/// Which.
#[derive(Debug)]
pub(super) enum Call {
    Info,
    List,
    Inspect(String),
    Ping,
}

/// What a calling thread needs.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) clients: Arc<Clients>,
    pub(super) key: ClientKey,
    pub(super) timeout: Duration,
    pub(super) reap_after: Duration,
    pub(super) jobs: Receiver<Job>,
    pub(super) answers: Sender<Message>,
}

impl Caller {
    /// Works until nobody can send jobs, or take answers, any more.
    pub(super) fn run(self) {
        while let Some(first) = self.wait() {
            let lease = self.lease();
            let mut job = Some(first);
            while let Some(next) = job.take() {
                let input = self.call(lease.as_ref(), next);
                if self.answers.send(Message::Input(input)).is_err() {
                    return;
                }
                job = self.jobs.try_recv().ok();
            }
        }
    }

    /// The next job; closes clients that are idle meanwhile.
    fn wait(&self) -> Option<Job> {
        loop {
            match self.jobs.recv_timeout(self.reap_after) {
                Ok(job) => return Some(job),
                Err(RecvTimeoutError::Timeout) => self.clients.reap(self.reap_after),
                Err(RecvTimeoutError::Disconnected) => return None,
            };
        }
    }

    fn lease(&self) -> Result<Lease<ClientKey, Client>, CallError> {
        let make = || Ok::<_, Infallible>(Client::new(&self.key.url));
        self.clients.acquire(&self.key, make).map_err(|error| CallError::Io(format!("{error:?}")))
    }

    fn call(&self, lease: Result<&Lease<ClientKey, Client>, &CallError>, job: Job) -> Input {
        let Job { session, version, call } = job;
        let api = lease.map(|lease| Api::new(lease.get(), version, self.timeout)).map_err(Clone::clone);
        match call {
            Call::Info => Input::Info { session, result: api.and_then(|api| api.info()) },
            Call::List => Input::Listed { session, result: api.and_then(|api| api.list()) },
            Call::Ping => Input::Pong { session, result: api.and_then(|api| api.ping()) },
            Call::Inspect(id) => {
                let result = api.and_then(|api| api.inspect(&id));
                Input::Inspected { session, id, result }
            }
        }
    }
}

impl Job {
    /// The answer to a job that found no room in the queue.
    pub(super) fn refused(self) -> Input {
        let error = CallError::Io("too many calls are waiting".into());
        let session = self.session;
        match self.call {
            Call::Info => Input::Info { session, result: Err(error) },
            Call::List => Input::Listed { session, result: Err(error) },
            Call::Ping => Input::Pong { session, result: Err(error) },
            Call::Inspect(id) => Input::Inspected { session, id, result: Err(error) },
        }
    }
}
