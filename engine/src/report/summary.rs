//! What is said when a run has ended: the table, what failed and what to do, what came out, what to type next. Pure text.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Map, Value};

use super::estimate;
use super::snapshot::{Row, Snapshot, Standing};
use super::words::{Paint, brief, clip, count, list, pad, some, span};
use crate::plan::inputs::plain;
use crate::plan::{Plan, Step, StepId};
use crate::state::fold::{RunState, Status};

/// What a summary is made of.
pub(crate) struct Ended<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) state: &'a RunState,
    pub(crate) snapshot: &'a Snapshot,
    /// What was asked for where that is not all of the plan, and the steps that this left out.
    pub(crate) part: Option<(&'a str, &'a BTreeSet<StepId>)>,
    /// What the plan shows at its end.
    pub(crate) outputs: &'a Map<String, Value>,
    /// The deployment's name.
    pub(crate) deployment: &'a str,
    /// What is simulated, if anything.
    pub(crate) simulated: Option<&'a str>,
    /// How many times faster than the machine's clock the run's is.
    pub(crate) speed: f64,
    /// How long it took on the machine's clock.
    pub(crate) real: Duration,
    /// How a step's newest log is shown: `runbook log STEP`, with what else it takes.
    pub(crate) log_command: &'a str,
    /// What continues the run.
    pub(crate) next: &'a str,
    pub(crate) paint: Paint,
    /// Columns; `usize::MAX` where nothing has to fit.
    pub(crate) width: usize,
}

/// Longer outputs are cut on the screen; `-o json` has them whole.
const LONGEST_OUTPUT: usize = 160;

/// A plan with more steps is large.
const MANY: usize = 200;

/// The whole summary.
pub(crate) fn text(ended: &Ended) -> String {
    let mut parts = vec![table(ended)];
    parts.extend(reused(ended));
    parts.extend(failures(ended));
    parts.extend(consequences(ended));
    parts.push(headline(ended));
    parts.extend(outputs(ended));
    parts.join("\n")
}

fn headline(ended: &Ended) -> String {
    let paint = ended.paint;
    let snapshot = ended.snapshot;
    let bad: usize = [Standing::Failed, Standing::Blocked, Standing::Cancelled, Standing::Unknown, Standing::Waiting]
        .iter()
        .map(|&standing| snapshot.having(standing).count())
        .sum();
    let good = if ended.part.is_some() { "what was asked for holds" } else { "everything holds" };
    let verdict = if bad == 0 { paint.good(good) } else { paint.bad(&tally(snapshot)) };
    let time = match ended.simulated {
        Some(_) => format!("{} model time ({} real)", span(snapshot.elapsed), span(ended.real)),
        None => span(snapshot.elapsed),
    };
    let label = ended.simulated.map_or("", |_| " · rehearsal");
    let steps = steps_of(ended);
    let mut text = format!("{}{label} · {verdict} · {steps} in {time}\n", paint.bold(ended.deployment));
    text.extend(partly(ended));
    if let Some(what) = ended.simulated {
        text.push_str(&format!("{}\n", paint.warn(what)));
    }
    if snapshot.rows.iter().any(|row| !row.reused && row.took > Duration::ZERO) {
        let (path, long) = estimate::measured_path(ended.plan, snapshot);
        let ids: Vec<&str> = path.iter().map(|&index| ended.plan.steps[index].id.as_str()).collect();
        let figures =
            format!("one after another {} · critical path {}", span(estimate::in_a_row(snapshot)), span(long));
        text.push_str(&format!("{figures}\n{}\n", paint.dim(&clip(&ids.join(" → "), ended.width))));
    }
    text
}

/// How many steps the run was for.
fn steps_of(ended: &Ended) -> String {
    let all = ended.plan.steps.iter().filter(|step| !step.on_demand).count();
    let left = |left: &BTreeSet<StepId>| ended.plan.steps.len() - left.len();
    match ended.part {
        Some((_, out)) if !out.is_empty() => format!("{} of {}", left(out), count(all, "step")),
        _ => count(all, "step"),
    }
}

