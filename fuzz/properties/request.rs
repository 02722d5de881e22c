//! Request heads: one verdict however they trickle in, and what goes on is the one request that was taken.

use super::wire::{Head, fold, named_by_connection};
use super::{Verdict, show};
use tidegate::http::{
    Body, Forward, Reject, Request, head_complete, is_loop, parse_host, parse_request, write_forward_request,
};
use tidegate::limits;

/// Reads `input` as a request head.
pub fn check(input: &[u8]) -> Verdict {
    trickle(input);
    match parse_request(input) {
        Ok(Some(request)) => {
            taken(input, &request);
            forwarded(&request, false);
            forwarded(&request, true);
            Verdict::Taken
        }
        Ok(None) => Verdict::Partial,
        Err(reject) => {
            assert!([400, 413, 414, 417, 431, 501, 505].contains(&reject.status), "{reject:?}");
            Verdict::Refused
        }
    }
}

/// Byte by byte the end is told where the parser sees it, and the verdict is that on the whole.
fn trickle(input: &[u8]) {
    let mut scanned = 0;
    let told = (1..=input.len()).find(|end| head_complete(&input[..*end], &mut scanned));
    assert_eq!(told.is_some(), head_complete(input, &mut 0), "in pieces or whole: {}", show(input));
    // a lone CR before a request is seen by the parser at once, by the scan at the next LF
    let early = input.first() == Some(&b'\r');
    let Some(end) = told else {
        assert!(early || verdict(input).is_none(), "told too late: {}", show(input));
        return;
    };
    assert!(early || verdict(&input[..end - 1]).is_none(), "told too late: {}", show(input));
    let verdict_then = verdict(&input[..end]);
    assert!(verdict_then.is_some(), "told too early: {}", show(&input[..end]));
    assert_eq!(verdict_then, verdict(input), "later bytes change the verdict: {}", show(input));
}

/// The whole request, or the status of its refusal.
fn verdict(input: &[u8]) -> Option<Result<String, u16>> {
    match parse_request(input) {
        Ok(None) => None,
        Ok(Some(request)) => Some(Ok(format!("{request:?}"))),
        Err(Reject { status, .. }) => Some(Err(status)),
    }
}

fn taken(input: &[u8], request: &Request<'_>) {
    let head = &input[..request.head_len];
    let head = Head::read(head.strip_prefix(b"\r\n").unwrap_or(head));
    let hosts = head.fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case(b"host")).count();
    assert!(hosts == 1 || (hosts == 0 && head.start.ends_with(b"HTTP/1.0")), "{}", show(input));
    assert!(request.host.is_empty() || parse_host(request.host).is_ok());
    one_path(request.path_and_query());
    assert!(request.fields.iter().map(|f| (f.name, f.value)).eq(head.fields.iter().copied()));
}

/// No segment that somebody behind us would resolve once more.
fn one_path(path_and_query: &[u8]) {
    assert!(path_and_query.len() <= limits::TARGET_BYTES);
    let path = path_and_query.split(|b| *b == b'?').next().unwrap_or_default();
    assert!(path.starts_with(b"/") || path_and_query == b"*", "{}", show(path_and_query));
    let text = String::from_utf8_lossy(path).to_ascii_lowercase();
    let resolved = !text.contains("%2e") && !text.split('/').any(|segment| segment == "." || segment == "..");
    assert!(resolved, "{}", show(path_and_query));
}

const FORWARD: Forward<'_> = Forward {
    client: std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7)),
    trusted: false,
    scheme: "http",
    local_port: 80,
    request_id: "r-1",
    instance: "tidegate-test",
};

/// What goes on, by the second reader and by our own.
fn forwarded(request: &Request<'_>, trusted: bool) {
    let mut out = b"before".to_vec();
    write_forward_request(&mut out, request, &Forward { trusted, ..FORWARD });
    let out = &out[6..];
    let head = Head::read(out);
    let line = [request.method.as_bytes(), b" ", request.path_and_query(), b" HTTP/1.1"].concat();
    assert_eq!(head.start, line, "{}", show(out));
    framed(&head, request.body);
    end_to_end(&head, request);
    told(&head, request, trusted);
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
    assert!(is_loop(&again, FORWARD.instance), "a second time round is seen: {}", show(out));
}

