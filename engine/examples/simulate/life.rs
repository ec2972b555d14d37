//! The life of one deployment: runs that crash, are interrupted, meet a bad disk and an edited plan, and in the end heal.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::pending;
use runbook::plan::model::{Plan, StepId};
use runbook::run::undo::{self, Choice, Left, UndoPlan, Undoing};
use runbook::run::{Header, Interrupter, Interrupts, Options, Run, Signal, Summary, drive, verdicts};
use runbook::state::lock::Holder;
use runbook::state::record::{Record, Verdict};
use runbook::state::{Home, Journal, RunState, StateError, Status, Sync};
use runbook_steps::{Clock, Redactor, Secrets, World as Outside};

use super::checks::{self, Checker};
use super::disk::{Faults, Moment, Shared};
use super::drafts::Draft;
use super::kinds;
use super::notes;
use super::random::Random;
use super::world::{self, Death, Made, World};

/// No run takes longer, or it hangs.
const LONGEST: Duration = Duration::from_secs(50_000);

/// What happens to one run, besides what happens to its steps.
#[derive(Debug, Default)]
struct Chaos {
    faults: Faults,
    /// The engine dies at this moment.
    dies_after: Option<Duration>,
    death: Option<Death>,
    /// Signals, each so long after the one before.
    signals: Vec<Duration>,
}

/// How a run came to its end.
enum Came<S = Summary> {
    Ended(Box<S>),
    Broke,
    Died,
}

/// One deployment.
pub(crate) struct Life {
    random: Random,
    draft: Draft,
    disk: Shared,
    root: PathBuf,
    clock: Clock,
    runs: u32,
}

impl Life {
    /// A deployment whose lock is below `root`. Enters its world.
    pub(crate) fn new(seed: u64, root: &Path) -> Self {
        let mut random = Random::new(seed);
        let most = if random.percent(5) { 40 } else { 12 };
        let draft = Draft::new(&mut random, most);
        let disk = Shared::new(random.fork());
        world::enter(World::new(disk.clone(), random.fork()));
        Self { random, draft, disk, root: root.to_owned(), clock: Clock::simulated(1_800_000_000_000), runs: 0 }
    }

    /// A deployment that is there already, in a world that was entered.
    pub(crate) fn resumed(draft: Draft, disk: Shared, root: &Path) -> Self {
        let clock = Clock::simulated(1_800_000_000_000);
        Self { random: Random::new(0), draft, disk, root: root.to_owned(), clock, runs: 0 }
    }

    pub(crate) fn draft(&self) -> &Draft {
        &self.draft
    }

    pub(crate) fn disk(&self) -> &Shared {
        &self.disk
    }

    /// From the first run to the last.
    pub(crate) async fn live(&mut self) {
        notes::say(|| format!("the plan:{}", self.draft));
        for _ in 0..self.random.within(1, 5) {
            let (chaos, options) = (self.chaos(), self.options());
            if self.random.percent(20) {
                let choice = self.choice();
                self.destroy(chaos, choice).await;
            } else {
                self.run(chaos, options).await;
            }
            if !notes::all_is_well() {
                return;
            }
            self.between().await;
        }
        self.heal().await;
        if notes::all_is_well() && self.random.percent(60) {
            self.end().await;
        }
    }

    fn chaos(&mut self) -> Chaos {
        let most = 6 + 3 * self.draft.ids().len() as u64;
        let random = &mut self.random;
        let mut chaos = Chaos::default();
        let death = if random.percent(50) { Death::Killed } else { Death::PowerCut };
        let moment = *random.pick(&[Moment::Before, Moment::Within, Moment::After]);
        let early = u32::try_from(random.within(1, most)).expect("small");
        match random.below(10) {
            0..3 => chaos.dies_after = Some(soon(random, 60_000)),
            3..6 => chaos.faults.dies_at_write = Some((early, moment)),
            6 => chaos.faults.dies_at_sync = Some((1 + early / 2, moment)),
            7 => chaos.faults.write_fails = Some((early, moment)),
            8 => chaos.faults.sync_fails = Some(1 + early / 2),
            _ => {}
        }
        chaos.faults.truncate_fails = random.percent(50);
        chaos.death = Some(death);
        if random.percent(25) {
            chaos.signals = (0..random.within(1, 3)).map(|_| soon(random, 40_000)).collect();
        }
        chaos
    }

