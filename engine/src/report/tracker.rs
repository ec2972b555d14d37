//! Follows a run: what steps say of themselves, and the snapshot that the views are drawn from.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::snapshot::{Row, Snapshot, Standing};
use crate::event::Event;
use crate::plan::{Plan, StepId};
use crate::state::fold::{RunState, Status, StepState};
use crate::state::record::{Outcome, Record};

/// What steps last said of themselves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tracker {
    says: BTreeMap<StepId, String>,
    left: BTreeSet<StepId>,
}

impl Tracker {
    /// Follows a run that is not for these steps.
    pub(crate) fn without(left: BTreeSet<StepId>) -> Self {
        Self { left, ..Self::default() }
    }

    /// Takes note of an event.
    pub(crate) fn on(&mut self, event: &Event) {
        match event {
            Event::Progress { step, text, .. } => {
                self.says.insert(step.clone(), text.clone());
            }
            Event::Recorded(entry) => {
                if let Record::Started(started) = &entry.record {
                    self.says.remove(&started.step);
                }
            }
            _ => {}
        }
    }

    /// Where every step of the plan stands at a time.
    pub(crate) fn snapshot(&self, plan: &Plan, state: &RunState, now: Timestamp) -> Snapshot {
        let began = state.current().map_or(now, |run| run.began);
        let rows = plan.steps.iter().map(|step| self.row(&step.id, state, began, now)).collect();
        Snapshot { rows, elapsed: between(began, now) }
    }

    fn row(&self, id: &StepId, state: &RunState, began: Timestamp, now: Timestamp) -> Row {
        let standing = match standing(state.status(id)) {
            Standing::Waiting if self.left.contains(id) => Standing::Left,
            standing => standing,
        };
        let run = state.current().map_or(0, |run| run.opened.run);
        let step = state.step(id);
        let mine = step.filter(|step| step.run() == run);
        let until = mine.and_then(StepState::ended).filter(|_| standing.ended()).unwrap_or(now);
        Row {
            id: id.clone(),
            standing,
            attempts: mine.map_or(0, StepState::attempts),
            took: mine.and_then(StepState::started).map_or(Duration::ZERO, |started| between(started, until)),
            began: mine.and_then(StepState::started).map(|started| between(began, started)),
            reused: standing.holds() && mine.is_none(),
            says: self.says.get(id).cloned().unwrap_or_default(),
        }
    }
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

    #[test]
    fn no_span_is_negative_when_the_clock_is_set_back() {
        let at = |second: i64| Timestamp::from_second(second).expect("a time");
        assert_eq!(between(at(100), at(40)), Duration::ZERO);
        assert_eq!(between(at(40), at(100)), Duration::from_secs(60));
        assert_eq!(between(Timestamp::MAX, Timestamp::MIN), Duration::ZERO);
        assert!(between(Timestamp::MIN, Timestamp::MAX) > Duration::from_secs(1));
    }
}
