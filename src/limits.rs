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
/// Bytes of a host name with its port: DNS names end at 253.
pub const HOST_BYTES: usize = 261;
/// Options that the `Connection` fields of one head may list: each is compared with every field.
pub const CONNECTION_OPTIONS: usize = 32;
/// Bytes of one chunk's extension and size line: nobody uses extensions, attackers do.
pub const CHUNK_LINE_BYTES: usize = 256;
/// Bytes of chunk framing beyond 16 a chunk and twice its data, in one body: tiny chunks with long extensions
/// would make us read hundreds of bytes for each byte of data (CVE-2023-39326).
pub const CHUNK_OVERHEAD_BYTES: u64 = 16 * 1024;
/// Bytes of a trailer section.
pub const TRAILER_BYTES: usize = 8 * 1024;
/// Bytes of a PROXY header's addresses and extensions: those seen have some 200 (a TLS certificate's name).
pub const PROXY_HEADER_BYTES: usize = 4_000;
/// Networks of one list of trusted proxies: each connection is compared with all of them.
pub const TRUSTED_NETWORKS: usize = 64;
/// Networks of one access rule: each request is compared with all of them.
pub const ACCESS_NETWORKS: usize = 256;
/// Users of one `basic_auth`: a home has a handful; beyond that it wants a login of its own.
pub const BASIC_USERS: usize = 256;
/// Bytes of a user's name in the configuration.
pub const USER_BYTES: usize = 128;
/// Bytes of the name and the password that a client sends; no browser's field holds more.
pub const CREDENTIALS_BYTES: usize = 1_024;
/// Bytes of an access rule's message or realm.
pub const ACCESS_TEXT_BYTES: usize = 1_024;
/// Credentials that a core remembers as right: a few users with a browser or two each.
pub const VERIFIED_CREDENTIALS: usize = 1_024;
/// How long it does: a user who is taken out of the configuration is out at once, this is for the rest.
pub const VERIFIED_KEPT: Duration = Duration::from_secs(300);
/// bcrypt's cost at most: 15 takes some 2 s on a PC, 10 s on a Raspberry Pi.
pub const BCRYPT_COST: u32 = 15;
/// The cost of `tidegate hash`: 0.1 s on a PC, half a second on a Raspberry Pi.
pub const BCRYPT_COST_MADE: u32 = 10;
/// Bytes that `tidegate hash` reads: more than bcrypt takes, so that what is too long is said.
pub const PASSWORD_BYTES: u64 = 4_096;
/// KiB of memory that one argon2 hash may want: `HASH_THREADS` of them must fit into a Raspberry Pi.
pub const ARGON2_MEMORY_KIB: u32 = 64 * 1024;
/// Passes of argon2 over its memory: more than 3 is rare.
pub const ARGON2_PASSES: u32 = 16;
/// Lanes of argon2: they run one after another here.
pub const ARGON2_LANES: u32 = 16;
/// Threads that verify passwords: two, so that a dear hash does not stop a cheap one; each may hold
/// `ARGON2_MEMORY_KIB`.
pub const HASH_THREADS: usize = 2;
/// Passwords that wait for such a thread; one more is answered 503.
pub const HASH_QUEUE: usize = 32;
/// Passwords of one client (of IPv6: one /64) that a core has verified at once; one more is answered 503, so that
/// a client that guesses can't fill the queue for the others.
pub const HASH_PER_CLIENT: u32 = 4;
/// How long a request waits for its password to be verified (503).
pub const HASH_TIMEOUT: Duration = Duration::from_secs(15);
/// Interim (1xx) responses of an upstream before its final one: some tell their progress by 102. More is a
/// fault, not progress.
pub const INTERIM_RESPONSES: usize = 256;

