//! The house as data: which module stands on which line, and what each line may know.

/// The lines from top to bottom. A module imports only from lines below its own; neighbours on a line do
/// not know each other. ARCHITECTURE.md shows the same table, and a test compares the two.
pub const LAYERS: &[&[&str]] = &[
    &["main"],
    &["cli"],
    &["demo"],
    &["app"],
    &["admin"],
    &["proxy", "control"],
    &["snapshot"],
    &["docker", "upstream", "gate"],
    &["net"],
    &["config", "runtime", "blocking"],
    &["access_log"],
    &["lifecycle", "http", "route", "sleep", "metrics"],
    &["access"],
    &["util", "limits", "error", "logging"],
];

/// The pure line: no socket, no thread, no clock read, no Docker JSON.
pub const PURE: &[&str] = &["lifecycle", "http", "route", "sleep", "access", "metrics"];

/// What the pure line may not name, as the beginning of a path, each with its reason.
pub const BANNED_IN_PURE: &[(&str, &str)] = &[
    ("std::net::TcpStream", "a socket"),
    ("std::net::TcpListener", "a socket"),
    ("std::net::UdpSocket", "a socket"),
    ("std::net::ToSocketAddrs", "resolves names"),
    ("std::os::unix::net", "a socket"),
    ("std::os::fd", "a descriptor"),
    ("std::thread", "a thread"),
    ("std::fs", "the file system"),
    ("std::process", "a process"),
    ("std::env", "the environment"),
    ("std::time::SystemTime", "a clock"),
    ("std::time::Instant::now", "a clock read: take `now` as an argument"),
    ("crossbeam_channel", "waits for a thread"),
    ("rustix", "system calls"),
    ("corosensei", "a coroutine"),
    ("ureq", "a socket"),
    ("serde_json", "Docker's JSON"),
    ("serde_yaml", "YAML"),
    ("saphyr_parser", "YAML"),
];

/// Crates with one home: only these modules know the format or the mechanism. The fake engine speaks HTTP
/// as the other side does.
pub const HOMES: &[(&str, &[&str])] = &[
    ("httparse", &["http", "docker::fake"]),
    ("saphyr_parser", &["config"]),
    ("serde_yaml", &["config"]),
    ("corosensei", &["runtime"]),
    ("ureq", &["docker", "cli"]),
    ("may", &["admin"]),
    ("may_minihttp", &["admin"]),
];

/// Modules with `unsafe` code; `runtime` relaxes the crate's `deny` with a reason.
pub const UNSAFE: &[&str] = &["runtime"];

/// Tests that may too: they plant an allocator to count, or ask the kernel what `std` does not.
pub const UNSAFE_TESTS: [&str; 2] = ["tests/runtime_", "tests/proxy_memory.rs"];

/// Modules that may print.
pub const PRINTS: &[&str] = &["main", "cli"];

/// Lines of a function, from `fn` to its closing brace.
pub const FUNCTION_LINES: usize = 70;

/// Lines of a file: one concern each.
pub const FILE_LINES: usize = 600;

/// Lines of a file of tests.
pub const TEST_FILE_LINES: usize = 800;

/// Files that play a part of the outside world: their times are a script, not bounds of the program.
pub const SCRIPTED: &[&str] = &["src/limits.rs", "src/demo", "src/docker/fake", "src/docker/fake.rs"];

/// The line a module stands on, counted from the top.
pub fn rank(module: &str) -> Option<usize> {
    LAYERS.iter().position(|line| line.contains(&module))
}
