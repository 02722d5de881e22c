//! The commands that ask a running Tidegate by its admin API.

use super::show;
use crate::limits::{ADMIN_ANSWER_BYTES, ADMIN_TIMEOUT, HEALTHCHECK_TIMEOUT};
use serde_json::Value;
use std::net::SocketAddr;
use std::process::ExitCode;
use ureq::Agent;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{NextTimeout, TcpConnector};

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    Routes,
    Problems,
    Certs,
    Healthcheck,
    Reload,
}

/// Asks the Tidegate at `addr` and prints its answer; exit code 1 if nobody answers or the answer is no.
pub(super) fn ask(question: Question, addr: SocketAddr, json: bool) -> ExitCode {
    match call(question, addr) {
        Err(error) => {
            eprintln!("tidegate: no Tidegate answers at http://{addr}: {error}");
            eprintln!(
                "is it running? `admin.addr`, TIDEGATE_ADMIN_ADDR or --admin-addr say where it is asked"
            );
            ExitCode::FAILURE
        }
        Ok((status, body)) => print(question, status, &body, json),
    }
}

fn print(question: Question, status: u16, body: &str, json: bool) -> ExitCode {
    let Ok(value) = serde_json::from_str::<Value>(body) else {
        return match (question, status) {
            (Question::Healthcheck, 200) => {
                println!("{}", body.trim_end());
                ExitCode::SUCCESS
            }
            _ => {
                eprintln!("tidegate: answered {status}: {}", body.trim_end());
                ExitCode::FAILURE
            }
        };
    };
    if json {
        print!("{body}");
    } else {
        match question {
            Question::Routes => print!("{}", show::routes(&value)),
            Question::Problems => print!("{}", show::problems(&value)),
            Question::Certs => print!("{}", show::certs(&value)),
            Question::Reload => print!("{}", show::reload(&value)),
            Question::Healthcheck => println!("answered {status}"),
        }
    }
    if status == 200 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn call(question: Question, addr: SocketAddr) -> Result<(u16, String), ureq::Error> {
    let patience = if question == Question::Healthcheck { HEALTHCHECK_TIMEOUT } else { ADMIN_TIMEOUT };
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .max_redirects(0)
        .timeout_global(Some(patience))
        .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")))
        .build();
    let agent = Agent::with_parts(config, TcpConnector::default(), Fixed(addr));
    let url = |path: &str| format!("http://{addr}{path}");
    let mut response = match question {
        Question::Routes => agent.get(url("/api/routes")).call()?,
        Question::Problems => agent.get(url("/api/problems")).call()?,
        Question::Certs => agent.get(url("/api/certs")).call()?,
        Question::Healthcheck => agent.get(url("/healthz")).call()?,
        Question::Reload => agent.post(url("/api/reload")).send_empty()?,
    };
    let status = response.status().as_u16();
    let body = response.body_mut().with_config().limit(ADMIN_ANSWER_BYTES as u64).read_to_string()?;
    Ok((status, body))
}

/// The one address there is to ask: no DNS.
#[derive(Debug)]
struct Fixed(SocketAddr);

impl Resolver for Fixed {
    fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut addresses = self.empty();
        addresses.push(self.0);
        Ok(addresses)
    }
}
