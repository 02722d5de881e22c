//! Hashes of passwords, as `htpasswd` and the argon2 tool write them.

use super::apr1;
use crate::limits::{ARGON2_LANES, ARGON2_MEMORY_KIB, ARGON2_PASSES, BCRYPT_COST};
use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordVerifier};
use std::fmt;

/// The hash of a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Hash {
    kind: HashKind,
    text: Box<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HashKind {
    Bcrypt,
    Argon2,
    Apr1,
}

/// A hash is not shown: who has it may guess at leisure.
impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}(…)", self.kind)
    }
}

/// What is wrong with a hash, and how to mend it. Holds nothing of what was written.
pub type Fault = (String, Option<String>);

const EXPECTED: &str = "expected the hash of a password (bcrypt, argon2 or apr1)";
/// A bcrypt hash is always as long.
const BCRYPT_BYTES: usize = 60;
const MAKE: &str = "make one with `tidegate hash`";

impl Hash {
    /// Reads a hash: `$2a$`, `$2b$` or `$2y$` (bcrypt), `$argon2id$`, `$argon2i$` or `$argon2d$` (PHC string),
    /// `$apr1$`.
    ///
    /// # Errors
    /// What is wrong, and what a password itself in its place should be.
    pub fn parse(text: &str) -> Result<Hash, Fault> {
        let begins = |any: &[&str]| any.iter().any(|prefix| text.starts_with(prefix));
        let kind = if begins(&["$2a$", "$2b$", "$2y$"]) {
            bcrypt(text).map(|()| HashKind::Bcrypt)
        } else if begins(&["$argon2id$", "$argon2i$", "$argon2d$"]) {
            argon2(text).map(|()| HashKind::Argon2)
        } else if begins(&["$apr1$"]) {
            apr1(text).map(|_| HashKind::Apr1).ok_or_else(|| ("this apr1 hash is not whole".into(), None))
        } else {
            Err(stranger(text))
        };
        kind.map(|kind| Hash { kind, text: text.into() })
    }

    /// Whether it is that of `password`. Takes time and memory by its own parameters.
    pub fn verify(&self, password: &[u8]) -> bool {
        match self.kind {
            HashKind::Bcrypt => bcrypt::verify(password, &self.text).unwrap_or(false),
            HashKind::Argon2 => match PasswordHash::new(&self.text) {
                Ok(hash) => Argon2::default().verify_password(password, &hash).is_ok(),
                Err(_) => false,
            },
            HashKind::Apr1 => apr1(&self.text).is_some_and(|(salt, digest)| {
                let own = apr1::digest(password, salt.as_bytes());
                // Without a branch on a byte: time says nothing.
                own.iter().zip(digest.as_bytes()).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
            }),
        }
    }