/// Bytes of a request that are asked for at once: most heads are below.
pub const HEAD_READ_BYTES: usize = 4 * 1024;

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
/// As above while a container is young (`recreate_wait`): its bridge may still lack a carrier, and a lost SYN is
/// sent again only after a second.
pub const YOUNG_CONNECT_TIMEOUT: Duration = Duration::from_millis(250);
/// The shortest of these times, for the youngest: half its age counts. A container's kernel answers a SYN within a
/// millisecond, whatever its application does.
pub const YOUNG_CONNECT_FIRST: Duration = Duration::from_millis(20);
/// Between two connects to a young container that refuses.
pub const YOUNG_RETRY: Duration = Duration::from_millis(25);
/// The shortest of these pauses: an application that listens at once does so a millisecond or two after the
/// engine has told its start.
pub const YOUNG_RETRY_FIRST: Duration = Duration::from_millis(1);
/// Time without one byte of progress in a response's body. Streams are silent for minutes; a dead peer shows
/// by its reset.
pub const RESPONSE_BODY_TIMEOUT: Duration = Duration::from_secs(600);
/// After an early answer: bytes and time that the rest of the request's body is still read, so that a reset does
/// not destroy the answer on its way.
pub const LINGER_BYTES: usize = 256 * 1024;
/// See [`LINGER_BYTES`].
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// Silence of an upstream after which the client's side is watched for its end: most answers are faster, and
/// pay nothing.
pub const CLIENT_WATCH_AFTER: Duration = Duration::from_millis(250);
/// A client that ends its side within this after its request's last byte only has nothing more to send, and gets
/// its whole answer; one that ends it later has gone. Long enough for an end that was lost once on its way.
pub const HALF_CLOSE_WITHIN: Duration = Duration::from_millis(500);
/// Silence after which the kernel asks whether a half-closed client is still there: one that had gone is
/// forgotten by its own kernel after 60 s (tcp_fin_timeout), which answers with a reset then.
pub const HALF_CLOSED_KEEPALIVE: Duration = Duration::from_secs(16);
/// Silence of a tunnel after which the kernel asks the peer whether it is still there; four probes follow, a
/// quarter of this apart.
pub const TUNNEL_KEEPALIVE: Duration = Duration::from_secs(60);
/// Time that one side of a tunnel may take no byte while some wait for it.
pub const TUNNEL_STALL: Duration = Duration::from_secs(600);
/// Time an idle upstream connection is kept. Below the usual keep-alive of servers (nginx 75 s, node 5 s
/// says so in its answer's close, which the checkout sees).
pub const UPSTREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Idle upstream connections kept per endpoint and core: what a burst has opened carries the next one.
pub const UPSTREAM_IDLE_PER_ENDPOINT: usize = 256;

/// TLS handshakes of clients at once, PROXY headers before them included, all cores together; one more is closed.
/// Each takes some 12 KB at most.
pub const TLS_HANDSHAKES: usize = 2_048;
/// Time for a client's whole TLS handshake.
pub const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes a client may send in its handshake: a ClientHello with post-quantum keys and a ticket has 2–4 KB.
pub const TLS_HANDSHAKE_BYTES: usize = 12 * 1024;
/// Bytes of ciphertext read at once while a connection is in work: a whole record (RFC 8446 §5.2) and more.
pub const TLS_READ_BYTES: usize = 20 * 1024;
/// Certificates of the configuration.
pub const CERTS: usize = 256;
/// Bytes of a certificate's or key's file; a chain has some 10 KB, all roots of a system 250 KB.
pub const CERT_FILE_BYTES: u64 = 2 * 1024 * 1024;
/// Parts of a certificate's subject or issuer that are shown; they have two or three.
pub const CERT_NAME_PARTS: usize = 8;
/// A certificate that ends within this time is a problem. Those of ACME are renewed a month before their end.
pub const CERT_EXPIRES_SOON: Duration = Duration::from_secs(14 * 24 * 3600);
/// DNS names of one certificate that are looked at; authorities allow 100.
pub const CERT_NAMES: usize = 1_000;
/// Configurations of TLS to upstreams: one per set of authorities and way to ask for a name.
pub const TLS_CLIENT_CONFIGS: usize = 256;
/// How long one is used before its files are read anew.
pub const TLS_CONFIG_AGE: Duration = Duration::from_secs(60);
/// Sessions kept in each, to be resumed.
pub const TLS_SESSIONS_KEPT: usize = 64;
/// Between two looks at the certificates' files.
pub const CERT_WATCH_EVERY: Duration = Duration::from_secs(2);
/// The same while there is none to look at.
pub const CERT_WATCH_NONE: Duration = Duration::from_secs(60);

