//! `/api/certs`: the certificates that serve, and the trust files of upstreams.

use super::api::problem;
use crate::control::Status;
use crate::limits::ADMIN_TRUST_FILES;
use crate::net::tls::{self, Facts, Listed, Refusal, Served};
use crate::util::wall_clock::{self, rfc3339};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The page. Trust files are read now: each connect to an upstream reads them, and nothing is kept.
pub(super) fn page(served: &Served, status: &Status) -> Value {
    let now = wall_clock::now().unix();
    let Served { certs, generation, refused } = served;
    let of_pair = |index: usize| refused.iter().find(|refusal| refusal.pair == Some(index));
    let listed = certs.listed().iter().enumerate();
    json!({
        "generation": generation,
        "loaded_at": rfc3339(certs.loaded_at()),
        "certificates": listed.map(|(index, one)| certificate(one, of_pair(index), now)).collect::<Vec<_>>(),
        "refused": refused.iter().map(|refusal| problem(&refusal.problem)).collect::<Vec<_>>(),
        "trusted": trusted(status, now),
    })
}

fn certificate(listed: &Listed, refused: Option<&Refusal>, now: i64) -> Value {
    json!({
        "certificate": listed.cert_path.display().to_string(),
        "key": listed.key_path.display().to_string(),
        "place": listed.place.to_string(),
        "names": listed.names,
        "serves": listed.serves,
        "default": listed.is_default,
        "not_before": rfc3339(listed.not_before),
        "not_after": rfc3339(listed.not_after),
        "days_left": days(listed.not_after, now),
        "subject": listed.subject,
        "issuer": listed.issuer,
        "refused": refused.map(|refusal| &refusal.problem.message),
    })
}

/// Whole days until `end`; of what has ended a negative number.
fn days(end: i64, now: i64) -> i64 {
    end.saturating_sub(now).div_euclid(86_400)
}

/// Each file that routes name as `ssl_trusted_certificate`.
fn trusted(status: &Status, now: i64) -> Vec<Value> {
    let mut files: BTreeMap<&PathBuf, Vec<&str>> = BTreeMap::new();
    for route in &status.routes {
        if let Some(file) = &route.trusted {
            files.entry(file).or_default().push(&route.alias);
        }
    }
    let read = |(index, (file, routes)): (usize, (&PathBuf, Vec<&str>))| {
        let (found, error) = match contents(index, file) {
            Ok(found) => (found, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        let certificates = found.iter().map(|facts| {
            json!({
                "subject": facts.subject,
                "issuer": facts.issuer,
                "not_before": rfc3339(facts.not_before),
                "not_after": rfc3339(facts.not_after),
                "days_left": days(facts.not_after, now),
            })
        });
        let certificates: Vec<Value> = certificates.collect();
        json!({
            "file": file.display().to_string(), "routes": routes, "certificates": certificates, "error": error,
        })
    };
    files.into_iter().enumerate().map(read).collect()
}

fn contents(index: usize, file: &Path) -> Result<Vec<Facts>, String> {
    match index {
        0..ADMIN_TRUST_FILES => tls::trusted(file),
        _ => Err(format!("not read: more than {ADMIN_TRUST_FILES} files")),
    }
}
