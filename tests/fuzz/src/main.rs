//! The driver: so many inputs for each target, by seed, and a file for each that failed.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tests_fuzz::mutate::{Dice, input};
use tests_fuzz::{Target, home, targets};

const USAGE: &str = "usage: tests-fuzz [--runs N] [--seed S] [--from N] [--target NAME]... [--list] [--replay FILE...]";

/// Failures told for one target before it is left alone: after that they are mostly the same one.
const FAILURES_MAX: usize = 10;

/// An input of at most 300 kB that takes longer has found something that grows too fast. Far above what a
/// busy machine adds.
const SLOW: Duration = Duration::from_secs(2);

struct Options {
    runs: u64,
    seed: u64,
    from: u64,
    targets: Vec<&'static Target>,
    replay: Vec<String>,
}

fn main() -> ExitCode {
    let options = match options(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => return ExitCode::SUCCESS,
        Err(complaint) => {
            eprintln!("{complaint}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    std::panic::set_hook(Box::new(|info| {
        LAST_PANIC.with_borrow_mut(|last| *last = brief(&info.to_string()))
    }));
    let mut failures = 0;
    for target in &options.targets {
        failures += if options.replay.is_empty() {
            fuzz(target, &options)
        } else {
            replay(target, &options.replay)
        };
    }
    if failures == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

thread_local! {
    static LAST_PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

fn options(mut args: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
    let mut options = Options {
        runs: 20_000,
        seed: 1,
        from: 0,
        targets: Vec::new(),
        replay: Vec::new(),
    };
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        let number = |text: String| {
            text.parse::<u64>()
                .map_err(|_| format!("{arg}: {text:?} is no number"))
        };
        match arg.as_str() {
            "--runs" => options.runs = number(value()?)?,
            "--seed" => options.seed = number(value()?)?,
            "--from" => options.from = number(value()?)?,
            "--target" => {
                let name = value()?;
                let target = targets::ALL.iter().find(|target| target.name == name);
                options
                    .targets
                    .push(target.ok_or(format!("no target {name:?}"))?);
            }
            "--replay" => options.replay.extend(args.by_ref()),
            "--list" => {
                targets::ALL
                    .iter()
                    .for_each(|target| println!("{}", target.name));
                return Ok(None);
            }
            "--help" | "-h" => {
                println!("{USAGE}");
                return Ok(None);
            }
            other => return Err(format!("what is {other:?}?")),
        }
    }
    if options.targets.is_empty() {
        options.targets = targets::ALL.iter().collect();
    }
    Ok(Some(options))
}

/// Runs the corpus as it is, then its mutations. Returns how many inputs failed.
fn fuzz(target: &Target, options: &Options) -> usize {
    let corpus = match target.corpus() {
        Ok(corpus) if !corpus.is_empty() => corpus,
        Ok(_) => {
            eprintln!("{}: the corpus is empty", target.name);
            return 1;
        }
        Err(error) => {
            eprintln!("{}: cannot read the corpus: {error}", target.name);
            return 1;
        }
    };
    let begun = Instant::now();
    let mut failures = 0;
    for seed in &corpus {
        failures += usize::from(!passes(target, seed, "a seed as it is"));
    }
    for run in options.from..options.from.saturating_add(options.runs) {
        if failures >= FAILURES_MAX {
            eprintln!("{}: {FAILURES_MAX} failures, that is enough", target.name);
            break;
        }
        let data = input(
            &corpus,
            target.words,
            target.max_len,
            &mut Dice::new(options.seed, run),
        );
        let origin = format!("--seed {} --from {run} --runs 1", options.seed);
        failures += usize::from(!passes(target, &data, &origin));
    }
    println!(
        "{}: {} seeds, {} inputs by seed {}, {failures} failed, {:.1} s",
        target.name,
        corpus.len(),
        options.runs,
        options.seed,
        begun.elapsed().as_secs_f64()
    );
    failures
}

/// A text cut to what a terminal bears; the whole input is in its file.
fn brief(text: &str) -> String {
    const LONG: usize = 600;
    if text.chars().count() > LONG {
        text.chars().take(LONG).chain("…".chars()).collect()
    } else {
        text.to_owned()
    }
}

fn replay(target: &Target, files: &[String]) -> usize {
    let mut failures = 0;
    for file in files {
        match std::fs::read(file) {
            Ok(data) => match failure(target, &data) {
                None => println!("{}: {file}: ok", target.name),
                Some(fault) => {
                    println!("{}: {file}: {fault}", target.name);
                    failures += 1;
                }
            },
            Err(error) => {
                eprintln!("{file}: {error}");
                failures += 1;
            }
        }
    }
    failures
}

fn passes(target: &Target, data: &[u8], origin: &str) -> bool {
    let Some(fault) = failure(target, data) else {
        return true;
    };
    let small = shrink(target, data);
    println!("{}: FAILED ({origin}): {fault}", target.name);
    println!(
        "  input, {} bytes of {}: {}",
        small.len(),
        data.len(),
        brief(&small.escape_ascii().to_string())
    );
    match keep(target, &small) {
        Ok(path) => println!("  kept as {path}"),
        Err(error) => eprintln!("  cannot be kept: {error}"),
    }
    false
}

/// What went wrong with this input, if anything did.
fn failure(target: &Target, data: &[u8]) -> Option<String> {
    let begun = Instant::now();
    if catch_unwind(AssertUnwindSafe(|| (target.run)(data))).is_err() {
        return Some(LAST_PANIC.with_borrow(String::clone));
    }
    let first = begun.elapsed();
    if first < SLOW {
        return None;
    }
    // Once more: the machine may have been busy with something else.
    let begun = Instant::now();
    let _ = catch_unwind(AssertUnwindSafe(|| (target.run)(data)));
    let second = begun.elapsed();
    (second >= SLOW).then(|| format!("slow: {first:?}, again {second:?}"))
}

/// Leaves out what the failure does not need, within a few thousand tries.
fn shrink(target: &Target, data: &[u8]) -> Vec<u8> {
    let fails = |data: &[u8]| catch_unwind(AssertUnwindSafe(|| (target.run)(data))).is_err();
    let mut small = data.to_vec();
    if !fails(&small) {
        return small;
    }
    let mut piece = small.len().div_ceil(2);
    let mut tries = 4_000;
    while piece > 0 && tries > 0 {
        let mut at = 0;
        while at < small.len() && tries > 0 {
            tries -= 1;
            let mut less = small.clone();
            less.drain(at..(at + piece).min(small.len()));
            if fails(&less) {
                small = less
            } else {
                at += piece
            }
        }
        piece /= 2;
    }
    small
}

fn keep(target: &Target, data: &[u8]) -> std::io::Result<String> {
    let folder = home().join("crashes");
    std::fs::create_dir_all(&folder)?;
    // FNV-1a: the same input gets the same name.
    let hash = data.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let path = folder.join(format!("{}-{hash:016x}", target.name));
    std::fs::write(&path, data)?;
    Ok(path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BAD: Target = Target {
        name: "panics-at-ping",
        run: |data| assert!(!data.windows(4).any(|window| window == b"ping"), "a ping"),
        words: &[],
        seeds: &[],
        max_len: 100,
    };

    #[test]
    fn a_panic_is_caught_and_its_input_made_small() {
        assert_eq!(failure(&BAD, b"pong"), None);
        assert!(failure(&BAD, b"a ping comes").is_some());
        assert_eq!(
            shrink(&BAD, b"a ping comes, and then another ping"),
            b"ping"
        );
    }

    #[test]
    fn every_target_has_a_corpus_that_passes() {
        for target in targets::ALL {
            let corpus = target.corpus().expect("the corpus can be read");
            assert!(!corpus.is_empty(), "{}", target.name);
            for seed in corpus {
                (target.run)(&seed);
            }
        }
    }

    #[test]
    fn options_are_read_and_nonsense_is_refused() {
        let read = |args: &[&str]| options(args.iter().map(|arg| (*arg).to_owned()));
        let good = read(&["--runs", "5", "--seed", "7", "--target", "envelope"])
            .expect("good")
            .expect("to run");
        assert_eq!((good.runs, good.seed, good.targets.len()), (5, 7, 1));
        for bad in [
            &["--runs"][..],
            &["--runs", "x"],
            &["--target", "x"],
            &["x"],
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
