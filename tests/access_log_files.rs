//! The access log's files: they are rotated without losing a line, the newest are kept, nobody else's are
//! touched, and a disk that is full or a directory that goes away is said once.
#![allow(clippy::disallowed_methods)] // tests use std's sockets, threads and clock

mod common;
mod reload_support;

use common::fake::Dir;
use common::{Client, Proxy, config, wait_until};
use reload_support::Served;
use std::cell::Cell;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tidegate::access_log::{Retention, Rotation};
use tidegate::config::{AccessLog, AccessLogFormat};

/// A Tidegate without a route: each request has a line, of its 404.
fn start(path: &Path, rotation: Rotation) -> Proxy {
    let log = AccessLog {
        path: Some(path.to_owned()),
        format: AccessLogFormat::Common,
        rotation,
        ..AccessLog::default()
    };
    let mut config = config(&[]);
    config.access_log = Some(log);
    Proxy::start(config)
}

fn rotation(retention: Retention) -> Rotation {
    Rotation { retention, interval: Duration::from_secs(1) }
}

/// `GET /n/NUMBER` for each number, on one connection.
fn ask(addr: SocketAddr, numbers: std::ops::Range<usize>) {
    let mut client = Client::connect(addr);
    for number in numbers {
        client.send(format!("GET /n/{number} HTTP/1.1\r\nHost: none\r\n\r\n"));
        assert_eq!(client.response().status, 404);
    }
}

/// The log and its archives, the oldest first.
fn files(path: &Path) -> Vec<PathBuf> {
    let base = path.file_name().unwrap().to_str().unwrap();
    let mut files: Vec<((String, u32), PathBuf)> = Vec::new();
    for entry in fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap()) {
        let name = entry.file_name().into_string().unwrap();
        let Some((stamp, number)) = name.strip_prefix(base).and_then(|rest| rest.split_once('Z')) else {
            continue;
        };
        let number = if number.is_empty() { Some(0) } else { number.trim_start_matches('.').parse().ok() };
        if let Some(number) = number.filter(|_| entry.file_type().is_ok_and(|kind| kind.is_file())) {
            files.push(((stamp.to_owned(), number), entry.path()));
        }
    }
    files.sort();
    files.into_iter().map(|(_, file)| file).chain([path.to_owned()]).collect()
}

/// All that is there, in order.
fn text(path: &Path) -> String {
    files(path).iter().map(|file| fs::read_to_string(file).unwrap_or_default()).collect()
}

fn size(path: &Path) -> u64 {
    files(path).iter().filter_map(|file| fs::metadata(file).ok()).map(|meta| meta.len()).sum()
}

/// The numbers of the requests whose lines are there, in order.
fn numbers(text: &str) -> Vec<usize> {
    let number = |line: &str| line.split_once("/n/")?.1.split(' ').next()?.parse().ok();
    text.lines().map(|line| number(line).unwrap_or_else(|| panic!("what is {line:?}?"))).collect()
}

#[test]
fn by_age_each_interval_has_its_file_and_no_line_is_lost() {
    let dir = Dir::new();
    let path = dir.0.join("access.log");
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).unwrap();
    let is_root = chown(&path, Some(12_345), Some(54_321)).is_ok();
    let old = ".20060102T150405.000000000Z";
    let beside = |ending: &str| dir.0.join(format!("access.log{ending}"));
    let mine = [old.to_owned(), format!("{old}.7"), format!("{old}.part")];
    mine.iter().for_each(|ending| fs::write(beside(ending), "x").unwrap());
    let others = [".1", ".gz", ".20060102T150405.000000000Z.gz", ".20061302T150405.000000000Z", ".20060102"];
    others.iter().for_each(|ending| fs::write(beside(ending), "x").unwrap());
    fs::write(dir.0.join(format!("other.log{old}")), "x").unwrap();
    fs::create_dir(beside(".20070102T150405.000000000Z")).unwrap();
    symlink("nowhere", beside(".20080102T150405.000000000Z")).unwrap();

    let proxy = start(&path, rotation(Retention::Days(30)));
    wait_until("the old ones to be deleted", || mine.iter().all(|ending| !beside(ending).exists()));
    let asked = Cell::new(0);
    // Besides: the current one, and the one with a strange date.
    wait_until("three archives", || {
        ask(proxy.addr, asked.get()..asked.get() + 10);
        asked.set(asked.get() + 10);
        files(&path).len() >= 3 + 2
    });
    wait_until("a rotation without a line", || fs::metadata(&path).is_ok_and(|meta| meta.len() == 0));
    proxy.stop();
    fs::remove_file(beside(".20061302T150405.000000000Z")).unwrap();
    let mut there = numbers(&text(&path));
    // Two cores have two queues.
    there.sort_unstable();
    assert!(there.iter().copied().eq(0..asked.get()), "{} of {}", there.len(), asked.get());
    for file in files(&path) {
        let meta = fs::metadata(&file).unwrap();
        assert_eq!(meta.mode() & 0o7777, 0o604, "{}", file.display());
        if is_root {
            assert_eq!((meta.uid(), meta.gid()), (12_345, 54_321), "{}", file.display());
        }
    }
    let kept = [".1", ".gz", ".20060102T150405.000000000Z.gz", ".20060102", ".20070102T150405.000000000Z"];
    assert!(kept.iter().all(|ending| beside(ending).exists()));
    assert!(fs::symlink_metadata(beside(".20080102T150405.000000000Z")).is_ok());
    assert!(dir.0.join(format!("other.log{old}")).exists());
}

