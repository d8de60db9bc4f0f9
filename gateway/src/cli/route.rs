//! `trunkgate route explain`: the way of a number through the plan, and why.

use super::{SettingArguments, Where};
use crate::config::{Arguments, Config};
use clap::{Args, Subcommand};
use signaling_plan::{Caller, Destination, Lot, Plan, Route, Way};
use std::fmt::Write;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Tells by which way a number would be called, and why. Nothing is called.
    #[command(after_help = EXAMPLES)]
    Explain(Explain),
}

const EXAMPLES: &str = "\
Ends with 0 if there is a way and with 1 if there is none.

Examples:
  trunkgate route explain \"030 123456\" --from phone:201 --config /etc/trunkgate/trunkgate.toml
  trunkgate route explain +15551234567 --from app:shop --number +493012345
  trunkgate route explain 004930123456 --from trunk:carrier
      A call that comes in by the trunk, as that writes numbers.
  trunkgate route explain 112 --from alice@pbx.example --json";

#[derive(Debug, Args)]
pub struct Explain {
    /// What is dialled.
    #[arg(value_name = "NUMBER", allow_hyphen_values = true)]
    dialled: String,
    /// Who dials: a SIP account USER@DOMAIN, app:KEY, phone:USER or trunk:NAME.
    #[arg(long, value_name = "WHO")]
    from: String,
    /// The number that the session of an application has.
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    number: Option<String>,
    /// For programs.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Where,
}

/// What to print, and whether there is a way.
pub struct Told {
    pub text: String,
    pub found: bool,
}

impl Command {
    pub fn arguments(&self) -> Arguments {
        let Command::Explain(explain) = self;
        SettingArguments::from(&explain.place).into()
    }

    /// # Errors
    /// A sentence: the question makes no sense.
    pub fn run(&self, config: &Config) -> Result<Told, String> {
        let Command::Explain(explain) = self;
        explain.run(&config.dial.plan)
    }
}

impl Explain {
    fn run(&self, plan: &Plan) -> Result<Told, String> {
        let caller = self.caller(plan)?;
        if !plan.concerns(&caller) {
            return Ok(self.own_pbx(&caller));
        }
        // Lines are taken as being up: this process has none.
        let way = plan.route(&caller, &self.dialled, &|_| true, &mut First);
        let found = way.answer.is_ok();
        let text = match self.json {
            true => format!("{:#}\n", json(&way)),
            false => self.text(&way),
        };
        Ok(Told { text, found })
    }

    fn caller(&self, plan: &Plan) -> Result<Caller, String> {
        let session = |app: &str, account: &str| Caller::Session {
            app: app.to_owned(),
            account: account.to_owned(),
            number: self.number.clone().unwrap_or_default(),
            trunks: None,
            prefixes: None,
        };
        match self.from.split_once(':') {
            Some((_, "")) => {}
            Some(("app", key)) => return Ok(session(key, "")),
            Some(("account", account)) => return Ok(session("defaultApp", account)),
            Some(("phone", user)) => return Ok(Caller::Phone(user.to_owned())),
            Some(("trunk", name)) if plan.trunks.contains_key(name) => {
                return Ok(Caller::Trunk(name.to_owned()));
            }
            Some(("trunk", name)) => {
                let known: Vec<&str> = plan.trunks.keys().map(String::as_str).collect();
                let known = match known.is_empty() {
                    true => "the configuration has none".to_owned(),
                    false => format!("there are {}", known.join(", ")),
                };
                return Err(format!(
                    "--from: there is no trunk \"{}\"; {known}.",
                    name.escape_debug()
                ));
            }
            None if self.from.contains('@') => return Ok(session("defaultApp", &self.from)),
            _ => {}
        }
        Err(format!(
            "--from \"{}\" is none of USER@DOMAIN, app:KEY, phone:USER and trunk:NAME.",
            self.from.escape_debug()
        ))
    }

    fn own_pbx(&self, caller: &Caller) -> Told {
        let (why, found) = match caller {
            Caller::Session { account, .. } if !account.is_empty() => (
                format!(
                    "No route names account:{account} in `from`, so it dials through its own PBX, which decides."
                ),
                true,
            ),
            _ => ("The configuration has no routes.".to_owned(), false),
        };
        let text = match self.json {
            true => format!(
                "{:#}\n",
                serde_json::json!({ "route": null, "refused": null, "ownPbx": found, "steps": [why] })
            ),
            false => format!("{why}\n"),
        };
        Told { text, found }
    }

    fn text(&self, way: &Way) -> String {
        let mut text = String::new();
        match &way.answer {
            Ok(route) => told(&mut text, route),
            Err(no) => {
                let _ = writeln!(
                    text,
                    "{} has no way: {} {}",
                    self.dialled.escape_debug(),
                    no.status,
                    no.reason
                );
            }
        }
        text.push_str("\nWhy\n");
        for (at, step) in way.steps.iter().enumerate() {
            let _ = writeln!(text, "  {:>2}. {step}", at + 1);
        }
        text.push_str("\nWhether lines are up now is not looked at.\n");
        text
    }
}

