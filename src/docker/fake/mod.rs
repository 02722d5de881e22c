//! A fake Docker Engine in this process: Docker's API on a Unix socket, and "containers" that are small web
//! pages on addresses of 127.0.0.0/8. It serves the demo, and tests that need faults.
//!
//! It follows Docker 20.10 (API 1.41) where a proxy could notice: the order of events, addresses handed out
//! lowest first, `die` before the address is free, what a restart does. Endpoints, each with and without
//! `/v1.41`:
//!
//! `GET|HEAD /_ping` · `GET /version`, `/info`, `/events?since&until&filters`, `/containers/json?all`,
//! `/containers/{id}/json` · `POST /containers/{id}/start|stop|kill|restart` ·
//! `DELETE /containers/{id}?force`
//!
//! It runs on std threads of its own and must not be called from a core.

mod addresses;
mod api;
pub mod builtin;
mod clock;
mod events;
mod faults;
mod json;
mod ops;
mod page;
mod pages;
mod restart;
mod server;
mod spec;
mod wire;
mod world;

pub use page::{Framing, Handler, Host, Page, Request, Response};
pub use spec::{Call, Id, Options, Refused, Restart, RestartDelays, RestartPolicy, Spec, Stats, View};

use crate::util::Locked;
use crossbeam_channel::{Receiver, Sender, bounded};
use faults::Faults;
use ops::{Address, End};
use pages::Pages;
use restart::Lives;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;
use world::World;

/// The engine; clones are the same engine. It ends, and its socket file goes, with `shutdown` or soon after
/// the last clone is dropped.
///
/// Containers are named by name, id or a prefix of the id. `Refused` is what Docker's API would have
/// answered.
#[derive(Clone)]
pub struct FakeEngine {
    handle: Arc<Handle>,
}

/// A reference that doesn't keep the engine alive, for pages that speak to their own engine.
#[derive(Clone)]
pub struct WeakEngine(Weak<Handle>);

impl WeakEngine {
    /// The engine, if it hasn't ended.
    pub fn upgrade(&self) -> Option<FakeEngine> {
        self.0.upgrade().map(|handle| FakeEngine { handle })
    }
}

struct Handle {
    shared: Arc<Shared>,
    /// Its end tells the janitor thread to shut down: no I/O in `Drop`.
    _alive: Sender<()>,
}

/// What all threads of an engine share.
struct Shared {
    options: Options,
    world: Locked<World>,
    faults: Locked<Faults>,
    pages: Arc<Pages>,
    lives: Locked<Lives>,
    frozen: AtomicBool,
}

impl Shared {
    fn is_frozen(&self) -> bool {
        self.frozen.load(Ordering::Acquire)
    }
}

impl FakeEngine {
    /// Starts an engine without containers; it answers at once.
    ///
    /// # Errors
    /// The socket can't be bound (its directory is missing, its path longer than 107 bytes), or no thread,
    /// subnet or port is left.
    pub fn start(options: Options) -> io::Result<FakeEngine> {
        let subnet = addresses::Subnet::claim(options.subnet_seed)?;
        let port = addresses::common_port(u64::from(u32::from(subnet.gateway()) >> 12))?;
        let seed = clock::wall_nanos() as u64 ^ (u64::from(u32::from(subnet.gateway())) << 32);
        let (alive, ended) = bounded(0);
        let shared = Arc::new(Shared {
            options,
            world: Locked::new(World::new(subnet, port, seed)),
            faults: Locked::default(),
            pages: Pages::start()?,
            lives: Locked::default(),
            frozen: AtomicBool::new(false),
        });
        shared.start_engine(Restart::LiveRestore)?;
        spawn_janitor(shared.clone(), ended)?;
        Ok(FakeEngine { handle: Arc::new(Handle { shared, _alive: alive }) })
    }

    fn shared(&self) -> &Shared {
        &self.handle.shared
    }

    /// The path of the Unix socket.
    pub fn socket(&self) -> &Path {
        &self.shared().options.socket
    }

    /// A reference that doesn't keep the engine alive.
    pub fn downgrade(&self) -> WeakEngine {
        WeakEngine(Arc::downgrade(&self.handle))
    }

    /// Ends everything: API, containers, threads; removes the socket file.
    pub fn shutdown(&self) {
        self.shared().shutdown();
    }

    /// Counts so far.
    pub fn stats(&self) -> Stats {
        let shared = self.shared();
        let (page_connections_open, page_requests) = shared.pages.counts();
        let (connections_total, calls) = shared.faults.with(|f| (f.connections_total, f.calls.clone()));
        Stats {
            connections_open: shared.life().map_or(0, |life| life.connections()),
            connections_total,
            calls,
            event_streams: shared.world.with(|w| w.events.streams()),
            page_connections_open,
            page_requests,
        }
    }
}

/// Containers.
impl FakeEngine {
    /// `docker create`.
    pub fn create(&self, spec: Spec) -> Id {
        self.shared().world.with(|w| w.create(spec))
    }

    /// `docker run -d`: `create` and `start_container`.
    pub fn run(&self, spec: Spec) -> Result<View, Refused> {
        let id = self.create(spec);
        self.start_container(&id)?;
        self.shared().with_idle(&id, |c| Ok(c.view()))
    }

