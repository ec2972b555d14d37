//! What is said when a run has ended: the table, what failed and what to do, what came out, what to type next. Pure text.

use std::collections::BTreeSet;
use std::time::Duration;

use runbook_steps::{Failure, printable};
use serde_json::{Map, Value};

use super::commands::Commands;
use super::estimate;
use super::layout;
use super::snapshot::{Row, Snapshot, Standing};
use super::words::{MODEL_TIME, Paint, brief, count, hold, label, lasted, list, pad, some, span, told, widest};
use crate::plan::inputs::plain;
use crate::plan::{Plan, Step, StepId};
use crate::state::fold::{RunState, Status, StepState};

/// What a summary is made of.
pub(crate) struct Ended<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) state: &'a RunState,
    pub(crate) snapshot: &'a Snapshot,
    /// What was asked for where that is not all of the plan, and the steps that this left out.
    pub(crate) part: Option<(&'a str, &'a BTreeSet<StepId>)>,
    /// The steps that would now do something else, and were left as they are because the user said so.
    pub(crate) kept: &'a [StepId],
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
    pub(crate) commands: &'a Commands,
    /// What continues the run.
    pub(crate) next: &'a str,
    pub(crate) paint: Paint,
    /// Columns; `usize::MAX` where nothing has to fit.
    pub(crate) width: usize,
}

/// Longer outputs are cut on the screen; `-o json` has them whole.
const LONGEST_OUTPUT: usize = 160;

/// More of those whose failure blocks others are told by their number.
const MOST_CULPRITS: usize = 6;

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
    let (time, label) = (lasted(snapshot.elapsed, ended.real, ended.simulated), label(ended.simulated));
    let (name, verdict, steps) = (paint.bold(ended.deployment), verdict(ended), steps_of(ended));
    let mut text = format!("{name}{label} · {verdict} · {steps} in {time}\n");
    text.extend(partly(ended));
    text.extend(kept(ended));
    if let Some(what) = ended.simulated {
        text.push_str(&format!("{}\n", paint.warn(what)));
    }
    text.extend(comparison(ended));
    text.extend(how_to_go_on(ended));
    text
}

/// How it ended, in a few words.
fn verdict(ended: &Ended) -> String {
    let paint = ended.paint;
    let mut parts: Vec<String> = signal(ended).map(|signal| format!("interrupted by {signal}")).into_iter().collect();
    parts.extend(tally(ended.snapshot));
    let good = if ended.part.is_some() { "what was asked for holds" } else { "everything holds" };
    let has = |standing| ended.snapshot.having(standing).next().is_some();
    let broken = has(Standing::Failed) || has(Standing::Unknown);
    match (parts.join(", "), broken) {
        (parts, _) if parts.is_empty() => paint.good(good),
        (parts, false) => paint.warn(&parts),
        (parts, true) => paint.bad(&parts),
    }
}

/// The signal that ended the run.
fn signal<'a>(ended: &Ended<'a>) -> Option<&'a str> {
    ended.state.current()?.signal.as_deref()
}

/// What was stopped by a signal, and how to go on. A rehearsal says the latter with what else there is to say of its world.
fn how_to_go_on(ended: &Ended) -> Option<String> {
    signal(ended)?;
    let stopped: Vec<&StepId> = ended.snapshot.having(Standing::Cancelled).map(|row| &row.id).collect();
    let mut text = String::new();
    if !stopped.is_empty() {
        text.push_str(&format!("stopped: {}\n", list(&stopped)));
    }
    let blind = |id: &&&StepId| {
        let flight = ended.state.step(id).and_then(StepState::in_flight);
        flight.is_some_and(|flight| !flight.recoverable)
    };
    match stopped.iter().find(blind) {
        Some(id) => text.push_str(&format!("continue with: {}\n", settle_first(ended, id))),
        None if ended.simulated.is_none() => text.push_str(&format!("continue with: {}\n", ended.next)),
        None => {}
    }
    Some(text)
}

/// What a person types who is asked what became of a step.
fn settle_first(ended: &Ended, id: &StepId) -> String {
    format!("{}; then {}", ended.commands.ways_to_settle(id), ended.next)
}

/// Of fewer steps nobody asks what decided how long they took.
const FEW: usize = 3;