#[test]
fn by_size_all_files_stay_below_it_and_hold_the_newest_lines() {
    let dir = Dir::new();
    let path = dir.0.join("access.log");
    // What was there before is more than is kept.
    let before: String =
        (0..20_000).map(|n| format!("old 127.0.0.1 - - [] \"GET /n/{n} HTTP/1.1\" 404 0\n")).collect();
    fs::write(&path, before).unwrap();
    let kept = 64 * 1024;
    let proxy = start(&path, rotation(Retention::Bytes(kept)));
    ask(proxy.addr, 20_000..20_001);
    wait_until("the old ones to be cut", || size(&path) <= kept && text(&path).contains("/n/20000 "));
    let there = numbers(&text(&path));
    assert!(there.iter().copied().eq(there[0]..20_001), "whole lines, the newest: {there:?}");
    assert!(size(&path) >= kept / 2, "{}", size(&path));
    ask(proxy.addr, 20_001..22_500);
    wait_until("the last line", || text(&path).contains("/n/22499 "));
    wait_until("the archives to be deleted", || size(&path) <= kept);
    proxy.stop();
    let there = numbers(&text(&path));
    assert!(there.iter().copied().eq(there[0]..22_500), "{there:?}");
    assert!(size(&path) >= kept / 2 && there[0] > 20_000, "{} from {}", size(&path), there[0]);
}

#[test]
fn by_lines_at_least_so_many_are_kept_also_by_who_starts_again() {
    let dir = Dir::new();
    let path = dir.0.join("access.log");
    // Each writes fewer lines than a file takes.
    for run in 0..20 {
        let proxy = start(&path, rotation(Retention::Last(80)));
        ask(proxy.addr, run * 6..(run + 1) * 6);
        proxy.stop();
    }
    let proxy = start(&path, rotation(Retention::Last(80)));
    ask(proxy.addr, 120..160);
    // Of archives at most one more than is needed, and the current one.
    wait_until("the archives to be deleted", || {
        let text = text(&path);
        text.contains("/n/159 ") && text.lines().count() <= 80 + 10 + 10
    });
    proxy.stop();
    let there = numbers(&text(&path));
    assert!(there.iter().copied().eq(there[0]..160), "{there:?}");
    assert!(there.len() >= 80, "{}", there.len());
}

/// The program with this access log; `by` is a command that becomes it.
fn served(dir: &Dir, by: Command, access_log: &str) -> Served {
    let text = format!(
        "entrypoint: {{http_addr: \"127.0.0.1:0\", access_log: {{format: json, {access_log}}}}}\n\
         providers: {{docker: {{}}}}\n"
    );
    fs::write(dir.0.join("config.yml"), text).unwrap();
    Served::start_by(by, &dir.0, "config.yml")
}

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_tidegate"))
}

