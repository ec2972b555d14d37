//! What is left of a step: whose it is, and that it is ended with all that belongs to it.

use std::os::unix::process::CommandExt as _;
use std::time::{Duration, Instant};

use runbook_steps::context::Stream;
use runbook_steps::tools::{Finished, Mark, Program, end_marked, marked, quote, start_of};
use runbook_steps::{Child, Class, Context, Failure};
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

#[tokio::test]
async fn what_has_left_the_group_is_killed_with_it_when_there_is_no_time() {
    let shop = Workshop::new().with_run(&own("a"));
    let left = "trap 'echo told > told' TERM; echo $$ > left; echo ready; while :; do sleep 600 & wait; done";
    let script = format!("setsid sh -c {} & while :; do sleep 600; done", quote(left));
    let (running, _) = ready(&shop, &script).await;
    shop.cancel.soft.cancel();
    shop.cancel.hard.cancel();
    running.await.unwrap().unwrap_err();
    assert_eq!(shop.read("plan/told"), "", "there is no time to tell it");
    assert_eq!(start_of(shop.read("plan/left").trim().parse().unwrap()), None, "it is gone");
    assert!(shop.ears.logged(Stream::Note).contains("had left the process group; it was ended"));
}

#[tokio::test]
async fn stopping_one_program_of_a_step_leaves_its_others_alone() {
    let shop = Workshop::new().with_run(&own("a"));
    let patient = "trap 'echo told > told' TERM; echo ready; until test -e go; do sleep 0.01; done";
    let (other, _) = ready(&shop, patient).await;
    let cancel = shop.cancel.child();
    let cx = Context { cancel: cancel.clone(), ..shop.context() };
    let script = "echo second; exec sleep 600";
    let stopped = tokio::spawn(async move { Program::new("sh").args(["-c", script]).run(&cx).await });
    shop.ears.hears(Stream::Out, "second").await;
    cancel.soft.cancel();
    assert_eq!(stopped.await.unwrap().unwrap_err().class, Class::Cancelled);
    shop.write("plan/go", "");
    other.await.unwrap().expect("it ends by itself");
    assert_eq!(shop.read("plan/told"), "");
    assert!(!shop.ears.logged(Stream::Note).contains("had left the process group"));
}

/// Runs a program that leaves another outside of its group and exits with a code. The other's id, and whether it still lives.
async fn with_a_deserter(shop: &Workshop, code: u8, unchecked: bool) -> (u32, bool) {
    let left = "echo $$ > left.part; mv left.part left; exec sleep 600";
    let script = format!("setsid sh -c {} & until test -e left; do sleep 0.01; done; exit {code}", quote(left));
    let program = Program::new("sh").args(["-c", &script]);
    let program = if unchecked { program.unchecked() } else { program };
    assert_eq!(program.run(&shop.context()).await.is_err(), code > 0 && !unchecked);
    let left = shop.read("plan/left").trim().parse().unwrap();
    (left, start_of(left).is_some())
}

#[tokio::test]
async fn what_a_program_that_failed_has_left_outside_of_its_group_is_ended() {
    let shop = Workshop::new().with_run(&own("a"));
    let (left, lives) = with_a_deserter(&shop, 3, false).await;
    assert!(!lives, "it would run beside the next attempt");
    let said = format!("(pid {left}) had left the process group; it was ended");
    assert!(shop.ears.logged(Stream::Note).contains(&said));
}

#[tokio::test]
async fn what_a_program_that_ended_well_has_left_on_purpose_is_left_alone() {
    for (code, unchecked) in [(0, false), (3, true)] {
        let shop = Workshop::new().with_run(&own("a"));
        let (_, lives) = with_a_deserter(&shop, code, unchecked).await;
        assert!(lives, "exit code {code}");
        end_marked(&[Mark { run: own("a"), ..Mark::default() }], shop.clock).await;
    }
}

