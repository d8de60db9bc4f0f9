//! Certificates of ours: those that browsers see on wss and SIP peers on TLS ([`shown`]), and the one of DTLS towards
//! browsers, which is the whole cluster's. What the operator does not give is made at the first start and kept.

pub mod shown;

use crate::files::{self, FileError};
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use shown::{Shown, Source};
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const DAY: Duration = Duration::from_secs(86_400);

/// A certificate with its key, both DER. The key is PKCS #8.
pub struct CertifiedKey {
    pub certificate: Vec<u8>,
    pub key: Vec<u8>,
}

impl fmt::Debug for CertifiedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "CertifiedKey {{ certificate: {} bytes, … }}",
            self.certificate.len()
        )
    }
}

/// For TLS towards browsers: from the operator's files, or our own in `data_dir`.
///
/// Our own is for `localhost`, this box's name and its addresses. It is kept when these change: browsers
/// have been told to trust it, and they warn of a self-signed certificate in any case.
pub fn wss(shown: Arc<Shown>) -> Result<rustls::ServerConfig, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_cert_resolver(shown);
    // WebSocket needs HTTP/1.1; nothing else is offered.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// The operator's files, or our own for whatever this box is called.
pub fn source(
    given: Option<&(PathBuf, PathBuf)>,
    stem: &'static str,
    data_dir: &Path,
    host_name: Option<&str>,
    addresses: &[IpAddr],
) -> Source {
    match given {
        Some((certificate, key)) => Source::Given {
            certificate: certificate.clone(),
            key: key.clone(),
        },
        None => {
            let mut names: Vec<String> = vec!["localhost".to_owned()];
            names.extend(host_name.map(str::to_owned));
            names.extend(addresses.iter().map(IpAddr::to_string));
            Source::Own {
                dir: data_dir.to_owned(),
                stem,
                names,
            }
        }
    }
}

/// For DTLS towards browsers, ECDSA P-256: every node of a cluster shows the same, so that a leg can move.
pub fn dtls(link_dir: &Path) -> Result<CertifiedKey, FileError> {
    let (certificate, key) = (link_dir.join("dtls.pem"), link_dir.join("dtls.key"));
    // RFC 8827 §6.5: the name says nothing about anybody.
    make_own(link_dir, &certificate, &key, "WebRTC", &[], false)?;
    let chain = CertificateDer::from_pem_slice(files::read_text(&certificate)?.as_bytes())
        .map_err(|e| FileError::unusable(&certificate, e))?;
    let private = PrivateKeyDer::from_pem_slice(files::read_text(&key)?.as_bytes())
        .map_err(|_| FileError::unusable(&key, "it holds no private key in PEM"))?;
    Ok(CertifiedKey {
        certificate: chain.as_ref().to_vec(),
        key: private.secret_der().to_vec(),
    })
}

/// Makes both files where one is missing, or `anew`. With names it is for servers, and so for a limited time.
fn make_own(
    dir: &Path,
    certificate: &Path,
    key: &Path,
    name: &str,
    alternative: &[String],
    anew: bool,
) -> Result<(), FileError> {
    let _alone = files::lock_dir(dir)?;
    if certificate.exists() && key.exists() && !anew {
        return Ok(());
    }
    let failed = |e: rcgen::Error| FileError::unusable(certificate, e);
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
    let mut params = CertificateParams::new(alternative.to_vec()).map_err(failed)?;
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // DTLS peers are clients and servers alike, and the fingerprint says all.
    if !params.subject_alt_names.is_empty() {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        // Apple's systems take none of a server that lasts longer than 825 days, whoever trusts it.
        params.not_before = (SystemTime::now() - DAY).into();
        params.not_after = params.not_before + 824 * DAY;
    }
    let made = params.self_signed(&pair).map_err(failed)?;
    files::write_private(key, pair.serialize_pem().as_bytes())?;
    files::write_public(certificate, made.pem().as_bytes())
}

/// This box's name, if it has one that a certificate can carry.
pub fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()?
        .trim()
        .to_ascii_lowercase();
    let plain = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'));
    (plain && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::test_dir;

    #[test]
    fn the_dtls_certificate_is_made_once_and_its_key_is_private() {
        use std::os::unix::fs::PermissionsExt;
        let dir = test_dir();
        let first = dtls(dir.path()).unwrap();
        let again = dtls(dir.path()).unwrap();
        assert_eq!(first.certificate, again.certificate);
        assert_eq!(first.key, again.key);
        let mode = dir
            .path()
            .join("dtls.key")
            .metadata()
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!format!("{first:?}").contains("key"));
    }

    fn load(
        given: Option<&(PathBuf, PathBuf)>,
        dir: &Path,
        host: Option<&str>,
        addresses: &[IpAddr],
    ) -> Result<Arc<Shown>, FileError> {
        Shown::load(
            "signaling.certificate",
            source(given, "wss", dir, host, addresses),
        )
    }

    #[test]
    fn wss_has_a_certificate_without_anybody_doing_anything() {
        let dir = test_dir();
        let addresses = ["192.0.2.1".parse().unwrap(), "::1".parse().unwrap()];
        wss(load(None, dir.path(), Some("gate"), &addresses).unwrap()).unwrap();
        let made = std::fs::read(dir.path().join("wss.pem")).unwrap();
        load(None, dir.path(), Some("renamed"), &[]).unwrap();
        assert_eq!(std::fs::read(dir.path().join("wss.pem")).unwrap(), made);
    }

    #[test]
    fn files_that_do_not_serve_are_named() {
        let dir = test_dir();
        load(None, dir.path(), None, &[]).unwrap();
        dtls(dir.path()).unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("empty.pem"), "").unwrap();
        for (certificate, key, named) in [
            ("missing.pem", "wss.key", "missing.pem cannot be read"),
            (
                "empty.pem",
                "wss.key",
                "empty.pem is of no use: it holds no certificate",
            ),
            (
                "wss.pem",
                "empty.pem",
                "empty.pem is of no use: it holds no private key",
            ),
            (
                "wss.pem",
                "dtls.key",
                "dtls.key is of no use: it does not go with",
            ),
        ] {
            let error = load(Some(&(path(certificate), path(key))), dir.path(), None, &[])
                .unwrap_err()
                .to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
