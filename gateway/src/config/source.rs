//! Where settings come from: file, environment, command line. All become one table from the setting's whole
//! name to its value and its place, the later ones over the earlier.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use toml::de::{DeArray, DeTable, DeValue};

/// Environment variables of ours begin so; `__` stands for the dot of a name.
pub const ENVIRONMENT_PREFIX: &str = "TRUNKGATE_";

/// Where a setting was made: complaints name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    File { path: PathBuf, line: usize },
    Environment(String),
    CommandLine,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File { path, line } => write!(f, "{} line {line}", path.display()),
            Place::Environment(variable) => write!(f, "environment variable {variable}"),
            Place::CommandLine => f.write_str("--set"),
        }
    }
}

/// A TOML value without what no setting needs.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Text(String),
    Integer(i64),
    Flag(bool),
    List(Vec<Value>),
    /// A TOML type that no setting has; told by its name.
    Other(&'static str),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    pub value: Value,
    /// What was written, for settings that are text where TOML saw something else (`--set admin.token=123`).
    pub written: String,
    pub place: Place,
}

/// By whole name, such as `media.rtp.ports`.
pub type Settings = BTreeMap<String, Setting>;

/// Adds the settings of a file.
pub fn add_file(settings: &mut Settings, path: &Path, text: &str, complaints: &mut Vec<String>) {
    let line_of = |offset: usize| {
        1 + text
            .bytes()
            .take(offset)
            .filter(|byte| *byte == b'\n')
            .count()
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let line = error.span().map_or(1, |span| line_of(span.start));
        complaints.push(format!(
            "{} line {line} is not TOML: {}.",
            path.display(),
            error.message()
        ));
    }
    if errors.is_empty() {
        let place = |offset| Place::File {
            path: path.to_owned(),
            line: line_of(offset),
        };
        flatten(settings, "", table.get_ref(), text, &place);
    }
}

/// Adds those variables that are ours. Names are told in lower case: `TRUNKGATE_MEDIA__RTP__PORTS`
/// is `media.rtp.ports`.
pub fn add_environment(
    settings: &mut Settings,
    variables: impl IntoIterator<Item = (String, String)>,
) {
    let mut ours: Vec<_> = variables
        .into_iter()
        .filter_map(|(variable, value)| {
            let rest = variable.strip_prefix(ENVIRONMENT_PREFIX)?;
            if is_service_link(rest) {
                return None;
            }
            let name = rest.to_ascii_lowercase().replace("__", ".");
            Some((variable, name, value))
        })
        .collect();
    ours.sort();
    for (variable, name, text) in ours {
        add_text(settings, &name, &text, Place::Environment(variable));
    }
}

/// Kubernetes tells every container of a service named `trunkgate` by `TRUNKGATE_SERVICE_HOST`,
/// `TRUNKGATE_PORT_8080_TCP_ADDR` and the like; nobody meant a setting by these.
fn is_service_link(rest: &str) -> bool {
    let begins = ["SERVICE_HOST", "SERVICE_PORT", "PORT_"];
    rest == "PORT" || (!rest.contains("__") && begins.iter().any(|begin| rest.starts_with(begin)))
}

/// Adds one `KEY=VALUE` of the command line.
pub fn add_argument(settings: &mut Settings, argument: &str, complaints: &mut Vec<String>) {
    match argument.split_once('=') {
        Some((name, text)) if !name.trim().is_empty() => {
            add_text(settings, name.trim(), text, Place::CommandLine);
        }
        // The argument may be a secret whose name was forgotten: it is not repeated.
        _ => complaints
            .push("--set wants KEY=VALUE, such as --set calls.codec_policy=opus.".to_owned()),
    }
}

/// VALUE is TOML; what is not TOML is a string.
fn add_text(settings: &mut Settings, name: &str, text: &str, place: Place) {
    let document = format!("v = {text}");
    let parsed = DeTable::parse(&document).ok();
    let value = parsed.as_ref().and_then(|table| {
        let table = table.get_ref();
        // A line break in the text could have begun a second key.
        if table.len() == 1 {
            table.get("v")
        } else {
            None
        }
    });
    match value.map(|value| value.get_ref()) {
        Some(DeValue::Table(inner)) => {
            flatten(settings, name, inner, &document, &|_| place.clone())
        }
        Some(value) => {
            let value = convert(value);
            settings.insert(
                name.to_owned(),
                Setting {
                    value,
                    written: text.trim().to_owned(),
                    place,
                },
            );
        }
        None => {
            let text = text.trim().to_owned();
            settings.insert(
                name.to_owned(),
                Setting {
                    value: Value::Text(text.clone()),
                    written: text,
                    place,
                },
            );
        }
    }
}

fn flatten(
    settings: &mut Settings,
    prefix: &str,
    table: &DeTable<'_>,
    text: &str,
    place: &dyn Fn(usize) -> Place,
) {
    for (key, value) in table {
        let name = if prefix.is_empty() {
            key.get_ref().to_string()
        } else {
            format!("{prefix}.{}", key.get_ref())
        };
        match value.get_ref() {
            DeValue::Table(inner) => flatten(settings, &name, inner, text, place),
            DeValue::Array(items) if is_of_tables(items) => {
                // Entries are numbered from 1: `route[1].match`.
                for (n, item) in items.iter().enumerate() {
                    if let DeValue::Table(inner) = item.get_ref() {
                        flatten(settings, &format!("{name}[{}]", n + 1), inner, text, place);
                    }
                }
            }
            other => {
                let written = text.get(value.span()).unwrap_or_default().to_owned();
                let setting = Setting {
                    value: convert(other),
                    written,
                    place: place(key.span().start),
                };
                settings.insert(name, setting);
            }
        }
    }
}

fn is_of_tables(items: &DeArray<'_>) -> bool {
    let is_table = |item: &toml::Spanned<DeValue<'_>>| matches!(item.get_ref(), DeValue::Table(_));
    !items.is_empty() && items.iter().all(is_table)
}

fn convert(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(integer) => Value::Integer(integer),
            Err(_) => Value::Other("an integer out of range"),
        },
        DeValue::Array(items) => {
            Value::List(items.iter().map(|item| convert(item.get_ref())).collect())
        }
        DeValue::Boolean(flag) => Value::Flag(*flag),
        DeValue::Float(_) => Value::Other("a number with a fraction"),
        DeValue::Datetime(_) => Value::Other("a date"),
        DeValue::Table(_) => Value::Other("a table"),
    }
}
