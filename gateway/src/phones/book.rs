//! All phones with their realm, and what an operator may do to them.

use serde::{Deserialize, Serialize};
use signaling_sip::digest::Hash;
use signaling_sip::digest::server::ha1;
use signaling_trunk::lines::PhoneSpec;
use signaling_trunk::registrar::MAX_CONTACTS;
use std::path::Path;

/// Most phones; one more is refused.
const PHONES: usize = 100_000;
/// Longest user, display name, realm and password.
const TEXT: usize = 128;
/// Where the configuration names no realm.
pub const USUAL_REALM: &str = "trunkgate";

/// Holds hashes, so that it has no `Debug`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Book {
    /// Fixed by the first phone, free again after the last.
    #[serde(default)]
    realm: String,
    #[serde(default, rename = "phone")]
    phones: Vec<Record>,
}

#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Record {
    pub user: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub display: String,
    /// The trunk that its registration is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trunk: Option<String>,
    /// 0: as many as usual.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_contacts: u32,
    ha1_md5: String,
    ha1_sha256: String,
    ha1_sha512_256: String,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

impl Record {
    /// Without a password yet.
    pub fn new(user: &str) -> Record {
        Record {
            user: user.to_owned(),
            ..Record::default()
        }
    }

    /// Keeps what a password is worth in this realm.
    ///
    /// # Errors
    /// A sentence.
    pub fn set_password(&mut self, realm: &str, password: &str) -> Result<(), String> {
        if password.is_empty() || password.len() > TEXT || password.chars().any(char::is_control) {
            return Err(format!(
                "A password has 1 to {TEXT} bytes and no control characters."
            ));
        }
        let of = |hash| ha1(hash, &self.user, realm, password);
        (self.ha1_md5, self.ha1_sha256, self.ha1_sha512_256) =
            (of(Hash::Md5), of(Hash::Sha256), of(Hash::Sha512_256));
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_.!~*'()+&=$".contains(&b);
        if self.user.is_empty() || self.user.len() > TEXT || !self.user.bytes().all(fits) {
            return Err(format!(
                "A phone's user is up to {TEXT} letters, digits and -_.!~*'()+&=$, as in 201 or alice."
            ));
        }
        if self.display.len() > TEXT || self.display.chars().any(char::is_control) {
            return Err(format!(
                "A display name has up to {TEXT} bytes and no control characters."
            ));
        }
        if usize::try_from(self.max_contacts).is_ok_and(|most| most > MAX_CONTACTS) {
            return Err(format!("A phone has {MAX_CONTACTS} contacts at most."));
        }
        let hashes = [
            (&self.ha1_md5, Hash::Md5),
            (&self.ha1_sha256, Hash::Sha256),
            (&self.ha1_sha512_256, Hash::Sha512_256),
        ];
        for (ha1, hash) in hashes {
            let is_hex = ha1
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
            if !ha1.is_empty() && (ha1.len() != hash.hex_len() || !is_hex) {
                return Err(format!(
                    "The {} hash of {} is none.",
                    hash.name(),
                    self.user
                ));
            }
        }
        Ok(())
    }
}

impl Book {
    /// Reads the file's text.
    pub fn read(text: &str) -> Result<Book, String> {
        let book: Book = toml::from_str(text).map_err(|error| {
            // The whole error shows the line, which may hold a hash.
            let start = error.span().map_or(0, |span| span.start);
            let before = text.get(..start).unwrap_or_default();
            format!(
                "line {}: {}",
                1 + before.matches('\n').count(),
                error.message()
            )
        })?;
        if !book.phones.is_empty() {
            check_realm(&book.realm)?;
        }
        let mut seen = std::collections::BTreeSet::new();
        for phone in &book.phones {
            phone.check()?;
            if !seen.insert(&phone.user) {
                return Err(format!("The phone {} is there twice.", phone.user));
            }
        }
        Ok(book)
    }

    pub fn write(&self) -> Result<String, String> {
        let body = toml::to_string(self).map_err(|error| error.to_string())?;
        Ok(format!(
            "# Who may register to this gateway. `trunkgate add phone`, `update phone` and `remove phone` write this file, and a\n\
             # running gateway takes a change up. Its hashes are as good as passwords: only its owner may read it.\n\n{body}"
        ))
    }

