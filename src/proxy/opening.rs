//! The beginning of a connection from a balancer: its PROXY header, read on the core's own stack.

use super::connection::{self, Client};
use super::peer::Peer;
use crate::http::{self, ProxyHeader};
use crate::runtime::Wake;
use std::time::Instant;

/// Waits for the rest of a header. Without a whole one, and where one is `required`, the connection is closed
/// without an answer: whoever sends none is not the balancer.
pub(super) fn wait(client: Client, partial: Vec<u8>, required: bool, deadline: Instant) {
    client.when_readable(deadline, move |client, wake| {
        if matches!(wake, Wake::Ready | Wake::Roused) {
            receive(client, partial, required, deadline);
        }
    });
}

fn receive(mut client: Client, mut partial: Vec<u8>, required: bool, deadline: Instant) {
    let mut chunk = [0; 2048];
    loop {
        match client.stream.try_read(&mut chunk) {
            Ok(Some(0)) | Err(_) => return,
            Ok(Some(n)) => partial.extend_from_slice(&chunk[..n]),
            Ok(None) => return wait(client, partial, required, deadline),
        }
        match http::parse_proxy_header(&partial) {
            Ok(ProxyHeader::Partial) => {}
            Ok(ProxyHeader::Absent) if required => {
                return log::debug!("{} sent no PROXY header: closed", client.peer);
            }
            Ok(ProxyHeader::Absent) => return connection::opened(client, partial, deadline),
            Ok(ProxyHeader::Present { len, client: named }) => {
                client.peer = named.map_or(client.peer, Peer::from);
                partial.drain(..len);
                return connection::opened(client, partial, deadline);
            }
            Err(error) => return log::debug!("{}: {}: closed", client.peer, error.0),
        }
    }
}
