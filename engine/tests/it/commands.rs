//! The commands as a user meets them: what they print, where, and the code they leave with.

use crate::sandbox::Sandbox;

const HELLO: &str = "runbook: 1
name: hello
inputs:
  who: { type: string, default: world }
steps:
  greet:
    run: echo \"hello, $WHO\"
    env: { WHO: \"${{ inputs.who }}\" }
    idempotent: true
  shout:
    command: [echo, \"${{ steps.greet.outputs.stdout | upper }}\"]
    idempotent: true
outputs:
  said: ${{ steps.shout.outputs.stdout }}
";

#[test]
fn a_plan_runs_and_is_reused() {
    let sandbox = Sandbox::new();
    sandbox.write("hello.yaml", HELLO);
    sandbox.run(&["apply", "hello.yaml"]).exits(0).says("everything holds").says("HELLO, WORLD");
    let again = sandbox.run(&["apply", "hello.yaml", "-o", "json"]).exits(0).says("reuse   2 steps");
    let result: serde_json::Value = serde_json::from_str(&again.out).expect("JSON on stdout and nothing else");
    assert_eq!(result["outputs"]["said"], "HELLO, WORLD");
    assert_eq!(result["steps"][0]["reused"], true);
}

#[test]
fn a_changed_input_makes_its_steps_stale() {
    let sandbox = Sandbox::new();
    sandbox.write("hello.yaml", HELLO);
    sandbox.run(&["apply", "hello.yaml"]).exits(0);
    sandbox.run(&["apply", "hello.yaml", "--input", "who=moon"]).exits(0).says("stale   greet").says("HELLO, MOON");
}

#[test]
fn resume_remembers_the_plan_and_its_inputs() {
    let sandbox = Sandbox::new();
    sandbox.write("hello.yaml", HELLO);
    sandbox.run(&["apply", "hello.yaml", "--input", "who=mars"]).exits(0);
    sandbox.run(&["resume"]).exits(0).says("HELLO, MARS").says("reuse   2 steps");
}

#[test]
fn a_failed_step_blocks_its_dependents_and_nothing_else() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "plan.yaml",
        "runbook: 1\nname: fails\nsteps:\n  bad: { command: ['false'] }\n  after: { needs: [bad], command: ['true'] }\n  \
         apart: { command: ['true'] }\nfinally:\n  clean: { command: [touch, cleaned] }\n",
    );
    let ran = sandbox.run(&["apply", "plan.yaml", "-o", "json"]).exits(4).says("bad failed");
    let result: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON");
    let outcomes: Vec<_> =
        result["steps"].as_array().expect("steps").iter().map(|step| step["outcome"].clone()).collect();
    assert_eq!(outcomes, ["failed", "blocked", "changed", "changed"]);
}

#[test]
fn status_and_log_show_what_happened() {
    let sandbox = Sandbox::new();
    sandbox.write("hello.yaml", HELLO);
    sandbox.run(&["apply", "hello.yaml"]).exits(0);
    let status = sandbox.run(&["status"]).exits(0);
    assert!(status.out.contains("greet") && status.out.contains("holds"), "{}", status.out);
    let log = sandbox.run(&["log", "greet"]).exits(0);
    assert!(log.out.contains("hello, world"), "{}", log.out);
    sandbox.run(&["log", "gret"]).exits(2).says("did you mean `greet`?");
    let far = sandbox.run(&["log", "zebra"]).exits(2).says("has no step `zebra`");
    assert!(!far.err.contains("did you mean"), "{}", far.err);
}

#[test]
fn data_that_cannot_be_written_is_an_error_unless_nobody_reads_it_any_more() {
    let sandbox = Sandbox::new();
    sandbox.write("hello.yaml", HELLO);
    sandbox.run(&["apply", "hello.yaml"]).exits(0);
    sandbox.write("broken.yaml", "runbook: 2\n");
    for args in [&["status", "-o", "json"][..], &["log", "greet"], &["schema"], &["check", "hello.yaml"]] {
        sandbox.limited("exec >/dev/full", args).exits(1).says("cannot write to standard output: No space left");
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let closed = sandbox.command(args).stdout(writer).output().expect("the program starts");
        assert!(closed.status.success(), "{}", String::from_utf8_lossy(&closed.stderr));
        assert!(!String::from_utf8_lossy(&closed.stderr).contains("cannot write"));
    }
    sandbox
        .limited("exec >/dev/full", &["check", "broken.yaml", "-o", "json"])
        .exits(3)
        .says("cannot write to standard");
}