    pub fn realm(&self) -> &str {
        &self.realm
    }

    pub fn phones(&self) -> &[Record] {
        &self.phones
    }

    /// The realm that hashes are made for: the file's where it has phones, else the configuration's.
    ///
    /// # Errors
    /// A sentence: the two differ.
    pub fn realm_for(&self, configured: &str, file: &Path) -> Result<String, String> {
        self.fits(configured, file)?;
        let realm = match (self.phones.is_empty(), configured) {
            (false, _) => &self.realm,
            (true, "") => USUAL_REALM,
            (true, configured) => configured,
        };
        check_realm(realm)?;
        Ok(realm.to_owned())
    }

    /// Whether the phones were made for the realm that the configuration names.
    pub fn fits(&self, configured: &str, file: &Path) -> Result<(), String> {
        if configured.is_empty() || self.phones.is_empty() || configured == self.realm {
            return Ok(());
        }
        let (count, file, realm) = (self.phones.len(), file.display(), &self.realm);
        Err(format!(
            "registrar.realm is \"{configured}\", but the phones in {file} ({count}) were added for \"{realm}\", and what is \
             kept of their passwords counts for that realm alone. Set registrar.realm back to \"{realm}\", or take the \
             phones away (`trunkgate remove phone`) and add them again with their passwords."
        ))
    }

    pub fn by_user(&self, user: &str) -> Result<&Record, String> {
        let found = self.phones.iter().find(|phone| phone.user == user);
        found.ok_or_else(|| {
            let near = self
                .phones
                .iter()
                .find(|phone| phone.user.eq_ignore_ascii_case(user));
            let hint = match near {
                Some(near) => format!("did you mean {}?", near.user),
                None => "`trunkgate show phones` lists all.".to_owned(),
            };
            format!("There is no phone \"{}\"; {hint}", user.escape_debug())
        })
    }

    pub fn add(&mut self, realm: String, record: Record) -> Result<(), String> {
        record.check()?;
        if self.phones.iter().any(|phone| phone.user == record.user) {
            return Err(format!(
                "There is a phone {0} already: `trunkgate update phone {0}` changes it.",
                record.user
            ));
        }
        if self.phones.len() >= PHONES {
            return Err(format!(
                "There are {PHONES} phones already, which is the most."
            ));
        }
        self.realm = realm;
        self.phones.push(record);
        Ok(())
    }

    pub fn update(
        &mut self,
        user: &str,
        change: impl FnOnce(&mut Record) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut record = self.by_user(user)?.clone();
        change(&mut record)?;
        record.check()?;
        self.phones
            .iter_mut()
            .filter(|phone| phone.user == user)
            .for_each(|phone| phone.clone_from(&record));
        Ok(())
    }

    pub fn remove(&mut self, user: &str) -> Result<(), String> {
        self.by_user(user)?;
        self.phones.retain(|phone| phone.user != user);
        if self.phones.is_empty() {
            self.realm.clear();
        }
        Ok(())
    }

    /// For the trunk role.
    pub fn specs(&self) -> (String, Vec<PhoneSpec>) {
        let spec = |phone: &Record| PhoneSpec {
            user: phone.user.clone(),
            display: phone.display.clone(),
            ha1_md5: phone.ha1_md5.clone(),
            ha1_sha256: phone.ha1_sha256.clone(),
            ha1_sha512_256: phone.ha1_sha512_256.clone(),
            trunk: phone.trunk.clone(),
            max_contacts: phone.max_contacts,
        };
        (self.realm.clone(), self.phones.iter().map(spec).collect())
    }
}

/// It stands in quotes and behind an `@`.
pub fn check_realm(realm: &str) -> Result<(), String> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    if realm.is_empty() || realm.len() > TEXT || !realm.bytes().all(fits) {
        return Err(
            "A realm is a word like a domain: letters, digits, dots, - and _, as in office.example."
                .to_owned(),
        );
    }
    Ok(())
}
