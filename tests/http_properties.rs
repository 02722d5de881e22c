//! What must hold for every input of `tidegate::http`: seeded random walks, and the golden cases as a corpus
//! that is mutated.

use std::fs;
use std::path::Path;

use tidegate::http::{
    Answer, ChunkDecoder, Forward, LAST_CHUNK, Method, Request, Response, ResponseBody, ResponseFraming,
    Version, head_complete, parse_host, parse_request, parse_response, write_answer, write_chunk,
    write_forward_request, write_forward_response,
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
        let input = chunked_input(&mut rng);
        let expected = decode(&input, |_| usize::MAX);
        assert_eq!(decode(&input, |_| 1), expected, "byte by byte: {}", show(&input));
        for _ in 0..3 {
            let at_random = decode(&input, |left| 1 + rng.below(left as u64) as usize);
            assert_eq!(at_random, expected, "at random: {}", show(&input));
        }
        match expected.verdict {
            Verdict::Whole(_) => whole += 1,
            Verdict::Refused(_) => refused += 1,
            Verdict::Cut => cut += 1,
        }
    }
    assert!(whole > 1000 && refused > 1000 && cut > 50, "{whole} whole, {refused} refused, {cut} cut");
}

#[test]
fn chunks_are_read_as_a_second_reader_reads_them() {
    let mut rng = Rng::new(2);
    for _ in 0..ROUNDS / 2 {
        let input = chunked_input(&mut rng);
        if input.contains(&b';') {
            continue; // the second reader knows no extensions
        }
        let got = match decode(&input, |_| usize::MAX) {
            Decoded { data, verdict: Verdict::Whole(consumed) } => Some((data, consumed)),
            _ => None,
        };
        assert_eq!(got, second_reader(&input), "{}", show(&input));
    }
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
        let decoded = decode(&wire, |left| 1 + rng.below(left as u64) as usize);
        assert_eq!(decoded, Decoded { data: body, verdict: Verdict::Whole(end) });
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Decoded {
    data: Vec<u8>,
    verdict: Verdict,
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// The body took so many bytes.
    Whole(usize),
    Refused(&'static str),
    Cut,
}

/// Decodes `input` in pieces whose lengths `piece` chooses (given how much is left).
fn decode(input: &[u8], mut piece: impl FnMut(usize) -> usize) -> Decoded {
    let (mut decoder, mut data, mut at) = (ChunkDecoder::new(), Vec::new(), 0);
    while at < input.len() {
        let end = at.saturating_add(piece(input.len() - at)).min(input.len());
        let mut rest = &input[at..end];
        while !rest.is_empty() {
            let step = match decoder.step(rest) {
                Ok(step) => step,
                Err(error) => {
                    assert_eq!(decoder.step(b""), Err(error), "an error stays");
                    return Decoded { data, verdict: Verdict::Refused(error.0) };
                }
            };
            assert!(step.consumed > 0 && step.data.end <= step.consumed, "a step goes on: {step:?}");
            data.extend_from_slice(&rest[step.data.clone()]);
            at += step.consumed;
            rest = &rest[step.consumed..];
            if step.done {
                return Decoded { data, verdict: Verdict::Whole(at) };
            }
        }
    }
    Decoded { data, verdict: Verdict::Cut }
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

/// The body and its length on the wire, if `input` begins with a whole one: read in one go, line by line.
fn second_reader(input: &[u8]) -> Option<(Vec<u8>, usize)> {
    let line_at = |at: usize| {
        let end = at + input[at..].windows(2).position(|w| w == b"\r\n")?;
        (!input[at..end].iter().any(|b| b"\r\n".contains(b))).then_some((&input[at..end], end + 2))
    };
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let (line, after) = line_at(at)?;
        let is_size = !line.is_empty() && line.iter().all(u8::is_ascii_hexdigit);
        let size = is_size.then(|| usize::from_str_radix(std::str::from_utf8(line).ok()?, 16).ok())??;
        at = after;
        if size == 0 {
            break;
        }
        body.extend_from_slice(input.get(at..at.checked_add(size)?)?);
        at += size;
        if input.get(at..at + 2)? != b"\r\n" {
            return None;
        }
        at += 2;
    }
    loop {
        let (line, after) = line_at(at)?;
        at = after;
        if line.is_empty() {
            return Some((body, at));
        }
        let colon = line.iter().position(|b| *b == b':')?;
        let (name, value) = line.split_at(colon);
        let name_ok = |b: &u8| b.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(b);
        if name.is_empty() || !name.iter().all(name_ok) {
            return None;
        }
        if value.iter().any(|b| (*b < b' ' && *b != b'\t') || *b == 0x7f) {
            return None;
        }
    }
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
        match parse_request(&input) {
            Ok(Some(request)) => {
                taken += 1;
                check_taken(&input, &request);
            }
            Ok(None) => {}
            Err(reject) => {
                refused += 1;
                assert!([400, 413, 414, 417, 431, 501, 505].contains(&reject.status), "{reject:?}");
            }
        }
    }
    assert!(taken > ROUNDS / 10 && refused > ROUNDS / 10, "{taken} taken, {refused} refused");
}

/// What must hold for a request that is taken, and for its forwarded head.
fn check_taken(input: &[u8], request: &Request<'_>) {
    let head = &input[..request.head_len];
    assert!(head.ends_with(b"\r\n\r\n"), "{}", show(head));
    for (i, b) in head.iter().enumerate() {
        let fine = match b {
            b'\r' => head.get(i + 1) == Some(&b'\n'),
            b'\n' => i > 0 && head[i - 1] == b'\r',
            b'\t' => true,
            _ => *b >= b' ' && *b != 0x7f,
        };
        assert!(fine, "byte {i} of {}", show(head));
    }
    assert!(request.host.is_empty() || parse_host(request.host).is_ok());
    assert!(request.path_and_query().len() <= limits::TARGET_BYTES);

    let forward = Forward {
        client: [192, 0, 2, 7].into(),
        trusted: false,
        scheme: "http",
        local_port: 80,
        request_id: "r-1",
        instance: "tidegate-test",
    };
    let mut out = b"before".to_vec();
    write_forward_request(&mut out, request, &forward);
    let out = &out[6..];
    if request.host.is_empty() {
        return; // from HTTP/1.0 without Host: we would refuse the empty one ourselves
    }
    let again = match parse_request(out) {
        Ok(Some(again)) => again,
        // our own fields may push a full head over its limits
        Err(reject) if reject.status == 431 => return,
        other => panic!("{other:?} of {}", show(out)),
    };
    assert_eq!(again.head_len, out.len(), "one message: {}", show(out));
    assert_eq!(again.method, request.method);
    assert_eq!(again.path_and_query(), request.path_and_query());
    assert_eq!(again.host, request.host);
    assert_eq!(again.body, request.body);
    assert!(again.keep_alive && !again.expect_continue);
    assert!(again.protocols().eq(request.protocols()), "the wish to change protocols");
    for (name, value) in [("X-Forwarded-For", "192.0.2.7"), ("X-Forwarded-Proto", "http")] {
        let normal = |n: &[u8]| String::from_utf8_lossy(n).to_lowercase().replace('_', "-");
        let all = again.fields.iter().filter(|f| normal(f.name) == name.to_lowercase());
        assert_eq!(all.map(|f| f.value).collect::<Vec<_>>(), [value.as_bytes()], "{}", show(out));
    }
}

#[test]
fn a_trickling_head_gets_its_verdict_at_the_same_byte() {
    let mut rng = Rng::new(5);
    for mut input in corpus("request") {
        input.truncate(2_000);
        for mutated in 0..4 {
            if mutated > 0 {
                mutate(&mut rng, &mut input);
            }
            let mut scanned = 0;
            for end in 1..=input.len() {
                let told = head_complete(&input[..end], &mut scanned);
                let parsed = parse_request(&input[..end]);
                if told {
                    assert!(!matches!(parsed, Ok(None)), "told too early: {}", show(&input[..end]));
                    break;
                }
                // a lone CR before a request is seen by the parser at once, by the scan at the next LF
                assert!(matches!(parsed, Ok(None)) || input[0] == b'\r', "told too late: {}", show(&input));
            }
        }
    }
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
        let to = [Method::Get, Method::Head][rng.below(2) as usize];
        match parse_response(&input, &to) {
            Ok(Some(response)) => {
                taken += 1;
                check_response(&response, &to);
            }
            Ok(None) => {}
            Err(_) => refused += 1,
        }
    }
    assert!(taken > ROUNDS / 10 && refused > ROUNDS / 10, "{taken} taken, {refused} refused");
}

fn check_response(response: &Response<'_>, to: &Method<'_>) {
    let framing = ResponseFraming::of(response.body, Version::Http11);
    let mut out = Vec::new();
    write_forward_response(&mut out, response, framing, true, Version::Http11);
    let again = match parse_response(&out, to) {
        Ok(Some(again)) => again,
        other => panic!("{other:?} of {}", show(&out)),
    };
    let expected = match response.body {
        ResponseBody::UntilClose => ResponseBody::Chunked,
        other => other,
    };
    assert_eq!((again.status, again.body, again.head_len), (response.status, expected, out.len()));
    assert!(again.keep_alive, "{}", show(&out));

    out.clear();
    write_forward_response(&mut out, response, framing, false, Version::Http11);
    match parse_response(&out, to) {
        Ok(Some(again)) => assert!(!again.keep_alive || again.is_interim(), "{}", show(&out)),
        other => panic!("{other:?} of {}", show(&out)),
    }
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

fn show(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
