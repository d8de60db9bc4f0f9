//! The file of applications: read whole, replaced whole, watched for changes.

use super::book::Book;
use crate::files::{self, FileError};
use signaling_backend::Apps;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::watch;
use tracing::{error, info};

const FILE: &str = "apps.toml";
/// How often a running gateway looks whether the file is another one.
const LOOK: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
}

impl Store {
    pub fn new(data_dir: &Path) -> Store {
        Store {
            dir: data_dir.to_owned(),
        }
    }

    pub fn path(&self) -> PathBuf {
        self.dir.join(FILE)
    }

    /// The applications from the start where there is no file yet.
    pub fn load(&self) -> Result<Book, FileError> {
        let path = self.path();
        if !path.try_exists().map_err(|error| FileError::Read {
            path: path.clone(),
            error,
        })? {
            return Ok(Book::default());
        }
        Book::read(&files::read_text(&path)?).map_err(|why| FileError::unusable(&path, why))
    }

    /// Changes the file while nobody else does.
    ///
    /// # Errors
    /// A sentence for the operator; then nothing has changed.
    pub fn change<T>(
        &self,
        change: impl FnOnce(&mut Book) -> Result<T, String>,
    ) -> Result<T, String> {
        files::change_private(&self.dir, &self.path(), || self.load(), change, Book::write)
    }

    /// The applications now, and from now on whenever the file is another one. A file that cannot be used changes
    /// nothing and is told once.
    ///
    /// # Errors
    /// The file cannot be used now.
    pub fn watch(self, hooks: bool) -> Result<watch::Receiver<Apps>, FileError> {
        // Before it is read: a change in between is seen at the first look.
        let mut seen = stamp(&self.path());
        let mut book = self.load()?;
        let (tell, told) = watch::channel(book.serve(hooks));
        tokio::spawn(async move {
            let mut look = tokio::time::interval(LOOK);
            while !tell.is_closed() {
                look.tick().await;
                let now = stamp(&self.path());
                if now == seen {
                    continue;
                }
                seen = now;
                match self.load() {
                    Ok(next) if next == book => {}
                    Ok(next) => {
                        info!("applications: {}", difference(&book, &next));
                        book = next;
                        tell.send_replace(book.serve(hooks));
                    }
                    Err(error) => error!(%error, "the applications stay as they were"),
                }
            }
        });
        Ok(told)
    }
}

/// What tells one file from another of the same name.
fn stamp(path: &Path) -> Option<(u64, u64, i64, i64)> {
    let metadata: Metadata = path.metadata().ok()?;
    Some((
        metadata.ino(),
        metadata.size(),
        metadata.mtime(),
        metadata.mtime_nsec(),
    ))
}

/// For the log: names only.
fn difference(old: &Book, new: &Book) -> String {
    let mut parts = Vec::new();
    for app in new.apps() {
        match old.by_name(&app.name) {
            Err(_) => parts.push(format!("{} added", app.name)),
            Ok(was) if was != app => parts.push(format!("{} changed", app.name)),
            Ok(_) => {}
        }
    }
    let gone = old
        .apps()
        .iter()
        .filter(|app| new.by_name(&app.name).is_err());
    parts.extend(gone.map(|app| format!("{} removed", app.name)));
    if parts.is_empty() {
        parts.push("in another order".to_owned());
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apps::Record;
    use crate::files::test_dir;
    use std::os::unix::fs::PermissionsExt;

    fn record(name: &str) -> Record {
        Record {
            name: name.into(),
            key: name.into(),
            hook_secret: "geheim".into(),
            ..Record::default()
        }
    }

    #[test]
    fn the_file_is_its_owners_alone_and_a_change_that_fails_changes_nothing() {
        let dir = test_dir();
        let store = Store::new(&dir.path().join("data"));
        store.change(|book| book.add(record("shop"))).unwrap();
        let mode = store.path().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let before = stamp(&store.path());
        let failed = store.change(|book| {
            book.remove("shop")?;
            book.add(record("defaultApp"))
        });
        assert!(failed.is_err());
        assert_eq!(stamp(&store.path()), before);
        assert_eq!(store.load().unwrap().apps().len(), 4);
    }

    #[test]
    fn changes_at_the_same_time_are_all_kept() {
        let dir = test_dir();
        let store = Store::new(dir.path());
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let store = &store;
                scope.spawn(move || {
                    for n in 0..10 {
                        store
                            .change(|book| book.add(record(&format!("app-{thread}-{n}"))))
                            .unwrap();
                    }
                });
            }
        });
        assert_eq!(store.load().unwrap().apps().len(), 43);
    }

    #[tokio::test]
    async fn a_running_gateway_takes_a_change_up_and_keeps_what_it_has_where_the_file_is_wrong() {
        let dir = test_dir();
        let store = Store::new(dir.path());
        let mut apps = store.clone().watch(true).unwrap();
        assert_eq!(apps.borrow().by_key.len(), 3);
        let next = async |apps: &mut watch::Receiver<Apps>| {
            let changed = tokio::time::timeout(Duration::from_secs(20), apps.changed()).await;
            changed.expect("a change is taken up").unwrap();
            apps.borrow_and_update().by_key.len()
        };
        store.change(|book| book.add(record("shop"))).unwrap();
        assert_eq!(next(&mut apps).await, 4);
        std::fs::write(store.path(), "[[app]]\nname = 7\n").unwrap();
        tokio::time::sleep(LOOK * 2).await;
        assert!(!apps.has_changed().unwrap());
        std::fs::remove_file(store.path()).unwrap();
        assert_eq!(next(&mut apps).await, 3);
        assert!(store.watch(true).is_ok());
    }
}
