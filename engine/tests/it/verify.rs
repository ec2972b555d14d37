//! `verify`: what still holds, what differs, what cannot be seen; and that nothing is changed by looking.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use runbook::plan::model::Plan;
use runbook::run::Options;
use runbook::run::verify::{Found, Verification, verify};
use runbook::state::journal;
use runbook_steps::{Cancel, Secrets, World};
use serde_json::json;

use crate::run_bench::{BLIND, Bench, LOOKED, plan};
use crate::sandbox::Sandbox;

async fn looked(bench: &Bench, plan: &Arc<Plan>) -> Vec<Found> {
    let world = World {
        env: BTreeMap::new(),
        kubeconfig: bench.home().path().join("kubeconfig"),
        http_proxy: None,
        clock: bench.clock(),
        simulated: None,
    };
    let verification = Verification {
        plan: Arc::clone(plan),
        state: journal::read(&bench.home()).expect("whole").state,
        world: Arc::new(world),
        secrets: Arc::new(Secrets::default()),
        home: bench.home(),
        parallel: 4,
        limit: Duration::from_secs(3600),
        cancel: Cancel::default(),
    };
    verify(verification).await.into_iter().map(|(_, found)| found).collect()
}

#[tokio::test]
async fn what_was_taken_away_is_drift_and_nothing_is_done() {
    let bench = Bench::new();
    let steps = vec![
        bench.step("kept", &LOOKED, json!({})),
        bench.step("lost", &LOOKED, json!({})),
        bench.step("blind", &BLIND, json!({})),
        bench.step("never", &BLIND, json!({ "does": { "fail": "no" } })),
    ];
    let plan = plan(steps, &[]);
    drop(bench.run(&plan, Options::default()).await);
    let lines: Vec<String> = bench.ledger().into_iter().filter(|line| line != "made lost").collect();
    std::fs::write(bench.ledger_path(), lines.join("\n") + "\n").expect("written");
    let before = std::fs::read(bench.home().journal_path()).expect("a journal");
    let found = looked(&bench, &plan).await;
    let expected = [
        Found::Holds,
        Found::Drift(vec!["nothing there".to_owned()]),
        Found::Blind,
        Found::NotDone("by the journal it does not hold"),
    ];
    assert_eq!(found, expected);
    assert_eq!(["kept", "lost", "blind", "never"].map(|step| bench.did(step)), [1, 1, 1, 1], "nothing is done");
    assert_eq!(std::fs::read(bench.home().journal_path()).expect("a journal"), before, "nothing is written down");
}

const PLAN: &str = "runbook: 1
name: watched
steps:
  make: { run: 'touch made; echo \"$(date +%N)\" >> ledger', idempotent: true }
  probe: { needs: [make], run: 'test -e made', read_only: true }
  asks: { needs: [make], run: 'cat number', read_only: true, assert: ['outputs.stdout | int < 5'] }
";

#[test]
fn reading_steps_are_asked_again_and_drift_is_exit_8() {
    let sandbox = Sandbox::new();
    sandbox.write("plan.yaml", PLAN);
    sandbox.write("number", "3");
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    let (ledger, journal) = (sandbox.read("ledger"), sandbox.read(".runbook/watched/journal.jsonl"));
    let fine = sandbox.run(&["verify"]).exits(0).out;
    assert!(fine.contains("no drift") && fine.contains("1 cannot be seen"), "{fine}");
    sandbox.write("number", "7");
    std::fs::remove_file(sandbox.path("made")).expect("there");
    let ran = sandbox.run(&["verify", "watched", "-o", "json"]).exits(8);
    let found: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON");
    let words: Vec<&str> =
        found["steps"].as_array().expect("steps").iter().filter_map(|step| step["found"].as_str()).collect();
    assert_eq!(words, ["blind", "drift", "drift"]);
    assert!(found["steps"][2]["why"][0].as_str().is_some_and(|why| why.contains("does not hold")), "{found}");
    assert_eq!(sandbox.read("ledger"), ledger, "what changes something is not done");
    assert_eq!(sandbox.read(".runbook/watched/journal.jsonl"), journal, "nothing is written down");
}

#[test]
fn what_cannot_be_looked_at_is_exit_4() {
    let sandbox = Sandbox::new();
    let plan = "runbook: 1\nname: unseen\nsteps:\n  a: { run: 'echo x=1 >> \"$RUNBOOK_OUTPUT\"' }\n";
    sandbox.write("plan.yaml", plan);
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    // Now the plan says how to see it, and there is no cluster to look at.
    sandbox.write(
        "plan.yaml",
        &format!(
            "{}    wait: [{{ object: configmap/x, for: exists }}]\n",
            plan.replace("a: { run: ", "a:\n    run: ").replace(" }\n", "\n")
        ),
    );
    let out = sandbox.run(&["verify"]).exits(4).out;
    assert!(out.contains("unseen"), "{out}");
    sandbox.run(&["verify", "nobody"]).exits(2);
}

