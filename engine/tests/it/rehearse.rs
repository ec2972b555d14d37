//! Rehearsals as a user meets them: whose world it is, and what an engine that is killed and started again keeps of the command line.

use std::process::{Child, Stdio};

use crate::sandbox::Sandbox;

/// A step that begins at once and goes on until there is a file `go`.
const PATIENT: &str = "runbook: 1
name: patient
steps:
  long: { run: 'touch begun; while [ ! -e go ]; do sleep 0.02; done', idempotent: true }
";

/// A rehearsal that is under way, in real time.
fn under_way(sandbox: &Sandbox) -> Child {
    sandbox.write("plan.yaml", PATIENT);
    let mut command = sandbox.command(&["rehearse", "plan.yaml", "--speed", "1", "--keep"]);
    let mut engine = command.stderr(Stdio::null()).spawn().expect("starts");
    while !sandbox.path("begun").exists() {
        assert!(engine.try_wait().expect("its status").is_none(), "the engine ended by itself");
        std::thread::yield_now();
    }
    engine
}

/// Ends the world that a rehearsal left.
fn end_world(sandbox: &Sandbox, rehearsal: &str) {
    let info = sandbox.read(&format!(".runbook/rehearsals/{rehearsal}/world/stage.json"));
    let info: serde_json::Value = serde_json::from_str(&info).expect("a world");
    let pid = info["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).expect("a number");
    let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it lives");
}

#[test]
fn a_rehearsal_under_way_keeps_its_world() {
    let sandbox = Sandbox::new();
    let mut engine = under_way(&sandbox);
    let fresh = sandbox.run(&["rehearse", "plan.yaml", "--fresh"]).exits(5).says("is held by tester@");
    assert!(!fresh.err.contains("ending the simulated world"), "{}", fresh.err);
    let held = fresh.err.lines().find(|line| line.contains("is held by")).unwrap_or_default();
    assert!(held.contains("Z real time, now at `long` since ") && held.ends_with("Z model time"), "{held}");
    sandbox.run(&["rehearse", "plan.yaml", "--lift"]).exits(5).says("status patient --follow");
    sandbox.run(&["rehearse", "plan.yaml", "--name", "other", "--fresh"]).exits(5).says("`patient` is held by");
    sandbox.write("go", "");
    assert!(engine.wait().expect("ended").success(), "nobody touched it");
    sandbox.run(&["rehearse", "plan.yaml", "--verify"]).exits(0);
    end_world(&sandbox, "plan");
}

#[test]
fn an_error_leaves_the_world_that_was_kept() {
    let sandbox = Sandbox::new();
    sandbox.write("go", "");
    under_way(&sandbox).wait().expect("ended");
    sandbox.run(&["rehearse", "plan.yaml", "--only", "nobody"]).exits(2);
    sandbox.run(&["rehearse", "plan.yaml", "--verify"]).exits(0);
    end_world(&sandbox, "plan");
}

#[test]
fn a_part_that_cannot_be_had_leaves_the_rehearsal_that_has_ended() {
    let sandbox = Sandbox::new();
    sandbox
        .write("plan.yaml", "runbook: 1\nname: p\nsteps:\n  a: { run: echo hi }\n  b: { needs: [a], run: 'true' }\n");
    sandbox.run(&["rehearse", "plan.yaml"]).exits(0);
    let left = || (sandbox.read(".runbook/rehearsals/plan/p/journal.jsonl"), sandbox.run(&["log", "a"]).exits(0).out);
    let before = left();
    sandbox
        .run(&["rehearse", "plan.yaml", "--only", "b"])
        .exits(2)
        .says("`b` needs `a`, which does not hold")
        .says("which has ended; --keep would have kept it: runbook rehearse plan.yaml --keep");
    let nobody = sandbox.run(&["rehearse", "plan.yaml", "--only", "nobody"]).exits(2);
    assert!(!nobody.err.contains("--keep"), "no world has such a step: {}", nobody.err);
    sandbox.run(&["rehearse", "plan.yaml", "--answer", "a.b=c"]).exits(2);
    sandbox.run(&["rehearse", "plan.yaml", "--events", "no/such/folder"]).exits(2);
    assert_eq!(left(), before);
    sandbox.run(&["rehearse", "plan.yaml", "--keep"]).exits(0);
    sandbox.run(&["rehearse", "plan.yaml", "--fresh", "--only", "b"]).exits(2).says("without --fresh it would go on");
    sandbox.run(&["rehearse", "plan.yaml", "--only", "b"]).exits(0).says("continuing on the simulated world");
    end_world(&sandbox, "plan");
}

#[test]
fn a_rehearsal_says_so_to_programs_and_counts_milliseconds() {
    let sandbox = Sandbox::new();
    sandbox.write("plan.yaml", "runbook: 1\nname: p\nsteps:\n  a: { run: 'true' }\n");
    let rehearsed = sandbox.run(&["rehearse", "plan.yaml", "-o", "json"]).exits(0);
    let status = sandbox.run(&["status", "-o", "json"]).exits(0);
    let [ran, status] =
        [rehearsed.out, status.out].map(|out| serde_json::from_str::<serde_json::Value>(&out).expect("JSON"));
    assert!(ran["simulated"].is_string());
    assert_eq!(ran["simulated"], status["runs"][0]["simulated"]);
    for seconds in [&ran["took_seconds"], &ran["steps"][0]["took_seconds"], &status["runs"][0]["took_seconds"]] {
        let digits = seconds.to_string();
        let behind = digits.split_once('.').map_or("", |(_, behind)| behind);
        assert!(seconds.is_number() && behind.len() <= 3, "{digits}");
    }
}

/// A plan whose step lasts until it is killed once, and a scenario that kills it.
fn killed_once(sandbox: &Sandbox) {
    let once = "if [ ! -e begun ]; then touch begun; exec sleep 20; fi";
    sandbox.write(
        "plan.yaml",
        &format!(
            "runbook: 1\nname: mortal\ninputs:\n  who: {{ type: string, default: world }}\nsteps:\n  \
             long: {{ run: '{once}', idempotent: true, timeout: 10h }}\n  after: {{ needs: [long], run: 'true' }}\n"
        ),
    );
    sandbox.write("killed.yaml", "plan: plan.yaml\nkill: { at_step: long, after: 1s }\n");
}

#[test]
fn an_engine_that_is_to_be_killed_gets_the_whole_command_line() {
    let sandbox = Sandbox::new();
    killed_once(&sandbox);
    let how =
        ["--name", "other", "--only", "long", "-j", "3", "--stale", "rerun", "--fail-fast", "-i", "who=two words"];
    let ran = sandbox.run(&[&["rehearse", "killed.yaml"], how.as_slice()].concat()).exits(0);
    let ran = ran.says("killed (SIGKILL) while `long` was running");
    assert!(!ran.err.contains("that the last rehearsal left"), "there was none: {}", ran.err);
    let journal = sandbox.read(".runbook/rehearsals/killed/other/journal.jsonl");
    let runs: Vec<&str> = journal.lines().filter(|line| line.contains("\"opened\"")).collect();
    assert_eq!(runs.len(), 2, "{journal}");
    assert!(runs.iter().all(|run| run.contains("--only long") && run.contains("two words")), "{runs:?}");
}

#[test]
fn what_to_type_next_can_be_typed() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "my plan.yaml",
        "runbook: 1\nname: bad\ninputs: { who: { type: string } }\nsteps:\n  a: { run: exit 1, env: { WHO: '${{ inputs.who }}' } }\n",
    );
    sandbox
        .run(&["rehearse", "my plan.yaml", "--fresh", "-i", "who=it's me"])
        .exits(4)
        .says(r"continue with: runbook rehearse 'my plan.yaml' --input 'who=it'\''s me'");
    let again = r"runbook rehearse 'my plan.yaml' --input 'who=it'\''s me'";
    let status = sandbox.run(&["status"]).exits(0).out;
    assert!(status.ends_with(&format!("next {again}\n")), "{status}");
    for command in ["verify", "diagnose", "destroy"] {
        sandbox.run(&[command]).exits(2).says(&format!("{again} --{command}\n"));
    }
    end_world(&sandbox, "my plan");
}

