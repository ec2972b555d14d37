//! Exit codes, in one place, and the error that carries one.

use std::process::ExitCode;

use crate::run::Signal;
use crate::state::fold::RunSummary;
use crate::state::record::Verdict;

/// Why the program ends, as its caller sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything holds.
    Holds = 0,
    /// A bug or an unexpected error.
    Unexpected = 1,
    /// Wrong usage.
    Usage = 2,
    /// The plan, its inputs or this machine are not fit to begin; nothing was touched.
    Invalid = 3,
    /// A step failed; the run can be continued.
    StepFailed = 4,
    /// Another run holds the lock.
    Locked = 5,
    /// The state cannot be read or written.
    State = 6,
    /// A person is needed: an uncertain step, an approval, a missing secret.
    NeedsPerson = 7,
    /// `verify` found drift.
    Drift = 8,
    /// The terminal went away (SIGHUP); the run can be continued.
    HungUp = 129,
    /// Interrupted from the terminal; the run can be continued.
    Interrupted = 130,
    /// Asked to end by SIGTERM; the run can be continued.
    Terminated = 143,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

impl From<Signal> for Exit {
    fn from(signal: Signal) -> Self {
        match signal {
            Signal::Interrupt => Exit::Interrupted,
            Signal::Terminate => Exit::Terminated,
            Signal::Hangup => Exit::HungUp,
        }
    }
}

/// The code for how a run ended, and the signal that interrupted it.
pub(super) fn exit_of(verdict: Verdict, signal: Option<Signal>) -> Exit {
    match verdict {
        Verdict::Holds => Exit::Holds,
        Verdict::Failed => Exit::StepFailed,
        Verdict::NeedsPerson => Exit::NeedsPerson,
        Verdict::Interrupted => signal.map_or(Exit::Interrupted, Exit::from),
    }
}

/// The code with which the process that ran it left, as far as the journal says: one that was killed has said nothing.
pub(super) fn exit_of_run(run: &RunSummary) -> Exit {
    let named = |signal: &Signal| run.signal.as_deref() == Some(signal.name());
    let signal = [Signal::Interrupt, Signal::Terminate, Signal::Hangup].into_iter().find(named);
    run.verdict.map_or(Exit::Unexpected, |verdict| exit_of(verdict, signal))
}

/// An error that ends the program: what to say and the code to leave with.
#[derive(Debug)]
pub(crate) struct Fatal {
    /// The code.
    pub(crate) exit: Exit,
    /// What happened; may have several lines, already rendered.
    pub(crate) message: String,
    /// What to do next, one line each.
    pub(crate) hints: Vec<String>,
}

impl Fatal {
    /// An error with a code and words.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hints: Vec::new() }
    }

    /// The end of a command that only looked, by a signal.
    pub(crate) fn interrupted(signal: Signal) -> Self {
        Self::new(signal.into(), "interrupted; nothing was changed")
    }

    /// Two errors of one sort as one: what both say.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.message = format!("{}\n{}", self.message, other.message);
        self.hints.extend(other.hints);
        self
    }

    /// Adds what to do next.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

impl From<std::io::Error> for Fatal {
    fn from(error: std::io::Error) -> Self {
        Self::new(Exit::Unexpected, error.to_string())
    }
}
