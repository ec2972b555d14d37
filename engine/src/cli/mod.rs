//! The command line: one file a command, and the only part that reads the environment, asks, and exits.

mod announce;
mod answers;
mod apply;
mod bug;
mod check;
mod completions;
mod deployment;
mod destroy;
mod diagnose;
mod early;
pub mod exit;
mod follow;
mod graph;
mod kinds;
mod log;
mod plan;
mod prompt;
mod rehearse;
mod remedy;
mod resume;
mod schema;
mod screen;
mod secrets;
mod select;
mod settle;
mod status;
mod tool;
mod ui;
mod unbegun;
mod unlock;
mod verify;
mod world;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use exit::Fatal;
use ui::{Color, Ui};

use crate::report::commands::Commands;
use crate::run::survive_size_limits;
use crate::state::Home;

/// Makes deployment guides executable: plans in YAML, run as a DAG, resumable after any crash.
#[derive(Debug, Parser)]
#[command(name = "runbook", version, propagate_version = true, arg_required_else_help = true, max_term_width = 110)]
#[command(
    after_help = "Exit codes: 0 everything holds, 1 unexpected, 2 usage, 3 invalid plan, 4 a step failed (resumable), 5 locked, \
                  6 state unusable, 7 a person is needed, 8 drift, 129/130/143 interrupted (resumable)"
)]
struct Cli {
    /// Whether to colour
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    color: Color,
    /// Where state is kept
    #[arg(long, global = true, env = "RUNBOOK_STATE", default_value = ".runbook", value_name = "DIR")]
    state: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a plan, or continue it
    Apply(apply::Apply),
    /// Continue a deployment with the plan and inputs of its last run
    Resume(resume::Resume),
    /// Run a plan on an embedded, simulated world: no cloud, no cost
    Rehearse(rehearse::Rehearse),
    /// Undo what a deployment made, in reverse order
    Destroy(destroy::Destroy),
    /// Show what would run, in which order, what is reused and why
    Plan(plan::Plan),
    /// Show where a deployment stands
    Status(status::Status),
    /// Look at everything again, change nothing, and say what differs
    Verify(verify::Verify),
    /// Look around, change nothing, and say why something does not work
    Diagnose(diagnose::Diagnose),
    /// Show what a step printed
    #[command(alias = "logs")]
    Log(log::Log),
    /// Check plans without running them
    #[command(alias = "validate")]
    Check(check::Check),
    /// Print a plan's graph as DOT or Mermaid
    Graph(graph::Graph),
    /// List the kinds of steps, or explain one
    Kinds(kinds::Kinds),
    /// Print the JSON Schema of the plan language
    Schema(schema::Schema),
    /// Say what became of a step that nobody else can tell about
    Settle(settle::Settle),
    /// Release a lock whose holder is gone
    Unlock(unlock::Unlock),
    /// Print a shell completion script
    Completions(completions::Completions),
    /// The simulated world of a rehearsal
    #[command(name = "__world", hide = true)]
    World(world::World),
}

/// What the commands that take a plan have in common.
#[derive(Args, Debug, Default)]
struct Inputs {
    /// Set an input of the plan
    #[arg(long = "input", short = 'i', value_name = "NAME=VALUE", value_parser = name_and_value)]
    inputs: Vec<(String, String)>,
    /// Name the deployment; by default it has the plan's name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

impl Inputs {
    fn values(&self) -> BTreeMap<String, String> {
        self.inputs.iter().cloned().collect()
    }
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.trim().to_owned(), value.to_owned()))
}

/// The environment as it was when the program started.
#[derive(Clone, Debug)]
pub(crate) struct Environment(pub(crate) BTreeMap<OsString, OsString>);

impl Environment {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
    fn read() -> Self {
        Self(std::env::vars_os().collect())
    }

    fn get(&self, name: &str) -> Option<&std::ffi::OsStr> {
        self.0.get(std::ffi::OsStr::new(name)).map(OsString::as_os_str).filter(|value| !value.is_empty())
    }

    fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    fn is(&self, name: &str, value: &str) -> bool {
        self.get(name).is_some_and(|found| found == value)
    }

    fn home(&self) -> Option<PathBuf> {
        self.get("HOME").map(PathBuf::from)
    }
}

/// What every command gets.
#[derive(Clone)]
struct Session {
    ui: Ui,
    env: Environment,
    state: PathBuf,
}

