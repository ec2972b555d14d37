//! Follows a run: what steps say of themselves, and the snapshot that the views are drawn from.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use runbook_steps::{Class, Failure, printable};

use super::snapshot::{Row, Snapshot, Standing, Words};
use super::words::line;
use crate::event::{Advice, Event, Reached};
use crate::plan::model::Accept;
use crate::plan::{Plan, StepId};
use crate::state::fold::{RunState, Status, StepState};
use crate::state::record::{Outcome, Record};

/// What steps last said of themselves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tracker {
    heard: BTreeMap<StepId, Heard>,
    left: BTreeSet<StepId>,
    /// Steps that were told to be slow.
    slow: BTreeSet<StepId>,
}

/// What a running step last said, and what that means.
#[derive(Clone, Debug, Default)]
struct Heard {
    says: String,
    /// When it last said something else than before.
    at: Timestamp,
    advice: Option<Advice>,
    stage: Option<Reached>,
}

/// What is new in what a running step says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// Something is known of what it waits for.
    Advice(Advice),
    /// It has come to a stage.
    Stage(usize),
}

impl Tracker {
    /// Follows a run that is not for these steps.
    pub(crate) fn without(left: BTreeSet<StepId>) -> Self {
        Self { left, ..Self::default() }
    }

    /// Takes note of an event at a time, and says what is new about the step that speaks.
    pub(crate) fn on(&mut self, event: &Event, now: Timestamp) -> Vec<News> {
        match event {
            Event::Progress { step, text, advice, stage, .. } => {
                let heard = self.heard.entry(step.clone()).or_default();
                let mut news = Vec::new();
                let advice = advice.as_deref().cloned();
                news.extend(advice.clone().filter(|advice| heard.advice.as_ref() != Some(advice)).map(News::Advice));
                let came = stage.filter(|stage| heard.stage != Some(*stage));
                news.extend(came.map(|reached| News::Stage(reached.stage)));
                let at = if heard.says == *text { heard.at } else { now };
                // What was known of the last words stays until something else is.
                let advice = advice.or_else(|| heard.advice.take());
                *heard = Heard { says: text.clone(), at, advice, stage: *stage };
                news
            }
            Event::Recorded(entry) => {
                if let Record::Started(started) = &entry.record {
                    self.heard.remove(&started.step);
                    self.slow.remove(&started.step);
                }
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    /// The steps that have just become slower than usual, by more than a grace, each once an attempt.
    pub(crate) fn newly_slow(&mut self, plan: &Plan, state: &RunState, now: Timestamp, grace: Duration) -> Vec<usize> {
        let mut found = Vec::new();
        for (index, step) in plan.steps.iter().enumerate() {
            let (Some(expected), Status::Running { since, .. }) = (step.expected, state.status(&step.id)) else {
                continue;
            };
            if between(*since, now) > expected.high + grace && self.slow.insert(step.id.clone()) {
                found.push(index);
            }
        }
        found
    }

    /// Where every step of the plan stands at a time.
    pub(crate) fn snapshot(&self, plan: &Plan, state: &RunState, now: Timestamp) -> Snapshot {
        let began = state.current().map_or(now, |run| run.began);
        let mut rows: Vec<Row> = plan.steps.iter().map(|step| self.row(&step.id, state, began, now)).collect();
        block(plan, &mut rows);
        let stopping = state.current().and_then(|run| run.signal.clone());
        Snapshot { rows, elapsed: between(began, now), stopping }
    }

    /// What a step says, and for how long nothing else.
    fn words(&self, id: &StepId, started: Timestamp, now: Timestamp) -> Words {
        let Some(heard) = self.heard.get(id) else {
            return Words { quiet: between(started, now), ..Words::default() };
        };
        Words {
            says: line(&heard.says),
            quiet: between(heard.at, now),
            advice: heard.advice.as_ref().map(shown),
            stage: heard.stage.map(|reached| (reached.stage, between(reached.since, now))),
        }
    }

    fn row(&self, id: &StepId, state: &RunState, began: Timestamp, now: Timestamp) -> Row {
        let run = state.current().map_or(0, |run| run.opened.run);
        let step = state.step(id);
        let standing = match stands(step) {
            Standing::Waiting if self.left.contains(id) => Standing::Left,
            standing => standing,
        };
        let mine = step.filter(|step| step.run() == run);
        let until = mine.and_then(StepState::ended).filter(|_| standing.ended()).unwrap_or(now);
        Row {
            id: id.clone(),
            standing,
            attempts: mine.map_or(0, StepState::attempts),
            took: mine.and_then(StepState::started).map_or(Duration::ZERO, |started| between(started, until)),
            began: mine.and_then(StepState::started).map(|started| between(began, started)),
            reused: standing.holds() && mine.is_none(),
            why: step.and_then(why),
            again: due(state.status(id)).map(|due| between(now, due)),
            by: if let Status::Blocked { by } = state.status(id) { by.clone() } else { Vec::new() },
            words: self.words(id, mine.and_then(StepState::started).unwrap_or(now), now),
        }
    }
}

/// Steps that wait for what cannot come any more are blocked, also before their turn to be told so.
fn block(plan: &Plan, rows: &mut [Row]) {
    for &index in &plan.graph.order {
        if rows[index].standing != Standing::Waiting {
            continue;
        }
        let needs = plan.graph.needs[index].iter().filter(|edge| edge.accept == Accept::Succeeded);
        let mut by: Vec<StepId> = Vec::new();
        for need in needs.map(|edge| &rows[edge.step]) {
            match need.standing {
                Standing::Failed | Standing::NeedsPerson => by.push(need.id.clone()),
                Standing::Unknown if need.ran() => by.push(need.id.clone()),
                Standing::Blocked => by.extend(need.by.iter().cloned()),
                _ => {}
            }
        }
        if !by.is_empty() {
            let mut seen = BTreeSet::new();
            by.retain(|id| seen.insert(id.clone()));
            rows[index].standing = Standing::Blocked;
            rows[index].by = by;
        }
    }
}

fn shown(advice: &Advice) -> Advice {
    let Advice { cause, fix } = advice;
    Advice { cause: line(cause), fix: line(fix) }
}

/// How a step stands, as a user sees it: a step that asked a person for something has not failed.
pub(crate) fn stands(step: Option<&StepState>) -> Standing {
    let Some(step) = step else { return Standing::Waiting };
    match (standing(step.status()), step.failure()) {
        (Standing::Failed, Some(failure)) => failed(failure),
        (standing, _) => standing,
    }
}

/// How a step stands that has failed so.
pub(crate) fn failed(failure: &Failure) -> Standing {
    if failure.class == Class::NeedsPerson { Standing::NeedsPerson } else { Standing::Failed }
}

/// When a step is tried again, if it waits for that.
fn due(status: &Status) -> Option<Timestamp> {
    match status {
        Status::Retrying { until, .. } => Some(*until),
        Status::UndoFailed { until } => *until,
        _ => None,
    }
}

/// Why a step did not end well, or is tried again, in a line.
pub(crate) fn why(step: &StepState) -> Option<String> {
    let text = match (step.status(), stands(Some(step))) {
        (Status::Unknown { why }, _) => why,
        (_, Standing::Failed | Standing::NeedsPerson | Standing::Retrying) => &step.failure()?.what,
        _ => return None,
    };
    printable(text).lines().next().map(line)
}

/// A status as a user sees it.
pub(crate) fn standing(status: &Status) -> Standing {
    match status {
        Status::Pending => Standing::Waiting,
        Status::Running { .. } => Standing::Running,
        Status::Retrying { .. } => Standing::Retrying,
        Status::Succeeded { outcome: Outcome::Ok } => Standing::Ok,
        Status::Succeeded { outcome: Outcome::Changed } => Standing::Changed,
        Status::Failed => Standing::Failed,
        Status::Skipped { .. } => Standing::Skipped,
        Status::Blocked { .. } => Standing::Blocked,
        Status::Cancelled => Standing::Cancelled,
        Status::Unknown { .. } => Standing::Unknown,
        Status::Undoing { .. } => Standing::Undoing,
        Status::UndoFailed { until: Some(_) } => Standing::Retrying,
        Status::UndoFailed { until: None } => Standing::Failed,
        Status::Undone => Standing::Undone,
    }
}

/// The span between two times; none if the clock was set back.
pub(crate) fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(text: &str, cause: Option<&str>, stage: Option<usize>) -> Event {
        let advice = cause.map(|cause| Box::new(Advice { cause: cause.into(), fix: String::new() }));
        let since = Timestamp::UNIX_EPOCH;
        let stage = stage.map(|stage| Reached { stage, since });
        Event::Progress { step: StepId::from("a"), text: text.into(), facts: Box::default(), advice, stage }
    }

    #[test]
    fn news_are_told_once() {
        let mut tracker = Tracker::default();
        let mut on = |event: &Event| tracker.on(event, Timestamp::UNIX_EPOCH).len();
        assert_eq!(on(&progress("waits", Some("no subnet"), Some(0))), 2);
        assert_eq!(on(&progress("still waits", Some("no subnet"), Some(0))), 0);
        assert_eq!(on(&progress("waits again", None, Some(1))), 1);
        assert_eq!(on(&progress("waits", Some("no subnet"), Some(1))), 0, "what was known stays known");
    }

    #[test]
    fn silence_counts_from_the_last_new_words() {
        let mut tracker = Tracker::default();
        let at = |second: i64| Timestamp::from_second(second).expect("a time");
        for (second, text) in [(0, "waits"), (10, "waits"), (40, "waits")] {
            tracker.on(&progress(text, None, None), at(second));
        }
        assert_eq!(tracker.words(&StepId::from("a"), at(0), at(50)).quiet, Duration::from_secs(50));
        tracker.on(&progress("moves", None, None), at(60));
        assert_eq!(tracker.words(&StepId::from("a"), at(0), at(65)).quiet, Duration::from_secs(5));
    }

    #[test]
    fn words_are_one_line_that_moves_nothing() {
        let mut tracker = Tracker::default();
        tracker
            .on(&progress("0 of 1\tready:\n\u{1b}[2J10%\r20%", Some("no\n\u{7}subnet"), None), Timestamp::UNIX_EPOCH);
        let words = tracker.words(&StepId::from("a"), Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH);
        assert_eq!(words.says, "0 of 1 ready: 20%");
        assert_eq!(words.advice.map(|advice| advice.cause).as_deref(), Some("no subnet"));
    }

    #[test]
    fn no_span_is_negative_when_the_clock_is_set_back() {
        let at = |second: i64| Timestamp::from_second(second).expect("a time");
        assert_eq!(between(at(100), at(40)), Duration::ZERO);
        assert_eq!(between(at(40), at(100)), Duration::from_secs(60));
        assert_eq!(between(Timestamp::MAX, Timestamp::MIN), Duration::ZERO);
        assert!(between(Timestamp::MIN, Timestamp::MAX) > Duration::from_secs(1));
    }
}
