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

    /// The word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Standing::Waiting => "waiting",
            Standing::Running => "running",
            Standing::Retrying => "retrying",
            Standing::Ok => "ok",
            Standing::Changed => "changed",
            Standing::Skipped => "skipped",
            Standing::Failed => "failed",
            Standing::Blocked => "blocked",
            Standing::Cancelled => "cancelled",
            Standing::Unknown => "unknown",
            Standing::Left => "left out",
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
    /// What it last said of itself.
    pub(crate) words: Words,
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
}

impl Snapshot {
    /// How many of the steps that the run is for have ended.
    pub(crate) fn done(&self) -> usize {
        self.part().filter(|row| row.standing.ended()).count()
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