#[test]
fn a_pipe_that_a_step_names_as_its_file_is_refused_and_holds_nothing_up() {
    let sandbox = Sandbox::new();
    sandbox.write("plan.yaml", "runbook: 1\nname: piped\nsteps:\n  a: { command: [sh, pipe] }\n");
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, sandbox.path("pipe"), fifo, rustix::fs::Mode::RWXU, 0).expect("a pipe");
    let what = "`pipe` is a named pipe, and a step reads only files and folders";
    for (command, code) in [("check", 0), ("plan", 0), ("apply", 4)] {
        let ran = sandbox.limited("exec timeout -s KILL 60 \"$@\"", &[command, "plan.yaml"]).exits(code);
        assert!(ran.err.contains(what) && ran.err.contains("name a file or a folder"), "{}", ran.err);
    }
    std::fs::remove_file(sandbox.path("pipe")).expect("removed");
    sandbox.write("pipe", "echo done\n");
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
}

#[test]
fn an_expression_that_is_too_long_is_refused_wherever_it_stands() {
    let sandbox = Sandbox::new();
    let long = |term: &str, count: usize| vec![term; count].join(" + ");
    let sum = long("steps.b.outputs.exit_code", 8_000);
    let plan = |step: &str| {
        format!(
            "runbook: 1\nname: long\nvars: {{ v: [1] }}\nsteps:\n  b: {{ command: ['true'] }}\n  c:\n    command: [echo, '${{{{ vars.v | join }}}}']\n{step}"
        )
    };
    for step in [
        format!("    env: {{ SUM: '${{{{ {sum} }}}}' }}\n"),
        format!("    when: {sum} == 0\n"),
        format!("    when: {}true\n", "not ".repeat(8_000)),
        format!("    foreach: {{ each: '${{{{ {} }}}}' }}\n", long("vars.v", 8_000)),
        format!("    foreach: {{ each: '${{{{ vars.v{} }}}}' }}\n", "|list".repeat(60_000)),
        format!("    outputs: {{ o: '${{{{ exit_code{} }}}}' }}\n", ".a".repeat(60_000)),
        format!("    require: {{ assert: '{sum} == 0', message: no }}\n"),
        format!("    hints: [{{ cause: c, fix: f, when: '{} == 0' }}]\n", long("exit_code", 8_000)),
        format!("  d: {{ needs: [b], command: ['true'] }}\noutputs: {{ o: '${{{{ {sum} }}}}' }}\n"),
    ] {
        sandbox.write("plan.yaml", &plan(&step));
        let ran = sandbox.run(&["check", "plan.yaml", "-o", "json"]).exits(3);
        let reports: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON");
        let problems = reports[0]["problems"].as_array().expect("problems");
        let about =
            |problem: &&serde_json::Value| problem["message"].as_str().is_some_and(|text| text.contains("too long"));
        let found = problems.iter().find(about).unwrap_or_else(|| panic!("{step:.60}: {problems:?}"));
        assert!(found["line"].is_number() && found.to_string().contains("compute it in parts"), "{found}");
    }
    let vars = plan("").replace("v: [1]", &format!("v: '${{{{ {} }}}}'", long("1", 8_000)));
    sandbox.write("plan.yaml", &vars);
    sandbox.run(&["check", "plan.yaml"]).exits(3).says("too long").says("compute it in parts");
    sandbox.write(
        "plan.yaml",
        &plan(&format!("    env: {{ SUM: '${{{{ {} }}}}' }}\n", long("steps.b.outputs.exit_code", 100))),
    );
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    let hints = format!(
        "runbook_hints: 1\nhints:\n  - {{ id: h, cause: c, fix: f, when: '{} == 0' }}\n",
        long("exit_code", 8_000)
    );
    sandbox.write("hints/own.yaml", &hints);
    sandbox.run(&["check", "plan.yaml"]).exits(3).says("too long").says("compute it in parts");
}

#[test]
fn a_copy_of_a_deployment_with_an_odd_name_is_in_nobodys_way() {
    let sandbox = Sandbox::new();
    sandbox.write("hello.yaml", HELLO);
    sandbox.run(&["apply", "hello.yaml"]).exits(0);
    sandbox.write(".runbook/hello (copy)/journal.jsonl", &sandbox.read(".runbook/hello/journal.jsonl"));
    for args in [&["status", "hello"][..], &["status"], &["log", "greet"], &["resume"]] {
        sandbox.run(args).exits(0);
    }
}

