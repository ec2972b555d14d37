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

/// The journal knows what was made, whatever the step has become since.
#[test]
fn what_a_step_made_is_taken_back_though_it_only_reads_now() {
    let made = "  a: { command: [touch, thing], undo: { command: [rm, thing] } }\n";
    let now = [
        "  a: { command: [ls, thing], read_only: true }\n",
        "  a: { wait: [ { object: deployment/x, for: ready } ] }\n",
        "  a: { uses: http.probe, with: { url: 'http://127.0.0.1:1/' } }\n",
    ];
    for now in now {
        let sandbox = Sandbox::new();
        let plan = |steps: &str| format!("runbook: 1\nname: reads\nsteps:\n{steps}");
        sandbox.write("plan.yaml", &plan(made));
        sandbox.run(&["apply", "plan.yaml"]).exits(0);
        sandbox.write("plan.yaml", &plan(now));
        sandbox.run(&["destroy", "reads", "--yes"]).exits(0).says("1 of 1 step undone");
        assert!(!sandbox.path("thing").exists(), "{now}");
    }
}

#[test]
fn what_a_step_made_that_only_reads_now_is_not_left_without_a_word() {
    let sandbox = Sandbox::new();
    let plan = |step: &str| format!("runbook: 1\nname: reads\nsteps:\n  a: {step}\n");
    sandbox.write("plan.yaml", &plan("{ command: [touch, thing] }"));
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    sandbox.write("plan.yaml", &plan("{ command: [ls, thing], read_only: true }"));
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    sandbox.run(&["destroy", "reads", "--yes"]).exits(0).says("a  `command` does not know how");
}

/// A step whose environment changes between two runs, and how it is undone.
fn sized(undo: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    let plan = "runbook: 1\nname: sized\ninputs: { size: { type: int, default: 1 } }\nsteps:\n  \
                vm:\n    run: 'echo $SIZE > vm.txt; touch vm-$SIZE'\n    env: { SIZE: '${{ inputs.size }}' }\n    undo: UNDO\n";
    sandbox.write("plan.yaml", &plan.replace("UNDO", undo));
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    sandbox.run(&["apply", "plan.yaml", "--input", "size=2"]).exits(0);
    sandbox
}

#[test]
fn what_would_be_undone_twice_in_the_same_way_is_undone_once() {
    let sandbox = sized("{ run: rm vm.txt }");
    let ran = sandbox.run(&["destroy", "sized", "--yes"]).exits(0).says("1 of 1 step undone");
    assert_eq!(ran.err.matches("rm vm.txt").count(), 1, "{}", ran.err);
}

#[test]
fn two_undos_of_a_step_that_read_the_same_are_told_apart() {
    let sandbox = sized("{ run: 'rm vm-$SIZE', env: { SIZE: '${{ inputs.size }}', SAME: x } }");
    let dry = sandbox.run(&["destroy", "sized", "--dry-run"]).exits(0).out;
    let (newer, older) = ("rm vm-$SIZE  (env.SIZE: `2`)\n", "rm vm-$SIZE  (env.SIZE: `1`)\n");
    assert!(dry.find(newer).expect("the newer") < dry.find(older).expect("the older"), "{dry}");
    let json = sandbox.run(&["destroy", "sized", "--dry-run", "-o", "json"]).exits(0).out;
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["steps"][0]["does"], serde_json::json!([newer.trim_end(), older.trim_end()]));
    sandbox.run(&["destroy", "sized", "--yes"]).exits(0);
    assert!(!sandbox.path("vm-1").exists() && !sandbox.path("vm-2").exists());
}

/// The script of a step is no part of what the plan says of it.
#[test]
fn what_a_script_made_before_it_was_edited_is_undone_too() {
    let sandbox = Sandbox::new();
    let plan = "runbook: 1\nname: edits\ninputs: { name: { type: string, default: one } }\nsteps:\n  \
                a: { command: [sh, make.sh], undo: { command: [rm, '${{ inputs.name }}'] } }\n";
    sandbox.write("plan.yaml", plan);
    sandbox.write("make.sh", "touch one\n");
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    sandbox.write("make.sh", "touch two\n");
    sandbox.run(&["apply", "plan.yaml", "--input", "name=two"]).exits(0).says("the file `make.sh` changed");
    sandbox.run(&["destroy", "edits", "--yes"]).exits(0).says("rm two").says("rm one");
    assert!(!sandbox.path("one").exists() && !sandbox.path("two").exists());
}

