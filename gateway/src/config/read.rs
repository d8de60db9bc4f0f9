//! Takes settings out of the table one by one, and complains about each that is wrong instead of stopping
//! at the first.

use super::source::{Setting, Settings, Value};
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::Path;

pub struct Reader {
    /// See [`super::Surroundings::secrets_elsewhere`].
    secrets_elsewhere: bool,
    settings: Settings,
    known: BTreeSet<String>,
    pub complaints: Vec<String>,
    /// The environment, for secrets that are kept there.
    variables: Vec<(String, String)>,
}

/// How a value reads back in a complaint; secrets do not.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    Plainly,
    Secret,
}

/// Stands for a secret that only the gateway can read.
const ELSEWHERE: &str = "(the gateway's own)";

impl Reader {
    pub fn new(
        settings: Settings,
        complaints: Vec<String>,
        variables: Vec<(String, String)>,
        secrets_elsewhere: bool,
    ) -> Reader {
        Reader {
            secrets_elsewhere,
            settings,
            known: BTreeSet::new(),
            complaints,
            variables,
        }
    }

    /// One text. `parse` says what is wrong with it, as the end of a sentence that begins with the setting.
    pub fn text<T>(
        &mut self,
        name: &str,
        default: &str,
        shown: Shown,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let setting = self.take(name);
        let text = match &setting {
            None => default.to_owned(),
            Some(setting) => match &setting.value {
                Value::Text(text) => text.clone(),
                Value::Integer(_) | Value::Flag(_) | Value::Other(_) if !from_file(setting) => {
                    setting.written.clone()
                }
                other => {
                    return self.complain(name, Some(setting), shown, &wants("a text", other));
                }
            },
        };
        match parse(&text) {
            Ok(value) => Some(value),
            Err(why) => self.complain(name, setting.as_ref(), shown, &why),
        }
    }

    /// A secret: the text itself, `file:PATH` for what that file holds, or `env:NAME` for an environment variable.
    pub fn secret(&mut self, name: &str) -> Option<String> {
        let variables = std::mem::take(&mut self.variables);
        let elsewhere = self.secrets_elsewhere;
        let read = |text: &str| {
            if let Some(path) = text.strip_prefix("file:") {
                secret_of_file(Path::new(path))
            } else if let Some(variable) = text.strip_prefix("env:") {
                let found = variables.iter().find(|(name, _)| name == variable);
                found
                    .map(|(_, value)| value.clone())
                    .filter(|value| !value.is_empty())
                    .ok_or_else(|| {
                        format!("names the environment variable {variable}, which is not set")
                    })
            } else {
                Ok(text.to_owned())
            }
        };
        let secret = self.text(name, "", Shown::Secret, |text| match read(text) {
            Err(_) if elsewhere => Ok(ELSEWHERE.to_owned()),
            read => read,
        });
        self.variables = variables;
        secret
    }

    /// The names of the tables in a table: `carrier` and `pbx` where there are `[trunk.carrier]` and `[trunk.pbx]`.
    pub fn sections(&self, table: &str) -> Vec<String> {
        let begin = format!("{table}.");
        let names: BTreeSet<&str> = self
            .settings
            .keys()
            .filter_map(|name| name.strip_prefix(&begin)?.split_once('.'))
            .map(|(section, _)| section)
            .collect();
        names.into_iter().map(str::to_owned).collect()
    }

    /// The numbers of an array's entries: 1 and 2 where there are `route[1].match` and `route[2].match`.
    pub fn entries(&self, array: &str) -> Vec<usize> {
        let begin = format!("{array}[");
        let numbers = self.settings.keys().filter_map(|name| {
            let (number, _) = name.strip_prefix(&begin)?.split_once(']')?;
            number.parse().ok()
        });
        let numbers: BTreeSet<usize> = numbers.collect();
        numbers.into_iter().collect()
    }

    /// The keys of a table that are chosen by who writes it.
    pub fn keys_of(&self, table: &str) -> Vec<String> {
        let begin = format!("{table}.");
        let keys = self
            .settings
            .keys()
            .filter_map(|name| name.strip_prefix(&begin));
        keys.map(str::to_owned).collect()
    }