/// That the run was not for all of the plan, and what it left out.
fn partly(ended: &Ended) -> Option<String> {
    let (asked, left) = ended.part?;
    let left: Vec<&StepId> = left.iter().collect();
    let out = if left.is_empty() { String::new() } else { format!("; left out {}", some(&left, 8)) };
    Some(format!("{}\n", ended.paint.warn(&format!("partial run: {asked}{out}"))))
}

/// Whether a step was no part of the run.
fn is_left_out(ended: &Ended, row: &Row) -> bool {
    let left = row.standing == Standing::Left || ended.part.is_some_and(|(_, left)| left.contains(&row.id));
    row.attempts == 0 && left
}

fn tally(snapshot: &Snapshot) -> String {
    let order = [Standing::Failed, Standing::Unknown, Standing::Cancelled, Standing::Blocked, Standing::Waiting];
    let parts: Vec<String> = order
        .iter()
        .map(|&standing| (snapshot.having(standing).count(), standing.word()))
        .filter(|(number, _)| *number > 0)
        .map(|(number, word)| format!("{number} {word}"))
        .collect();
    parts.join(", ")
}

fn table(ended: &Ended) -> String {
    let names = ended.snapshot.rows.iter().map(|row| row.id.as_str().chars().count()).max().unwrap_or(4).max(4);
    let times = if ended.simulated.is_some() { "model time  real" } else { "took" };
    let heading = format!("  {}  {}  {}  {times}", pad("step", names), pad("outcome", 9), pad("tries", 5));
    let mut text = format!("\n{}\n", ended.paint.dim(&heading));
    let rows = ended.plan.steps.iter().zip(&ended.snapshot.rows);
    for (step, row) in rows.filter(|(_, row)| !is_left_out(ended, row)) {
        text.push_str(&table_row(ended, step, row, names));
    }
    text
}

/// In a large plan, the steps that were left alone are told in one line: the table is for what happened.
fn is_told_in_passing(ended: &Ended, row: &Row) -> bool {
    row.reused && ended.snapshot.rows.len() > MANY
}

fn reused(ended: &Ended) -> Option<String> {
    let reused = ended.snapshot.rows.iter().filter(|row| is_told_in_passing(ended, row)).count();
    (reused > 0).then(|| format!("  {}\n", ended.paint.dim(&format!("{} reused", count(reused, "step")))))
}

fn table_row(ended: &Ended, step: &Step, row: &Row, names: usize) -> String {
    if is_told_in_passing(ended, row) {
        return String::new();
    }
    let paint = ended.paint;
    let word = pad(if row.reused { "reused" } else { row.standing.word() }, 9);
    let word = match row.standing {
        Standing::Ok | Standing::Changed => paint.good(&word),
        Standing::Skipped | Standing::Waiting | Standing::Left => paint.dim(&word),
        _ => paint.bad(&word),
    };
    let tries = if row.attempts == 0 { String::new() } else { row.attempts.to_string() };
    let line = format!("  {}  {word}  {}  {}", pad(row.id.as_str(), names), pad(&tries, 5), times(ended, row));
    let about = remark(ended, step, row);
    format!("{}\n", format!("{line}  {}", paint.dim(&about)).trim_end())
}

/// How long a step took: by the run's clock, and in a rehearsal also by the machine's.
fn times(ended: &Ended, row: &Row) -> String {
    let took = if row.began.is_some() { span(row.took) } else { String::new() };
    if ended.simulated.is_none() {
        return pad(&took, 9);
    }
    let real =
        if row.began.is_some() { format!("{:.2}s", row.took.as_secs_f64() / ended.speed) } else { String::new() };
    format!("{}  {}", pad(&took, 10), pad(&real, 6))
}