const CHAIN: &str = "runbook: 1
name: chain
steps:
  base: { run: touch base, undo: { run: rm base } }
  mid: { needs: [base], run: touch mid, undo: { run: test -e may-go && rm mid } }
";

#[test]
fn what_goes_on_with_a_destroy_of_a_part_is_for_that_part() {
    let sandbox = Sandbox::new();
    sandbox.write("plan.yaml", CHAIN);
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    let unasked = sandbox.run(&["destroy", "chain", "--only", "mid"]).exits(7);
    unasked.says("runbook destroy chain --only mid --yes\n");
    let failed = sandbox.run(&["destroy", "chain", "--only", "mid", "--yes"]).exits(4);
    failed.says("runbook destroy chain --only mid\n").says("runbook destroy chain --only mid --forget mid\n");
    let status = sandbox.run(&["status"]).exits(0).out;
    assert!(status.ends_with("next runbook destroy chain --only mid\n"), "{status}");
    sandbox.run(&["resume"]).exits(2).says("go on undoing it: runbook destroy chain --only mid\n");
    sandbox.write("may-go", "");
    sandbox.run(&["destroy", "chain", "--only", "mid", "--yes"]).exits(0);
    let status = sandbox.run(&["status"]).exits(0).out;
    assert!(status.ends_with("next runbook destroy chain\n"), "the rest: {status}");
}

#[test]
fn what_goes_on_with_a_destroy_without_the_plan_is_without_it_too() {
    let sandbox = Sandbox::new();
    sandbox.write("plan.yaml", CHAIN);
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    std::fs::remove_file(sandbox.path("plan.yaml")).expect("there");
    let gone = sandbox.run(&["destroy", "chain", "--only", "mid", "--yes"]).exits(3);
    gone.says("runbook destroy chain --only mid --without-plan\n");
    let failed = sandbox.run(&["destroy", "chain", "--without-plan", "--yes"]).exits(4);
    failed.says("runbook destroy chain --without-plan\n").says("chain --without-plan --forget mid\n");
    let status = sandbox.run(&["status"]).exits(0).out;
    assert!(status.ends_with("next runbook destroy chain --without-plan\n"), "{status}");
}

#[test]
fn what_was_to_be_undone_is_not_made_again_by_resume() {
    let sandbox = Sandbox::new();
    sandbox.write("plan.yaml", CHAIN);
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    sandbox.run(&["destroy", "chain", "--yes"]).exits(4);
    let refused = sandbox.run(&["resume"]).exits(2).says("the last run of `chain` was to undo it");
    refused.says("runbook destroy chain\n").says("make again what is gone: runbook apply ");
    sandbox.write("may-go", "");
    sandbox.run(&["destroy", "chain", "--yes"]).exits(0);
    sandbox.run(&["resume"]).exits(0).says("everything holds");
}

#[test]
fn what_was_made_twice_stands_on_all_that_it_ever_stood_on() {
    let sandbox = Sandbox::new();
    let plan = "runbook: 1\nname: p\nsteps:\n  base: { run: mkdir -p base, undo: { run: rmdir base } }\n  \
                t: { needs: base, run: touch base/t, undo: { run: 'sleep 0.3; rm base/t' } }\n";
    sandbox.write("plan.yaml", plan);
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    sandbox.write("plan.yaml", &plan.replace("base:", "base2:").replace("needs: base", "needs: base2"));
    sandbox.run(&["apply", "plan.yaml", "--redo", "t"]).exits(0);
    let destroyed = sandbox.run(&["destroy", "plan.yaml", "--yes"]);
    assert!(!sandbox.path("base").exists(), "{}", destroyed.err);
    assert!(destroyed.err.find("t  undone") < destroyed.err.find("base  undoing"), "{}", destroyed.err);
}

/// A plan whose step `a` has cloned a repository.
fn cloned() -> (Sandbox, String) {
    let sandbox = Sandbox::new();
    let script = "export GIT_AUTHOR_NAME=x GIT_AUTHOR_EMAIL=x GIT_COMMITTER_NAME=x GIT_COMMITTER_EMAIL=x; git init -q src; cd src; \
                  git commit -q --allow-empty -m one; git tag v1";
    sandbox.write("source.yaml", &format!("runbook: 1\nname: source\nsteps:\n  s: {{ run: '{script}' }}\n"));
    sandbox.run(&["apply", "source.yaml"]).exits(0);
    let plan = format!(
        "runbook: 1\nname: p\nsteps:\n  a: {{ uses: git.clone, with: {{ repo: 'file://{}', ref: v1, dir: clone }} }}\n  \
         note: {{ needs: [a], run: echo more > clone/note, undo: {{ run: rm clone/note }} }}\n",
        sandbox.path("src").display()
    );
    sandbox.write("plan.yaml", &plan);
    (sandbox, plan)
}