impl Session {
    /// How a user starts this program on the same state.
    fn program(&self) -> String {
        self.program_at(&self.state)
    }

    /// The same on another one.
    fn program_at(&self, state: &Path) -> String {
        if state == Path::new(".runbook") { "runbook".to_owned() } else { format!("runbook {}", state_flag(state)) }
    }

    /// What a user types about the steps of a deployment on this state.
    fn commands(&self, deployment: &str) -> Commands {
        let mut homes = Home::list(&self.state).into_iter().flatten();
        Commands::new(self.program(), deployment, homes.all(|home| home.deployment() == deployment))
    }
}

/// What names a state on the command line.
fn state_flag(state: &Path) -> String {
    format!("--state {}", runbook_steps::tools::quote(&state.to_string_lossy()))
}

/// Runs the program: arguments in, exit code out.
pub fn main() -> ExitCode {
    if let Some(exit) = tool::answer(std::env::args_os()) {
        return exit;
    }
    let env = Environment::read();
    let cli = Cli::parse();
    let ui = Ui::new(cli.color, &env);
    start_tracing(&env);
    bug::silence_step_panics();
    let session = Session { ui, env, state: cli.state };
    let ended =
        survive_size_limits().map_err(Fatal::from).and_then(|()| bug::guarded(|| dispatch(cli.command, &session)));
    match ended.and_then(|exit| written(exit, ui)) {
        Ok(exit) => exit,
        Err(fatal) => {
            ui.fatal(&fatal);
            fatal.exit.into()
        }
    }
}

/// The code to leave with, where data may not have been written: another failure keeps its own.
fn written(exit: ExitCode, ui: Ui) -> Result<ExitCode, Fatal> {
    match ui.all_is_written() {
        Err(fatal) if exit != ExitCode::SUCCESS => {
            ui.fatal(&fatal);
            Ok(exit)
        }
        written => written.map(|()| exit),
    }
}

fn dispatch(command: Command, session: &Session) -> Result<ExitCode, Fatal> {
    match command {
        Command::Apply(command) => command.run(session).map(Into::into),
        Command::Resume(command) => command.run(session).map(Into::into),
        Command::Rehearse(command) => command.run(session).map(Into::into),
        Command::Destroy(command) => command.run(session).map(Into::into),
        Command::Plan(command) => command.run(session).map(Into::into),
        Command::Status(command) => command.run(session).map(Into::into),
        Command::Verify(command) => command.run(session).map(Into::into),
        Command::Diagnose(command) => command.run(session).map(Into::into),
        Command::Log(command) => command.run(session).map(Into::into),
        Command::Check(command) => command.run(session).map(Into::into),
        Command::Graph(command) => command.run(session).map(Into::into),
        Command::Kinds(command) => command.run(session).map(Into::into),
        Command::Schema(command) => Ok(command.run(session).into()),
        Command::Settle(command) => command.run(session).map(Into::into),
        Command::Unlock(command) => command.run(session).map(Into::into),
        Command::Completions(command) => Ok(command.run(session).into()),
        Command::World(command) => command.run(session).map(Into::into),
    }
}

/// What the engine does at each moment, and the libraries below it, for whoever looks for a mistake in them: off unless `RUNBOOK_LOG`
/// asks for it, as in `RUNBOOK_LOG=runbook=debug,kube=debug`. What steps do is in their logs and events, and not here: this is not
/// masked, so that it names steps, programs, objects and hosts, and no values.
fn start_tracing(env: &Environment) {
    let Some(filter) = env.get("RUNBOOK_LOG").and_then(|value| value.to_str()) else { return };
    let filter = tracing_subscriber::EnvFilter::new(filter);
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
}

/// Does something asynchronous to its end, on a runtime of its own.
fn block_on<T>(work: impl Future<Output = Result<T, Fatal>>) -> Result<T, Fatal> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let ended = bug::guarded(|| runtime.block_on(work));
    // What a cancelled step left in a blocking thread must not keep the program from ending.
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    ended
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory as _;

    use super::*;
    use crate::report::layout::COMMANDS;

    #[test]
    fn every_command_is_known_where_commands_are_kept_in_one_piece() {
        let command = Cli::command();
        let shown = command.get_subcommands().filter(|command| !command.is_hide_set()).map(clap::Command::get_name);
        assert_eq!(shown.collect::<BTreeSet<_>>(), BTreeSet::from(COMMANDS));
    }
}
