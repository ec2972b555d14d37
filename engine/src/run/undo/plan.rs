//! What is undone, and what is left alone and why. Pure but for the files of a step whose `undo` may have been put right.
//!
//! The journal says what was made; the plan says what is kept and what is protected. How something is taken back comes from the journal,
//! which knows what exactly was made. From the plan it comes where the journal holds nothing, and where only the words of the `undo` were
//! put right since.

use std::collections::{BTreeMap, BTreeSet};

use runbook_steps::Kind;
use serde_json::Value;

use super::super::prepare::only_reads;
use super::apart::{self, Does};
use super::{order, recipe, within};
use crate::plan::model::{Graph, Known, Step, Work};
use crate::plan::{Plan, StepId};
use crate::state::fingerprint::contents;
use crate::state::fold::Made;
use crate::state::record::{Fingerprint, Origin, Outcome, Recipe};
use crate::state::{RunState, StepState};

/// What the user chose.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// If not empty, only these steps are undone, and those that need them.
    pub only: BTreeSet<StepId>,
    /// Protected steps that are undone all the same.
    pub include_protected: BTreeSet<StepId>,
    /// Steps that count as undone: a person has taken them back.
    pub forget: BTreeSet<StepId>,
}

/// One thing that is done to take a step back.
#[derive(Debug)]
pub struct Deed {
    /// The step that does it.
    pub work: Box<dyn runbook_steps::Step>,
    /// The name of its kind.
    pub kind: &'static str,
    /// The `with` that it was read from.
    pub with: Value,
    /// Whether it is performed, because the plan gave it; otherwise it is undone.
    pub performed: bool,
    /// The folder that its paths start from, as the way to it from the deployment's folder; the plan's where the journal does not say.
    pub dir: Option<String>,
    /// How many things of the step are left when it is done, where the journal holds each.
    pub left: Option<usize>,
}

impl Deed {
    fn does_the_same(&self, other: &Self) -> bool {
        (self.kind, &self.with, self.performed, &self.dir) == (other.kind, &other.with, other.performed, &other.dir)
    }

    /// What it does, as commands that a person could type.
    pub fn intent(&self) -> Vec<String> {
        if self.performed { self.work.intent() } else { self.work.undo_intent() }
    }
}

/// A step that is undone.
#[derive(Debug)]
pub struct Item {
    /// The step.
    pub step: StepId,
    /// Whether it may not have come to make anything: an attempt did not come to its end.
    pub doubtful: bool,
    /// What is done, the newest thing first. Empty for a step that a person has taken back.
    pub deeds: Vec<Deed>,
    /// The names of its locks.
    pub locks: Vec<String>,
    /// What the plan asks before.
    pub confirm: Option<String>,
    /// Whether it is in the journal and no longer in the plan.
    pub gone: bool,
}

impl Item {
    /// What is done, as commands that a person could type, and what tells those apart that read the same.
    pub fn does(&self) -> Vec<Does> {
        apart::does(&self.deeds)
    }
}

/// Why something that was made, or may have been, is left where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Left {
    /// The plan says `undo: false`.
    Kept,
    /// The plan says `protect: true`.
    Protected,
    /// A step that is protected needs it.
    NeededBy(StepId),
    /// Nothing is left of it once a cluster is deleted.
    GoesWith {
        /// The step whose undo deletes the cluster.
        cluster: StepId,
        /// What is to be said besides; may be empty.
        caveat: &'static str,
    },
    /// What it waits for is in a cluster that is deleted; what else it made is not known.
    PartlyGoesWith {
        /// The step whose undo deletes the cluster.
        cluster: StepId,
        /// Why the rest is left.
        rest: Box<Left>,
    },
    /// Nobody knows how.
    NoWay {
        /// Why.
        why: String,
        /// What a person can do.
        advice: String,
    },
}

impl std::fmt::Display for Left {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Left::Kept => f.write_str("the plan keeps it (`undo: false`)"),
            Left::Protected => f.write_str("protected"),
            Left::NeededBy(step) => write!(f, "`{step}` needs it, and is protected"),
            Left::GoesWith { cluster, caveat } => write!(f, "goes with `{cluster}`{caveat}"),
            Left::PartlyGoesWith { cluster, rest } => {
                write!(f, "what it waits for goes with `{cluster}`; the rest: {rest}")
            }
            Left::NoWay { why, advice } => write!(f, "{why}; {advice}"),
        }
    }
}

impl Left {
    /// The step with whose undo all of it goes.
    pub fn goes_with(&self) -> Option<&StepId> {
        self.cluster().filter(|_| matches!(self, Left::GoesWith { .. }))
    }

    /// The step with whose undo at least a part of it goes.
    pub fn cluster(&self) -> Option<&StepId> {
        match self {
            Left::GoesWith { cluster, .. } | Left::PartlyGoesWith { cluster, .. } => Some(cluster),
            _ => None,
        }
    }
}