    fn options(&mut self) -> Options {
        let ids = self.draft.ids();
        let random = &mut self.random;
        let mut some = |chance| -> BTreeSet<StepId> {
            let asked = random.percent(chance);
            ids.iter().filter(|_| asked && random.percent(30)).cloned().collect()
        };
        let (redo, skip, only) = (some(8), some(8), some(8));
        let parallel = 1 + random.index(6);
        let fail_fast = random.percent(10);
        let keep_stale = random.percent(4);
        Options {
            parallel,
            fail_fast,
            seed: random.next(),
            redo,
            skip,
            only,
            keep_stale,
            sync_inline: true,
            ..Options::default()
        }
    }

    /// All of it, or a part.
    fn choice(&mut self) -> Choice {
        let ids = self.draft.ids();
        let part = self.random.percent(30);
        let only = ids.into_iter().filter(|_| part && self.random.percent(30)).collect();
        Choice { only, ..Choice::default() }
    }

    fn home(&self) -> Home {
        Home::new(&self.root, "simulated").expect("a name")
    }

    /// A process takes the deployment and reads its journal.
    fn open(&mut self, faults: Faults) -> Option<Journal> {
        let storage = self.disk.open(faults);
        let found = self.disk.lock().file().to_vec();
        let whole: Vec<u8> = {
            let disk = self.disk.lock();
            let end = disk.entries().last().map_or(0, |(end, _)| *end);
            found[..end].to_vec()
        };
        let (who, host) = ("me@here".to_owned(), "here".to_owned());
        let holder = Holder { who, host, pid: 1, command: "apply".to_owned(), since: self.clock.now() };
        let lock = self.home().lock(holder).expect("nobody else has it");
        match Journal::open_with(lock, self.clock, storage) {
            Ok((journal, _)) => {
                self.reopened(&journal, &whole);
                Some(journal)
            }
            Err(error) => {
                if !self.disk.lock().met_a_fault() {
                    notes::wrong(format!("the journal cannot be opened: {error}"));
                }
                None
            }
        }
    }

    /// What comes back is what was whole, all of it, and nothing else.
    fn reopened(&self, journal: &Journal, whole: &[u8]) {
        let disk = self.disk.lock();
        if disk.file() != whole {
            notes::wrong("a journal that was opened is not the whole lines of what was there");
        }
        let mut state = RunState::default();
        let folded = disk.entries().iter().try_for_each(|(_, entry)| state.apply(entry));
        if folded.is_err() || state != *journal.state() {
            notes::wrong("the state of a journal that was opened is not what follows from its lines");
        }
    }

    async fn run(&mut self, chaos: Chaos, options: Options) -> Came {
        self.runs += 1;
        notes::say(|| format!("RUN {} {chaos:?} {}", self.runs, brief(&options)));
        let plan = self.draft.plan();
        world::with(|world| {
            world.terms = self.draft.terms();
            world.parallel = options.parallel;
        });
        let Some(journal) = self.open(chaos.faults.clone()) else { return Came::Broke };
        let came = self.drive(&plan, &chaos, &options, journal).await;
        if let Came::Ended(summary) = &came {
            notes::say(|| format!("ends: {:?}", summary.verdict));
            checks::summary(summary, &plan, &options, &self.disk);
        }
        came
    }

    /// Takes back what was made, as far as there is something.
    async fn destroy(&mut self, chaos: Chaos, choice: Choice) -> Option<Came<undo::drive::Summary>> {
        self.runs += 1;
        notes::say(|| format!("DESTROY {} {chaos:?} {choice:?}", self.runs));
        let (plan, parallel) = (self.draft.plan(), 1 + self.random.index(6));
        world::with(|world| (world.terms, world.parallel) = (self.draft.terms(), parallel));
        let journal = self.open(chaos.faults.clone())?;
        let undo = undo::plan(&plan, journal.state(), &choice);
        world::with(|world| unreadable(&undo).for_each(|step| world.nobody_undoes(step.as_str())));
        if undo.items.is_empty() {
            return None;
        }
        let wanted: Vec<StepId> = undo.in_order().map(|item| item.step.clone()).collect();
        let (interrupter, interrupts) = Interrupts::channel();
        let undoing = Undoing {
            undo,
            selection: String::new(),
            world: Arc::new(self.outside()),
            journal,
            secrets: Arc::new(Secrets::new(BTreeMap::new())),
            parallel,
            seed: self.random.next(),
            sync_inline: true,
            header: header("destroy"),
            watcher: Box::new(Checker::new(
                self.disk.clone(),
                Arc::clone(&plan),
                self.draft.clone(),
                &Options::default(),
            )),
            interrupts,
            plan,
        };
        let came = self.lives(Box::pin(undo::drive(undoing)), &chaos, interrupter).await;
        if let Came::Ended(summary) = &came {
            notes::say(|| format!("ends: {:?}", summary.verdict));
            checks::undone(summary, &wanted, &self.disk);
        }
        Some(came)
    }

