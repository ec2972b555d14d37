//! The graph of a plan: its order, its cycles, its critical path, its picture.
//!
//! Pure. Knows steps by index and what they need; does not run anything.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt::Write as _;
use std::time::Duration;

use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};

use super::model::{Accept, Edge, Graph, Plan, Step};

/// A graph from the needs of each step, or the cycles that prevent one: each as the steps on it, in order.
pub(crate) fn build(needs: Vec<Vec<Edge>>) -> Result<Graph, Vec<Vec<usize>>> {
    let mut dependents = vec![Vec::new(); needs.len()];
    for (step, edges) in needs.iter().enumerate() {
        edges.iter().for_each(|edge| dependents[edge.step].push(step));
    }
    match in_order(&needs, &dependents) {
        Some(order) => Ok(Graph { needs, dependents, order }),
        None => Err(cycles(&directed(&needs))),
    }
}

fn directed(needs: &[Vec<Edge>]) -> DiGraph<(), ()> {
    let mut graph = DiGraph::with_capacity(needs.len(), needs.iter().map(Vec::len).sum());
    for _ in needs {
        graph.add_node(());
    }
    for (step, edges) in needs.iter().enumerate() {
        for edge in edges {
            graph.add_edge(NodeIndex::new(edge.step), NodeIndex::new(step), ());
        }
    }
    graph
}

/// Every step after what it needs; among those that could come next, in the order of the file, in which dependents are.
fn in_order(needs: &[Vec<Edge>], dependents: &[Vec<usize>]) -> Option<Vec<usize>> {
    let mut open: Vec<usize> = needs.iter().map(Vec::len).collect();
    let mut ready: VecDeque<usize> = (0..needs.len()).filter(|step| open[*step] == 0).collect();
    let mut order = Vec::with_capacity(needs.len());
    while let Some(step) = ready.pop_front() {
        order.push(step);
        for &dependent in &dependents[step] {
            open[dependent] -= 1;
            if open[dependent] == 0 {
                ready.push_back(dependent);
            }
        }
    }
    (order.len() == needs.len()).then_some(order)
}

/// One shortest cycle of each knot.
fn cycles(graph: &DiGraph<(), ()>) -> Vec<Vec<usize>> {
    let knots = petgraph::algo::tarjan_scc(graph);
    let mut found: Vec<Vec<usize>> =
        knots.into_iter().filter(|knot| knot.len() > 1).map(|knot| shortest_cycle(graph, &knot)).collect();
    found.sort();
    found
}

/// From the first step of a knot back to it, along dependents.
fn shortest_cycle(graph: &DiGraph<(), ()>, knot: &[NodeIndex]) -> Vec<usize> {
    let start = *knot.iter().min().expect("a knot has steps");
    let inside: HashSet<NodeIndex> = knot.iter().copied().collect();
    let mut from: HashMap<NodeIndex, NodeIndex> = HashMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(node) = queue.pop_front() {
        for next in graph.neighbors_directed(node, Direction::Outgoing).filter(|next| inside.contains(next)) {
            if next == start {
                return path_back(&from, node, start);
            }
            from.entry(next).or_insert_with(|| {
                queue.push_back(next);
                node
            });
        }
    }
    vec![start.index()]
}

fn path_back(from: &HashMap<NodeIndex, NodeIndex>, end: NodeIndex, start: NodeIndex) -> Vec<usize> {
    let mut path = vec![end.index()];
    let mut at = end;
    while at != start {
        at = from[&at];
        path.push(at.index());
    }
    path.reverse();
    path
}

/// The chain of steps that takes longest by what is expected, first to last, and how long it takes.
pub fn critical_path(plan: &Plan) -> (Vec<usize>, Duration) {
    longest_path(&plan.graph, |step| plan.steps[step].typical())
}

/// The longest chain through a graph by how long each step takes. Of equal ones, the first in the order of the file.
pub fn longest_path(graph: &Graph, took: impl Fn(usize) -> Duration) -> (Vec<usize>, Duration) {
    let mut finish = vec![Duration::ZERO; graph.needs.len()];
    let mut before: Vec<Option<usize>> = vec![None; graph.needs.len()];
    for &step in &graph.order {
        let needs = graph.needs[step].iter().map(|edge| edge.step);
        let latest = needs.max_by_key(|need| (finish[*need], std::cmp::Reverse(*need)));
        before[step] = latest;
        finish[step] = latest.map_or(Duration::ZERO, |need| finish[need]).saturating_add(took(step));
    }
    let last = (0..finish.len()).max_by_key(|step| (finish[*step], std::cmp::Reverse(*step)));
    let mut path: Vec<usize> = std::iter::successors(last, |step| before[*step]).collect();
    path.reverse();
    (path, last.map_or(Duration::ZERO, |last| finish[last]))
}

