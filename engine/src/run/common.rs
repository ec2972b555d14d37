//! What all attempts of a run have in common, and the surroundings that each gets from it.

use std::path::Path;
use std::sync::Arc;

use runbook_steps::{Cancel, Context, Observer, Redactor, Secrets, World};

use super::orphans;
use super::scribe::Scribe;
use crate::plan::StepId;
use crate::state::log::StepLog;
use crate::state::{Home, Journal};

/// What all attempts of a run have in common.
pub(super) struct Common {
    pub(super) run: u32,
    /// What its programs are recognised by.
    pub(super) mark: String,
    pub(super) home: Home,
    pub(super) world: Arc<World>,
    pub(super) secrets: Arc<Secrets>,
    pub(super) redactor: Arc<Redactor>,
    pub(super) deployment: Arc<str>,
    pub(super) plan_dir: Arc<Path>,
    pub(super) state_dir: Arc<Path>,
    /// Stops the steps.
    pub(super) cancel: Cancel,
    /// Stops those of `finally`, which the first signal leaves alone.
    pub(super) cancel_finally: Cancel,
}

/// One attempt, as its surroundings depend on it.
pub(super) struct This<'a> {
    pub(super) step: &'a StepId,
    pub(super) attempt: u32,
    pub(super) cancel: &'a Cancel,
    pub(super) after_crash: bool,
}

impl Common {
    /// For the run that comes after those of the journal.
    pub(super) fn new(journal: &Journal, world: Arc<World>, secrets: Arc<Secrets>, plan_dir: &Path) -> Self {
        let mark = journal.lock().id().to_string();
        Self {
            run: journal.state().current().map_or(1, |run| run.opened.run + 1),
            home: journal.home().clone(),
            redactor: Arc::new(secrets.redactor()),
            deployment: journal.home().deployment().into(),
            plan_dir: plan_dir.into(),
            state_dir: journal.home().path().into(),
            cancel: Cancel::default(),
            cancel_finally: Cancel::default(),
            world: orphans::carry(world, &mark),
            mark,
            secrets,
        }
    }

    /// What surrounds an attempt that is about to start.
    pub(super) fn surround(&self, this: &This<'_>, observer: Arc<dyn Observer>, scribe: &Scribe) -> Context {
        let path = self.home.log_path(this.step, self.run, this.attempt);
        let on_lost = scribe.on_lost(this.step, &path);
        let log = StepLog::new(path, Arc::clone(&self.redactor), scribe.on_line(this.step)).telling(on_lost);
        Context {
            world: Arc::clone(&self.world),
            cancel: this.cancel.child(),
            log: Arc::new(log),
            observer,
            secrets: Arc::clone(&self.secrets),
            redactor: Arc::clone(&self.redactor),
            step: this.step.as_str().into(),
            attempt: this.attempt,
            deployment: Arc::clone(&self.deployment),
            plan_dir: Arc::clone(&self.plan_dir),
            state_dir: Arc::clone(&self.state_dir),
            after_crash: this.after_crash,
        }
    }
}
