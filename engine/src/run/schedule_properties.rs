//! The schedule against random plans, outcomes, pauses and interrupts: ten thousand of each.
//!
//! What it must do is said a second time by [`Model`], in the simplest way: nothing is kept but what happened, and every question is
//! answered by looking through all steps again. After each move both are compared.

use std::collections::BTreeSet;
use std::fmt;

use proptest::collection::vec;
use proptest::prelude::*;

use super::tests::graph;
use super::*;

const CASES: u32 = 10_000;

/// No plan has more steps.
const LARGEST: usize = 200;

/// A line of a random plan: one step, or a family of equal ones, as `foreach` makes them.
#[derive(Clone, Debug)]
struct Line {
    /// How many lines back it needs something; modulo what there is.
    needs: Vec<(usize, Accept)>,
    family: usize,
    locks: Vec<u8>,
    retries: u8,
    fate: Fate,
    took: u8,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    /// It has its end when it is evaluated: not wanted, reused, refused.
    Met(Ended),
    /// It runs, and ends so in the end.
    Runs(Ended),
}

#[derive(Clone)]
struct Case {
    lines: Vec<Line>,
    /// So many of the last steps are in `finally`.
    finally: usize,
    limit: usize,
    /// Which of those that run or pause moves next, again and again.
    picks: Vec<u8>,
    /// In which turn the run is stopped, and how many later it is halted.
    stops: Option<(u8, u8)>,
    fail_fast: bool,
}

impl fmt::Debug for Case {
    /// A line for each step, however the whole is printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case { lines, finally, limit, picks, stops, fail_fast } = self;
        writeln!(f, "limit {limit}, finally {finally}, picks {picks:?}, stops {stops:?}, fail_fast {fail_fast}")?;
        lines.iter().enumerate().try_for_each(|(at, line)| {
            let Line { needs, family, locks, retries, fate, took } = line;
            let needs: Vec<_> =
                needs.iter().filter_map(|(back, accept)| Some((at.checked_sub(back + 1)?, accept))).collect();
            writeln!(f, "  {at} ×{family} needs {needs:?} locks {locks:?} retries {retries} took {took}: {fate:?}")
        })
    }
}

fn line() -> impl Strategy<Value = Line> {
    let accept = prop_oneof![5 => Just(Accept::Succeeded), 1 => Just(Accept::Finished)];
    let fate = prop_oneof![
        14 => Just(Fate::Runs(Ended::Succeeded)),
        2 => Just(Fate::Runs(Ended::Failed)),
        1 => Just(Fate::Runs(Ended::Unknown)),
        1 => Just(Fate::Met(Ended::Skipped)),
        1 => Just(Fate::Met(Ended::Succeeded)),
        1 => Just(Fate::Met(Ended::Failed)),
    ];
    let family = prop_oneof![8 => Just(1_usize), 1 => 2..5_usize];
    let retries = prop_oneof![3 => Just(0_u8), 1 => 1..3_u8];
    (vec((0..12_usize, accept), 0..3), family, vec(0..4_u8, 0..2), retries, fate, 0..9_u8)
        .prop_map(|(needs, family, locks, retries, fate, took)| Line { needs, family, locks, retries, fate, took })
}

fn case() -> impl Strategy<Value = Case> {
    // Small cases find nearly everything, and fast; the large ones are for what only a crowd does.
    let lines = prop_oneof![60 => vec(line(), 1..8), 20 => vec(line(), 8..24), 1 => vec(line(), 24..LARGEST)];
    let limit = prop_oneof![1..5_usize, Just(LARGEST)];
    let stops = proptest::option::weighted(0.4, (0..20_u8, 0..10_u8));
    (lines, 0..3_usize, limit, vec(any::<u8>(), 1..16), stops, proptest::bool::weighted(0.1)).prop_map(
        |(lines, finally, limit, picks, stops, fail_fast)| Case { lines, finally, limit, picks, stops, fail_fast },
    )
}

/// A plan with every family spelled out.
struct Sheet {
    needs: Vec<Vec<(usize, Accept)>>,
    locks: Vec<Vec<u8>>,
    fates: Vec<Fate>,
    retries: Vec<u8>,
    took: Vec<Duration>,
    finally: Vec<bool>,
    limit: usize,
}