#[test]
fn what_is_refused_has_put_nothing_right_before() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "plan.yaml",
        "runbook: 1\nname: lifted\nsteps:\n  project: { uses: gcloud, with: { args: [projects, describe, rehearsal-project] }, \
         read_only: true, retry: { attempts: 1 } }\n  after: { needs: [project], run: 'true' }\n",
    );
    sandbox.write("bad.yaml", "plan: plan.yaml\nfaults: [{ kind: api-401, at: gcp }]\n");
    let rehearse = |more: &[&str]| sandbox.run(&[&["rehearse", "bad.yaml"], more].concat());
    rehearse(&[]).exits(4).says("rehearse bad.yaml --lift");
    for flag in ["--only", "--redo", "--skip", "--from"] {
        rehearse(&["--lift", flag, "projet"]).exits(2).says("did you mean `project`?");
    }
    rehearse(&["--lift", "--only", "after"]).exits(2).says("`after` needs `project`, which does not hold");
    rehearse(&["--lift", "--answer", "project.x=1"]).exits(2).says("`--answer project.x=…` answers nothing");
    rehearse(&["--lift", "--destroy", "--only", "projet"]).exits(2);
    rehearse(&[]).exits(4);
    rehearse(&["--lift"]).exits(0).says("lifted: api-401 at gcp\n");
    let nothing = rehearse(&["--lift"]).exits(2).says("there is nothing to lift");
    nothing.says("begin one: runbook rehearse bad.yaml\n").says("--lift then puts right: api-401 at gcp\n");
}