/// How long it would have taken one after another, and the chain of steps that decided how long it did take.
fn comparison(ended: &Ended) -> Option<String> {
    let snapshot = ended.snapshot;
    if signal(ended).is_some() || snapshot.rows.iter().filter(|row| row.ran()).count() < FEW {
        return None;
    }
    let (path, long) = estimate::measured_path(ended.plan, snapshot);
    let ids: Vec<&str> = path.iter().map(|&index| ended.plan.steps[index].id.as_str()).collect();
    let figures = format!("one after another {} · critical path {}", span(estimate::in_a_row(snapshot)), span(long));
    Some(format!("{figures}\n{}\n", ended.paint.dim(&ids.join(" → "))))
}

/// How many steps ran, and how many did not have to.
fn steps_of(ended: &Ended) -> String {
    let number = |wanted: &dyn Fn(&Row) -> bool| ended.snapshot.rows.iter().filter(|row| wanted(row)).count();
    let all = number(&|row| row.standing != Standing::Left || row.ran());
    let (ran, held) = (number(&Row::ran), number(&|row| row.reused && !is_left_out(ended, row)));
    let skipped = number(&|row| row.standing == Standing::Skipped && !row.reused);
    if ran == all && ended.part.is_none() {
        return count(all, "step");
    }
    let mut parts = vec![match ended.part {
        Some((_, out)) if !out.is_empty() => format!("{ran} of {} ran", count(whole(ended.plan), "step")),
        _ => format!("{} ran", count(ran, "step")),
    }];
    parts.extend((held > 0).then(|| format!("{held} held already")));
    parts.extend((skipped > 0).then(|| format!("{skipped} skipped")));
    parts.join(", ")
}

/// How many steps all of a plan has.
fn whole(plan: &Plan) -> usize {
    plan.steps.iter().filter(|step| !step.on_demand).count()
}

/// That the run was not for all of the plan, and what it left out.
fn partly(ended: &Ended) -> Option<String> {
    let (asked, left) = ended.part?;
    let left: Vec<&StepId> = left.iter().collect();
    let out = if left.is_empty() { String::new() } else { format!("; left out {}", some(&left, 8)) };
    Some(format!("{}\n", ended.paint.warn(&format!("partial run: {asked}{out}"))))
}

/// What holds, but not as the plan would now have it.
fn kept(ended: &Ended) -> Option<String> {
    let (number, names) = (ended.kept.len(), some(ended.kept, 8));
    let are = if number == 1 { "is stale and was" } else { "are stale and were" };
    let them = if number == 1 { "it" } else { "them" };
    let what = format!("{} {are} kept (--stale keep): {names}; --stale rerun runs {them} again", count(number, "step"));
    (number > 0).then(|| format!("{}\n", ended.paint.warn(&what)))
}

/// Whether a step was no part of the run.
fn is_left_out(ended: &Ended, row: &Row) -> bool {
    let left = row.standing == Standing::Left || ended.part.is_some_and(|(_, left)| left.contains(&row.id));
    row.attempts == 0 && left
}

fn tally(snapshot: &Snapshot) -> Vec<String> {
    let waiting = snapshot.having(Standing::Waiting).count();
    let mut parts = snapshot.trouble();
    parts.extend((waiting > 0).then(|| format!("{waiting} not started")));
    parts
}

fn table(ended: &Ended) -> String {
    let columns = Columns::of(ended);
    let mut cells = vec![pad("step", columns.names), pad("outcome", columns.outcomes)];
    cells.extend(columns.tries.then(|| pad("tries", TRIES)));
    cells.push(pad(if ended.simulated.is_some() { MODEL_TIME } else { "took" }, columns.took));
    cells.extend(columns.real.then(|| pad("real", REAL)));
    cells.push("about".to_owned());
    let mut text = format!("\n{}\n", ended.paint.dim(&format!("  {}", cells.join("  "))));
    let rows = ended.plan.steps.iter().zip(&ended.snapshot.rows);
    for (step, row) in rows.filter(|(_, row)| !is_left_out(ended, row)) {
        text.push_str(&table_row(ended, step, row, columns));
    }
    text
}

/// How wide the columns are that say how often a step was tried, and how long that took by the machine's clock.
const TRIES: usize = 5;
const REAL: usize = 6;

/// So much room is worth more to what a step has to say than to figures that can be missed.
const ROOM: usize = 20;

/// The columns of the table, and how wide they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Columns {
    names: usize,
    outcomes: usize,
    took: usize,
    tries: bool,
    real: bool,
}

