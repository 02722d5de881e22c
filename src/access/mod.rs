//! Who may ask: rules about a client's address, and about its user name and password. Pure: what was decided
//! once is data, the answer to a request is a function of it.
//!
//! ```text
//!   entrypoint: blacklist → whitelist ┐
//!   route:      blacklist → whitelist ┴─► entrypoint: basic_auth → route: basic_auth ─► gate, upstream
//! ```
//!
//! An address costs nothing to look at, a password much: lists come first.

mod apr1;
mod basic;
mod client;
mod password;
mod verified;

pub use basic::{BasicAuth, User, credentials};
pub use client::{Told, client};
pub use password::{Fault, Hash, hash};
pub use verified::Verified;

use crate::util::Cidr;
use std::net::IpAddr;

/// The rules of one scope: the entrypoint's, or a route's.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// `cidr_blacklist`
    pub blacklist: Option<AddressRule>,
    /// `cidr_whitelist`
    pub whitelist: Option<AddressRule>,
    /// `basic_auth`
    pub basic_auth: Option<BasicAuth>,
}

/// A list of networks, and what is answered to whom it keeps out.
#[derive(Debug, PartialEq, Eq)]
pub struct AddressRule {
    /// `deny` or `allow`
    pub networks: Vec<Cidr>,
    /// `status`: 400 to 599.
    pub status: u16,
    /// `message`: the answer's body.
    pub message: String,
}

/// The kinds of rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    CidrBlacklist,
    CidrWhitelist,
    BasicAuth,
}

impl Kind {
    /// All kinds, in the order of their indices.
    pub const ALL: [Kind; 3] = [Kind::CidrBlacklist, Kind::CidrWhitelist, Kind::BasicAuth];

    /// Its place in [`Kind::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// Its name in the configuration and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Kind::CidrBlacklist => "cidr_blacklist",
            Kind::CidrWhitelist => "cidr_whitelist",
            Kind::BasicAuth => "basic_auth",
        }
    }
}

impl AddressRule {
    fn lists(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(address))
    }

    fn networks(&self) -> String {
        let networks: Vec<String> = self.networks.iter().map(ToString::to_string).collect();
        networks.join(", ")
    }
}

impl Rules {
    /// The list that keeps `client` out, if one does. An address that is not known is kept out by any.
    pub fn refuses(&self, client: Option<IpAddr>) -> Option<(Kind, &AddressRule)> {
        let listed = |rule: &AddressRule, unknown| client.map_or(unknown, |client| rule.lists(client));
        if let Some(rule) = self.blacklist.as_ref().filter(|rule| listed(rule, true)) {
            return Some((Kind::CidrBlacklist, rule));
        }
        let rule = self.whitelist.as_ref().filter(|rule| !listed(rule, false))?;
        Some((Kind::CidrWhitelist, rule))
    }

    /// Whether there is no rule at all.
    pub fn is_empty(&self) -> bool {
        self.blacklist.is_none() && self.whitelist.is_none() && self.basic_auth.is_none()
    }

    /// Each rule in words, for people; nothing secret.
    pub fn in_words(&self) -> Vec<String> {
        let denied = self.blacklist.iter().map(|rule| format!("not from {}", rule.networks()));
        let allowed = self.whitelist.iter().map(|rule| format!("only from {}", rule.networks()));
        let users = self.basic_auth.iter().map(|basic| match basic.users() {
            1 => "basic auth: 1 user".to_owned(),
            users => format!("basic auth: {users} users"),
        });
        denied.chain(allowed).chain(users).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::rng::Rng;

    fn rule(networks: &[&str]) -> Option<AddressRule> {
        let networks = networks.iter().map(|text| Cidr::parse(text).unwrap()).collect();
        Some(AddressRule { networks, status: 403, message: "no".into() })
    }

    fn refused(rules: &Rules, client: &str) -> Option<Kind> {
        rules.refuses(client.parse().ok()).map(|(kind, _)| kind)
    }

    #[test]
    fn the_blacklist_comes_before_the_whitelist() {
        let rules = Rules {
            blacklist: rule(&["192.168.0.66", "fd00:bad::/32"]),
            whitelist: rule(&["192.168.0.0/16", "fd00::/8"]),
            basic_auth: None,
        };
        for (client, expected) in [
            ("192.168.0.1", None),
            ("::ffff:192.168.0.1", None),
            ("fd00::1", None),
            ("192.168.0.66", Some(Kind::CidrBlacklist)),
            ("::ffff:192.168.0.66", Some(Kind::CidrBlacklist)),
            ("fd00:bad::1", Some(Kind::CidrBlacklist)),
            ("10.0.0.1", Some(Kind::CidrWhitelist)),
            ("2001:db8::1", Some(Kind::CidrWhitelist)),
        ] {
            assert_eq!(refused(&rules, client), expected, "{client}");
        }
        assert_eq!(rules.in_words()[0], "not from 192.168.0.66/32, fd00:bad::/32");
        assert_eq!(rules.in_words()[1], "only from 192.168.0.0/16, fd00::/8");
    }

    #[test]
    fn a_client_that_is_not_known_is_kept_out_by_any_list() {
        let black = Rules { blacklist: rule(&["10.0.0.1"]), ..Rules::default() };
        let white = Rules { whitelist: rule(&["0.0.0.0/0", "::/0"]), ..Rules::default() };
        assert_eq!(refused(&black, "unknown"), Some(Kind::CidrBlacklist));
        assert_eq!(refused(&white, "unknown"), Some(Kind::CidrWhitelist));
        assert_eq!(refused(&Rules::default(), "unknown"), None);
    }

    #[test]
    fn a_whitelist_and_a_blacklist_of_the_same_networks_are_opposites() {
        let (seed, mut rng) = (0xacce55, Rng::new(0xacce55));
        for round in 0..20_000 {
            let bits = rng.below(33) as u32;
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            let network = rng.next_u64() as u32 & mask;
            let text = format!("{}/{bits}", std::net::Ipv4Addr::from_bits(network));
            let client = (rng.next_u64() as u32 & !mask) | network ^ (rng.below(2) as u32) << rng.below(32);
            let inside = client & mask == network;
            let client = Some(std::net::Ipv4Addr::from_bits(client).into());
            let white = Rules { whitelist: rule(&[&text]), ..Rules::default() };
            let black = Rules { blacklist: rule(&[&text]), ..Rules::default() };
            let context = format!("seed {seed:#x}, round {round}: {client:?} in {text}");
            assert_eq!(white.refuses(client).is_none(), inside, "{context}");
            assert_eq!(black.refuses(client).is_some(), inside, "{context}");
        }
    }
}