    /// A list of whole numbers; `Some(None)`: nothing is said.
    pub fn integers(&mut self, name: &str, range: RangeInclusive<i64>) -> Option<Option<Vec<i64>>> {
        let Some(setting) = self.take(name) else {
            return Some(None);
        };
        let one = |value: &Value| match value {
            Value::Integer(n) if range.contains(n) => Some(*n),
            _ => None,
        };
        let all: Option<Vec<i64>> = match &setting.value {
            Value::List(items) => items.iter().map(one).collect(),
            value => one(value).map(|n| vec![n]),
        };
        match all {
            Some(all) => Some(Some(all)),
            None => {
                let why = format!(
                    "is not a list of whole numbers from {} to {}",
                    range.start(),
                    range.end()
                );
                self.complain(name, Some(&setting), Shown::Plainly, &why)
            }
        }
    }

    pub fn has(&self, name: &str) -> bool {
        self.settings.contains_key(name)
    }

    /// A setting that is only there where it is written.
    pub fn know(&mut self, name: &str) {
        self.known.insert(name.to_owned());
    }

    /// Where a section begins, for complaints about what is missing in it.
    pub fn place_of_section(&self, section: &str) -> String {
        let begin = format!("{section}.");
        let places = self
            .settings
            .iter()
            .filter(|(name, _)| name.starts_with(&begin))
            .map(|(_, setting)| &setting.place);
        let first = places.min_by_key(|place| match place {
            super::source::Place::File { line, .. } => *line,
            super::source::Place::Environment(_) | super::source::Place::CommandLine => usize::MAX,
        });
        first.map_or_else(String::new, |place| format!(" ({place})"))
    }

    /// A list of texts; a lone text is a list of one.
    pub fn list<T>(
        &mut self,
        name: &str,
        default: &[&str],
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let setting = self.take(name);
        let texts: Vec<String> = match setting.as_ref().map(|setting| &setting.value) {
            None => default.iter().map(|text| (*text).to_owned()).collect(),
            Some(Value::Text(text)) if text.is_empty() => Vec::new(),
            Some(Value::Text(text)) => vec![text.clone()],
            Some(Value::List(items)) => {
                let mut texts = Vec::new();
                for item in items {
                    match item {
                        Value::Text(text) => texts.push(text.clone()),
                        other => {
                            let why = wants("a list of texts", other);
                            return self.complain(name, setting.as_ref(), Shown::Plainly, &why);
                        }
                    }
                }
                texts
            }
            Some(other) => {
                let why = wants("a list of texts", other);
                return self.complain(name, setting.as_ref(), Shown::Plainly, &why);
            }
        };
        let mut values = Vec::new();
        let mut whole = true;
        for text in &texts {
            match parse(text) {
                Ok(value) => values.push(value),
                Err(why) => {
                    whole = false;
                    let why = format!("has an entry \"{}\" that {why}", shorten(text));
                    let _: Option<()> = self.complain_bare(name, setting.as_ref(), &why);
                }
            }
        }
        whole.then_some(values)
    }

    pub fn integer(
        &mut self,
        name: &str,
        default: i64,
        range: RangeInclusive<i64>,
        unit: &str,
    ) -> Option<i64> {
        let setting = self.take(name);
        let value = match setting.as_ref().map(|setting| &setting.value) {
            None => Ok(default),
            Some(Value::Integer(value)) => Ok(*value),
            // A quoted number, as shells and charts like to write them.
            Some(Value::Text(text)) => text.trim().parse().map_err(|_| ()),
            Some(_) => Err(()),
        };
        match value {
            Ok(value) if range.contains(&value) => Some(value),
            _ => {
                let why = format!(
                    "is not a whole number from {} to {}{unit}",
                    range.start(),
                    range.end()
                );
                self.complain(name, setting.as_ref(), Shown::Plainly, &why)
            }
        }
    }

    /// `true` or `false`, quoted or not.
    pub fn flag(&mut self, name: &str, default: bool) -> Option<bool> {
        let setting = self.take(name);
        let value = match setting.as_ref().map(|setting| &setting.value) {
            None => Some(default),
            Some(Value::Flag(value)) => Some(*value),
            Some(Value::Text(text)) => text.trim().parse().ok(),
            Some(Value::Integer(_) | Value::List(_) | Value::Other(_)) => None,
        };
        match value {
            Some(value) => Some(value),
            None => {
                let why = "is neither true nor false";
                self.complain(name, setting.as_ref(), Shown::Plainly, why)
            }
        }
    }

