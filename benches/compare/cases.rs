//! What is measured.

use crate::args::Args;

#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    /// GET of this path on kept connections.
    Get(&'static str),
    /// GET of 100 bytes, a connection for each.
    Connect,
    /// POST of 1 MB.
    Upload,
    /// Messages of 100 bytes, there and back.
    WebSocket,
    /// GET of 100 bytes, in turn from so many hosts.
    Routes(usize),
    /// GET of this path over TLS 1.3.
    Tls(&'static str),
    /// GET of 100 bytes over TLS 1.3, a connection with a full handshake for each.
    Handshake,
    /// GET of 100 bytes at a fixed rate.
    OpenLoop,
}

#[derive(Clone, Copy)]
pub struct Case {
    pub name: &'static str,
    pub kind: Kind,
    pub connections: usize,
    /// Also with --quick.
    pub quick: bool,
}

const fn case(name: &'static str, kind: Kind, connections: usize, quick: bool) -> Case {
    Case { name, kind, connections, quick }
}

/// The cases that are measured in rounds. `memory` and `syscalls` are measured once each.
pub const ALL: [Case; 20] = [
    case("100b-c1", Kind::Get("/100"), 1, true),
    case("100b-c16", Kind::Get("/100"), 16, true),
    case("100b-c64", Kind::Get("/100"), 64, true),
    case("100b-c256", Kind::Get("/100"), 256, true),
    case("10k-c1", Kind::Get("/10k"), 1, false),
    case("10k-c16", Kind::Get("/10k"), 16, false),
    case("10k-c64", Kind::Get("/10k"), 64, true),
    case("10k-c256", Kind::Get("/10k"), 256, false),
    case("1m-c1", Kind::Get("/1m"), 1, false),
    case("1m-c16", Kind::Get("/1m"), 16, true),
    case("1m-c64", Kind::Get("/1m"), 64, false),
    case("1m-c256", Kind::Get("/1m"), 256, false),
    case("connect-c16", Kind::Connect, 16, true),
    case("upload-c16", Kind::Upload, 16, true),
    case("websocket-c64", Kind::WebSocket, 64, true),
    case("routes-c64", Kind::Routes(1_000), 64, false),
    case("tls-100b-c64", Kind::Tls("/100"), 64, true),
    case("tls-1m-c16", Kind::Tls("/1m"), 16, false),
    case("tls-handshake-c16", Kind::Handshake, 16, true),
    case("latency-c64", Kind::OpenLoop, 64, true),
];

pub const MEMORY: &str = "memory";
pub const SYSCALLS: &str = "syscalls";

/// Connections that are counted by the system call, each a line of the report.
pub const SYSCALLS_AT: [usize; 3] = [1, 64, 256];
/// Idle connections whose memory is measured.
pub const IDLE: [usize; 2] = [1_000, 10_000];

/// Whether a name is chosen.
pub fn chosen(args: &Args, name: &str, quick: bool) -> bool {
    if args.cases.is_empty() {
        return quick || !args.quick;
    }
    args.cases.iter().any(|wanted| name == wanted || name.starts_with(&format!("{wanted}-")))
}

/// What a case needs of a contender.
pub fn takes_part(kind: Kind, contender: &crate::contender::Contender) -> bool {
    match kind {
        Kind::Get(_) | Kind::Connect | Kind::OpenLoop => true,
        Kind::Upload | Kind::WebSocket => contender.whole_http,
        Kind::Routes(_) => contender.routes,
        Kind::Tls(_) | Kind::Handshake => contender.tls,
    }
}