    async fn drive(&mut self, plan: &Arc<Plan>, chaos: &Chaos, options: &Options, journal: Journal) -> Came {
        let (interrupter, interrupts) = Interrupts::channel();
        let checker = Checker::new(self.disk.clone(), Arc::clone(plan), self.draft.clone(), options);
        let mut options = options.clone();
        options.trust(&verdicts(plan, journal.state(), &options, &Redactor::default()));
        let run = Run {
            plan: Arc::clone(plan),
            world: Arc::new(self.outside()),
            journal,
            secrets: Arc::new(Secrets::new(BTreeMap::new())),
            options,
            header: header("apply"),
            watcher: Box::new(checker),
            interrupts,
        };
        self.lives(Box::pin(drive(run)), chaos, interrupter).await
    }

    /// Lets a process live until it ends or dies.
    async fn lives<S>(
        &mut self,
        mut driving: Pin<Box<impl Future<Output = Result<S, StateError>>>>,
        chaos: &Chaos,
        interrupter: Interrupter,
    ) -> Came<S> {
        let died = self.disk.lock().died();
        let ended = tokio::select! {
            biased;
            () = died.notified() => None,
            () = until(chaos.dies_after) => None,
            result = &mut driving => Some(result),
            never = interrupt(interrupter, &chaos.signals) => match never {},
            () = self.clock.sleep(LONGEST) => {
                notes::wrong("it never ends");
                None
            }
        };
        // One that ended and died in the same moment has died: its last records may not be there.
        let ended = ended.filter(|_| !self.disk.lock().is_dead());
        if ended.is_none() && !self.disk.lock().is_dead() {
            self.disk.lock().die();
        }
        world::with(|world| world.death = chaos.death.unwrap_or(Death::Killed));
        drop(driving);
        all_gone().await;
        self.came(ended, chaos)
    }

    fn came<S>(&self, ended: Option<Result<S, StateError>>, chaos: &Chaos) -> Came<S> {
        match ended {
            None => {
                if chaos.death == Some(Death::PowerCut) {
                    world::with(World::power_cut);
                    self.disk.lock().forget();
                }
                Came::Died
            }
            Some(Ok(summary)) => Came::Ended(Box::new(summary)),
            Some(Err(error)) => {
                notes::say(|| format!("breaks: {error}"));
                if !self.disk.lock().met_a_fault() {
                    notes::wrong(format!("the disk is well, and the run ends with: {error}"));
                }
                Came::Broke
            }
        }
    }

    fn outside(&self) -> Outside {
        Outside {
            env: BTreeMap::new(),
            kubeconfig: PathBuf::from("/none"),
            http_proxy: None,
            clock: self.clock,
            simulated: None,
        }
    }

    /// People wait a little, edit the plan, and say what became of what nobody else can tell.
    async fn between(&mut self) {
        let pause = Duration::from_millis(self.random.below(60_000));
        self.clock.sleep(pause).await;
        if self.random.percent(30) {
            let what = self.draft.edit(&mut self.random);
            notes::say(|| format!("somebody {what}"));
        }
        if self.random.percent(40) {
            self.settle().await;
        }
    }

    /// Says of each unknown step what the world shows.
    async fn settle(&mut self) {
        let Some(mut journal) = self.open(Faults::default()) else { return };
        for id in unknown(journal.state()) {
            while world::with(|world| world.is_under_way(id.as_str())) {
                self.clock.sleep(Duration::from_secs(1)).await;
            }
            let mark = mark_of_done(&id, journal.state());
            notes::say(|| format!("somebody settles {id}, done: {}", mark.is_some()));
            let outputs = mark.map(|mark| kinds::outputs(id.as_str(), mark)).unwrap_or_default();
            let settled = Record::Settled { step: id, done: mark.is_some(), outputs };
            if let Err(error) = journal.append(settled, Sync::Now) {
                notes::wrong(format!("cannot be settled: {error}"));
            }
        }
    }

    /// Without faults everything comes to hold, and then nothing is left to do.
    async fn heal(&mut self) {
        world::with(|world| world.healthy = true);
        for _ in 0..4 {
            let Some(summary) = self.converge().await else { return };
            if summary.verdict == Verdict::Holds {
                self.is_healed(summary.journal.state());
                drop(summary);
                return self.rest().await;
            }
        }
        notes::wrong("without faults it does not come to hold");
    }

