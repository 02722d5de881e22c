//! What was verified lately: a hash costs a tenth of a second, and a browser sends its credentials with each
//! request.

use super::basic::User;
use crate::limits::{VERIFIED_CREDENTIALS, VERIFIED_KEPT};
use ring::hmac;
use std::collections::HashMap;
use std::time::Instant;

/// Credentials that were right, for `limits::VERIFIED_KEPT`. Holds no password, only a keyed digest of name,
/// password and stored hash together: another hash in the configuration is another digest.
pub struct Verified {
    key: hmac::Key,
    /// Until when a digest counts.
    entries: HashMap<[u8; 32], Instant>,
}

impl Verified {
    /// None are known. `key` is random and leaves the process nowhere.
    pub fn new(key: &[u8; 32]) -> Verified {
        Verified { key: hmac::Key::new(hmac::HMAC_SHA256, key), entries: HashMap::new() }
    }

    /// Whether `password` was verified as that of `user` not long before `now`.
    pub fn holds(&self, user: &User, password: &[u8], now: Instant) -> bool {
        self.entries.get(&self.digest(user, password)).is_some_and(|until| now < *until)
    }

    /// `password` is that of `user`. Of too many, the one that would be forgotten first makes room.
    pub fn put(&mut self, user: &User, password: &[u8], now: Instant) {
        if self.entries.len() >= VERIFIED_CREDENTIALS {
            self.entries.retain(|_, until| now < *until);
        }
        if self.entries.len() >= VERIFIED_CREDENTIALS {
            let oldest = self.entries.iter().min_by_key(|(_, until)| **until).map(|(digest, _)| *digest);
            oldest.map(|digest| self.entries.remove(&digest));
        }
        self.entries.insert(self.digest(user, password), now + VERIFIED_KEPT);
    }

    fn digest(&self, user: &User, password: &[u8]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        // Lengths first, so that no two triples have the same bytes.
        for part in [user.name.as_bytes(), password, user.hash.as_bytes()] {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.sign().as_ref());
        digest
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Hash, hash};
    use super::*;
    use std::time::Duration;

    fn user(name: &str, salt: u8) -> User {
        User { name: name.into(), hash: Hash::parse(&hash(b"x", [salt; 16], 4).unwrap()).unwrap() }
    }

    #[allow(clippy::disallowed_methods)] // any moment will do
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn only_what_was_put_is_held_and_not_for_long() {
        let (now, mut verified) = (start(), Verified::new(&[1; 32]));
        verified.put(&user("a", 1), b"pw", now);
        let almost = now + VERIFIED_KEPT - Duration::from_millis(1);
        assert!(verified.holds(&user("a", 1), b"pw", almost));
        assert!(!verified.holds(&user("a", 1), b"pw", now + VERIFIED_KEPT));
        assert!(!verified.holds(&user("a", 1), b"p", now));
        assert!(!verified.holds(&user("ap", 1), b"w", now));
        assert!(!verified.holds(&user("a", 2), b"pw", now), "another hash of the same user");
    }

    #[test]
    fn it_stays_bounded() {
        let (now, mut verified) = (start(), Verified::new(&[1; 32]));
        let user = user("a", 1);
        for n in 0..VERIFIED_CREDENTIALS + 10 {
            verified.put(&user, n.to_string().as_bytes(), now + Duration::from_micros(n as u64));
        }
        assert_eq!(verified.entries.len(), VERIFIED_CREDENTIALS);
        assert!(!verified.holds(&user, b"0", now), "the oldest made room");
        assert!(verified.holds(&user, b"11", now));
    }
}
