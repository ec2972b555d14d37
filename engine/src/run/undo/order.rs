//! In which order things are taken back: whatever stands on something goes before it. Pure.
//!
//! The journal says what each thing stood on when it was made, and the plan what it would stand on now. Does not know what is taken
//! back, nor how.

use std::collections::{BTreeMap, HashSet};

use crate::plan::model::{Accept, Edge, Graph};
use crate::plan::{Plan, StepId, graph};
use crate::state::RunState;

/// By node, the nodes that it stands on.
type Stands = Vec<Vec<usize>>;

/// What a step stands on when it makes something that can be taken back: the nearest steps before it that made such a thing themselves.
pub(crate) fn stands_on(plan: &Plan, step: usize, state: &RunState) -> Vec<StepId> {
    let (mut open, mut seen, mut found) = (vec![step], HashSet::new(), Vec::new());
    while let Some(at) = open.pop() {
        for need in plan.graph.needs[at].iter().map(|edge| edge.step) {
            let id = &plan.steps[need].id;
            match state.step(id).is_some_and(|step| !step.recipes().is_empty()) {
                _ if !seen.insert(need) => {}
                true => found.push(id.clone()),
                false => open.push(need),
            }
        }
    }
    found.sort_unstable();
    found
}

/// Who must be taken back before whom: the plan's steps, and after them those that are gone from it. Whatever stands on an heir stands on
/// what that has inherited.
pub(super) fn reversed(plan: &Plan, state: &RunState, gone: &[&StepId], heirs: &BTreeMap<usize, usize>) -> Graph {
    let made = Made::new(plan, state, gone, heirs);
    made.graph().map_or_else(|| made.in_order_of_mention(), turned)
}

struct Made<'a> {
    plan: &'a Plan,
    state: &'a RunState,
    ids: Vec<&'a StepId>,
    heirs: &'a BTreeMap<usize, usize>,
}

