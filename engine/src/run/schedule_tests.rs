//! The schedule against random plans and outcomes, and the cases that a reader asks about.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::plan::model::Edge;

fn graph(count: usize, edges: &[(usize, usize, Accept)]) -> Graph {
    let mut graph = Graph { needs: vec![vec![]; count], dependents: vec![vec![]; count], order: (0..count).collect() };
    for (need, step, accept) in edges {
        graph.needs[*step].push(Edge { step: *need, accept: *accept, implied: false });
        graph.dependents[*need].push(*step);
    }
    graph
}

fn flat(count: usize) -> Vec<Duration> {
    vec![Duration::from_secs(1); count]
}

fn plain(graph: &Graph, limit: usize) -> Schedule {
    let count = graph.needs.len();
    Schedule::new(graph, ways(graph, &flat(count)), vec![false; count], limit)
}

/// Starts all that may start, without locks.
fn start_all(schedule: &mut Schedule) -> Vec<usize> {
    let mut started = Vec::new();
    while let Some(next) = schedule.next_move() {
        let (Next::Evaluate(step) | Next::Start(step)) = next;
        if matches!(next, Next::Start(_)) || schedule.admit(step, &[]) {
            started.push(step);
        }
    }
    started
}

const S: Accept = Accept::Succeeded;

#[test]
fn the_longest_way_starts_first() {
    let graph = graph(4, &[(1, 3, S)]);
    let took = [9, 1, 5, 20].map(Duration::from_secs);
    let mut schedule = Schedule::new(&graph, ways(&graph, &took), vec![false; 4], 1);
    assert_eq!(start_all(&mut schedule), [1]);
    schedule.finished(1, Ended::Succeeded);
    assert_eq!(start_all(&mut schedule), [3]);
    schedule.finished(3, Ended::Succeeded);
    assert_eq!(start_all(&mut schedule), [0]);
}

#[test]
fn a_blocked_step_names_every_root() {
    let graph = graph(5, &[(0, 2, S), (1, 3, S), (2, 4, S), (3, 4, S)]);
    let mut schedule = plain(&graph, 9);
    assert_eq!(start_all(&mut schedule), [0, 1]);
    schedule.finished(0, Ended::Failed);
    assert_eq!(schedule.take_blocked(), Some((2, vec![0])));
    assert_eq!(schedule.take_blocked(), None);
    schedule.finished(1, Ended::Unknown);
    assert_eq!(schedule.take_blocked(), Some((3, vec![1])));
    assert_eq!(schedule.take_blocked(), Some((4, vec![0, 1])));
    assert!(schedule.is_finished());
}

#[test]
fn finally_starts_last_and_after_a_failure_and_after_one_interrupt() {
    let graph = graph(3, &[(0, 1, S)]);
    for interrupted in [false, true] {
        let mut schedule = Schedule::new(&graph, flat(3), vec![false, false, true], 9);
        assert_eq!(start_all(&mut schedule), [0]);
        if interrupted {
            schedule.stop();
            schedule.finished(0, Ended::Cancelled);
            assert_eq!(schedule.ended(1), Some(Ended::NotRun));
        } else {
            schedule.finished(0, Ended::Failed);
        }
        assert_eq!(start_all(&mut schedule), [2]);
        schedule.finished(2, Ended::Succeeded);
        assert!(schedule.is_finished());
    }
}

#[test]
fn a_second_interrupt_leaves_finally_out() {
    let mut schedule = Schedule::new(&graph(2, &[]), flat(2), vec![false, true], 9);
    assert_eq!(start_all(&mut schedule), [0]);
    schedule.stop();
    schedule.halt();
    schedule.finished(0, Ended::Cancelled);
    assert!(start_all(&mut schedule).is_empty());
    assert!(schedule.is_finished());
}

#[test]
fn a_plan_that_is_only_finally_starts_it() {
    let mut schedule = Schedule::new(&graph(1, &[]), flat(1), vec![true], 9);
    assert_eq!(start_all(&mut schedule), [0]);
}

