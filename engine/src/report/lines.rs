//! One line per event, for pipes, logs and CI.

use std::time::Duration;

use runbook_steps::{Class, printable};

use super::tracker::{News, between};
use super::words::{self, Paint, span};
use crate::event::{Advice, Event};
use crate::plan::{Plan, Step, StepId};
use crate::state::fold::RunState;
use crate::state::record::{Entry, Failed, Outcome, Record};

/// The line for an event; many events have none. The plan only adds what kind a step is of.
pub(crate) fn line(plan: Option<&Plan>, event: &Event, state: &RunState, paint: Paint) -> Option<String> {
    match event {
        Event::Notice(text) => Some(printable(text).into_owned()),
        Event::Recorded(entry) => {
            let text = words_for(plan, entry, state, paint)?;
            let began = state.current().map_or(entry.time, |run| run.began);
            Some(format!("{} {text}", clock(between(began, entry.time))))
        }
        Event::Progress { .. } | Event::Output { .. } => None,
    }
}

/// The lines for what is new in what a running step says.
pub(crate) fn news(step: &Step, news: &[News], since: Duration, paint: Paint) -> Vec<String> {
    let line = |news: &News| match news {
        News::Advice(Advice { cause, fix }) => {
            format!("{}  {}  {} {}", step.id, paint.warn("hint"), printable(cause), printable(fix))
        }
        News::Stage(stage) => {
            let known = &step.stages[*stage];
            let about = known.expected.map(|expected| format!(", {}", words::about(expected.typical())));
            let place = format!("stage {} of {}{}", stage + 1, step.stages.len(), about.unwrap_or_default());
            format!("{}  {}  {place}", step.id, paint.busy(&known.name))
        }
    };
    news.iter().map(|news| format!("{} {}", clock(since), line(news))).collect()
}

/// The line for a step that has become slower than usual.
pub(crate) fn slow(step: &Step, took: Duration, since: Duration, paint: Paint) -> Option<String> {
    let text = super::view::slow(step, took)?;
    Some(format!("{} {}  {}", clock(since), step.id, paint.warn(&text)))
}

/// Since the start of the run: `09:12`.
fn clock(since: Duration) -> String {
    let seconds = since.as_secs();
    format!("{:02}:{:02}", seconds / 60, seconds % 60)
}

fn words_for(plan: Option<&Plan>, entry: &Entry, state: &RunState, paint: Paint) -> Option<String> {
    match &entry.record {
        Record::Started(started) => Some(began(plan, &started.step, &paint.busy("started"), started.attempt)),
        Record::UndoStarted { step, attempt } => Some(began(plan, step, &paint.busy("undoing"), *attempt)),
        Record::Succeeded(done) => {
            let note = done.note.as_deref().map(|note| format!("  {}", printable(note))).unwrap_or_default();
            Some(format!("{}{note}", ended(state, &done.step, &paint.good(word(done.outcome)), done.took_ms)))
        }
        Record::Undone { step, took_ms, .. } => Some(ended(state, step, &paint.good("undone"), *took_ms)),
        Record::Failed(failed) if failed.failure.class == Class::NeedsPerson => {
            Some(format!("{}  {}  {}", failed.step, paint.warn("needs you"), printable(&failed.failure.what)))
        }
        Record::Failed(failed) => Some(failure(failed, "failed", paint)),
        Record::UndoFailed(failed) => Some(failure(failed, "not undone", paint)),
        Record::Skipped { step, why } => Some(format!("{step}  skipped  {}", printable(why))),
        Record::Blocked { step, by } => Some(format!("{step}  {}  by {}", paint.warn("blocked"), words::list(by))),
        Record::Cancelled { step, .. } => Some(format!("{step}  {}", paint.warn("stopped"))),
        Record::Unknown { step, why } => Some(format!("{step}  {}  {}", paint.bad("unknown"), printable(why))),
        Record::Interrupted { signal } => Some(format!("{}  {signal}", paint.warn("interrupted"))),
        Record::Opened(_) | Record::Spawned { .. } | Record::Performing { .. } => None,
        Record::UndoSkipped { .. } | Record::UndoneInPart { .. } => None,
        Record::Settled { .. } | Record::Snapshot(_) | Record::Later | Record::Closed { .. } => None,
    }
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Ok => "ok",
        Outcome::Changed => "changed",
    }
}

fn began(plan: Option<&Plan>, step: &StepId, word: &str, attempt: u32) -> String {
    let again = if attempt > 1 { format!(" (attempt {attempt})") } else { String::new() };
    format!("{step}  {word}{again}{}", about(plan, step))
}

fn ended(state: &RunState, step: &StepId, word: &str, last_ms: u64) -> String {
    format!("{step}  {word}  {}", took(state, step, last_ms))
}

fn failure(failed: &Failed, word: &str, paint: Paint) -> String {
    let Failed { step, failure, retry_in_ms, took_ms, .. } = failed;
    // Of one that is tried again because the plan says so, the class would say the contrary.
    let against = retry_in_ms.is_some() && !failure.class.retried_by_default();
    let word = if against { word.to_owned() } else { format!("{word} ({})", failure.class) };
    let word = paint.bad(&word);
    let took = span(Duration::from_millis(*took_ms));
    let pause = retry_in_ms.map(Duration::from_millis);
    let again = pause.map(|pause| format!("; trying again in {}", span(pause))).unwrap_or_default();
    format!("{step}  {word}  {took}  {}{again}", printable(&failure.what))
}

/// From its first attempt on, pauses and all; the last attempt's own time where that is not known.
fn took(state: &RunState, id: &StepId, last_ms: u64) -> String {
    let times = state.step(id).and_then(|step| Some((step.started()?, step.ended()?)));
    let whole = times.map(|(started, ended)| between(started, ended));
    span(whole.unwrap_or(Duration::from_millis(last_ms)))
}

fn about(plan: Option<&Plan>, id: &StepId) -> String {
    let kind = |plan: &Plan| Some(plan.steps[plan.step(id.as_str())?].work.as_ref()?.kind.name);
    plan.and_then(kind).map(|name| format!("  ({name})")).unwrap_or_default()
}
