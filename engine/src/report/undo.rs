//! What is said of taking back: the preview before it, the summary after it. Pure text.

use std::fmt::Write as _;
use std::time::Duration;

use super::commands::Commands;
use super::tracker::between;
use super::words::{Paint, count, label, lasted, list, pad, told};
use crate::plan::{Plan, StepId};
use crate::run::undo::{Does, Item, Left, UndoPlan};
use crate::state::{RunState, Status};

/// What is undone and what is left alone, before anything happens.
pub(crate) fn preview(undo: &UndoPlan, paint: Paint) -> String {
    let mut out = String::new();
    let names = undo.in_order().map(|item| item.step.as_str().chars().count()).max().unwrap_or(0);
    if !undo.items.is_empty() {
        let _ = writeln!(out, "{} in this order, side by side where nothing forbids it:", paint.bold("to be undone,"));
    }
    for item in undo.in_order() {
        out.push_str(&item_lines(item, names, paint));
    }
    out.push_str(&not_undone(&undo.left, None, paint));
    if !undo.before.is_empty() {
        let _ = writeln!(out, "{}: {}", paint.bold("was there before, and stays"), list(&undo.before));
    }
    if undo.not_chosen > 0 {
        let _ = writeln!(out, "{} of this deployment's not chosen by --only", count(undo.not_chosen, "step"));
    }
    out
}

fn item_lines(item: &Item, names: usize, paint: Paint) -> String {
    let mut does: Vec<String> = item.does().iter().map(|does| shown(does, paint)).collect();
    if item.deeds.is_empty() {
        does.push("nothing: you say that you have taken it back".to_owned());
    }
    let mut remarks = Vec::new();
    remarks.extend(item.confirm.clone().map(|confirm| paint.warn(&confirm)));
    remarks.extend(item.doubtful.then(|| paint.dim("it was not finished, and may have made only a part, or nothing")));
    remarks.extend(item.gone.then(|| paint.dim("it is gone from the plan; the journal holds how to undo it")));
    let blank = StepId::from("");
    let firsts = std::iter::once(&item.step).chain(std::iter::repeat(&blank));
    does.iter()
        .chain(&remarks)
        .zip(firsts)
        .map(|(line, first)| format!("  {}  {line}\n", pad(first.as_str(), names)))
        .collect()
}

/// A command in one line, and what tells it from one that reads the same.
fn shown(does: &Does, paint: Paint) -> String {
    let mut lines = does.command.lines();
    let first = lines.next().unwrap_or_default().to_owned();
    let line = if lines.next().is_some() { format!("{first} …") } else { first };
    if does.apart.is_empty() { line } else { line + &paint.dim(&does.remark()) }
}

/// What is not undone: what goes with a cluster, and what stays. With a state, it is told afterwards.
fn not_undone(left: &[(StepId, Left)], state: Option<&RunState>, paint: Paint) -> String {
    let rows = |goes: bool| -> Vec<(&StepId, String)> {
        let of = left.iter().filter(|(_, left)| left.goes_with().is_some() == goes);
        of.map(|(id, left)| (id, said_of(left, state))).collect()
    };
    let head = "made by this deployment, and";
    let go = section(&format!("{head} not undone by itself"), &rows(true), paint);
    go + &section(&format!("{head} left alone"), &rows(false), paint)
}

/// Why it is left; afterwards also whether the cluster went.
fn said_of(left: &Left, state: Option<&RunState>) -> String {
    match left.cluster().zip(state) {
        None => left.to_string(),
        Some((cluster, state)) if *state.status(cluster) == Status::Undone => {
            left.to_string().replacen("goes with", "went with", 1)
        }
        Some(_) => format!("still there: {left}"),
    }
}

fn section(head: &str, rows: &[(&StepId, String)], paint: Paint) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let names = rows.iter().map(|(id, _)| id.as_str().chars().count()).max().unwrap_or(0);
    let mut out = format!("{}:\n", paint.bold(head));
    for (id, why) in rows {
        let _ = writeln!(out, "  {}  {why}", pad(id.as_str(), names));
    }
    out
}

