//! One line per event, for pipes, logs and CI.

use std::time::Duration;

use runbook_steps::Class;

use super::tracker::{News, between};
use super::words::{self, Paint, span};
use crate::event::Event;
use crate::plan::{Plan, Step, StepId};
use crate::state::fold::RunState;
use crate::state::record::{Entry, Outcome, Record, Verdict};

/// The line for an event; many events have none. The plan only adds what kind a step is of.
pub(crate) fn line(plan: Option<&Plan>, event: &Event, state: &RunState, paint: Paint) -> Option<String> {
    match event {
        Event::Notice(text) => Some(text.clone()),
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
        News::Advice(advice) => format!("{}  {}  {} {}", step.id, paint.warn("hint"), advice.cause, advice.fix),
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
        Record::Started(started) => {
            let about = about(plan, &started.step);
            let again = if started.attempt > 1 { format!(" (attempt {})", started.attempt) } else { String::new() };
            Some(format!("{}  {}{again}{about}", started.step, paint.busy("started")))
        }
        Record::Succeeded(done) => {
            let word = match done.outcome {
                Outcome::Ok => "ok",
                Outcome::Changed => "changed",
            };
            let note = done.note.as_ref().map(|note| format!("  {note}")).unwrap_or_default();
            let took = took(state, &done.step, done.took_ms);
            Some(format!("{}  {}  {took}{note}", done.step, paint.good(word)))
        }
        Record::Failed(failed) => {
            if failed.failure.class == Class::NeedsPerson {
                return Some(format!("{}  {}  {}", failed.step, paint.warn("needs you"), failed.failure.what));
            }
            let took = span(Duration::from_millis(failed.took_ms));
            let word = paint.bad(&format!("failed ({})", failed.failure.class));
            let again =
                failed.retry_in_ms.map(|millis| format!("; trying again in {}", span(Duration::from_millis(millis))));
            let again = again.unwrap_or_default();
            Some(format!("{}  {word}  {took}  {}{again}", failed.step, failed.failure.what))
        }
        Record::Skipped { step, why } => Some(format!("{step}  skipped  {why}")),
        Record::Blocked { step, by } => Some(format!("{step}  {}  by {}", paint.warn("blocked"), words::list(by))),
        Record::Cancelled { step, .. } => Some(format!("{step}  {}", paint.warn("stopped"))),
        Record::UndoStarted { step, attempt } => {
            let again = if *attempt > 1 { format!(" (attempt {attempt})") } else { String::new() };
            Some(format!("{step}  {}{again}{}", paint.busy("undoing"), about(plan, step)))
        }
        Record::Undone { step, took_ms, .. } => {
            Some(format!("{step}  {}  {}", paint.good("undone"), took(state, step, *took_ms)))
        }
        Record::UndoFailed(failed) => {
            let took = span(Duration::from_millis(failed.took_ms));
            let word = paint.bad(&format!("not undone ({})", failed.failure.class));
            let again =
                failed.retry_in_ms.map(|millis| format!("; trying again in {}", span(Duration::from_millis(millis))));
            Some(format!("{}  {word}  {took}  {}{}", failed.step, failed.failure.what, again.unwrap_or_default()))
        }
        Record::Unknown { step, why } => Some(format!("{step}  {}  {why}", paint.bad("unknown"))),
        Record::Interrupted { signal } => Some(format!("{}  {signal}", paint.warn("interrupted"))),
        Record::Closed { verdict: Verdict::Holds } | Record::Opened(_) | Record::Spawned { .. } => None,
        Record::Performing { .. } | Record::UndoSkipped { .. } => None,
        Record::Settled { .. } | Record::Snapshot(_) | Record::Later | Record::Closed { .. } => None,
    }
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
