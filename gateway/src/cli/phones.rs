//! The commands for phones: who may register to us.

use super::Where;
use super::apps::read;
use crate::phones::{Record, Store};
use clap::Args;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// What the configuration says of phones.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Empty: none is named.
    pub realm: String,
    /// Trunks that register to us.
    pub accepting: Vec<String>,
}

#[derive(Debug, Args)]
pub struct AddPhone {
    /// What it registers as, and its number or name in the dial plan.
    #[arg(value_name = "user")]
    user: String,
    #[command(flatten)]
    rest: Options,
    /// The password from a file's first line; - is the standard input. Without it one is drawn and shown, once.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    #[command(flatten)]
    pub(super) place: Where,
}

#[derive(Debug, Args)]
pub struct UpdatePhone {
    #[arg(value_name = "user")]
    user: String,
    #[command(flatten)]
    rest: Options,
    /// A new password from a file's first line; - is the standard input. Its registrations end.
    #[arg(long, value_name = "FILE", conflicts_with = "new_password")]
    password_file: Option<PathBuf>,
    /// Draws a new password and shows it, once. Its registrations end.
    #[arg(long)]
    new_password: bool,
    #[command(flatten)]
    pub(super) place: Where,
}

#[derive(Debug, Args)]
struct Options {
    /// Who it is, for those whom it calls; "" is nothing.
    #[arg(long, value_name = "NAME")]
    display: Option<String>,
    /// The trunk of the configuration that registers so (mode = "accept"); "" is none.
    #[arg(long, value_name = "TRUNK")]
    trunk: Option<String>,
    /// Contacts at once; 0 is the usual number.
    #[arg(long, value_name = "N")]
    max_contacts: Option<u32>,
}

impl AddPhone {
    pub(super) fn run(self, data_dir: &Path, rules: &Rules) -> Result<String, String> {
        let store = Store::new(data_dir);
        let (password, drawn) = match &self.password_file {
            Some(file) => (first_line(file)?, false),
            None => (drawn_password()?, true),
        };
        let mut record = Record::new(&self.user);
        let hint = self.rest.hint(rules);
        self.rest.apply(&mut record);
        let user = record.user.clone();
        let realm = store.change(|book| {
            let realm = book.realm_for(&rules.realm, &store.path())?;
            record.set_password(&realm, &password)?;
            book.add(realm.clone(), record)?;
            Ok(realm)
        })?;
        let mut told = format!(
            "Phone {user} is added. It registers as {user}, with the domain of this gateway's address; the realm is {realm}.\n"
        );
        if drawn {
            let _ = writeln!(
                told,
                "Its password, which is shown this once:\n  {password}"
            );
        }
        Ok(told + &hint + &kept(&store))
    }
}

impl UpdatePhone {
    pub(super) fn run(self, data_dir: &Path, rules: &Rules) -> Result<String, String> {
        let store = Store::new(data_dir);
        let password = match &self.password_file {
            Some(file) => Some(first_line(file)?),
            None if self.new_password => Some(drawn_password()?),
            None => None,
        };
        let hint = self.rest.hint(rules);
        let (user, rest) = (self.user, self.rest);
        store.change(|book| {
            let realm = book.realm_for(&rules.realm, &store.path())?;
            book.update(&user, |record| {
                rest.apply(record);
                match &password {
                    Some(password) => record.set_password(&realm, password),
                    None => Ok(()),
                }
            })
        })?;
        let mut told = format!("Phone {user} is updated.\n");
        if let (Some(password), true) = (password, self.new_password) {
            let _ = writeln!(
                told,
                "Its new password, which is shown this once:\n  {password}"
            );
        }
        Ok(told + &hint + &kept(&store))
    }
}

impl Options {
    fn apply(self, record: &mut Record) {
        if let Some(display) = self.display {
            record.display = display;
        }
        if let Some(trunk) = self.trunk {
            record.trunk = Some(trunk).filter(|trunk| !trunk.is_empty());
        }
        if let Some(most) = self.max_contacts {
            record.max_contacts = most;
        }
    }

    /// The file of phones and the configuration may be changed in any order.
    fn hint(&self, rules: &Rules) -> String {
        match &self.trunk {
            Some(trunk) if !trunk.is_empty() && !rules.accepting.contains(trunk) => format!(
                "The configuration has no trunk {trunk} with mode = \"accept\" yet: until it does, its calls are nobody's.\n"
            ),
            Some(_) | None => String::new(),
        }
    }
}

pub(super) fn remove(user: &str, data_dir: &Path) -> Result<String, String> {
    let store = Store::new(data_dir);
    store.change(|book| book.remove(user))?;
    Ok(format!(
        "Phone {user} is removed: it may not register any more, and what it registered is gone; calls that it has go on.\n{}",
        kept(&store)
    ))
}

