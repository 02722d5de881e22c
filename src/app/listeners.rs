//! The listeners of all cores, bound before a core starts: a taken port is an error of the start.

use super::StartError;
use super::inherited::Inherited;
use crate::config::{Config, ListenAddr};
use crate::error::{Place, Problem};
use crate::limits::FALLBACK_PORT;
use crate::net::{self, BindError, BoundListener};
use crate::proxy::{Entrance, Protocol};
use std::io;
use std::net::SocketAddr;

/// Listeners, core by core, and where they listen.
pub(super) struct Bound {
    pub per_core: Vec<Vec<Entrance>>,
    pub addrs: Vec<SocketAddr>,
    /// Where HTTPS is served.
    pub https: Vec<SocketAddr>,
}

/// Binds every address of the configuration once per core.
pub(super) fn bind(config: &Config, workers: usize) -> Result<Bound, StartError> {
    let per_core = (0..workers).map(|_| Vec::new()).collect();
    let mut bound = Bound { per_core, addrs: Vec::new(), https: Vec::new() };
    let mut inherited = Inherited::take();
    for listen in &wanted(config, &inherited) {
        if let Some(copies) = inherited.at(listen.addr, workers)? {
            log::info!("{} is inherited", listen.addr);
            bound.plain(copies)?;
            continue;
        }
        let copies = match net::bind(listen.addr, listen.dual_stack, workers) {
            Ok(copies) => copies,
            Err(error) if config.http_addr_is_default && matches!(error, BindError::Denied { .. }) => {
                fall_back(listen, workers)?
            }
            Err(error) => return Err(problem(listen, &error)),
        };
        bound.plain(copies)?;
    }
    inherited.finish();
    for listen in &config.https_addr {
        let copies =
            net::bind(listen.addr, listen.dual_stack, workers).map_err(|error| problem(listen, &error))?;
        if let Some(first) = copies.first() {
            bound.https.push(first.local_addr()?);
        }
        bound.add(copies, Protocol::Https);
    }
    Ok(bound)
}

impl Bound {
    /// Adds the listeners of one plain address, one for each core.
    fn plain(&mut self, copies: Vec<BoundListener>) -> io::Result<()> {
        if let Some(first) = copies.first() {
            self.addrs.push(first.local_addr()?);
        }
        self.add(copies, Protocol::Http);
        Ok(())
    }

    fn add(&mut self, copies: Vec<BoundListener>, protocol: Protocol) {
        for (core, listener) in self.per_core.iter_mut().zip(copies) {
            core.push(Entrance { listener, protocol });
        }
    }
}

/// The addresses of the configuration; if nobody said any, those that were handed down.
fn wanted(config: &Config, inherited: &Inherited) -> Vec<ListenAddr> {
    let handed = inherited.addrs();
    if !config.http_addr_is_default || handed.is_empty() {
        return config.http_addr.clone();
    }
    let place = Place::Env { name: "LISTEN_FDS".into() };
    handed.into_iter().map(|addr| ListenAddr { addr, dual_stack: false, place: place.clone() }).collect()
}

/// Without the right to port 80, and if nobody asked for it, 8080 takes its place.
fn fall_back(listen: &ListenAddr, workers: usize) -> Result<Vec<BoundListener>, StartError> {
    let addr = SocketAddr::new(listen.addr.ip(), FALLBACK_PORT);
    log::warn!(
        "no right to listen on port {}: listening on {FALLBACK_PORT} instead (set entrypoint.http_addr, or give CAP_NET_BIND_SERVICE)",
        listen.addr.port()
    );
    net::bind(addr, listen.dual_stack, workers).map_err(|error| problem(listen, &error))
}

fn problem(listen: &ListenAddr, error: &BindError) -> StartError {
    StartError::Problem(Problem::new(listen.place.clone(), error.to_string()))
}
