//! Hostile files: no panic, no long wait, no growth.

use rustix::time::{ClockId, clock_gettime};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;
use tidegate::config::labels::{Guard, middlewares, set_field};
use tidegate::config::{FileChoice, Sources, example, load};
use tidegate::error::{Place, Problem};
use tidegate::limits;
use tidegate::route::Settings;
use tidegate::util::rng::Rng;

/// Two files in a directory of memory, if there is one, for one test.
struct Files {
    directory: PathBuf,
    main: PathBuf,
    routes: PathBuf,
}

impl Files {
    fn new(name: &str) -> Files {
        let memory = PathBuf::from("/dev/shm");
        let base = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let directory = base.join(format!("tidegate-hostile-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        Files { main: directory.join("config.yml"), routes: directory.join("routes.yml"), directory }
    }

    /// Loads `main` and, as its include, `routes`; returns the problems and how long it took.
    fn load(&self, main: &[u8], routes: &[u8]) -> (Vec<Problem>, Duration) {
        fs::write(&self.main, main).unwrap();
        fs::write(&self.routes, routes).unwrap();
        let env = |name: &str| match name {
            "A" => Some("a".repeat(10_000)),
            "DOCKER_HOST" => Some("unix:///x".into()),
            _ => None,
        };
        let start = cpu_time();
        let loaded =
            load(&Sources { file: FileChoice::Explicit(self.main.clone()), env: &env, http_addr: None });
        let time = cpu_time() - start;
        (loaded.err().unwrap_or_default(), time)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// What this thread has worked: the machine's other load does not count.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

const INCLUDE: &[u8] = b"providers: {include: [routes.yml]}\n";

/// Pieces that YAML and the schema care about.
const PIECES: &[&str] = &[
    ": ",
    "- ",
    "\n",
    "  ",
    "{",
    "}",
    "[",
    "]",
    ", ",
    "&a ",
    "*a",
    "<<: ",
    "? ",
    "| ",
    "|2-\n",
    "> ",
    "!!str ",
    "!x ",
    "\"",
    "'",
    "#",
    "---\n",
    "...\n",
    "%YAML 1.2\n",
    "%TAG ! !\n",
    "\t",
    "\r\n",
    "\u{feff}",
    "\0",
    "~",
    "${A}",
    "${",
    "$$",
    "$DOCKER_HOST",
    "x-",
    "é",
    "\u{85}",
    "\u{2028}",
    "\\x41",
    "\\u00",
    "entrypoint",
    "http_addr",
    "workers",
    "providers",
    "docker",
    "include",
    "routes.yml",
    "timeout_shutdown",
    "match_domains",
    "port",
    "host",
    "scheme",
    ":80",
    "1h",
    "99999999999",
    "0x1f",
    ".inf",
    "true",
    "null",
    "local!",
    "url",
    "on_stale_socket",
    "`",
    "@",
    "=",
];

/// A text of random bytes, of pieces, or the example with a few edits.
fn text(rng: &mut Rng, base: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match rng.below(4) {
        0 => (0..rng.below(200)).for_each(|_| out.push(rng.next_u64() as u8)),
        1 => (0..rng.below(200)).for_each(|_| out.push(b' ' + rng.below(95) as u8)),
        2 => (0..rng.below(60)).for_each(|_| {
            out.extend_from_slice(PIECES[rng.below(PIECES.len() as u64) as usize].as_bytes());
        }),
        _ => {
            out.extend_from_slice(base);
            for _ in 0..rng.below(4) {
                let piece = PIECES[rng.below(PIECES.len() as u64) as usize].as_bytes();
                let at = rng.below(out.len() as u64 + 1) as usize;
                let end = (at + rng.below(6) as usize).min(out.len());
                out.splice(at..end, piece.iter().copied());
            }
        }
    }
    out
}

#[test]
fn twenty_thousand_texts_end_quickly_and_without_a_panic() {
    let seed = std::env::var("TIDEGATE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(4);
    let (files, mut rng) = (Files::new("random"), Rng::new(seed));
    let base = uncommented_example();
    let start = cpu_time();
    let (mut slowest, mut good) = (Duration::ZERO, 0);
    for count in 0..10_000 {
        let (main, routes) = (text(&mut rng, base[0].as_bytes()), text(&mut rng, base[1].as_bytes()));
        for (main, routes) in [(main.as_slice(), [].as_slice()), (INCLUDE, routes.as_slice())] {
            let result = std::panic::catch_unwind(|| files.load(main, routes));
            let (problems, time) = result.unwrap_or_else(|_| {
                let texts = (String::from_utf8_lossy(main), String::from_utf8_lossy(routes));
                panic!("seed {seed}, text {count} made it panic: {texts:?}")
            });
            good += usize::from(problems.is_empty());
            slowest = slowest.max(time);
        }
    }
    let total = cpu_time() - start;
    eprintln!("20,000 texts in {total:?}, the slowest in {slowest:?}, {good} without a problem");
    assert!(total < Duration::from_secs(30), "20,000 texts took {total:?}");
    assert!(slowest < Duration::from_secs(2), "one text took {slowest:?}");
    assert!((100..19_000).contains(&good), "{good} good texts: the mixture tests nothing");
}

#[test]
fn ten_thousand_labels_do_not_panic() {
    let mut rng = Rng::new(4);
    for _ in 0..10_000 {
        let (field, value) = (text(&mut rng, b"port.host.scheme"), text(&mut rng, b"8080 http 10.0.0.1"));
        let (field, value) = (String::from_utf8_lossy(&field), String::from_utf8_lossy(&value));
        let mut settings = Settings::new("app", Place::Default);
        for name in [&*field, "port", "host", "scheme"] {
            let _ = set_field(&mut settings, name, &value);
        }
    }
}

#[test]
fn thousands_of_guards_do_not_panic() {
    const PATHS: [&str; 8] = [
        "",
        "cidr_whitelist",
        "cidr_whitelist.allow",
        "CIDRblacklist.deny",
        "basic_auth",
        "basic_auth.users",
        "basic_auth.users.a.b",
        "oidc..x.",
    ];
    let mut rng = Rng::new(5);
    let mut taken = 0;
    for _ in 0..3_000 {
        let mut said = |seed: &[u8]| String::from_utf8_lossy(&text(&mut rng, seed)).into_owned();
        let values =
            [said(b"allow: [10.0.0.0/8]"), said(b"10.0.0.0/8, ::1"), said(b"{users: {a: $2y$04$x}}")];
        let path = said(b"cidr_whitelist.allow");
        let mut paths: Vec<&str> = (0..2).map(|_| PATHS[rng.below(8) as usize]).collect();
        paths.push(&path);
        let guards: Vec<Guard> =
            paths.iter().zip(&values).map(|(path, value)| Guard { path, value }).collect();
        for many in 1..=3 {
            match middlewares(&guards[..many]) {
                Ok(rules) => taken += usize::from(rules.is_some()),
                Err(wrong) => assert!(wrong.iter().all(|(index, _)| *index < many), "{wrong:?}"),
            }
        }
    }
    assert!(taken > 10, "{taken} of them were taken: the mixture tests nothing");
}

/// The example's main file and its route file, without comments.
fn uncommented_example() -> [String; 2] {
    let example = example();
    let (main, routes) = example.split_once("# --- routes.yml ---").unwrap();
    let is_key = |line: &&str| !line.trim_start().starts_with("# ") && !line.trim().is_empty();
    let uncommented = |text: &str| -> String {
        text.lines().filter(is_key).map(|line| line.replacen('#', "", 1) + "\n").collect()
    };
    [uncommented(main), uncommented(routes)]
}

/// Loads `routes` as an included file: there must be a problem, with `message` in the first, soon.
fn bomb(name: &str, routes: &str, message: &str) {
    let files = Files::new(name);
    let (problems, time) = files.load(INCLUDE, routes.as_bytes());
    let first = problems.first().unwrap_or_else(|| panic!("{name} was taken"));
    assert!(first.message.contains(message), "{name}: {first}");
    assert!(matches!(first.place, Place::File { .. }), "{name}: {first}");
    eprintln!("{name}: {} bytes took {time:?}", routes.len());
    assert!(time < Duration::from_secs(10), "{name} took {time:?}");
    assert!(problems.len() <= limits::CONFIG_PROBLEMS + 1);
}

#[test]
fn a_billion_laughs_end_at_the_limit_of_values() {
    let mut lists = String::from("x-0: &a0 [l, l, l, l, l, l, l, l, l, l]\n");
    let mut maps = String::from("x-0: &a0 {a: 1, b: 2}\n");
    let mut merges = String::from("x-0: &a0 {a: 1, b: 2}\n");
    for level in 1..40 {
        let below = level - 1;
        let ten = vec![format!("*a{below}"); 10].join(", ");
        lists.push_str(&format!("x-{level}: &a{level} [{ten}]\n"));
        maps.push_str(&format!("x-{level}: &a{level} {{a: *a{below}, b: *a{below}, c: *a{below}}}\n"));
        merges.push_str(&format!("x-{level}: &a{level} {{<<: [*a{below}, *a{below}], k{level}: 1}}\n"));
    }
    bomb("laughs-list", &lists, "more than 100000 values");
    bomb("laughs-map", &maps, "more than 100000 values");
    bomb("laughs-merge", &merges, "more than 100000 values");
}

#[test]
fn a_long_text_named_often_ends_at_the_limit_of_bytes() {
    let long = "x".repeat(1_000_000);
    let often = "*a, ".repeat(50_000);
    bomb("long-text", &format!("x-a: &a {long}\nx-b: [{often}]\n"), "more than 4194304 bytes");
}

#[test]
fn deep_nesting_ends_at_the_limit_of_depth() {
    // The parser looks far ahead, and has a limit of its own.
    bomb("deep-flow", &"[".repeat(1_000_000), "recursion limit exceeded");
    let balanced = format!("{}{}", "[".repeat(100), "]".repeat(100));
    bomb("deep-balanced", &balanced, "nested more than 64 levels deep");
    bomb("deep-maps", &"{a: ".repeat(500_000), "recursion limit exceeded");
    bomb("deep-block", &"- ".repeat(1_000_000), "nested more than 64 levels deep");
    bomb("deep-keys", &"? ".repeat(1_000_000), "nested more than 64 levels deep");
    let indented: String = (0..1000).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
    bomb("deep-indent", &indented, "nested more than 64 levels deep");
    let mut chain = String::from("x-0: &a0 [l]\n");
    for level in 1..100 {
        chain.push_str(&format!("x-{level}: &a{level} [*a{}]\n", level - 1));
    }
    bomb("deep-aliases", &chain, "nested more than 64 levels deep");
    let mut chain = String::from("x-0: &a0 {k: [l]}\n");
    for level in 1..100 {
        chain.push_str(&format!("x-{level}: &a{level} {{<<: {{k: {{k: *a{}}}}}}}\n", level - 1));
    }
    bomb("deep-merges", &chain, "nested more than 64 levels deep");
}

#[test]
fn four_megabytes_end_soon() {
    let most = limits::CONFIG_BYTES as usize;
    let fill = |piece: &str| piece.repeat(most / piece.len());
    bomb("many-items", &fill("- a\n"), "more than 100000 values");
    bomb("many-keys", &fill("? a\n"), "more than 100000 values");
    bomb(
        "many-flow",
        &format!("[{}", fill("a,").trim_end_matches(',')).replacen(",a", "", 1),
        "more than 100000 values",
    );
    bomb("one-key", &fill("k"), "expected a mapping");
    bomb("one-text", &format!("a: {{host: {}}}", &fill("h")[20..]), "expected an IP address or a name");
    bomb("one-quote", &format!("\"{}", &fill("\\")[20..]), "not YAML");
    bomb("brackets", &fill("]"), "not YAML");
    bomb("tabs", &format!("a:\n{}b", &fill("\t")[20..]), "tabs disallowed");
    bomb("anchors", &fill("&a "), "not YAML");
    bomb("colons", &fill(": "), "nested more than 64 levels deep");
}

#[test]
fn a_hundred_thousand_wrong_keys_end_soon() {
    let keys: String = (0..49_000).map(|number| format!("prot{number}: 1\n")).collect();
    let files = Files::new("wrong-keys");
    let (problems, time) = files.load(keys.as_bytes(), b"");
    assert_eq!(problems.len(), limits::CONFIG_PROBLEMS + 1);
    assert!(time < Duration::from_secs(10), "it took {time:?}");
    let routes: String = (0..16_000).map(|number| format!("r{number}: {{prot: 1}}\n")).collect();
    let (problems, time) = files.load(INCLUDE, routes.as_bytes());
    assert_eq!(problems.len(), limits::CONFIG_PROBLEMS + 1);
    assert!(time < Duration::from_secs(10), "it took {time:?}");
}

#[test]
fn many_variables_end_at_the_limit_of_bytes() {
    let files = Files::new("variables");
    let domains = "\"${A}\", ".repeat(40_000);
    let (problems, time) = files.load(format!("match_domains: [{domains}]").as_bytes(), b"");
    assert!(problems.iter().any(|p| p.message.contains("expected a domain")), "{:?}", problems[0]);
    assert_eq!(problems.len(), limits::CONFIG_PROBLEMS + 1);
    assert!(time < Duration::from_secs(10), "it took {time:?}");
    let one = "${A}".repeat(500_000);
    let (problems, time) = files.load(format!("match_domains: ['{one}']").as_bytes(), b"");
    assert!(problems[0].message.contains("bytes after expansion"), "{:?}", problems[0]);
    assert!(time < Duration::from_secs(10), "it took {time:?}");
}
