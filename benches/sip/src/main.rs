//! CPU of a SIP call, INVITE to BYE, in our trunk role (agent and sockets) beside SIPp, in one run on loopback.
//!
//!     sip [--rate CALLS_PER_SECOND] [--seconds S] [--rounds R] [--core C]
//!
//! Four subjects by turns, each a process of its own, pinned to one core, the other side to the rest:
//! `sipp -sn uac` and our role calling a `sipp -sn uas`, `sipp -sn uas` and our role called by a `sipp -sn uac`.

mod node;
mod process;
mod subject;

use std::io::Write;
use subject::{Settings, Side};

fn main() {
    let mut args = std::env::args().skip(1);
    let mut settings = Settings::default();
    let mut rounds = 3;
    while let Some(arg) = args.next() {
        let mut number = || {
            args.next()
                .and_then(|n| n.parse::<u32>().ok())
                .unwrap_or_else(|| usage())
        };
        match arg.as_str() {
            "node" => return node::main(args.collect()),
            "--rate" => settings.rate = number(),
            "--seconds" => settings.seconds = number(),
            "--rounds" => rounds = number(),
            "--core" => settings.core = number() as usize,
            _ => usage(),
        }
    }
    println!("| | calls | failed | µs/call user | system | both |");
    println!("| --- | --- | --- | --- | --- | --- |");
    let mut sums = [[0.0; 2]; 2];
    for _ in 0..rounds {
        for (row, side) in [Side::Calling, Side::Called].into_iter().enumerate() {
            for (column, ours) in [true, false].into_iter().enumerate() {
                let told = subject::run(&settings, side, ours);
                let name = match (side, ours) {
                    (Side::Calling, true) => "trunkgate calls",
                    (Side::Calling, false) => "sipp -sn uac",
                    (Side::Called, true) => "trunkgate is called",
                    (Side::Called, false) => "sipp -sn uas",
                };
                let calls = f64::from(told.calls.max(1));
                println!(
                    "| {name} | {} | {} | {:.0} | {:.0} | {:.0} |",
                    told.calls,
                    told.failed,
                    told.user / calls,
                    told.system / calls,
                    (told.user + told.system) / calls
                );
                let _ = std::io::stdout().flush();
                sums[row][column] += (told.user + told.system) / calls;
            }
        }
    }
    println!();
    println!(
        "CPU per call: trunkgate / sipp {:.2} calling (to reach 0.50), {:.2} called",
        sums[0][0] / sums[0][1],
        sums[1][0] / sums[1][1]
    );
    println!(
        "The link between signaling and trunk is not in these figures and not measured here (to reach: 15 µs a call and direction)."
    );
}

fn usage() -> ! {
    eprintln!("sip [--rate CALLS_PER_SECOND] [--seconds S] [--rounds R] [--core C]");
    std::process::exit(2)
}
