//! Certificates and keys from PEM files (RFC 7468).

use crate::limits::CERT_FILE_BYTES;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The certificates of a file, at least one.
///
/// # Errors
/// What is wrong, with the file and, where it is known, the line.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if found.is_empty() => Err(format!("{}: no certificate (PEM) in it", path.display())),
        Ok(found) => Ok(found),
        Err(error) => Err(wrong(path, &text, &error)),
    }
}

/// The first private key of a file: PKCS #8, PKCS #1 or SEC1.
///
/// # Errors
/// As [`certificates`].
pub(super) fn key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let text = read(path)?;
    match PrivateKeyDer::from_pem_slice(&text) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) if contains(&text, b"ENCRYPTED PRIVATE KEY") => {
            Err(format!("{}: the key is encrypted; a key without a passphrase is needed", path.display()))
        }
        Err(pem::Error::NoItemsFound) => Err(format!("{}: no private key (PEM) in it", path.display())),
        Err(error) => Err(wrong(path, &text, &error)),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let mut text = Vec::new();
    let read = File::open(path).and_then(|file| file.take(CERT_FILE_BYTES + 1).read_to_end(&mut text));
    match read {
        Err(error) => Err(format!("{} can't be read: {error}", path.display())),
        Ok(_) if text.len() as u64 > CERT_FILE_BYTES => {
            Err(format!("{} has more than {CERT_FILE_BYTES} bytes", path.display()))
        }
        Ok(_) => Ok(text),
    }
}

fn wrong(path: &Path, text: &[u8], error: &pem::Error) -> String {
    let at = match error {
        pem::Error::IllegalSectionStart { line } => line_of(text, line),
        pem::Error::MissingSectionEnd { end_marker } => {
            let name = String::from_utf8_lossy(end_marker);
            return format!("{}: `{}` is missing: the file is cut off", path.display(), name.trim());
        }
        _ => None,
    };
    match at {
        Some(line) => format!("{}:{line}: not PEM: a malformed section start", path.display()),
        None => format!("{}: not PEM: {error}", path.display()),
    }
}

fn line_of(text: &[u8], line: &[u8]) -> Option<usize> {
    let line = line.trim_ascii();
    text.split(|b| *b == b'\n').position(|candidate| candidate.trim_ascii() == line).map(|at| at + 1)
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}
