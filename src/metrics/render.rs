//! Prometheus' text format, version 0.0.4.

use super::routes::{BUCKETS, CLASSES, RouteTally};
use super::{Metrics, Refusal, TLS_HANDSHAKES_FAILED, TLS_HANDSHAKES_REFUSED, UpstreamError};
use crate::access::Kind;
use std::fmt::Write;
use std::sync::Arc;

/// What is counted or known once per process, not per core.
#[derive(Clone, Debug, Default)]
pub struct Process {
    /// The program's version.
    pub version: &'static str,
    /// The engines of the configuration.
    pub engines: Vec<EngineRow>,
    /// The certificates of HTTPS: the file, and the end of its validity in seconds since the Unix epoch.
    pub certificates: Vec<(String, i64)>,
    /// All states that an engine may have.
    pub engine_states: &'static [&'static str],
    /// Problems that stand.
    pub problems: u64,
    /// Routes served.
    pub routes: u64,
    /// Lifecycle transitions by the state entered.
    pub transitions: Vec<(&'static str, u64)>,
    /// Lines of the log that were dropped.
    pub log_lines_dropped: u64,
    /// Lines of the access log that could not be written.
    pub access_lines_lost: u64,
    /// Panics of coroutines and callbacks.
    pub panics: u64,
    /// The published snapshot's number.
    pub generation: u64,
}

/// One engine.
#[derive(Clone, Debug)]
pub struct EngineRow {
    pub name: Arc<str>,
    /// One of [`Process::engine_states`].
    pub state: &'static str,
    /// Changes of containers that it reported.
    pub events: u64,
    /// What it is, once it has said so: its version, the version of the API, its system.
    pub info: Option<[String; 3]>,
}

/// The whole text: every metric with its HELP and TYPE lines.
pub fn render(metrics: &Metrics, process: &Process) -> String {
    let mut text = Text(String::with_capacity(16 * 1024));
    requests(&mut text, metrics);
    data_plane(&mut text, metrics, process);
    control(&mut text, process);
    text.0
}

struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String can't fail, here and below.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.0.push_str(name);
        for (index, (label, value)) in labels.iter().enumerate() {
            self.0.push(if index == 0 { '{' } else { ',' });
            self.0.push_str(label);
            self.0.push_str("=\"");
            self.label_value(value);
            self.0.push('"');
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }

    /// Backslash, quote and line feed are escaped; other control characters would only confuse.
    fn label_value(&mut self, value: &str) {
        for c in value.chars() {
            match c {
                '\\' => self.0.push_str("\\\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str("\\n"),
                c if c.is_control() => self.0.push('\u{fffd}'),
                c => self.0.push(c),
            }
        }
    }

    fn single(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.head(name, kind, help);
        self.sample(name, &[], value);
    }
}

/// A route's counts, summed over the cores.
#[derive(Default)]
struct Sums {
    classes: [u64; CLASSES.len()],
    buckets: [u64; BUCKETS.len() + 1],
    micros: u64,
}

impl Sums {
    fn of(tallies: &[Arc<RouteTally>]) -> Sums {
        let mut sums = Sums::default();
        for tally in tallies {
            for (sum, count) in sums.classes.iter_mut().zip(&tally.classes) {
                *sum = sum.wrapping_add(count.get());
            }
            for (sum, count) in sums.buckets.iter_mut().zip(&tally.buckets) {
                *sum = sum.wrapping_add(count.get());
            }
            sums.micros = sums.micros.wrapping_add(tally.micros.get());
        }
        sums
    }
}

