//! `trunkgate`: arguments, settings, start the roles, wait for the signal to stop.

use clap::Parser;
use gateway::cli::{CommandLine, Task};
use gateway::config::{Config, Surroundings};
use gateway::start;
use std::process::ExitCode;

/// What was asked for cannot be: a setting is wrong, a port is taken.
const WRONG_SETTINGS: u8 = 2;

fn main() -> ExitCode {
    let (task, arguments) = CommandLine::parse().task();
    let around = Surroundings::look();
    let config = match Config::load(&arguments, &around) {
        Ok(config) => config,
        Err(complaints) => {
            complaints
                .iter()
                .for_each(|complaint| eprintln!("{complaint}"));
            return ExitCode::from(WRONG_SETTINGS);
        }
    };
    if task == Task::CheckConfig {
        println!("configuration is right");
        return ExitCode::SUCCESS;
    }
    match start::run(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(complaints) => give_up(&complaints),
    }
}

fn give_up(complaints: &[String]) -> ExitCode {
    complaints
        .iter()
        .for_each(|complaint| eprintln!("{complaint}"));
    ExitCode::from(WRONG_SETTINGS)
}