#[test]
fn an_invalid_plan_touches_nothing() {
    let sandbox = Sandbox::new();
    sandbox.write("bad.yaml", "runbook: 1\nname: bad\nsteps:\n  a: { comand: ['true'], neds: [b] }\n");
    sandbox.run(&["apply", "bad.yaml"]).exits(3).says("did you mean `command`?").says("did you mean `needs`?");
    assert!(!sandbox.path(".runbook").exists());
    sandbox.run(&["apply", "missing.yaml"]).exits(3).says("missing.yaml");
}

#[test]
fn all_missing_inputs_are_named_at_once() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "plan.yaml",
        "runbook: 1\nname: needy\ninputs:\n  one: { type: string, required: true }\n  two: { type: int, required: true }\n\
         steps:\n  a: { command: [echo, '${{ inputs.one }}', '${{ inputs.two }}'] }\n",
    );
    sandbox.run(&["apply", "plan.yaml"]).exits(3).says("one").says("two");
}

#[test]
fn all_missing_secrets_are_named_at_once() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "plan.yaml",
        "runbook: 1\nname: secretive\nsecrets:\n  a: { from: [{ env: NO_SUCH_A }] }\n  b: { from: [{ file: no/such/b }] }\n\
         steps:\n  use: { run: 'true', env: { A: '${{ secrets.a }}', B: '${{ secrets.b }}' } }\n",
    );
    sandbox.run(&["apply", "plan.yaml"]).exits(7).says("2 secrets are missing").says("NO_SUCH_A").says("no/such/b");
}

#[test]
fn a_missing_program_is_found_before_anything_runs() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "plan.yaml",
        "runbook: 1\nname: p\nsteps:\n  first: { command: [touch, touched] }\n  \
         later: { needs: [first], command: [no-such-program-here] }\n",
    );
    sandbox.run(&["apply", "plan.yaml"]).exits(3).says("no-such-program-here").says("later");
    assert!(!sandbox.path("touched").exists());
}

/// A plan that can be refused in every way before its run begins.
const FITS_NOT: &str = "runbook: 1
name: refused
inputs: { where: { type: string, default: here } }
secrets:
  token: { from: [{ env: PLANTED }] }
  user: { from: [{ env: USERNAME }], required: false }
steps:
  use: { run: 'true', env: { TOKEN: '${{ secrets.token }}', WHERE: '${{ inputs.where }}' } }
  tool: { needs: [use], command: [PROGRAM] }
";

/// What refuses it: the program that it needs, arguments, and the code.
const REFUSALS: [(&str, &[&str], i32); 6] = [
    ("no-such-program-here", &["apply", "plan.yaml"], 3),
    ("true", &["apply", "plan.yaml"], 7),
    ("true", &["apply", "plan.yaml", "--only", "nope"], 2),
    ("true", &["apply", "plan.yaml", "--skip", "use", "--answer", "use.x=1"], 2),
    ("true", &["apply", "plan.yaml", "--skip", "use", "--events", "no/such/folder"], 2),
    ("true", &["destroy", "plan.yaml", "--yes"], 0),
];

#[test]
fn what_never_began_leaves_no_deployment() {
    for (program, args, code) in REFUSALS {
        let sandbox = Sandbox::new();
        sandbox.write("plan.yaml", &FITS_NOT.replace("PROGRAM", program));
        sandbox.run(args).exits(code);
        assert!(!sandbox.path(".runbook").exists(), "{args:?}");
        sandbox.run(&["status"]).exits(2).says("there is no deployment");
        // What was there before stays.
        sandbox.write("hello.yaml", HELLO);
        sandbox.run(&["apply", "hello.yaml"]).exits(0);
        sandbox.run(args).exits(code);
        assert!(!sandbox.path(".runbook/refused").exists(), "{args:?}");
        assert!(sandbox.run(&["status"]).exits(0).out.contains("greet"));
        sandbox.run(&["apply", "hello.yaml", "--only", "nope"]).exits(2);
        assert!(sandbox.run(&["status"]).exits(0).out.contains("greet"));
    }
}

#[test]
fn a_rehearsal_that_never_began_leaves_no_deployment() {
    let sandbox = Sandbox::new();
    sandbox.write("plan.yaml", &FITS_NOT.replace("PROGRAM", "no-such-program-here"));
    sandbox.run(&["rehearse", "plan.yaml"]).exits(3);
    sandbox.run(&["status"]).exits(2).says("there is no deployment");
}

