//! The listeners of all cores, bound before a core starts: a taken port is an error of the start.

use super::StartError;
use crate::config::{Config, ListenAddr};
use crate::error::Problem;
use crate::limits::FALLBACK_PORT;
use crate::net::{self, BindError, BoundListener};
use std::net::SocketAddr;

/// Listeners, core by core, and where they listen.
pub(super) struct Bound {
    pub per_core: Vec<Vec<BoundListener>>,
    pub addrs: Vec<SocketAddr>,
}

/// Binds every address of the configuration once per core.
pub(super) fn bind(config: &Config, workers: usize) -> Result<Bound, StartError> {
    let mut bound = Bound { per_core: (0..workers).map(|_| Vec::new()).collect(), addrs: Vec::new() };
    for listen in &config.http_addr {
        let copies = match net::bind(listen.addr, listen.dual_stack, workers) {
            Ok(copies) => copies,
            Err(error) if config.http_addr_is_default && matches!(error, BindError::Denied { .. }) => {
                fall_back(listen, workers)?
            }
            Err(error) => return Err(problem(listen, &error)),
        };
        if let Some(first) = copies.first() {
            bound.addrs.push(first.local_addr()?);
        }
        for (core, listener) in bound.per_core.iter_mut().zip(copies) {
            core.push(listener);
        }
    }
    Ok(bound)
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
