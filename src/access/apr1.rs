//! Apache's `$apr1$`: Poul-Henning Kamp's MD5-crypt with another magic word, 1,000 rounds. Kept for the
//! `htpasswd` files that are there; a new hash should be bcrypt or argon2.

use md5::{Digest, Md5};

const MAGIC: &[u8] = b"$apr1$";
const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Letters of a digest.
pub(super) const DIGEST: usize = 22;
/// Letters of a salt, at most.
pub(super) const SALT: usize = 8;

/// Whether all of `text` are letters of a salt or digest.
pub(super) fn is_alphabet(text: &str) -> bool {
    text.bytes().all(|b| ALPHABET.contains(&b))
}

/// The digest of `password` with `salt`.
pub(super) fn digest(password: &[u8], salt: &[u8]) -> [u8; DIGEST] {
    let inner = Md5::new().chain_update(password).chain_update(salt).chain_update(password).finalize();
    let mut outer = Md5::new().chain_update(password).chain_update(MAGIC).chain_update(salt);
    for piece in password.chunks(inner.len()) {
        outer.update(&inner[..piece.len()]);
    }
    let mut bits = password.len();
    while bits > 0 {
        match bits & 1 {
            1 => outer.update([0]),
            _ => outer.update(&password[..1]),
        }
        bits >>= 1;
    }
    let mut last = outer.finalize();
    for round in 0..1_000 {
        let mut next = Md5::new();
        match round % 2 {
            1 => next.update(password),
            _ => next.update(last),
        }
        if round % 3 != 0 {
            next.update(salt);
        }
        if round % 7 != 0 {
            next.update(password);
        }
        match round % 2 {
            1 => next.update(last),
            _ => next.update(password),
        }
        last = next.finalize();
    }
    letters(&last)
}

/// The sixteen bytes in MD5-crypt's own order and base 64.
fn letters(bytes: &[u8]) -> [u8; DIGEST] {
    const ORDER: [[usize; 3]; 5] = [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]];
    let mut out = [0; DIGEST];
    let mut at = 0;
    let mut put = |mut value: u32, count: usize| {
        for _ in 0..count {
            out[at] = ALPHABET[(value & 63) as usize];
            value >>= 6;
            at += 1;
        }
    };
    for [a, b, c] in ORDER {
        put(u32::from(bytes[a]) << 16 | u32::from(bytes[b]) << 8 | u32::from(bytes[c]), 4);
    }
    put(u32::from(bytes[11]), 2);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by `openssl passwd -apr1 -salt SALT PASSWORD`.
    #[test]
    fn digests_are_those_of_openssl() {
        for (password, salt, expected) in OPENSSL {
            let digest = digest(password.as_bytes(), salt.as_bytes());
            assert_eq!(std::str::from_utf8(&digest), Ok(*expected), "{password}");
        }
    }

    const OPENSSL: &[(&str, &str, &str)] = &[
        ("secret", "saltsalt", "LrttParrLPdxvgutaSXWJ0"),
        ("a", "x", "16j9.5e7KiXmuYFAYpPJM/"),
        ("", "abcdefgh", "L.PT565ESX4Tp2bqNs7Ie."),
        ("correct horse battery staple", "r31.....", "RSm0VOy2/jdarTt.BqnSF0"),
    ];
}
