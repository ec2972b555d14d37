//! Runs the whole engine on a virtual clock, with seeded faults and crashes, and looks for broken rules.
//!
//! ```text
//! cargo run --release --example simulate -- --seeds 10000
//! cargo run --release --example simulate -- --seed 4711      # one of them, with a trace
//! ```
//!
//! Real are the driver, the schedule, retries, the journal and its fold. Simulated are the time, the disk, the steps and what they
//! act on. Each seed is a deployment: a random plan that is run, taken back, killed, cut from power, interrupted, edited and continued
//! until all holds, or all is gone. The same seed is the same to the byte.
#![expect(clippy::print_stdout, reason = "a program for the terminal")]

mod checks;
#[allow(dead_code, reason = "the test that cuts journals uses the rest")]
mod disk;
mod drafts;
mod kinds;
#[allow(dead_code, reason = "the test that cuts journals uses the rest")]
mod life;
#[allow(dead_code, reason = "the tests of the journal use the rest")]
mod medium;
mod notes;
mod random;
#[allow(dead_code, reason = "the test that cuts journals uses the rest")]
mod world;

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::FutureExt as _;

/// Each so-and-so-manieth seed is run twice: both must be the same to the byte.
const TWICE: u64 = 8;

/// What became of one seed.
struct Found {
    trace: Vec<String>,
    wrong: Vec<String>,
    hash: u64,
}

/// What is asked for.
struct Asked {
    first: u64,
    count: u64,
    traced: bool,
    threads: usize,
}

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| notes::panicked(panic.to_string())));
    let Some(asked) = asked(std::env::args().skip(1)) else {
        println!("usage: simulate [--seeds COUNT] [--from SEED] [--threads COUNT] | --seed SEED");
        return ExitCode::from(2);
    };
    let began = Instant::now();
    let failed = all(&asked);
    if !asked.traced {
        println!("{} seeds from {} in {:.1} s", asked.count, asked.first, began.elapsed().as_secs_f64());
    }
    for (seed, wrong) in &failed {
        println!("seed {seed}: {}", wrong.join("\n    "));
        println!("    see it: cargo run --release --example simulate -- --seed {seed}");
    }
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn asked(mut arguments: impl Iterator<Item = String>) -> Option<Asked> {
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let mut asked = Asked { first: 1, count: 1000, traced: false, threads };
    while let Some(argument) = arguments.next() {
        let value: u64 = arguments.next()?.parse().ok()?;
        match argument.as_str() {
            "--seeds" => asked.count = value,
            "--from" => asked.first = value,
            "--threads" => asked.threads = usize::try_from(value).ok()?.max(1),
            "--seed" => (asked.first, asked.count, asked.traced) = (value, 1, true),
            _ => return None,
        }
    }
    Some(asked)
}

/// The seeds that broke a rule, and which.
fn all(asked: &Asked) -> Vec<(u64, Vec<String>)> {
    let next = AtomicU64::new(asked.first);
    let end = asked.first + asked.count;
    let work = || {
        let root = tempfile::tempdir().expect("a temporary folder");
        let mut failed = Vec::new();
        // A few failures are enough to see what is the matter.
        while failed.len() < 10 {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                break;
            }
            let wrong = judge(seed, root.path(), asked.traced);
            failed.extend((!wrong.is_empty()).then_some((seed, wrong)));
        }
        failed
    };
    let mut failed: Vec<(u64, Vec<String>)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..asked.threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("panics are caught in each seed")).collect()
    });
    failed.sort();
    failed
}

fn judge(seed: u64, root: &Path, traced: bool) -> Vec<String> {
    let mut found = simulate(seed, root, traced);
    found.trace.iter().for_each(|line| println!("{line}"));
    if seed.is_multiple_of(TWICE) && found.wrong.is_empty() && simulate(seed, root, false).hash != found.hash {
        found.wrong.push("the same seed leads to another journal".to_owned());
    }
    found.wrong
}

/// Lives through one seed, in a runtime of its own whose time stands still while anybody works.
fn simulate(seed: u64, root: &Path, traced: bool) -> Found {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime without threads");
    runtime.block_on(async {
        notes::begin(Duration::ZERO, traced);
        let mut life = life::Life::new(seed, root);
        let lived = AssertUnwindSafe(life.live()).catch_unwind().await;
        let hash = life.disk().lock().hash();
        let (trace, mut wrong, panic) = notes::end();
        if lived.is_err() {
            wrong.push(format!("the engine panicked: {}", panic.unwrap_or_default()));
        }
        Found { trace, wrong, hash }
    })
}