    /// `docker start`, with the lowest free address.
    pub fn start_container(&self, name: &str) -> Result<(), Refused> {
        self.shared().start(name, Address::LowestFree)
    }

    /// `docker start`, with this address of the engine's subnet.
    pub fn start_container_at(&self, name: &str, ip: Ipv4Addr) -> Result<(), Refused> {
        self.shared().start(name, Address::This(ip))
    }

    /// `docker stop`; the process obeys SIGTERM at once.
    pub fn stop_container(&self, name: &str) -> Result<(), Refused> {
        self.shared().end(name, End::Stop)
    }

    /// `docker kill`.
    pub fn kill(&self, name: &str) -> Result<(), Refused> {
        self.shared().end(name, End::Kill)
    }

    /// `docker restart`.
    pub fn restart(&self, name: &str) -> Result<(), Refused> {
        self.shared().restart(name)
    }

    /// `docker rm --force`.
    pub fn remove(&self, name: &str) -> Result<(), Refused> {
        self.shared().remove(name, true)
    }

    /// `docker pause`: connects succeed, nothing is answered.
    pub fn pause(&self, name: &str) -> Result<(), Refused> {
        self.shared().set_paused(name, true)
    }

    /// `docker unpause`.
    pub fn unpause(&self, name: &str) -> Result<(), Refused> {
        self.shared().set_paused(name, false)
    }

    /// Recreates a container with these labels instead of its own, as `docker compose up` does after a
    /// change: the same name, a new id; running if the old one ran. Returns the new id.
    pub fn relabel<K, V>(&self, name: &str, labels: impl IntoIterator<Item = (K, V)>) -> Result<Id, Refused>
    where
        K: Into<String>,
        V: Into<String>,
    {
        let labels = labels.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        self.shared().recreate(name, |spec| Spec { labels, ..spec })
    }

    /// `docker kill a b; docker start b a`, where each gets the other's address.
    pub fn swap_addresses(&self, a: &str, b: &str) -> Result<(), Refused> {
        self.shared().swap_addresses(a, b)
    }

    /// A container as it is; waits while something is being done to it. None if there is no such container.
    pub fn container(&self, name: &str) -> Option<View> {
        self.shared().with_idle(name, |c| Ok(c.view())).ok()
    }

    /// All containers in the order of their creation, as they are at this moment.
    pub fn containers(&self) -> Vec<View> {
        self.shared().world.with(|w| w.containers.iter().map(world::Container::view).collect())
    }
}

/// Faults.
impl FakeEngine {
    /// As `kill -9` of dockerd: the socket file stays but nobody listens (ECONNREFUSED), all connections are
    /// cut; containers live on. What happens to them meanwhile is not remembered.
    pub fn kill_engine(&self) {
        self.shared().kill_engine();
    }

    /// `kill_engine`, and the socket file goes (ENOENT).
    pub fn remove_socket(&self) {
        self.shared().kill_engine();
        let _ = std::fs::remove_file(self.socket());
    }

    /// Starts the engine again (killing it first if it runs) on a new socket file, with an empty event
    /// history. Returns once the socket listens; with `Restart::Default` the API answers later.
    ///
    /// # Errors
    /// The socket can't be bound.
    pub fn start_engine(&self, how: Restart) -> io::Result<()> {
        self.handle.shared.start_engine(how)
    }

    /// Waits until the API answers (it isn't dead, restoring or frozen), at most `timeout`.
    pub fn wait_until_ready(&self, timeout: Duration) -> bool {
        let ready = || self.shared().life().is_some_and(|l| l.is_ready()) && !self.shared().is_frozen();
        clock::wait_until(clock::now() + timeout, ready)
    }

    /// As SIGSTOP: connects succeed by the backlog, nothing is answered, no event is sent.
    pub fn freeze(&self) {
        self.shared().frozen.store(true, Ordering::Release);
    }

    /// As SIGCONT.
    pub fn thaw(&self) {
        self.shared().frozen.store(false, Ordering::Release);
    }

    /// Cuts the event streams, without a last chunk; the engine lives.
    pub fn cut_event_streams(&self) {
        if let Some(life) = self.shared().life() {
            life.cut_event_streams();
        }
    }

    /// Delays every call of this kind.
    pub fn set_latency(&self, call: Call, latency: Duration) {
        self.shared().faults.with(|f| f.set_latency(call, latency));
    }

    /// The next `times` calls of this kind are answered with `status`, and do nothing.
    pub fn fail(&self, call: Call, status: u16, times: u32) {
        self.shared().faults.with(|f| f.fail(call, status, times));
    }

    /// The next `times` calls of this kind are done, but their answer is cut off in its middle; of `Events`,
    /// in the middle of the first event.
    pub fn cut(&self, call: Call, times: u32) {
        self.shared().faults.with(|f| f.cut(call, times));
    }
}

/// Shuts down when the last `FakeEngine` is gone.
fn spawn_janitor(shared: Arc<Shared>, ended: Receiver<()>) -> io::Result<()> {
    thread::Builder::new().name("fake-janitor".into()).spawn(move || {
        let _ = ended.recv();
        shared.shutdown();
    })?;
    Ok(())
}