#[test]
fn whoever_asked_for_a_lock_first_gets_it_first() {
    let mut schedule = plain(&graph(4, &[]), 9);
    let both = ["a".to_owned(), "b".to_owned()];
    assert_eq!(schedule.next_move(), Some(Next::Evaluate(0)));
    assert!(schedule.admit(0, &both[..1]));
    assert_eq!(schedule.next_move(), Some(Next::Evaluate(1)));
    assert!(!schedule.admit(1, &both), "`a` is held");
    assert_eq!(schedule.next_move(), Some(Next::Evaluate(2)));
    assert!(!schedule.admit(2, &both[1..]), "`b` is free, but 1 asked for it before");
    assert_eq!(schedule.next_move(), Some(Next::Evaluate(3)));
    assert!(schedule.admit(3, &[]));
    schedule.finished(0, Ended::Succeeded);
    assert_eq!(schedule.next_move(), Some(Next::Start(1)));
    assert_eq!(schedule.next_move(), None);
    schedule.pause(1);
    assert_eq!(schedule.next_move(), Some(Next::Start(2)), "a pause gives the locks back");
    schedule.due(1);
    assert_eq!(schedule.next_move(), Some(Next::Evaluate(1)));
}

#[test]
fn a_hundred_thousand_steps_are_walked_in_one_go() {
    let count = 100_000;
    let edges: Vec<_> = (1..count).flat_map(|step| [(step / 2, step, S), (step - 1, step, S)]).collect();
    let mut schedule = plain(&graph(count, &edges), 8);
    let mut walked = 0;
    while let Some(Next::Evaluate(step)) = schedule.next_move() {
        schedule.finished(step, Ended::Succeeded);
        walked += 1;
    }
    assert_eq!(walked, count);
    assert!(schedule.is_finished());
}

/// A random plan with the fate of every step, and the order in which running steps end.
#[derive(Clone, Debug)]
struct Case {
    edges: Vec<(usize, usize, Accept)>,
    fates: Vec<Fate>,
    finally: usize,
    limit: usize,
    picks: Vec<usize>,
    interrupts: Option<(usize, usize)>,
}

#[derive(Clone, Debug)]
struct Fate {
    locks: Vec<String>,
    retries: u8,
    ended: Ended,
    took: u8,
}

fn fate() -> impl Strategy<Value = Fate> {
    let ended = prop_oneof![
        8 => Just(Ended::Succeeded),
        1 => Just(Ended::Skipped),
        2 => Just(Ended::Failed),
        1 => Just(Ended::Unknown),
    ];
    let locks = proptest::collection::vec(prop_oneof!["a", "b", "c", "d"], 0..3);
    (locks, 0..3_u8, ended, 0..100_u8).prop_map(|(locks, retries, ended, took)| Fate { locks, retries, ended, took })
}

fn case() -> impl Strategy<Value = Case> {
    (2..40_usize).prop_flat_map(|count| {
        let accept = prop_oneof![4 => Just(Accept::Succeeded), 1 => Just(Accept::Finished)];
        let edge = (0..count, 0..count, accept);
        let edges = proptest::collection::vec(edge, 0..count * 3);
        let fates = proptest::collection::vec(fate(), count);
        let picks = proptest::collection::vec(any::<usize>(), 1..64);
        let interrupts = proptest::option::of((0..count, 0..count));
        (edges, fates, 0..3_usize, 1..8_usize, picks, interrupts).prop_map(
            move |(edges, fates, finally, limit, picks, interrupts)| {
                let finally = finally.min(count - 1);
                let first = count - finally;
                // Downhill only, and nothing needs a step of `finally` but another one.
                let edges =
                    edges.into_iter().filter(|(need, step, _)| need < step && (*need < first || *step >= first));
                Case { edges: edges.collect(), fates, finally, limit, picks, interrupts }
            },
        )
    })
}

/// What happened in a run of a case: starts and ends in order.
#[derive(Debug, Default, PartialEq)]
struct Trace {
    starts: Vec<usize>,
    ended: Vec<Ended>,
    blocked: Vec<(usize, Vec<usize>)>,
}

