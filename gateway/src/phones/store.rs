//! The file of phones: read whole, replaced whole.

use super::book::Book;
use crate::files::{self, FileError};
use std::path::{Path, PathBuf};

const FILE: &str = "phones.toml";

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

    /// Nobody where there is no file.
    pub fn load(&self) -> Result<Book, FileError> {
        let path = self.path();
        let there = path.try_exists();
        let there = there.map_err(|error| FileError::Read {
            path: path.clone(),
            error,
        })?;
        if !there {
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::test_dir;
    use crate::phones::Record;
    use std::os::unix::fs::PermissionsExt;

    fn phone(user: &str) -> Record {
        let mut record = Record::new(user);
        record.set_password("office", "geheim").unwrap();
        record
    }

    #[test]
    fn the_file_of_phones_is_its_owners_alone_and_holds_no_password() {
        let dir = test_dir();
        let store = Store::new(&dir.path().join("data"));
        store
            .change(|book| book.add("office".into(), phone("alice")))
            .unwrap();
        let mode = store.path().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let text = std::fs::read_to_string(store.path()).unwrap();
        assert!(!text.contains("geheim"));
        let (realm, specs) = store.load().unwrap().specs();
        assert_eq!((realm.as_str(), specs.len()), ("office", 1));
        assert_eq!(specs[0].ha1_sha512_256.len(), 64);
        let again = store.change(|book| book.add("office".into(), phone("alice")));
        assert!(again.unwrap_err().contains("update phone alice"));
    }

    #[test]
    fn another_realm_is_refused_with_a_sentence_that_says_what_to_do() {
        let dir = test_dir();
        let store = Store::new(dir.path());
        assert!(
            crate::phones::load(dir.path(), "other").is_ok(),
            "nobody yet"
        );
        store
            .change(|book| book.add("office".into(), phone("alice")))
            .unwrap();
        assert!(crate::phones::load(dir.path(), "").is_ok());
        assert!(crate::phones::load(dir.path(), "office").is_ok());
        let told = crate::phones::load(dir.path(), "other").unwrap_err();
        for part in [
            "registrar.realm is \"other\"",
            "Set registrar.realm back to \"office\"",
            "trunkgate remove phone",
        ] {
            assert!(told.contains(part), "{told}");
        }
        store.change(|book| book.remove("alice")).unwrap();
        assert!(
            crate::phones::load(dir.path(), "other").is_ok(),
            "free again"
        );
    }

    #[test]
    fn a_file_that_was_spoiled_by_hand_is_told_without_its_hashes() {
        let dir = test_dir();
        let store = Store::new(dir.path());
        store
            .change(|book| book.add("office".into(), phone("alice")))
            .unwrap();
        let text = std::fs::read_to_string(store.path()).unwrap();
        let hash = phone("alice");
        let hash = Book::default()
            .add("office".into(), hash)
            .map(|()| {
                text.split("ha1_md5 = \"")
                    .nth(1)
                    .unwrap()
                    .get(..32)
                    .unwrap()
            })
            .unwrap();
        for spoiled in [
            text.replace(hash, &hash[..31]),
            text.replace("ha1_md5", "ha1_md4"),
            text.replace("alice", "al ice"),
            text.replace("realm = \"office\"", "realm = \"off ice\""),
        ] {
            std::fs::write(store.path(), spoiled).unwrap();
            let told = match store.load() {
                Err(error) => error.to_string(),
                Ok(_) => panic!("it was taken"),
            };
            assert!(!told.contains(&hash[..31]), "{told}");
        }
    }
}
