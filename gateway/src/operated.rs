//! What can change while the gateway runs: the operator's lines and the dial plan, told to the roles as they are
//! now and whenever they are others.

use crate::config::{Config, Dial, TlsFiles};
use crate::files::{self, FileError};
use crate::phones;
use signaling_plan::Plan;
use signaling_trunk::lines::{Lines, TlsSpec, TrunkSpec};
use std::path::{Path, PathBuf};
use tokio::sync::watch;

pub struct Operated {
    lines: watch::Sender<Lines>,
    plan: watch::Sender<Plan>,
}

impl Operated {
    /// # Errors
    /// A sentence that names the setting or the file.
    pub fn new(config: &Config) -> Result<Operated, String> {
        let lines = lines(&config.dial, &config.data_dir)?;
        Ok(Operated {
            lines: watch::Sender::new(lines),
            plan: watch::Sender::new(config.dial.plan.clone()),
        })
    }

    /// Takes up what commands write to `data_dir/phones.toml`. A realm other than the configuration's is told and
    /// not taken.
    pub fn watch_phones(&self, config: &Config) {
        let lines = self.lines.clone();
        let (store, realm) = (
            phones::Store::new(&config.data_dir),
            config.dial.registrar.realm.clone(),
        );
        let path = store.path();
        tokio::spawn(store.watch(move |book| {
            if let Err(sentence) = book.fits(&realm, &path) {
                tracing::error!("the phones stay as they were: {sentence}");
                return true;
            }
            lines.send_if_modified(|lines| {
                let next = book.specs();
                let changed = (&lines.registrar.realm, &lines.phones) != (&next.0, &next.1);
                (lines.registrar.realm, lines.phones) = next;
                changed
            });
            !lines.is_closed()
        }));
    }

    pub fn lines(&self) -> watch::Receiver<Lines> {
        self.lines.subscribe()
    }

    pub fn plan(&self) -> watch::Receiver<Plan> {
        self.plan.subscribe()
    }
}

/// All lines, with what stands in other files than the configuration.
fn lines(dial: &Dial, data_dir: &Path) -> Result<Lines, String> {
    let mut lines = Lines::default();
    for trunk in &dial.trunks {
        let tls = match &trunk.tls {
            Some(files) => Some(tls_of(&trunk.spec.name, files)?),
            None => None,
        };
        lines.trunks.push(TrunkSpec {
            tls,
            ..trunk.spec.clone()
        });
    }
    lines.registrar.clone_from(&dial.registrar);
    add_phones(&mut lines, data_dir)?;
    Ok(lines)
}

/// Adds who may register to us, and the realm: `data_dir/phones.toml`.
///
/// # Errors
/// A sentence that names the file.
fn add_phones(lines: &mut Lines, data_dir: &Path) -> Result<(), String> {
    (lines.registrar.realm, lines.phones) = phones::load(data_dir, &lines.registrar.realm)?;
    Ok(())
}

fn tls_of(trunk: &str, files: &TlsFiles) -> Result<TlsSpec, String> {
    let read = |key: &str, path: &PathBuf| {
        files::read_text(path).map_err(|error: FileError| format!("trunk.{trunk}.{key}: {error}."))
    };
    let (certificate_pem, key_pem) = match &files.certificate {
        Some((certificate, key)) => (read("tls_certificate", certificate)?, read("tls_key", key)?),
        None => Default::default(),
    };
    Ok(TlsSpec {
        roots_pem: match &files.roots {
            Some(path) => read("tls_roots", path)?,
            None => String::new(),
        },
        pinned_sha256: files.pinned_sha256,
        server_name: files.server_name.clone(),
        certificate_pem,
        key_pem,
        at_least_1_3: files.at_least_1_3,
        client_certificate: files.client_certificate,
    })
}
