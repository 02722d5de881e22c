//! The checks themselves, each shown one planted violation of its kind, and code that is right.

use crate::paths;
use crate::rules;
use crate::tree::{Files, Tree};
use std::path::{Path, PathBuf};

/// A small house: `lib.rs` and `main.rs` are given, further files come on top.
fn house(extra: &[(&str, &str)]) -> Files {
    let lib =
        "pub mod proxy;\npub mod control;\npub mod docker;\npub mod net;\npub mod http;\npub mod util;\n";
    let mut files: Files = [
        ("src/lib.rs", lib),
        ("src/main.rs", "fn main() { tidegate::proxy::run() }\n"),
        ("src/proxy/mod.rs", "use crate::docker::Client;\npub fn run() { crate::util::help(); }\n"),
        ("src/control.rs", "pub struct Control;\n"),
        ("src/docker/mod.rs", "mod client;\npub use client::Client;\n"),
        ("src/docker/client.rs", "pub struct Client;\nuse super::super::net;\n"),
        ("src/net.rs", "pub struct Net;\n"),
        ("src/http.rs", "use std::time::Instant;\npub struct Head;\npub fn late(_now: Instant) {}\n"),
        ("src/util.rs", "pub fn help() {}\n"),
    ]
    .into_iter()
    .map(|(path, text)| (PathBuf::from(path), text.to_string()))
    .collect();
    files.extend(extra.iter().map(|(path, text)| (PathBuf::from(path), text.to_string())));
    files
}

/// The findings about the layers, as text.
fn layers(extra: &[(&str, &str)]) -> Vec<String> {
    paths::check(&Tree::read(&house(extra))).iter().map(ToString::to_string).collect()
}

/// Asserts that exactly one finding stands at `place` and says `what`.
#[track_caller]
fn one(found: &[String], place: &str, what: &str) {
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].starts_with(&format!("{place}: ")), "not at {place}: {}", found[0]);
    assert!(found[0].contains(what), "does not say {what:?}: {}", found[0]);
}

/// Plants `text` in net.rs, where it must be found once, as knowledge of `docker`, which is above.
#[track_caller]
fn net_may_not(text: &str, line: usize) {
    one(&layers(&[("src/net.rs", text)]), &format!("src/net.rs:{line}"), "must not know `docker`, above it");
}

/// Plants `text` in net.rs, where it must pass.
#[track_caller]
fn net_may(text: &str) {
    assert_eq!(layers(&[("src/net.rs", text)]), Vec::<String>::new());
}

#[test]
fn a_house_in_order_passes() {
    assert_eq!(layers(&[]), Vec::<String>::new());
}

#[test]
fn use_trees() {
    net_may_not("use crate::docker::Client;\n", 1);
    net_may_not("\nuse crate::docker;\n", 2);
    net_may_not("use crate::{util, docker::{Client}};\n", 1);
    net_may_not("use crate::{\n    util,\n    docker::Client as C,\n};\n", 3);
    net_may_not("use crate::docker::{self};\n", 1);
    net_may_not("use crate::docker::*;\n", 1);
    net_may_not("pub use crate::docker::Client;\n", 1);
    net_may_not("pub fn f() {\n    use crate::docker::Client;\n}\n", 2);
}

#[test]
fn inline_paths() {
    net_may_not("pub fn f(_: crate::docker::Client) {}\n", 1);
    net_may_not("pub fn f() -> usize {\n    size_of::<crate::docker::Client>()\n}\n", 2);
    net_may_not("impl From<crate::docker::Client> for u8 {}\n", 1);
    net_may_not("pub type T = <crate::docker::Client as Iterator>::Item;\n", 1);
    net_may_not("pub fn f(x: u8) { match x { crate::docker::LIMIT => {}, _ => {} } }\n", 1);
}

#[test]
fn relative_paths() {
    net_may_not("use super::docker::Client;\n", 1);
    net_may_not("use self::super::docker::Client;\n", 1);
    net_may_not("mod inner {\n    use super::super::docker::Client;\n}\n", 2);
    let deep = [("src/net.rs", "pub mod tls;\n"), ("src/net/tls.rs", "use super::super::docker::Client;\n")];
    one(&layers(&deep), "src/net/tls.rs:1", "must not know `docker`");
    net_may("mod inner {\n    use super::Net;\n}\npub struct Net;\n");
}