/// Older programs left one behind.
#[test]
fn a_journal_without_a_record_goes_with_a_run_that_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.write("plan.yaml", &FITS_NOT.replace("PROGRAM", "no-such-program-here"));
    sandbox.write(".runbook/refused/journal.jsonl", "");
    sandbox.write(".runbook/refused/note", "somebody's own");
    sandbox.run(&["apply", "plan.yaml"]).exits(3);
    sandbox.run(&["status"]).exits(2).says("there is no deployment");
    assert_eq!(sandbox.read(".runbook/refused/note"), "somebody's own");
}

#[test]
fn a_broken_journal_names_its_line() {
    let sandbox = Sandbox::new();
    sandbox.write("hello.yaml", HELLO);
    sandbox.run(&["apply", "hello.yaml"]).exits(0);
    let journal = ".runbook/hello/journal.jsonl";
    let text = sandbox.read(journal).replacen("greet", "groot", 1);
    sandbox.write(journal, &text);
    sandbox.run(&["apply", "hello.yaml"]).exits(6).says("line");
}

#[test]
fn kinds_and_schema_print_data() {
    let sandbox = Sandbox::new();
    assert!(sandbox.run(&["kinds"]).exits(0).out.contains("gke.cluster"));
    assert!(sandbox.run(&["kinds", "make"]).exits(0).out.contains("target"));
    sandbox.run(&["kinds", "mak"]).exits(2).says("did you mean `make`?");
    let far = sandbox.run(&["kinds", "xylophone"]).exits(2).says("`runbook kinds` lists them all");
    assert!(!far.err.contains("did you mean"), "{}", far.err);
    let schema = sandbox.run(&["schema"]).exits(0).out;
    serde_json::from_str::<serde_json::Value>(&schema).expect("JSON");
}

#[test]
fn events_are_json_lines() {
    let sandbox = Sandbox::new();
    sandbox.write("hello.yaml", HELLO);
    sandbox.run(&["apply", "hello.yaml", "--events", "events.jsonl"]).exits(0);
    let lines = sandbox.read("events.jsonl");
    let kinds: Vec<String> = lines
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("a JSON line"))
        .map(|event| event["event"].as_str().unwrap_or("").to_owned())
        .collect();
    assert!(kinds.iter().any(|kind| kind == "recorded") && kinds.iter().any(|kind| kind == "output"), "{kinds:?}");
}

/// A run that is killed in the middle of a step that nobody can look at.
fn killed_in_the_middle() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write(
        "plan.yaml",
        "runbook: 1\nname: doubt\nsteps:\n  once: { run: 'echo x >> ledger; exec sleep \"$(cat nap)\"' }\n",
    );
    sandbox.write("nap", "60");
    let mut engine =
        sandbox.command(&["apply", "plan.yaml"]).stderr(std::process::Stdio::null()).spawn().expect("starts");
    while sandbox.read("ledger").is_empty() {
        assert!(engine.try_wait().expect("its status").is_none(), "the engine ended by itself");
        std::thread::yield_now();
    }
    engine.kill().expect("killed");
    engine.wait().expect("gone");
    sandbox.write("nap", "0");
    sandbox
}

#[test]
fn a_step_in_doubt_waits_for_a_person_and_is_settled() {
    let sandbox = killed_in_the_middle();
    sandbox.run(&["apply", "plan.yaml"]).exits(7).says("runbook settle once --done");
    assert_eq!(sandbox.read("ledger"), "x\n", "nothing was done twice");
    sandbox.run(&["settle", "once"]).exits(2);
    sandbox.run(&["settle", "once", "--done"]).exits(0);
    sandbox.run(&["resume"]).exits(0).says("everything holds");
    assert_eq!(sandbox.read("ledger"), "x\n", "what counts as done is not run");
    sandbox.run(&["settle", "once", "--redo"]).exits(2).says("nothing to settle");
}

#[test]
fn a_step_in_doubt_may_be_done_again() {
    let sandbox = killed_in_the_middle();
    sandbox.run(&["apply", "plan.yaml"]).exits(7);
    sandbox.run(&["settle", "once", "--redo"]).exits(0);
    sandbox.run(&["resume"]).exits(0).says("everything holds");
    assert_eq!(sandbox.read("ledger"), "x\nx\n");
}

