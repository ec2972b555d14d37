//! `runbook diagnose`: what it finds after a run, what it says of a rehearsal, and what it packs.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;

use crate::sandbox::{Sandbox, repository};

const PLAN: &str = "runbook: 1
name: web
secrets:
  token: { from: [{ env: PLANTED }] }
steps:
  fetch:
    run: |
      echo \"using $TOKEN\"
      echo 'Error: plugin \"diff\" not found' >&2
      exit 1
    env: { TOKEN: \"${{ secrets.token }}\" }
  other:
    run: echo 'this is only known beside the plan' >&2; exit 1
";

const HINTS: &str = "runbook_hints: 1
hints:
  - id: only-here
    match: { error: only known beside the plan }
    cause: It is known here.
    fix: Nothing.
    trigger: { error: this is only known beside the plan }
";

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).expect("JSON on stdout")
}

fn findings(sandbox: &Sandbox, args: &[&str]) -> Vec<(String, String)> {
    let ran = sandbox.run(&[&["diagnose", "-o", "json"], args].concat()).exits(0);
    let found = json(&ran.out);
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let all = found["findings"].as_array().expect("a list");
    all.iter().map(|finding| (text(&finding["hint"]), text(&finding["step"]))).collect()
}

#[test]
fn it_finds_what_steps_failed_of_and_asks_nobody_else() {
    let sandbox = Sandbox::new().env("PLANTED", "hf_planted0123456789");
    sandbox.write("plan.yaml", PLAN);
    sandbox.write("hints/own.yaml", HINTS);
    sandbox.run(&["apply", "plan.yaml"]).exits(4).says("only with the helm-diff plugin").says("It is known here.");
    let expected = [("helm-diff-missing", "fetch"), ("only-here", "other")];
    assert_eq!(findings(&sandbox, &[]), expected.map(|(hint, step)| (hint.to_owned(), step.to_owned())));
    assert_eq!(findings(&sandbox, &["other"]).first().map(|found| found.0.clone()).as_deref(), Some("only-here"));
    let told = sandbox.run(&["diagnose"]).exits(0).out;
    assert!(told.contains("2 findings, most likely first; about fetch and other"), "{told}");
    assert!(told.contains("Error: plugin \"diff\" not found"), "{told}");
    assert!(told.contains("look    runbook status web\n"), "a command that can be typed: {told}");
    sandbox.run(&["diagnose", "fech"]).exits(2).says("did you mean `fetch`?");
}

#[test]
fn a_hint_beside_the_plan_takes_the_place_of_one_with_its_name() {
    let sandbox = Sandbox::new().env("PLANTED", "hf_planted0123456789");
    sandbox.write("plan.yaml", PLAN);
    sandbox.write("hints/own.yaml", &HINTS.replace("only-here", "helm-diff-missing"));
    let ran = sandbox.run(&["apply", "plan.yaml"]).exits(4);
    assert!(!ran.err.contains("helm-diff plugin"), "{}", ran.err);
}

#[test]
fn files_of_hints_are_checked_with_the_plan() {
    let sandbox = Sandbox::new();
    sandbox.write("plan.yaml", "runbook: 1\nsteps:\n  a: { run: 'true' }\n");
    sandbox.write("hints/bad.yaml", "hints:\n  - { match: { eror: x }, when: 'nobody == 1', cause: c, fix: f }\n");
    let ran = sandbox.run(&["check", "plan.yaml"]).exits(3);
    for text in
        ["did you mean `error`?", "`nobody` is nothing that a hint sees", "a hint has no `id`", "says its version"]
    {
        assert!(ran.err.contains(text) || ran.out.contains(text), "{text}: {}{}", ran.err, ran.out);
    }
}

/// Everything in an archive, as one text.
fn unpacked(sandbox: &Sandbox, file: &str) -> String {
    let packed = std::fs::File::open(sandbox.path(file)).expect("the archive");
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(packed).read_to_end(&mut bytes).expect("gzip");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn a_bundle_is_for_its_owner_and_holds_no_secret() {
    let token = "planted-4f9c1d77-without-any-form";
    let sandbox = Sandbox::new().env("PLANTED", token);
    sandbox.write("plan.yaml", PLAN);
    sandbox.run(&["apply", "plan.yaml"]).exits(4);
    // What somebody put there by hand is not known to be a secret, but looks like one.
    let log = std::fs::read_dir(sandbox.path(".runbook/web/logs")).expect("logs").flatten().next().expect("a log");
    let text = format!("{}\ntoken hf_abcdefghijklmnopqrstuv\n", std::fs::read_to_string(log.path()).expect("text"));
    std::fs::write(log.path(), text).expect("written");
    sandbox.run(&["diagnose", "--bundle", "support.tar.gz"]).exits(0).says("support.tar.gz");
    let mode = std::fs::metadata(sandbox.path("support.tar.gz")).expect("the archive").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let all = unpacked(&sandbox, "support.tar.gz");
    for part in ["journal.jsonl", "findings.json", "versions.json", "logs/", "helm-diff-missing", "[masked]"] {
        assert!(all.contains(part), "{part} is not in the archive");
    }
    assert!(!all.contains(token) && !all.contains("hf_abcdefghij"), "a secret is in the archive");
}

#[test]
fn logs_of_steps_with_long_names_stay_apart() {
    let sandbox = Sandbox::new();
    let names = ["a", "b"].map(|end| format!("{}_{end}", "long".repeat(30)));
    let steps = names.clone().map(|name| format!("  {name}: {{ run: 'echo {name}' }}\n")).concat();
    sandbox.write("plan.yaml", &format!("runbook: 1\nname: web\nsteps:\n{steps}"));
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    sandbox.run(&["diagnose", "--bundle", "b.tar.gz"]).exits(0);
    let packed = std::fs::File::open(sandbox.path("b.tar.gz")).expect("the archive");
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(packed));
    let mut logs = std::collections::BTreeMap::new();
    for entry in archive.entries().expect("a tar archive") {
        let mut entry = entry.expect("an entry");
        let (name, mut text) = (entry.path().expect("a name").display().to_string(), String::new());
        entry.read_to_string(&mut text).expect("text");
        logs.insert(name, text);
    }
    for name in names {
        let log = logs.get(&format!("logs/{name}.1-1.log")).unwrap_or_else(|| panic!("{name} in {:?}", logs.keys()));
        assert!(log.contains(&name), "{log}");
    }
}