impl Sheet {
    fn of(case: &Case) -> Self {
        let mut members: Vec<std::ops::Range<usize>> = Vec::new();
        for line in &case.lines {
            let first = members.last().map_or(0, |last| last.end);
            members.push(first..(first + line.family).min(LARGEST));
        }
        let count = members.last().map_or(0, |last| last.end);
        let first_last = count - case.finally.min(count - 1);
        let each = || case.lines.iter().zip(&members).flat_map(|(line, members)| members.clone().map(move |_| line));
        let needs = case.lines.iter().enumerate().flat_map(|(at, line)| {
            let back = |(back, accept): &(usize, Accept)| Some((at.checked_sub(1 + back)?, *accept));
            let lines: Vec<(usize, Accept)> = line.needs.iter().filter_map(back).collect();
            let all = |(line, accept): &(usize, Accept)| members[*line].clone().map(|step| (step, *accept)).collect();
            let needs: Vec<(usize, Accept)> = lines.iter().flat_map(|line| -> Vec<_> { all(line) }).collect();
            members[at].clone().map(move |_| needs.clone())
        });
        Self {
            needs: needs.collect(),
            locks: each().map(|line| line.locks.clone()).collect(),
            fates: each().map(|line| line.fate).collect(),
            retries: each().map(|line| line.retries).collect(),
            took: each().map(|line| Duration::from_secs(line.took.into())).collect(),
            finally: (0..count).map(|step| step >= first_last).collect(),
            limit: case.limit,
        }
    }

    fn graph(&self) -> Graph {
        let edges = self.needs.iter().enumerate();
        let edges = edges.flat_map(|(step, needs)| needs.iter().map(move |(need, accept)| (*need, step, *accept)));
        graph(self.needs.len(), &edges.collect::<Vec<_>>())
    }

    fn share_a_lock(&self, one: usize, other: usize) -> bool {
        self.locks[one].iter().any(|lock| self.locks[other].contains(lock))
    }
}

/// Where a step is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    Waits,
    /// It asked for its locks as the so-and-so-manieth.
    Asked(usize),
    Runs,
    Pauses,
    Ended(Ended),
}

/// The rules, in the simplest way.
struct Model<'a> {
    sheet: &'a Sheet,
    priority: Vec<Duration>,
    at: Vec<At>,
    asked: usize,
    stopped: bool,
    halted: bool,
}

impl Model<'_> {
    fn ended(&self, step: usize) -> Option<Ended> {
        if let At::Ended(ended) = self.at[step] { Some(ended) } else { None }
    }

    fn steps(&self) -> std::ops::Range<usize> {
        0..self.at.len()
    }

    fn is_over(&self, step: usize) -> bool {
        self.halted || (self.stopped && !self.sheet.finally[step])
    }

    /// What its needs make of a step that waits: nothing yet, its turn (`Ok`), or its end.
    fn turn(&self, step: usize) -> Option<Result<(), Ended>> {
        let needs = &self.sheet.needs[step];
        let others = || self.steps().filter(|other| !self.sheet.finally[*other]);
        if needs.iter().any(|(need, _)| self.ended(*need).is_none())
            || (self.sheet.finally[step] && others().any(|other| self.ended(other).is_none()))
        {
            return None;
        }
        let must = || needs.iter().filter(|(_, accept)| *accept == Accept::Succeeded);
        let some = |ends: &[Ended]| must().any(|(need, _)| self.ended(*need).is_some_and(|end| ends.contains(&end)));
        if some(&[Ended::Failed, Ended::Unknown, Ended::Blocked]) {
            return Some(Err(Ended::Blocked));
        }
        if some(&[Ended::Cancelled, Ended::NotRun]) || self.is_over(step) {
            return Some(Err(Ended::NotRun));
        }
        Some(Ok(()))
    }

    /// Nobody that runs has one of its locks, and nobody who asked before it wants one.
    fn may_lock(&self, step: usize) -> bool {
        self.steps().filter(|other| *other != step && self.sheet.share_a_lock(step, *other)).all(|other| {
            match (self.at[other], self.at[step]) {
                (At::Runs, _) => false,
                (At::Asked(theirs), At::Asked(ours)) => theirs > ours,
                _ => true,
            }
        })
    }

    fn running(&self) -> usize {
        self.at.iter().filter(|at| **at == At::Runs).count()
    }

    /// The move that must come: of all that can start, the step with the longest way to the end.
    fn next_move(&self) -> Option<Next> {
        if self.running() >= self.sheet.limit {
            return None;
        }
        let moves = self.steps().filter_map(|step| match self.at[step] {
            At::Waits if self.turn(step) == Some(Ok(())) => Some(Next::Evaluate(step)),
            At::Asked(_) if self.may_lock(step) => Some(Next::Start(step)),
            _ => None,
        });
        moves.max_by_key(|(Next::Evaluate(step) | Next::Start(step))| (self.priority[*step], Reverse(*step)))
    }

    fn ask(&mut self, step: usize) -> bool {
        self.asked += 1;
        self.at[step] = At::Asked(self.asked);
        let starts = self.may_lock(step);
        if starts {
            self.at[step] = At::Runs;
        }
        starts
    }

    /// Gives an end to all that has one by what happened.
    fn conclude(&mut self) {
        for step in self.steps() {
            if matches!(self.at[step], At::Asked(_) | At::Pauses) && self.is_over(step) {
                self.at[step] = At::Ended(Ended::NotRun);
            }
        }
        let mut more = true;
        while std::mem::take(&mut more) {
            for step in self.steps() {
                if self.at[step] == At::Waits
                    && let Some(Err(end)) = self.turn(step)
                {
                    self.at[step] = At::Ended(end);
                    more = true;
                }
            }
        }
    }

    /// The failures that a blocked step is behind.
    fn roots(&self, step: usize) -> BTreeSet<usize> {
        let needs = self.sheet.needs[step].iter().filter(|(_, accept)| *accept == Accept::Succeeded);
        let behind = |need: usize| match self.ended(need) {
            Some(Ended::Failed | Ended::Unknown) => BTreeSet::from([need]),
            Some(Ended::Blocked) => self.roots(need),
            _ => BTreeSet::new(),
        };
        needs.flat_map(|(need, _)| behind(*need)).collect()
    }
}

