//! What `docker start`, `stop`, `kill` … do, with the events of the real engine in its order.
//!
//! ```text
//!  create ─► created ─start─► running ⇄ paused
//!                                │ stop, kill, remove by force, restart
//!                                ▼
//!             process dead ─► `die` ─► address released ─► exited ─start─► running
//! ```
//! From the first step to the last the container is `busy`, as dockerd holds its lock: a second operation
//! and an inspect wait.

use super::Shared;
use super::clock;
use super::page::Host;
use super::spec::{Id, Refused, Spec};
use super::world::{Container, Status, World};
use crate::limits;
use std::net::Ipv4Addr;
use std::time::Duration;

/// How long an operation waits for another one on the same container.
const BUSY: Duration = Duration::from_secs(10);

/// How a process ends.
#[derive(Clone, Copy)]
pub(super) enum End {
    /// `docker stop`: SIGTERM, and it obeys.
    Stop,
    /// `docker kill`, `docker rm --force`: SIGKILL.
    Kill,
    /// The starting engine kills what outlived the old one.
    Orphan,
}

impl End {
    fn signal(self) -> &'static str {
        match self {
            End::Stop => "15",
            End::Kill | End::Orphan => "9",
        }
    }

    fn exit_code(self) -> i64 {
        match self {
            End::Stop => 143,
            End::Kill | End::Orphan => 137,
        }
    }
}

/// Which address a starting container gets.
pub(super) enum Address {
    LowestFree,
    This(Ipv4Addr),
}

fn refused(status: u16, message: String) -> Refused {
    Refused { status, message }
}

impl Shared {
    /// Runs `f` on a container that nobody is working on.
    pub(super) fn with_idle<R>(
        &self,
        key: &str,
        mut f: impl FnMut(&mut Container) -> Result<R, Refused>,
    ) -> Result<R, Refused> {
        let deadline = clock::now() + BUSY;
        loop {
            let step = self.world.with(|w| {
                let container = w.expect(key)?;
                if container.busy { Ok(None) } else { f(container).map(Some) }
            });
            match step {
                Ok(Some(result)) => return Ok(result),
                Ok(None) if clock::now() < deadline => clock::pause(Duration::from_millis(1)),
                Ok(None) => return Err(refused(500, format!("container {key} is busy"))),
                Err(e) => return Err(e),
            }
        }
    }

    /// `docker start`; 304 if it runs already.
    pub(super) fn start(&self, key: &str, address: Address) -> Result<(), Refused> {
        let found = self.with_idle(key, |c| {
            if c.status.is_up() {
                return Err(refused(304, String::new()));
            }
            c.busy = true;
            Ok(c.clone())
        })?;
        let outcome = self.start_process(&found, address);
        self.world.with(|w| match &outcome {
            Ok(_) => {}
            Err(_) => release(w, &found.id, |_| {}),
        });
        outcome
    }

    fn start_process(&self, container: &Container, address: Address) -> Result<(), Refused> {
        let id = &container.id;
        let ip = if container.host_network() { None } else { Some(self.take_address(id, address)?) };
        let run = match &container.spec.page {
            None => None,
            Some(page) => {
                let host = Host {
                    name: container.spec.name.clone(),
                    id: id.clone(),
                    ip: ip.unwrap_or(Ipv4Addr::LOCALHOST),
                    port: container.port,
                };
                let place = format!("{}:{}", host.ip, host.port);
                let run = self.pages.open(host, page.clone(), container.spec.listen_after);
                Some(run.map_err(|e| refused(500, format!("cannot listen on {place}: {e}")))?)
            }
        };
        self.world.with(|w| {
            w.network_event(id, "connect");
            let at = w.events.tick();
            if let Some(c) = w.find(id) {
                c.status = Status::Running;
                c.started_at = Some(at);
                c.run = run;
                c.busy = false;
            }
            w.container_event(id, "start", &[]);
        });
        Ok(())
    }

    fn take_address(&self, id: &str, address: Address) -> Result<Ipv4Addr, Refused> {
        self.world.with(|w| {
            let ip = match address {
                Address::LowestFree => w.subnet.take(),
                Address::This(ip) => w.subnet.take_this(ip).then_some(ip),
            };
            let ip = ip.ok_or_else(|| refused(500, "no available IPv4 addresses on this network".into()))?;
            if let Some(c) = w.find(id) {
                c.ip = Some(ip);
            }
            Ok(ip)
        })
    }

    /// `docker stop` (304 if it doesn't run) or `docker kill` (409).
    pub(super) fn end(&self, key: &str, how: End) -> Result<(), Refused> {
        let found = self.with_idle(key, |c| {
            let running = c.status.is_up();
            match how {
                _ if running => {}
                End::Stop => return Err(refused(304, String::new())),
                End::Kill | End::Orphan => {
                    let message = format!("Cannot kill container: {key}: Container {} is not running", c.id);
                    return Err(refused(409, message));
                }
            }
            c.busy = true;
            Ok(c.clone())
        })?;
        self.end_process(&found, how);
        Ok(())
    }