impl Columns {
    fn of(ended: &Ended) -> Self {
        let rows = &ended.snapshot.rows;
        let names = widest(rows.iter().map(|row| row.id.as_str())).max(4);
        let outcomes = widest(rows.iter().map(outcome)).max(9);
        let (real, took) = if ended.simulated.is_some() { (true, MODEL_TIME.len()) } else { (false, 9) };
        Self { names, outcomes, took, tries: true, real }.fitted(ended.width)
    }

    /// In a narrow terminal, what can be missed gives way.
    fn fitted(self, width: usize) -> Self {
        let [without_real, fewest] = [true, false].map(|tries| Self { tries, real: false, ..self });
        let all = [self, without_real];
        all.into_iter().find(|columns| columns.used() + ROOM <= width).unwrap_or(fewest)
    }

    fn used(self) -> usize {
        let shown = [
            Some(self.names),
            Some(self.outcomes),
            self.tries.then_some(TRIES),
            Some(self.took),
            self.real.then_some(REAL),
        ];
        2 + shown.into_iter().flatten().map(|column| column + 2).sum::<usize>()
    }
}

fn outcome(row: &Row) -> &'static str {
    if row.reused { "reused" } else { row.standing.said_afterwards() }
}

/// In a large plan, the steps that were left alone are told in one line: the table is for what happened.
fn is_told_in_passing(ended: &Ended, row: &Row) -> bool {
    row.reused && ended.snapshot.rows.len() > MANY
}

fn reused(ended: &Ended) -> Option<String> {
    let reused = ended.snapshot.rows.iter().filter(|row| is_told_in_passing(ended, row)).count();
    (reused > 0).then(|| format!("  {}\n", ended.paint.dim(&format!("{} reused", count(reused, "step")))))
}

fn table_row(ended: &Ended, step: &Step, row: &Row, columns: Columns) -> String {
    if is_told_in_passing(ended, row) {
        return String::new();
    }
    let paint = ended.paint;
    let word = pad(outcome(row), columns.outcomes);
    let word = match row.standing {
        Standing::Ok | Standing::Changed => paint.good(&word),
        Standing::Skipped | Standing::Waiting | Standing::Left => paint.dim(&word),
        Standing::NeedsPerson | Standing::Cancelled | Standing::Blocked => paint.warn(&word),
        _ => paint.bad(&word),
    };
    let tries = if row.attempts == 0 { String::new() } else { row.attempts.to_string() };
    let mut cells = vec![pad(row.id.as_str(), columns.names), word];
    cells.extend(columns.tries.then(|| pad(&tries, TRIES)));
    cells.extend(times(ended, row, columns));
    let line = format!("  {}  ", cells.join("  "));
    let about = remark(ended, step, row, layout::visible(&line));
    format!("{}\n", format!("{line}{}", paint.dim(&about)).trim_end())
}

/// How long a step took: by the run's clock, and in a rehearsal also by the machine's.
fn times(ended: &Ended, row: &Row, columns: Columns) -> Vec<String> {
    let told = |text: String| if row.ran() { text } else { String::new() };
    let mut times = vec![pad(&told(span(row.took)), columns.took)];
    let real = || told(format!("{:.2}s", row.took.as_secs_f64() / ended.speed));
    times.extend(columns.real.then(|| pad(&real(), REAL)));
    times
}

/// Why it is not as it should be, what it has to say, or else its name; what is told in full elsewhere is cut to the width.
fn remark(ended: &Ended, step: &Step, row: &Row, used: usize) -> String {
    let note = ended.state.step(&row.id).and_then(|step| step.note());
    match (ended.state.status(&row.id), &row.why, note) {
        _ if !row.by.is_empty() => layout::title(&format!("by {}", list(&row.by)), used, ended.width),
        (Status::Skipped { why }, ..) => printable(why).into_owned(),
        (_, Some(why), _) => layout::title(why, used, ended.width),
        (_, _, Some(note)) => printable(note).into_owned(),
        _ if step.name == step.id.as_str() => String::new(),
        _ => layout::title(&step.name, used, ended.width),
    }
}

fn failures(ended: &Ended) -> Vec<String> {
    let broken = |row: &&Row| matches!(row.standing, Standing::Failed | Standing::Unknown | Standing::NeedsPerson);
    ended.snapshot.rows.iter().filter(broken).map(|row| failure(ended, row)).collect()
}