/// The schedule and the model side by side, and what happened.
struct Play<'a> {
    case: &'a Case,
    sheet: &'a Sheet,
    schedule: Schedule,
    model: Model<'a>,
    left: Vec<u8>,
    /// Of those that asked for locks: how many may still start before them with one of these.
    before: Vec<usize>,
    turn: usize,
    told: Vec<(usize, Vec<usize>)>,
    starts: Vec<usize>,
}

/// What happened in the end.
#[derive(Debug, PartialEq)]
struct Trace {
    starts: Vec<usize>,
    ended: Vec<Ended>,
    blocked: Vec<(usize, Vec<usize>)>,
}

impl<'a> Play<'a> {
    fn of(case: &'a Case, sheet: &'a Sheet) -> Self {
        let graph = sheet.graph();
        let count = sheet.needs.len();
        let priority = ways(&graph, &sheet.took);
        let schedule = Schedule::new(&graph, priority.clone(), sheet.finally.clone(), sheet.limit);
        let model = Model { sheet, priority, at: vec![At::Waits; count], asked: 0, stopped: false, halted: false };
        let (left, before) = (sheet.retries.clone(), vec![0; count]);
        Self { case, sheet, schedule, model, left, before, turn: 0, told: Vec::new(), starts: Vec::new() }
    }

    fn run(mut self) -> Trace {
        while !self.schedule.is_finished() {
            self.start_all();
            self.interrupt();
            self.move_on();
            self.turn += 1;
            assert!(self.turn < 5_000, "it never ends");
        }
        assert_eq!(self.schedule.next_move(), None, "all has ended");
        let ended = self.model.steps().map(|step| self.schedule.ended(step).expect("every step has an end")).collect();
        Trace { starts: self.starts, ended, blocked: self.told }
    }

    fn start_all(&mut self) {
        loop {
            let next = self.schedule.next_move();
            assert_eq!(next, self.model.next_move(), "what comes next, in turn {}", self.turn);
            match next {
                None => return,
                Some(Next::Start(step)) => {
                    self.model.at[step] = At::Runs;
                    self.started(step);
                }
                Some(Next::Evaluate(step)) => self.evaluate(step),
            }
        }
    }

    fn evaluate(&mut self, step: usize) {
        if let Fate::Met(end) = self.sheet.fates[step] {
            return self.end(step, end);
        }
        self.before[step] = self.rivals(step, |at| matches!(at, At::Asked(_))).len();
        let locks: Vec<String> = self.sheet.locks[step].iter().map(|lock| format!("lock {lock}")).collect();
        let starts = self.schedule.admit(step, &locks);
        assert_eq!(starts, self.model.ask(step), "whether the locks of {step} are free");
        if starts {
            self.started(step);
        }
    }

    fn rivals(&self, step: usize, wanted: impl Fn(At) -> bool) -> Vec<usize> {
        let others = self.model.steps().filter(|other| *other != step && wanted(self.model.at[*other]));
        others.filter(|other| self.sheet.share_a_lock(step, *other)).collect()
    }

