//! What a killed run or a killed look has left running: found and ended before its steps may start again.

use std::path::PathBuf;
use std::sync::Arc;

use runbook_steps::tools::{self, Mark, Orphan};
use runbook_steps::{Child, Clock, Failure, World};

use crate::plan::StepId;
use crate::state::{Home, RunState, Status, StepState};

/// The world, with the run's mark in the environment of all that it starts.
pub(super) fn carry(mut world: Arc<World>, mark: &str) -> Arc<World> {
    Arc::make_mut(&mut world).env.insert(tools::RUN.into(), mark.into());
    world
}

/// How the programs of the steps that may have left some are recognised.
pub(crate) fn marks(state: &RunState) -> Vec<Mark> {
    state.steps().filter_map(|(id, _)| mark(state, id)).collect()
}

/// How the programs of a step are recognised, if it may have left some: it is in flight, or it began and does not hold.
pub(crate) fn mark(state: &RunState, id: &StepId) -> Option<Mark> {
    let step = state.step(id)?;
    let (number, children) = match step.in_flight() {
        Some(flight) => (flight.run, flight.children.as_slice()),
        None if may_have_left(step) => (last_attempted(step), [].as_slice()),
        None => return None,
    };
    let run = state.runs().iter().find(|summary| summary.opened.run == number);
    let run = run.map(|run| run.opened.mark.clone()).unwrap_or_default();
    let others = still_alive(step).iter().filter(|child| !children.contains(child));
    let groups = children.iter().chain(others).cloned().collect();
    Some(Mark { run, step: Some(id.as_str().to_owned()), groups })
}

/// A step that ended well has left on purpose what is left of it.
fn may_have_left(step: &StepState) -> bool {
    let ended_well = step.done().is_some() || matches!(step.status(), Status::Undone);
    !ended_well && (step.has_begun() || !still_alive(step).is_empty())
}

/// The run in which a step was last attempted. A later one may have touched it without coming to it.
fn last_attempted(step: &StepState) -> u32 {
    if step.acted() > 0 { step.acted() } else { step.run() }
}

/// What could not be ended when the step failed last.
fn still_alive(step: &StepState) -> &[Child] {
    step.failure().map_or(&[], |failure| &failure.facts.alive)
}

/// Ends what the steps have left running. Says what there was; what cannot be ended is not `gone`.
pub(super) async fn end(marks: &[Mark], clock: Clock) -> Vec<Orphan> {
    if marks.is_empty() { Vec::new() } else { tools::end_marked(marks, clock).await }
}

/// What is said of something that a step had left running.
pub(crate) fn had_left(orphan: &Orphan, fate: &str) -> String {
    let Orphan { pid, program, step, .. } = orphan;
    format!("`{step}` had left `{program}` (pid {pid}) running; {fate}")
}

/// What a run that ends leaves running because it has left the process groups of its steps.
pub(super) fn left_by(run: &str) -> Vec<Orphan> {
    tools::marked(&[Mark { run: run.to_owned(), ..Mark::default() }])
}

/// Two copies of a step at once are worse than none, and so is a step that is at work while it is taken back. The failure remembers what it
/// was, for the next run.
pub(super) fn still_at_it(orphan: &Orphan) -> Failure {
    let Orphan { pid, program, .. } = orphan;
    let what = format!("`{program}` (pid {pid}) of an earlier run is still at it, and cannot be ended");
    tools::beside(Failure::permanent(what), vec![orphan.child()])
}

/// What the mark of a look begins with, and after a dot the name of its note.
const LOOK: &str = "look-";

/// A look at a deployment, which no record speaks of. What it starts carries a mark, and a note in the deployment's folder has that for as
/// long as the look has not come to its end: by it the next run finds what is left of one that was killed.
pub(super) struct Look {
    mark: String,
    note: PathBuf,
}

impl Look {
    /// Begins. Who may not write in the folder looks all the same.
    pub(super) fn begin(home: &Home) -> Self {
        let pid = std::process::id();
        let mark = format!("{LOOK}{pid}-{}", tools::start_of(pid).unwrap_or_default());
        let note = home.path().join(format!(".{mark}"));
        let _ = std::fs::write(&note, "");
        Self { mark, note }
    }

    /// The world, with the look's mark in the environment of all that it starts.
    pub(super) fn carry(&self, world: Arc<World>) -> Arc<World> {
        carry(world, &self.mark)
    }

    /// It has come to its end, and has ended what it had started.
    pub(super) fn end(self) {
        let _ = std::fs::remove_file(self.note);
    }
}