    /// Runs without faults until nothing is unknown any more.
    pub(crate) async fn converge(&mut self) -> Option<Box<Summary>> {
        for _ in 0..4 {
            self.settle().await;
            let options = Options { parallel: 3, sync_inline: true, ..Options::default() };
            let Came::Ended(summary) = self.run(Chaos::default(), options).await else {
                notes::wrong("a run without faults does not end");
                return None;
            };
            if unknown(summary.journal.state()).is_empty() {
                return Some(summary);
            }
        }
        notes::wrong("what is unknown does not become known");
        None
    }

    /// Without faults all is taken back that somebody knows how to, and then there is nothing left to do.
    async fn end(&mut self) {
        for _ in 0..4 {
            match self.destroy(Chaos::default(), Choice::default()).await {
                None => return is_gone(),
                Some(Came::Ended(_)) => {}
                Some(_) => return notes::wrong("a destroy without faults does not end"),
            }
        }
        notes::wrong("without faults it does not come to be undone");
    }

    fn is_healed(&self, state: &RunState) {
        for id in self.draft.ids() {
            let wanted = self.draft.lasting_mark(id.as_str()).map(|mark| Made { mark });
            let made = world::with(|world| world.made(id.as_str()));
            let skipped = matches!(state.status(&id), Status::Skipped { .. });
            if !skipped && wanted.is_some() && made != wanted {
                notes::wrong(format!("all holds, and of {id} there is {made:?} in place of {wanted:?}"));
            }
        }
    }

    /// When everything holds, another run touches nothing.
    async fn rest(&mut self) {
        let acts = world::with(|world| world.acts);
        let options = Options { parallel: 3, sync_inline: true, ..Options::default() };
        let came = self.run(Chaos::default(), options).await;
        let calm = matches!(&came, Came::Ended(summary) if summary.verdict == Verdict::Holds);
        if !calm || world::with(|world| world.acts) != acts {
            notes::wrong("it held, and the next run did something");
        }
    }
}

fn is_gone() {
    for step in world::with(|world| world.standing().cloned().collect::<Vec<_>>()) {
        notes::wrong(format!("all is undone, and something of {step} stands"));
    }
}

/// The steps whose recipe is of a kind that the plan no longer has: of real kinds the program knows all.
fn unreadable(undo: &UndoPlan) -> impl Iterator<Item = &StepId> {
    let unknown = |left: &Left| matches!(left, Left::NoWay { why, .. } if why.contains("no kind"));
    undo.left.iter().filter(move |(_, left)| unknown(left)).map(|(id, _)| id)
}

/// The mark of what the step was at, if that is there.
fn mark_of_done(id: &StepId, state: &RunState) -> Option<u64> {
    let flight = state.step(id).and_then(|step| step.in_flight())?;
    let mark = flight.fingerprint.parts()["with"]["mark"].as_u64()?;
    world::with(|world| world.made(id.as_str()) == Some(Made { mark })).then_some(mark)
}

/// The steps that a person must say something of.
fn unknown(state: &RunState) -> Vec<StepId> {
    let steps = state.steps().filter(|(_, step)| matches!(step.status(), Status::Unknown { .. }));
    steps.map(|(id, _)| id.clone()).collect()
}

/// A moment: at times within the first instants, when much happens at once.
fn soon(random: &mut Random, latest_ms: u64) -> Duration {
    let latest = if random.percent(25) { 600 } else { latest_ms };
    Duration::from_millis(random.below(latest))
}

async fn until(span: Option<Duration>) {
    match span {
        Some(span) => tokio::time::sleep_until(tokio::time::Instant::now() + span).await,
        None => pending().await,
    }
}

async fn interrupt(interrupter: Interrupter, signals: &[Duration]) -> std::convert::Infallible {
    for pause in signals {
        until(Some(*pause)).await;
        notes::say(|| "  ** a signal");
        interrupter.send(Signal::Interrupt);
    }
    pending().await
}

fn header(command: &str) -> Header {
    Header { command: command.to_owned(), who: "me@here".to_owned(), version: "0".to_owned() }
}

fn brief(options: &Options) -> String {
    let Options { parallel, fail_fast, redo, skip, only, keep_stale, .. } = options;
    format!(
        "parallel {parallel}, fail fast {fail_fast}, redo {redo:?}, skip {skip:?}, only {only:?}, keep {keep_stale}"
    )
}

/// A process is gone with all that it was about to do, its hold on the lock included, before another begins.
async fn all_gone() {
    let runtime = tokio::runtime::Handle::current();
    while runtime.metrics().num_alive_tasks() > 0 {
        tokio::task::yield_now().await;
    }
}