impl<'a> Made<'a> {
    fn new(plan: &'a Plan, state: &'a RunState, gone: &[&'a StepId], heirs: &'a BTreeMap<usize, usize>) -> Self {
        let ids = plan.steps.iter().map(|step| &step.id).chain(gone.iter().copied()).collect();
        Self { plan, state, ids, heirs }
    }

    /// In which order things were made: by the journal, and by the plan where that does not contradict it. Nothing where an older program
    /// did not write down what they stood on, or an edited plan had them stand on each other.
    fn graph(&self) -> Option<Graph> {
        let (then, now) = (self.then()?, self.now());
        graph::build(edges(&then, &now)).ok().or_else(|| {
            let place = places(&graph::build(edges(&then, &[])).ok()?.order);
            let agrees = |node: usize, stands: &Vec<usize>| {
                stands.iter().copied().filter(|on| place[*on] < place[node]).collect::<Vec<_>>()
            };
            let now: Stands = now.iter().enumerate().map(|(node, stands)| agrees(node, stands)).collect();
            graph::build(edges(&then, &now)).ok()
        })
    }

    /// What each stood on when it was made, as far as that is still to be taken back.
    fn then(&self) -> Option<Stands> {
        let index: BTreeMap<&StepId, usize> = self.ids.iter().enumerate().map(|(node, id)| (*id, node)).collect();
        let of = |id: &&StepId| {
            let recipes = self.state.step(id).map_or(&[][..], |step| step.recipes());
            let needs: Option<Vec<&Vec<StepId>>> = recipes.iter().map(|recipe| recipe.needs.as_ref()).collect();
            Some(needs?.into_iter().flatten().filter_map(|need| index.get(need).copied()).collect())
        };
        self.ids.iter().map(of).collect()
    }

    /// What each stands on by the plan.
    fn now(&self) -> Stands {
        let inherited = |heir: usize| self.heirs.iter().filter(move |(_, of)| **of == heir).map(|(gone, _)| *gone);
        let with_inherited = |edge: &Edge| std::iter::once(edge.step).chain(inherited(edge.step)).collect::<Vec<_>>();
        let needs = self.plan.graph.needs.iter().map(|needs| needs.iter().flat_map(with_inherited).collect());
        needs.chain(self.ids[self.plan.steps.len()..].iter().map(|_| Vec::new())).collect()
    }

    /// By the plan alone; what is gone from it stands where the journal first speaks of it, on all that came before.
    fn in_order_of_mention(&self) -> Graph {
        let mut order = self.forward();
        order.reverse();
        let mut needs: Vec<Vec<Edge>> = self.plan.graph.dependents.iter().map(|nodes| all(nodes)).collect();
        needs.resize(self.ids.len(), Vec::new());
        stand_between(&order, self.plan.steps.len(), &mut needs);
        let mut dependents = vec![Vec::new(); needs.len()];
        for (node, edges) in needs.iter().enumerate() {
            edges.iter().for_each(|edge| dependents[edge.step].push(node));
        }
        Graph { needs, dependents, order }
    }

    /// The plan's order, and each step that is gone after all that the journal mentions before it.
    fn forward(&self) -> Vec<usize> {
        let mentioned: BTreeMap<&StepId, usize> =
            self.state.steps().enumerate().map(|(at, (id, _))| (id, at)).collect();
        let mentions: Vec<Option<usize>> = self.ids.iter().map(|id| mentioned.get(*id).copied()).collect();
        let mut order: Vec<usize> = self.plan.graph.order.clone();
        for node in self.plan.steps.len()..mentions.len() {
            let earlier = |other: &usize| mentions[*other].is_some_and(|at| Some(at) < mentions[node]);
            let place = order.iter().rposition(earlier).map_or(0, |last| last + 1);
            order.insert(place, node);
        }
        order
    }
}

/// Has every node from `first_gone` on stand between all that come before and all that come after it: it needs whatever came since the
/// one before it, and that one, and whatever comes next needs it.
fn stand_between(order: &[usize], first_gone: usize, needs: &mut [Vec<Edge>]) {
    let mut last_gone = None;
    let mut since = Vec::new();
    for &node in order {
        needs[node].extend(last_gone.map(edge));
        if node >= first_gone {
            needs[node].extend(since.drain(..).map(edge));
            last_gone = Some(node);
        } else {
            since.push(node);
        }
    }
}

/// The same edges the other way round.
fn turned(graph: Graph) -> Graph {
    let Graph { needs, dependents, mut order } = graph;
    order.reverse();
    let back = |edges: &Vec<Edge>| edges.iter().map(|edge| edge.step).collect();
    Graph {
        needs: dependents.iter().map(|nodes| all(nodes)).collect(),
        dependents: needs.iter().map(back).collect(),
        order,
    }
}

/// The edges of both, each once.
fn edges(one: &[Vec<usize>], other: &[Vec<usize>]) -> Vec<Vec<Edge>> {
    let of = |(node, stands): (usize, &Vec<usize>)| {
        let mut both: Vec<usize> = stands.iter().chain(other.get(node).into_iter().flatten()).copied().collect();
        both.sort_unstable();
        both.dedup();
        all(&both)
    };
    one.iter().enumerate().map(of).collect()
}

fn all(nodes: &[usize]) -> Vec<Edge> {
    nodes.iter().copied().map(edge).collect()
}

fn edge(step: usize) -> Edge {
    Edge { step, accept: Accept::Succeeded, implied: false }
}

/// By node, its place in an order.
fn places(order: &[usize]) -> Vec<usize> {
    let mut places = vec![0; order.len()];
    order.iter().enumerate().for_each(|(place, node)| places[*node] = place);
    places
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// What must be undone before each node, directly or not.
    fn all_before(needs: &[Vec<Edge>]) -> Vec<BTreeSet<usize>> {
        let all_of = |node: usize| {
            let (mut all, mut open) = (BTreeSet::new(), vec![node]);
            while let Some(node) = open.pop() {
                open.extend(needs[node].iter().map(|edge| edge.step).filter(|step| all.insert(*step)));
            }
            all
        };
        (0..needs.len()).map(all_of).collect()
    }

    /// The same said plainly: a node that is gone needs all before it, and all after need it.
    fn stand_between_plainly(order: &[usize], first_gone: usize, needs: &mut [Vec<Edge>]) {
        for (place, &gone) in order.iter().enumerate().filter(|(_, node)| **node >= first_gone) {
            needs[gone].extend(order[..place].iter().copied().map(edge));
            order[place + 1..].iter().for_each(|later| needs[*later].push(edge(gone)));
        }
    }

    fn count(needs: &[Vec<Edge>]) -> usize {
        needs.iter().map(Vec::len).sum()
    }

    proptest! {
        #[test]
        fn what_is_gone_stands_between_what_came_before_and_after(
            (order, links) in (1..20_usize).prop_flat_map(|count| {
                let order = Just((0..count).collect::<Vec<_>>()).prop_shuffle();
                (order, proptest::collection::vec((0..count, 0..count), 0..20))
            }),
            first_gone in 0..20_usize,
        ) {
            let mut needs = vec![Vec::new(); order.len()];
            for (place, earlier) in links.into_iter().filter(|(place, earlier)| earlier < place && order[*place] < first_gone) {
                needs[order[place]].push(edge(order[earlier]));
            }
            let (mut plainly, links) = (needs.clone(), count(&needs));
            stand_between(&order, first_gone, &mut needs);
            stand_between_plainly(&order, first_gone, &mut plainly);
            prop_assert_eq!(all_before(&needs), all_before(&plainly));
            prop_assert!(count(&needs) <= links + 2 * order.len());
        }
    }
}
