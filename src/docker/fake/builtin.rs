//! The pages that come with the fake: whoami, hello, counter.

use super::page::{Request, Response};

/// Escapes text for HTML.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// A whole HTML page.
fn document(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{title}</title><style>\
         :root{{color-scheme:light dark}}\
         body{{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:3rem auto;padding:0 1rem}}\
         table{{border-collapse:collapse;width:100%}}\
         th,td{{text-align:left;padding:.3rem .8rem .3rem 0;border-bottom:1px solid #8884;vertical-align:top;\
         overflow-wrap:anywhere}}th{{white-space:nowrap;font-weight:600}}\
         .big{{font-size:5rem;margin:1rem 0}}</style></head>\n<body>{body}</body></html>\n"
    )
}

pub(super) fn whoami(request: &Request) -> Response {
    let host = &request.container;
    let mut rows = String::new();
    let mut row = |key: &str, value: &str| {
        rows.push_str(&format!("<tr><th>{}</th><td>{}</td></tr>\n", escape(key), escape(value)));
    };
    row("Container", &host.name);
    row("Id", &host.id);
    row("Address", &format!("{}:{}", host.ip, host.port));
    row("Request", &format!("{} {}", request.method, request.target));
    row("Body", &format!("{} bytes", request.body.len()));
    let facts = std::mem::take(&mut rows);
    for (name, value) in &request.headers {
        rows.push_str(&format!("<tr><th>{}</th><td>{}</td></tr>\n", escape(name), escape(value)));
    }
    let body = format!(
        "<h1>{}</h1>\n<table>\n{facts}</table>\n\
         <h2>Header fields as they arrived</h2>\n<table>\n{rows}</table>\n",
        escape(&host.name)
    );
    Response::html(200, document(&escape(&host.name), &body))
}

pub(super) fn hello(request: &Request) -> Response {
    Response::text(200, format!("Hello from {}\n", request.container.name))
}

pub(super) fn counter(request: &Request) -> Response {
    let name = escape(&request.container.name);
    let body = format!(
        "<h1>{name}</h1>\n<p class=\"big\">{}</p>\n<p>visits since this container started. \
         <a href=\"/\">Once more</a></p>\n",
        request.visit
    );
    Response::html(200, document(&name, &body)).with("Cache-Control", "no-store")
}