#[test]
fn renamed_roots_and_modules() {
    net_may_not("use crate as top;\npub fn f(_: top::docker::Client) {}\n", 2);
    net_may_not("use super::{self as up};\npub fn f(_: up::docker::Client) {}\n", 2);
    net_may_not("extern crate self as me;\npub fn f(_: me::docker::Client) {}\n", 2);
}

#[test]
fn re_exports_through_the_library_root() {
    let lib = house(&[])[Path::new("src/lib.rs")].clone();
    let net = ("src/net.rs", "use crate::Client;\n");
    let named = lib.clone() + "pub use docker::Client;\n";
    one(&layers(&[("src/lib.rs", &named), net]), "src/net.rs:1", "must not know `docker`");
    let glob = lib.clone() + "pub use docker::*;\n";
    one(&layers(&[("src/lib.rs", &glob), net]), "src/net.rs:1", "must not know `docker`");
    let renamed = lib.clone() + "pub use docker as engines;\n";
    let net = ("src/net.rs", "use crate::engines::Client;\n");
    one(&layers(&[("src/lib.rs", &renamed), net]), "src/net.rs:1", "must not know `docker`");
    let below = lib + "pub use util::help;\n";
    assert_eq!(layers(&[("src/lib.rs", &below), ("src/net.rs", "use crate::help;\n")]), Vec::<String>::new());
}

#[test]
fn macros_and_attributes() {
    net_may_not("pub fn f() {\n    println!(\"{}\", crate::docker::LIMIT);\n}\n", 2);
    net_may_not("pub fn f() { vec![Some({ use crate::{util, docker::Client}; 1 })]; }\n", 1);
    net_may_not("macro_rules! m { () => { $crate::docker::run() } }\n", 1);
    net_may_not("#[serde(with = \"crate::docker::format\")]\npub struct S;\n", 1);
    let docker = "mod client;\npub use client::Client;\n#[macro_export]\nmacro_rules! ask { () => {} }\n";
    let net = ("src/net.rs", "pub fn f() { crate::ask!() }\n");
    one(&layers(&[("src/docker/mod.rs", docker), net]), "src/net.rs:1", "must not know `docker`");
}

#[test]
fn neighbours_do_not_know_each_other() {
    let found = layers(&[("src/control.rs", "use crate::proxy::run;\n")]);
    one(&found, "src/control.rs:1", "`control` must not know `proxy`, a neighbour on its line");
}

#[test]
fn nobody_knows_main_and_main_may_know_all() {
    let main = ("src/main.rs", "mod extra;\nuse tidegate::{docker::Client, util};\nfn main() {}\n");
    assert_eq!(layers(&[main, ("src/extra.rs", "use tidegate::proxy;\n")]), Vec::<String>::new());
}

#[test]
fn tests_may_import_anything() {
    net_may("#[cfg(test)]\nmod tests {\n    use crate::docker::Client;\n}\n");
    net_may("#[cfg(all(test, not(loom)))]\nmod tests {\n    use crate::docker::Client;\n}\n");
    net_may("#[cfg(test)]\nuse crate::docker::Client;\n#[test]\nfn t() { crate::docker::run() }\n");
    net_may("pub struct S;\nimpl S {\n    #[cfg(test)]\n    fn t() { crate::docker::run() }\n}\n");
    let file =
        [("src/net.rs", "#[cfg(test)]\nmod tests;\n"), ("src/net/tests.rs", "use crate::docker::Client;\n")];
    assert_eq!(layers(&file), Vec::<String>::new());
    let file = [
        ("src/net.rs", "#[cfg(test)]\n#[path = \"net_tests.rs\"]\nmod tests;\n"),
        ("src/net_tests.rs", "use crate::docker::Client;\n"),
    ];
    assert_eq!(layers(&file), Vec::<String>::new());
    net_may_not("#[cfg(not(test))]\nuse crate::docker::Client;\n", 2);
    net_may_not("#[cfg(any(test, loom))]\nuse crate::docker::Client;\n", 2);
}