#[test]
fn a_second_run_is_told_who_holds_the_lock() {
    let sandbox = Sandbox::new();
    let mut engine = sandbox.busy();
    sandbox.run(&["apply", "plan.yaml"]).exits(5).says("is held by tester@").says("`long`");
    let status = sandbox.run(&["status"]).exits(0).out;
    assert!(status.contains("is being run by tester@"), "{status}");
    engine.kill().expect("killed");
    engine.wait().expect("gone");
    sandbox.write("plan.yaml", "runbook: 1\nname: busy\nsteps:\n  long: { run: 'true', idempotent: true }\n");
    sandbox.run(&["apply", "plan.yaml"]).exits(0).says("it was ended");
}

#[test]
fn the_exit_code_names_the_signal() {
    use rustix::process::{Pid, Signal, kill_process};
    for (signal, code) in [(Signal::HUP, 129), (Signal::INT, 130), (Signal::TERM, 143)] {
        let sandbox = Sandbox::new();
        let mut engine = sandbox.busy();
        kill_process(Pid::from_child(&engine), signal).expect("it lives");
        assert_eq!(engine.wait().expect("ended").code(), Some(code));
    }
}

#[test]
fn a_manual_step_is_answered_from_the_command_line() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "plan.yaml",
        "runbook: 1\nname: asks\nsteps:\n  ask: { manual: { ask: Get chips, outputs: { chips: { type: int } } } }\n  \
         use: { command: [echo, '${{ steps.ask.outputs.chips }}'] }\noutputs:\n  said: ${{ steps.use.outputs.stdout }}\n",
    );
    sandbox.run(&["apply", "plan.yaml"]).exits(7).says("--answer ask.chips=");
    sandbox.run(&["resume", "--answer", "ask.other=4"]).exits(2).says("nothing asks for `other`");
    sandbox.run(&["resume", "--answer", "use.chips=4"]).exits(2).says("answers nothing");
    sandbox.run(&["resume", "--answer", "aks.chips=4"]).exits(2).says("answers nothing").says("did you mean `ask`?");
    sandbox.run(&["resume", "--answer", "ask.chips=4"]).exits(0).says("everything holds");
    let again = sandbox.run(&["resume", "-o", "json"]).exits(0).says("reuse   2 steps");
    let result: serde_json::Value = serde_json::from_str(&again.out).expect("JSON");
    assert_eq!(result["outputs"]["said"], "4", "an answer is given once");
}

#[test]
fn what_is_wrong_with_answers_is_said_at_once_before_anything_runs() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "plan.yaml",
        "runbook: 1\nname: asks\nsteps:\n  first: { run: touch ran }\n  ask: { manual: { ask: Get chips, outputs: { chips: { type: int } } } }\n",
    );
    let wrong = ["--answer", "ask.chips=many", "--answer", "ask.chps=4", "--answer", "aks.chips=4"];
    let ran = sandbox.run(&[&["apply", "plan.yaml"], wrong.as_slice()].concat()).exits(2);
    let ran = ran.says("`--answer ask.chips=…`: \"many\" is not of the type int, such as 3");
    ran.says("`--answer ask.chps=…`: nothing asks for `chps`").says("`--answer aks.chips=…` answers nothing");
    assert!(!sandbox.path("ran").exists());
}

#[test]
fn answers_that_nobody_has_taken_are_in_what_is_typed_next() {
    let sandbox = Sandbox::new().env("PLANTED", "hf_planted0123456789");
    sandbox.write(
        "plan.yaml",
        "runbook: 1\nname: asks\nsecrets: { token: { from: [{ env: PLANTED }] } }\nsteps:\n  \
         taken: { manual: { ask: First, outputs: { x: {} } } }\n  \
         ask: { needs: [taken], manual: { ask: Two things, outputs: { chips: { type: int }, who: {} } } }\n  \
         later: { needs: [ask], manual: { ask: Later, outputs: { word: {} } } }\n  \
         hidden: { needs: [ask], manual: { ask: Later, outputs: { word: {} } } }\n  \
         use: { run: 'true', env: { T: '${{ secrets.token }}' } }\n",
    );
    let answers = ["taken.x=1", "ask.who=me, `or` you", "later.word=so", "hidden.word=hf_planted0123456789"];
    let flags: Vec<&str> = answers.iter().flat_map(|answer| ["--answer", answer]).collect();
    let ran = sandbox.run(&[&["apply", "plan.yaml"], flags.as_slice()].concat()).exits(7);
    let asked = "--answer ask.chips=NUMBER --answer 'ask.who=me, `or` you'\n";
    ran.says(&format!("next  runbook resume asks --answer later.word=so {asked}"));
    let status = sandbox.run(&["status"]).exits(0);
    assert!(status.out.contains(&format!("next runbook resume asks {asked}")), "{}", status.out);
}