/// The program in a mount namespace of its own, where `mount` was done before.
fn mounted(test: &str, mount: &str) -> Option<Command> {
    let can = Command::new("unshare").args(["-m", "true"]).stderr(Stdio::null()).status();
    if !can.is_ok_and(|status| status.success()) {
        let _ =
            writeln!(std::io::stderr(), "SKIPPED: {test}: needs root and unshare, for a mount of its own");
        let required = std::env::var("TIDEGATE_REQUIRE_ALL").is_ok_and(|value| value == "1");
        assert!(!required, "{test} was skipped, and TIDEGATE_REQUIRE_ALL=1");
        return None;
    }
    let mut command = Command::new("unshare");
    command.args(["-m", "--propagation", "private", "sh", "-ec", &format!("{mount}\nexec \"$0\" \"$@\"")]);
    command.arg(env!("CARGO_BIN_EXE_tidegate"));
    Some(command)
}

/// The requests whose whole lines are in a file of JSON.
fn logged(text: &str) -> Vec<usize> {
    let object = |line: &str| serde_json::from_str::<serde_json::Value>(line).ok();
    let number = |object: serde_json::Value| object["path"].as_str()?.strip_prefix("/n/")?.parse().ok();
    text.lines().filter_map(object).filter_map(number).collect()
}

