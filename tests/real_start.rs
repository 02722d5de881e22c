//! Stories about the start beside a real engine: none yet, no permission, many containers.
#![allow(clippy::disallowed_methods)] // tests block, and measure deadlines

mod support;

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;
use support::engine::Engine;
use support::room::{inside, measured, noted};
use support::tidegate::{Tidegate, config, host};
use support::wait;

/// Time for what a goal allows a second at most.
const LIMIT: Duration = Duration::from_secs(10);
/// Time for 30 containers at once on a busy machine.
const MANY: Duration = Duration::from_secs(60);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(20);

#[test]
fn the_engine_comes_twenty_seconds_later() {
    inside("the_engine_comes_twenty_seconds_later", Duration::from_secs(180), |room| {
        let mut engine = Engine::default_bridge(room);
        engine.run("ada", &["--restart", "always"]);
        engine.kill9();
        std::fs::remove_file(engine.socket()).expect("the socket is removed");

        let proxy = Tidegate::start(room, &config(&engine), &[]);
        let socket = engine.socket().display().to_string();
        let said = |proxy: &Tidegate| proxy.problems(0).into_iter().find(|line| line.contains(&socket));
        wait::until("a line that names the missing socket", LIMIT, LOOK, || said(&proxy));
        let answer = proxy.get(&host("ada"), "/").expect("an answer without any engine");
        assert!(matches!(answer.status, 404 | 503), "{}", answer.status);
        wait::pass(Duration::from_secs(20));
        let problems = proxy.problems(0).len();
        assert!(problems <= 2, "{problems} problems for one missing socket");

        engine.start();
        let first = engine.wait_ready();
        wait::until("the app listens", MANY, LOOK, || room.listening("ada").get(1).copied());
        let right = proxy.wait_app("ada", LIMIT);
        let took = right.saturating_duration_since(first);
        measured("routed after the first answer of an engine that came later", took, Duration::from_secs(1));
    });
}

#[test]
fn a_socket_without_permission_is_said_and_the_rest_is_served() {
    inside("a_socket_without_permission_is_said_and_the_rest_is_served", Duration::from_secs(120), |room| {
        let engine = Engine::live_restore(room);
        engine.run("filed", &["-e", "PORT=9001", "-l", "proxy.exclude=true"]);
        let labels = ["-e", "PORT=9002", "-l", "proxy.aliases=ada", "-l", "proxy.ada.port=9002"];
        engine.run("ada", &labels);
        std::fs::write(room.dir.join("routes.yml"), "filed: {host: 127.0.0.1, port: 9001}\n")
            .expect("routes");
        let config = config(&engine).replace("providers: {", "providers: {include: [routes.yml], ");
        let may = |mode: u32| {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(engine.socket(), mode).expect("the socket's mode");
        };
        may(0o600);

        let proxy = Tidegate::start_as_nobody(room, &config, &[]);
        let socket = engine.socket().display().to_string();
        wait::until("a line about the permission", LIMIT, LOOK, || {
            let problems = proxy.problems(0);
            problems.into_iter().find(|l| l.contains(&socket) && l.to_lowercase().contains("permission"))
        });
        proxy.wait_app("filed", LIMIT);
        may(0o666);
        proxy.wait_app("ada", LIMIT);
    });
}

#[test]
fn twenty_starts_beside_thirty_containers() {
    inside("twenty_starts_beside_thirty_containers", Duration::from_secs(400), |room| {
        let engine = Engine::default_bridge(room);
        let names: Vec<String> = (0..30).map(|number| format!("app{number}")).collect();
        names.iter().for_each(|name| drop(engine.run(name, &[])));
        let mut descriptors = Vec::new();
        for _ in 0..20 {
            let proxy = Tidegate::start(room, &config(&engine), &[]);
            proxy.wait_apps(&names, MANY);
            descriptors.push(proxy.descriptors());
            assert!(proxy.terminate().success(), "SIGTERM did not end it with 0");
        }
        noted(&format!("descriptors of twenty starts: {descriptors:?}"));
        assert!(descriptors[19] <= descriptors[0], "descriptors grew: {descriptors:?}");
    });
}
