//! A secret is planted and must be found nowhere: no journal, log, event, screen, or argument list.

use crate::sandbox::Sandbox;

const TOKEN: &str = "hf_planted-4f9c1d77";

const PLAN: &str = "runbook: 1
name: planted
secrets:
  token: { from: [{ env: PLANTED }] }
steps:
  leaks:
    run: |
      echo \"to stdout: $TOKEN\"
      echo \"to stderr: $TOKEN\" >&2
      printf '%s' \"$TOKEN\" | base64
    env: { TOKEN: \"${{ secrets.token }}\" }
  hands_on:
    run: printf 'out=%s\\n' \"$TOKEN\" >> \"$RUNBOOK_OUTPUT\"
    env: { TOKEN: \"${{ secrets.token }}\" }
  inherits:
    run: test -z \"${PLANTED:-}\"
  fails:
    needs: [leaks]
    run: echo \"failed with $TOKEN\" >&2; exit 3
    env: { TOKEN: \"${{ secrets.token }}\" }
outputs:
  stolen: ${{ steps.leaks.outputs.stdout }}
";

#[test]
fn a_planted_secret_is_found_nowhere() {
    let sandbox = Sandbox::new().env("PLANTED", TOKEN);
    sandbox.write("plan.yaml", PLAN);
    let ran = sandbox.run(&["apply", "plan.yaml", "--events", "events.jsonl", "-o", "json"]).exits(4);
    let encoded = "aGZfcGxhbnRlZC00ZjljMWQ3Nw==";
    for (what, text) in [("stdout", &ran.out), ("stderr", &ran.err)] {
        assert!(!text.contains(TOKEN) && !text.contains(encoded), "the secret is on {what}:\n{text}");
    }
    let leaks: Vec<_> = sandbox
        .everything()
        .into_iter()
        .filter(|(_, text)| text.contains(TOKEN) || text.contains(encoded))
        .map(|(path, _)| path)
        .collect();
    assert!(leaks.is_empty(), "the secret is in {leaks:?}");
    assert!(ran.out.contains("[redacted]"), "what was masked is marked: {}", ran.out);
}

/// What is told to whoever looks for a mistake in the engine is not masked, so that nothing must be in it.
#[test]
fn a_trace_of_all_that_the_engine_does_has_no_values() {
    let sandbox = Sandbox::new().env("PLANTED", TOKEN).env("RUNBOOK_LOG", "runbook=trace");
    sandbox.write("plan.yaml", PLAN);
    sandbox.write(
        "http.yaml",
        "runbook: 1\nname: asks\nsecrets:\n  token: { from: [{ env: PLANTED }] }\nsteps:\n  ask:\n    uses: http.probe\n    \
         with:\n      url: http://127.0.0.1:9/\n      \
         headers: { authorization: 'Bearer ${{ secrets.token }}' }\n    retry: { attempts: 1 }\n",
    );
    for (plan, told) in [("plan.yaml", "a program has ended"), ("http.yaml", "a server was asked")] {
        let ran = sandbox.run(&["apply", plan]).exits(4).says(told);
        assert!(!ran.err.contains(TOKEN), "the secret is in a trace:\n{}", ran.err);
    }
}

#[test]
fn a_secret_in_an_argument_is_refused_before_anything_runs() {
    let sandbox = Sandbox::new().env("PLANTED", TOKEN);
    sandbox.write(
        "plan.yaml",
        "runbook: 1\nname: argv\nsecrets:\n  token: { from: [{ env: PLANTED }] }\nsteps:\n  \
         bad: { command: [echo, '${{ secrets.token }}'] }\n",
    );
    let ran = sandbox.run(&["apply", "plan.yaml"]);
    assert!(matches!(ran.code, 3 | 4), "{ran:?}");
    assert!(!ran.err.contains(TOKEN) && ran.err.contains("secret"), "{}", ran.err);
}

/// What is masked is another value: a step that was made with it would not be found again by what undoes it.
#[test]
fn what_holds_a_secret_is_refused_as_an_input() {
    let sandbox = Sandbox::new().env("PLANTED", "prod");
    sandbox.write(
        "plan.yaml",
        "runbook: 1\nname: masked\ninputs: { where: { type: string } }\nsecrets:\n  user: { from: [{ env: PLANTED }] }\n\
         steps:\n  a: { run: 'touch \"$WHERE\"', env: { WHERE: '${{ inputs.where }}' } }\n",
    );
    let ran = sandbox.run(&["apply", "plan.yaml", "--input", "where=prod-east"]).exits(3);
    assert!(ran.err.contains("the value of a secret is in the input `where`"), "{}", ran.err);
    assert!(!ran.err.contains("prod-east"), "{}", ran.err);
    sandbox.run(&["apply", "plan.yaml", "--input", "where=east"]).exits(0);
    assert!(sandbox.path("east").is_file());
}

#[test]
fn what_was_masked_is_not_used_as_if_it_were_the_value() {
    let sandbox = Sandbox::new().env("PLANTED", "east1");
    sandbox.write(
        "plan.yaml",
        "runbook: 1\nname: masked\nsecrets:\n  zone: { from: [{ env: PLANTED }] }\nsteps:\n  asks: { run: echo us-east1 }\n  \
         makes: { run: 'touch \"made-$WHERE\"', env: { WHERE: '${{ steps.asks.outputs.stdout }}' } }\n",
    );
    let ran = sandbox.run(&["apply", "plan.yaml"]).exits(4);
    assert!(ran.err.contains("`with.env.WHERE` holds `[redacted]`"), "{}", ran.err);
    assert!(!sandbox.path("made-us-[redacted]").exists());
}

#[test]
fn a_plan_may_speak_of_the_mask_itself() {
    let sandbox = Sandbox::new();
    sandbox
        .write("plan.yaml", "runbook: 1\nname: speaks\nsteps:\n  a: { run: 'echo \"no [redacted] here\" > said' }\n");
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    assert_eq!(sandbox.read("said"), "no [redacted] here\n");
}

#[test]
fn what_would_be_masked_is_no_way_to_take_a_step_back() {
    let sandbox = Sandbox::new().env("PLANTED", "east1");
    sandbox.write(
        "plan.yaml",
        "runbook: 1\nname: masked\nsecrets:\n  zone: { from: [{ env: PLANTED }] }\nsteps:\n  \
         makes: { run: touch made-east1, undo: { run: rm made-east1 } }\n",
    );
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    let journal = sandbox.read(".runbook/masked/journal.jsonl");
    assert!(!journal.contains("rm made-[redacted]"), "{journal}");
    sandbox.run(&["destroy", "plan.yaml", "--yes"]).exits(0);
    assert!(!sandbox.path("made-east1").exists());
}

#[test]
fn what_takes_back_without_the_plan_does_not_get_its_secrets() {
    let sandbox = Sandbox::new().env("PLANTED", TOKEN);
    let plan = "runbook: 1\nname: former\nsecrets:\n  token: { from: [{ env: PLANTED }] }\nsteps:\n  \
                a: { run: 'true', undo: { run: 'env > seen; true' } }\n";
    sandbox.write("plan.yaml", plan);
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    sandbox.run(&["destroy", "former", "--without-plan", "--yes"]).exits(0);
    assert!(!sandbox.read("seen").contains("PLANTED"), "{}", sandbox.read("seen"));
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    sandbox.write("plan.yaml", &plan.replace("secrets:\n  token: { from: [{ env: PLANTED }] }\n", ""));
    sandbox.run(&["destroy", "plan.yaml", "--yes"]).exits(0);
    assert!(!sandbox.read("seen").contains("PLANTED"), "{}", sandbox.read("seen"));
}

#[test]
fn a_secret_that_cannot_be_read_says_why() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "plan.yaml",
        "runbook: 1\nname: files\nsecrets:\n  a: { from: [{ file: folder }] }\n  b: { from: [{ file: blank }, { file: gone }] }\n\
         steps:\n  use: { run: 'true', env: { A: '${{ secrets.a }}', B: '${{ secrets.b }}' } }\n",
    );
    // Who may do everything can read every file, but nobody reads a folder.
    std::fs::create_dir(sandbox.path("folder")).expect("made");
    sandbox.write("blank", "\n");
    let ran = sandbox.run(&["apply", "plan.yaml"]).exits(7).says("the file folder (it cannot be read: Is a directory");
    assert!(ran.err.contains("the file blank (it is empty) and the file gone\n"), "{}", ran.err);
}
