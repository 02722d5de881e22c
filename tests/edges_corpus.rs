//! The corpus of request heads (`fuzz/corpus/request_head`) through a whole Tidegate over real sockets: what the
//! backend saw is exactly the requests that were meant, for each of 128 readers that are lenient in other ways.
#![allow(clippy::disallowed_methods)] // tests use std's sockets, threads and clock

mod common;
mod edges_support;

use edges_support::case::{Act, Case, Meant};
use edges_support::judge;
use edges_support::play::Stage;
use edges_support::readers::Reader;
use std::fs;
use std::path::{Path, PathBuf};
use tidegate::http::{Body, ChunkDecoder, Request, check_chunks, parse_host, parse_request};
use tidegate::route::Table;

#[test]
fn what_arrives_is_what_was_meant_and_one_request_to_every_reader() {
    let stage = Stage::new();
    let (mut wrong, mut arrived, mut refused) = (Vec::new(), 0, 0);
    for path in corpus() {
        let input = fs::read(&path).unwrap();
        let meaning = Meaning::of(&input);
        arrived += meaning.case.meant.len();
        refused += usize::from(meaning.case.meant.is_empty());
        if let Err(error) = meaning.hold(&stage) {
            wrong.push(format!("{}: {error}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(arrived > 30 && refused > 30, "{arrived} arrived, {refused} inputs hold none");
}

fn corpus() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/request_head");
    let mut paths: Vec<PathBuf> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// An input as it is meant.
struct Meaning {
    case: Case,
    /// Some go to hosts that have no route: they must not arrive, the rest may.
    strangers: bool,
}

impl Meaning {
    fn of(input: &[u8]) -> Meaning {
        let (meant, cut, backend) = Default::default();
        let client = vec![Act::Send(input.to_vec())];
        let case = Case { meant, cut, tunnel: false, trusted: false, client, backend };
        let mut meaning = Meaning { case, strangers: false };
        if meaning.read(input) {
            meaning.case.client.push(Act::Shut);
        }
        meaning
    }

    /// True if more bytes are waited for.
    fn read(&mut self, input: &[u8]) -> bool {
        let mut rest = input;
        loop {
            let request = match parse_request(rest) {
                Ok(Some(request)) => request,
                Ok(None) => return true,
                Err(_) => return false,
            };
            rest = &rest[request.head_len..];
            let mut meant = meant(&request);
            let routed = is_routed(&request);
            self.strangers |= !routed;
            let (end, waits) = match body(request.body, rest, &mut meant.body) {
                Some(len) => (Some(len), false),
                None => (None, request.body != Body::Chunked || check_chunks(rest).is_ok()),
            };
            match end {
                Some(len) => rest = &rest[len..],
                None => {
                    self.case.cut = routed.then_some(meant);
                    return waits;
                }
            }
            if routed {
                self.case.meant.push(meant);
            }
            if !request.keep_alive {
                return false;
            }
        }
    }

    fn hold(&self, stage: &Stage) -> Result<(), String> {
        let outcome = stage.run(&self.case)?;
        let meant: Vec<Meant> = self.case.meant.iter().cloned().chain([judge::probe()]).collect();
        let mut first = None;
        for reader in Reader::all() {
            let seen = judge::seen(&self.case, &outcome, &reader)?;
            let mut left = meant.iter();
            let as_meant = match self.strangers {
                true => seen.iter().all(|one| left.any(|other| other == one)),
                false => seen == meant,
            };
            if !as_meant || *first.get_or_insert_with(|| seen.clone()) != seen {
                return Err(format!("{reader:?} saw {seen:?}, meant was {meant:?}"));
            }
        }
        Ok(())
    }
}

fn meant(request: &Request<'_>) -> Meant {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Meant {
        method: text(request.method.as_bytes()),
        target: text(request.path_and_query()),
        body: Vec::new(),
    }
}

/// The stage has one route, `app`.
fn is_routed(request: &Request<'_>) -> bool {
    let routes = Table::build(&[], [("app".to_owned(), ())]);
    parse_host(request.host).is_ok() && routes.find(request.host).is_some()
}

/// How long the body is; none if it doesn't end.
fn body(framing: Body, rest: &[u8], out: &mut Vec<u8>) -> Option<usize> {
    let len = match framing {
        Body::None => 0,
        Body::Length(len) => usize::try_from(len).ok().filter(|len| *len <= rest.len())?,
        Body::Chunked => {
            let (mut decoder, mut at) = (ChunkDecoder::new(), 0);
            while at < rest.len() {
                let step = decoder.step(&rest[at..]).ok()?;
                out.extend_from_slice(&rest[at..][step.data]);
                at += step.consumed;
                if step.done {
                    return Some(at);
                }
            }
            return None;
        }
    };
    out.extend_from_slice(&rest[..len]);
    Some(len)
}
