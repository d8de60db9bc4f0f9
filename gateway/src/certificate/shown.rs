//! A certificate that servers of ours show: read from its files, read again when these change, made anew before it
//! expires where it is our own.
//!
//! Handshakes ask for it one by one, so a new one is shown to whoever comes next, and nobody is cut off. Files that
//! do not serve leave the old one in place: a half-copied chain must not end a telephone service.

use super::make_own;
use crate::files::{self, FileError};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tracing::{info, warn};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

/// How often files are looked at. What changed is read when it has been the same for so long, since chain and key are
/// two files that nobody writes at once.
pub const LOOK: Duration = Duration::from_secs(2);
/// Our own is made anew so long before its end; the operator's is spoken of in the log.
const BEFORE_THE_END: Duration = Duration::from_secs(30 * 86_400);
/// The log hears of an end that comes near so often.
const REMIND: Duration = Duration::from_secs(86_400);

/// Where a certificate comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// Chain and key of the operator's.
    Given { certificate: PathBuf, key: PathBuf },
    /// `STEM.pem` and `STEM.key` in a folder of ours, for these names.
    Own {
        dir: PathBuf,
        stem: &'static str,
        names: Vec<String>,
    },
}

impl Source {
    fn files(&self) -> (PathBuf, PathBuf) {
        match self {
            Source::Given { certificate, key } => (certificate.clone(), key.clone()),
            Source::Own { dir, stem, .. } => (
                dir.join(format!("{stem}.pem")),
                dir.join(format!("{stem}.key")),
            ),
        }
    }
}

pub struct Shown {
    /// Of the settings, for sentences.
    setting: &'static str,
    source: Source,
    current: RwLock<Arc<CertifiedKey>>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// The files as they were when they were read last, whatever came of it.
    read: Option<Stamps>,
    /// As they were at the look before.
    before: Option<Stamps>,
    reminded: Option<SystemTime>,
}

type Stamps = [Stamp; 2];
/// Device and inode, length, time of change; `None`: no such file.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shown {{ {} }}", self.setting)
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

impl Shown {
    /// # Errors
    /// A sentence without its end that names the file.
    pub fn load(setting: &'static str, source: Source) -> Result<Arc<Shown>, FileError> {
        if let Source::Own { dir, names, .. } = &source {
            let (certificate, key) = source.files();
            let ends = certificate.exists() && key.exists() && ends_by(&certificate, renewal());
            make_own(dir, &certificate, &key, "Trunkgate", names, ends)?;
        }
        let stamps = stamps(&source);
        let current = read(&source)?;
        Ok(Arc::new(Shown {
            setting,
            source,
            current: RwLock::new(Arc::new(current)),
            seen: Mutex::new(Seen {
                read: Some(stamps),
                before: Some(stamps),
                reminded: None,
            }),
        }))
    }

    pub fn current(&self) -> Arc<CertifiedKey> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.clone()
    }

    /// Takes up what changed since the look before the last. Reads files.
    pub fn look(&self, now: SystemTime) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        self.heed_the_end(&mut seen, now);
        let stamps = stamps(&self.source);
        let quiet = seen.before.replace(stamps) == Some(stamps);
        if !quiet || seen.read == Some(stamps) {
            return;
        }
        seen.read = Some(stamps);
        let setting = self.setting;
        match read(&self.source) {
            Ok(key) => {
                let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
                *current = Arc::new(key);
                info!("{setting}: the new certificate is shown from now on.");
            }
            Err(error) => warn!("{setting}: {error}. The certificate of before stays."),
        }
    }

    fn heed_the_end(&self, seen: &mut Seen, now: SystemTime) {
        let reminded = seen
            .reminded
            .is_some_and(|at| now.duration_since(at).is_ok_and(|since| since < REMIND));
        let setting = self.setting;
        if reminded || !ends(&self.current(), now + BEFORE_THE_END) {
            return;
        }
        seen.reminded = Some(now);
        match &self.source {
            Source::Given { certificate, .. } => {
                let path = certificate.display();
                warn!("{setting}: {path} expires within 30 days, or has expired.");
            }
            Source::Own { dir, names, .. } => {
                let (certificate, key) = self.source.files();
                match make_own(dir, &certificate, &key, "Trunkgate", names, true) {
                    Ok(()) => info!("{setting}: our own certificate was made anew before its end."),
                    Err(error) => warn!("{setting}: {error}."),
                }
            }
        }
    }
}

/// Looks at all of them from now on.
pub async fn watch(shown: Vec<Arc<Shown>>) {
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let shown = shown.clone();
        let look = move || shown.iter().for_each(|one| one.look(SystemTime::now()));
        // Files may lie on a network.
        let _ = tokio::task::spawn_blocking(look).await;
    }
}

fn renewal() -> SystemTime {
    SystemTime::now() + BEFORE_THE_END
}

