//! Every bound of the program, with its unit and its reason. A full queue, buffer or table gives a clear
//! answer (503 + Retry-After, or a logged and counted drop), never growth.

use std::time::Duration;

/// Bytes of a request head (request line and fields). nginx allows 8 KB a line and 32 KB in all.
pub const REQUEST_HEAD_BYTES: usize = 32 * 1024;
/// Bytes of a request target; RFC 9112 §3 recommends to take at least 8,000.
pub const TARGET_BYTES: usize = 8 * 1024;
/// Fields of one head. Browsers send some 20; cookies and proxies bring it to 60.
pub const HEAD_FIELDS: usize = 100;
/// Bytes of a response head: as a request's.
pub const RESPONSE_HEAD_BYTES: usize = 32 * 1024;
/// Bytes of one chunk's extension and size line: nobody uses extensions, attackers do.
pub const CHUNK_LINE_BYTES: usize = 256;
/// Bytes of a trailer section.
pub const TRAILER_BYTES: usize = 8 * 1024;
/// Interim (1xx) responses of an upstream before its final one.
pub const INTERIM_RESPONSES: usize = 16;

/// Bytes that a body is copied by. 16 KB fills a TLS record and keeps a busy connection small.
pub const BODY_BUFFER_BYTES: usize = 16 * 1024;

/// Time a client may take for a whole request head: slow heads hold a descriptor.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Time a kept-alive connection may stay silent.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// Time without one byte of progress within a body, either direction.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// Time for a connect to an upstream. Containers answer in under a millisecond or not at all.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time from the request's last byte to the response's first (GoDoxy's default for `response_header_timeout`).
pub const RESPONSE_HEADER_TIMEOUT: Duration = Duration::from_secs(60);
/// Time an idle upstream connection is kept. Below the usual keep-alive of servers (nginx 75 s, node 5 s
/// says so in its answer's close, which the checkout sees).
pub const UPSTREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Idle upstream connections kept per endpoint and core.
pub const UPSTREAM_IDLE_PER_ENDPOINT: usize = 64;

/// Client connections at once, all cores together; one more is answered 503 and closed. Stays below the
/// usual descriptor limit of 20,000 with one upstream connection each, and below vm.max_map_count
/// (two mappings a stack).
pub const CONNECTIONS: usize = 10_000;
/// Coroutines at once per core: connections in work and probes.
pub const COROUTINES_PER_CORE: usize = 12_000;
/// Closures waiting on one core's wake-up queue.
pub const CORE_QUEUE: usize = 4_096;
/// Requests waiting at one service's gate, per core: beyond it 503 + Retry-After.
pub const GATE_WAITERS_PER_CORE: usize = 512;

/// Messages to the control thread. Engines send one per container change; a full queue slows the engine's
/// supervisor, never its reader.
pub const CONTROL_QUEUE: usize = 4_096;
/// Events read from an engine and not yet handled; beyond it the stream is reopened with `since`.
pub const ENGINE_EVENTS: usize = 8_192;
/// Bytes of one JSON answer of an engine: 1,000 containers take some 3 MB.
pub const ENGINE_ANSWER_BYTES: u64 = 64 * 1024 * 1024;
/// Bytes of one line of the event stream.
pub const ENGINE_EVENT_BYTES: usize = 1024 * 1024;
/// Inspects at once after a connect.
pub const ENGINE_INSPECTS: usize = 4;
/// Time for a list, inspect or info call. A loaded Raspberry Pi takes seconds for a list.
pub const ENGINE_CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two `/_ping` on the second connection: the event stream is silent for hours.
pub const ENGINE_PING_EVERY: Duration = Duration::from_secs(10);
/// A `/_ping` later than this makes the engine `slow`.
pub const ENGINE_PING_LATE: Duration = Duration::from_secs(5);
/// Between two full lists, in case an event was lost.
pub const ENGINE_RELIST_EVERY: Duration = Duration::from_secs(300);
/// Between two tries to connect to a Unix socket (inotify makes it sooner).
pub const ENGINE_RETRY_UNIX: Duration = Duration::from_millis(100);

/// Jobs waiting on one lane of blocking threads.
pub const LANE_QUEUE: usize = 256;
/// Warnings of one kind and key: at most one in this time.
pub const WARN_EVERY: Duration = Duration::from_secs(1);
/// Bytes of one configuration file: a person wrote it.
pub const CONFIG_BYTES: u64 = 4 * 1024 * 1024;
/// Nodes of one configuration after anchors are resolved: an alias bomb ends here.
pub const CONFIG_NODES: usize = 100_000;
/// Depth of nesting of a configuration.
pub const CONFIG_DEPTH: usize = 64;
/// Files of one configuration: each is a descriptor to watch and a place to look.
pub const CONFIG_FILES: usize = 100;
/// Addresses to listen on: each is a socket on every core.
pub const LISTENERS: usize = 64;
/// Docker Engines of one configuration: each has threads of its own.
pub const ENGINES: usize = 64;
/// Problems of one configuration that are reported; the rest is counted. Nobody reads more at once.
pub const CONFIG_PROBLEMS: usize = 500;
/// The longest duration a configuration may ask for: a longer wait is a slip of the unit.
pub const CONFIG_DURATION: Duration = Duration::from_secs(24 * 3600);
/// Threads of the data plane: one per core is enough, and no Pi has more cores than this.
pub const WORKERS: usize = 256;
/// Bytes of a label's value that is looked at.
pub const LABEL_BYTES: usize = 64 * 1024;
/// Labels of one container that are looked at.
pub const LABELS: usize = 1_000;
/// Log lines waiting for the writer thread; beyond it lines are dropped, counted and said.
pub const LOG_QUEUE: usize = 4_096;
