//! `Authorization: Basic` (RFC 7617): who the users are, and what a client says.

use super::password::Hash;
use crate::limits::CREDENTIALS_BYTES;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::sync::Arc;

/// `basic_auth`
#[derive(Debug, PartialEq, Eq)]
pub struct BasicAuth {
    /// By name; never empty.
    users: Vec<User>,
    challenge: String,
    /// `forward_credentials`: the upstream is told them too.
    pub forward_credentials: bool,
}

/// A user.
#[derive(Debug, PartialEq, Eq)]
pub struct User {
    /// Without a colon.
    pub name: Arc<str>,
    /// Of the password.
    pub hash: Hash,
}

impl BasicAuth {
    /// Of two users with one name the first counts. `realm` is shown by browsers: printable ASCII.
    pub fn new(mut users: Vec<User>, realm: &str, forward_credentials: bool) -> BasicAuth {
        users.sort_by(|a, b| a.name.cmp(&b.name));
        users.dedup_by(|later, first| later.name == first.name);
        let realm = realm.replace('\\', "\\\\").replace('"', "\\\"");
        BasicAuth {
            users,
            challenge: format!("Basic realm=\"{realm}\", charset=\"UTF-8\""),
            forward_credentials,
        }
    }

    /// How many users there are.
    pub fn users(&self) -> usize {
        self.users.len()
    }

    /// The user of that name.
    pub fn user(&self, name: &[u8]) -> Option<&User> {
        let at = self.users.binary_search_by(|user| user.name.as_bytes().cmp(name)).ok()?;
        self.users.get(at)
    }

    /// Whether `name` is a user with this password. Takes as long as a hash does, for an unknown name too: who
    /// the users are must not show in time.
    pub fn verify(&self, name: &[u8], password: &[u8]) -> bool {
        match (self.user(name), self.users.first()) {
            (Some(user), _) => user.hash.verify(password),
            (None, Some(other)) => {
                std::hint::black_box(other.hash.verify(password));
                false
            }
            (None, None) => false,
        }
    }

    /// The value of `WWW-Authenticate`.
    pub fn challenge(&self) -> &str {
        &self.challenge
    }
}

/// The name and the password that the value of an `Authorization` field says; none if it says something else.
pub fn credentials<'b>(
    value: &[u8],
    buffer: &'b mut [u8; CREDENTIALS_BYTES],
) -> Option<(&'b [u8], &'b [u8])> {
    let (scheme, rest) = value.split_at_checked(b"Basic".len())?;
    let said = rest.trim_ascii();
    if !scheme.eq_ignore_ascii_case(b"Basic") || !rest.starts_with(b" ") {
        return None;
    }
    let length = STANDARD.decode_slice(said, buffer).ok()?;
    let decoded = &buffer[..length];
    let colon = decoded.iter().position(|b| *b == b':')?;
    Some((&decoded[..colon], &decoded[colon + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(value: &str) -> Option<(String, String)> {
        let mut buffer = [0; CREDENTIALS_BYTES];
        let (name, password) = credentials(value.as_bytes(), &mut buffer)?;
        Some((String::from_utf8(name.into()).unwrap(), String::from_utf8(password.into()).unwrap()))
    }

    #[test]
    fn credentials_are_read_as_rfc_7617_has_them() {
        let pair = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
        assert_eq!(said("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), pair("Aladdin", "open sesame"));
        assert_eq!(said("bAsIc   dGVzdDoxMjPCow=="), pair("test", "123£"));
        assert_eq!(said("Basic YTpiOmM="), pair("a", "b:c"));
        assert_eq!(said("Basic Og=="), pair("", ""));
    }

    #[test]
    fn what_is_no_credentials_is_none() {
        let long = format!("Basic {}", "YTpi".repeat(CREDENTIALS_BYTES / 3 + 1));
        for value in [
            "",
            "Basic",
            "Basic ",
            "BasicYTpi",
            "Bearer YTpi",
            "Basic YTpi YTpi",
            "Basic ?",
            "Basic YWI=",
            &long,
        ] {
            assert_eq!(said(value), None, "{value}");
        }
    }

    #[test]
    fn a_realm_cannot_end_its_quotes() {
        let user = User {
            name: "a".into(),
            hash: Hash::parse(&super::super::hash(b"x", [7; 16], 4).unwrap()).unwrap(),
        };
        let basic = BasicAuth::new(vec![user], "a\"b\\", false);
        assert_eq!(basic.challenge(), "Basic realm=\"a\\\"b\\\\\", charset=\"UTF-8\"");
    }
}
