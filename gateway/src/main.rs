//! `trunkgate`: arguments, settings, start the roles, wait for the signal to stop.

use clap::Parser;
use gateway::cli::{CommandLine, Task, apps, phones::Rules, reload};
use gateway::config::{Config, Surroundings};
use gateway::start;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// What was asked for cannot be: a setting is wrong, a port is taken.
const WRONG_SETTINGS: u8 = 2;
/// A command that cannot be carried out, and nothing has changed; or there is no way for a number.
const NOT_DONE: u8 = 1;

fn main() -> ExitCode {
    let (task, arguments) = CommandLine::parse().task();
    let mut around = Surroundings::look();
    let task = match task {
        Task::Apps(command) if !command.needs_settings() => {
            return carry_out(*command, Path::new(""), &Rules::default());
        }
        task => task,
    };
    around.secrets_elsewhere = !matches!(task, Task::Run | Task::CheckConfig);
    let (config, kept) = match Config::load_and_keep(&arguments, &around) {
        Ok(config) => config,
        Err(complaints) => {
            complaints
                .iter()
                .for_each(|complaint| eprintln!("{complaint}"));
            return ExitCode::from(WRONG_SETTINGS);
        }
    };
    match task {
        Task::Run => match start::run(&config, kept) {
            Ok(()) => ExitCode::SUCCESS,
            Err(complaints) => give_up(&complaints),
        },
        Task::CheckConfig => {
            if let Err(sentence) =
                gateway::phones::load(&config.data_dir, &config.dial.registrar.realm)
            {
                return give_up(&[sentence]);
            }
            println!("configuration is right");
            ExitCode::SUCCESS
        }
        Task::Apps(command) => carry_out(*command, &config.data_dir, &config.dial.phone_rules()),
        Task::Route(command) => match command.run(&config) {
            Ok(told) => {
                print(&told.text);
                match told.found {
                    true => ExitCode::SUCCESS,
                    false => ExitCode::from(NOT_DONE),
                }
            }
            Err(sentence) => give_up(&[sentence]),
        },
        Task::Reload => match reload::reload(&config) {
            Ok(told) => {
                print(&told);
                ExitCode::SUCCESS
            }
            Err(sentences) => {
                sentences
                    .iter()
                    .for_each(|sentence| eprintln!("{sentence}"));
                ExitCode::from(NOT_DONE)
            }
        },
    }
}

/// Nobody may be reading any more, as behind `| head`.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn carry_out(command: apps::Command, data_dir: &Path, rules: &Rules) -> ExitCode {
    match command.run(data_dir, rules) {
        Ok(told) => {
            print(&told);
            ExitCode::SUCCESS
        }
        Err(sentence) => {
            eprintln!("{sentence}");
            ExitCode::from(NOT_DONE)
        }
    }
}

fn give_up(complaints: &[String]) -> ExitCode {
    complaints
        .iter()
        .for_each(|complaint| eprintln!("{complaint}"));
    ExitCode::from(WRONG_SETTINGS)
}