/// A rehearsal of a scenario that fails, and what its kept world shows.
#[test]
fn it_looks_into_the_world_of_a_rehearsal_and_packs_no_secret_of_it() {
    let sandbox = Sandbox::new();
    let scenario = repository().join("plans/rehearsals/server.image-pull.yaml");
    let scenario = scenario.to_str().expect("a path");
    sandbox.run(&["rehearse", scenario]).exits(4);
    let ran = sandbox.run(&["rehearse", scenario, "--diagnose", "--bundle", "b.tar.gz", "-o", "json"]).exits(0);
    let found = json(&ran.out);
    assert_eq!(found["findings"][0]["hint"], "image-pull-denied", "{}", ran.out);
    assert_eq!(found["findings"][0]["step"], "server");
    let told = sandbox.run(&["rehearse", scenario, "--diagnose"]).exits(0).out;
    assert!(told.contains("· 1 finding, 1 more that may have to do with it; about server"), "{told}");
    assert!(told.contains("\n2. ") && !told.contains("\n3. "), "as many as are announced: {told}");
    let all = unpacked(&sandbox, "b.tar.gz");
    assert!(all.contains("objects/pod.json") && all.contains("objects/event.json"));
    sandbox.run(&["diagnose"]).exits(2).says("--diagnose");
    // The world would stay for an hour.
    let info = sandbox.read(".runbook/rehearsals/server.image-pull/world/stage.json");
    let pid = json(&info)["pid"].as_i64().expect("its process");
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid as i32).expect("a pid"),
        rustix::process::Signal::TERM,
    )
    .expect("ended");
}

const STUCK: &str = "runbook: 1
name: site
steps:
  folder: { command: [mkdir, web], undo: { command: [rmdir, web] } }
  page: { needs: [folder], command: [touch, web/page], undo: { run: \"echo 'Error: plugin \\\"diff\\\" not found' >&2; exit 1\" } }
";

#[test]
fn a_step_that_could_not_be_undone_is_a_trouble_also_when_it_has_left_the_plan() {
    let sandbox = Sandbox::new();
    sandbox.write("site.yaml", STUCK);
    sandbox.run(&["apply", "site.yaml"]).exits(0);
    sandbox.run(&["destroy", "site", "--yes"]).exits(4);
    let found = json(&sandbox.run(&["diagnose", "-o", "json"]).exits(0).out);
    assert_eq!(found["about"], serde_json::json!(["page"]), "{found}");
    assert_eq!(findings(&sandbox, &[]), [("helm-diff-missing".to_owned(), "page".to_owned())]);
    let told = sandbox.run(&["diagnose"]).exits(0).out;
    assert!(!told.contains("nothing is wrong"), "{told}");
    let without: String =
        STUCK.lines().filter(|line| !line.contains("page:")).map(|line| format!("{line}\n")).collect();
    sandbox.write("site.yaml", &without);
    sandbox.run(&["destroy", "site", "--yes"]).exits(4);
    let found = json(&sandbox.run(&["diagnose", "-o", "json"]).exits(0).out);
    assert_eq!(found["about"], serde_json::json!(["page"]), "{found}");
}

#[test]
fn what_it_says_to_look_at_is_there_where_the_state_is_and_no_cluster_is_missed() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "plan.yaml",
        "runbook: 1\nname: web\nsteps: { fetch: { run: \"echo 'Error: plugin \\\"diff\\\" not found' >&2; exit 1\" } }\n",
    );
    let state = ["--state", "my state"];
    sandbox.run(&[&["apply", "plan.yaml"], state.as_slice()].concat()).exits(4);
    let told = sandbox.run(&[&["diagnose"], state.as_slice()].concat()).exits(0).out;
    assert!(told.contains("look    runbook --state 'my state' status web\n"), "{told}");
    assert!(!told.contains("kubeconfig"), "the plan uses no cluster: {told}");
}
