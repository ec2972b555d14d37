//! Kills the engine at random instants, resumes it until it is done, and holds what happened against what it said.
//!
//! `cargo run --release --example kill -- --kills 1000 [--seed N] [--jobs N] [--binary PATH]`
//!
//! Each deployment is a random plan whose steps leave marks in a folder. Violations are printed with the seed of their deployment,
//! which as `--seed SEED --kills 1` plays it again: the same plan and the same choices, if not the same microseconds.
#![expect(clippy::print_stdout, reason = "a harness for people")]
#![expect(clippy::disallowed_methods, reason = "it stands outside: it starts, kills and waits for the engine itself")]

mod chance;
mod plan;
#[path = "../common/told.rs"]
mod told;
mod victim;
mod world;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Instant;

use clap::Parser;

use chance::Chance;
use plan::Plan;
use victim::{Story, Victim};
use world::Api;

/// Kill the engine at random instants, and see whether anything is lost or done twice
#[derive(Parser)]
struct Arguments {
    /// How often to kill at least
    #[arg(long, default_value_t = 50)]
    kills: usize,
    /// The seed of the first deployment; the next has the next
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many deployments at once
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// The program to kill; the one beside this by default
    #[arg(long)]
    binary: Option<PathBuf>,
}

/// What all deployments came to.
#[derive(Default)]
struct Total {
    deployments: u64,
    killed: usize,
    story: Story,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match kill(&arguments) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            println!("the harness itself failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn kill(arguments: &Arguments) -> std::io::Result<usize> {
    let binary = binary(arguments)?;
    let root = tempfile::Builder::new().prefix("runbook-kill-").tempdir()?.keep();
    let api = Api::serve(root.clone())?;
    let (total, began) = (Mutex::new(Total::default()), Instant::now());
    let results: Vec<std::io::Result<()>> = std::thread::scope(|scope| {
        let work = || work(arguments, &binary, &root, &api, &total);
        let workers: Vec<_> = (0..arguments.jobs.max(1)).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().expect("a worker does not panic")).collect()
    });
    results.into_iter().collect::<std::io::Result<Vec<()>>>()?;
    let total = total.into_inner().expect("no worker panicked");
    print_table(&total, began);
    let violations = total.story.violations.len();
    if violations == 0 {
        std::fs::remove_dir_all(&root)?;
    }
    Ok(violations)
}

fn binary(arguments: &Arguments) -> std::io::Result<PathBuf> {
    let beside = std::env::current_exe()?.parent().and_then(Path::parent).map(|dir| dir.join("runbook"));
    let binary = arguments.binary.clone().or(beside).unwrap_or_default();
    let missing = |_| std::io::Error::other(format!("no `{}`; run `cargo build --release` first", binary.display()));
    binary.canonicalize().map_err(missing)
}

/// Plays one deployment after the other until there were kills enough.
fn work(arguments: &Arguments, binary: &Path, root: &Path, api: &Api, total: &Mutex<Total>) -> std::io::Result<()> {
    loop {
        let seed = {
            let mut total = total.lock().expect("no worker panicked");
            if total.killed >= arguments.kills {
                return Ok(());
            }
            total.deployments += 1;
            arguments.seed + total.deployments - 1
        };
        let story = play(seed, binary, root, api)?;
        let mut total = total.lock().expect("no worker panicked");
        for violation in &story.violations {
            println!("VIOLATION {violation}\n          seed {seed}, kept in {}", root.join(name(seed)).display());
        }
        total.killed += story.kills;
        add(&mut total.story, story);
    }
}

fn play(seed: u64, binary: &Path, root: &Path, api: &Api) -> std::io::Result<Story> {
    let mut chance = Chance::new(seed);
    let plan = Plan::generate(name(seed), &mut chance);
    let world = root.join(&plan.name);
    plan.write(&world)?;
    let home = world.join("state").join(&plan.name);
    std::fs::create_dir_all(&home)?;
    std::fs::write(home.join("kubeconfig"), api.kubeconfig())?;
    let kills = usize::try_from(chance.between(2, 12)).expect("a small number");
    let story = Victim::new(binary, &plan, world.clone()).live(kills, &mut chance)?;
    if story.violations.is_empty() {
        std::fs::remove_dir_all(&world)?;
    }
    Ok(story)
}

fn name(seed: u64) -> String {
    format!("kill-{seed}")
}

fn add(total: &mut Story, story: Story) {
    total.steps += story.steps;
    total.kills += story.kills;
    total.resumes += story.resumes;
    total.settled += story.settled;
    total.repeats += story.repeats;
    total.violations.extend(story.violations);
}

fn print_table(total: &Total, began: Instant) {
    let story = &total.story;
    println!("deployments  steps  kills  resumes  settled  repeats  violations  wall");
    println!(
        "{:>11}  {:>5}  {:>5}  {:>7}  {:>7}  {:>7}  {:>10}  {:.0} s",
        total.deployments,
        story.steps,
        story.kills,
        story.resumes,
        story.settled,
        story.repeats,
        story.violations.len(),
        began.elapsed().as_secs_f64()
    );
}