fn remark(ended: &Ended, step: &Step, row: &Row) -> String {
    match ended.state.status(&row.id) {
        Status::Blocked { by } => format!("by {}", list(by)),
        Status::Skipped { why } => why.clone(),
        _ => {
            let note = ended.state.step(&row.id).and_then(|step| step.note());
            note.map_or_else(|| step.name.clone(), ToOwned::to_owned)
        }
    }
}

fn failures(ended: &Ended) -> Vec<String> {
    let broken = |row: &&Row| matches!(row.standing, Standing::Failed | Standing::Unknown);
    ended.snapshot.rows.iter().filter(broken).map(|row| failure(ended, row)).collect()
}

fn failure(ended: &Ended, row: &Row) -> String {
    let paint = ended.paint;
    let step = ended.plan.step(row.id.as_str()).map(|index| &ended.plan.steps[index]);
    if let Status::Unknown { why } = ended.state.status(&row.id) {
        let id = &row.id;
        let ways = format!("runbook settle {id} --done  or  runbook settle {id} --redo, then {}", ended.next);
        let head = format!("{} nobody can tell whether {} was done", paint.bad("?"), paint.bold(id.as_str()));
        return format!("{head}\n\n  {why}\n\n  {}   {ways}\n", paint.busy("next"));
    }
    let Some(failure) = ended.state.step(&row.id).and_then(|step| step.failure()) else { return String::new() };
    let of = step.map_or(1, |step| step.retry.attempts);
    let retried = step.is_none_or(|step| step.retry.only.contains(&failure.class));
    let tries = match (retried, row.attempts.max(1)) {
        (true, tries) => format!("attempt {tries} of {of}, {}", failure.class),
        (false, tries) => format!("attempt {tries}, {}: not retried", failure.class),
    };
    let mut text =
        format!("{} {} failed after {} ({tries})\n\n", paint.bad("✗"), paint.bold(row.id.as_str()), span(row.took));
    text.push_str(&format!("  {}\n", failure.what));
    for line in failure.detail.lines().rev().take(12).collect::<Vec<_>>().into_iter().rev() {
        text.push_str(&format!("  {}\n", paint.dim(&format!("│ {line}"))));
    }
    text.push('\n');
    let place = step.map(|step| step.place.location()).unwrap_or_default();
    let rows = [
        ("cause", failure.cause.clone()),
        ("fix", failure.fix.clone()),
        ("remedy", failure.remedy.as_ref().map(|step| format!("{} --only {step}", ended.next))),
        ("where", Some(format!("{place} · {} {}", ended.log_command, row.id))),
        ("next", Some(ended.next.to_owned())),
    ];
    let width = if failure.remedy.is_some() { 6 } else { 5 };
    for (word, said) in rows {
        let Some(said) = said else { continue };
        text.push_str(&format!("  {}  {said}\n", paint.busy(&pad(word, width))));
    }
    text
}

fn consequences(ended: &Ended) -> Option<String> {
    let blocked: Vec<&StepId> = ended.snapshot.having(Standing::Blocked).map(|row| &row.id).collect();
    let held = ended.snapshot.rows.iter().filter(|row| row.standing.holds()).count();
    if blocked.is_empty() {
        return None;
    }
    let steps = count(blocked.len(), "step");
    Some(format!("{steps} blocked by it: {}. {held} hold; what succeeded is not run again.\n", list(&blocked)))
}

fn outputs(ended: &Ended) -> Option<String> {
    if ended.outputs.is_empty() {
        return None;
    }
    let names = ended.outputs.keys().map(|name| name.chars().count()).max().unwrap_or(0);
    let mut text = format!("{}\n", ended.paint.dim("outputs"));
    for (name, value) in ended.outputs {
        let longest = if ended.width == usize::MAX { usize::MAX } else { LONGEST_OUTPUT };
        let value = brief(&plain(value), longest);
        text.push_str(&format!("  {}  {value}\n", pad(name, names)));
    }
    Some(text)
}