/// Steps by how many others must come before: all of one wave could run at once. What comes at the end comes after all else.
pub fn waves(plan: &Plan) -> Vec<Vec<usize>> {
    let mut level = vec![0usize; plan.steps.len()];
    let mut waves: Vec<Vec<usize>> = Vec::new();
    let (last, first): (Vec<usize>, Vec<usize>) = plan.graph.order.iter().partition(|&&step| plan.steps[step].finally);
    for part in [first, last] {
        let begin = waves.len();
        for step in part {
            let after = plan.graph.needs[step].iter().map(|edge| level[edge.step] + 1).max();
            let wave = after.unwrap_or(0).max(begin);
            level[step] = wave;
            if waves.len() <= wave {
                waves.resize(wave + 1, Vec::new());
            }
            waves[wave].push(step);
        }
    }
    waves
}

/// What a step does, for a picture.
fn doing(step: &Step) -> &'static str {
    step.work.as_ref().map_or("wait", |work| work.kind.name)
}

/// The graph in Graphviz's language. Dashed edges come from references, dotted ones accept a failure, the critical path is bold.
pub fn dot(plan: &Plan) -> String {
    let critical: HashSet<usize> = critical_path(plan).0.into_iter().collect();
    let mut text =
        String::from("digraph plan {\n  rankdir=LR;\n  node [shape=box, style=rounded, fontname=\"sans-serif\"];\n");
    for (index, step) in plan.steps.iter().enumerate() {
        let bold = if critical.contains(&index) { ", penwidth=2" } else { "" };
        let time = step
            .expected
            .map_or_else(String::new, |expected| format!("\\n~{}", super::duration::format(expected.typical())));
        let _ = writeln!(
            text,
            "  {} [label=\"{}\\n{}{time}\"{bold}];",
            quoted(&step.id.to_string()),
            escaped(step.id.as_str()),
            doing(step)
        );
    }
    for (step, edge) in edges(plan) {
        let style = match (edge.accept, edge.implied) {
            (Accept::Finished, _) => " [style=dotted]",
            (_, true) => " [style=dashed]",
            _ => "",
        };
        let _ = writeln!(
            text,
            "  {} -> {}{style};",
            quoted(plan.steps[edge.step].id.as_str()),
            quoted(plan.steps[step].id.as_str())
        );
    }
    text.push_str("}\n");
    text
}

fn edges(plan: &Plan) -> impl Iterator<Item = (usize, &Edge)> {
    plan.graph.needs.iter().enumerate().flat_map(|(step, edges)| edges.iter().map(move |edge| (step, edge)))
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", escaped(text))
}

/// The graph in Mermaid's language, for Markdown. The critical path is drawn thick.
pub fn mermaid(plan: &Plan) -> String {
    let (critical, _) = critical_path(plan);
    let mut text = String::from("flowchart LR\n");
    for (index, step) in plan.steps.iter().enumerate() {
        let name = step.id.as_str().replace('"', "#quot;");
        let _ = writeln!(text, "  s{index}[\"{name}<br/><small>{}</small>\"]", doing(step));
    }
    for (step, edge) in edges(plan) {
        let arrow = match (edge.accept, edge.implied) {
            (Accept::Finished, _) | (_, true) => "-.->",
            _ => "-->",
        };
        let _ = writeln!(text, "  s{} {arrow} s{step}", edge.step);
    }
    let thick: Vec<String> = critical.iter().map(|step| format!("s{step}")).collect();
    if !thick.is_empty() {
        let _ = writeln!(text, "  classDef critical stroke-width:3px\n  class {} critical", thick.join(","));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(step: usize) -> Edge {
        Edge { step, accept: Accept::Succeeded, implied: false }
    }

    #[test]
    fn order_follows_needs_and_then_the_file() {
        let graph = build(vec![vec![edge(2)], vec![], vec![edge(3)], vec![]]).unwrap();
        assert_eq!(graph.order, [1, 3, 2, 0]);
        assert_eq!(graph.dependents[3], [2]);
    }

    #[test]
    fn a_cycle_is_a_path() {
        let needs = vec![vec![edge(2)], vec![edge(0)], vec![edge(1)], vec![edge(4)], vec![edge(3)]];
        assert_eq!(build(needs).unwrap_err(), [vec![0, 1, 2], vec![3, 4]]);
    }
}