#[test]
fn a_plan_whose_file_could_name_no_deployment_does_not_check() {
    let sandbox = Sandbox::new();
    sandbox.write("My Plan!.yaml", "runbook: 1\nsteps: { a: { run: 'true' } }\n");
    let why = "`My Plan!` cannot name a deployment: use up to 64 letters";
    sandbox.run(&["apply", "My Plan!.yaml"]).exits(2).says(why);
    sandbox.run(&["check", "My Plan!.yaml"]).exits(3).says(why).says("another `name:`");
    sandbox.run(&["check", "My Plan!.yaml", "--name", "mine"]).exits(0);
    let json = sandbox.run(&["check", "My Plan!.yaml", "-o", "json"]).exits(3).out;
    assert!(json.contains("plan::name") && json.contains("\"ok\": false"), "{json}");
}

#[test]
fn the_log_of_a_foreach_is_that_of_all_its_steps() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "plan.yaml",
        "runbook: 1\nname: p\nsteps:\n  each:\n    foreach: { who: [ann, bob] }\n    run: echo \"for $WHO\"\n    \
         env: { WHO: '${{ each.who }}' }\n  bad: { run: exit 1 }\n  after:\n    foreach: { x: [one, two] }\n    needs: [bad]\n    run: 'true'\n",
    );
    sandbox.run(&["apply", "plan.yaml"]).exits(4);
    let ran = sandbox.run(&["log", "each"]).exits(0).says("── each[ann] · run 1").says("── each[bob] · run 1");
    assert!(ran.out.contains("for ann") && ran.out.contains("for bob"), "{}", ran.out);
    sandbox.run(&["log", "after"]).exits(2).says("`after[one]` and `after[two]` have not begun");
    sandbox.run(&["log", "after[one]"]).exits(2).says("`after[one]` has not begun, so it has printed nothing");
}

#[test]
fn a_file_that_is_no_journal_is_not_thrown_away() {
    let sandbox = Sandbox::new();
    sandbox.write("hello.yaml", HELLO);
    sandbox.write(".runbook/hello/journal.jsonl", "this is something else entirely");
    sandbox.run(&["apply", "hello.yaml"]).exits(6).says("line 1");
    assert_eq!(sandbox.read(".runbook/hello/journal.jsonl"), "this is something else entirely");
}

#[test]
fn a_rehearsal_is_not_continued_for_real() {
    let sandbox = Sandbox::new();
    sandbox.write("hello.yaml", HELLO);
    sandbox.run(&["rehearse", "hello.yaml"]).exits(0).says("simulated");
    sandbox.run(&["resume"]).exits(2).says("was a rehearsal");
    sandbox.run(&["--state", ".runbook/rehearsals/hello", "apply", "hello.yaml"]).exits(6).says("simulated");
}

#[test]
fn a_speed_that_never_ends_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.write("hello.yaml", HELLO);
    for speed in ["0", "-1", "nan", "inf", "fast"] {
        sandbox.run(&["rehearse", "hello.yaml", &format!("--speed={speed}")]).exits(2);
    }
}

/// What the last attempt did not say is not told with the words of the one before.
#[test]
fn a_log_is_of_the_newest_attempt() {
    let sandbox = Sandbox::new();
    let script = "[ -e made ] || { touch made; echo first; exit 1; }";
    let retry = "{ attempts: 2, backoff: { initial: 1ms } }";
    sandbox.write("plan.yaml", &format!("runbook: 1\nsteps:\n  a: {{ run: '{script}', retry: {retry} }}\n"));
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    let ran = sandbox.run(&["log", "a"]).exits(0).says("attempt 2 printed nothing").says("`--all`");
    assert_eq!(ran.out, "");
    let ran = sandbox.run(&["log", "a", "--all"]).exits(0).says("attempt 2 printed nothing");
    assert!(ran.out.contains("first"), "{}", ran.out);
}

#[test]
fn a_rehearsal_says_what_it_really_runs() {
    let sandbox = Sandbox::new();
    sandbox
        .write("plan.yaml", "runbook: 1\nsteps:\n  a: { run: touch here }\n  b: { require: [{ assert: 'true' }] }\n");
    sandbox
        .run(&["rehearse", "plan.yaml"])
        .exits(0)
        .says("are really run, in `")
        .says(": a; only gcloud, kubectl, helm");
    assert!(sandbox.path("here").exists());
}