    fn end_process(&self, container: &Container, how: End) {
        let id = &container.id;
        let code = how.exit_code();
        if !matches!(how, End::Orphan) {
            self.world.with(|w| w.container_event(id, "kill", &[("signal", how.signal())]));
        }
        if let Some(run) = &container.run {
            self.pages.close(run);
        }
        let finished = self.world.with(|w| {
            let at = w.events.tick();
            w.container_event(id, "die", &[("exitCode", &code.to_string())]);
            at
        });
        if !matches!(how, End::Orphan) {
            // Real engines send an event well before they release the address; so does a busy fake one.
            let deadline = clock::now() + limits::FAKE_TOLD;
            clock::wait_until(deadline, || self.world.with(|w| w.events.is_told()));
            clock::pause(self.options.release_after);
        }
        self.world.with(|w| {
            release(w, id, |c| {
                c.status = Status::Exited;
                c.exit_code = code;
                c.finished_at = Some(finished);
                c.stopped_by_hand = !matches!(how, End::Orphan);
            });
            w.network_event(id, "disconnect");
            if matches!(how, End::Stop) {
                w.container_event(id, "stop", &[]);
            }
        });
    }

    /// `docker restart`: starts it, too, if it doesn't run.
    pub(super) fn restart(&self, key: &str) -> Result<(), Refused> {
        match self.end(key, End::Stop) {
            Err(e) if e.status != 304 => return Err(e),
            _ => {}
        }
        self.start(key, Address::LowestFree)?;
        self.world.with(|w| {
            if let Some(id) = w.find(key).map(|c| c.id.clone()) {
                w.container_event(&id, "restart", &[]);
            }
        });
        Ok(())
    }

    /// `docker pause` and `unpause`.
    pub(super) fn set_paused(&self, key: &str, paused: bool) -> Result<(), Refused> {
        let (from, to) =
            if paused { (Status::Running, Status::Paused) } else { (Status::Paused, Status::Running) };
        let id = self.with_idle(key, |c| {
            if c.status != from {
                let message = format!("Container {} is {}, not {}", c.id, c.status.as_str(), from.as_str());
                return Err(refused(409, message));
            }
            c.status = to;
            if let Some(run) = &c.run {
                run.set_paused(paused);
            }
            Ok(c.id.clone())
        })?;
        self.world.with(|w| w.container_event(&id, if paused { "pause" } else { "unpause" }, &[]));
        Ok(())
    }

    /// `docker rm`, and with `force` also of one that runs.
    pub(super) fn remove(&self, key: &str, force: bool) -> Result<(), Refused> {
        let found = self.with_idle(key, |c| {
            if c.status.is_up() && !force {
                let advice = "Stop the container before attempting removal or force remove";
                return Err(refused(
                    409,
                    format!("You cannot remove a running container {}. {advice}", c.id),
                ));
            }
            c.busy = true;
            Ok(c.clone())
        })?;
        if found.status.is_up() {
            self.end_process(&found, End::Kill);
        }
        self.world.with(|w| {
            w.container_event(&found.id, "destroy", &[]);
            w.containers.retain(|c| c.id != found.id);
        });
        Ok(())
    }

    /// As `docker compose up` recreates: the new container under a name of its own, the old one stopped and
    /// removed, the new one renamed and (if the old one ran) started.
    pub(super) fn recreate(&self, key: &str, change: impl FnOnce(Spec) -> Spec) -> Result<Id, Refused> {
        let old = self.with_idle(key, |c| Ok(c.clone()))?;
        let mut spec = change(old.spec.clone());
        let name = std::mem::replace(&mut spec.name, format!("{}_{}", &old.id[..12], old.spec.name));
        let id = self.world.with(|w| w.create(spec));
        match self.end(&old.id, End::Stop) {
            Err(e) if e.status != 304 => return Err(e),
            _ => {}
        }
        self.remove(&old.id, true)?;
        self.world.with(|w| {
            let old_name = w.find(&id).map(|c| std::mem::replace(&mut c.spec.name, name));
            w.container_event(&id, "rename", &[("oldName", &format!("/{}", old_name.unwrap_or_default()))]);
        });
        if old.status.is_up() {
            self.start(&id, Address::LowestFree)?;
        }
        Ok(id)
    }
}

/// Ends an operation: the address is free again, the next operation may come.
fn release(w: &mut World, id: &str, change: impl FnOnce(&mut Container)) {
    let Some(container) = w.find(id) else { return };
    change(container);
    container.run = None;
    container.busy = false;
    if let Some(ip) = container.ip.take() {
        w.subnet.release(ip);
    }
}
