//! The engine's own death and birth.

use super::Shared;
use super::clock;
use super::ops::{Address, End};
use super::server::{self, Life};
use super::spec::{Id, Refused, Restart, RestartPolicy};
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The engine's life, if it lives, and the thread that restores its containers.
#[derive(Default)]
pub(super) struct Lives {
    current: Option<Arc<Life>>,
    restoring: Option<JoinHandle<()>>,
}

impl Shared {
    pub(super) fn life(&self) -> Option<Arc<Life>> {
        self.lives.with(|l| l.current.clone())
    }

    pub(super) fn kill_engine(&self) {
        let (life, restoring) = self.lives.with(|l| (l.current.take(), l.restoring.take()));
        if let Some(life) = life {
            life.kill();
        }
        if let Some(thread) = restoring {
            let _ = thread.join(); // it looks whether its life ended at least every few milliseconds
        }
        self.world.with(|w| w.events.reset(false));
    }

    pub(super) fn start_engine(self: &Arc<Self>, how: Restart) -> io::Result<()> {
        self.kill_engine();
        let life = Life::bind(&self.options.socket, how == Restart::LiveRestore)?;
        self.world.with(|w| w.events.reset(true));
        server::serve(self, &life)?;
        let mut restoring = None;
        if how == Restart::Default {
            let (shared, life) = (self.clone(), life.clone());
            let body = move || {
                let _ = shared.restore(&life);
            };
            restoring = Some(thread::Builder::new().name("fake-restore".into()).spawn(body)?);
        }
        self.lives.with(|l| *l = Lives { current: Some(life), restoring });
        Ok(())
    }

    /// What dockerd does without live-restore between its first accept and its first answer. None: it was
    /// killed meanwhile.
    fn restore(&self, life: &Life) -> Option<()> {
        let begin = clock::now();
        let delays = self.options.restart_delays;
        wait(life, begin + delays.kill)?;
        let orphans = self.running();
        for (id, _) in &orphans {
            let _ = self.end(id, End::Orphan);
        }
        wait(life, begin + delays.start)?;
        let others = self.others_to_start(&orphans);
        let back: Vec<_> =
            orphans.into_iter().filter(|(id, _)| self.policy(id) != Some(RestartPolicy::No)).collect();
        let addresses: Vec<_> = back.iter().filter_map(|(_, ip)| *ip).rev().collect();
        let mut addresses = addresses.into_iter();
        for (id, ip) in &back {
            match ip.and_then(|_| addresses.next()) {
                Some(ip) => self.start_or_log(id, Address::This(ip)),
                None => self.start_or_log(id, Address::LowestFree), // on the host network
            }
        }
        for id in others {
            self.start_or_log(&id, Address::LowestFree);
        }
        wait(life, begin + delays.answer)?;
        life.set_ready();
        Some(())
    }

    fn start_or_log(&self, id: &str, address: Address) {
        if let Err(e) = self.start(id, address) {
            log::error!("fake engine: container {id} does not come back: {e}");
        }
    }

    fn running(&self) -> Vec<(Id, Option<Ipv4Addr>)> {
        self.world.with(|w| {
            w.containers.iter().filter(|c| c.status.is_up()).map(|c| (c.id.clone(), c.ip)).collect()
        })
    }

    /// What ran before: with policy `always` Docker starts even what was stopped by hand.
    fn others_to_start(&self, orphans: &[(Id, Option<Ipv4Addr>)]) -> Vec<Id> {
        self.world.with(|w| {
            let wanted = w.containers.iter().filter(|c| {
                let wanted = match c.spec.policy {
                    RestartPolicy::No => false,
                    RestartPolicy::Always => true,
                    RestartPolicy::UnlessStopped => !c.stopped_by_hand,
                };
                wanted && c.started_at.is_some() && !orphans.iter().any(|(id, _)| *id == c.id)
            });
            wanted.map(|c| c.id.clone()).collect()
        })
    }

    fn policy(&self, id: &str) -> Option<RestartPolicy> {
        self.world.with(|w| w.find(id).map(|c| c.spec.policy))
    }

    pub(super) fn swap_addresses(&self, a: &str, b: &str) -> Result<(), Refused> {
        let (ip_a, ip_b) = (self.with_idle(a, |c| Ok(c.ip))?, self.with_idle(b, |c| Ok(c.ip))?);
        self.end(a, End::Kill)?;
        self.end(b, End::Kill)?;
        let place = |ip: Option<Ipv4Addr>| ip.map_or(Address::LowestFree, Address::This);
        self.start(b, place(ip_a))?;
        self.start(a, place(ip_b))
    }

    pub(super) fn shutdown(&self) {
        let was_alive = self.life().is_some();
        self.kill_engine();
        self.pages.stop();
        if was_alive {
            let _ = std::fs::remove_file(&self.options.socket);
        }
    }
}

/// Waits until `at`; none if the engine is killed first.
fn wait(life: &Life, at: Instant) -> Option<()> {
    while !life.is_killed() {
        if clock::now() >= at {
            return Some(());
        }
        clock::pause(Duration::from_millis(1));
    }
    None
}
