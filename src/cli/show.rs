//! Answers of the admin API as text: aligned columns.

use serde_json::Value;

/// What `tidegate routes` prints: each route with its choices beneath, then what is not served.
pub(super) fn routes(answer: &Value) -> String {
    let routes: Vec<&Value> = list(answer, "routes").collect();
    let rows = routes.iter().map(|route| {
        let network = text(&route["network"]).map_or(String::new(), |network| format!("network {network}"));
        vec![word(&route["alias"]), target(route), word(&route["scheme"]), origin(route), network]
    });
    let head = ["ALIAS", "LEADS TO", "SCHEME", "FROM", "REACHED BY"];
    let mut lines = columns(&head, rows.collect()).into_iter();
    let mut out = lines.next().unwrap_or_default();
    for (line, route) in lines.zip(&routes) {
        out += &line;
        let why = ["host", "port", "scheme"]
            .into_iter()
            .filter_map(|field| Some(format!("{field}: {}", text(&route["why"][field])?)));
        let why: Vec<String> = why.collect();
        if !why.is_empty() {
            out += &format!("    {}\n", why.join("; "));
        }
        let access: Vec<String> = list(route, "access").map(word).collect();
        if !access.is_empty() {
            out += &format!("    access: {}\n", access.join("; "));
        }
    }
    if routes.is_empty() {
        out = "no routes\n".into();
    }
    let excluded = list(answer, "excluded").map(|one| {
        vec![word(&one["container"]), word(&one["engine"]), word(&one["alias"]), word(&one["reason"])]
    });
    let excluded: Vec<Vec<String>> = excluded.collect();
    if !excluded.is_empty() {
        out += "\nNot served:\n";
        out += &columns(&["CONTAINER", "ENGINE", "ALIAS", "WHY"], excluded).concat();
    }
    out
}

/// What `tidegate problems` prints: one a line, as the log says it.
pub(super) fn problems(answer: &Value) -> String {
    let lines: String = list(answer, "problems").map(problem).collect();
    if lines.is_empty() { "no problems\n".into() } else { lines }
}

/// What `tidegate certs` prints: each certificate with its file beneath, then the trust files of upstreams.
pub(super) fn certs(answer: &Value) -> String {
    let listed: Vec<&Value> = list(answer, "certificates").collect();
    let rows = listed.iter().map(|one| {
        let names = names(&one["serves"]);
        let names = if one["default"] == true { format!("{names} (default)") } else { names };
        vec![names, word(&one["not_after"]), one["days_left"].to_string(), word(&one["issuer"])]
    });
    let mut lines = columns(&["SERVES", "UNTIL", "DAYS", "ISSUER"], rows.collect()).into_iter();
    let mut out = lines.next().unwrap_or_default();
    for (line, one) in lines.zip(&listed) {
        out += &format!("{line}    {}\n", word(&one["certificate"]));
    }
    if listed.is_empty() {
        out = "no certificates\n".into();
    }
    let refused: String = list(answer, "refused").map(problem).collect();
    if !refused.is_empty() {
        out += &format!("\nIn the files since, and refused:\n{refused}");
    }
    let trusted = list(answer, "trusted").map(|file| {
        let first = &file["certificates"][0];
        let until = text(&file["error"]).map_or(word(&first["not_after"]), |_| word(&file["error"]));
        vec![word(&file["file"]), names(&file["routes"]), until]
    });
    let trusted: Vec<Vec<String>> = trusted.collect();
    if !trusted.is_empty() {
        out += "\nUpstreams are verified against:\n";
        out += &columns(&["FILE", "ROUTES", "UNTIL"], trusted).concat();
    }
    out
}

/// A list of names in one cell.
fn names(list: &Value) -> String {
    let names: Vec<String> = list.as_array().into_iter().flatten().map(word).collect();
    if names.is_empty() { "-".into() } else { names.join(", ") }
}

/// What `tidegate reload` prints.
pub(super) fn reload(answer: &Value) -> String {
    if let Some(error) = text(&answer["error"]) {
        return format!("{error}\n");
    }
    match answer["reloaded"].as_bool() {
        Some(true) => format!("reloaded: {}\n", word(&answer["what"])),
        _ => {
            let lines: String = list(answer, "problems").map(problem).collect();
            format!("not reloaded, the running configuration is kept:\n{lines}")
        }
    }
}

fn problem(problem: &Value) -> String {
    let hint = text(&problem["hint"]).map_or(String::new(), |hint| format!("; {hint}"));
    format!("{}: {}{hint}\n", word(&problem["place"]), word(&problem["message"]))
}

fn target(route: &Value) -> String {
    let target = &route["target"];
    match text(&target["does"]) {
        Some("serve") => {
            let host = word(&target["host"]);
            let host = if host.contains(':') { format!("[{host}]") } else { host };
            format!("{host}:{}", target["port"])
        }
        Some("wait") => format!("waits: {}", word(&target["reason"])),
        _ => format!("answers {}: {}", target["status"], word(&target["reason"])),
    }
}

fn origin(route: &Value) -> String {
    match (text(&route["container"]), text(&route["engine"]), text(&route["state"])) {
        (Some(container), Some(engine), state) => {
            let state = state.filter(|state| *state != "running");
            let state = state.map_or(String::new(), |state| format!(" ({state})"));
            format!("container {container} of engine {engine}{state}")
        }
        _ => word(&route["origin"]),
    }
}

fn list<'v>(answer: &'v Value, name: &str) -> impl Iterator<Item = &'v Value> {
    answer[name].as_array().into_iter().flatten()
}

fn text(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.is_empty())
}

/// A text for a terminal: no control characters.
fn word(value: &Value) -> String {
    let text = text(value).unwrap_or("-");
    text.chars().map(|c| if c.is_control() { '\u{FFFD}' } else { c }).collect()
}

/// Lines of aligned columns, the head first.
fn columns(head: &[&str], rows: Vec<Vec<String>>) -> Vec<String> {
    let head: Vec<String> = head.iter().map(|word| (*word).to_owned()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    let count = rows[0].len();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        let line: Vec<String> = cells.collect();
        format!("{}\n", line.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn routes_stand_in_columns_with_their_reasons() {
        let answer = json!({
            "routes": [
                { "alias": "app", "target": { "does": "serve", "host": "172.17.0.2", "port": 80 }, "scheme": "http",
                  "network": "bridge", "container": "app", "engine": "local", "state": "running", "origin": "x",
                  "why": { "host": "address on network bridge", "port": "label p", "scheme": null } },
                { "alias": "nas", "target": { "does": "refuse", "status": 503, "reason": "it is stopped" },
                  "scheme": "http", "network": null, "origin": "route file r.yml:1:1", "why": {},
                  "access": ["only from 192.168.0.0/16", "basic auth: 2 users"] },
            ],
            "excluded": [{ "container": "db", "engine": "local", "alias": null, "reason": "blacklisted: \u{7}" }],
        });
        let expected = "\
ALIAS  LEADS TO                    SCHEME  FROM                           REACHED BY
app    172.17.0.2:80               http    container app of engine local  network bridge
    host: address on network bridge; port: label p
nas    answers 503: it is stopped  http    route file r.yml:1:1
    access: only from 192.168.0.0/16; basic auth: 2 users

Not served:
CONTAINER  ENGINE  ALIAS  WHY
db         local   -      blacklisted: \u{FFFD}
";
        assert_eq!(routes(&answer), expected);
    }
}
