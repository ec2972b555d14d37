//! Where every step of a plan stands, in the order of the plan: what the views are drawn from. Plain data.

use std::time::Duration;

use crate::event::Advice;
use crate::plan::{Plan, StepId};

/// How a step stands, as a user sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Waiting,
    Running,
    Retrying,
    Ok,
    Changed,
    Skipped,
    Failed,
    /// It has asked a person for something, and ended until that is there.
    NeedsPerson,
    Blocked,
    Cancelled,
    Unknown,
    /// Not part of a partial run, and never ran.
    Left,
    Undoing,
    Undone,
}

impl Standing {
    /// Whether nothing more will happen to it in this run.
    pub(crate) fn ended(self) -> bool {
        !matches!(self, Standing::Waiting | Standing::Running | Standing::Retrying | Standing::Undoing)
    }

    /// Whether those who need it may run.
    pub(crate) fn holds(self) -> bool {
        matches!(self, Standing::Ok | Standing::Changed | Standing::Skipped)
    }

    /// Whether there is a failure to tell, also where that is only what a person is asked for.
    pub(crate) fn has_failed(self) -> bool {
        matches!(self, Standing::Failed | Standing::NeedsPerson)
    }

    /// The word for it, for people.
    pub(crate) fn said(self) -> &'static str {
        match self {
            Standing::NeedsPerson => "needs you",
            Standing::Cancelled => "stopped",
            Standing::Left => "left out",
            other => other.word(),
        }
    }

    /// The same where nobody runs it any more: nothing waits, and what still seems to run was cut off.
    pub(crate) fn said_afterwards(self) -> &'static str {
        match self {
            Standing::Waiting => "not started",
            Standing::Running | Standing::Retrying | Standing::Undoing => "in flight",
            ended => ended.said(),
        }
    }

    /// The word for it, for programs and scenarios.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Standing::Waiting => "waiting",
            Standing::Running => "running",
            Standing::Retrying => "retrying",
            Standing::Ok => "ok",
            Standing::Changed => "changed",
            Standing::Skipped => "skipped",
            Standing::Failed | Standing::NeedsPerson => "failed",
            Standing::Blocked => "blocked",
            Standing::Cancelled => "cancelled",
            Standing::Unknown => "unknown",
            Standing::Left => "left_out",
            Standing::Undoing => "undoing",
            Standing::Undone => "undone",
        }
    }

    /// The mark in front of it.
    pub(crate) fn mark(self) -> &'static str {
        match self {
            Standing::Waiting => "·",
            Standing::Running | Standing::Undoing => "◐",
            Standing::Retrying => "↻",
            Standing::Ok | Standing::Changed => "✓",
            Standing::Skipped | Standing::Left => "-",
            Standing::Failed => "✗",
            Standing::NeedsPerson => "!",
            Standing::Blocked => "⊘",
            Standing::Cancelled => "■",
            Standing::Unknown => "?",
            Standing::Undone => "↩",
        }
    }
}

/// One step.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) id: StepId,
    pub(crate) standing: Standing,
    /// Attempts in this run.
    pub(crate) attempts: u32,
    /// How long it took if it has ended, or has been running; from its first attempt.
    pub(crate) took: Duration,
    /// Since the start of the run, when its first attempt began; `None` if it has not in this run.
    pub(crate) began: Option<Duration>,
    /// Whether its result comes from an earlier run.
    pub(crate) reused: bool,
    /// Why it did not end well, or has to be tried again, in a line.
    pub(crate) why: Option<String>,
    /// How long until it is tried again, if it waits for that.
    pub(crate) again: Option<Duration>,
    /// Whose failure keeps it from running.
    pub(crate) by: Vec<StepId>,
    /// What it last said of itself.
    pub(crate) words: Words,
}

impl Row {
    /// Whether it was tried in this run.
    pub(crate) fn ran(&self) -> bool {
        self.began.is_some()
    }
}

/// What a running step says of itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Words {
    /// Its last line.
    pub(crate) says: String,
    /// For how long it has said nothing else.
    pub(crate) quiet: Duration,
    /// What is known of what it waits for.
    pub(crate) advice: Option<Advice>,
    /// The stage that it is in, and for how long.
    pub(crate) stage: Option<(usize, Duration)>,
}

/// Every step, in the order of the plan.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) rows: Vec<Row>,
    /// Since the start of the run.
    pub(crate) elapsed: Duration,
    /// The signal that the run was told to stop by.
    pub(crate) stopping: Option<String>,
}

impl Snapshot {
    /// Whether a step has not begun, and never will: of a run that stops, only `finally` is still begun.
    pub(crate) fn never_starts(&self, plan: &Plan, index: usize) -> bool {
        self.stopping.is_some() && !plan.steps[index].finally
    }

    /// How many of the steps that the run is for hold.
    pub(crate) fn done(&self) -> usize {
        self.part().filter(|row| row.standing.holds()).count()
    }

    /// How many steps did not end well, in words: `1 failed`, `6 blocked`.
    pub(crate) fn trouble(&self) -> Vec<String> {
        let order =
            [Standing::Failed, Standing::Unknown, Standing::NeedsPerson, Standing::Cancelled, Standing::Blocked];
        let numbers = order.map(|standing| (self.having(standing).count(), standing.said()));
        let present = numbers.into_iter().filter(|(number, _)| *number > 0);
        present.map(|(number, word)| format!("{number} {word}")).collect()
    }

    /// The steps that cannot run, and whose failure keeps them from it.
    pub(crate) fn blocked(&self) -> (Vec<&StepId>, Vec<&StepId>) {
        let mut culprits = Vec::new();
        for by in self.having(Standing::Blocked).flat_map(|row| &row.by) {
            if !culprits.contains(&by) {
                culprits.push(by);
            }
        }
        (self.having(Standing::Blocked).map(|row| &row.id).collect(), culprits)
    }

    /// The steps that the run is for.
    pub(crate) fn part(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| row.standing != Standing::Left)
    }

    /// The rows with a standing.
    pub(crate) fn having(&self, standing: Standing) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.standing == standing)
    }
}

/// Which of a step's needs have not ended well yet.
pub(crate) fn waits_for<'p>(plan: &'p Plan, snapshot: &Snapshot, index: usize) -> Vec<&'p StepId> {
    plan.graph.needs[index]
        .iter()
        .filter(|edge| !snapshot.rows[edge.step].standing.ended())
        .map(|edge| &plan.steps[edge.step].id)
        .collect()
}
