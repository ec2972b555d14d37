//! Steps whose programs cannot be ended: not taken back, nor what they stand on.

use super::super::plan::{Choice, plan};
use super::*;
use crate::run::orphans::tests::Haunted;

async fn undone(haunted: &Haunted, is_alive: bool) -> Summary {
    let journal = haunted.journal();
    let undoing = Undoing {
        selection: String::new(),
        undo: plan(&haunted.plan, journal.state(), &Choice::default()),
        plan: Arc::clone(&haunted.plan),
        world: haunted.world(),
        journal,
        secrets: Arc::default(),
        parallel: 4,
        seed: 0,
        sync_inline: false,
        header: Haunted::header(),
        watcher: Haunted::watcher(),
        interrupts: Interrupts::channel().1,
    };
    let (mut unmaking, terms) = Unmaking::new(undoing);
    unmaking.begin().expect("written");
    unmaking.course.haunted.extend(is_alive.then(|| (Haunted::work(), Haunted::orphan())));
    listen::run(unmaking, terms).await.close().expect("written")
}

#[tokio::test]
async fn nothing_is_taken_from_under_a_step_that_is_still_at_work_and_stays_itself() {
    let haunted = Haunted::without_a_way_back();
    let summary = undone(&haunted, true).await;
    assert_eq!(summary.verdict, Verdict::Failed);
    assert_eq!(summary.blocked, [(StepId::from("base"), vec![Haunted::work()])]);
    drop(summary);
    assert_eq!(undone(&haunted, false).await.verdict, Verdict::Holds, "once it is gone");
}

#[tokio::test]
async fn a_step_that_is_still_at_work_is_not_undone() {
    let haunted = Haunted::new();
    let summary = undone(&haunted, true).await;
    assert_eq!(summary.verdict, Verdict::Failed);
    assert_eq!(summary.blocked, [(StepId::from("base"), vec![Haunted::work()])]);
    assert!(Haunted::is_looked_for(summary.journal.state()), "{:?}", summary.journal.state());
    drop(summary);
    assert_eq!(undone(&haunted, false).await.verdict, Verdict::Holds, "once it is gone");
}
