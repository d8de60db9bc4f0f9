//! The command line.

pub mod apps;
pub mod phones;
pub mod reload;
pub mod route;

use crate::config::{Arguments, Role};
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  trunkgate
      All on this box, with defaults: open http://localhost:8080/ and dial echo.
  trunkgate --set sip.allowed_targets=203.0.113.7 --set calls.codec_policy=opus
      Pages may reach the PBX at 203.0.113.7, and Opus is spoken with browsers.
  trunkgate check-config --config /etc/trunkgate/trunkgate.toml
      Tells all that is wrong with a file before a restart does.
  TRUNKGATE_SIGNALING__WS=:80 trunkgate run --config trunkgate.toml
      One setting by the environment.
  trunkgate --roles media --set link.listen=10.0.0.7:7000
      Only the media role, for a gateway elsewhere.
  trunkgate add app shop shopKey https://shop.example/hooks
      An application whose backend is asked what its pages may do.
  trunkgate add phone 201
      A phone that may register here; its password is drawn and shown.
  trunkgate route explain \"030 123456\" --from app:shop --config trunkgate.toml
      By which trunk that number would be called, and why.

Settings are described in deploy/trunkgate.toml, which comes with the program: each key with its default, unit
and reason. In --set and the environment the value is TOML; what is not TOML is a text.";

/// SIP-to-WebRTC gateway: browsers call telephones, telephones call browsers.
#[derive(Debug, Parser)]
#[command(name = "trunkgate", version, after_help = EXAMPLES)]
pub struct CommandLine {
    #[command(subcommand)]
    command: Option<Action>,
    #[command(flatten)]
    settings: SettingArguments,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Runs the gateway (what happens without a command, too).
    #[command(after_help = EXAMPLES)]
    Run(SettingArguments),
    /// Tells whether the settings are right, and all that is wrong otherwise.
    CheckConfig(SettingArguments),
    /// Shows applications, hooks and phones.
    #[command(subcommand)]
    Show(apps::Show),
    /// Makes an application or a phone, or turns hooks on.
    #[command(subcommand)]
    Add(apps::Add),
    /// Changes an application or a phone.
    #[command(subcommand)]
    Update(apps::Update),
    /// Takes an application or a phone away, or turns hooks off.
    #[command(subcommand)]
    Remove(apps::Remove),
    /// Asks the dial plan.
    #[command(subcommand)]
    Route(route::Command),
    /// Has the running gateway read its lines and rules again (trunks, phones, numbers, routes, limits), calls going on.
    ///
    /// It is asked by admin.listen with admin.token; SIGHUP does the same. A file with a mistake changes nothing.
    Reload(Where),
    /// Applications, by the other order of words: app add, app update, app remove, app show, app list.
    #[command(subcommand)]
    App(apps::App),
}

#[derive(Debug, Args)]
struct SettingArguments {
    /// File of settings (TOML).
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One setting, over file and environment; can be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Which parts run in this process.
    #[arg(long, value_name = "ROLE,...", value_delimiter = ',', value_enum)]
    roles: Vec<Role>,
}

/// Where a running gateway is told its settings, so that both mean the same `data_dir`.
#[derive(Debug, Args)]
pub struct Where {
    /// File of settings (TOML), as the gateway has it: it says where data_dir is.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One setting, over file and environment; can be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl From<&Where> for SettingArguments {
    fn from(place: &Where) -> SettingArguments {
        SettingArguments {
            config: place.config.clone(),
            set: place.set.clone(),
            roles: Vec::new(),
        }
    }
}

impl From<SettingArguments> for Arguments {
    fn from(given: SettingArguments) -> Arguments {
        Arguments {
            file: given.config,
            set: given.set,
            roles: given.roles,
        }
    }
}

#[derive(Debug)]
pub enum Task {
    Run,
    CheckConfig,
    Route(route::Command),
    Reload,
    Apps(Box<apps::Command>),
}

impl CommandLine {
    pub fn task(self) -> (Task, Arguments) {
        let before: Arguments = self.settings.into();
        let (task, after) = Self::of_command(self.command);
        (task, before.overruled_by(after))
    }

    fn of_command(command: Option<Action>) -> (Task, Arguments) {
        let command = match command {
            None => return (Task::Run, Arguments::default()),
            Some(Action::Run(given)) => return (Task::Run, given.into()),
            Some(Action::CheckConfig(given)) => return (Task::CheckConfig, given.into()),
            Some(Action::Route(command)) => {
                let arguments = command.arguments();
                return (Task::Route(command), arguments);
            }
            Some(Action::Reload(place)) => {
                return (Task::Reload, SettingArguments::from(&place).into());
            }
            Some(Action::Show(show)) => apps::Command::Show(show),
            Some(Action::Add(add)) => apps::Command::Add(add),
            Some(Action::Update(update)) => apps::Command::Update(update),
            Some(Action::Remove(remove)) => apps::Command::Remove(remove),
            Some(Action::App(app)) => app.into(),
        };
        let arguments = command.arguments();
        (Task::Apps(Box::new(command)), arguments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<(Task, Arguments), clap::Error> {
        CommandLine::try_parse_from(line.split(' ')).map(CommandLine::task)
    }

    #[test]
    fn run_may_be_left_out() {
        for line in ["trunkgate", "trunkgate run"] {
            let line = format!("{line} --config a.toml --set b=1 --set c=2 --roles trunk,media");
            let (task, arguments) = parse(&line).unwrap();
            assert!(matches!(task, Task::Run));
            assert_eq!(arguments.file, Some("a.toml".into()));
            assert_eq!(arguments.set, ["b=1", "c=2"]);
            assert_eq!(arguments.roles, [Role::Trunk, Role::Media]);
        }
        let (task, _) = parse("trunkgate check-config --set a=1").unwrap();
        assert!(matches!(task, Task::CheckConfig));
    }

    #[test]
    fn settings_may_stand_before_the_command_too() {
        let (task, arguments) =
            parse("trunkgate --config a.toml --set b=1 show apps --set c=2").unwrap();
        assert!(matches!(task, Task::Apps(_)));
        assert_eq!(arguments.file, Some("a.toml".into()));
        assert_eq!(arguments.set, ["b=1", "c=2"]);
        let (_, arguments) = parse("trunkgate --config a.toml run --config b.toml").unwrap();
        assert_eq!(arguments.file, Some("b.toml".into()));
    }

    #[test]
    fn a_wrong_role_is_refused_with_code_2() {
        assert_eq!(parse("trunkgate --roles pbx").unwrap_err().exit_code(), 2);
    }
}
