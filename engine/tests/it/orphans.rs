//! What steps and looks leave running: ended, or said.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use runbook_steps::tools::start_of;
use rustix::process::{Pid, Signal, kill_process};

use crate::sandbox::Sandbox;

/// Waits for a file that a process of a step writes its id to.
fn pid_in(sandbox: &Sandbox, name: &str) -> u32 {
    let patience = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(pid) = sandbox.read(name).strip_suffix('\n').and_then(|pid| pid.parse().ok()) {
            return pid;
        }
        assert!(Instant::now() < patience, "nobody writes `{name}`");
        std::thread::yield_now();
    }
}

fn start(sandbox: &Sandbox, args: &[&str]) -> Child {
    sandbox.command(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts")
}

const DEAF: &str = r#"runbook: 1
name: deaf
steps:
  a:
    idempotent: true
    run: |
      trap '' TERM
      setsid sh -c 'trap "" TERM; echo $$ > left; exec sleep 600' > /dev/null 2>&1 &
      while :; do sleep 600; done
"#;

#[test]
fn a_second_signal_leaves_nothing_that_has_left_its_group() {
    let sandbox = Sandbox::new();
    sandbox.write("plan.yaml", DEAF);
    let mut engine = start(&sandbox, &["apply", "plan.yaml"]);
    let left = pid_in(&sandbox, "left");
    // Two of a kind could reach it as one.
    for signal in [Signal::INT, Signal::TERM] {
        kill_process(Pid::from_child(&engine), signal).expect("it lives");
    }
    assert!(matches!(engine.wait().expect("ended").code(), Some(130 | 143)), "whichever it hears first");
    assert_eq!(start_of(left), None, "it is gone");
}

#[test]
fn what_a_killed_look_has_left_is_ended_by_the_next_run() {
    let sandbox = Sandbox::new();
    let look = "[ ! -e slow ] || { echo $$ > looking; exec sleep 600; }";
    sandbox.write("plan.yaml", &format!("runbook: 1\nname: p\nsteps:\n  r: {{ read_only: true, run: '{look}' }}\n"));
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    for next in [&["apply", "plan.yaml"][..], &["verify"], &["destroy", "p", "--yes"]] {
        sandbox.write("slow", "");
        let mut engine = start(&sandbox, &["verify"]);
        let looking = pid_in(&sandbox, "looking");
        engine.kill().expect("it lives");
        engine.wait().expect("ended");
        assert!(start_of(looking).is_some(), "it lives on");
        ["slow", "looking"].iter().for_each(|name| std::fs::remove_file(sandbox.path(name)).expect("there"));
        let ran = sandbox.run(next).exits(0);
        assert!((ran.out + &ran.err).contains("a look at `r` had left"), "{}", ran.err);
        assert_eq!(start_of(looking), None, "it is gone");
        let mut files = std::fs::read_dir(sandbox.path(".runbook/p")).expect("a folder").flatten();
        assert!(files.all(|file| !file.file_name().to_string_lossy().contains("look")), "no note is left");
    }
}

#[test]
fn a_look_that_goes_on_is_not_disturbed() {
    let sandbox = Sandbox::new();
    let look = r#"echo v=7 > "$RUNBOOK_OUTPUT"; [ ! -e slow ] || { echo $$ > looking; while [ ! -e enough ]; do sleep 0.01; done; }"#;
    let step = format!("{{ read_only: true, run: '{look}', assert: [outputs.v == '7'] }}");
    sandbox.write("plan.yaml", &format!("runbook: 1\nname: p\nsteps:\n  r: {step}\n"));
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    sandbox.write("slow", "");
    let mut engine = start(&sandbox, &["verify"]);
    pid_in(&sandbox, "looking");
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    sandbox.write("enough", "");
    assert_eq!(engine.wait().expect("ended").code(), Some(0), "what it had written is still there");
}

/// Starts a worker outside of the step's group, and waits until it has added its id to a file.
const WORKER: &str = "i=$(wc -l < workers)
      setsid sh -c 'echo $$ >> workers; exec sleep 600' > /dev/null 2>&1 &
      until [ $(wc -l < workers) -gt $i ]; do sleep 0.01; done";

fn workers(sandbox: &Sandbox) -> Vec<u32> {
    sandbox.read("workers").lines().map(|pid| pid.parse().expect("an id")).collect()
}

fn alive(workers: &[u32]) -> usize {
    workers.iter().filter(|pid| start_of(**pid).is_some()).count()
}

#[test]
fn what_a_failed_attempt_has_left_outside_of_its_group_does_not_run_beside_the_next() {
    let sandbox = Sandbox::new();
    let work = format!("{WORKER}\n      exit 1");
    let retry = "retry: { attempts: 2, backoff: { initial: 10ms } }";
    sandbox.write("workers", "");
    sandbox.write("plan.yaml", &format!("runbook: 1\nname: p\nsteps:\n  a:\n    {retry}\n    run: |\n      {work}\n"));
    sandbox.run(&["apply", "plan.yaml"]).exits(4);
    let workers = workers(&sandbox);
    assert_eq!((workers.len(), alive(&workers)), (2, 0));
}

#[test]
fn what_a_step_has_left_that_failed_after_its_program_had_ended_is_ended_by_the_next_run() {
    let sandbox = Sandbox::new();
    sandbox.write("workers", "");
    let plan = |holds: bool| {
        let step = format!("    idempotent: true\n    assert: ['{holds}']\n    run: |\n      {WORKER}\n");
        sandbox.write("plan.yaml", &format!("runbook: 1\nname: p\nsteps:\n  a:\n{step}"));
    };
    plan(false);
    sandbox.run(&["apply", "plan.yaml"]).exits(4);
    plan(true);
    let ran = sandbox.run(&["apply", "plan.yaml"]).exits(0);
    let workers = workers(&sandbox);
    let (lives, said) = (alive(&workers), format!("`a` had left `sleep` (pid {}) running; it was ended", workers[0]));
    let last = Pid::from_raw(workers[1].cast_signed()).expect("a pid");
    kill_process(last, Signal::KILL).expect("what the attempt that ended well has left is left alone");
    assert_eq!((workers.len(), lives), (2, 1));
    assert!((ran.out + &ran.err).contains(&said));
}

#[test]
fn taking_back_says_what_it_leaves_running() {
    let sandbox = Sandbox::new();
    let daemon = "setsid sh -c 'echo $$ > left; exec sleep 600' > /dev/null 2>&1 & while [ ! -s left ]; do :; done";
    sandbox.write(
        "plan.yaml",
        &format!("runbook: 1\nname: p\nsteps:\n  u:\n    run: 'true'\n    undo:\n      run: |\n        {daemon}\n"),
    );
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    let ran = sandbox.run(&["destroy", "p", "--yes"]).exits(0);
    let left = pid_in(&sandbox, "left");
    kill_process(Pid::from_raw(left.cast_signed()).expect("a pid"), Signal::KILL).expect("it was left alone");
    assert!((ran.out + &ran.err).contains(&format!("(pid {left}) running: it has left the step's process group")));
}

/// The engine dies in the middle of a step that nothing undoes; its program goes on.
fn killed_at_work(sandbox: &Sandbox) -> u32 {
    let step = "{ run: 'echo $$ > at-work; exec sleep 600' }";
    sandbox.write("plan.yaml", &format!("runbook: 1\nname: p\nsteps:\n  x: {step}\n"));
    let mut engine = start(sandbox, &["apply", "plan.yaml"]);
    let at_work = pid_in(sandbox, "at-work");
    engine.kill().expect("it lives");
    engine.wait().expect("ended");
    assert!(start_of(at_work).is_some(), "it lives on");
    at_work
}

#[test]
fn where_nothing_is_to_be_undone_what_a_killed_run_has_left_at_work_is_ended_all_the_same() {
    for more in [&[][..], &["--without-plan"]] {
        let sandbox = Sandbox::new();
        let at_work = killed_at_work(&sandbox);
        let ran = sandbox.run(&[&["destroy", "p", "--yes"], more].concat()).exits(0);
        assert_eq!(start_of(at_work), None, "{}", ran.err);
        ran.says("`x` had left `").says(&format!("` (pid {at_work}) running; it was ended\np: nothing to undo\n"));
    }
}

#[test]
fn a_dry_run_says_what_a_killed_run_has_left_at_work_and_does_not_end_it() {
    let sandbox = Sandbox::new();
    let at_work = killed_at_work(&sandbox);
    let said = format!("` (pid {at_work}) running; it still runs, and would be ended\n");
    for output in ["text", "json"] {
        let ran = sandbox.run(&["destroy", "p", "--dry-run", "-o", output]).exits(0).says(&said);
        assert!(start_of(at_work).is_some(), "{}", ran.err);
    }
    sandbox.run(&["destroy", "p", "--yes"]).exits(0);
    assert_eq!(sandbox.run(&["destroy", "p", "--dry-run"]).exits(0).err, "", "it is gone");
}

#[test]
fn what_a_run_under_way_has_at_work_is_not_called_left() {
    let sandbox = Sandbox::new();
    let mut engine = sandbox.busy();
    assert_eq!(sandbox.run(&["destroy", "busy", "--dry-run"]).exits(0).err, "");
    sandbox.run(&["destroy", "busy", "--yes"]).exits(5);
    kill_process(Pid::from_child(&engine), Signal::TERM).expect("it lives");
    assert_eq!(engine.wait().expect("ended").code(), Some(143));
}