/// What a destroy does.
#[derive(Debug, Default)]
pub struct UndoPlan {
    /// What is undone, by its place in `graph`.
    pub items: BTreeMap<usize, Item>,
    /// What is left where it is, and why.
    pub left: Vec<(StepId, Left)>,
    /// What was there before this deployment, by step.
    pub before: Vec<StepId>,
    /// How many steps made something and were not chosen.
    pub not_chosen: usize,
    /// The plan's steps and after them those that are gone: who must be undone before whom.
    pub graph: Graph,
    /// The names of those that are gone.
    pub gone: Vec<StepId>,
    /// By the node of one that is gone, that of the plan's step which found what it had made: mostly the same step under another name.
    pub heirs: BTreeMap<usize, usize>,
}

impl UndoPlan {
    /// What is undone, in an order in which it can be.
    pub fn in_order(&self) -> impl Iterator<Item = &Item> {
        self.graph.order.iter().filter_map(|node| self.items.get(node))
    }
}

/// Decides.
pub fn plan(plan: &Plan, state: &RunState, choice: &Choice) -> UndoPlan {
    let gone: Vec<&StepId> = gone(plan, state);
    let heirs = heirs(plan, state, &gone);
    let graph = order::reversed(plan, state, &gone, &heirs);
    let look = Look { plan, state, choice, gone: &gone, heirs: &heirs };
    let chosen = look.chosen(&graph);
    let protected = look.protected();
    let held = closure(&graph.dependents, &protected);
    let mut undo = UndoPlan::default();
    for &node in &graph.order {
        let (id, step) = look.node(node);
        let Some(made) = state.step(id) else { continue };
        if !has_made(step, made) {
            let is_heir = heirs.values().any(|heir| *heir == node);
            undo.before.extend((was_there(step, made) && !is_heir).then(|| id.clone()));
        } else if !chosen[node] {
            undo.not_chosen += 1;
        } else {
            match look.fate(node, made, protected.contains(&node), held.get(&node).copied()) {
                Ok(item) => {
                    undo.left.extend((made.has_made_more() && !item.deeds.is_empty()).then(|| (id.clone(), more())));
                    undo.items.insert(node, item);
                }
                Err(left) => undo.left.push((id.clone(), left)),
            }
        }
    }
    (undo.graph, undo.gone, undo.heirs) = (graph, gone.into_iter().cloned().collect(), heirs);
    within::settle(plan, state, &mut undo);
    undo
}

/// Whether there is something to take back, or may be. The journal decides: a step that only reads now may have made something before it
/// was edited. Only where all that is known is an attempt without an end, or a person's word that it holds, it has made nothing.
fn has_made(step: Option<&Step>, state: &StepState) -> bool {
    let settled = state.done().is_some_and(|done| done.settled);
    let is_told = !state.recipes().is_empty() || (state.made() == Made::Surely && !settled);
    state.made() != Made::Nothing && (is_told || !step.is_some_and(only_reads))
}

/// A step that changes things found its own already so.
fn was_there(step: Option<&Step>, state: &StepState) -> bool {
    let changes = step.is_some_and(|step| step.work.is_some() && !only_reads(step));
    changes && state.done().is_some_and(|done| done.outcome == Outcome::Ok)
}

/// Steps of the journal that the plan no longer has and that made something, in the order in which they first ran.
fn gone<'s>(plan: &Plan, state: &'s RunState) -> Vec<&'s StepId> {
    let unknown = state.steps().filter(|(id, _)| !plan.index.contains_key(*id));
    unknown.filter(|(_, step)| step.made() != Made::Nothing).map(|(id, _)| id).collect()
}

/// Who found what a step had made that is gone from the plan: it does the very same, and made nothing itself.
fn heirs(plan: &Plan, state: &RunState, gone: &[&StepId]) -> BTreeMap<usize, usize> {
    let done = |id: &StepId| state.step(id).and_then(StepState::done).map(|done| &done.fingerprint);
    let found = |step: &Step| state.step(&step.id).is_some_and(|state| was_there(Some(step), state));
    let finders: Vec<&Step> = plan.steps.iter().filter(|step| found(step)).collect();
    let heir =
        |made: &Fingerprint| finders.iter().find(|step| done(&step.id) == Some(made)).map(|step| plan.index[&step.id]);
    let made = |id: &StepId| done(id).filter(|made| **made != Fingerprint::default());
    let nodes = (plan.steps.len()..).zip(gone);
    nodes.filter_map(|(node, id)| Some((node, heir(made(id)?)?))).collect()
}

