//! The look-up from outside: one table a file in tests/golden/route.
//!
//! ```text
//! match_domains: .domain.com, sub.domain.com     left out: any domain
//! alias: app1
//! host: app1.domain.com:8080
//! ```

use std::fmt::Write;
use tidegate::route::{Table, check_alias};

#[path = "golden/runner.rs"]
mod runner;

#[test]
fn route_golden_cases() {
    runner::run("route", 12, |input| {
        let (mut domains, mut aliases, mut hosts) = (Vec::new(), Vec::new(), Vec::new());
        for (key, value) in runner::lines(input)? {
            match key.as_str() {
                "match_domains" => domains.extend(value.split(',').map(|d| d.trim().to_owned())),
                "alias" => aliases.push(value),
                "host" => hosts.push(value),
                _ => return Err(format!("unknown key {key}")),
            }
        }
        let mut out = String::new();
        for alias in &aliases {
            if let Err(why) = check_alias(alias) {
                writeln!(out, "alias {} {why}", alias.escape_debug()).unwrap();
            }
        }
        let table = Table::build(&domains, aliases.into_iter().map(|alias| (alias.clone(), alias)));
        for host in hosts {
            let found = table.find(host.as_bytes()).map_or("nothing", String::as_str);
            writeln!(out, "{} => {found}", host.escape_debug()).unwrap();
        }
        Ok(out)
    });
}
