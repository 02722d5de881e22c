//! The look-up of a host equals a slow model that is written as the manual says it.
//!
//! An input is lines: domains with commas between them, aliases with commas between them, then one host a line.

use super::show;
use tidegate::http::parse_host;
use tidegate::limits::HOST_BYTES;
use tidegate::route::{Table, canonical, check_alias};

/// Looks all hosts of `input` up, in the table and in the model.
pub fn check(input: &[u8]) {
    let mut lines = input.split(|b| *b == b'\n');
    let domains = list(lines.next().unwrap_or_default());
    let mut aliases = list(lines.next().unwrap_or_default());
    aliases.retain(|alias| check_alias(alias).is_ok());
    for alias in &aliases {
        let slot = canonical(alias);
        assert_eq!((canonical(&slot), check_alias(&slot)), (slot.clone(), Ok(())), "{alias:?}");
    }
    let table = Table::build(&domains, aliases.iter().enumerate().map(|(at, alias)| (alias.clone(), at)));
    for host in lines {
        let found = table.find(host).copied();
        assert_eq!(found, model(&domains, &aliases, host), "{} in {domains:?}, {aliases:?}", show(host));
        if let (Some(found), Ok(parts)) = (found, parse_host(host)) {
            let spellings =
                [parts.name.to_ascii_uppercase(), parts.name.to_vec(), [parts.name, b":65535"].concat()];
            for spelling in spellings {
                assert_eq!(table.find(&spelling), Some(&found), "{} for {}", show(&spelling), show(host));
            }
        }
    }
}

fn list(line: &[u8]) -> Vec<String> {
    let items = line.split(|b| *b == b',').filter(|item| !item.is_empty());
    items.map(|item| String::from_utf8_lossy(item).into_owned()).collect()
}

/// The index of the alias that answers for `host`.
fn model(domains: &[String], aliases: &[String], host: &[u8]) -> Option<usize> {
    let host = std::str::from_utf8(host).ok()?;
    let (name, port) = host.split_once(':').unwrap_or((host, ""));
    if port.contains(|c: char| !c.is_ascii_digit()) {
        return None;
    }
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let labels: Vec<&str> = name.split('.').collect();
    let is_label = |label: &&str| {
        !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    };
    if name.len() > HOST_BYTES || !labels.iter().all(is_label) {
        return None;
    }
    let find = |slot: &str| aliases.iter().position(|alias| canonical(alias) == slot);
    let whole = find(&name);
    let is_number = labels.last()?.chars().all(|c| c.is_ascii_digit());
    if labels.len() == 1 || is_number {
        return whole;
    }
    let wildcard = || find(&format!("*.{}", labels[1..].join(".")));
    if domains.is_empty() {
        return whole.or_else(|| find(labels[0])).or_else(wildcard);
    }
    let below = domains.iter().find_map(|domain| {
        let domain = canonical(domain);
        let domain = domain.trim_start_matches('.');
        let left = (!domain.is_empty()).then(|| name.strip_suffix(domain)).flatten()?.strip_suffix('.')?;
        find(left)
    });
    below.or(whole).or_else(wildcard)
}
