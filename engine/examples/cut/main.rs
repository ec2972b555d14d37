//! Cuts a plan's journal after every record, and inside every record, and looks whether the same comes out.
//!
//! `cargo run --release --example cut -- plans/native-gateway.yaml [--every N] [--jobs N] [--speed N] [--binary PATH]`
//!
//! The world of a rehearsal is a process and cannot be put back; but an engine that dies (SIGKILL) at the very moment in which a
//! record has come into the file leaves exactly the world that belongs to that journal. So the plan is rehearsed once to its end, and
//! then again for each record: the engine dies there, is started again, and must come to the same world, the same outcome of each
//! step and the same outputs, without starting again what had succeeded, and without asking the cloud twice for anything.
#![expect(clippy::print_stdout, reason = "a harness for people")]
#![expect(clippy::disallowed_methods, reason = "it stands outside: it starts the engine and waits for it")]

mod end;
mod plain;
mod rehearsal;
#[path = "../common/told.rs"]
mod told;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Instant;

use clap::Parser;

use end::End;
use rehearsal::{Cut, Rehearsal};

/// Cut a plan's journal everywhere, and see whether the same comes out
#[derive(Parser)]
struct Arguments {
    /// The plan; its scenario `ok` is played
    plan: PathBuf,
    /// Cut only after every so manieth record; records of a kind that was not met before are never left out
    #[arg(long, default_value_t = 1)]
    every: usize,
    /// Cut only after this record
    #[arg(long)]
    only: Option<u64>,
    /// How many rehearsals at once
    #[arg(long, default_value_t = 6)]
    jobs: usize,
    /// How many times faster than real time
    #[arg(long, default_value_t = 100.0)]
    speed: f64,
    /// The program; the one beside this by default
    #[arg(long)]
    binary: Option<PathBuf>,
}

fn main() -> ExitCode {
    match cut(&Arguments::parse()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            println!("the harness itself failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn cut(arguments: &Arguments) -> std::io::Result<usize> {
    let began = Instant::now();
    let root = tempfile::Builder::new().prefix("runbook-cut-").tempdir()?.keep();
    let rehearsal = Rehearsal::new(&arguments.plan, binary(arguments)?, root.clone(), arguments.speed)?;
    let whole = rehearsal.play("whole", None, 1.0)?;
    if let Some(trouble) = whole.trouble.first() {
        return Err(std::io::Error::other(format!("the rehearsal that is not cut fails: {trouble}")));
    }
    let cuts = cuts(arguments, &whole);
    println!("{}: {} records, {} cuts", arguments.plan.display(), whole.records.len(), cuts.len());
    let Count { failed, again, too_short } = play_all(arguments, &rehearsal, &whole, &cuts)?;
    let (plan, seconds) = (arguments.plan.display(), began.elapsed().as_secs_f64());
    println!("{plan}: {} cuts, {failed} went wrong, {seconds:.0} s", cuts.len());
    println!("    {again} played again, more slowly, after a timeout; {too_short} came to their end before the record");
    if failed == 0 {
        std::fs::remove_dir_all(&root)?;
    }
    Ok(failed)
}

fn binary(arguments: &Arguments) -> std::io::Result<PathBuf> {
    let beside = std::env::current_exe()?.parent().and_then(Path::parent).map(|dir| dir.join("runbook"));
    let binary = arguments.binary.clone().or(beside).unwrap_or_default();
    let missing = |_| std::io::Error::other(format!("no `{}`; run `cargo build --release` first", binary.display()));
    binary.canonicalize().map_err(missing)
}

/// Where to cut: after each record but the last, whole and torn. With a stride, kinds of records that are new are kept.
fn cuts(arguments: &Arguments, whole: &End) -> Vec<Cut> {
    let mut met = std::collections::BTreeSet::new();
    let mut cuts = Vec::new();
    for (index, (kind, _)) in whole.records.iter().enumerate().take(whole.records.len().saturating_sub(1)) {
        let number = index as u64 + 1;
        let wanted = match arguments.only {
            Some(only) => only == number,
            None => met.insert(kind.clone()) || index % arguments.every.max(1) == 0,
        };
        if wanted {
            cuts.extend([false, true].map(|torn| Cut { after_record: number, torn }));
        }
    }
    cuts
}

/// What became of the cuts.
#[derive(Default)]
struct Count {
    failed: usize,
    again: usize,
    too_short: usize,
}

/// Plays all cuts, several at a time, and says what went wrong.
fn play_all(arguments: &Arguments, rehearsal: &Rehearsal, whole: &End, cuts: &[Cut]) -> std::io::Result<Count> {
    let (next, count) = (Mutex::new(cuts.iter()), Mutex::new(Count::default()));
    let work = || -> std::io::Result<()> {
        loop {
            let Some(cut) = next.lock().expect("no worker panicked").next() else { return Ok(()) };
            play_one(rehearsal, whole, *cut, &count)?;
        }
    };
    let results: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..arguments.jobs.max(1)).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().expect("a worker does not panic")).collect()
    });
    results.into_iter().collect::<std::io::Result<Vec<()>>>()?;
    Ok(count.into_inner().expect("no worker panicked"))
}

fn play_one(rehearsal: &Rehearsal, whole: &End, cut: Cut, count: &Mutex<Count>) -> std::io::Result<()> {
    let name = cut.name();
    let (mut place, mut end) = (rehearsal.root.join(&name), rehearsal.play(&name, Some(cut), 1.0)?);
    let (again, too_short) = (end.too_fast, end.too_short);
    if again {
        // Timeouts are in model time, and the programs that run into them are real: at a high speed a busy machine is too slow.
        let name = format!("{name}-slow");
        std::fs::remove_dir_all(&place)?;
        (place, end) = (rehearsal.root.join(&name), rehearsal.play(&name, Some(cut), 0.25)?);
    }
    // How often a cloud is asked, and so how many records there are, depends on the moment.
    let wrong = if too_short { Vec::new() } else { end.differences(whole, cut) };
    let mut count = count.lock().expect("no worker panicked");
    count.again += usize::from(again);
    count.too_short += usize::from(too_short);
    if wrong.is_empty() {
        return std::fs::remove_dir_all(place);
    }
    count.failed += 1;
    wrong.iter().for_each(|what| println!("FAIL {cut}: {what}"));
    println!("     kept in {}", place.display());
    Ok(())
}