fn stamps(source: &Source) -> Stamps {
    let (certificate, key) = source.files();
    [certificate, key].map(|path| {
        let file = std::fs::metadata(path).ok()?;
        Some((
            file.dev(),
            file.ino(),
            file.len(),
            file.mtime(),
            file.mtime_nsec(),
        ))
    })
}

fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

fn read(source: &Source) -> Result<CertifiedKey, FileError> {
    let (certificate, key) = source.files();
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
    CertifiedKey::from_der(chain, private, &provider()).map_err(|e| {
        FileError::unusable(
            &key,
            format!("it does not go with {}: {e}", certificate.display()),
        )
    })
}

fn ends_by(certificate: &Path, then: SystemTime) -> bool {
    let read = CertificateDer::from_pem_file(certificate);
    read.is_ok_and(|certificate| is_over(&certificate, then))
}

fn ends(key: &CertifiedKey, then: SystemTime) -> bool {
    key.end_entity_cert()
        .is_ok_and(|certificate| is_over(certificate, then))
}

/// Whether it is of no use `then`, because its time is over. Held against itself, since only that is asked.
fn is_over(certificate: &CertificateDer<'_>, then: SystemTime) -> bool {
    let since = then.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (Ok(own), Ok(anchor)) = (
        EndEntityCert::try_from(certificate),
        anchor_from_trusted_cert(certificate),
    ) else {
        return false;
    };
    let anchors = [anchor];
    let verified = own.verify_for_usage(
        provider().signature_verification_algorithms.all,
        &anchors,
        &[],
        UnixTime::since_unix_epoch(since),
        KeyUsage::server_auth(),
        None,
        None,
    );
    matches!(verified, Err(webpki::Error::CertExpired { .. }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::test_dir;
    use rcgen::{CertificateParams, KeyPair};

    fn own(dir: &Path) -> Source {
        Source::Own {
            dir: dir.to_owned(),
            stem: "sip",
            names: vec!["localhost".into()],
        }
    }

    fn shown(one: &Shown) -> Vec<u8> {
        one.current().end_entity_cert().unwrap().to_vec()
    }

    fn write(dir: &Path, days: i64) -> (Vec<u8>, String, String) {
        let pair = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["pbx.test".to_owned()]).unwrap();
        params.not_after = params.not_before + time_of(days);
        let made = params.self_signed(&pair).unwrap();
        let (certificate, key) = (made.pem(), pair.serialize_pem());
        std::fs::write(dir.join("c.pem"), &certificate).unwrap();
        std::fs::write(dir.join("k.pem"), &key).unwrap();
        (made.der().to_vec(), certificate, key)
    }

    /// Days after 1975, which is when rcgen's certificates begin.
    fn time_of(days: i64) -> std::time::Duration {
        Duration::from_secs(u64::try_from(days).unwrap() * 86_400)
    }

    #[test]
    fn a_new_chain_is_shown_without_a_restart_and_a_broken_file_leaves_the_old_one() {
        let dir = test_dir();
        let path = |name: &str| dir.path().join(name);
        let (first, ..) = write(dir.path(), 100_000);
        let source = Source::Given {
            certificate: path("c.pem"),
            key: path("k.pem"),
        };
        let one = Shown::load("sip.certificate and sip.key", source).unwrap();
        assert_eq!(shown(&one), first);
        let now = SystemTime::now();
        let look_twice = || {
            one.look(now);
            one.look(now);
        };
        // Half of it was copied.
        std::fs::write(path("c.pem"), "-----BEGIN CERTIFICATE-----\nMIIB").unwrap();
        look_twice();
        assert_eq!(shown(&one), first);
        // A chain whose key is not there yet.
        let key = std::fs::read(path("k.pem")).unwrap();
        let (second, ..) = write(dir.path(), 100_001);
        let second_key = std::fs::read(path("k.pem")).unwrap();
        std::fs::write(path("k.pem"), key).unwrap();
        look_twice();
        assert_eq!(shown(&one), first);
        std::fs::write(path("k.pem"), second_key).unwrap();
        one.look(now);
        assert_eq!(shown(&one), first, "it may still be written");
        one.look(now);
        assert_eq!(shown(&one), second);
        std::fs::remove_file(path("c.pem")).unwrap();
        look_twice();
        assert_eq!(shown(&one), second);
    }

    #[test]
    fn our_own_certificate_is_made_anew_before_it_expires() {
        let dir = test_dir();
        let one = Shown::load("data_dir", own(dir.path())).unwrap();
        let first = shown(&one);
        let now = SystemTime::now();
        one.look(now);
        one.look(now);
        assert_eq!(shown(&one), first);
        let near = now + Duration::from_secs(800 * 86_400);
        assert!(!ends(
            &one.current(),
            now + Duration::from_secs(800 * 86_400)
        ));
        assert!(ends(&one.current(), near + BEFORE_THE_END));
        one.look(near);
        one.look(near);
        assert_ne!(shown(&one), first);
        // And at a start after a long time off.
        let again = Shown::load("data_dir", own(dir.path())).unwrap();
        assert_eq!(shown(&again), shown(&one));
    }
}