/// How many lines were lost, as the one line about it says.
fn said_lost(served: &Served) -> usize {
    served.wait_log("it can be written again, ");
    let log = served.log();
    assert_eq!(log.matches("it can't be").count(), 1, "{log}");
    assert_eq!(log.matches("it can be written again, ").count(), 1, "{log}");
    let rest = log.split_once("it can be written again, ").unwrap().1;
    rest.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_full_disk_is_said_once_with_what_it_cost_and_is_over_by_itself() {
    let dir = Dir::new();
    let logs = dir.0.join("logs");
    fs::create_dir(&logs).unwrap();
    let mount = format!("mount -t tmpfs -o size=256k none '{}'", logs.display());
    let Some(command) = mounted("a_full_disk_is_said_once", &mount) else { return };
    let served = served(&dir, command, "path: logs/access.log");
    // The mount is seen through the process alone.
    let inside = PathBuf::from(format!("/proc/{}/root{}", served.child.id(), logs.display()));
    let (log, fill) = (inside.join("access.log"), inside.join("fill"));
    let mut filling = fs::File::create(&fill).unwrap();
    let full = loop {
        if let Err(error) = filling.write_all(&[b'x'; 512]) {
            break error;
        }
    };
    assert_eq!(full.kind(), ErrorKind::StorageFull);
    let asked = Cell::new(0);
    let more = || {
        ask(served.addr, asked.get()..asked.get() + 20);
        asked.set(asked.get() + 20);
    };
    wait_until("the full disk to be said", || {
        more();
        served.count("it can't be written") > 0
    });
    more();
    drop(filling);
    fs::remove_file(fill).unwrap();
    // These are written; that it is over is said without another line.
    let whole = || logged(&fs::read_to_string(&log).unwrap());
    let before = whole().len();
    wait_until("lines to be written again", || {
        more();
        whole().len() > before
    });
    let lost = said_lost(&served);
    wait_until("the last line", || whole().contains(&(asked.get() - 1)));
    assert_eq!(whole().len() + lost, asked.get(), "{}", served.log());
    assert!(lost > 0);
}

#[test]
fn a_directory_that_goes_away_is_said_once_with_what_it_cost() {
    let dir = Dir::new();
    let logs = dir.0.join("logs");
    fs::create_dir(&logs).unwrap();
    let served = served(&dir, program(), "path: logs/access.log");
    let log = logs.join("access.log");
    let there = || logged(&fs::read_to_string(&log).unwrap_or_default());
    ask(served.addr, 0..10);
    wait_until("the lines", || there().len() == 10);
    fs::remove_dir_all(&logs).unwrap();
    ask(served.addr, 10..25);
    served.wait_log("it can't be opened");
    ask(served.addr, 25..30);
    // Longer than between two looks: it is said once all the same.
    std::thread::sleep(Duration::from_millis(2500));
    fs::create_dir(&logs).unwrap();
    // Without another line.
    let lost = said_lost(&served);
    assert_eq!(lost, 20);
    ask(served.addr, 30..40);
    wait_until("the new lines", || there() == (30..40).collect::<Vec<_>>());
}

#[test]
fn a_file_that_cannot_be_renamed_goes_on_and_that_is_said_once() {
    let dir = Dir::new();
    let path = dir.0.join("access.log");
    fs::write(&path, "").unwrap();
    let mount = format!("mount --bind '{0}' '{0}'", path.display());
    let Some(command) = mounted("a_file_that_cannot_be_renamed", &mount) else { return };
    let served = served(&dir, command, "path: access.log, retention: 64 KB");
    ask(served.addr, 0..400);
    served.wait_log("it can't be rotated, and grows until it can");
    ask(served.addr, 400..600);
    wait_until("all lines", || logged(&fs::read_to_string(&path).unwrap()).len() == 600);
    assert_eq!(served.count("it can't be rotated"), 1, "{}", served.log());
    assert_eq!(files(&path).len(), 1);
}

#[test]
fn what_is_no_plain_file_is_not_rotated_which_is_said() {
    let dir = Dir::new();
    let (path, real) = (dir.0.join("access.log"), dir.0.join("real.log"));
    symlink("real.log", &path).unwrap();
    let first = served(&dir, program(), "path: access.log, retention: 64 KB");
    first.wait_log("it is a symbolic link, so it isn't rotated");
    ask(first.addr, 0..400);
    wait_until("all lines", || logged(&fs::read_to_string(&real).unwrap()).len() == 400);
    drop(first);
    assert!(
        fs::read_dir(&dir.0)
            .unwrap()
            .all(|entry| { !entry.unwrap().file_name().to_string_lossy().contains("log.2") })
    );
    let old = dir.0.join("access.log.20060102T150405.000000000Z");
    fs::write(&old, "x").unwrap();
    let second = served(&dir, program(), "path: access.log, retention: 1 day");
    ask(second.addr, 400..500);
    wait_until("all lines", || logged(&fs::read_to_string(&real).unwrap()).len() == 500);
    drop(second);
    assert!(old.exists(), "what is not rotated has no archives");
    let device = served(&dir, program(), "path: /dev/null");
    device.wait_log("it is no regular file, so it isn't rotated");
    drop(device);
    let third = served(&dir, program(), "path: access.log, retention: off");
    assert_eq!(third.count("rotated"), 0);
}

#[test]
fn a_full_standard_output_is_said_once_too() {
    let dir = Dir::new();
    let mut command = program();
    command.stdout(fs::File::options().write(true).open("/dev/full").unwrap());
    let served = served(&dir, command, "stdout: true, path: access.log");
    ask(served.addr, 0..20);
    served.wait_log("on standard output: it can't be written");
    ask(served.addr, 20..40);
    let path = dir.0.join("access.log");
    wait_until("the file to have all", || logged(&fs::read_to_string(&path).unwrap()).len() == 40);
    assert_eq!(served.count("it can't be"), 1, "{}", served.log());
}

#[test]
fn who_is_killed_while_files_change_leaves_whole_lines_and_goes_on() {
    let dir = Dir::new();
    let path = dir.0.join("access.log");
    let setup = "path: access.log, retention: 64 KB";
    let mut rng = tidegate::util::rng::Rng::new(0x5eed);
    for round in 0..6 {
        let served = served(&dir, program(), setup);
        let mut stream = TcpStream::connect(served.addr).unwrap();
        let request = |n: usize| format!("GET /n/{n} HTTP/1.1\r\nHost: none\r\n\r\n");
        let requests: String = (round * 500..(round + 1) * 500).map(request).collect();
        stream.write_all(requests.as_bytes()).unwrap();
        // Killed somewhere among its answers, or soon behind them.
        let mut answers = vec![0; 20_000 + (rng.next_u64() % 60_000) as usize];
        stream.read_exact(&mut answers).unwrap();
        std::thread::sleep(Duration::from_millis(rng.next_u64() % 30));
        drop(served);
    }
    let served = served(&dir, program(), setup);
    ask(served.addr, 3000..3010);
    wait_until("the last line", || logged(&text(&path)).contains(&3009));
    wait_until("the archives to be deleted", || size(&path) <= 64 * 1024);
    let there = text(&path);
    assert_eq!(logged(&there).len(), there.lines().count(), "a line that is none");
    assert!(logged(&there).is_sorted(), "{:?}", logged(&there));
    assert!(logged(&there).len() > 60, "{}", there.len());
}