/// The least that is left of a body when it is spliced instead of copied: below that the pipe costs more.
pub const SPLICE_FROM_BYTES: u64 = 64 * 1024;
/// Capacity of a pipe that a body is spliced through: 64 pages, of which a socket's buffer fills most.
pub const PIPE_BYTES: usize = 256 * 1024;
/// Pipes per core at once; one more body is copied. Two descriptors each.
pub const PIPES_PER_CORE: usize = 64;
/// Connections of the cap to one pipe per core, so that few descriptors mean few pipes.
pub const CONNECTIONS_PER_PIPE: usize = 32;

/// Empty buffers kept per core for the next exchange.
pub const BUFFERS_KEPT: usize = 32;

/// Client connections at once, all cores together; one more is answered 503 and closed. Stays below the
/// usual descriptor limit of 20,000 with one upstream connection each, and below vm.max_map_count
/// (two mappings a stack).
pub const CONNECTIONS: usize = 10_000;
/// Connections of one client address (of IPv6: one /64) at once, all cores together: a household behind one
/// address stays far below, one client alone can't take them all.
pub const CONNECTIONS_PER_CLIENT: u32 = 1_000;
/// Between two looks of a request whose endpoint has as many connections as `max_conns_per_host` allows: the
/// one that ends may be another core's.
pub const BUSY_RETRY: Duration = Duration::from_millis(25);
/// Descriptors of one connection in work: the client's and the upstream's.
pub const DESCRIPTORS_PER_CONNECTION: u64 = 2;
/// Descriptors for all else: listeners, pollers, engines, idle upstream connections, files.
pub const DESCRIPTORS_RESERVED: u64 = 256;
/// The usual soft limit of descriptors, where it can't be raised.
pub const SOFT_DESCRIPTORS: u64 = 1_024;
/// Coroutines at once per core: connections in work and probes.
pub const COROUTINES_PER_CORE: usize = 12_000;
/// Stacks of ended coroutines that a busy core keeps; an idle core unmaps them within seconds.
pub const STACKS_KEPT_PER_CORE: usize = 1_024;
/// Time that coroutines have to end after the cores were told to stop; then they are abandoned.
pub const STOP_GRACE: Duration = Duration::from_secs(5);
/// Closures waiting on one core's wake-up queue.
pub const CORE_QUEUE: usize = 4_096;
/// Requests waiting at one service's gate, per core: beyond it 503 + Retry-After.
pub const GATE_WAITERS_PER_CORE: usize = 512;