/// One Host, one framing, and no field of this connection's, also for whom `_` is `-`.
fn framed(head: &Head<'_>, body: Body) {
    let text = || format!("{body:?}: {:?}", head.fields.iter().map(|(n, v)| (show(n), show(v))));
    assert_eq!(head.all("host").len(), 1, "{}", text());
    let (length, coding) = (head.all("content-length"), head.all("transfer-encoding"));
    match body {
        Body::None => assert!(length.is_empty() && coding.is_empty(), "{}", text()),
        Body::Chunked => assert!(length.is_empty() && coding == [b"chunked"], "{}", text()),
        Body::Length(n) => assert!(coding.is_empty() && length == [n.to_string().as_bytes()], "{}", text()),
    }
    for none in ["expect", "keep-alive", "proxy-connection", "proxy-authorization", "proxy", "http2-settings"]
    {
        assert!(head.all(none).is_empty(), "{none}: {}", text());
    }
    let known = |option: &String| ["te", "upgrade"].contains(&option.as_str());
    assert!(named_by_connection(&head.fields).iter().all(known), "{}", text());
    assert!(head.all("connection").len() <= 1 && head.all("upgrade").len() <= 1);
}

/// The client's own fields go on as they came and in their order, right behind Host.
fn end_to_end(head: &Head<'_>, request: &Request<'_>) {
    const ENDS_HERE: [&str; 15] = [
        "connection",
        "content-length",
        "expect",
        "forwarded",
        "host",
        "http2-settings",
        "keep-alive",
        "proxy",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-real-ip",
    ];
    let fields: Vec<_> = request.fields.iter().map(|f| (f.name, f.value)).collect();
    let named = named_by_connection(&fields);
    // `Close: x` is left out of the comparison: that `Connection: close` names a field is nobody's meaning
    let is_usual = |name: &str| ["close", "keep-alive", "upgrade"].contains(&name);
    let goes_on = |(name, _): &&(&[u8], &[u8])| {
        let (lower, folded) = (String::from_utf8_lossy(name).to_ascii_lowercase(), fold(name));
        let ours = ["cdn-loop", "x-request-id"].contains(&folded.as_str());
        let named = named.contains(&lower) && lower != "cdn-loop";
        let forwarded = folded.starts_with("x-forwarded-") && folded.len() > "x-forwarded-".len();
        !(named
            || forwarded
            || is_usual(&lower)
            || ENDS_HERE.contains(&&*folded)
            || (ours && lower != folded))
    };
    let expected: Vec<_> = fields.iter().filter(goes_on).collect();
    assert_eq!(fold(head.fields[0].0), "host");
    assert_eq!(head.fields[0].1, request.host);
    let rest = head.fields[1..].iter().filter(|(name, _)| !is_usual(&fold(name)));
    let got: Vec<_> = rest.take(expected.len()).collect();
    let names = |of: &[&(&[u8], &[u8])]| of.iter().map(|(n, v)| (show(n), show(v))).collect::<Vec<_>>();
    assert_eq!(names(&got), names(&expected));
}

/// What is said of the client is said once, and by us, unless a trusted proxy said it.
fn told(head: &Head<'_>, request: &Request<'_>, trusted: bool) {
    let (client, port): (&[u8], _) = (b"192.0.2.7", head.all("x-forwarded-port"));
    let hops = head.all("x-forwarded-for");
    assert_eq!(hops.len(), 1);
    assert!(if trusted { hops[0].ends_with(client) } else { hops[0] == client });
    assert_eq!((head.all("x-real-ip").len(), head.all("x-forwarded-proto").len(), port.len()), (1, 1, 1));
    assert_eq!(head.all("x-forwarded-method"), [request.method.as_bytes()]);
    assert_eq!(head.all("x-forwarded-uri"), [request.path_and_query()]);
    assert!(!head.all("x-request-id").is_empty() && !head.all("cdn-loop").is_empty());
    assert!(head.all("forwarded").len() <= usize::from(trusted));
    let hosts = head.all("x-forwarded-host");
    if !trusted {
        let expected: &[&[u8]] = if request.host.is_empty() { &[] } else { &[request.host] };
        assert_eq!(hosts, expected);
        assert_eq!(
            (head.all("x-real-ip"), head.all("x-forwarded-proto")),
            (vec![client], vec![&b"http"[..]])
        );
    }
}