fn failure(ended: &Ended, row: &Row) -> String {
    let paint = ended.paint;
    let step = ended.plan.step(row.id.as_str()).map(|index| &ended.plan.steps[index]);
    if let Status::Unknown { why } = ended.state.status(&row.id) {
        let id = &row.id;
        let ways = settle_first(ended, id);
        let head = format!("{} nobody can tell whether {} was done", paint.bad("?"), paint.bold(id.as_str()));
        return format!("{head}\n\n  {}\n\n  {}   {ways}\n", printable(why), paint.busy("next"));
    }
    let Some(failure) = ended.state.step(&row.id).and_then(|step| step.failure()).map(told) else {
        return String::new();
    };
    let failure = &failure;
    if let (Standing::NeedsPerson, Some(flags)) = (row.standing, answer(failure)) {
        return question(ended, row, failure, flags);
    }
    let of = step.map_or(1, |step| step.retry.attempts);
    let retried = step.is_none_or(|step| step.retry.only.contains(&failure.class));
    let tries = match (retried, row.attempts.max(1)) {
        (true, tries) if !failure.class.retried_by_default() => format!("attempt {tries} of {of}"),
        (true, tries) => format!("attempt {tries} of {of}, {}", failure.class),
        (false, tries) => format!("attempt {tries}, {}: not retried", failure.class),
    };
    let mut text = if row.standing == Standing::NeedsPerson {
        format!("{} {} needs you\n\n", paint.warn("!"), paint.bold(row.id.as_str()))
    } else {
        format!("{} {} failed after {} ({tries})\n\n", paint.bad("✗"), paint.bold(row.id.as_str()), span(row.took))
    };
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
        ("where", Some(place)),
        ("log", Some(ended.commands.log(&row.id))),
        ("next", Some(ended.next.to_owned())),
    ];
    let width = if failure.remedy.is_some() { 6 } else { 5 };
    for (word, said) in rows {
        let Some(said) = said else { continue };
        text.push_str(&format!("  {}  {said}\n", paint.busy(&pad(word, width))));
    }
    text
}

/// The flags that answer what a step asks.
pub(crate) fn answer(failure: &Failure) -> Option<&str> {
    let (_, flags) = failure.fix.as_deref()?.split_once("`--answer ")?;
    flags.rsplit_once('`').map(|(flags, _)| flags)
}

/// What a step asks a person, and the command that answers.
fn question(ended: &Ended, row: &Row, failure: &Failure, flags: &str) -> String {
    let paint = ended.paint;
    let mut text = format!("{} {} needs you\n\n", paint.warn("!"), paint.bold(row.id.as_str()));
    for line in failure.detail.lines() {
        text.push_str(format!("  {line}").trim_end());
        text.push('\n');
    }
    text.push_str(&format!("\n  {}  {} --answer {flags}\n", paint.busy("next"), ended.next));
    text
}

fn consequences(ended: &Ended) -> Option<String> {
    let (blocked, culprits) = ended.snapshot.blocked();
    if blocked.is_empty() {
        return None;
    }
    let held = ended.snapshot.rows.iter().filter(|row| row.standing.holds()).count();
    let (steps, holds) = (count(blocked.len(), "step"), hold(held));
    let culprits = some(&culprits, MOST_CULPRITS);
    Some(format!("{steps} blocked by {culprits}: {}. {holds}; what succeeded is not run again.\n", list(&blocked)))
}

fn outputs(ended: &Ended) -> Option<String> {
    if ended.outputs.is_empty() {
        return None;
    }
    let names = widest(ended.outputs.keys().map(String::as_str));
    let mut text = format!("{}\n", ended.paint.dim("outputs"));
    for (name, value) in ended.outputs {
        let longest = if ended.width == layout::ANY { usize::MAX } else { LONGEST_OUTPUT };
        let value = brief(&printable(&plain(value)), longest);
        text.push_str(format!("  {}  {value}", pad(name, names)).trim_end());
        text.push('\n');
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_give_way_to_words_in_a_narrow_terminal() {
        let all = Columns { names: 20, outcomes: 11, took: 10, tries: true, real: true };
        let shown = |width| {
            let columns = all.fitted(width);
            (columns.tries, columns.real)
        };
        assert_eq!([100, 80, 60].map(shown), [(true, true), (true, false), (false, false)]);
        assert_eq!(shown(layout::ANY), (true, true));
    }
}
