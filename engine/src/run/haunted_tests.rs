//! Steps whose programs cannot be ended: not done again.

use super::*;
use crate::run::orphans::tests::Haunted;

async fn redone(haunted: &Haunted, is_alive: bool) -> Summary {
    let options = Options { redo: [Haunted::work()].into(), ..Options::default() };
    let run = Run {
        plan: Arc::clone(&haunted.plan),
        world: haunted.world(),
        journal: haunted.journal(),
        secrets: Arc::default(),
        options,
        header: Haunted::header(),
        watcher: Haunted::watcher(),
        interrupts: Interrupts::channel().1,
    };
    let (mut making, terms) = Making::new(run);
    making.begin().expect("written");
    making.course.haunted.extend(is_alive.then(|| (Haunted::work(), Haunted::orphan())));
    making.redo().expect("written");
    listen::run(making, terms).await.close().expect("written")
}

#[tokio::test]
async fn a_step_that_is_still_at_work_is_not_settled_by_redoing_it() {
    let haunted = Haunted::new();
    let summary = redone(&haunted, true).await;
    assert_eq!(summary.verdict, Verdict::Failed);
    assert!(Haunted::is_looked_for(summary.journal.state()), "{:?}", summary.journal.state());
    drop(summary);
    assert_eq!(redone(&haunted, false).await.verdict, Verdict::Holds, "once it is gone");
}
