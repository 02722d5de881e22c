//! Whom to believe among upstreams.

use super::x509::Facts;
use super::{pem, provider};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::path::Path;
use std::sync::Arc;

/// Where systems keep their authorities: Debian and Alpine, Fedora, openSUSE, CentOS, others.
const SYSTEM: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Who vouches for an upstream.
#[derive(Debug)]
pub(super) struct Trust {
    provider: Arc<CryptoProvider>,
    /// None: nobody needs to.
    chains: Option<Arc<WebPkiServerVerifier>>,
    /// Certificates that are trusted as they are: what `openssl req -x509` makes is its own authority and
    /// may not serve by the rules of chains.
    pinned: Vec<CertificateDer<'static>>,
}

impl Trust {
    /// Any certificate is taken.
    pub fn anybody() -> Trust {
        Trust { provider: provider(), chains: None, pinned: Vec::new() }
    }

    /// The system's authorities.
    ///
    /// # Errors
    /// There are none.
    pub fn system() -> Result<Trust, String> {
        let found = SYSTEM.iter().map(Path::new).find(|path| path.is_file());
        let path = found.ok_or(
            "this system has no certificate authorities: install ca-certificates, or set \
             ssl_trusted_certificate or no_tls_verify",
        )?;
        Trust::of(path, Vec::new(), pem::certificates(path)?)
    }

    /// The certificates of a file, and whom they sign.
    ///
    /// # Errors
    /// It can't be read, or holds no certificate.
    pub fn file(path: &Path) -> Result<Trust, String> {
        let certificates = pem::certificates(path)?;
        Trust::of(path, certificates.clone(), certificates)
    }

    fn of(
        path: &Path,
        pinned: Vec<CertificateDer<'static>>,
        roots: Vec<CertificateDer<'static>>,
    ) -> Result<Trust, String> {
        let mut store = RootCertStore::empty();
        let (added, _) = store.add_parsable_certificates(roots);
        if added == 0 {
            return Err(format!("{}: no usable certificate in it", path.display()));
        }
        let chains = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider());
        let chains = chains.build().map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Trust { provider: provider(), chains: Some(chains), pinned })
    }

    /// A pinned certificate needs no chain, but must be for the name and within its time.
    fn by_pin(
        &self,
        cert: &CertificateDer<'_>,
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Option<Result<(), Error>> {
        self.pinned.iter().find(|pinned| pinned.as_ref() == cert.as_ref())?;
        let facts = super::x509::facts(cert)?;
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        if now > facts.not_after {
            return Some(Err(CertificateError::Expired.into()));
        }
        if now < facts.not_before {
            return Some(Err(CertificateError::NotValidYet.into()));
        }
        let parsed = ParsedCertificate::try_from(cert);
        Some(parsed.and_then(|parsed| rustls::client::verify_server_name(&parsed, name)))
    }
}

/// What the certificates of a trust file say (blocking).
///
/// # Errors
/// As for an upstream that is verified against it; nothing but a file is read, for others may make us wait.
pub fn trusted(path: &Path) -> Result<Vec<Facts>, String> {
    match std::fs::metadata(path) {
        Ok(meta) if !meta.is_file() => return Err(format!("{} is no file", path.display())),
        _ => {}
    }
    let trust = Trust::file(path)?;
    Ok(trust.pinned.iter().filter_map(|certificate| super::x509::facts(certificate)).collect())
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(chains) = &self.chains else { return Ok(ServerCertVerified::assertion()) };
        if let Some(pinned) = self.by_pin(end_entity, server_name, now) {
            return pinned.map(|()| ServerCertVerified::assertion());
        }
        chains.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        match self.chains {
            Some(_) => verify_tls12_signature(message, cert, dss, known),
            None => Ok(HandshakeSignatureValid::assertion()),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        match self.chains {
            Some(_) => verify_tls13_signature(message, cert, dss, known),
            None => Ok(HandshakeSignatureValid::assertion()),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Why a handshake with an upstream failed, and what can be done about it.
pub(super) fn in_words(error: &Error, name: &str) -> String {
    use CertificateError::{
        Expired, ExpiredContext, NotValidForName, NotValidForNameContext, NotValidYet, NotValidYetContext,
        UnknownIssuer,
    };
    match error {
        Error::InvalidCertificate(UnknownIssuer) => {
            "its certificate is vouched for by nobody who is trusted (self-signed?): set \
             ssl_trusted_certificate or no_tls_verify"
                .to_owned()
        }
        Error::InvalidCertificate(Expired | ExpiredContext { .. }) => {
            "its certificate has expired".to_owned()
        }
        Error::InvalidCertificate(NotValidYet | NotValidYetContext { .. }) => {
            "its certificate is not valid yet".to_owned()
        }
        Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. }) => {
            format!("its certificate is not for `{name}`: set ssl_server_name")
        }
        Error::InvalidCertificate(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            "its certificate is an authority's (self-signed?): set ssl_trusted_certificate to it, or \
             no_tls_verify"
                .to_owned()
        }
        Error::InvalidCertificate(other) => format!("its certificate is not accepted: {other}"),
        Error::InvalidMessage(_) => format!("it does not speak TLS there: {error}"),
        other => format!("the TLS handshake failed: {other}"),
    }
}