/// Ends what looks at a deployment had started that were killed. Says what there was.
pub(crate) async fn end_looks(home: &Home, clock: Clock) -> Vec<String> {
    let forsaken: Vec<String> = looks(home).into_iter().filter(|mark| is_forsaken(mark)).collect();
    let marks: Vec<Mark> = forsaken.iter().map(|run| Mark { run: run.clone(), ..Mark::default() }).collect();
    let orphans = end(&marks, clock).await;
    if orphans.iter().all(|orphan| orphan.gone) {
        let notes = forsaken.iter().map(|mark| home.path().join(format!(".{mark}")));
        notes.for_each(|note| drop(std::fs::remove_file(note)));
    }
    let words = |orphan: &Orphan| {
        let Orphan { pid, program, step, .. } = orphan;
        format!("a look at `{step}` had left `{program}` (pid {pid}) running; {}", orphan.fate())
    };
    orphans.iter().map(words).collect()
}

/// The marks of looks that have not come to their end.
fn looks(home: &Home) -> Vec<String> {
    let entries = std::fs::read_dir(home.path()).into_iter().flatten().flatten();
    let mark = |name: &str| name.strip_prefix('.').filter(|mark| mark.starts_with(LOOK)).map(str::to_owned);
    entries.filter_map(|entry| mark(entry.file_name().to_str()?)).collect()
}

