//! All applications, and what an operator may do to them (protocol §6).

use super::record::{Record, all_methods};
use serde::{Deserialize, Serialize};
use signaling_backend::Apps;
use signaling_protocol::HookMethod;
use std::sync::Arc;

/// Most applications; one more is refused.
const APPS: usize = 1000;

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Book {
    #[serde(default, rename = "app")]
    apps: Vec<Record>,
}

impl Default for Book {
    /// What is there from the start, and works without a backend.
    fn default() -> Book {
        let built_in = |key: &str| Record {
            name: key.to_owned(),
            key: key.to_owned(),
            methods: all_methods(),
            ..Record::default()
        };
        Book {
            apps: ["defaultApp", "clickToCallApp", "roomApp"]
                .map(built_in)
                .into(),
        }
    }
}

impl Book {
    /// Reads the file's text.
    pub fn read(text: &str) -> Result<Book, String> {
        let book: Book = toml::from_str(text).map_err(|error| {
            // The whole error shows the line, which may hold a secret.
            let line = error.span().map_or(1, |span| {
                1 + text[..span.start.min(text.len())].matches('\n').count()
            });
            format!("line {line}: {}", error.message())
        })?;
        for (i, record) in book.apps.iter().enumerate() {
            record.check()?;
            unique(book.apps.iter().take(i), record)?;
        }
        Ok(book)
    }

    pub fn write(&self) -> Result<String, String> {
        let body = toml::to_string(self).map_err(|error| error.to_string())?;
        Ok(format!(
            "# The applications of this gateway. `trunkgate add app`, `update app` and the like write this file, and a running\n\
             # gateway takes a change up. It holds passwords: only its owner may read it.\n\n{body}"
        ))
    }

    pub fn apps(&self) -> &[Record] {
        &self.apps
    }

    pub fn by_name(&self, name: &str) -> Result<&Record, String> {
        let found = self.apps.iter().find(|app| app.name == name);
        found.ok_or_else(|| self.no_such("name", name, |app| &app.name))
    }

    pub fn by_key(&self, key: &str) -> Result<&Record, String> {
        let found = self.apps.iter().find(|app| app.key == key);
        found.ok_or_else(|| self.no_such("appKey", key, |app| &app.key))
    }

    pub fn add(&mut self, record: Record) -> Result<(), String> {
        record.check()?;
        unique(self.apps.iter(), &record)?;
        if self.apps.len() >= APPS {
            return Err(format!(
                "There are {APPS} applications already, which is the most."
            ));
        }
        self.apps.push(record);
        Ok(())
    }

    pub fn update(&mut self, name: &str, change: impl FnOnce(&mut Record)) -> Result<(), String> {
        let mut record = self.by_name(name)?.clone();
        change(&mut record);
        record.check()?;
        unique(self.apps.iter().filter(|app| app.name != name), &record)?;
        self.apps
            .iter_mut()
            .filter(|app| app.name == name)
            .for_each(|app| app.clone_from(&record));
        Ok(())
    }

    pub fn remove(&mut self, name: &str) -> Result<(), String> {
        self.by_name(name)?;
        self.apps.retain(|app| app.name != name);
        Ok(())
    }

    /// Turns hooks of an application on or off, and tells how many that changed.
    pub fn switch(&mut self, key: &str, methods: &[HookMethod], on: bool) -> Result<usize, String> {
        let name = self.by_key(key)?.name.clone();
        let mut changed = 0;
        self.update(&name, |app| {
            for method in methods {
                changed += usize::from(if on {
                    app.methods.insert(*method)
                } else {
                    app.methods.remove(method)
                });
            }
        })?;
        Ok(changed)
    }

    /// For the signaling role.
    pub fn serve(&self, hooks: bool) -> Apps {
        let apps = self
            .apps
            .iter()
            .map(|app| (app.key.clone(), Arc::new(app.app(hooks))));
        Apps {
            by_key: apps.collect(),
        }
    }

    fn no_such(&self, what: &str, wanted: &str, of: impl Fn(&Record) -> &String) -> String {
        let near = self.apps.iter().find(|app| {
            let other = of(app);
            other.eq_ignore_ascii_case(wanted)
        });
        let other_word = self
            .apps
            .iter()
            .find(|app| app.name == wanted || app.key == wanted);
        let hint = match (near, other_word) {
            (Some(near), _) => format!("did you mean {}?", of(near)),
            (None, Some(app)) => format!("its name is {}, its appKey {}.", app.name, app.key),
            (None, None) => "`trunkgate show apps` lists all.".to_owned(),
        };
        format!("No application has the {what} \"{wanted}\"; {hint}")
    }
}

