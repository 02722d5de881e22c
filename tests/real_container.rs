//! Tidegate in a container of the engine it serves: what it reaches, what it does not, and itself.
#![allow(clippy::disallowed_methods)] // tests block, and measure deadlines

mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use support::engine::Engine;
use support::http;
use support::room::{Room, command, inside};
use support::wait;

/// Time for anything here; only a fault reaches it.
const LIMIT: Duration = Duration::from_secs(20);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// The whole of one story.
const STORY: Duration = Duration::from_secs(120);

#[test]
fn it_serves_its_network_names_the_others_and_never_itself() {
    inside("it_serves_its_network_names_the_others_and_never_itself", STORY, |room| {
        let engine = Engine::default_bridge(room);
        import(room, &engine);
        engine.docker(&["network", "create", "left"]);
        engine.docker(&["network", "create", "right"]);
        engine.run("ada", &["--network", "left"]);
        engine.run("ben", &["--network", "right", "-l", "proxy.aliases=ben"]);
        let addr = start(&engine);

        let ada = until_status(addr, "ada.local", 200);
        assert_eq!(ada.app(), Some("ada"));
        let ben = until_status(addr, "ben.local", 502);
        assert!(ben.text().contains("on network right only"), "the 502 does not say why: {}", ben.text());
        let own = until_status(addr, "tidegate.local", 404);
        assert!(own.app().is_none());

        // It follows when it is given the other network, without a restart.
        engine.docker(&["network", "connect", "right", "tidegate"]);
        let ben = until_status(addr, "ben.local", 200);
        assert_eq!(ben.app(), Some("ben"));
    });
}

/// Runs it on the network `left`, with the socket's directory mounted; gives where it listens.
fn start(engine: &Engine) -> SocketAddr {
    let socket = engine.socket();
    let mount = format!("{}:/engine", socket.parent().expect("a directory").display());
    let mut args = vec!["run", "-d", "--name", "tidegate", "--network", "left", "-v", &mount];
    args.extend(["-e", "DOCKER_HOST=unix:///engine/docker.sock", "-e", "TIDEGATE_HTTP_ADDR=:8080"]);
    args.extend(["tidegate", "/tidegate", "serve"]);
    engine.docker(&args);
    let format = "{{.NetworkSettings.Networks.left.IPAddress}}";
    let ip = engine.docker(&["inspect", "--format", format, "tidegate"]);
    format!("{ip}:8080").parse().expect("an address")
}

fn until_status(addr: SocketAddr, host: &str, status: u16) -> http::Response {
    wait::until(&format!("{host} is answered with {status}"), LIMIT, LOOK, || {
        http::get(addr, host, "/").ok().filter(|response| response.status == status)
    })
}

/// Makes the image `tidegate` of the tested binary and the libraries it is linked to.
fn import(room: &Room, engine: &Engine) {
    let root = room.dir.join("image");
    std::fs::create_dir_all(root.join("tmp")).expect("the image's directory");
    let binary = env!("CARGO_BIN_EXE_tidegate");
    std::fs::copy(binary, root.join("tidegate")).expect("the binary is copied");
    let linked = Command::new("ldd").arg(binary).output().expect("ldd runs").stdout;
    let linked = String::from_utf8_lossy(&linked).into_owned();
    for library in linked.split_whitespace().filter(|word| word.starts_with('/')).map(Path::new) {
        let inside = root.join(library.strip_prefix("/").expect("an absolute path"));
        std::fs::create_dir_all(inside.parent().expect("a directory")).expect("the library's directory");
        std::fs::copy(library, &inside).expect("the library is copied");
    }
    let (tar, root) = (room.dir.join("tidegate.tar").display().to_string(), root.display().to_string());
    command("tar", &["-cf", &tar, "-C", &root, "."]);
    engine.docker(&["import", "--change", "EXPOSE 8080", &tar, "tidegate"]);
}