    fn started(&mut self, step: usize) {
        self.starts.push(step);
        assert!(self.model.running() <= self.sheet.limit, "too many at once");
        assert!(self.rivals(step, |at| at == At::Runs).is_empty(), "a lock is held twice");
        for waits in self.rivals(step, |at| matches!(at, At::Asked(_))) {
            let left = self.before[waits].checked_sub(1);
            self.before[waits] = left.unwrap_or_else(|| panic!("{step} overtook {waits}"));
        }
    }

    fn interrupt(&mut self) {
        let Some((stop, gap)) = self.case.stops else { return };
        if self.turn == usize::from(stop) {
            self.stop();
        }
        if self.turn == usize::from(stop) + usize::from(gap) {
            self.schedule.halt();
            self.model.halted = true;
            self.agree();
        }
    }

    fn stop(&mut self) {
        self.schedule.stop();
        self.model.stopped = true;
        self.agree();
    }

    /// One of those that run or pause moves on.
    fn move_on(&mut self) {
        let busy: Vec<usize> =
            self.model.steps().filter(|step| matches!(self.model.at[*step], At::Runs | At::Pauses)).collect();
        if busy.is_empty() {
            let stuck = self.model.next_move().is_none() && !self.schedule.is_finished();
            assert!(!stuck, "nothing runs, nothing pauses, nothing can start: a deadlock");
            return;
        }
        let pick = usize::from(self.case.picks[self.turn % self.case.picks.len()]);
        let step = busy[pick % busy.len()];
        if self.model.at[step] == At::Pauses {
            self.schedule.due(step);
            self.model.at[step] = At::Waits;
        } else if self.left[step] > 0 && !self.schedule.given_up(step) {
            self.left[step] -= 1;
            self.schedule.pause(step);
            self.model.at[step] = At::Pauses;
        } else {
            self.end(step, self.fate(step, pick));
        }
    }

    /// A step that was told to stop may still end as it would have.
    fn fate(&self, step: usize, pick: usize) -> Ended {
        match self.sheet.fates[step] {
            _ if self.model.is_over(step) && !pick.is_multiple_of(3) => Ended::Cancelled,
            Fate::Runs(end) | Fate::Met(end) => end,
        }
    }

    fn end(&mut self, step: usize, end: Ended) {
        self.schedule.finished(step, end);
        self.model.at[step] = At::Ended(end);
        self.agree();
        if end == Ended::Failed && self.case.fail_fast {
            self.stop();
        }
    }

    /// Both say the same of every step; who is blocked is told once, with the reasons.
    fn agree(&mut self) {
        self.model.conclude();
        for step in self.model.steps() {
            assert_eq!(self.schedule.ended(step), self.model.ended(step), "the end of {step} in turn {}", self.turn);
        }
        while let Some((step, roots)) = self.schedule.take_blocked() {
            assert_eq!(self.model.ended(step), Some(Ended::Blocked));
            assert!(roots.iter().copied().eq(self.model.roots(step)), "the roots of {step}: {roots:?}");
            assert!(self.told.iter().all(|(other, _)| *other != step), "{step} is told twice");
            self.told.push((step, roots));
        }
    }
}

fn play(case: &Case) -> Trace {
    Play::of(case, &Sheet::of(case)).run()
}

/// Everything that needs one of these to succeed, directly or through others.
fn behind(sheet: &Sheet, ends: &[Ended]) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    for step in 0..ends.len() {
        let hurts = |need: usize| found.contains(&need) || matches!(ends[need], Ended::Failed | Ended::Unknown);
        if sheet.needs[step].iter().any(|(need, accept)| *accept == Accept::Succeeded && hurts(*need)) {
            found.insert(step);
        }
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    /// Order, locks, fairness, parallelism, priorities, no deadlock, an end for every step: all of it is in the comparison.
    #[test]
    fn the_schedule_does_what_the_rules_say_and_each_time_the_same(case in case()) {
        prop_assert_eq!(play(&case), play(&case));
    }

    #[test]
    fn a_failure_blocks_exactly_what_is_behind_it(case in case()) {
        let case = Case { stops: None, fail_fast: false, ..case };
        let trace = play(&case);
        let blocked: BTreeSet<usize> = trace.blocked.iter().map(|(step, _)| *step).collect();
        let ended = |step: &usize| trace.ended[*step] == Ended::Blocked;
        prop_assert_eq!(&blocked, &(0..trace.ended.len()).filter(ended).collect());
        prop_assert_eq!(blocked, behind(&Sheet::of(&case), &trace.ended));
        prop_assert!(!trace.ended.contains(&Ended::NotRun), "nobody stopped it");
    }
}
