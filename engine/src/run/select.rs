//! Which steps of a plan a run is for: what `--from`, `--only`, `--redo` and `--skip` come to. Pure.
//!
//! Decides which steps are meant and whether that can be; what becomes of each of them is `resume`'s business.

use std::collections::BTreeSet;

use super::drive::Options;
use super::resume::Fate;
use crate::plan::error::did_you_mean;
use crate::plan::model::Accept;
use crate::plan::{Plan, Step, StepId};
pub use crate::state::asked::Asked;
use crate::state::{RunState, StepState};

/// How many steps are named to somebody who named one that is not there.
const NAMES: usize = 20;

/// Why it cannot be: what to say, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What is wrong, in one line.
    pub message: String,
    /// What to do.
    pub hint: String,
}

/// The steps that are meant, as options of a run: `redo`, `only`, `skip` and `asked`.
pub fn choose(plan: &Plan, state: &RunState, asked: &Asked) -> Result<Options, Refusal> {
    let start = named(plan, asked.from.iter())?;
    let listed = named(plan, &asked.only)?;
    let skip = named(plan, &asked.skip)?;
    let again = named(plan, &asked.redo)?;
    refuse_both(plan, &again, &skip, "--redo", "--skip")?;
    let again = if asked.downstream { downstream(plan, &again) } else { again };
    let from = downstream(plan, &start);
    let whole = from.is_empty() && listed.is_empty();
    let part: BTreeSet<usize> = from.union(&listed).copied().collect();
    refuse_both(plan, &listed, &skip, "--only", "--skip")?;
    refuse_both(plan, &start, &skip, "--from", "--skip")?;
    if let Some(left) = again.iter().find(|index| !whole && !part.contains(index)) {
        return Err(outside(plan, *left, asked));
    }
    let mut options = Options { asked: asked.clone(), ..Options::default() };
    // What the journal does not speak of runs anyway, if it is not only run when it is asked for.
    let spoken_of = |index: &&usize| {
        let step = &plan.steps[**index];
        step.on_demand || state.step(&step.id).is_some()
    };
    options.redo = ids(plan, from.union(&again).filter(|index| !skip.contains(index)).filter(spoken_of));
    options.skip = ids(plan, &skip);
    if whole {
        let is_due = |step: &StepState| step.is_open() || step.is_forced();
        let unfinished = |step: &&Step| step.on_demand && state.step(&step.id).is_some_and(is_due);
        options.unfinished = plan.steps.iter().filter(unfinished).map(|step| step.id.clone()).collect();
    } else {
        options.only = ids(plan, &with_finally(plan, state, part, &skip));
    }
    Ok(options)
}

/// What `finally` does belongs to a partial run too, where what it needs is there.
fn with_finally(plan: &Plan, state: &RunState, part: BTreeSet<usize>, skip: &BTreeSet<usize>) -> BTreeSet<usize> {
    let holds = |index: usize| state.step(&plan.steps[index].id).is_some_and(|step| step.done().is_some());
    let mut chosen = part;
    for &index in plan.graph.order.iter().filter(|&&index| plan.steps[index].finally && !skip.contains(&index)) {
        if plan.graph.needs[index].iter().all(|edge| chosen.contains(&edge.step) || holds(edge.step)) {
            chosen.insert(index);
        }
    }
    chosen
}

/// The first step of a part whose needs outside of it do not hold, if there is one. `fates` are those
/// of the whole plan, apart from what is skipped.
pub fn hindrance(plan: &Plan, fates: &[(StepId, Fate)], options: &Options) -> Option<Refusal> {
    let bad: BTreeSet<&StepId> = fates.iter().filter(|(_, fate)| !stands(fate)).map(|(id, _)| id).collect();
    let chosen = |id: &StepId| options.only.contains(id);
    for step in plan.steps.iter().filter(|step| chosen(&step.id) && !step.finally) {
        let edges = &plan.graph.needs[plan.index[&step.id]];
        let needs = edges.iter().filter(|edge| edge.accept == Accept::Succeeded).map(|edge| &plan.steps[edge.step].id);
        let missing: Vec<&StepId> = needs.filter(|need| !chosen(need) && bad.contains(need)).collect();
        if let Some(refusal) = hindered(&step.id, &missing, options) {
            return Some(refusal);
        }
    }
    None
}

fn hindered(step: &StepId, missing: &[&StepId], options: &Options) -> Option<Refusal> {
    let first = missing.first()?;
    let names: Vec<String> = missing.iter().map(|need| format!("`{need}`")).collect();
    let verb = if names.len() == 1 { "does" } else { "do" };
    let message = format!("`{step}` needs {}, which {verb} not hold", names.join(" and "));
    let hint = format!("leave out `{}` to run all that is missing, or begin earlier: --from {first}", options.asked);
    Some(Refusal { message, hint })
}

