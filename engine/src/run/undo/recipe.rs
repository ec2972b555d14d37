//! How what a step is about to make can be taken back, for the journal.

use runbook_steps::Context;
use serde_json::{Value, json};

use crate::plan::eval::Rendered;
use crate::plan::model::Step;
use crate::run::masked::refused_with;
use crate::run::prepare::Ready;
use crate::run::whence;
use crate::state::fingerprint::short_digest;
use crate::state::record::{Origin, Recipe};

/// Longer ones are not stored, nor any that would hold a secret: then only the plan knows.
const LONGEST: usize = 64 << 10;

/// The recipe of a step that is about to be performed, if there is one.
pub(crate) async fn of(step: &Step, ready: &Ready, work: &dyn runbook_steps::Step, cx: &Context) -> Option<Recipe> {
    let (undo, rendered) = (step.undo.as_ref(), &ready.rendered);
    if undo.is_some_and(|undo| undo.keep) {
        return None;
    }
    let given = undo.and_then(|undo| undo.work.as_ref()).zip(rendered.undo.as_ref());
    let (kind, mut with) = match given {
        Some((work, with)) => (work.kind.name, with.clone()),
        None if work.undo_intent().is_empty() => return None,
        None => (step.work.as_ref()?.kind.name, own(rendered, work, cx).await),
    };
    let said = with.clone();
    cx.redactor.mask_value(&mut with);
    // What is masked would take back something else.
    let whole = with == said && with.to_string().len() <= LONGEST && refused_with(&with, Some(step)).is_none();
    let (kind, performed, locks) = (kind.to_owned(), given.is_some(), rendered.locks.clone());
    let of = origin(step, &rendered.with, &ready.fingerprint.files());
    let dir = whence::way(&cx.state_dir, &cx.plan_dir);
    whole.then_some(Recipe { kind, with, performed, locks, protect: step.protect, of, needs: None, dir })
}

/// What the plan's own `undo` of a step is made of, if it has one; for what its `with` comes to, and what its files hold.
pub(super) fn origin(step: &Step, with: &Value, files: &Value) -> Option<Origin> {
    let undo = step.undo.as_ref()?.work.as_ref()?;
    let work = json!([step.work.as_ref().map(|work| work.kind.name), with]);
    let undo = json!([undo.kind.name, undo.with.as_written()]);
    Some(Origin { work: short_digest(&work), undo: short_digest(&undo), files: Some(short_digest(files)) })
}

/// What cannot be found out now, the step itself is about to fail by.
async fn own(rendered: &Rendered, work: &dyn runbook_steps::Step, cx: &Context) -> Value {
    work.undo_with(cx).await.ok().flatten().unwrap_or_else(|| rendered.with.clone())
}
