//! What does it cost to relay a call, SRTP to RTP and back, beside rtpengine with the same arrivals?
//!
//! `relay [--calls N] [--seconds S] [--rounds R] [--dtls 12|13] [--only NAME] [--core C]`

mod client;
mod load;
mod ours;
mod process;
mod rtpengine;
mod target;

use load::{Outcome, Plan};
use std::time::Duration;
use target::Target;

fn main() {
    let mut plan = Plan {
        calls: 200,
        time: Duration::from_secs(4),
        v13: false,
        core: 0,
    };
    let (mut rounds, mut only) = (2, None);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let value = args.next().unwrap_or_default();
        let number = || {
            value
                .parse::<usize>()
                .unwrap_or_else(|_| fail(&format!("{arg} takes a number")))
        };
        match arg.as_str() {
            "--calls" => plan.calls = number().clamp(2, 4000),
            "--seconds" => plan.time = Duration::from_secs(number().clamp(1, 60) as u64),
            "--rounds" => rounds = number().clamp(1, 20),
            "--dtls" => plan.v13 = value == "13",
            "--core" => plan.core = number(),
            "--only" => only = Some(value),
            _ => fail(
                "relay [--calls N] [--seconds S] [--rounds R] [--dtls 12|13] [--only NAME] [--core C]",
            ),
        }
    }
    process::pin(std::process::id(), 1 - plan.core.min(1));
    let wanted = |name: &str| only.as_deref().is_none_or(|only| only == name);
    let mut outcomes: Vec<Outcome> = Vec::new();
    for round in 0..rounds {
        // By turns, so that neither has the quieter half of the machine's day.
        for name in ["trunkgate", "rtpengine", "trunkgate, crypto off"] {
            if !wanted(name) {
                continue;
            }
            let target: Option<Box<dyn Target>> = match name {
                "trunkgate" => Some(Box::new(ours::Ours::start(true))),
                "trunkgate, crypto off" => Some(Box::new(ours::Ours::start(false))),
                _ => {
                    rtpengine::RtpEngine::start().map(|engine| Box::new(engine) as Box<dyn Target>)
                }
            };
            let Some(mut target) = target else {
                eprintln!("{name} could not be started and is missing below");
                continue;
            };
            eprintln!("round {}: {name}, {} calls", round + 1, plan.calls);
            match load::run(target.as_mut(), &plan) {
                Ok(outcome) => outcomes.push(outcome),
                Err(error) => eprintln!("{name}: {error}"),
            }
        }
    }
    print(&outcomes);
}

fn fail(usage: &str) -> ! {
    eprintln!("{usage}");
    std::process::exit(2)
}

fn print(outcomes: &[Outcome]) {
    println!(
        "| | SRTP | calls | relayed | lost | µs/packet user | system | both | core | p50 ms | p99 ms | kB/call |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for o in outcomes {
        println!(
            "| {} | {} | {} | {} | {} | {:.2} | {:.2} | {:.2} | {:.0}% | {:.2} | {:.2} | {:.0} |",
            o.name,
            o.profile,
            o.calls,
            o.relayed,
            o.lost,
            o.user_us,
            o.system_us,
            o.user_us + o.system_us,
            o.busy * 100.0,
            o.p50.as_secs_f64() * 1000.0,
            o.p99.as_secs_f64() * 1000.0,
            o.memory_kb,
        );
    }
    let mean = |name: &str| {
        let all: Vec<f64> = outcomes
            .iter()
            .filter(|o| o.name == name)
            .map(|o| o.user_us + o.system_us)
            .collect();
        (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64)
    };
    println!();
    for other in ["rtpengine", "trunkgate, crypto off"] {
        if let (Some(ours), Some(theirs)) = (mean("trunkgate"), mean(other)) {
            println!(
                "CPU per relayed packet, trunkgate / {other}: {:.2}",
                ours / theirs
            );
        }
    }
}