/// Whether who looked is gone.
fn is_forsaken(mark: &str) -> bool {
    let who = mark.strip_prefix(LOOK).and_then(|who| who.split_once('-'));
    let who = who.and_then(|(pid, started)| Some((pid.parse().ok()?, started.parse().ok()?)));
    who.is_some_and(|(pid, started): (u32, u64)| tools::start_of(pid) != Some(started))
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;
    use runbook_steps::{Child, Outputs};

    use super::*;
    use crate::event::Event;
    use crate::plan::Plan;
    use crate::plan::load::{self, Given};
    use crate::run::{Header, Watcher};
    use crate::state::lock::Holder;
    use crate::state::record::{Failed, Fingerprint, Opened, Outcome, Record, Started, Succeeded, Touches};
    use crate::state::{Journal, Sync};

    const PLAN: &str = "runbook: 1
name: p
steps:
  base: { command: [/bin/true], idempotent: true, undo: { command: [/bin/true] } }
  work: { needs: [base], command: [/bin/true], idempotent: true, undo: { command: [/bin/true] } }
";

    /// A deployment whose run was killed in the middle of `work`, with a program of it that cannot be ended.
    pub(in crate::run) struct Haunted {
        folder: tempfile::TempDir,
        pub(in crate::run) plan: Arc<Plan>,
    }

    struct Nobody;

    impl Watcher for Nobody {
        fn on(&mut self, _: &Event, _: &RunState) {}
    }

    impl Haunted {
        pub(in crate::run) fn new() -> Self {
            Self::of(PLAN)
        }

        /// The same, and nobody knows how to take `work` back.
        pub(in crate::run) fn without_a_way_back() -> Self {
            let (base, work) = PLAN.rsplit_once(", undo:").expect("one");
            assert!(work.contains("/bin/true") && base.contains("work:"));
            Self::of(&format!("{base} }}\n"))
        }

        fn of(plan: &str) -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let file = folder.path().join("plan.yaml");
            std::fs::write(&file, plan).expect("written");
            let plan = Arc::new(load::load(&file, &Given::default()).expect("a good plan").plan);
            let haunted = Self { folder, plan };
            let mut journal = haunted.journal();
            haunted.records().into_iter().for_each(|record| drop(journal.append(record, Sync::Soon).expect("legal")));
            haunted
        }

        pub(in crate::run) fn work() -> StepId {
            StepId::from("work")
        }

        fn child() -> Child {
            Child { pid: 7, started: 1, program: "sh".to_owned() }
        }

        fn records(&self) -> Vec<Record> {
            let (step, attempt, took_ms) = (StepId::from("base"), 1, 1);
            let started = |step: StepId| {
                let (fingerprint, touches) = (Fingerprint::default(), Touches::AtOnce);
                Record::Started(Started { step, attempt, fingerprint, recoverable: true, touches })
            };
            let (outcome, outputs, note) = (Outcome::Changed, Outputs::new(), None);
            vec![
                self.opened(),
                started(step.clone()),
                Record::Succeeded(Succeeded {
                    step,
                    attempt,
                    outcome,
                    outputs,
                    looked_up: BTreeMap::new(),
                    took_ms,
                    note,
                }),
                started(Self::work()),
                Record::Spawned { step: Self::work(), attempt, child: Self::child() },
            ]
        }

        fn opened(&self) -> Record {
            Record::Opened(Opened {
                mark: "first".to_owned(),
                home: self.folder.path().display().to_string(),
                ..Opened::first()
            })
        }

        pub(in crate::run) fn journal(&self) -> Journal {
            let (who, host, since) = ("me@here".to_owned(), "here".to_owned(), Timestamp::UNIX_EPOCH);
            let holder = Holder { who, host, pid: std::process::id(), command: "apply".to_owned(), since };
            let home = Home::new(self.folder.path(), "d").expect("a name");
            Journal::open(home.lock(holder).expect("free"), Clock::real()).expect("a journal").0
        }

        pub(in crate::run) fn world(&self) -> Arc<World> {
            let (env, kubeconfig) = (BTreeMap::new(), self.folder.path().join("kubeconfig"));
            Arc::new(World { env, kubeconfig, http_proxy: None, clock: Clock::real(), simulated: None })
        }

        pub(in crate::run) fn header() -> Header {
            Header { command: "apply".to_owned(), who: "me@here".to_owned(), version: "0".to_owned() }
        }

        pub(in crate::run) fn watcher() -> Box<dyn Watcher> {
            Box::new(Nobody)
        }

        /// What a search comes back with that could not end it.
        pub(in crate::run) fn orphan() -> Orphan {
            let Child { pid, started, program } = Self::child();
            Orphan { pid, started, step: Self::work().to_string(), program, gone: false }
        }

        /// The state after some more records, and the header of another run.
        fn after(&self, records: impl IntoIterator<Item = Record>) -> RunState {
            let mut journal = self.journal();
            let run = journal.state().current().map_or(1, |run| run.opened.run + 1);
            let Record::Opened(first) = self.opened() else { unreachable!("it is a header") };
            let next = Record::Opened(Opened { run, mark: format!("run {run}"), ..first });
            for record in records.into_iter().chain([next]) {
                journal.append(record, Sync::Soon).expect("legal");
            }
            journal.state().clone()
        }

        /// Whether the next run looks for it again.
        pub(in crate::run) fn is_looked_for(state: &RunState) -> bool {
            marks(state) == [Mark { run: "first".into(), step: Some("work".into()), groups: vec![Self::child()] }]
        }
    }

    fn failed(attempt: u32, failure: Failure) -> Record {
        let (retry_in_ms, took_ms, untouched) = (None, 1, attempt == 0);
        Record::Failed(Failed { step: Haunted::work(), attempt, failure, retry_in_ms, took_ms, untouched })
    }

    fn mark_of(run: &str, groups: Vec<Child>) -> Mark {
        Mark { run: run.to_owned(), step: Some("work".to_owned()), groups }
    }

    #[test]
    fn what_a_step_that_failed_may_have_left_is_looked_for_and_nothing_of_one_that_holds() {
        let haunted = Haunted::new();
        assert_eq!(marks(&haunted.after([failed(1, Failure::permanent("no"))])), [mark_of("first", Vec::new())]);
        let (step, attempt, took_ms) = (Haunted::work(), 1, 1);
        let (fingerprint, touches) = (Fingerprint::default(), Touches::AtOnce);
        let started = Record::Started(Started { step: step.clone(), attempt, fingerprint, recoverable: true, touches });
        let (outcome, outputs, note) = (Outcome::Changed, Outputs::new(), None);
        let done =
            Record::Succeeded(Succeeded { step, attempt, outcome, outputs, looked_up: BTreeMap::new(), took_ms, note });
        assert_eq!(marks(&haunted.after([started, done])), []);
    }

    #[test]
    fn what_a_step_may_have_left_is_looked_for_although_a_later_run_did_not_come_to_it() {
        let haunted = Haunted::new();
        drop(haunted.after([failed(1, Failure::permanent("no"))]));
        let blocked = Record::Blocked { step: Haunted::work(), by: vec![StepId::from("base")] };
        assert_eq!(marks(&haunted.after([blocked])), [mark_of("first", Vec::new())]);
    }

    #[test]
    fn what_cannot_be_ended_is_looked_for_by_every_run_until_it_is_gone() {
        let haunted = Haunted::new();
        let alive = still_at_it(&Haunted::orphan());
        let state = haunted.after([failed(1, alive.clone())]);
        assert_eq!(marks(&state), [mark_of("first", vec![Haunted::child()])]);
        // That run does not start it, and says why.
        let state = haunted.after([failed(0, alive)]);
        assert_eq!(marks(&state), [mark_of("first", vec![Haunted::child()])]);
        let state = haunted.after([Record::Blocked { step: Haunted::work(), by: vec!["base".into()] }]);
        assert_eq!(marks(&state), [mark_of("first", vec![Haunted::child()])], "nor did the next come to it");
    }
}
