//! `runbook status`: where a deployment stands, also while another process runs it.

use std::path::Path;

use clap::Args;
use jiff::Timestamp;
use runbook_steps::Clock;
use serde_json::json;

use super::Session;
use super::check::Output;
use super::deployment::state_fatal;
use super::exit::{Exit, Fatal};
use crate::report::tracker::{between, standing};
use crate::report::words::{pad, span};
use crate::state::fold::{RunState, Status as Step};
use crate::state::{Home, journal};

/// Show where a deployment stands
#[derive(Args, Debug)]
#[command(after_help = "Example: runbook status native-gateway")]
pub(super) struct Status {
    /// The deployment; may be left out if there is only one
    deployment: Option<String>,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

impl Status {
    pub(super) fn run(&self, session: &Session) -> Result<Exit, Fatal> {
        let home = choose(session, self.deployment.as_deref())?;
        let reading = journal::read(&home).map_err(state_fatal)?;
        let holder = home.holder().map_err(state_fatal)?;
        if self.output == Output::Json {
            session.ui.data(&as_json(&home, &reading.state, holder.is_some()));
            return Ok(Exit::Holds);
        }
        if let Some(note) = &holder {
            let who = &note.holder;
            session.ui.data(&format!(
                "{} is being run by {} (`{}`, pid {}) since {}\nlock {}\n",
                home.deployment(),
                who.who,
                who.command,
                who.pid,
                who.since,
                note.id.0
            ));
        }
        session.ui.data(&text(session, &home, &reading.state, holder.is_some()));
        Ok(Exit::Holds)
    }
}

/// The deployment that is meant: the named one, or the only one there is; where there is none, the newest rehearsal.
pub(super) fn choose(session: &Session, named: Option<&str>) -> Result<Home, Fatal> {
    let root = &session.state;
    let mut homes = Home::list(root).map_err(state_fatal)?;
    let fits = |home: &Home| named.is_none_or(|name| home.deployment() == name);
    if let Some(only) = homes.iter().position(fits).filter(|_| named.is_some() || homes.len() == 1) {
        return Ok(homes.swap_remove(only));
    }
    if homes.is_empty() || named.is_some() {
        let newest = rehearsals(root)?.into_iter().filter(fits).max_by_key(last_written);
        return newest.ok_or_else(|| nothing(root, named, &homes));
    }
    Err(Fatal::new(Exit::Usage, "there are several deployments; name one").hint(known(&homes)))
}

fn nothing(root: &Path, named: Option<&str>, homes: &[Home]) -> Fatal {
    match named {
        Some(name) => Fatal::new(Exit::Usage, format!("there is no deployment `{name}` in `{}`", root.display()))
            .hint(known(homes)),
        None => Fatal::new(Exit::Usage, format!("there is no deployment in `{}`", root.display()))
            .hint("`runbook apply PLAN` makes one; `runbook rehearse PLAN` tries it first"),
    }
}

/// The deployments of all rehearsals.
fn rehearsals(root: &Path) -> Result<Vec<Home>, Fatal> {
    let Ok(folders) = std::fs::read_dir(root.join("rehearsals")) else { return Ok(Vec::new()) };
    let lists: Result<Vec<_>, _> = folders.flatten().map(|folder| Home::list(&folder.path())).collect();
    Ok(lists.map_err(state_fatal)?.into_iter().flatten().collect())
}

fn last_written(home: &Home) -> Option<std::time::SystemTime> {
    home.journal_path().metadata().and_then(|meta| meta.modified()).ok()
}

fn known(homes: &[Home]) -> String {
    let names: Vec<&str> = homes.iter().map(Home::deployment).collect();
    if names.is_empty() { "there are none yet".to_owned() } else { format!("there is {}", names.join(", ")) }
}

fn text(session: &Session, home: &Home, state: &RunState, held: bool) -> String {
    let paint = session.ui.paint;
    let Some(run) = state.current() else { return format!("{} has never run\n", home.deployment()) };
    let ended = match (run.verdict, &run.signal) {
        (None, _) if held => "running".to_owned(),
        (None, _) => format!("killed after {}", run.last.strftime("%F %TZ")),
        (Some(_), Some(signal)) => format!("interrupted by {signal}"),
        (Some(verdict), None) => format!("{verdict:?}").to_lowercase(),
    };
    let label = state.simulated().map(|what| format!(" · rehearsal ({what})")).unwrap_or_default();
    let head = format!("{}{label} · run {} · {ended}", home.deployment(), run.opened.run);
    let mut out =
        format!("{}\nplan {} · began {}\n\n", paint.bold(&head), run.opened.file, run.began.strftime("%F %TZ"));
    let names = state.steps().map(|(id, _)| id.as_str().chars().count()).max().unwrap_or(0);
    for (id, step) in state.steps() {
        let stands = standing(step.status());
        let took = match (step.status(), step.started(), step.ended()) {
            (Step::Running { since, .. }, ..) => span(between(*since, now(state))),
            (_, Some(started), Some(ended)) => span(between(started, ended)),
            _ => String::new(),
        };
        let about = step.failure().map(|failure| failure.what.clone()).unwrap_or_default();
        let line = format!(
            "  {} {}  {}  {}  {about}",
            stands.mark(),
            pad(id.as_str(), names),
            pad(stands.word(), 9),
            pad(&took, 8)
        );
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// The time now. A rehearsal's times are model times, which only its own processes can tell: there the last record stands in.
fn now(state: &RunState) -> Timestamp {
    let last = state.current().filter(|run| run.opened.simulated.is_some()).map(|run| run.last);
    last.unwrap_or_else(|| Clock::real().now())
}

fn as_json(home: &Home, state: &RunState, held: bool) -> String {
    let steps: Vec<_> = state
        .steps()
        .map(|(id, step)| {
            json!({ "step": id, "outcome": standing(step.status()).word(), "attempts": step.attempts(),
                    "outputs": step.outputs(), "failure": step.failure() })
        })
        .collect();
    let runs: Vec<_> = state
        .runs()
        .iter()
        .map(|run| {
            json!({ "run": run.opened.run, "command": run.opened.command, "began": run.began, "last": run.last,
                           "verdict": run.verdict, "simulated": run.opened.simulated })
        })
        .collect();
    let value = json!({ "deployment": home.deployment(), "held": held, "runs": runs, "steps": steps });
    format!("{}\n", serde_json::to_string_pretty(&value).expect("a JSON value has a text"))
}