fn unique<'a>(mut others: impl Iterator<Item = &'a Record>, record: &Record) -> Result<(), String> {
    let same = others.find(|other| other.name == record.name || other.key == record.key);
    match same {
        Some(other) if other.name == record.name => Err(format!(
            "There is an application named {} already.",
            other.name
        )),
        Some(other) => Err(format!(
            "The appKey {} is that of the application {} already.",
            other.key, other.name
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signaling_backend::RawSip;

    fn shop() -> Record {
        Record {
            name: "shop".into(),
            key: "shopKey".into(),
            url: "http://backend:8081/hooks".into(),
            ..Record::default()
        }
    }

    fn whole() -> Record {
        Record {
            owner: "ann".into(),
            rest_user: "user".into(),
            rest_password: "geheim".into(),
            methods: [HookMethod::Connect, HookMethod::SendDtmf].into(),
            origins: vec!["https://shop.example".into()],
            hook_secret: "secret".into(),
            password_over_http: true,
            sip_message_raw: Some(RawSip::StatusLine),
            max_sessions: 7,
            connections_per_second: 8,
            messages_per_second: 9,
            rest_client_config: r#"{"call":{"restOnError":"FAIL"}}"#.into(),
            ..shop()
        }
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        let mut book = Book::default();
        book.add(whole()).unwrap();
        let text = book.write().unwrap();
        assert!(Book::read(&text).unwrap() == book, "{text}");
        assert!(Book::read("").unwrap().apps().is_empty());
    }

    #[test]
    fn the_applications_from_the_start_work_without_a_backend_and_have_every_hook_on() {
        let apps = Book::default().serve(true).by_key;
        assert_eq!(
            apps.keys().collect::<Vec<_>>(),
            ["clickToCallApp", "defaultApp", "roomApp"]
        );
        assert!(
            apps.values()
                .all(|app| app.url.is_empty() && app.methods == all_methods())
        );
    }

    #[test]
    fn names_and_keys_are_unique_and_a_slip_is_met_with_a_hint() {
        let mut book = Book::default();
        book.add(shop()).unwrap();
        let mut same = shop();
        assert!(
            book.add(same.clone())
                .unwrap_err()
                .contains("named shop already")
        );
        same.name = "other".into();
        assert!(
            book.add(same)
                .unwrap_err()
                .contains("appKey shopKey is that of the application shop")
        );
        let moved = book.update("shop", |app| app.key = "defaultApp".into());
        assert!(
            moved
                .unwrap_err()
                .contains("application defaultApp already")
        );
        assert_eq!(book.update("shop", |app| app.key = "newKey".into()), Ok(()));
        assert!(
            book.remove("Shop")
                .unwrap_err()
                .contains("did you mean shop?")
        );
        assert!(
            book.remove("newKey")
                .unwrap_err()
                .contains("its name is shop")
        );
        assert!(
            book.switch("shop", &[], true)
                .unwrap_err()
                .contains("its appKey newKey")
        );
        assert_eq!(book.remove("shop"), Ok(()));
        assert!(book.remove("shop").unwrap_err().contains("show apps"));
    }

    #[test]
    fn a_new_application_has_no_hook_on_and_switching_tells_what_changed() {
        let mut book = Book::default();
        book.add(shop()).unwrap();
        assert!(book.by_key("shopKey").unwrap().methods.is_empty());
        let two = [HookMethod::Call, HookMethod::Connect];
        assert_eq!(book.switch("shopKey", &two[..1], true), Ok(1));
        assert_eq!(book.switch("shopKey", &two, true), Ok(1));
        assert_eq!(book.switch("shopKey", HookMethod::ALL, false), Ok(2));
    }

    #[test]
    fn a_file_that_was_changed_by_hand_and_is_wrong_is_told_by_line_and_without_its_secrets() {
        let text = "[[app]]\nname = \"a\"\nkey = \"a\"\nhook_secret = \"geheim\nurl = \"\"\n";
        let told = Book::read(text).err().unwrap();
        assert!(
            told.starts_with("line 4") && !told.contains("geheim"),
            "{told}"
        );
        let told = Book::read("[[app]]\nname = \"a\"\nkey = \"a\"\nhook_secert = \"geheim\"\n")
            .err()
            .unwrap();
        assert!(
            told.contains("hook_secert") && !told.contains("geheim"),
            "{told}"
        );
        let twice = "[[app]]\nname = \"a\"\nkey = \"a\"\n[[app]]\nname = \"b\"\nkey = \"a\"\n";
        assert!(Book::read(twice).err().unwrap().contains("appKey a"));
    }
}