/// What a summary is made of.
pub(crate) struct Ended<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) state: &'a RunState,
    /// What was to be undone.
    pub(crate) wanted: &'a [StepId],
    pub(crate) blocked: &'a [(StepId, Vec<StepId>)],
    pub(crate) left: &'a [(StepId, Left)],
    pub(crate) before: &'a [StepId],
    pub(crate) deployment: &'a str,
    pub(crate) simulated: Option<&'a str>,
    /// How long it took on the machine's clock.
    pub(crate) real: Duration,
    pub(crate) commands: &'a Commands,
    /// What goes on with it.
    pub(crate) next: &'a str,
    pub(crate) paint: Paint,
}

/// The whole summary.
pub(crate) fn summary(ended: &Ended) -> String {
    let paint = ended.paint;
    let undone = ended.wanted.iter().filter(|id| *ended.state.status(id) == Status::Undone).count();
    let all = undone == ended.wanted.len();
    let mut out = String::from("\n");
    for id in ended.wanted {
        out.push_str(&failure(ended, id));
    }
    for (id, roots) in ended.blocked {
        let _ =
            writeln!(out, "{} {} was not tried: it waits for {}", paint.bad("⊘"), paint.bold(id.as_str()), list(roots));
    }
    out.push_str(&not_undone(ended.left, Some(ended.state), paint));
    if !ended.before.is_empty() {
        let _ = writeln!(out, "{}: {}", paint.bold("was there before, and is still there"), list(ended.before));
    }
    let elapsed = ended.state.current().map_or(Duration::ZERO, |run| between(run.began, run.last));
    let figure = format!("{undone} of {} undone", count(ended.wanted.len(), "step"));
    let figure = if all { paint.good(&figure) } else { paint.bad(&figure) };
    let label = label(ended.simulated);
    let signal = ended.state.current().and_then(|run| run.signal.as_deref());
    let signal =
        signal.map(|signal| format!(" · {}", paint.warn(&format!("interrupted by {signal}")))).unwrap_or_default();
    let time = lasted(elapsed, ended.real, ended.simulated);
    let _ = writeln!(out, "{}{label}{signal} · {figure} in {time}", paint.bold(ended.deployment));
    if let Some(what) = ended.simulated {
        let _ = writeln!(out, "{}", paint.warn(what));
    }
    if !all {
        let _ = writeln!(out, "{}   {}", paint.busy("next"), ended.next);
    }
    out
}

fn failure(ended: &Ended, id: &StepId) -> String {
    let paint = ended.paint;
    let Some(step) = ended.state.step(id) else { return String::new() };
    let Some(failure) = step.failure().filter(|_| matches!(step.status(), Status::UndoFailed { .. })).map(told) else {
        return String::new();
    };
    let head = format!("could not be undone (attempt {}, {})", step.attempts(), failure.class);
    let mut out = format!("{} {} {head}\n\n  {}\n", paint.bad("✗"), paint.bold(id.as_str()), failure.what);
    for line in failure.detail.lines().rev().take(12).collect::<Vec<_>>().into_iter().rev() {
        let _ = writeln!(out, "  {}", paint.dim(&format!("│ {line}")));
    }
    let place = ended.plan.step(id.as_str()).map(|index| ended.plan.steps[index].place.location());
    let rows = [
        ("cause", failure.cause.clone()),
        ("fix", failure.fix.clone()),
        ("where", place),
        ("log", Some(ended.commands.log(id))),
        ("else", Some(format!("take it back by hand, then {} --forget {id}", ended.next))),
    ];
    out.push('\n');
    for (word, said) in rows {
        let Some(said) = said else { continue };
        let _ = writeln!(out, "  {}  {said}", paint.busy(&pad(word, 5)));
    }
    out.push('\n');
    out
}