    /// Where a setting was made, for complaints about settings that do not go together.
    pub fn place(&self, name: &str) -> String {
        self.settings.get(name).map_or_else(
            || " (the default)".to_owned(),
            |s| format!(" ({})", s.place),
        )
    }

    /// What nobody asked for is unknown, and probably a slip of the pen.
    pub fn finish(mut self) -> Vec<String> {
        for (name, setting) in &self.settings {
            if self.known.contains(name.as_str()) {
                continue;
            }
            let hint = match nearest(name, &self.known) {
                Some(near) => format!("did you mean {near}?"),
                None => "`trunkgate --help` tells where all settings are described.".to_owned(),
            };
            self.complaints
                .push(format!("{name} ({}) is no setting; {hint}", setting.place));
        }
        self.complaints
    }

    pub fn names(&self) -> Vec<String> {
        self.known.iter().cloned().collect()
    }

    fn take(&mut self, name: &str) -> Option<Setting> {
        self.known.insert(name.to_owned());
        self.settings.get(name).cloned()
    }

    fn complain<T>(
        &mut self,
        name: &str,
        setting: Option<&Setting>,
        shown: Shown,
        why: &str,
    ) -> Option<T> {
        let written = match (setting, shown) {
            (Some(setting), Shown::Plainly) => format!("= {} ", shorten(&setting.written)),
            _ => String::new(),
        };
        self.complain_bare(name, setting, &format!("{written}{why}"))
    }

    fn complain_bare<T>(&mut self, name: &str, setting: Option<&Setting>, why: &str) -> Option<T> {
        let place = setting.map_or_else(
            || "the default".to_owned(),
            |setting| setting.place.to_string(),
        );
        self.complaints.push(format!("{name} {why} ({place})."));
        None
    }
}

fn from_file(setting: &Setting) -> bool {
    matches!(setting.place, super::source::Place::File { .. })
}

/// What a file of one secret holds, without the line break that editors leave.
fn secret_of_file(path: &Path) -> Result<String, String> {
    /// Longer is no password.
    const MOST: usize = 4096;
    let text = std::fs::read_to_string(path).map_err(|error| {
        format!(
            "names the file {}, which cannot be read: {error}",
            path.display()
        )
    })?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() {
        Err(format!("names the file {}, which is empty", path.display()))
    } else if secret.len() > MOST || secret.contains(['\r', '\n']) {
        Err(format!(
            "names the file {}, which holds more than one line",
            path.display()
        ))
    } else {
        Ok(secret.to_owned())
    }
}

fn wants(what: &str, got: &Value) -> String {
    let got = match got {
        Value::Text(_) => "a text",
        Value::Integer(_) => "a number",
        Value::Flag(_) => "a boolean",
        Value::List(_) => "a list",
        Value::Other(what) => what,
    };
    format!("wants {what} and is {got}")
}

/// Complaints stay one line.
fn shorten(text: &str) -> String {
    let line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(80)
        .collect();
    if text.chars().count() > 80 {
        format!("{line}…")
    } else {
        line
    }
}

/// The known name that needs the fewest changes, if that is few enough to have been meant.
pub fn nearest<'a>(name: &str, known: &'a BTreeSet<String>) -> Option<&'a str> {
    let bare = |name: &str| name.replace(['.', '_', '-'], "");
    known
        .iter()
        .map(|candidate| {
            // The right last word in the wrong section is a likely slip, too.
            let same_end = candidate.rsplit('.').next() == name.rsplit('.').next();
            let distance = distance(&bare(name), &bare(candidate));
            (
                if same_end { distance.min(2) } else { distance },
                candidate.as_str(),
            )
        })
        .min()
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 5)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let here = row[j + 1];
            row[j + 1] = (corner + usize::from(x != *y))
                .min(here + 1)
                .min(row[j] + 1);
            corner = here;
        }
    }
    row[b.len()]
}
