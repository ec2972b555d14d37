//! Cut the log: generated plans, cut after every record and inside the next, continued, and always the same world in the end.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use runbook::plan::StepId;
use runbook::state::record::Verdict;
use runbook::state::{RunState, Status};
use runbook_steps::Class;

use drafts::Draft;
use life::Life;
use random::Random;
use world::{Made, World};

#[path = "../../examples/simulate/checks.rs"]
mod checks;
#[allow(dead_code, reason = "the simulation uses the rest")]
#[path = "../../examples/simulate/disk.rs"]
mod disk;
#[path = "../../examples/simulate/drafts.rs"]
mod drafts;
#[path = "../../examples/simulate/kinds.rs"]
mod kinds;
#[allow(dead_code, reason = "the simulation uses the rest")]
#[path = "../../examples/simulate/life.rs"]
mod life;
#[path = "../../examples/simulate/medium.rs"]
pub(crate) mod medium;
#[allow(dead_code, reason = "the simulation uses the rest")]
#[path = "../../examples/simulate/notes.rs"]
mod notes;
#[path = "../../examples/simulate/random.rs"]
pub(crate) mod random;
#[path = "../../examples/simulate/world.rs"]
mod world;

/// So many plans are cut at every record.
const PLANS: u64 = 36;

/// How the world stood at a moment.
struct Stood {
    world: World,
    at: Duration,
}

/// What a run leads to.
#[derive(Debug, PartialEq)]
struct Reached {
    verdict: Verdict,
    made: BTreeMap<String, Made>,
    ends: BTreeMap<StepId, &'static str>,
}

/// A plan's run without a crash: its journal, what it led to, and the world at each record.
struct Whole {
    draft: Draft,
    journal: Vec<u8>,
    stood: Vec<Stood>,
    reached: Reached,
}

/// In a runtime whose time stands still while anybody works.
fn simulated<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime without threads").block_on(work)
}

/// Runs a random plan, in which some steps fail each time, and keeps how the world stood before each record.
async fn run_once(seed: u64, root: &Path) -> Whole {
    let mut random = Random::new(seed);
    notes::begin(Duration::ZERO, false);
    let draft = Draft::new(&mut random, 8);
    let disk = disk::Shared::new(random.fork());
    let mut world = World::new(disk.clone(), random.fork());
    world.healthy = true;
    for id in draft.ids() {
        let class = *random.pick(&[Class::Permanent, Class::Transient]);
        if random.percent(8) {
            world.hopeless.insert(id.as_str().to_owned(), class);
        }
    }
    world::enter(world);
    let stood = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&stood);
    disk.lock().look_at_writes(Some(Box::new(move || {
        let now = Stood { world: world::with(|world| world.clone()), at: notes::now() };
        keep.lock().unwrap_or_else(PoisonError::into_inner).push(now);
    })));
    let reached = reach(&mut Life::resumed(draft.clone(), disk.clone(), root)).await;
    disk.lock().look_at_writes(None);
    let mut stood = std::mem::take(&mut *stood.lock().expect("whole"));
    stood.push(Stood { world: world::with(|world| world.clone()), at: notes::now() });
    let journal = disk.lock().file().to_vec();
    Whole { draft, journal, stood, reached }
}

async fn reach(life: &mut Life) -> Reached {
    let summary = life.converge().await.expect("it converges");
    let state = summary.journal.state();
    let ends = life.draft().ids().into_iter().map(|id| (id.clone(), word(state, &id))).collect();
    Reached { verdict: summary.verdict, made: world::with(|world| world.all_made()), ends }
}

fn word(state: &RunState, id: &StepId) -> &'static str {
    match state.status(id) {
        Status::Succeeded { .. } => "holds",
        Status::Failed => "failed",
        Status::Skipped { .. } => "skipped",
        Status::Blocked { .. } => "blocked",
        _ => "open",
    }
}

/// Continues from a cut journal in the world as it stood then.
async fn resume(whole: &Whole, journal: &[u8], stood: &Stood, root: &Path) -> Reached {
    notes::begin(stood.at, false);
    let disk = disk::Shared::new(Random::new(0));
    disk.lock().put(journal);
    world::enter(stood.world.clone().left_behind(disk.clone()));
    reach(&mut Life::resumed(whole.draft.clone(), disk, root)).await
}

#[test]
fn a_generated_plan_that_is_cut_anywhere_comes_to_the_same_end() {
    let root = tempfile::tempdir().expect("a folder");
    for seed in 1..=PLANS {
        let whole = simulated(run_once(seed, root.path()));
        let mut ends: Vec<usize> = vec![0];
        ends.extend(whole.journal.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1));
        assert_eq!(whole.stood.len(), ends.len(), "the world was seen at each record and at the end");
        for (count, end) in ends.iter().enumerate() {
            let half = ends.get(count + 1).map_or(*end, |next| end + (next - end) / 2);
            // The engine died right after the record, right before the next, or in the middle of that.
            for (kept, at) in [(*end, count.saturating_sub(1)), (*end, count), (half, count)] {
                let place = format!("seed {seed}, {kept} bytes, {count} records, the world at {at}");
                let reached = simulated(resume(&whole, &whole.journal[..kept], &whole.stood[at], root.path()));
                let (_, wrong, _) = notes::end();
                assert_eq!(wrong, Vec::<String>::new(), "{place}");
                assert_eq!(reached, whole.reached, "{place}");
            }
        }
    }
}
