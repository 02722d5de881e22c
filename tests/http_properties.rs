//! What must hold for every input of `tidegate::http`: seeded random walks, and the golden cases as a corpus
//! that is mutated. The properties themselves are those that are fuzzed: `fuzz/properties`.

#[allow(dead_code)] // `tests/corpus.rs` runs the others
#[path = "../fuzz/properties/mod.rs"]
mod properties;

use properties::chunked::{self, End};
use properties::{Verdict, request, response, show};
use std::fs;
use std::path::Path;

use tidegate::http::{
    Answer, LAST_CHUNK, Method, ResponseBody, head_complete, parse_request, parse_response, write_answer,
    write_chunk,
};
use tidegate::limits;
use tidegate::util::rng::Rng;

const ROUNDS: u64 = 40_000;

// --- chunks -------------------------------------------------------------------------------------------

#[test]
fn chunks_come_out_the_same_however_they_are_cut() {
    let mut rng = Rng::new(1);
    let (mut whole, mut refused, mut cut) = (0, 0, 0);
    for _ in 0..ROUNDS / 4 {
        match chunked::check(&chunked_input(&mut rng)).end {
            End::Whole(_) => whole += 1,
            End::Refused(_) => refused += 1,
            End::Cut => cut += 1,
        }
    }
    assert!(whole > 1000 && refused > 1000 && cut > 50, "{whole} whole, {refused} refused, {cut} cut");
}

#[test]
fn what_is_written_in_chunks_is_read_again() {
    let mut rng = Rng::new(3);
    for _ in 0..2_000 {
        let (mut body, mut wire) = (Vec::new(), Vec::new());
        for _ in 0..rng.below(6) {
            let piece: Vec<u8> = (0..rng.below(300)).map(|_| rng.next_u64() as u8).collect();
            write_chunk(&mut wire, &piece);
            body.extend(piece);
        }
        wire.extend_from_slice(LAST_CHUNK);
        let end = wire.len();
        wire.extend_from_slice(b"GET / HTTP/1.1\r\n");
        let decoded = chunked::check(&wire);
        assert_eq!((decoded.data, decoded.end), (body, End::Whole(end)));
    }
}

/// Well-formed chunks with extensions and trailers, half of the time with some bytes changed.
fn chunked_input(rng: &mut Rng) -> Vec<u8> {
    let mut out = Vec::new();
    let extensions = ["", "", "", ";a", ";a=b", "; a = \"x;\\\"y\" ;c", ";\tq"];
    for _ in 0..rng.below(4) {
        let len = 1 + rng.below(40) as usize;
        let extension = extensions[rng.below(extensions.len() as u64) as usize];
        let size = if rng.below(2) == 0 { format!("{len:x}") } else { format!("{len:03X}") };
        out.extend_from_slice(format!("{size}{extension}\r\n").as_bytes());
        out.extend((0..len).map(|_| b"0a\r\n;x"[rng.below(6) as usize]));
        out.extend_from_slice(b"\r\n");
    }
    let ends = ["0\r\n\r\n", "0\r\n\r\n", "00;x\r\nA: b\r\nC:\r\n\r\n", "0\r\nX-Sum: \t1\r\n\r\nGET /"];
    out.extend_from_slice(ends[rng.below(ends.len() as u64) as usize].as_bytes());
    if rng.below(2) == 0 {
        for _ in 0..1 + rng.below(3) {
            mutate(rng, &mut out);
        }
    }
    out
}

// --- requests -----------------------------------------------------------------------------------------

#[test]
fn no_request_head_panics_and_what_is_taken_goes_on_as_the_same_one_message() {
    let corpus = corpus("request");
    let mut rng = Rng::new(4);
    let (mut taken, mut refused) = (0, 0);
    for round in 0..ROUNDS {
        let mut input = corpus[rng.below(corpus.len() as u64) as usize].clone();
        for _ in 0..rng.below(4) {
            mutate(&mut rng, &mut input);
        }
        if round % 7 == 0 {
            input.truncate(rng.below(input.len() as u64 + 1) as usize);
        }
        match request::check(&input) {
            Verdict::Taken => taken += 1,
            Verdict::Refused => refused += 1,
            Verdict::Partial => {}
        }
    }
    assert!(taken > ROUNDS / 10 && refused > ROUNDS / 10, "{taken} taken, {refused} refused");
}

#[test]
fn a_head_without_end_gets_its_verdict_at_the_limit() {
    let mut buf = b"GET / HTTP/1.1\r\nHost: a\r\nX: ".to_vec();
    let mut scanned = 0;
    while !head_complete(&buf, &mut scanned) {
        assert!(buf.len() < limits::REQUEST_HEAD_BYTES);
        buf.extend_from_slice(&[b'a'; 61]);
    }
    assert_eq!(parse_request(&buf).map(|_| ()).map_err(|reject| reject.status), Err(431));
}

// --- responses and answers ----------------------------------------------------------------------------

#[test]
fn no_response_head_panics_and_what_is_taken_goes_on_as_the_same() {
    let corpus = corpus("response");
    let mut rng = Rng::new(6);
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..ROUNDS {
        let mut input = corpus[rng.below(corpus.len() as u64) as usize].clone();
        for _ in 0..rng.below(4) {
            mutate(&mut rng, &mut input);
        }
        match response::check(&input) {
            Verdict::Taken => taken += 1,
            Verdict::Refused => refused += 1,
            Verdict::Partial => {}
        }
    }
    assert!(taken > ROUNDS / 10 && refused > ROUNDS / 10, "{taken} taken, {refused} refused");
}