#[test]
fn names_that_only_look_alike_pass() {
    net_may("use docker::Client;\npub fn f() { docker::run() }\n");
    net_may(
        "// crate::docker::Client\n/// [`crate::docker::Client`]\npub const A: &str = \"crate::docker\";\n",
    );
}

#[test]
fn files_and_modules_without_a_place() {
    one(&layers(&[("src/stray.rs", "")]), "src/stray.rs:1", "no module declares this file");
    one(&layers(&[("src/net.rs", "mod gone;\n")]), "src/net/gone/mod.rs:1", "its file is missing");
    one(
        &layers(&[("src/net.rs", "use crate::nowhere::X;\n")]),
        "src/net.rs:1",
        "`crate::nowhere`: no such name",
    );
    let lib = house(&[])[Path::new("src/lib.rs")].clone() + "mod novel;\n";
    one(&layers(&[("src/lib.rs", &lib), ("src/novel.rs", "")]), "src/novel.rs:1", "stands on no line");
}

#[test]
fn the_pure_line_has_no_socket_thread_or_clock() {
    let pure = |text: &str, line: usize, what: &str| {
        one(&layers(&[("src/http.rs", text)]), &format!("src/http.rs:{line}"), what);
    };
    pure("use std::net::{IpAddr, TcpStream};\n", 1, "a socket");
    pure("use std::net;\npub fn f(_: net::TcpStream) {}\n", 2, "a socket");
    pure("use std::net::*;\n", 1, "`std::net`: a socket");
    pure("use std::time::Instant;\npub fn f() { Instant::now(); }\n", 2, "a clock read");
    pure("pub fn f() { std::thread::yield_now(); }\n", 1, "a thread");
    pure("pub type T = serde_json::Value;\n", 1, "Docker's JSON");
}

#[test]
fn crates_with_one_home_stay_there() {
    one(
        &layers(&[("src/net.rs", "use httparse::Request;\n")]),
        "src/net.rs:1",
        "may use `httparse`, not `net`",
    );
    assert_eq!(layers(&[("src/http.rs", "use httparse::Request;\n")]), Vec::<String>::new());
    let docker = house(&[])[Path::new("src/docker/mod.rs")].clone() + "mod fake;\n";
    let fake = ("src/docker/fake.rs", "use httparse::Request;\n");
    assert_eq!(layers(&[("src/docker/mod.rs", &docker), fake]), Vec::<String>::new());
}

/// The findings of the rules about single files.
fn file(path: &str, text: &str) -> Vec<String> {
    let files = Files::from([(PathBuf::from(path), text.to_string())]);
    rules::check(&files).iter().map(ToString::to_string).collect()
}

#[test]
fn unsafe_stays_in_its_modules() {
    let text = "pub fn f() {\n    unsafe { g() }\n}\n";
    one(&file("src/net/mod.rs", text), "src/net/mod.rs:2", "`unsafe` lives in");
    one(&file("tests/t.rs", text), "tests/t.rs:2", "`unsafe` lives in");
    one(&file("src/net.rs", "m!(unsafe { g() });\n"), "src/net.rs:1", "`unsafe` lives in");
    one(&file("src/net.rs", "#![allow(unsafe_code)] // reason\n"), "src/net.rs:1", "`unsafe` lives in");
    assert_eq!(file("src/runtime/stack.rs", text), Vec::<String>::new());
    assert_eq!(file("tests/runtime_memory.rs", text), Vec::<String>::new());
    assert_eq!(file("src/net.rs", "// unsafe\npub const A: &str = \"unsafe\";\n"), Vec::<String>::new());
}