#[test]
fn where_nothing_goes_wrong_there_is_nothing_to_lift() {
    let sandbox = Sandbox::new();
    sandbox.write("plan.yaml", "runbook: 1\nname: fails\nsteps: { a: { run: test -e there } }\n");
    sandbox.run(&["rehearse", "plan.yaml"]).exits(4);
    sandbox.write("there", "");
    let lift = sandbox.run(&["rehearse", "plan.yaml", "--lift"]).exits(0);
    lift.says("nothing to lift: the scenario lets nothing go wrong");
}

#[test]
fn rehearsals_of_one_name_are_told_apart_and_are_in_no_deployments_way() {
    let sandbox = Sandbox::new();
    sandbox.write("plan.yaml", "runbook: 1\nname: hello\nsteps: { a: { run: echo hi } }\n");
    for scenario in ["one", "two"] {
        sandbox.write(&format!("{scenario}.yaml"), "plan: plan.yaml\n");
        sandbox.run(&["rehearse", &format!("{scenario}.yaml")]).exits(0);
    }
    let named: [&[&str]; 6] = [
        &["status", "hello"],
        &["log", "a", "--name", "hello"],
        &["diagnose", "--name", "hello"],
        &["verify", "hello"],
        &["unlock", "hello"],
        &["settle", "a", "--redo", "--name", "hello"],
    ];
    for args in named {
        let ran = sandbox.run(args).exits(2).says("there are 2 rehearsals of `hello`: two and one\n");
        ran.says("say which one, here the newest: --state .runbook/rehearsals/two\n");
    }
    sandbox.run(&["log", "a", "--name", "hello", "--state", ".runbook/rehearsals/one"]).exits(0);
    sandbox.run(&["log", "a"]).exits(0).says("of 2 rehearsals this is the newest: --state .runbook/rehearsals/two\n");
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    let log = sandbox.run(&["log", "a", "--name", "hello"]).exits(0);
    assert!(log.err.contains(" .runbook/hello/logs/") && !log.err.contains("rehearsal"), "{}", log.err);
}