/// Whether a step that this run leaves alone can be built upon. What is stale still holds.
fn stands(fate: &Fate) -> bool {
    matches!(fate, Fate::Reuse | Fate::Stale(_) | Fate::Look(_) | Fate::Skip | Fate::Left)
}

/// The steps that names stand for.
fn named<'n>(plan: &Plan, names: impl IntoIterator<Item = &'n String>) -> Result<BTreeSet<usize>, Refusal> {
    let steps: Vec<&StepId> = plan.steps.iter().map(|step| &step.id).collect();
    let mut found = BTreeSet::new();
    for name in names {
        found.extend(meant(&plan.name, &steps, name)?.into_iter().map(|id| plan.index[id]));
    }
    Ok(found)
}

/// The steps that a name stands for, of those that a plan or a deployment has; the name of a `foreach` or an `include` stands for all
/// in it.
pub(crate) fn meant<'s>(owner: &str, steps: &[&'s StepId], name: &str) -> Result<Vec<&'s StepId>, Refusal> {
    if let Some(id) = steps.iter().find(|id| id.as_str() == name) {
        return Ok(vec![id]);
    }
    let inside = |id: &str| id.strip_prefix(name).is_some_and(|rest| rest.starts_with(['[', '.']));
    let meant: Vec<&StepId> = steps.iter().copied().filter(|id| inside(id.as_str())).collect();
    if meant.is_empty() { Err(unknown(owner, steps, name)) } else { Ok(meant) }
}

fn unknown(owner: &str, steps: &[&StepId], name: &str) -> Refusal {
    let names = || steps.iter().map(|id| id.as_str());
    let hint = did_you_mean(name, names()).unwrap_or_else(|| {
        let some: Vec<&str> = names().take(NAMES).collect();
        let rest = if steps.len() > some.len() { ", …" } else { "" };
        format!("there is {}{rest}", some.join(", "))
    });
    Refusal { message: format!("`{owner}` has no step `{name}`"), hint }
}

/// Steps and all that depends on them, but what runs only when it is asked for.
fn downstream(plan: &Plan, steps: &BTreeSet<usize>) -> BTreeSet<usize> {
    let mut found = steps.clone();
    let mut open: Vec<usize> = steps.iter().copied().collect();
    while let Some(step) = open.pop() {
        let dependents = plan.graph.dependents[step].iter().copied();
        open.extend(dependents.filter(|dependent| !plan.steps[*dependent].on_demand && found.insert(*dependent)));
    }
    found
}

fn refuse_both(
    plan: &Plan,
    one: &BTreeSet<usize>,
    other: &BTreeSet<usize>,
    this: &str,
    that: &str,
) -> Result<(), Refusal> {
    let Some(&index) = one.intersection(other).next() else { return Ok(()) };
    let message = format!("`{}` is named by both {this} and {that}", plan.steps[index].id);
    Err(Refusal { message, hint: "name it in one of them".to_owned() })
}

fn outside(plan: &Plan, index: usize, asked: &Asked) -> Refusal {
    let id = &plan.steps[index].id;
    let (part, way) = if asked.from.is_some() { ("--from", "does not reach") } else { ("--only", "leaves out") };
    let hint = match asked.from {
        Some(_) => "begin with it (--from), or do the two one after the other".to_owned(),
        None => format!("add it: --only {id}"),
    };
    Refusal { message: format!("--redo wants `{id}` again, which {part} {way}"), hint }
}

fn ids<'i>(plan: &Plan, steps: impl IntoIterator<Item = &'i usize>) -> BTreeSet<StepId> {
    steps.into_iter().map(|&index| plan.steps[index].id.clone()).collect()
}

/// What a selection comes to, in the order of the plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meaning {
    /// The steps that run, or are at least looked at.
    pub runs: Vec<StepId>,
    /// The steps that stay as they are.
    pub left: Vec<StepId>,
    /// The steps that count as not wanted.
    pub skipped: Vec<StepId>,
}

impl Meaning {
    /// By the fates under the options.
    pub fn of(fates: &[(StepId, Fate)]) -> Self {
        let mut meaning = Self::default();
        for (id, fate) in fates {
            match fate {
                Fate::Gone => {}
                Fate::Skip => meaning.skipped.push(id.clone()),
                Fate::Reuse | Fate::Left => meaning.left.push(id.clone()),
                _ => meaning.runs.push(id.clone()),
            }
        }
        meaning
    }
}
