//! Answers that are our own: why a request isn't served, as text, JSON or HTML.

use crate::http::accept::{Kind, choose};
use crate::http::head::is_token;
use crate::http::status::status_text;
use crate::http::write;

/// An answer of our own. Its title is the status code's phrase.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    pub status: u16,
    /// Why, in a sentence for the person who asked. May hold anything: it is escaped.
    pub reason: &'a str,
    /// Names the request in the log; left out if empty.
    pub request_id: &'a str,
    /// Seconds after which asking again makes sense.
    pub retry_after: Option<u32>,
    /// Whether the connection goes on after this answer.
    pub keep_alive: bool,
    /// The request was `HEAD`: the head alone is written.
    pub head_only: bool,
}

/// Appends `a` as a whole response, in the kind of page that `accept` prefers (the value of `Accept`; text
/// for none and for `*/*`, as curl sends it). Never stored by caches.
pub fn write_answer(out: &mut Vec<u8>, accept: Option<&[u8]>, a: &Answer<'_>) {
    let kind = choose(accept);
    let page = match kind {
        Kind::Text => text_page(a),
        Kind::Json => json_page(a),
        Kind::Html => html_page(a),
    };
    out.extend_from_slice(b"HTTP/1.1 ");
    write::decimal(out, u64::from(a.status));
    out.push(b' ');
    out.extend_from_slice(status_text(a.status).as_bytes());
    out.extend_from_slice(b"\r\n");
    write::field(out, b"Content-Type", kind.content_type().as_bytes());
    write::content_length(out, page.len() as u64);
    out.extend_from_slice(b"Cache-Control: no-store\r\n");
    out.extend_from_slice(b"X-Content-Type-Options: nosniff\r\n");
    if kind == Kind::Html {
        let policy = b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
        write::field(out, b"Content-Security-Policy", policy);
    }
    if is_token(a.request_id.as_bytes()) {
        write::field(out, b"X-Request-Id", a.request_id.as_bytes());
    }
    if let Some(seconds) = a.retry_after {
        out.extend_from_slice(b"Retry-After: ");
        write::decimal(out, u64::from(seconds));
        out.extend_from_slice(b"\r\n");
    }
    // said in both cases, since an HTTP/1.0 client takes silence for `close`
    let connection: &[u8] = if a.keep_alive { b"keep-alive" } else { b"close" };
    write::field(out, b"Connection", connection);
    out.extend_from_slice(b"\r\n");
    if !a.head_only {
        out.extend_from_slice(page.as_bytes());
    }
}

/// `404 Not Found: reason`, for terminals and logs.
/// Appends a 308 to `location`, without a body (RFC 9110 §15.4.9).
pub fn write_redirect(out: &mut Vec<u8>, location: &[u8], request_id: &str, keep_alive: bool) {
    out.extend_from_slice(b"HTTP/1.1 308 Permanent Redirect\r\n");
    write::field(out, b"Location", location);
    write::content_length(out, 0);
    if is_token(request_id.as_bytes()) {
        write::field(out, b"X-Request-Id", request_id.as_bytes());
    }
    write::field(out, b"Connection", if keep_alive { b"keep-alive" } else { b"close" });
    out.extend_from_slice(b"\r\n");
}

fn text_page(a: &Answer<'_>) -> String {
    let mut page = format!("{} {}: ", a.status, status_text(a.status));
    push_text(&mut page, a.reason);
    page.push('\n');
    if !a.request_id.is_empty() {
        page.push_str("request ");
        push_text(&mut page, a.request_id);
        page.push('\n');
    }
    page
}

/// One object; `error` is the title.
fn json_page(a: &Answer<'_>) -> String {
    let mut page = format!("{{\"status\":{},\"error\":", a.status);
    push_json(&mut page, status_text(a.status));
    page.push_str(",\"reason\":");
    push_json(&mut page, a.reason);
    if !a.request_id.is_empty() {
        page.push_str(",\"request_id\":");
        push_json(&mut page, a.request_id);
    }
    if let Some(seconds) = a.retry_after {
        page.push_str(&format!(",\"retry_after\":{seconds}"));
    }
    page.push_str("}\n");
    page
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:40em;margin:15vh auto;padding:0 1em;\
                     color:#222;background:#fff}h1{font-size:1.5em}small{color:#777}\
                     @media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}}";

fn html_page(a: &Answer<'_>) -> String {
    let title = format!("{} {}", a.status, status_text(a.status));
    let mut page = String::with_capacity(1024);
    page.push_str("<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n");
    page.push_str("<meta name=\"viewport\" content=\"width=device-width\">\n<title>");
    push_html(&mut page, &title);
    page.push_str("</title>\n<style>");
    page.push_str(STYLE);
    page.push_str("</style>\n<h1>");
    push_html(&mut page, &title);
    page.push_str("</h1>\n<p>");
    push_html(&mut page, a.reason);
    page.push_str("</p>\n<p><small>Tidegate");
    if !a.request_id.is_empty() {
        page.push_str(" · request ");
        push_html(&mut page, a.request_id);
    }
    page.push_str("</small></p>\n</html>\n");
    page
}

/// Control characters (a terminal obeys some of them) become `\u{..}`.
fn push_text(page: &mut String, text: &str) {
    for c in text.chars() {
        match c.is_control() {
            true => page.extend(c.escape_unicode()),
            false => page.push(c),
        }
    }
}

fn push_json(page: &mut String, text: &str) {
    page.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => page.extend(['\\', c]),
            // `<` and the line separators too, for whoever puts the object into a script
            '\0'..='\x1f' | '\x7f'..='\u{9f}' | '<' | '\u{2028}' | '\u{2029}' => {
                page.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            _ => page.push(c),
        }
    }
    page.push('"');
}

fn push_html(page: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => page.push_str("&amp;"),
            '<' => page.push_str("&lt;"),
            '>' => page.push_str("&gt;"),
            '"' => page.push_str("&quot;"),
            '\'' => page.push_str("&#39;"),
            c if c.is_control() => page.extend(c.escape_unicode()),
            _ => page.push(c),
        }
    }
}
