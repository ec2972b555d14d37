//! `runbook destroy` as a user meets it.

use crate::sandbox::Sandbox;

const PLAN: &str = "runbook: 1
name: site
inputs:
  root: { type: string, default: site }
steps:
  folder:
    command: [mkdir, \"${{ inputs.root }}\"]
    undo: { command: [rmdir, \"${{ inputs.root }}\"], confirm: The folder goes. }
  page:
    needs: [folder]
    run: echo hello > \"$ROOT/page\"
    env: { ROOT: \"${{ inputs.root }}\" }
    undo: { command: [rm, -f, \"${{ inputs.root }}/page\"] }
  told:
    needs: [page]
    command: [echo, told]
";

fn applied() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("site.yaml", PLAN);
    sandbox.run(&["apply", "site.yaml", "--input", "root=web"]).exits(0);
    assert_eq!(sandbox.read("web/page"), "hello\n");
    sandbox
}

#[test]
fn it_undoes_with_the_inputs_of_the_last_run_and_says_what_it_cannot() {
    let sandbox = applied();
    let ran = sandbox.run(&["destroy", "site.yaml", "--yes"]).exits(0);
    let ran = ran.says("rmdir web").says("The folder goes.").says("`command` does not know how");
    ran.says("2 of 2 steps undone");
    assert!(!sandbox.path("web").exists());
    assert!(sandbox.run(&["status"]).exits(0).out.contains("· undone"));
    sandbox.run(&["destroy", "--yes"]).exits(0).says("nothing to undo");
    sandbox.run(&["apply", "site.yaml", "--input", "root=web"]).exits(0).says("it was undone");
    assert_eq!(sandbox.read("web/page"), "hello\n");
}

#[test]
fn without_a_word_or_a_terminal_nothing_is_touched() {
    let sandbox = applied();
    sandbox.run(&["destroy", "site"]).exits(7).says("nobody is there to confirm").says("runbook destroy site --yes");
    let dry = sandbox.run(&["destroy", "site", "--dry-run", "-o", "json"]).exits(0);
    let shown: serde_json::Value = serde_json::from_str(&dry.out).expect("JSON on stdout and nothing else");
    assert_eq!((&shown["steps"][0]["step"], &shown["steps"][1]["step"]), (&"page".into(), &"folder".into()));
    assert_eq!(shown["left_alone"][0]["step"], "told");
    assert_eq!(sandbox.read("web/page"), "hello\n");
}

#[test]
fn what_cannot_be_undone_holds_up_what_it_needs_until_a_person_has_seen_to_it() {
    let sandbox = applied();
    sandbox.write("web/more", "");
    let ran = sandbox.run(&["destroy", "site", "--yes", "-o", "json"]).exits(4).says("folder could not be undone");
    let ran = ran.says("--forget folder");
    let result: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON");
    let outcomes: Vec<_> = result["steps"].as_array().expect("steps").iter().map(|step| &step["outcome"]).collect();
    assert_eq!(outcomes, ["undone", "failed"]);
    sandbox.run(&["destroy", "site", "--yes", "--forget", "folder", "told"]).exits(0).says("2 of 2 steps undone");
    assert!(sandbox.path("web/more").exists());
    let refused = sandbox.run(&["destroy", "site", "--forget", "foldr"]).exits(2);
    refused.says("`site` has no step `foldr`").says("did you mean `folder`?");
}

#[test]
fn a_plan_that_is_gone_is_no_obstacle() {
    let sandbox = applied();
    std::fs::remove_file(sandbox.path("site.yaml")).expect("there");
    let gone = sandbox.run(&["destroy", "site", "--yes"]).exits(3).says("is gone; nothing was touched");
    gone.says("runbook destroy PLAN --name site").says("runbook destroy site --without-plan");
    let ran = sandbox.run(&["destroy", "site", "--yes", "--without-plan"]).exits(0);
    ran.says("2 of 2 steps undone").says("told  it is gone from the plan");
    assert!(!sandbox.path("web").exists());
}

#[test]
fn a_secret_of_an_undo_is_asked_for_and_never_written() {
    let sandbox = Sandbox::new().env("TOKEN", "hunter2hunter2");
    let plan = "runbook: 1\nname: s\nsecrets: { token: { from: [ { env: TOKEN } ] } }\nsteps:\n  a:\n    command: ['true']\n    \
                undo: { run: 'test ${#T} = 14; echo \"$T\"', env: { T: '${{ secrets.token }}' } }\n";
    sandbox.write("s.yaml", plan);
    sandbox.run(&["apply", "s.yaml"]).exits(0);
    let ran = sandbox.run(&["destroy", "s", "--yes", "--events", "events"]).exits(0).says("1 of 1 step undone");
    assert!(!ran.err.contains("hunter2") && !ran.out.contains("hunter2"));
    for (path, text) in sandbox.everything() {
        assert!(!text.contains("hunter2"), "{}", path.display());
    }
}

#[test]
fn a_folder_that_moved_is_destroyed_with_its_plan() {
    let sandbox = Sandbox::new();
    sandbox.write("old/plan.yaml", "runbook: 1\nname: p\nsteps:\n  a: { run: 'true', undo: { run: touch undone } }\n");
    sandbox.run(&["--state", "old/.runbook", "apply", "old/plan.yaml"]).exits(0);
    std::fs::rename(sandbox.path("old"), sandbox.path("new")).expect("moved");
    let dry = sandbox.run(&["--state", "new/.runbook", "destroy", "--dry-run"]).exits(0);
    assert!(dry.out.contains("touch undone"), "{}", dry.out);
    sandbox.run(&["--state", "new/.runbook", "destroy", "--yes"]).exits(0).says("1 of 1 step undone");
    assert!(sandbox.path("new/undone").exists());
}

/// A cluster, what is in it without an undo of its own, and what is not in it.
const CLUSTER: &str = "runbook: 1
name: held
steps:
  cluster:
    uses: gke.cluster
    with: { name: c, project: rehearsal-project, zone: europe-west4-a, machine_type: n1-standard-4, nodes: 1 }
  credentials:
    needs: [cluster]
    uses: gke.credentials
    with: { cluster: c, project: rehearsal-project, zone: europe-west4-a }
  patched:
    needs: [credentials]
    uses: kubectl.patch
    with: { object: namespace/default, patch: { metadata: { labels: { a: b } } } }
  apart: { run: echo here > apart }
";

#[test]
fn what_goes_with_its_cluster_is_not_called_left_alone() {
    let sandbox = Sandbox::new();
    sandbox.write("plan.yaml", CLUSTER);
    let ran = sandbox.run(&["rehearse", "plan.yaml", "--speed", "1000", "--destroy"]).exits(0);
    let (preview, summary) = ran.err.split_once("undoing").expect("it undoes");
    for (text, goes) in [(preview, "patched  goes with `cluster`\n"), (summary, "patched  went with `cluster`\n")] {
        let left = text.split("and left alone:").nth(1).expect("something is");
        assert!(
            text.contains(goes) && left.contains("apart  `run` does not know how") && !left.contains("patched"),
            "{text}"
        );
    }
    assert!(summary.contains("held · rehearsal · 2 of 2 steps undone in "), "{summary}");
    assert!(summary.contains(" model time (") && summary.contains("simulated Google Cloud"), "{summary}");
}

#[test]
fn a_step_whose_undo_was_killed_is_told_from_one_that_was_being_made() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "plan.yaml",
        "runbook: 1\nname: half\nsteps:\n  a: { run: 'touch made', undo: { run: 'kill -9 $PPID; sleep 5' } }\n",
    );
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    sandbox.run(&["destroy", "half", "--yes"]);
    sandbox.run(&["plan", "plan.yaml"]).exits(0);
    let plan = sandbox.run(&["plan", "plan.yaml"]).exits(0);
    assert!(plan.out.contains("its undo was in flight"), "{}", plan.out);
    let applied = sandbox.run(&["apply", "plan.yaml"]).exits(7);
    assert!(applied.err.contains("in the middle of taking it back"), "{}", applied.err);
    sandbox.run(&["settle", "a", "--done"]).exits(0).says("what it made still stands");
}

#[test]
fn an_undo_that_failed_is_told_from_one_that_nobody_saw_the_end_of() {
    let sandbox = Sandbox::new();
    sandbox.write("plan.yaml", "runbook: 1\nname: half\nsteps:\n  a: { run: 'touch made', undo: { run: exit 1 } }\n");
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    sandbox.run(&["destroy", "half", "--yes"]).exits(4);
    let applied =
        sandbox.run(&["apply", "plan.yaml"]).exits(7).says("settle  a: its undo failed, and nothing can look at it");
    assert!(!applied.err.contains("its undo was in flight"), "{}", applied.err);
}

#[test]
fn a_part_that_was_undone_is_told_as_one_and_is_no_part_to_go_on_with() {
    let sandbox = applied();
    sandbox.run(&["destroy", "site", "--only", "page", "--yes"]).exits(0);
    let runs = sandbox.run(&["status", "--runs"]).exits(0).out;
    assert!(runs.contains("undone in part") && runs.contains("--only page"), "{runs}");
    let ran = sandbox.run(&["resume"]).exits(0).says("it was undone in part");
    assert!(!ran.err.contains("what the last run was for"), "{}", ran.err);
    assert_eq!(sandbox.read("web/page"), "hello\n");
}

/// A program that can be run once only, as an `undo`: what it took back is not there any more.
#[test]
fn what_is_gone_is_not_taken_back_once_more_by_the_next_destroy() {
    let plan = |name: &str| {
        format!(
            "runbook: 1\nname: twice\nsteps:\n  made:\n    command: [touch, {name}]\n    undo: {{ command: [rm, {name}] }}\n"
        )
    };
    let sandbox = Sandbox::new();
    for name in ["one", "two"] {
        sandbox.write("twice.yaml", &plan(name));
        sandbox.run(&["apply", "twice.yaml", "--stale", "rerun"]).exits(0);
    }
    std::fs::rename(sandbox.path("one"), sandbox.path("elsewhere")).expect("moved");
    sandbox.run(&["destroy", "twice", "--yes"]).exits(4).says("rm one");
    assert!(!sandbox.path("two").exists());
    std::fs::rename(sandbox.path("elsewhere"), sandbox.path("one")).expect("moved");
    sandbox.run(&["destroy", "twice", "--yes"]).exits(0);
    assert!(!sandbox.path("one").exists());
}