fn requests(text: &mut Text, metrics: &Metrics) {
    let unrouted: Vec<_> = metrics.cores.iter().map(|core| Arc::clone(&core.unrouted)).collect();
    let routed = metrics.routes.all();
    let rows: Vec<(Arc<str>, Sums)> = std::iter::once(("".into(), Sums::of(&unrouted)))
        .chain(routed.iter().map(|(alias, tallies)| (Arc::clone(alias), Sums::of(tallies))))
        .collect();
    let name = "tidegate_requests_total";
    let help = "Requests by route (empty: none, or beyond the bound) and class of the status sent.";
    text.head(name, "counter", help);
    for (alias, sums) in &rows {
        for (class, count) in CLASSES.iter().zip(sums.classes) {
            text.sample(name, &[("route", alias), ("class", class)], count);
        }
    }
    let name = "tidegate_request_duration_seconds";
    text.head(name, "histogram", "From the whole head to the end of the answer.");
    let (bucket, sum, count) = (format!("{name}_bucket"), format!("{name}_sum"), format!("{name}_count"));
    for (alias, sums) in &rows {
        let mut total = 0;
        for (index, held) in sums.buckets.iter().enumerate() {
            total += held;
            let le = BUCKETS.get(index).map_or("+Inf".to_owned(), |micros| seconds(*micros));
            text.sample(&bucket, &[("route", alias), ("le", &le)], total);
        }
        text.sample(&sum, &[("route", alias)], seconds(sums.micros));
        text.sample(&count, &[("route", alias)], total);
    }
}