    /// The hash as it was written, for the key of what was verified by it.
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

/// The bcrypt hash of a password, with a random `salt` and this cost (4 to 31).
///
/// # Errors
/// In words: a password that bcrypt would cut off.
pub fn hash(password: &[u8], salt: [u8; 16], cost: u32) -> Result<String, String> {
    const MOST: usize = 71;
    match password {
        [] => Err("the password is empty".into()),
        _ if password.len() > MOST => {
            Err(format!("the password has more than {MOST} bytes: bcrypt takes no more"))
        }
        _ => match bcrypt::hash_with_salt(password, cost, salt) {
            Ok(parts) => Ok(parts.format_for_version(bcrypt::Version::TwoB)),
            Err(error) => Err(error.to_string()),
        },
    }
}

fn bcrypt(text: &str) -> Result<(), Fault> {
    let broken = || ("this bcrypt hash is not whole".to_owned(), None);
    let parts: bcrypt::HashParts = text.parse().map_err(|_| broken())?;
    match parts.get_cost() {
        _ if text.len() != BCRYPT_BYTES => Err(broken()),
        4..=BCRYPT_COST => Ok(()),
        cost => {
            let message = format!("expected a bcrypt cost from 4 to {BCRYPT_COST}, got {cost}");
            Err((message, Some(MAKE.into())))
        }
    }
}

fn argon2(text: &str) -> Result<(), Fault> {
    let broken = || ("this argon2 hash is not whole".to_owned(), None);
    let hash = PasswordHash::new(text).map_err(|_| broken())?;
    let params = Params::try_from(&hash).map_err(|_| broken())?;
    if hash.salt.is_none() || hash.hash.is_none() || Algorithm::try_from(hash.algorithm.as_str()).is_err() {
        return Err(broken());
    }
    let bounds = [
        ("m", params.m_cost(), ARGON2_MEMORY_KIB, " (KiB)"),
        ("t", params.t_cost(), ARGON2_PASSES, ""),
        ("p", params.p_cost(), ARGON2_LANES, ""),
    ];
    match bounds.into_iter().find(|(_, value, most, _)| value > most) {
        Some((name, value, most, unit)) => {
            let message = format!("expected argon2 with {name} of at most {most}{unit}, got {value}");
            Err((message, Some("each login takes that, also a wrong one".into())))
        }
        None => Ok(()),
    }
}

/// The salt and the digest of an apr1 hash.
fn apr1(text: &str) -> Option<(&str, &str)> {
    let (salt, digest) = text.strip_prefix("$apr1$")?.split_once('$')?;
    let whole = salt.len() <= apr1::SALT && digest.len() == apr1::DIGEST;
    (whole && apr1::is_alphabet(salt) && apr1::is_alphabet(digest)).then_some((salt, digest))
}

/// What is no hash that we know.
fn stranger(text: &str) -> Fault {
    let hint = match text {
        _ if text.starts_with("$$") => "write `$` once: it is doubled only in a compose file".to_owned(),
        _ if text.starts_with('$') || text.starts_with('{') => {
            return (format!("{EXPECTED}, got another kind of hash"), Some(MAKE.into()));
        }
        _ => format!("{MAKE}; in a compose file write each `$` of it twice"),
    };
    (format!("{EXPECTED}, got something else"), Some(hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All of `secret`: crypt(3) (the same salt and digest under each letter), the reference argon2, openssl.
    const BCRYPT: &str = "$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";
    const ARGON2: &[&str] = &[
        "$argon2id$v=19$m=8192,t=1,p=1$c2FsdHNhbHQ$CE0pGNzrD2J1tOQsghJQaEeVII3g49YwCVYkgUJIBM0",
        "$argon2i$v=19$m=64,t=3,p=1$c2FsdHNhbHQ$HGPvlqQzFwnQoFo2kSbYQiu63Zk/3IgYIXQ9BFzWCCI",
        "$argon2d$v=19$m=64,t=1,p=2$c2FsdHNhbHQ$Ktn9ue9pKM1Q+ZMXtbKLMb6z2C/Gve+4WdiRjboaa04",
    ];
    const APR1: &str = "$apr1$saltsalt$LrttParrLPdxvgutaSXWJ0";

    #[test]
    fn known_hashes_take_their_password_alone() {
        let bcrypt = ["$2a$", "$2b$", "$2y$"].map(|prefix| format!("{prefix}{}", &BCRYPT[4..]));
        let all = bcrypt.iter().map(String::as_str).chain(ARGON2.iter().copied()).chain([APR1]);
        for text in all {
            let hash = Hash::parse(text).unwrap_or_else(|fault| panic!("{text}: {fault:?}"));
            assert!(hash.verify(b"secret"), "{text}");
            for wrong in ["", "Secret", "secret ", "secre"] {
                assert!(!hash.verify(wrong.as_bytes()), "{text} takes `{wrong}`");
            }
            let shown = format!("{hash:?}");
            assert!(shown.len() < 12, "{shown}");
        }
    }

    #[test]
    fn our_own_hashes_are_taken() {
        let text = hash(b"open sesame", [3; 16], 4).unwrap();
        assert!(Hash::parse(&text).unwrap().verify(b"open sesame"));
        assert!(hash(&[b'x'; 72], [3; 16], 4).is_err());
        assert!(hash(b"", [3; 16], 4).is_err());
    }

    #[test]
    fn what_is_no_hash_or_too_dear_is_refused_without_being_shown() {
        let dear = ARGON2[0].replace("m=8192", "m=65537");
        let slow = ARGON2[0].replace("t=1", "t=1000");
        let cost = BCRYPT.replace("$04$", "$16$");
        for (text, part) in [
            ("hunter2", "something else"),
            ("", "something else"),
            ("$$2y$$04$$abc", "something else"),
            ("$6$salt$digest", "another kind"),
            ("{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "another kind"),
            ("$2y$04$short", "not whole"),
            ("$argon2id$v=19$m=8,t=1,p=1$short", "not whole"),
            ("$apr1$saltsalt$short", "not whole"),
            ("$apr1$saltsaltsalt$3Sj8hZhLE4iMdpPXXUzCJ.", "not whole"),
            (&dear, "at most 65536 (KiB)"),
            (&slow, "t of at most"),
            (&cost, "cost from 4 to 15, got 16"),
        ] {
            let (message, hint) = Hash::parse(text).expect_err(text);
            assert!(message.contains(part), "{text}: {message}");
            let said = format!("{message} {hint:?}");
            assert!(text.is_empty() || !said.contains(text), "{said}");
        }
    }
}