/// Everything but the hashes.
pub(super) fn show(data_dir: &Path) -> Result<String, String> {
    let store = Store::new(data_dir);
    let book = store.load().map_err(|error| format!("{error}."))?;
    if book.phones().is_empty() {
        return Ok("Nobody may register here: trunkgate add phone USER\n".to_owned());
    }
    let mut text = format!("realm {}\n", book.realm());
    let heads = ["USER", "TRUNK", "CONTACTS", "DISPLAY"].map(str::to_owned);
    let rows = book.phones().iter().map(|phone| {
        let most = match phone.max_contacts {
            0 => "usual".to_owned(),
            most => most.to_string(),
        };
        let trunk = phone.trunk.clone().unwrap_or_else(|| "-".to_owned());
        [phone.user.clone(), trunk, most, phone.display.clone()]
    });
    let rows: Vec<[String; 4]> = std::iter::once(heads).chain(rows).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths = [width(0), width(1), width(2)];
    for [user, trunk, most, display] in &rows {
        let line = format!(
            "{user:0$}  {trunk:1$}  {most:2$}  {display}",
            widths[0], widths[1], widths[2]
        );
        let _ = writeln!(text, "{}", line.trim_end());
    }
    Ok(text)
}

fn first_line(file: &Path) -> Result<String, String> {
    let text = read(file)?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err(format!("The first line of {} is empty.", file.display()));
    }
    Ok(line.to_owned())
}

/// 20 characters that are not taken for each other: a hundred bits.
fn drawn_password() -> Result<String, String> {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = [0u8; 20];
    getrandom::fill(&mut bytes)
        .map_err(|error| format!("The operating system gives no randomness: {error}."))?;
    Ok(bytes
        .iter()
        .map(|b| char::from(LETTERS[usize::from(b % 32)]))
        .collect())
}

fn kept(store: &Store) -> String {
    let path = store.path();
    let path = std::path::absolute(&path).unwrap_or(path);
    format!(
        "Kept in {}; a gateway that runs with this data_dir takes it up within seconds.\n",
        path.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{CommandLine, Task};
    use crate::files::test_dir;
    use clap::Parser;

    fn run_with(dir: &Path, rules: &Rules, line: &[&str]) -> Result<String, String> {
        let words = ["trunkgate"].iter().chain(line);
        let line = CommandLine::try_parse_from(words).map_err(|error| error.to_string())?;
        match line.task().0 {
            Task::Apps(command) => command.run(dir, rules),
            other => panic!("{other:?}"),
        }
    }

    fn run(dir: &Path, line: &[&str]) -> Result<String, String> {
        run_with(dir, &Rules::default(), line)
    }

    #[test]
    fn a_phone_is_added_seen_changed_and_removed_and_its_hashes_are_never_shown() {
        let dir = test_dir();
        let dir = dir.path();
        let told = run(dir, &["add", "phone", "alice", "--display", "Alice A."]).unwrap();
        assert!(told.contains("shown this once") && told.contains("realm is trunkgate"));
        let password = told
            .lines()
            .find(|line| line.starts_with("  "))
            .unwrap()
            .trim();
        assert_eq!(password.len(), 20);
        let file = dir.join("password");
        std::fs::write(&file, "geheim\nmore\n").unwrap();
        let file = file.to_str().unwrap();
        let told = run(
            dir,
            &[
                "add",
                "phone",
                "201",
                "--password-file",
                file,
                "--max-contacts",
                "2",
            ],
        );
        assert!(!told.unwrap().contains("geheim"));
        let (_, specs) = crate::phones::load(dir, "").unwrap();
        let told = run(dir, &["show", "phones"]).unwrap();
        assert!(told.contains("alice") && told.contains("Alice A.") && told.contains("201"));
        for spec in &specs {
            for hash in [&spec.ha1_md5, &spec.ha1_sha256, &spec.ha1_sha512_256] {
                assert!(!hash.is_empty() && !told.contains(hash.as_str()));
            }
        }
        let told = run(dir, &["update", "phone", "201", "--new-password"]).unwrap();
        assert!(told.contains("new password"));
        let (_, changed) = crate::phones::load(dir, "").unwrap();
        assert!(changed[0] == specs[0] && changed[1] != specs[1]);
        run(dir, &["remove", "phone", "alice"]).unwrap();
        run(dir, &["remove", "phone", "201"]).unwrap();
        let told = run(dir, &["show", "phones"]).unwrap();
        assert!(told.contains("trunkgate add phone"));
    }

    #[test]
    fn a_phone_is_added_for_the_realm_that_the_others_have_and_for_no_other() {
        let dir = test_dir();
        let dir = dir.path();
        let rules = |realm: &str| Rules {
            realm: realm.into(),
            accepting: vec!["branch".into()],
        };
        let told = run_with(
            dir,
            &rules("office"),
            &["add", "phone", "pbx", "--trunk", "branch"],
        );
        assert!(!told.unwrap().contains("no trunk"));
        let told = run_with(
            dir,
            &rules("office"),
            &["add", "phone", "pbx2", "--trunk", "brunch"],
        );
        assert!(told.unwrap().contains("no trunk brunch"));
        let told = run_with(dir, &rules("other"), &["add", "phone", "bob"]).unwrap_err();
        assert!(
            told.contains("Set registrar.realm back to \"office\""),
            "{told}"
        );
        for wrong in ["", "al ice", "a@b", "\"a\""] {
            assert!(run_with(dir, &rules(""), &["add", "phone", wrong]).is_err());
        }
        assert!(
            run(dir, &["remove", "phone", "PBX"])
                .unwrap_err()
                .contains("did you mean pbx?")
        );
    }
}