#[test]
fn who_found_what_a_renamed_step_had_made_speaks_for_it() {
    let (sandbox, plan) = cloned();
    sandbox.write("plan.yaml", plan.split("  note:").next().expect("a plan"));
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    let renamed = plan.replace("  a:", "  b:").replace("[a]", "[b]");
    let protected = renamed.replace("b: {", "b: { protect: true,");
    sandbox.write("plan.yaml", &protected);
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    let kept = sandbox.run(&["destroy", "plan.yaml", "--yes"]).exits(0).says("protected");
    assert!(sandbox.path("clone").exists(), "{}", kept.err);
    assert!(!kept.err.contains("was there before"), "{}", kept.err);

    sandbox.write("plan.yaml", &renamed);
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    let gone = sandbox.run(&["destroy", "plan.yaml", "--yes"]).exits(0);
    assert!(gone.err.find("note  undone") < gone.err.find("a  undoing"), "what stood on it first: {}", gone.err);
    assert!(!sandbox.path("clone").exists());
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    assert!(sandbox.path("clone/note").exists(), "it does not hold any more");
}

#[test]
fn things_are_taken_back_where_they_were_made_although_the_plan_has_moved() {
    let (sandbox, plan) = cloned();
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    std::fs::remove_file(sandbox.path("plan.yaml")).expect("there");
    sandbox.write("plans/plan.yaml", &plan);
    sandbox.write("plans/clone/note", "somebody's");
    sandbox.run(&["apply", "plans/plan.yaml"]).exits(0).says("`destroy` takes it back there");
    let again = sandbox.run(&["apply", "plans/plan.yaml"]).exits(0);
    assert!(!again.err.contains("takes it back there"), "once is enough: {}", again.err);
    sandbox.run(&["destroy", "plans/plan.yaml", "--yes"]).exits(0).says("2 of 2 steps undone");
    assert!(!sandbox.path("clone").exists());
    assert_eq!(sandbox.read("plans/clone/note"), "somebody's");
}

#[test]
fn what_a_step_made_before_it_had_a_way_back_is_not_forgotten() {
    let sandbox = Sandbox::new();
    let plan = |step: &str| format!("runbook: 1\nname: p\nsteps:\n  a: {{ {step} }}\n");
    sandbox.write("plan.yaml", &plan("run: touch one"));
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    sandbox.write("plan.yaml", &plan("run: touch one, undo: { run: rm one }"));
    sandbox.run(&["apply", "plan.yaml", "--redo", "a"]).exits(0);
    let all = sandbox.run(&["destroy", "p", "--dry-run"]).exits(0);
    assert!(all.out.contains("rm one") && !all.out.contains("not in the journal"), "the very same: {}", all.out);

    sandbox.write("plan.yaml", &plan("run: touch two"));
    sandbox.run(&["destroy", "p", "--yes"]).exits(0);
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    sandbox.write("plan.yaml", &plan("run: touch three, undo: { run: rm three }"));
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    let words = "how to undo what it made before that is not in the journal";
    let all = sandbox.run(&["destroy", "p", "--dry-run"]).exits(0);
    assert!(all.out.contains("rm three") && all.out.contains(words), "{}", all.out);
    sandbox.run(&["destroy", "p", "--yes"]).exits(0).says(words).says("1 of 1 step undone");
    assert!(sandbox.path("two").exists() && !sandbox.path("three").exists());
}

#[test]
fn what_an_undo_says_of_the_mask_in_its_own_words_is_no_masked_value() {
    let sandbox = Sandbox::new();
    let plan = "runbook: 1\nname: p\nsteps:\n  a: { run: 'touch one', undo: { run: \"rm one; : '[redacted]'\" } }\n";
    sandbox.write("plan.yaml", plan);
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    sandbox.run(&["destroy", "p", "--yes"]).exits(0);
    assert!(!sandbox.path("one").exists());
}
