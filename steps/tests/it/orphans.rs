//! What is left of a step: whose it is, and that it is ended with all that belongs to it.

use runbook_steps::context::Stream;
use runbook_steps::tools::{Finished, Mark, Program, end_marked, marked};
use runbook_steps::{Child, Failure};
use tokio::task::JoinHandle;

use crate::workshop::Workshop;

type Running = JoinHandle<Result<Finished, Failure>>;

/// A mark that no other test has, of this or another test run on this machine.
fn own(name: &str) -> String {
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    format!("{}-{test}-{name}", std::process::id())
}

/// Starts a script and waits until it has said `ready`.
async fn ready(shop: &Workshop, script: &str) -> (Running, Child) {
    let (cx, program) = (shop.context(), Program::new("sh").args(["-c", script]));
    let running = tokio::spawn(async move { program.run(&cx).await });
    shop.ears.hears(Stream::Out, "ready").await;
    let child = shop.ears.children.lock().unwrap()[0].clone();
    (running, child)
}

/// A group that was started before `child` and had the same number.
fn earlier(child: &Child) -> Vec<Child> {
    vec![Child { started: child.started - 1, ..child.clone() }]
}

#[tokio::test]
async fn a_strangers_group_with_the_number_of_one_of_ours_is_left_alone() {
    let stranger = Workshop::new().with_run(&own("b"));
    let (running, child) = ready(&stranger, "echo ready; exec sleep 600").await;
    let step = Some(stranger.context().step.to_string());
    let of_another_run = Mark { run: own("a"), step: step.clone(), groups: earlier(&child) };
    let of_another_step = Mark { run: own("b"), step: Some("another".to_owned()), groups: earlier(&child) };
    let of_a_run_without_a_mark = Mark { run: String::new(), step, groups: earlier(&child) };
    let marks = [of_another_run, of_another_step, of_a_run_without_a_mark];
    assert_eq!(end_marked(&marks, stranger.clock).await, []);
    assert_eq!(marked(&[Mark { run: own("b"), ..Mark::default() }]).len(), 1, "it lives");
    stranger.cancel.soft.cancel();
    running.await.unwrap().unwrap_err();
}
