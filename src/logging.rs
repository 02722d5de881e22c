//! Logging never blocks a core: lines go over a bounded queue to one writer thread; what does not fit is
//! dropped, counted and said.
//!
//! `RUST_LOG` is honoured (env_logger's grammar), the default is `info`. Levels: `error` something is lost,
//! `warn` a person should look, `info` what changed, `debug` every transition, `trace` every wait.

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Lines dropped since the start because the queue was full.
static DROPPED: AtomicU64 = AtomicU64::new(0);
static QUEUE: OnceLock<Sender<Item>> = OnceLock::new();

enum Item {
    Line(Vec<u8>),
    Flush(Sender<()>),
}

/// Starts the writer thread and installs the logger, with room for `queue` lines. A second call does nothing.
///
/// # Errors
/// If the writer thread can't be started.
pub fn init(queue: usize) -> io::Result<()> {
    let (sender, receiver) = bounded(queue);
    if QUEUE.set(sender.clone()).is_err() {
        return Ok(());
    }
    std::thread::Builder::new().name("log".into()).spawn(move || write_lines(&receiver))?;
    let env = env_logger::Env::default().default_filter_or("info");
    let target = env_logger::Target::Pipe(Box::new(Pipe { queue: sender }));
    // Err: the program that embeds us has a logger of its own, which then gets the lines.
    let mut builder = env_logger::Builder::from_env(env);
    // The admin server reports each connection's end as an error.
    builder.filter_module("may_minihttp", log::LevelFilter::Off);
    builder.filter_module("may", log::LevelFilter::Warn);
    let _ = builder.target(target).try_init();
    Ok(())
}

/// Waits until all lines logged before are written, at most `patience` to be heard and as long again.
pub fn flush(patience: Duration) {
    let Some(queue) = QUEUE.get() else { return };
    let (done, wait) = bounded(1);
    if queue.send_timeout(Item::Flush(done), patience).is_ok() {
        let _ = wait.recv_timeout(patience);
    }
}

/// Lines dropped since the start.
pub fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// What env_logger writes to: it hands over each formatted line whole.
struct Pipe {
    queue: Sender<Item>,
}

impl Write for Pipe {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self.queue.try_send(Item::Line(line.to_vec())) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                DROPPED.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_lines(queue: &Receiver<Item>) {
    let mut told = 0;
    // A closed or full stderr is nobody's fault here: the lines are lost, the program goes on.
    for item in queue {
        let mut out = io::stderr().lock();
        match item {
            Item::Line(line) => drop(out.write_all(&line)),
            Item::Flush(done) => drop(done.try_send(())),
        }
        let dropped = DROPPED.load(Ordering::Relaxed);
        if dropped > told && queue.is_empty() {
            let _ = writeln!(out, "{} log lines dropped: stderr is slower than the log", dropped - told);
            told = dropped;
        }
    }
}
