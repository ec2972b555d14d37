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