/// The answer as a table: where, what is asked for, and how the caller is shown.
fn told(text: &mut String, route: &Route) {
    let kind = match route.emergency {
        true => "as an emergency call",
        false => "by",
    };
    let rule = match route.emergency {
        true => String::new(),
        false => format!(" {}", route.name.escape_debug()),
    };
    let _ = writeln!(text, "{} goes {kind}{rule}\n", route.number.escape_debug());
    let rows: Vec<[String; 4]> = route
        .attempts
        .iter()
        .enumerate()
        .map(|(at, attempt)| {
            let identity = &attempt.identity;
            let mut shown = match identity.from_user.as_str() {
                "" => "shown as the line itself".to_owned(),
                "anonymous" => "not shown".to_owned(),
                user => format!("shown as {user}"),
            };
            if let Some(user) = &identity.asserted_user
                && *user != identity.from_user
            {
                let _ = write!(shown, ", asserted as {user}");
            }
            let asked = match attempt.to {
                Destination::Trunk(_) => attempt.user.clone(),
                Destination::Phone(_) | Destination::App { .. } | Destination::Account(_) => {
                    String::new()
                }
            };
            let first = if at == 0 { "first" } else { "then" };
            [first.to_owned(), attempt.to.to_string(), asked, shown]
        })
        .collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let (to, asked) = (width(1), width(2));
    for [first, line, user, shown] in &rows {
        let gap = if asked == 0 { "" } else { "  " };
        let _ = writeln!(text, "  {first:5}  {line:to$}{gap}{user:asked$}  {shown}");
    }
}

fn json(way: &Way) -> serde_json::Value {
    let (route, refused) = match &way.answer {
        Ok(route) => (serde_json::json!(route), serde_json::Value::Null),
        Err(no) => (serde_json::Value::Null, serde_json::json!(no)),
    };
    serde_json::json!({ "route": route, "refused": refused, "ownPbx": false, "steps": way.steps })
}

/// The same each time it is asked.
struct First;

impl Lot for First {
    fn below(&mut self, _bound: u64) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::{CommandLine, Task};
    use crate::config::{Config, Surroundings};
    use clap::Parser;
    use std::path::Path;

    fn explain(line: &str) -> Result<(String, bool), String> {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples");
        let words = line.split(' ').map(|word| word.replace('_', " "));
        let mut words: Vec<String> = ["trunkgate", "route", "explain"]
            .map(str::to_owned)
            .into_iter()
            .chain(words)
            .collect();
        let file = examples.join("office.toml").display().to_string();
        words.extend(["--config".to_owned(), file]);
        let (task, arguments) = CommandLine::try_parse_from(words)
            .map_err(|error| error.to_string())?
            .task();
        let around = Surroundings {
            interfaces: vec![("127.0.0.1".parse().unwrap(), 8)],
            ..Surroundings::default()
        };
        let config = Config::load(&arguments, &around).map_err(|told| told.join("\n"))?;
        let Task::Route(command) = task else {
            panic!("{task:?}")
        };
        command.run(&config).map(|told| (told.text, told.found))
    }

    #[test]
    fn route_explain_tells_the_way_and_why() {
        let (text, found) = explain("030_123456 --from phone:201").unwrap();
        assert!(found);
        assert!(text.starts_with("+4930123456 goes by outside\n"), "{text}");
        for part in [
            "first  trunk:carrier  +4930123456  shown as +4930123201",
            "1. Phone 201 dials “030 123456”.",
            "In E.164 that is “+4930123456”.",
            "Rule “outside” matches it by +*.",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let (text, found) = explain("+49_30_123_211 --from trunk:carrier").unwrap();
        assert!(
            found && text.contains("first  phone:211  shown as"),
            "{text}"
        );
        let (text, found) = explain("112 --from phone:201").unwrap();
        assert!(
            found && text.starts_with("112 goes as an emergency call"),
            "{text}"
        );
    }

    #[test]
    fn route_explain_tells_why_there_is_no_way() {
        let (text, found) = explain("0900_123456 --from phone:201").unwrap();
        assert!(!found && text.contains("has no way: 403 Premium"), "{text}");
        assert!(text.contains("+49900* are premium"), "{text}");
        let (text, found) = explain("+12125551234 --from trunk:carrier").unwrap();
        assert!(!found && text.contains("404"), "{text}");
        assert!(text.contains("Not for this caller: outside."), "{text}");
        assert!(
            explain("1 --from trunk:nobody")
                .unwrap_err()
                .contains("there are carrier")
        );
        assert!(
            explain("1 --from nobody")
                .unwrap_err()
                .contains("USER@DOMAIN")
        );
    }

    #[test]
    fn route_explain_speaks_json_for_programs() {
        let (text, found) = explain("205 --from phone:201 --json").unwrap();
        let told: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(found);
        assert_eq!(told["route"]["attempts"][0]["to"]["Phone"], "205");
        assert!(told["steps"].as_array().unwrap().len() > 2);
        let (text, found) = explain("205 --from alice@pbx.example --json").unwrap();
        let told: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(found && told["ownPbx"] == true);
    }
}
