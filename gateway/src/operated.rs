//! What can change while the gateway runs: the operator's lines and the dial plan, told to the roles as they are
//! now and whenever they are others.

use crate::config::{Config, Dial, Kept, TlsFiles};
use crate::files::{self, FileError};
use crate::phones;
use serde::Serialize;
use signaling_plan::Plan;
use signaling_sip::digest::Hash;
use signaling_trunk::lines::{Lines, TlsSpec, TrunkSpec};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tracing::{error, info, warn};

/// How often the files that lines are made of, other than the configuration, are looked at.
const LOOK: Duration = Duration::from_secs(1);

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
        // The first look always tells, so that nothing is missed between the start and now.
        let mut seen = BTreeMap::new();
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
    let phones = phones::Store::new(data_dir).path();
    of_trunks.chain([phones]).collect()
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
    if old.registrar != new.registrar {
        told.push("The registrar has changed.".to_owned());
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
    add_phones(&mut lines, dial, data_dir)?;
    Ok(lines)
}

/// Adds who may register to us, and the realm: `data_dir/phones.toml`.
///
/// # Errors
/// A sentence that names the file.
fn add_phones(lines: &mut Lines, dial: &Dial, data_dir: &Path) -> Result<(), String> {
    (lines.registrar.realm, lines.phones) = phones::load(data_dir, &lines.registrar.realm)?;
    for phone in &mut lines.phones {
        // Without its hash an algorithm is not offered.
        for (hash, ha1) in [
            (Hash::Md5, &mut phone.ha1_md5),
            (Hash::Sha256, &mut phone.ha1_sha256),
            (Hash::Sha512_256, &mut phone.ha1_sha512_256),
        ] {
            if !dial.digests.contains(&hash) {
                ha1.clear();
            }
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Arguments, Surroundings};
    use crate::files::{TestDir, test_dir};

    const FILE: &str = r#"
[numbers]
country = "49"
[trunk.a]
servers = ["a.example"]
[[route]]
name = "all"
match = "+*"
to = "trunk:a"
"#;

    fn operated(dir: &TestDir, text: &str) -> Operated {
        let file = dir.path().join("trunkgate.toml");
        std::fs::write(&file, text).unwrap();
        let arguments = Arguments {
            file: Some(file),
            set: vec![format!("data_dir={}", dir.path().display())],
            roles: Vec::new(),
        };
        let around = Surroundings {
            interfaces: vec![("127.0.0.1".parse().unwrap(), 8)],
            ..Surroundings::default()
        };
        let (config, kept) = Config::load_and_keep(&arguments, &around).unwrap();
        Operated::new(&config, kept).unwrap()
    }

    fn rewrite(dir: &TestDir, text: &str) {
        std::fs::write(dir.path().join("trunkgate.toml"), text).unwrap();
    }

    #[test]
    fn a_reload_tells_the_roles_the_lines_and_rules_that_have_changed() {
        let dir = test_dir();
        let operated = operated(&dir, FILE);
        let (mut lines, mut plan) = (operated.lines(), operated.plan());
        lines.borrow_and_update();
        plan.borrow_and_update();
        let taken = operated.reload().unwrap();
        assert_eq!(taken, TakenUp::default());
        assert!(!lines.has_changed().unwrap() && !plan.has_changed().unwrap());

        rewrite(
            &dir,
            &format!(
                "{FILE}[trunk.b]\nservers = \"b.example\"\n[emergency]\nnumbers = \"112\"\ntrunks = \"b\"\n"
            ),
        );
        let taken = operated.reload().unwrap();
        assert_eq!(
            taken.changed,
            ["Trunk b is new.", "The emergency numbers have changed."]
        );
        assert_eq!(lines.borrow_and_update().trunks.len(), 2);
        assert!(plan.borrow_and_update().is_emergency("112"));

        rewrite(&dir, &FILE.replace("a.example", "c.example"));
        let taken = operated.reload().unwrap();
        let gone = "Trunk b is gone; its calls run to their end.";
        assert_eq!(taken.changed[..2], ["Trunk a has changed.", gone]);
        assert_eq!(lines.borrow_and_update().trunks[0].servers, ["c.example"]);
    }

    #[test]
    fn a_broken_file_changes_nothing_and_says_so() {
        let dir = test_dir();
        let operated = operated(&dir, FILE);
        let plan = operated.plan();
        for broken in [
            FILE.replace("trunk:a", "trunk:b"),
            format!("{FILE}[[["),
            String::from("[trunk.a]\nservers = 3\n"),
        ] {
            rewrite(&dir, &broken);
            let complaints = operated.reload().unwrap_err();
            assert!(complaints[0].contains("line"), "{complaints:?}");
            assert_eq!(plan.borrow().rules.len(), 1);
            assert_eq!(operated.lines().borrow().trunks.len(), 1);
        }
        rewrite(
            &dir,
            &format!("{FILE}[trunk.b]\nservers = \"b\"\ntls_roots = \"/nowhere.pem\"\n"),
        );
        let complaints = operated.reload().unwrap_err();
        assert!(
            complaints[0].starts_with("trunk.b.tls_roots: /nowhere.pem cannot be read"),
            "{complaints:?}"
        );
        assert_eq!(operated.lines().borrow().trunks.len(), 1);
    }

    #[test]
    fn other_settings_are_told_to_need_a_restart_until_they_are_as_at_the_start() {
        let dir = test_dir();
        let operated = operated(&dir, FILE);
        rewrite(
            &dir,
            &format!("[calls]\nringback = \"us\"\n[admin]\ntoken = \"geheim\"\n{FILE}"),
        );
        for _ in 0..2 {
            let taken = operated.reload().unwrap();
            assert_eq!(taken.needs_restart, ["admin.token", "calls.ringback"]);
            assert!(!taken.sentences().concat().contains("geheim"));
        }
        rewrite(&dir, &format!("[calls]\nringback = \"eu\"\n{FILE}"));
        assert!(
            operated.reload().unwrap().needs_restart.is_empty(),
            "the default, written down"
        );
    }

    #[tokio::test]
    async fn a_certificate_that_was_renewed_is_taken_up_by_itself() {
        let dir = test_dir();
        let roots = dir.path().join("roots.pem");
        std::fs::write(&roots, "old").unwrap();
        let file = format!(
            "[trunk.a]\nservers = \"a\"\ntls_roots = \"{}\"\n",
            roots.display()
        );
        let operated = Arc::new(operated(&dir, &file));
        let mut lines = operated.lines();
        assert_eq!(
            lines.borrow_and_update().trunks[0]
                .tls
                .as_ref()
                .unwrap()
                .roots_pem,
            "old"
        );
        let watching = tokio::spawn(operated.watch_files());
        std::fs::write(&roots, "renewed").unwrap();
        let changed = tokio::time::timeout(Duration::from_secs(20), lines.changed()).await;
        changed.unwrap().unwrap();
        assert_eq!(
            lines.borrow().trunks[0].tls.as_ref().unwrap().roots_pem,
            "renewed"
        );
        watching.abort();
    }

    #[tokio::test]
    async fn a_running_gateway_takes_up_a_phone_that_was_added() {
        let dir = test_dir();
        let operated = Arc::new(operated(&dir, FILE));
        let mut lines = operated.lines();
        assert!(lines.borrow_and_update().phones.is_empty());
        let watching = tokio::spawn(operated.watch_files());
        let mut phone = phones::Record::new("alice");
        phone.set_password("office", "geheim").unwrap();
        let store = phones::Store::new(dir.path());
        store
            .change(|book| book.add("office".into(), phone))
            .unwrap();
        let changed = tokio::time::timeout(Duration::from_secs(20), lines.changed()).await;
        changed.unwrap().unwrap();
        assert_eq!(lines.borrow().phones[0].user, "alice");
        watching.abort();
    }
}
