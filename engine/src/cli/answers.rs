//! The answers of the command line to steps that ask a person: whether they fit, and how they are given once more.

use runbook_steps::Redactor;
use runbook_steps::tools::quote;
use serde_json::json;

use super::exit::{Exit, Fatal};
use crate::plan::error::did_you_mean;
use crate::plan::{Plan, Step};
use crate::report::summary::answer as asked_again;
use crate::state::{RunState, StepState};

/// An answer to a question that is asked.
pub(super) struct Answer<'a> {
    /// The step's place in the plan.
    step: usize,
    question: &'a str,
    value: &'a str,
}

/// The answers, if all of them fit; otherwise all that is wrong with them.
pub(super) fn read<'a>(plan: &Plan, given: &'a [(String, String)]) -> Result<Vec<Answer<'a>>, Fatal> {
    let (mut answers, mut refusals) = (Vec::new(), Vec::new());
    for (name, value) in given {
        match answer(plan, name, value) {
            Ok(answer) => answers.push(answer),
            Err(refusal) => refusals.push(refusal),
        }
    }
    refusals.into_iter().reduce(Fatal::and).map_or(Ok(answers), Err)
}

fn answer<'a>(plan: &Plan, name: &'a str, value: &'a str) -> Result<Answer<'a>, Fatal> {
    let (id, question) = parts(name);
    let step = plan.step(id).filter(|step| asks(&plan.steps[*step]) && !question.is_empty());
    let step = step.ok_or_else(|| nobody_asks(plan, name, id))?;
    match refusal(&plan.steps[step], question, value) {
        None => Ok(Answer { step, question, value }),
        Some(why) => Err(Fatal::new(Exit::Usage, format!("`--answer {name}=…`: {why}"))),
    }
}

/// The step's id and the question.
fn parts(name: &str) -> (&str, &str) {
    name.rsplit_once('.').unwrap_or((name, ""))
}

fn asks(step: &Step) -> bool {
    step.work.as_ref().is_some_and(|work| work.kind.name == "manual")
}

fn nobody_asks(plan: &Plan, name: &str, id: &str) -> Fatal {
    let what = format!("`--answer {name}=…` answers nothing: write STEP.NAME, where STEP is a `manual` step");
    let known = plan.steps.iter().filter(|step| asks(step)).map(|step| step.id.as_str());
    did_you_mean(id, known).into_iter().fold(Fatal::new(Exit::Usage, what), Fatal::hint)
}

/// Why a step does not take an answer, as far as its plan tells without being evaluated.
fn refusal(step: &Step, question: &str, value: &str) -> Option<String> {
    let work = step.work.as_ref()?;
    let mut with = work.with.as_written();
    with.as_object_mut()?.insert("answers".to_owned(), json!({ question: value }));
    let error = (work.kind.read)(with).err()?;
    error.path.starts_with("answers").then_some(error.message)
}

/// Puts answers where their steps find them.
pub(super) fn give(plan: &mut Plan, answers: Vec<Answer>) {
    for Answer { step, question, value } in answers {
        plan.steps[step].answers.get_or_insert_default().insert(question.to_owned(), value.into());
    }
}

/// The flags that give answers once more to steps that have not taken them. Not those that hold a secret, and not those that a step which
/// asks again says itself.
pub(super) fn again(given: &[(String, String)], state: &RunState, redactor: &Redactor) -> String {
    let open = |step: &StepState| step.done().is_none() && step.failure().and_then(asked_again).is_none();
    let wanted = |(name, value): &&(String, String)| {
        let step = state.step(&parts(name).0.into());
        step.is_none_or(open) && redactor.mask(value) == value.as_str()
    };
    let flag = |(name, value): &(String, String)| format!(" --answer {}", quote(&format!("{name}={value}")));
    given.iter().filter(wanted).map(flag).collect()
}
