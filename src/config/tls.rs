//! The certificates and what concerns TLS in a route.

use super::build::too_many;
use super::decode::{Located, Section, Value};
use super::leaf::LeafValue;
use super::types::{CertPair, Config, ListenAddr, TlsConfig};
use crate::error::{Place, Problem};
use crate::limits;
use crate::route::ServerName;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

/// The section `tls`.
pub(super) fn section(tls: &Section, problems: &mut Vec<Problem>) -> TlsConfig {
    let mut certs = Vec::new();
    if let Some(place) = tls.get("cert_path").or_else(|| tls.get("key_path")).map(|said| &said.place) {
        certs.extend(pair(tls, place, problems));
    }
    let extra = tls.list("extra");
    too_many(extra.iter().map(|item| &item.place), limits::CERTS, "certificates", problems);
    for Located { place, value } in extra.iter().take(limits::CERTS) {
        if let Value::Section(fields) = value {
            certs.extend(pair(fields, place, problems));
        }
    }
    let default = match tls.get("default") {
        Some(Located { place, value: Value::Leaf(LeafValue::Text(name)) }) => {
            Some((name.clone(), place.clone()))
        }
        _ => None,
    };
    TlsConfig { certs, default }
}

/// What follows from listeners and certificates together.
pub(super) fn complete(config: &mut Config, problems: &mut Vec<Problem>) {
    match (config.https_addr.first(), config.tls.certs.first()) {
        (Some(listen), None) if problems.is_empty() => {
            let message = "HTTPS needs a certificate";
            let hint = "set `tls.cert_path` and `tls.key_path`";
            problems.push(Problem::new(listen.place.clone(), message).with_hint(hint));
        }
        (None, Some(_)) => {
            let addr = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), HTTPS_PORT);
            config.https_addr.push(ListenAddr { addr, dual_stack: true, place: Place::Default });
        }
        _ => {}
    }
    let twin = config.https_addr.iter().find_map(|https| {
        let same = |http: &&ListenAddr| http.addr == https.addr && http.addr.port() != 0;
        config.http_addr.iter().find(same).map(|http| (https, http))
    });
    if let Some((https, http)) = twin {
        let message = format!("{} is listened on twice, first at {}", https.addr, http.place);
        problems.push(Problem::new(https.place.clone(), message));
    }
}

const HTTPS_PORT: u16 = 443;

/// A path that a file names, relative to that file.
pub(super) fn beside(place: &Place, path: PathBuf) -> PathBuf {
    match place {
        Place::File { path: file, .. } => file.parent().map_or(path.clone(), |parent| parent.join(&path)),
        _ => path,
    }
}

/// The value of `ssl_server_name`.
pub(super) fn server_name(text: &str) -> ServerName {
    match text {
        "on" => ServerName::On,
        "off" => ServerName::Off,
        name => ServerName::Name(name.to_owned()),
    }
}

fn pair(fields: &Section, place: &Place, problems: &mut Vec<Problem>) -> Option<CertPair> {
    let path = |name: &str| match fields.get(name) {
        Some(Located { place, value: Value::Leaf(LeafValue::Text(path)) }) => {
            Some((beside(place, PathBuf::from(path)), place.clone()))
        }
        _ => None,
    };
    match (path("cert_path"), path("key_path")) {
        (Some((cert_path, place)), Some((key_path, key_place))) => {
            Some(CertPair { cert_path, key_path, place, key_place })
        }
        (None, None) if super::build::is_told(problems, place) => None,
        (cert, _) => {
            let missing = if cert.is_none() { "cert_path" } else { "key_path" };
            if !super::build::is_told(problems, place) {
                problems
                    .push(Problem::new(place.clone(), format!("the key `{missing}` is missing beside it")));
            }
            None
        }
    }
}