/// Messages to the control thread. Engines send one per container change; a full queue slows the engine's
/// supervisor, never its reader.
pub const CONTROL_QUEUE: usize = 1_024;
/// Messages applied before a snapshot is published, so that a flood can't hold the first of them back.
pub const CONTROL_BATCH: usize = 512;
/// How soon a core that was too busy to be told of a snapshot is told again.
pub const TELL_AGAIN: Duration = Duration::from_millis(5);
/// Time that configuration files rest before a change is read: an editor writes in several steps.
pub const RELOAD_DEBOUNCE: Duration = Duration::from_millis(300);
/// Files that never rest are read after this.
pub const RELOAD_DEBOUNCE_MOST: Duration = Duration::from_secs(2);
/// Time that a listener which takes no new handshake waits for those under way before it closes: a round trip
/// around the world.
pub const LISTENER_LINGER: Duration = Duration::from_millis(250);
/// Time that a client which has connected, and not yet asked, has for its request when the program ends: a
/// handshake of TLS and a head, over a slow line. Browsers connect in advance, so a silent one is no reason to wait.
pub const DRAIN_ASK: Duration = Duration::from_secs(1);
/// Time that a reload gives control and the cores to take what is new.
pub const RELOAD_PATIENCE: Duration = Duration::from_secs(10);
/// Time that who asked for a reload waits for its end.
pub const RELOAD_TIMEOUT: Duration = Duration::from_secs(60);
/// Reloads asked for and not begun: they would all read the same files.
pub const RELOAD_QUEUE: usize = 16;
/// Times a configuration is read in one reload while the list of its files changes.
pub const RELOAD_TRIES: usize = 3;
/// Between two looks of a core at leases to give back and idle connections to close.
pub const CORE_TICK: Duration = Duration::from_secs(1);
/// Events read from an engine and not yet handled; beyond it the stream is reopened with `since`.
pub const ENGINE_EVENTS: usize = 8_192;
/// Bytes of one JSON answer of an engine: 1,000 containers take some 3 MB.
pub const ENGINE_ANSWER_BYTES: u64 = 64 * 1024 * 1024;
/// Bytes of one line of the event stream.
pub const ENGINE_EVENT_BYTES: usize = 1024 * 1024;
/// Inspects at once.
pub const ENGINE_INSPECTS: usize = 4;
/// Of them, those of containers that are not known to run: the engine holds such an inspect back as long as it
/// starts the container or clears it away, which takes seconds when many start at once.
pub const ENGINE_INSPECTS_DOWN: usize = ENGINE_INSPECTS - 1;
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

/// Leases on one Docker client: a supervisor's own calls, some at once.
pub const CLIENT_LEASES: u32 = 256;
/// Leases on one endpoint: one per core.
pub const ENDPOINT_LEASES: u32 = 4_096;
/// Listened on in place of 80 without the right to it.
pub const FALLBACK_PORT: u16 = 8080;

/// A Docker client nobody has used for this long is closed. Far more than `ENGINE_PING_EVERY`: only that of an
/// engine which is gone is ever idle so long.
pub const ENGINE_CLIENT_IDLE: Duration = Duration::from_secs(60);
/// Between two looks whether an engine's events have reached the routes. Usually the first look says so.
pub const BACKLOG_LOOK: Duration = Duration::from_millis(1);
/// Jobs waiting on one lane of blocking threads.
pub const LANE_QUEUE: usize = 256;
/// Connections the kernel completes before they are accepted, per listener; it cuts this to
/// `net.core.somaxconn`.
pub const LISTEN_BACKLOG: i32 = 1_024;
/// Threads that ask the system's resolver: two, so that one dead name doesn't stop the others.
pub const DNS_THREADS: usize = 2;
/// Names the DNS cache holds.
pub const DNS_CACHE: usize = 256;
/// Addresses of one name that are looked at.
pub const DNS_ADDRESSES: usize = 16;
/// Bytes of a host name (RFC 1035 §2.3.4).
pub const NAME_BYTES: usize = 255;
/// Warnings of one kind and key: at most one in this time.
pub const WARN_EVERY: Duration = Duration::from_secs(1);
/// Kinds and keys of warnings remembered at once for `WARN_EVERY`; one more is held back.
pub const WARN_SUBJECTS: usize = 1_024;
/// Entries of one lifecycle registry: far more containers than an engine can run.
pub const REGISTRY_ENTRIES: usize = 65_536;
/// Callbacks waiting for one entry to be drained: the control thread needs one or two.
pub const DRAINERS_PER_ENTRY: usize = 16;
/// Time a core keeps its lease on an endpoint or configuration after its last request there.
pub const LEASE_KEPT: Duration = Duration::from_secs(1);
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
/// Time that the end of the program waits for the log's writer.
pub const LOG_FLUSH: Duration = Duration::from_secs(1);
/// Log lines waiting for the writer thread; beyond it lines are dropped, counted and said.
pub const LOG_QUEUE: usize = 1_024;
/// Aliases of one container.
pub const ALIASES: usize = 256;
/// Bytes of an alias: those of a host name without its trailing dot (RFC 1035 §2.3.4).
pub const ALIAS_BYTES: usize = 253;