#[tokio::test]
async fn a_process_that_is_remembered_is_found_though_it_says_nothing_and_leads_no_group() {
    let shop = Workshop::new();
    let (mut leader, wiped) = forsaken(&shop, &own("a"));
    let child = Child { pid: wiped, started: start_of(wiped).unwrap(), program: "sh".to_owned() };
    let another = Child { started: child.started - 1, ..child.clone() };
    let mark = |child| Mark { run: own("b"), step: Some("the_step".to_owned()), groups: vec![child] };
    assert_eq!(marked(&[mark(another)]), []);
    let found = marked(&[mark(child)]);
    assert!(found.iter().any(|orphan| orphan.pid == wiped && orphan.step == "the_step"), "{found:?}");
    leader.kill().unwrap();
    leader.wait().unwrap();
    let child = Child { pid: wiped, started: start_of(wiped).unwrap(), program: "sh".to_owned() };
    assert!(end_marked(&[mark(child)], shop.clock).await.iter().all(|orphan| orphan.gone));
}

#[tokio::test]
async fn a_leader_is_reaped_when_its_group_is_gone_and_not_before() {
    let shop = Workshop::new();
    // The pause is for whoever would reap it too soon.
    let seen = "sleep 0.3; cat /proc/$PPID/stat > seen";
    let deaf = format!("trap '' TERM; echo ready; until test -e go; do sleep 0.01; done; {seen}");
    let (running, leader) = ready(&shop, &format!("sh -c {} & wait", quote(&deaf))).await;
    shop.cancel.soft.cancel();
    let patience = Instant::now() + Duration::from_secs(60);
    while start_of(leader.pid).is_some() {
        assert!(Instant::now() < patience, "it does not end");
        tokio::task::yield_now().await;
    }
    std::fs::write(shop.path("plan/go"), "").unwrap();
    running.await.unwrap().unwrap_err();
    assert!(shop.read("plan/seen").contains(") Z "), "its number may have been a stranger's");
    assert!(!std::path::Path::new(&format!("/proc/{}", leader.pid)).exists(), "it was reaped at last");
}

/// A step's program as a killed engine leaves it, and the process that it has started in its group with nothing in its environment. That
/// one lives on for a moment when its leader is gone.
#[expect(clippy::disallowed_methods, reason = "nobody watches it, which a step's program never is")]
fn forsaken(shop: &Workshop, run: &str) -> (std::process::Child, u32) {
    shop.write(
        "plan/wiped.sh",
        "trap 'while kill -0 $1 2>&-; do :; done; i=0; while test $i -lt 30000; do i=$((i+1)); done; exit' TERM
         echo $$ > wiped.part; mv wiped.part wiped; while :; do /bin/sleep 0.01; done",
    );
    let mut leader = std::process::Command::new("sh");
    leader.args(["-c", "env -i /bin/sh wiped.sh $$ & wait"]).current_dir(shop.path("plan")).process_group(0);
    let leader = leader.env("RUNBOOK_RUN", run).env("RUNBOOK_STEP", "the_step").spawn().unwrap();
    let patience = Instant::now() + Duration::from_secs(60);
    while !shop.path("plan/wiped").exists() {
        assert!(Instant::now() < patience, "it does not start");
        std::thread::yield_now();
    }
    (leader, shop.read("plan/wiped").trim().parse().unwrap())
}

#[tokio::test]
async fn what_wiped_its_environment_is_ended_with_its_group() {
    let shop = Workshop::new();
    let (mut leader, wiped) = forsaken(&shop, &own("a"));
    let pid = leader.id();
    let child = Child { pid, started: start_of(pid).unwrap(), program: "sh".to_owned() };
    let mark = Mark { run: own("a"), step: Some("the_step".to_owned()), groups: vec![child] };
    let reaper = std::thread::spawn(move || leader.wait().unwrap());
    let ended = end_marked(&[mark], shop.clock).await;
    assert!([pid, wiped].iter().all(|id| ended.iter().any(|orphan| orphan.pid == *id)), "{ended:?}");
    assert!(ended.iter().all(|orphan| orphan.gone && orphan.step == "the_step"), "{ended:?}");
    assert_eq!((start_of(pid), start_of(wiped)), (None, None), "both are gone");
    reaper.join().unwrap();
}