/// Microseconds as seconds, exactly.
fn seconds(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn data_plane(text: &mut Text, metrics: &Metrics, process: &Process) {
    let counter = "counter";
    let gauge = "gauge";
    let open = metrics.sum(|core| core.open.get());
    text.single("tidegate_connections_open", gauge, "Client connections open.", open);
    let accepted = metrics.sum(|core| core.accepted.get());
    text.single("tidegate_connections_accepted_total", counter, "Client connections accepted.", accepted);
    let name = "tidegate_connections_refused_total";
    text.head(
        name,
        counter,
        "Client connections that got no service because a bound was reached, by reason.",
    );
    for refusal in Refusal::ALL {
        let count = metrics.sum(|core| core.refused[refusal.index()].get());
        text.sample(name, &[("reason", refusal.name())], count);
    }
    let name = "tidegate_upstream_errors_total";
    text.head(name, counter, "Failures at upstreams by kind.");
    for kind in UpstreamError::ALL {
        let count = metrics.sum(|core| core.upstream_errors[kind.index()].get());
        text.sample(name, &[("kind", kind.name())], count);
    }
    access(text, metrics);
    let idle = metrics.sum(|core| core.upstream_idle.get());
    text.single("tidegate_upstream_idle_connections", gauge, "Idle connections to upstreams.", idle);
    let waiting = metrics.sum(|core| core.gate_waiting.get());
    text.single("tidegate_gate_waiting", gauge, "Requests that wait at a gate.", waiting);
    let full = metrics.sum(|core| core.gate_full.get());
    let help = "Requests answered 503 because too many waited at a gate.";
    text.single("tidegate_gate_full_total", counter, help, full);
    let received = metrics.sum(|core| core.received.get());
    text.single(
        "tidegate_received_bytes_total",
        counter,
        "Bytes of requests and tunnels from clients.",
        received,
    );
    let sent = metrics.sum(|core| core.sent.get());
    text.single("tidegate_sent_bytes_total", counter, "Bytes of answers and tunnels to clients.", sent);
    tunnels(text, metrics);
    let coroutines = metrics.sum(|core| core.coroutines.get());
    text.single("tidegate_coroutines", gauge, "Coroutines alive.", coroutines);
    text.single(
        "tidegate_panics_total",
        counter,
        "Panics; each ended its own connection only.",
        process.panics,
    );
    let name = "tidegate_tls_handshakes_failed_total";
    text.single(name, counter, "TLS handshakes of clients that failed.", TLS_HANDSHAKES_FAILED.get());
    let name = "tidegate_tls_handshakes_refused_total";
    text.single(name, counter, "Connections closed at the cap of handshakes.", TLS_HANDSHAKES_REFUSED.get());
    let dropped = metrics.sum(|core| core.access_lines_dropped.get());
    let name = "tidegate_access_log_lines_lost_total";
    text.head(name, counter, "Access log lines lost, by cause.");
    text.sample(name, &[("cause", "queue_full")], dropped);
    text.sample(name, &[("cause", "write_failed")], process.access_lines_lost);
}

fn access(text: &mut Text, metrics: &Metrics) {
    let name = "tidegate_access_refused_total";
    text.head(name, "counter", "Requests that an access rule refused, by rule.");
    for kind in Kind::ALL {
        let count = metrics.sum(|core| core.access_refused[kind.index()].get());
        text.sample(name, &[("rule", kind.name())], count);
    }
    let unchecked = metrics.sum(|core| core.passwords_unchecked.get());
    let help = "Requests answered 503 because too many passwords were being verified.";
    text.single("tidegate_passwords_unchecked_total", "counter", help, unchecked);
}

fn tunnels(text: &mut Text, metrics: &Metrics) {
    let open = metrics.sum(|core| core.tunnels.get());
    text.single("tidegate_tunnels", "gauge", "Tunnels (WebSocket and other upgrades) open.", open);
    let opened = metrics.sum(|core| core.tunnels_opened.get());
    text.single("tidegate_tunnels_total", "counter", "Tunnels opened.", opened);
    let name = "tidegate_tunnel_bytes_total";
    text.head(
        name,
        "counter",
        "Bytes through tunnels from and to clients; the totals of all bytes hold them too.",
    );
    let received = metrics.sum(|core| core.tunnel_received.get());
    text.sample(name, &[("direction", "received")], received);
    let sent = metrics.sum(|core| core.tunnel_sent.get());
    text.sample(name, &[("direction", "sent")], sent);
}

fn control(text: &mut Text, process: &Process) {
    let counter = "counter";
    let gauge = "gauge";
    text.head("tidegate_info", gauge, "The running program.");
    text.sample("tidegate_info", &[("version", process.version)], 1);
    text.single("tidegate_routes", gauge, "Routes served.", process.routes);
    let help = "The number of the published snapshot of routes.";
    text.single("tidegate_snapshot_generation", gauge, help, process.generation);
    text.single("tidegate_problems", gauge, "Problems that stand.", process.problems);
    let name = "tidegate_certificate_expiry_timestamp_seconds";
    text.head(name, gauge, "The end of a certificate's validity, in seconds since the Unix epoch.");
    for (file, end) in &process.certificates {
        text.sample(name, &[("certificate", file)], end);
    }
    let name = "tidegate_engine_state";
    text.head(name, gauge, "1 for the state that an engine is in, 0 for the others.");
    for engine in &process.engines {
        for state in process.engine_states {
            let labels = [("engine", &*engine.name), ("state", *state)];
            text.sample(name, &labels, u8::from(engine.state == *state));
        }
    }
    let name = "tidegate_engine_info";
    text.head(name, gauge, "What an engine is, as it said last.");
    for engine in &process.engines {
        let Some([version, api, system]) = &engine.info else { continue };
        let labels =
            [("engine", &*engine.name), ("version", version), ("api_version", api), ("system", system)];
        text.sample(name, &labels, 1);
    }
    let name = "tidegate_engine_events_total";
    text.head(name, counter, "Lists and changes of containers that an engine reported.");
    for engine in &process.engines {
        text.sample(name, &[("engine", &*engine.name)], engine.events);
    }
    let name = "tidegate_lifecycle_transitions_total";
    text.head(name, counter, "Changes of state of shared resources by the state entered.");
    for (state, count) in &process.transitions {
        text.sample(name, &[("state", state)], count);
    }
    let dropped = process.log_lines_dropped;
    text.single("tidegate_log_lines_dropped_total", counter, "Log lines dropped.", dropped);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_cannot_end_their_line_or_their_quotes() {
        let mut text = Text(String::new());
        text.sample("m", &[("a", "x\"} 1\nforged{b=\"\\\r")], 2);
        assert_eq!(text.0, "m{a=\"x\\\"} 1\\nforged{b=\\\"\\\\\u{fffd}\"} 2\n");
    }

    #[test]
    fn microseconds_become_seconds_exactly() {
        for (micros, text) in [(0, "0"), (1, "0.000001"), (1_500_000, "1.5"), (10_000_000, "10")] {
            assert_eq!(seconds(micros), text);
        }
    }
}