/// Bytes of a request body that the fake engine and its pages read: tests send some megabytes.
pub const FAKE_BODY_BYTES: usize = 64 * 1024 * 1024;
/// Threads of the fake engine that serve API connections; further ones wait in the backlog.
pub const FAKE_API_CONNECTIONS: usize = 1_024;
/// Threads of the fake engine that serve page connections; further ones wait in the backlog.
pub const FAKE_PAGE_CONNECTIONS: usize = 4_096;
/// Bytes of such a thread's stack: a page may format some kilobytes in a debug build.
pub const FAKE_STACK_BYTES: usize = 256 * 1024;
/// Events that an engine replays (moby's `eventsLimit`).
pub const FAKE_EVENT_HISTORY: usize = 256;
/// Events that wait for one subscriber of the fake; it is skipped when full (moby's `bufferSize`).
pub const FAKE_SUBSCRIBER_QUEUE: usize = 1_024;
/// Containers of one engine that are looked at; the rest is left out and said once.
pub const ENGINE_CONTAINERS: usize = 10_000;
/// With at most so many containers the first list waits for the inspects of all, else only for those of
/// the running: half a second on a Raspberry Pi.
pub const ENGINE_INSPECT_ALL: usize = 256;
/// Time for the first answers of an engine that accepted a connect: one that is starting answers after its
/// containers are restored, one that is stopped when it goes on. Then the connection is made anew.
pub const ENGINE_PENDING: Duration = Duration::from_secs(60);
/// Between two tries on a socket that we may not open, or an engine of an unknown API.
pub const ENGINE_RETRY_REFUSED: Duration = Duration::from_secs(5);
/// A socket is closed to everybody (umask 0777) for a moment while dockerd makes it: denied counts only
/// after this.
pub const ENGINE_DENIED_AFTER: Duration = Duration::from_secs(1);
/// An engine that is killed may close its event stream before its listener, so that a connect made at once
/// succeeds and breaks. What breaks so soon after a verified stream's end was the old engine: a new one takes
/// longer than this to start (its socket accepts after some 50 ms, containers are killed 40 ms later, and
/// addresses handed out after 500 ms).
pub const ENGINE_DYING: Duration = Duration::from_millis(200);
/// Before an inspect that found nothing is tried again.
pub const ENGINE_INSPECT_AGAIN: Duration = Duration::from_millis(50);
/// Longest pause between two tries of a call that fails.
pub const ENGINE_BACKOFF: Duration = Duration::from_secs(5);
/// Time for one connect to an engine's socket: a Unix socket accepts at once unless its backlog is full.
pub const ENGINE_CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Pauses between tries once a socket has appeared: it is there when it is bound; that it listens comes a
/// moment later.
pub const ENGINE_SETTLE: [Duration; 5] = [
    Duration::from_millis(1),
    Duration::from_millis(2),
    Duration::from_millis(4),
    Duration::from_millis(8),
    Duration::from_millis(16),
];
/// Time that stopping a supervisor waits for its threads; one that is within a call ends with it.
pub const ENGINE_STOP_WAIT: Duration = Duration::from_secs(1);
/// Time that a name's addresses are believed. Containers move; a resolver on the same host answers in
/// microseconds.
pub const DNS_KEPT: Duration = Duration::from_secs(5);
/// Time that a name's failure is believed, or every request would ask again.
pub const DNS_FAILURE_KEPT: Duration = Duration::from_secs(1);
/// Between two trims of a core's stacks.
pub const STACK_TRIM_EVERY: Duration = Duration::from_secs(1);
/// The first pause of an accept without descriptors; doubles up to the longest.
pub const ACCEPT_FIRST_PAUSE: Duration = Duration::from_millis(1);
/// The longest pause of an accept without descriptors: a connection that ends frees one.
pub const ACCEPT_LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long a dying container's address is held at most for subscribers that do not take its `die` event.
pub const FAKE_TOLD: Duration = Duration::from_secs(1);
/// Routes that are counted by name; the requests of further ones count under the empty name. Each is some 2 KB
/// of `/metrics`.
pub const METRIC_ROUTES: usize = 1_000;
/// Time that the counts of a route that is gone are kept: an update of its container takes minutes at most.
pub const METRIC_ROUTE_KEPT: Duration = Duration::from_secs(15 * 60);
/// Access log lines waiting for the writer, per core; beyond it lines are dropped, counted and said.
pub const ACCESS_LOG_QUEUE: usize = 4_096;
/// Bytes of these lines per core: a line is as long as its request's head, up to four times (escapes).
pub const ACCESS_LOG_QUEUE_BYTES: usize = 4 * 1024 * 1024;
/// Bytes that the access log's writer collects for one write.
pub const ACCESS_LOG_BATCH_BYTES: usize = 64 * 1024;
/// Between two writes of the access log: lines that come meanwhile need no wake-up and go out together.
pub const ACCESS_LOG_PAUSE: Duration = Duration::from_millis(20);
/// Between two looks whether the access log's file is still the one at its path, and two tries to open it.
pub const ACCESS_LOG_LOOK: Duration = Duration::from_secs(1);
/// Between two tries to rotate an access log that can't be rotated: nothing is lost meanwhile.
pub const ACCESS_LOG_ROTATE_AGAIN: Duration = Duration::from_secs(60);
/// Between two rotations of an access log if nobody says otherwise: GoDoxy's.
pub const ACCESS_LOG_INTERVAL: Duration = Duration::from_secs(3600);
/// The shortest interval of rotation, and the longest: a month.
pub const ACCESS_LOG_INTERVAL_MIN: Duration = Duration::from_secs(1);
pub const ACCESS_LOG_INTERVAL_MAX: Duration = Duration::from_secs(720 * 3600);
/// Archives of an access log: more in one directory are slow to list. 30 days of hours are 720.
pub const ACCESS_LOG_ARCHIVES: usize = 10_000;
/// Bytes of an access log that are kept at least: below it files would hold a few lines.
pub const ACCESS_LOG_SIZE_MIN: u64 = 64 * 1024;
/// Values of one of the access log's filters, and names of one kind of its fields: each request is compared with
/// all of them.
pub const ACCESS_LOG_VALUES: usize = 64;
/// Bytes of such a name: longer ones are no names that a person writes.
pub const FIELD_NAME_BYTES: usize = 256;
/// Cookies of a request that its line shows: browsers send some 180 to one domain at most.
pub const ACCESS_LOG_COOKIES: usize = 200;
/// Messages to the access log's writer: one queue per core, and requests to reopen, which may coincide.
pub const ACCESS_LOG_MESSAGES: usize = 512;
/// Bytes of a response's content type that the access log keeps.
pub const ACCESS_LOG_TYPE_BYTES: usize = 128;
/// Connections to the admin API at once: a person, a monitor and Prometheus.
pub const ADMIN_CONNECTIONS: usize = 32;
/// Bytes of a request's body to the admin API: its calls need none.
pub const ADMIN_BODY_BYTES: usize = 64 * 1024;
/// Bytes of an answer of the admin API: 10,000 routes take some 5 MB.
pub const ADMIN_ANSWER_BYTES: usize = 32 * 1024 * 1024;
/// Trust files of upstreams that `/api/certs` reads: a home lab has one or two authorities.
pub const ADMIN_TRUST_FILES: usize = 64;
/// Time for a whole request to the admin API, answer included: a reload reads some files.
pub const ADMIN_TIMEOUT: Duration = Duration::from_secs(30);
/// Time that the admin API waits for the control thread to say what is served: it never blocks.
pub const ADMIN_PATIENCE: Duration = Duration::from_secs(2);
/// Stacks that the admin server's coroutines keep.
pub const ADMIN_STACKS: usize = 16;
/// Bytes of one of these stacks: its answers are made on it, in debug builds too.
pub const ADMIN_STACK_BYTES: usize = 256 * 1024;
/// Time for `tidegate healthcheck`: Docker's own default is 30 s, and what takes longer than this is not well.
pub const HEALTHCHECK_TIMEOUT: Duration = Duration::from_secs(5);
