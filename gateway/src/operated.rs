//! What can change while the gateway runs: the operator's lines and the dial plan, told to the roles as they are
//! now and whenever they are others.

use crate::config::{Config, Dial, Kept, TlsFiles};
use crate::files::{self, FileError};
use crate::phones;
use serde::Serialize;
use signaling_plan::Plan;
use signaling_trunk::lines::{Lines, TlsSpec, TrunkSpec};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tracing::{error, info, warn};

/// How often the files that lines are made of, other than the configuration, are looked at.
const LOOK: Duration = Duration::from_secs(2);

pub struct Operated {
    lines: watch::Sender<Lines>,
    plan: watch::Sender<Plan>,
    /// What the gateway was started with: what a restart would change is told against this.
    started: (Config, Kept),
    /// One change at a time.
    dial: Mutex<Dial>,
}

/// What a reload did.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct TakenUp {
    /// A sentence for each change.
    pub changed: Vec<String>,
    /// Settings that are others now, and stay as they were until the gateway is started anew.
    pub needs_restart: Vec<String>,
}

impl TakenUp {
    pub fn sentences(&self) -> Vec<String> {
        let mut sentences = self.changed.clone();
        if sentences.is_empty() {
            sentences.push("Lines and rules are as they were.".to_owned());
        }
        if !self.needs_restart.is_empty() {
            sentences.push(format!(
                "Needs a restart, and stays as it was until then: {}.",
                self.needs_restart.join(", ")
            ));
        }
        sentences
    }
}

impl Operated {
    /// # Errors
    /// A sentence that names the setting or the file.
    pub fn new(config: &Config, kept: Kept) -> Result<Operated, String> {
        let lines = lines(&config.dial, &config.data_dir)?;
        Ok(Operated {
            lines: watch::Sender::new(lines),
            plan: watch::Sender::new(config.dial.plan.clone()),
            dial: Mutex::new(config.dial.clone()),
            started: (config.clone(), kept),
        })
    }

    pub fn lines(&self) -> watch::Receiver<Lines> {
        self.lines.subscribe()
    }

    pub fn plan(&self) -> watch::Receiver<Plan> {
        self.plan.subscribe()
    }

    /// Reads the configuration again, and tells the roles the lines and rules that it has now. Calls go on, and so does
    /// every line that is as it was.
    ///
    /// # Errors
    /// All that is wrong; then nothing has changed.
    pub fn reload(&self) -> Result<TakenUp, Vec<String>> {
        let mut dial = self.dial.lock().unwrap_or_else(PoisonError::into_inner);
        let (started, kept) = &self.started;
        let (config, now) = kept.again()?;
        let next = lines(&config.dial, &started.data_dir).map_err(|sentence| vec![sentence])?;
        let mut taken = TakenUp {
            changed: changes(&dial, &config.dial),
            needs_restart: Vec::new(),
        };
        if !started.same_but_dial(&config) {
            taken.needs_restart = kept.differences(&now);
        }
        let told = self.tell(next);
        if told && taken.changed.is_empty() {
            taken.changed.push(OTHER_FILES.to_owned());
        }
        self.plan.send_if_modified(|plan| {
            let other = *plan != config.dial.plan;
            plan.clone_from(&config.dial.plan);
            other
        });
        *dial = config.dial;
        Ok(taken)
    }

    /// The same, told to the log.
    pub fn reload_and_log(&self) -> Result<TakenUp, Vec<String>> {
        let taken = self.reload();
        match &taken {
            Ok(taken) => taken
                .sentences()
                .iter()
                .for_each(|told| info!("reload: {told}")),
            Err(complaints) => {
                for complaint in complaints {
                    error!("reload: {complaint}");
                }
                error!("reload: lines and rules stay as they were");
            }
        }
        taken
    }

    /// Looks after the files beside the configuration for ever: certificates that were renewed, phones that were added.
    pub async fn watch_files(self: Arc<Self>) {
        let mut seen = self.stamps();
        let mut look = tokio::time::interval(LOOK);
        loop {
            look.tick().await;
            let now = self.stamps();
            if now == seen {
                continue;
            }
            seen = now;
            let dial = self.dial.lock().unwrap_or_else(PoisonError::into_inner);
            match lines(&dial, &self.started.0.data_dir) {
                Ok(next) => {
                    if self.tell(next) {
                        info!("{OTHER_FILES}");
                    }
                }
                Err(sentence) => warn!("{sentence} The lines stay as they were."),
            }
        }
    }

    /// Whether they are others.
    fn tell(&self, next: Lines) -> bool {
        self.lines.send_if_modified(|lines| {
            let other = *lines != next;
            *lines = next;
            other
        })
    }

    fn stamps(&self) -> BTreeMap<PathBuf, Option<Stamp>> {
        let dial = self.dial.lock().unwrap_or_else(PoisonError::into_inner);
        files_of(&dial, &self.started.0.data_dir)
            .into_iter()
            .map(|path| (path.clone(), stamp(&path)))
            .collect()
    }
}

const OTHER_FILES: &str = "Certificates or phones are others; they are taken up.";

/// What tells one file from another of the same name.
type Stamp = (u64, u64, i64, i64);

fn stamp(path: &Path) -> Option<Stamp> {
    let file = path.metadata().ok()?;
    Some((file.ino(), file.size(), file.mtime(), file.mtime_nsec()))
}

/// The files that lines are made of, beside the configuration.
fn files_of(dial: &Dial, data_dir: &Path) -> Vec<PathBuf> {
    let tls = dial.trunks.iter().filter_map(|trunk| trunk.tls.as_ref());
    let of_trunks = tls.flat_map(|tls| {
        let own = tls.certificate.iter().flat_map(|(chain, key)| [chain, key]);
        tls.roots.iter().chain(own).cloned()
    });
    of_trunks.chain([data_dir.join(PHONES)]).collect()
}

/// Names only: what changed in a trunk may be its password.
fn changes(old: &Dial, new: &Dial) -> Vec<String> {
    let mut told = Vec::new();
    for trunk in &new.trunks {
        let name = &trunk.spec.name;
        match old.trunks.iter().find(|other| other.spec.name == *name) {
            None => told.push(format!("Trunk {name} is new.")),
            Some(other) if other != trunk => told.push(format!("Trunk {name} has changed.")),
            Some(_) => {}
        }
    }
    for trunk in &old.trunks {
        let name = &trunk.spec.name;
        if !new.trunks.iter().any(|other| other.spec.name == *name) {
            told.push(format!("Trunk {name} is gone; its calls run to their end."));
        }
    }
    let (old, new) = (&old.plan, &new.plan);
    if old.rules != new.rules {
        told.push(format!(
            "The routes have changed: {} now, {} before.",
            new.rules.len(),
            old.rules.len()
        ));
    }
    for (other, what) in [
        (
            old.numbering != new.numbering,
            "How numbers are dialled has changed.",
        ),
        (
            old.emergency != new.emergency,
            "The emergency numbers have changed.",
        ),
        (
            old.limits != new.limits || old.premium != new.premium,
            "The limits have changed.",
        ),
        (
            old.phone_media != new.phone_media || old.account_media != new.account_media,
            "How phones and accounts carry sound has changed.",
        ),
    ] {
        if other {
            told.push(what.to_owned());
        }
    }
    told
}

/// Who may register to us, in `data_dir`.
const PHONES: &str = "phones.toml";

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
