//! Response heads: one verdict however they trickle in, and what goes on is the same response.

use super::wire::{Head, fold, named_by_connection};
use super::{Verdict, show};
use tidegate::http::{
    BadResponse, Method, Request, Response, ResponseBody, ResponseFraming, Version, head_complete,
    parse_answer, parse_request, parse_response, write_forward_response,
};

/// Reads `input` as the head of answers to `GET`, to `HEAD` and to a wish for another protocol.
pub fn check(input: &[u8]) -> Verdict {
    let wish = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket, x/1\r\n\r\n";
    let Ok(Some(wish)) = parse_request(wish) else { panic!("the wish is a request") };
    trickle(input);
    match parse_answer(input, &wish) {
        Ok(Some(response)) if response.status == 101 => switched(&response, &wish),
        other => assert_eq!(kind(&other), kind(&parse_response(input, &Method::Get)), "{}", show(input)),
    }
    check_as_answer_to(input, &Method::Head);
    check_as_answer_to(input, &Method::Get)
}

/// Reads `input` as the head of an answer to the method `to`.
pub fn check_as_answer_to(input: &[u8], to: &Method<'_>) -> Verdict {
    match parse_response(input, to) {
        Ok(Some(response)) => {
            assert_ne!(response.status, 101, "a change of protocols that nobody asked for");
            let head = Head::read(&input[..response.head_len]);
            assert!(response.fields.iter().map(|f| (f.name, f.value)).eq(head.fields.iter().copied()));
            for client in [Version::Http10, Version::Http11] {
                for keep_alive in [false, true] {
                    forwarded(&response, to, client, keep_alive);
                }
            }
            Verdict::Taken
        }
        Ok(None) => Verdict::Partial,
        Err(_) => Verdict::Refused,
    }
}

fn kind(parsed: &Result<Option<Response<'_>>, BadResponse>) -> Verdict {
    match parsed {
        Ok(Some(_)) => Verdict::Taken,
        Ok(None) => Verdict::Partial,
        Err(_) => Verdict::Refused,
    }
}

/// Byte by byte the end is told when the parser has its verdict, which later bytes don't change.
fn trickle(input: &[u8]) {
    let verdict = |buf: &[u8]| kind(&parse_response(buf, &Method::Get));
    let mut scanned = 0;
    let told = (1..=input.len()).find(|end| head_complete(&input[..*end], &mut scanned));
    let Some(end) = told else {
        // what begins otherwise is refused at once, and its end never waited for
        let begun = b"HTTP/1.".starts_with(&input[..input.len().min(7)]);
        assert_eq!(
            verdict(input),
            if begun { Verdict::Partial } else { Verdict::Refused },
            "{}",
            show(input)
        );
        return;
    };
    assert_ne!(verdict(&input[..end]), Verdict::Partial, "told too early: {}", show(&input[..end]));
    assert_eq!(verdict(&input[..end]), verdict(input), "later bytes change the verdict: {}", show(input));
}

/// A 101 that was asked for goes on as one.
fn switched(response: &Response<'_>, wish: &Request<'_>) {
    let mut out = Vec::new();
    write_forward_response(&mut out, response, ResponseFraming::None, true, Version::Http11);
    let head = Head::read(&out);
    assert_eq!(named_by_connection(&head.fields), ["upgrade"]);
    assert!(head.all("content-length").is_empty() && head.all("transfer-encoding").is_empty());
    match parse_answer(&out, wish) {
        Ok(Some(again)) => {
            assert_eq!((again.status, again.head_len, again.body), (101, out.len(), ResponseBody::None));
        }
        other => panic!("{other:?} of {}", show(&out)),
    }
}

/// What goes on to a client, by the second reader and by our own.
fn forwarded(response: &Response<'_>, to: &Method<'_>, client: Version, keep_alive: bool) {
    let framing = ResponseFraming::of(response.body, client);
    let mut out = b"before".to_vec();
    write_forward_response(&mut out, response, framing, keep_alive, client);
    let out = &out[6..];
    let head = Head::read(out);
    framed(&head, response, framing);
    end_to_end(&head, response);
    let again = match parse_response(out, to) {
        Ok(Some(again)) => again,
        // our own fields may push a full head over its limits
        Err(BadResponse("too many fields" | "response head too long")) => return,
        other => panic!("{other:?} of {}", show(out)),
    };
    let body = match framing {
        ResponseFraming::ChunkedOut => ResponseBody::Chunked,
        ResponseFraming::Length(n) => ResponseBody::Length(n),
        ResponseFraming::None => ResponseBody::None,
        ResponseFraming::Close => ResponseBody::UntilClose,
    };
    assert_eq!((again.status, again.body, again.head_len), (response.status, body, out.len()));
    assert!(response.reason.is_empty() || again.reason == response.reason, "{}", show(out));
    let keeps = keep_alive && framing != ResponseFraming::Close;
    assert!(again.keep_alive == keeps || again.is_interim(), "keeps: {keeps}, {}", show(out));
}

/// One framing at most, and none where there is no body to come.
fn framed(head: &Head<'_>, response: &Response<'_>, framing: ResponseFraming) {
    let text = || format!("{framing:?}: {:?}", head.fields.iter().map(|(n, v)| (show(n), show(v))));
    let exact = |name: &[u8]| {
        let fields = head.fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        fields.map(|(_, value)| *value).collect::<Vec<_>>()
    };
    let (length, coding) = (exact(b"content-length"), exact(b"transfer-encoding"));
    match framing {
        ResponseFraming::ChunkedOut => assert!(length.is_empty() && coding == [b"chunked"], "{}", text()),
        ResponseFraming::Length(n) => {
            assert!(coding.is_empty() && length == [n.to_string().as_bytes()], "{}", text());
        }
        ResponseFraming::Close => assert!(length.is_empty() && coding.is_empty(), "{}", text()),
        ResponseFraming::None => assert!(length.len() <= 1 && coding.is_empty(), "{}", text()),
    }
    if response.is_interim() || response.status == 204 {
        assert!(length.is_empty() && coding.is_empty(), "{}", text());
    }
    assert!(exact(b"connection").len() <= 1, "{}", text());
    let known = |option: &String| ["close", "keep-alive"].contains(&option.as_str());
    assert!(named_by_connection(&head.fields).iter().all(known), "{}", text());
}

/// The upstream's own fields go on as they came and in their order.
fn end_to_end(head: &Head<'_>, response: &Response<'_>) {
    const ENDS_HERE: [&str; 9] = [
        "connection",
        "content-length",
        "keep-alive",
        "proxy-authenticate",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    let fields: Vec<_> = response.fields.iter().map(|f| (f.name, f.value)).collect();
    let named = named_by_connection(&fields);
    let lower = |name: &[u8]| String::from_utf8_lossy(name).to_ascii_lowercase();
    let own = |(name, _): &&(&[u8], &[u8])| !["close", "content-length"].contains(&&*lower(name));
    let goes_on = |(name, _): &&(&[u8], &[u8])| {
        let name = lower(name);
        !(ENDS_HERE.contains(&&*name) || (named.contains(&name) && name != "cdn-loop"))
    };
    let expected: Vec<_> = fields.iter().filter(goes_on).filter(own).collect();
    let got: Vec<_> = head.fields.iter().filter(own).take(expected.len()).collect();
    let names = |of: &[&(&[u8], &[u8])]| of.iter().map(|(n, v)| (fold(n), show(v))).collect::<Vec<_>>();
    assert_eq!(names(&got), names(&expected));
}