#[test]
fn functions_and_files_are_short() {
    let long = |lines: usize| format!("pub fn f() {{\n{}}}\n", "    g();\n".repeat(lines - 2));
    assert_eq!(file("src/net.rs", &long(70)), Vec::<String>::new());
    one(&file("src/net.rs", &long(71)), "src/net.rs:1", "`f` has 71 lines");
    let method = format!("impl S {{\n{}}}\n", long(71));
    one(&file("src/net.rs", &method), "src/net.rs:2", "`f` has 71 lines");
    let nested = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", long(71));
    one(&file("src/net.rs", &nested), "src/net.rs:3", "`f` has 71 lines");
    assert_eq!(file("src/net.rs", &"// line\n".repeat(600)), Vec::<String>::new());
    one(&file("src/net.rs", &"// line\n".repeat(601)), "src/net.rs:601", "601 lines in one file");
    one(&file("tests/t.rs", &"// line\n".repeat(801)), "tests/t.rs:801", "801 lines in one file");
}

#[test]
fn only_the_command_line_prints() {
    let text = "pub fn f() {\n    println!(\"x\");\n}\n";
    one(&file("src/net.rs", text), "src/net.rs:2", "`println!` outside");
    one(
        &file("src/net.rs", "pub fn f() { g!(std::eprintln!(\"x\")); }\n"),
        "src/net.rs:1",
        "`eprintln!` outside",
    );
    assert_eq!(file("src/cli/mod.rs", text), Vec::<String>::new());
    assert_eq!(file("tests/t.rs", text), Vec::<String>::new());
    assert_eq!(file("src/net.rs", &format!("#[cfg(test)]\nmod tests {{\n{text}}}\n")), Vec::<String>::new());
}

#[test]
fn times_stand_among_the_limits() {
    let inline = "pub fn f() {\n    g(Duration::from_secs(5));\n}\n";
    one(&file("src/net.rs", inline), "src/net.rs:2", "belongs in limits.rs");
    let named = "const WAIT: Duration = Duration::from_millis(SOME);\n";
    one(&file("src/net.rs", named), "src/net.rs:1", "`WAIT` is a bound");
    assert_eq!(file("src/limits.rs", named), Vec::<String>::new());
    assert_eq!(file("src/net.rs", "pub fn f(n: u64) { g(Duration::from_secs(n)); }\n"), Vec::<String>::new());
    assert_eq!(file("src/net.rs", "#[test]\nfn t() { g(Duration::from_secs(5)); }\n"), Vec::<String>::new());
}

#[test]
fn relaxed_lints_have_a_reason() {
    one(&file("src/net.rs", "#[allow(dead_code)]\npub fn f() {}\n"), "src/net.rs:1", "without a reason");
    assert_eq!(
        file("src/net.rs", "#[allow(dead_code)] // the reason\npub fn f() {}\n"),
        Vec::<String>::new()
    );
    assert_eq!(
        file("src/net.rs", "#[expect(dead_code, reason = \"so\")]\npub fn f() {}\n"),
        Vec::<String>::new()
    );
}

#[test]
fn dependencies_say_what_they_are_for() {
    let check = |text: &str| -> Vec<String> {
        rules::dependencies(Path::new("Cargo.toml"), text).iter().map(ToString::to_string).collect()
    };
    let right = "[package]\nname = \"x\"\n[dependencies]\n# Logs.\nlog = \"1\"\n";
    assert_eq!(check(right), Vec::<String>::new());
    one(&check("[dependencies]\nlog = \"1\"\n"), "Cargo.toml:2", "`log` does not say");
    one(&check("[dependencies]\n# Logs.\nlog = \"1\"\nhttparse = \"1\"\n"), "Cargo.toml:4", "`httparse`");
    one(&check("[target.'cfg(loom)'.dependencies]\n#\nloom = \"0.7\"\n"), "Cargo.toml:3", "`loom`");
    one(&check("[dependencies.log]\nversion = \"1\"\n"), "Cargo.toml:1", "`log`");
}

#[test]
fn words_that_promise_work() {
    let word = concat!("TO", "DO");
    let found = rules::words(Path::new("README.md"), &format!("fine\n// {word}: later\n"));
    one(&found.iter().map(ToString::to_string).collect::<Vec<_>>(), "README.md:2", word);
    assert!(rules::words(Path::new("x"), "mktemp dir.XXXXXX").is_empty());
}
