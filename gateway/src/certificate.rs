//! Certificates that the gateway makes for itself at the first start and keeps: the one that browsers see on
//! wss, and the one of DTLS towards browsers, which is the whole cluster's.

use crate::files::{self, FileError};
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

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
pub fn wss(
    given: Option<&(std::path::PathBuf, std::path::PathBuf)>,
    data_dir: &Path,
    host_name: Option<&str>,
    addresses: &[IpAddr],
) -> Result<rustls::ServerConfig, FileError> {
    let (certificate, key) = match given {
        Some((certificate, key)) => (certificate.clone(), key.clone()),
        None => {
            let (certificate, key) = (data_dir.join("wss.pem"), data_dir.join("wss.key"));
            let mut names: Vec<String> = vec!["localhost".to_owned()];
            names.extend(host_name.map(str::to_owned));
            names.extend(addresses.iter().map(IpAddr::to_string));
            make_once(data_dir, &certificate, &key, "Trunkgate", names)?;
            (certificate, key)
        }
    };
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(files::read_text(&certificate)?.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|e| FileError::unusable(&certificate, e))?;
    if chain.is_empty() {
        return Err(FileError::unusable(
            &certificate,
            "it holds no certificate in PEM",
        ));
    }
    let private = PrivateKeyDer::from_pem_slice(files::read_text(&key)?.as_bytes())
        .map_err(|_| FileError::unusable(&key, "it holds no private key in PEM"))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| FileError::unusable(&certificate, e))?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|e| {
            FileError::unusable(
                &key,
                format!("it does not go with {}: {e}", certificate.display()),
            )
        })?;
    // WebSocket needs HTTP/1.1; nothing else is offered.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// For DTLS towards browsers, ECDSA P-256: every node of a cluster shows the same, so that a leg can move.
pub fn dtls(link_dir: &Path) -> Result<CertifiedKey, FileError> {
    let (certificate, key) = (link_dir.join("dtls.pem"), link_dir.join("dtls.key"));
    // RFC 8827 §6.5: the name says nothing about anybody.
    make_once(link_dir, &certificate, &key, "WebRTC", Vec::new())?;
    let chain = CertificateDer::from_pem_slice(files::read_text(&certificate)?.as_bytes())
        .map_err(|e| FileError::unusable(&certificate, e))?;
    let private = PrivateKeyDer::from_pem_slice(files::read_text(&key)?.as_bytes())
        .map_err(|_| FileError::unusable(&key, "it holds no private key in PEM"))?;
    Ok(CertifiedKey {
        certificate: chain.as_ref().to_vec(),
        key: private.secret_der().to_vec(),
    })
}

fn make_once(
    dir: &Path,
    certificate: &Path,
    key: &Path,
    name: &str,
    alternative: Vec<String>,
) -> Result<(), FileError> {
    let _alone = files::lock_dir(dir)?;
    if certificate.exists() && key.exists() {
        return Ok(());
    }
    let failed = |e: rcgen::Error| FileError::unusable(certificate, e);
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
    let mut params = CertificateParams::new(alternative).map_err(failed)?;
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // DTLS peers are clients and servers alike, and the fingerprint says all.
    if !params.subject_alt_names.is_empty() {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
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

    #[test]
    fn wss_has_a_certificate_without_anybody_doing_anything() {
        let dir = test_dir();
        let addresses = ["192.0.2.1".parse().unwrap(), "::1".parse().unwrap()];
        wss(None, dir.path(), Some("gate"), &addresses).unwrap();
        let made = std::fs::read(dir.path().join("wss.pem")).unwrap();
        wss(None, dir.path(), Some("renamed"), &[]).unwrap();
        assert_eq!(std::fs::read(dir.path().join("wss.pem")).unwrap(), made);
    }

    #[test]
    fn files_that_do_not_serve_are_named() {
        let dir = test_dir();
        wss(None, dir.path(), None, &[]).unwrap();
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
            let error = wss(Some(&(path(certificate), path(key))), dir.path(), None, &[])
                .unwrap_err()
                .to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