/// Runs a case and checks on the way what must hold at every moment.
fn play(case: &Case) -> Trace {
    let count = case.fates.len();
    let graph = graph(count, &case.edges);
    let took: Vec<Duration> = case.fates.iter().map(|fate| Duration::from_secs(fate.took.into())).collect();
    let finally: Vec<bool> = (0..count).map(|step| step >= count - case.finally).collect();
    let mut schedule = Schedule::new(&graph, ways(&graph, &took), finally.clone(), case.limit);
    let mut left: Vec<u8> = case.fates.iter().map(|fate| fate.retries).collect();
    let (mut running, mut pausing) = (BTreeSet::new(), BTreeSet::new());
    let mut trace = Trace::default();
    let mut turn = 0;
    while !schedule.is_finished() {
        while let Some(next) = schedule.next_move() {
            let (Next::Evaluate(step) | Next::Start(step)) = next;
            may_start(&schedule, &graph, &finally, step);
            if case.fates[step].ended == Ended::Skipped {
                schedule.finished(step, Ended::Skipped);
            } else if matches!(next, Next::Start(_)) || schedule.admit(step, &case.fates[step].locks) {
                trace.starts.push(step);
                assert!(running.insert(step));
            }
        }
        let mut held = BTreeSet::new();
        for step in &running {
            let locks: BTreeSet<&String> = case.fates[*step].locks.iter().collect();
            assert!(locks.into_iter().all(|lock| held.insert(lock)), "a lock is held twice");
        }
        assert!(running.len() <= case.limit, "too many at once");
        trace.blocked.extend(std::iter::from_fn(|| schedule.take_blocked()));
        interrupt(case, turn, &mut schedule);
        let pick = case.picks[turn % case.picks.len()];
        turn += 1;
        step_on(case, pick, &mut schedule, &mut running, &mut pausing, &mut left);
    }
    trace.blocked.extend(std::iter::from_fn(|| schedule.take_blocked()));
    trace.ended = (0..count).map(|step| schedule.ended(step).expect("every step ends")).collect();
    trace
}

fn interrupt(case: &Case, turn: usize, schedule: &mut Schedule) {
    let Some((first, gap)) = case.interrupts else { return };
    if turn == first {
        schedule.stop();
    }
    if turn == first + gap + 1 {
        schedule.halt();
    }
}

/// One of those that run or pause moves on.
fn step_on(
    case: &Case,
    pick: usize,
    schedule: &mut Schedule,
    running: &mut BTreeSet<usize>,
    pausing: &mut BTreeSet<usize>,
    left: &mut [u8],
) {
    let all: Vec<usize> = running.union(pausing).copied().collect();
    let Some(step) = all.get(pick % all.len().max(1)).copied() else {
        assert!(schedule.is_finished(), "nothing runs and nothing can start: a deadlock");
        return;
    };
    if pausing.remove(&step) {
        schedule.due(step);
        return;
    }
    running.remove(&step);
    if left[step] > 0 && !schedule.given_up(step) {
        left[step] -= 1;
        pausing.insert(step);
        schedule.pause(step);
    } else {
        schedule.finished(step, case.fates[step].ended);
    }
}

fn may_start(schedule: &Schedule, graph: &Graph, finally: &[bool], step: usize) {
    for edge in &graph.needs[step] {
        let ended = schedule.ended(edge.step).expect("no step before its needs");
        if edge.accept == Accept::Succeeded {
            assert!(matches!(ended, Ended::Succeeded | Ended::Skipped), "{step} starts after {ended:?}");
        }
    }
    if finally[step] {
        let mut others = (0..finally.len()).filter(|other| !finally[*other]);
        assert!(others.all(|other| schedule.ended(other).is_some()), "finally before the others ended");
    }
}

/// The failures that each step is behind, by walking the graph.
fn expected_roots(case: &Case, trace: &Trace) -> Vec<BTreeSet<usize>> {
    let mut roots = vec![BTreeSet::new(); case.fates.len()];
    let graph = graph(case.fates.len(), &case.edges);
    for step in 0..roots.len() {
        for edge in graph.needs[step].iter().filter(|edge| edge.accept == Accept::Succeeded) {
            let more = match trace.ended[edge.step] {
                Ended::Failed | Ended::Unknown => BTreeSet::from([edge.step]),
                _ => roots[edge.step].clone(),
            };
            roots[step].extend(more);
        }
    }
    roots
}

proptest! {
    #[test]
    fn order_locks_and_limit_hold_and_everything_ends(case in case()) {
        play(&case);
    }

    #[test]
    fn a_failure_blocks_exactly_what_is_behind_it(case in case()) {
        let trace = play(&Case { interrupts: None, ..case.clone() });
        let roots = expected_roots(&case, &trace);
        let told: Vec<(usize, BTreeSet<usize>)> =
            trace.blocked.iter().map(|(step, roots)| (*step, roots.iter().copied().collect())).collect();
        for (step, roots) in roots.iter().enumerate() {
            prop_assert_eq!(trace.ended[step] == Ended::Blocked, !roots.is_empty());
            prop_assert_eq!(told.iter().filter(|(other, _)| *other == step).count(), usize::from(!roots.is_empty()));
            if !roots.is_empty() {
                prop_assert!(told.contains(&(step, roots.clone())));
            }
        }
        prop_assert!(trace.ended.iter().all(|ended| *ended != Ended::NotRun));
    }

    #[test]
    fn the_same_case_is_the_same_schedule(case in case()) {
        prop_assert_eq!(play(&case), play(&case));
    }
}