#[test]
fn what_may_put_it_right_is_named_and_nothing_is_claimed_that_nobody_saw() {
    let sandbox = Sandbox::new();
    let plan = "runbook: 1\nname: p\nsteps:\n  make: { run: touch made }\n  probe: { needs: [make], run: 'test -e made', read_only: true }\n";
    sandbox.write("plan.yaml", plan);
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    assert!(sandbox.run(&["verify"]).exits(0).out.contains("no drift · 1 step holds, 1 cannot be seen"));
    std::fs::remove_file(sandbox.path("made")).expect("there");
    let drift = sandbox.run(&["verify"]).exits(8).out;
    assert!(drift.contains("; if make made it: runbook resume p --redo make\n"), "{drift}");
    sandbox.run(&["resume", "p", "--redo", "make"]).exits(0);
    sandbox.run(&["verify"]).exits(0);
    sandbox.write("blind.yaml", "runbook: 1\nname: blind\nsteps: { a: { run: 'true' } }\n");
    sandbox.run(&["apply", "blind.yaml"]).exits(0);
    let blind = sandbox.run(&["verify", "blind"]).exits(0).out;
    assert!(blind.contains("nothing that can be looked at") && !blind.contains("no drift"), "{blind}");
    sandbox.run(&["verify", "blind.yaml"]).exits(2).says("`blind.yaml` is a file").says("there are blind and p");
    sandbox.run(&["log", "a"]).exits(2).says("there are several deployments").says("which one: --name NAME");
}

/// The whole way on a simulated world: made, seen, deleted, missed, put right.
#[test]
fn a_kept_world_is_verified() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "manifest.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: here, namespace: default }\ndata: { a: b }\n",
    );
    sandbox.write(
        "plan.yaml",
        "runbook: 1\nname: seen\nsteps:\n  cluster:\n    uses: gke.cluster\n    with: { name: c, project: rehearsal-project, zone: europe-west4-a, \
         machine_type: n1-standard-4, nodes: 1 }\n  credentials:\n    needs: [cluster]\n    uses: gke.credentials\n    \
         with: { cluster: c, project: rehearsal-project, zone: europe-west4-a }\n  applied:\n    needs: [credentials]\n    \
         uses: kubectl.apply\n    with: { file: manifest.yaml }\n",
    );
    sandbox.run(&["rehearse", "plan.yaml", "--verify"]).exits(2).says("no simulated world").says("--keep");
    let kept = sandbox.run(&["rehearse", "plan.yaml", "--speed", "1000", "--keep"]).exits(0);
    let pid =
        kept.err.lines().find_map(|line| line.trim().strip_prefix("kill ")?.split_whitespace().next()).expect("a pid");
    let kubeconfig = kept.err.lines().find_map(|line| line.trim().strip_prefix("export KUBECONFIG=")).expect("a path");
    sandbox.run(&["rehearse", "plan.yaml", "--verify"]).exits(0);
    sandbox.run(&["verify"]).exits(2).says("--verify");
    delete(&sandbox, kubeconfig);
    let drift = sandbox.run(&["rehearse", "plan.yaml", "--verify"]).exits(8).out;
    assert!(drift.contains("✗ applied") && drift.contains("--redo applied"), "{drift}");
    sandbox.run(&["rehearse", "plan.yaml", "--keep", "--redo", "applied"]).exits(0);
    sandbox.run(&["rehearse", "plan.yaml", "--verify"]).exits(0);
    let pid = rustix::process::Pid::from_raw(pid.parse().expect("a number")).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it lives");
}

#[expect(clippy::disallowed_methods, reason = "a person's own kubectl, here the world's")]
fn delete(sandbox: &Sandbox, kubeconfig: &str) {
    let world = std::path::Path::new(kubeconfig).parent().expect("a folder");
    let info: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(world.join("stage.json")).expect("written")).expect("JSON");
    let env = info["env"].as_object().expect("a map").iter();
    let env = env.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
    let mut command = std::process::Command::new(world.join("bin/kubectl"));
    command.args(["delete", "configmap", "here"]).envs(env).env("KUBECONFIG", sandbox.path(kubeconfig));
    let done = command.output().expect("kubectl starts");
    assert!(done.status.success(), "{done:?}");
}

#[test]
fn what_is_not_wanted_is_not_called_undone() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "plan.yaml",
        "runbook: 1\nname: p\nsteps:\n  a: { run: 'true' }\n  b: { when: '1 == 2', run: 'true' }\n",
    );
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    let out = sandbox.run(&["verify"]).exits(0).out;
    assert!(out.contains("- b  skipped   `when` is false: 1 == 2\n"), "{out}");
    assert!(out.contains(", 1 skipped") && !out.contains("not done"), "{out}");
}

#[test]
fn only_secrets_of_what_is_looked_at_are_needed() {
    let sandbox = Sandbox::new();
    let plan = |read_only: bool| {
        format!(
            "runbook: 1\nname: p\nsecrets: {{ token: {{ from: [{{ env: TOKEN }}] }} }}\n\
             steps: {{ a: {{ run: 'true', env: {{ T: '${{{{ secrets.token }}}}' }}, read_only: {read_only} }} }}\n"
        )
    };
    sandbox.write("plan.yaml", &plan(false));
    let apply = |name: &str| {
        let ran =
            sandbox.command(&["apply", "plan.yaml", "--name", name]).env("TOKEN", "hf_planted0123456789").output();
        assert!(ran.expect("run").status.success());
    };
    apply("blind");
    let blind = sandbox.run(&["verify", "blind"]).exits(0).out;
    assert!(blind.contains("1 cannot be seen"), "{blind}");
    sandbox.write("plan.yaml", &plan(true));
    apply("seen");
    sandbox.run(&["verify", "seen"]).exits(7).says("1 secret is missing");
}