/// Everything that follows from some nodes, with the node that it follows from. The nodes themselves are not in it.
fn closure(next: &[Vec<usize>], from: &BTreeSet<usize>) -> BTreeMap<usize, usize> {
    let mut found = BTreeMap::new();
    let mut open: Vec<(usize, usize)> = from.iter().map(|node| (*node, *node)).collect();
    while let Some((node, root)) = open.pop() {
        for &after in &next[node] {
            if !from.contains(&after) && !found.contains_key(&after) {
                found.insert(after, root);
                open.push((after, root));
            }
        }
    }
    found
}

struct Look<'a> {
    plan: &'a Plan,
    state: &'a RunState,
    choice: &'a Choice,
    gone: &'a [&'a StepId],
    heirs: &'a BTreeMap<usize, usize>,
}

impl<'a> Look<'a> {
    fn node(&self, node: usize) -> (&'a StepId, Option<&'a Step>) {
        match self.plan.steps.get(node) {
            Some(step) => (&step.id, Some(step)),
            None => (self.gone[node - self.plan.steps.len()], None),
        }
    }

    /// What the plan says of a node: of one that is gone, what it says of its heir.
    fn said(&self, node: usize) -> Option<&'a Step> {
        self.plan.steps.get(*self.heirs.get(&node).unwrap_or(&node))
    }

    fn nodes(&self) -> impl Iterator<Item = usize> {
        0..self.plan.steps.len() + self.gone.len()
    }

    /// By node: whether the user wants it undone. Who needs a chosen step is chosen with it: it could not go on without.
    fn chosen(&self, graph: &Graph) -> Vec<bool> {
        let only = &self.choice.only;
        let named: BTreeSet<usize> = self.nodes().filter(|node| only.contains(self.node(*node).0)).collect();
        let users: Vec<Vec<usize>> =
            graph.needs.iter().map(|needs| needs.iter().map(|edge| edge.step).collect()).collect();
        let with = closure(&users, &named);
        self.nodes().map(|node| only.is_empty() || named.contains(&node) || with.contains_key(&node)).collect()
    }

    /// The protected steps that made something and that the user did not name.
    fn protected(&self) -> BTreeSet<usize> {
        let is = |node: &usize| {
            let (id, step) = (self.node(*node).0, self.said(*node));
            let Some(state) = self.state.step(id).filter(|state| state.made() != Made::Nothing) else { return false };
            let by_plan = step.map(|step| step.protect);
            let protect = by_plan.unwrap_or_else(|| state.recipes().iter().any(|recipe| recipe.protect));
            let names =
                |chosen: &BTreeSet<StepId>| chosen.contains(id) || step.is_some_and(|it| chosen.contains(&it.id));
            protect && !names(&self.choice.include_protected) && !self.choice.forget.contains(id)
        };
        self.nodes().filter(is).collect()
    }

    fn fate(&self, node: usize, state: &StepState, protected: bool, held: Option<usize>) -> Result<Item, Left> {
        let (id, step) = self.node(node);
        let forgotten = self.choice.forget.contains(id);
        let undo = self.said(node).and_then(|step| step.undo.as_ref());
        match held {
            _ if forgotten => {}
            _ if protected => return Err(Left::Protected),
            Some(root) => return Err(Left::NeededBy(self.node(root).0.clone())),
            None if undo.is_some_and(|undo| undo.keep) => return Err(Left::Kept),
            None => {}
        }
        let deeds = if forgotten { Vec::new() } else { self.deeds(step, state)? };
        Ok(Item {
            step: id.clone(),
            doubtful: state.made() == Made::Perhaps,
            deeds,
            locks: self.locks(step, state),
            confirm: undo.and_then(|undo| undo.confirm.clone()),
            gone: step.is_none(),
        })
    }

    fn locks(&self, step: Option<&Step>, state: &StepState) -> Vec<String> {
        let stored = || state.recipes().last().map(|recipe| recipe.locks.clone()).unwrap_or_default();
        let known: &Known = self.state.known();
        step.and_then(|step| step.render(known).ok()).map_or_else(stored, |rendered| rendered.locks)
    }

    /// What the journal holds is exact: it was written when the thing was made. The plan's own `undo` counts where the journal holds none,
    /// and where only its words were put right since. What an older program wrote down twice is done once.
    fn deeds(&self, step: Option<&Step>, state: &StepState) -> Result<Vec<Deed>, Left> {
        let given = step.and_then(|step| Some((self.given(step)?, self.put_right(step, state))));
        match (given, state.recipes(), step) {
            (Some((deed, _)), [], _) => Ok(vec![deed?]),
            (None, [], Some(step)) => self.own(step).map(|deed| vec![deed]),
            (None, [], None) => Err(self.gone_without_a_way(state)),
            (given, recipes, _) => {
                let mut deeds = recipes.iter().map(|recipe| self.stored(recipe)).collect::<Result<Vec<_>, _>>()?;
                if let Some((deed, Some(at))) = given {
                    deeds[at] = Deed { dir: recipes[at].dir.clone(), ..deed? };
                }
                deeds.iter_mut().enumerate().for_each(|(at, deed)| deed.left = Some(at));
                deeds.dedup_by(|newer, older| newer.does_the_same(older));
                // The newest first.
                deeds.reverse();
                Ok(deeds)
            }
        }
    }

    /// The recipe of the very work that the plan still has, if the plan takes that back with other words now.
    fn put_right(&self, step: &Step, state: &StepState) -> Option<usize> {
        let recipes = Some(state.recipes()).filter(|recipes| !recipes.is_empty())?;
        let work = step.work.as_ref()?;
        let with = step.render_work(work, self.state.known()).ok()?;
        let files = (work.kind.read)(with.clone()).ok()?.files();
        let files = contents(&files, &self.plan.dir).into();
        let places = self.state.at_all_places(&with);
        let now: Vec<Origin> = places.iter().filter_map(|with| recipe::origin(step, with, &files)).collect();
        // An older program did not say what its files held.
        let rewords = |of: &Origin, now: &Origin| match of.files {
            Some(_) => now.rewords(of),
            None => now.rewords(&Origin { files: now.files.clone(), ..of.clone() }),
        };
        let is_it = |recipe: &Recipe| recipe.of.as_ref().is_some_and(|of| now.iter().any(|now| rewords(of, now)));
        recipes.iter().rposition(is_it)
    }

    /// The plan's own `undo`, as it stands now. One that has no value any more gives way to what the journal holds of it.
    fn given(&self, step: &Step) -> Option<Result<Deed, Left>> {
        let work = step.undo.as_ref()?.work.as_ref()?;
        match step.render_work(work, self.state.known()) {
            Ok(with) => Some(read(work.kind, with, true)),
            Err(_) if self.state.step(&step.id).is_some_and(|state| !state.recipes().is_empty()) => None,
            Err(error) => Some(Err(no_way(&format!("its `undo` has no value: {error}"), "take it back by hand"))),
        }
    }

    fn stored(&self, recipe: &Recipe) -> Result<Deed, Left> {
        let kind = self.kind(&recipe.kind).ok_or_else(|| {
            no_way(&format!("this program has no kind `{}` any more", recipe.kind), "take it back by hand")
        })?;
        Ok(Deed { dir: recipe.dir.clone(), ..read(kind, recipe.with.clone(), recipe.performed)? })
    }

    fn kind(&self, name: &str) -> Option<&'static Kind> {
        let in_plan = self.plan.steps.iter().flat_map(works).map(|work| work.kind).find(|kind| kind.name == name);
        in_plan.or_else(|| runbook_steps::kind(name))
    }

    /// The kind's own undo of what the plan says now: for journals that do not say better.
    fn own(&self, step: &Step) -> Result<Deed, Left> {
        let Some(work) = &step.work else { return Err(no_way("nothing is known of what it made", BY_HAND)) };
        let with = step
            .render_work(work, self.state.known())
            .map_err(|error| no_way(&format!("it has no value any more: {error}"), "take it back by hand"))?;
        let deed = read(work.kind, with, false)?;
        if deed.intent().is_empty() {
            return Err(no_way(&format!("`{}` does not know how", work.kind.name), BY_HAND));
        }
        Ok(deed)
    }

    fn gone_without_a_way(&self, state: &StepState) -> Left {
        let run = state.done().map_or(state.run(), |done| done.run);
        let maker = self.state.runs().iter().find(|summary| summary.opened.run == run);
        let made_by = maker.map_or_else(String::new, |maker| {
            let digest: String = maker.opened.digest.chars().take(12).collect();
            format!(", made in run {run} by {} (sha256 {digest}…)", maker.opened.file)
        });
        let why = format!("it is gone from the plan, and the journal does not hold how to undo it{made_by}");
        no_way(&why, "destroy with that plan, or take it back by hand")
    }
}

const BY_HAND: &str = "give the step an `undo`, or take it back by hand";

fn works(step: &Step) -> impl Iterator<Item = &Work> {
    step.work.iter().chain(step.undo.iter().filter_map(|undo| undo.work.as_ref()))
}

fn read(kind: &'static Kind, with: Value, performed: bool) -> Result<Deed, Left> {
    match (kind.read)(with.clone()) {
        Ok(work) => Ok(Deed { work, kind: kind.name, with, performed, dir: None, left: None }),
        Err(error) => {
            Err(no_way(&format!("`{}` cannot read it: {}", kind.name, error.message), "take it back by hand"))
        }
    }
}

/// What is said of a step besides how it is undone.
fn more() -> Left {
    no_way("how to undo what it made before that is not in the journal", "take it back by hand")
}

fn no_way(why: &str, advice: &str) -> Left {
    Left::NoWay { why: why.to_owned(), advice: advice.to_owned() }
}