#[test]
fn an_answer_is_one_whole_response_and_says_no_more_than_it_should() {
    let mut rng = Rng::new(7);
    let alphabet: Vec<char> = "ab<>&\"'\\/\r\n\t\0\u{1b}\u{7f}\u{85}\u{2028}äé😀{}`=".chars().collect();
    let accepts = ["text/html", "application/json", "text/plain"];
    for round in 0..3_000 {
        let len = rng.below(30);
        let reason: String = (0..len).map(|_| alphabet[rng.below(alphabet.len() as u64) as usize]).collect();
        let accept = accepts[round % 3];
        let a = Answer {
            status: 400 + rng.below(200) as u16,
            reason: &reason,
            request_id: if rng.below(2) == 0 { "r-1" } else { &reason },
            retry_after: (rng.below(2) == 0).then_some(rng.next_u64() as u32),
            keep_alive: rng.below(2) == 0,
            head_only: false,
        };
        let mut out = Vec::new();
        write_answer(&mut out, Some(accept.as_bytes()), &a);
        let response = match parse_response(&out, &Method::Get) {
            Ok(Some(response)) => response,
            other => panic!("{other:?} of {}", show(&out)),
        };
        let page = std::str::from_utf8(&out[response.head_len..]).expect("a page in UTF-8");
        assert_eq!(response.body, ResponseBody::Length(page.len() as u64));
        assert_eq!((response.status, response.keep_alive), (a.status, a.keep_alive));
        assert!(response.field("content-type").is_some_and(|v| v.starts_with(accept.as_bytes())));
        assert!(!page.chars().any(|c| c.is_control() && c != '\n'), "{page:?}");
        match accept {
            "application/json" => {
                let json: serde_json::Value = serde_json::from_str(page).expect("JSON");
                assert_eq!((&json["reason"], &json["status"]), (&reason.clone().into(), &a.status.into()));
            }
            "text/html" => {
                let tags = page.matches('<').count();
                assert_eq!(tags, html_tags_of_an_empty_answer(), "{page}");
            }
            _ => assert_eq!(page.lines().count(), 1 + usize::from(!a.request_id.is_empty())),
        }
        check_head_only(&out[..response.head_len], accept, &a);
    }
}

/// `HEAD` gets the same head and nothing else.
fn check_head_only(head: &[u8], accept: &str, a: &Answer<'_>) {
    let mut out = Vec::new();
    write_answer(&mut out, Some(accept.as_bytes()), &Answer { head_only: true, ..*a });
    assert_eq!(out, head);
}

fn html_tags_of_an_empty_answer() -> usize {
    let a = Answer {
        status: 404,
        reason: "",
        request_id: "",
        retry_after: None,
        keep_alive: true,
        head_only: false,
    };
    let mut out = Vec::new();
    write_answer(&mut out, Some(b"text/html"), &a);
    out.iter().filter(|b| **b == b'<').count()
}

// --- helpers ------------------------------------------------------------------------------------------

/// Heads that are worth changing: what stands in the golden files of that kind, without the longest ones.
fn corpus(kind: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/http").join(kind);
    let mut files: Vec<_> =
        fs::read_dir(dir).expect("the golden directory").map(|e| e.expect("an entry").path()).collect();
    files.sort();
    let inputs = files.iter().map(|file| {
        let text = fs::read_to_string(file).expect("a golden file in UTF-8");
        let head = text.split("-----\n").next().unwrap_or_default();
        let lines = head.lines().filter(|line| !line.starts_with("# ") && !line.starts_with('@'));
        lines.flat_map(plain_escapes).collect::<Vec<u8>>()
    });
    let inputs: Vec<_> = inputs.filter(|input| !input.is_empty()).collect();
    assert!(inputs.len() > 40, "{} inputs of kind {kind}", inputs.len());
    inputs
}

/// The bytes of a golden line; repetitions stay as they are written, which is a fine input, too.
fn plain_escapes(line: &str) -> Vec<u8> {
    let text = line.replace("\\r", "\r").replace("\\n", "\n").replace("\\t", "\t").replace("\\s", " ");
    text.replace("\\0", "\0").into_bytes()
}

/// Changes, removes, inserts or doubles a byte, or exchanges a line end or a word.
fn mutate(rng: &mut Rng, input: &mut Vec<u8>) {
    const BYTES: &[u8] = b"\r\n\0\t :;,/@#%*_-05aA\x7f\x80\xff\"\\HTP.";
    const WORDS: [&[u8]; 12] = [
        b"\r\n",
        b"\n",
        b"\r",
        b"\r\n ",
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"X_Forwarded-For: 10.0.0.1\r\n",
        b"Connection: x-forwarded-for, host\r\n",
        b"Host: b\r\n",
        b" HTTP/1.1\r\n",
        b"0\r\n\r\n",
        b"Expect: 100-continue\r\n",
    ];
    let at = rng.below(input.len() as u64 + 1) as usize;
    let byte = BYTES[rng.below(BYTES.len() as u64) as usize];
    match rng.below(6) {
        0 if at < input.len() => input[at] = byte,
        1 if at < input.len() => drop(input.remove(at)),
        2 if at < input.len() => input.insert(at, input[at]),
        3 => {
            // a word between two lines does more than one within a word
            let line = input[..at].iter().rposition(|b| *b == b'\n').map_or(0, |lf| lf + 1);
            let word = WORDS[rng.below(WORDS.len() as u64) as usize];
            drop(input.splice(line..line, word.iter().copied()));
        }
        4 => {
            let word = WORDS[rng.below(WORDS.len() as u64) as usize];
            drop(input.splice(at..at, word.iter().copied()));
        }
        _ => input.insert(at, byte),
    }
}
