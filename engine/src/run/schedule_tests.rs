//! The cases of the schedule that a reader asks about; random ones are beside, in `schedule_properties`.

use super::*;
use crate::plan::model::Edge;

pub(super) fn graph(count: usize, edges: &[(usize, usize, Accept)]) -> Graph {
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
