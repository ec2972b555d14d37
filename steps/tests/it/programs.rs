//! Programs: started, streamed, masked, cancelled, and never left behind.

use std::time::Duration;

use futures::FutureExt as _;
use runbook_steps::context::Stream;
use runbook_steps::secret::marker;
use runbook_steps::tools::{Mark, Program, end_marked, lingering, marked};
use runbook_steps::{Child, Class, Failure};

use crate::workshop::Workshop;

fn shell(script: &str) -> Program {
    Program::new("sh").args(["-c", script])
}

#[tokio::test]
async fn output_is_logged_kept_and_told() {
    let shop = Workshop::new();
    let finished = shell("echo out; echo err >&2").capture(true).run(&shop.context()).await.unwrap();
    assert_eq!((finished.code, finished.stdout.as_str(), finished.stderr_tail.as_str()), (0, "out\n", "err"));
    assert_eq!((shop.ears.logged(Stream::Out).as_str(), shop.ears.logged(Stream::Err).as_str()), ("out\n", "err\n"));
    assert_eq!(shop.ears.logged(Stream::Note), "$ sh -c 'echo out; echo err >&2'\n");
    assert!(!shop.ears.progress.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_failure_quotes_the_telling_line() {
    let shop = Workshop::new();
    let failure = shell("echo 'error: no chips' >&2; exit 3").called("probe").run(&shop.context()).await.unwrap_err();
    assert_eq!(failure.what, "`probe` failed with exit code 3: error: no chips");
    assert_eq!(
        (failure.class, failure.facts.exit_code, failure.facts.stderr.as_str()),
        (Class::Permanent, Some(3), "error: no chips")
    );
}

#[tokio::test]
async fn a_failure_is_classed_by_what_was_said() {
    let shop = Workshop::new();
    let failure = shell("echo 'Error: connection refused' >&2; exit 1").run(&shop.context()).await.unwrap_err();
    assert_eq!(failure.class, Class::Transient);
}

#[tokio::test]
async fn any_code_is_fine_unchecked() {
    let shop = Workshop::new();
    assert_eq!(shell("exit 7").unchecked().run(&shop.context()).await.unwrap().code, 7);
}

#[tokio::test]
async fn a_signal_is_a_failure_even_unchecked() {
    let shop = Workshop::new();
    let failure = shell("kill -KILL $$").called("it").unchecked().run(&shop.context()).await.unwrap_err();
    assert_eq!(failure.what, "`it` was ended by SIGKILL");
}

#[tokio::test]
async fn a_missing_program_says_what_to_install() {
    let mut shop = Workshop::new();
    shop.env.insert("PATH".to_owned(), "/nonexistent".to_owned());
    let failure = Program::new("gcloud").run(&shop.context()).await.unwrap_err();
    assert_eq!((failure.class, failure.what.as_str()), (Class::Invalid, "the program `gcloud` was not found"));
    assert!(failure.fix.unwrap().contains("Google Cloud SDK"));
}

#[tokio::test]
async fn a_missing_interpreter_is_explained() {
    let shop = Workshop::new();
    shop.program("odd", "");
    shop.write("bin/odd", "#!/no/such/interpreter\n");
    let failure = Program::new("odd").run(&shop.context()).await.unwrap_err();
    assert_eq!(failure.class, Class::Invalid);
    assert!(failure.cause.unwrap().contains("interpreter"));
}

#[tokio::test]
async fn a_thread_that_may_wait_sees_short_programs_to_their_end_and_no_others() {
    let shop = Workshop::new();
    let (short, cx) = (shell("echo done").capture(true), shop.context());
    let first_look = || lingering(|| short.run(&cx).now_or_never());
    // On a machine that is busy, some take longer.
    let ended = std::iter::repeat_with(first_look).take(1000).flatten().next().expect("one of them is quick");
    assert_eq!(ended.unwrap().stdout, "done\n");
    assert!(short.run(&cx).now_or_never().is_none(), "no other thread waits");

    let long = shell("echo begun; read line; echo $line").stdin("end\n").capture(true);
    let mut run = Box::pin(long.run(&cx));
    assert!(lingering(|| (&mut run).now_or_never()).is_none(), "it is to be fed");
    assert_eq!(run.await.unwrap().stdout, "begun\nend\n");
    let long = shell("echo begun; sleep 0.1; echo end").capture(true);
    let mut run = Box::pin(long.run(&cx));
    assert!(lingering(|| (&mut run).now_or_never()).is_none(), "it takes longer than a moment");
    assert_eq!(run.await.unwrap().stdout, "begun\nend\n");
}

#[tokio::test]
async fn a_missing_folder_is_named() {
    let shop = Workshop::new();
    let failure = shell("true").dir("infra").run(&shop.context()).await.unwrap_err();
    assert_eq!(failure.class, Class::NotFound);
    assert!(failure.what.contains("infra` does not exist"), "{failure}");
}

#[tokio::test]
async fn only_the_worlds_environment_is_seen() {
    let mut shop = Workshop::new();
    shop.env.insert("DROPPED".to_owned(), "1".to_owned());
    let program =
        shell("echo $A-$DROPPED-$RUNBOOK_STEP-${CARGO:-none}").env("A", "b").without_env("DROPPED").capture(true);
    assert_eq!(program.run(&shop.context()).await.unwrap().stdout, "b--the_step-none\n");
}

#[tokio::test]
async fn a_secret_reaches_environment_and_stdin_but_no_output() {
    let shop = Workshop::new().secret("token", "hf_sesame");
    let program = shell("test $T = hf_sesame && test $(cat) = hf_sesame && printf 'hf_ses%s\n' ame && echo $T >&2")
        .env("T", marker("token"))
        .stdin(marker("token"))
        .capture(true);
    let finished = program.run(&shop.context()).await.unwrap();
    assert_eq!((finished.stdout.as_str(), finished.stderr_tail.as_str()), ("[redacted]\n", "[redacted]"));
    assert!(!format!("{:?}", shop.ears.log.lock().unwrap()).contains("sesame"));
}

#[tokio::test]
async fn a_secret_in_an_argument_is_refused() {
    let shop = Workshop::new().secret("token", "hf_sesame");
    let failure = Program::new("echo").args([marker("token")]).run(&shop.context()).await.unwrap_err();
    assert_eq!(failure.class, Class::Invalid);
    assert!(shop.ears.children.lock().unwrap().is_empty());
}

#[tokio::test]
async fn much_output_is_logged_whole_and_kept_in_part() {
    let shop = Workshop::new();
    let finished = shell("head -c 20000000 /dev/zero | tr '\\0' x").capture(true).run(&shop.context()).await.unwrap();
    assert_eq!(shop.ears.logged(Stream::Out).len(), 20_000_000);
    assert_eq!((finished.stdout.len(), finished.truncated, finished.stdout_tail.len()), (1 << 20, true, 64 << 10));
}

#[tokio::test]
async fn a_program_that_does_not_read_its_input_still_ends() {
    let shop = Workshop::new();
    shell("exec 0<&-; echo done").stdin("x".repeat(1 << 20)).run(&shop.context()).await.unwrap();
}

#[tokio::test]
async fn a_child_is_announced_before_it_is_waited_for() {
    let shop = Workshop::new();
    let finished = shell("echo $$").capture(true).run(&shop.context()).await.unwrap();
    let children = shop.ears.children.lock().unwrap();
    assert_eq!(children.len(), 1);
    assert_eq!((children[0].pid.to_string(), children[0].program.as_str()), (finished.stdout.trim().to_owned(), "sh"));
    assert!(children[0].started > 0);
}

fn by_group(child: &Child) -> Mark {
    Mark { groups: vec![child.clone()], ..Mark::default() }
}

fn still_running(child: &Child) -> bool {
    !marked(&[by_group(child)]).is_empty()
}

/// Runs a script, does something when it has said `ready`, and returns how it ended and whether its group still lives.
async fn interrupted(script: &str, stop: impl FnOnce(&Workshop)) -> (Failure, bool, Workshop) {
    let shop = Workshop::new();
    let cx = shop.context();
    let program = shell(&format!("{script} & {script}; wait"));
    let running = tokio::spawn(async move { program.run(&cx).await });
    shop.ears.hears(Stream::Out, "ready").await;
    stop(&shop);
    let failure = running.await.unwrap().unwrap_err();
    let child = shop.ears.children.lock().unwrap()[0].clone();
    (failure, still_running(&child), shop)
}

#[tokio::test]
async fn a_gentle_stop_ends_the_whole_group() {
    let (failure, alive, shop) =
        interrupted("sh -c 'echo ready; exec sleep 600'", |shop| shop.cancel.soft.cancel()).await;
    assert_eq!((failure.class, alive), (Class::Cancelled, false));
    assert!(shop.ears.logged(Stream::Note).contains("SIGTERM"));
}

#[tokio::test]
async fn a_hard_stop_kills_what_does_not_listen() {
    let deaf = "sh -c 'trap \"\" TERM; echo ready; while :; do sleep 600; done'";
    let (failure, alive, _) = interrupted(deaf, |shop| {
        shop.cancel.soft.cancel();
        shop.cancel.hard.cancel();
    })
    .await;
    assert_eq!((failure.class, alive), (Class::Cancelled, false));
}

#[tokio::test]
async fn a_stopped_step_starts_nothing() {
    let shop = Workshop::new();
    shop.cancel.soft.cancel();
    assert_eq!(shell("true").run(&shop.context()).await.unwrap_err().class, Class::Cancelled);
    assert!(shop.ears.children.lock().unwrap().is_empty());
}

#[tokio::test]
async fn dropping_the_wait_kills_the_group() {
    let shop = Workshop::new();
    let cx = shop.context();
    let running = tokio::spawn(async move { shell("sleep 600 & echo ready; sleep 600").run(&cx).await });
    shop.ears.hears(Stream::Out, "ready").await;
    let child = shop.ears.children.lock().unwrap()[0].clone();
    running.abort();
    let gone = async {
        while still_running(&child) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.expect("the group ends");
}

#[tokio::test]
async fn what_a_program_leaves_behind_is_ended() {
    let shop = Workshop::new();
    shell("sleep 600 & echo started").run(&shop.context()).await.unwrap();
    let child = shop.ears.children.lock().unwrap()[0].clone();
    assert!(!still_running(&child));
    let said = "in its process group, which was ended; `setsid` starts what is to live on";
    assert!(shop.ears.logged(Stream::Note).contains(said), "{}", shop.ears.logged(Stream::Note));
    assert!(shop.ears.progress.lock().unwrap().iter().any(|line| line.contains(said)));
}

#[tokio::test]
async fn what_is_stopped_hears_that_it_is_to_end() {
    let shop = Workshop::new();
    let cx = shop.context();
    let script = "trap 'echo told; exit 1' TERM; echo ready; kill -STOP $$; sleep 600";
    let running = tokio::spawn(async move { shell(script).run(&cx).await });
    shop.ears.hears(Stream::Out, "ready").await;
    let pid = shop.ears.children.lock().unwrap()[0].pid;
    while !std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") T ") {
        tokio::task::yield_now().await;
    }
    shop.cancel.soft.cancel();
    running.await.unwrap().unwrap_err();
    assert_eq!(shop.ears.logged(Stream::Out), "ready\ntold\n");
}

#[tokio::test]
async fn what_wants_a_terminal_is_told_of() {
    let shop = Workshop::new();
    let cx = shop.context();
    // What the kernel sends to what reads from a terminal in which it has no place.
    let running = tokio::spawn(async move { shell("kill -TTIN $$; sleep 600").run(&cx).await });
    let told = shop.ears.hears(Stream::Note, "`sh` waits for a terminal, which steps do not have");
    tokio::time::timeout(Duration::from_secs(60), told).await.expect("it is said");
    assert!(shop.ears.progress.lock().unwrap().iter().any(|line| line.contains("through `env` or `stdin`")));
    shop.cancel.soft.cancel();
    assert_eq!(running.await.unwrap().unwrap_err().class, Class::Cancelled);
}

#[tokio::test]
async fn a_path_that_is_no_program_says_what_it_is() {
    let shop = Workshop::new();
    shop.write("plan/x.sh", "#!/bin/sh\n");
    let run = async |name: &str| Program::new(name).run(&shop.context()).await.unwrap_err();
    let plain = run("./x.sh").await;
    assert_eq!((plain.class, plain.what.as_str()), (Class::Invalid, "the program `./x.sh` is not executable"));
    assert!(plain.fix.is_some_and(|fix| fix.starts_with("chmod +x /") && fix.ends_with("/plan/x.sh")));
    let missing = run("./y.sh").await;
    assert_eq!((missing.class, missing.what.as_str()), (Class::Invalid, "the program `./y.sh` was not found"));
    let (cause, fix) = (missing.cause.unwrap(), missing.fix.unwrap());
    assert!(cause.starts_with("there is no file `/") && !fix.contains("PATH"), "{cause}; {fix}");
    assert_eq!(run("../plan").await.what, "`../plan` is a folder, not a program");
}

#[tokio::test]
async fn a_survivor_that_holds_the_pipe_does_not_hold_us() {
    let shop = Workshop::new();
    let script =
        "setsid sh -c 'echo $$ > survivor; exec sleep 600' & while ! test -s survivor; do :; done; echo last words";
    let run = shell(script).capture(true);
    let finished =
        tokio::time::timeout(Duration::from_secs(60), run.run(&shop.context())).await.expect("returns").unwrap();
    assert_eq!(finished.stdout, "last words\n");
    let survivor = shop.read("plan/survivor");
    let kill = Program::new("kill").args(["-KILL", survivor.trim()]).run(&Workshop::new().context()).await;
    kill.expect("it was left alone");
}

#[tokio::test]
async fn an_orphaned_group_is_found_and_ended() {
    let shop = Workshop::new();
    let cx = shop.context();
    let running = tokio::spawn(async move { shell("sleep 600 & echo ready; sleep 600").run(&cx).await });
    shop.ears.hears(Stream::Out, "ready").await;
    let child = shop.ears.children.lock().unwrap()[0].clone();
    assert!(still_running(&child));
    let ended = end_marked(&[by_group(&child)], shop.clock).await;
    assert!(!ended.is_empty() && ended.iter().all(|orphan| orphan.gone), "{ended:?}");
    assert!(!still_running(&child));
    assert_eq!(running.await.unwrap().unwrap_err().class, Class::Permanent);
}

/// A mark that no other test has, of this or another test run on this machine.
fn own(name: &str) -> String {
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    format!("{}-{test}-{name}", std::process::id())
}

/// Starts a program that leaves the process group of its step, and waits until it has.
async fn with_a_deserter(shop: &Workshop) -> tokio::task::JoinHandle<Result<runbook_steps::tools::Finished, Failure>> {
    let cx = shop.context();
    let script = "setsid sh -c 'echo ready; exec sleep 600' & sleep 600";
    let running = tokio::spawn(async move { shell(script).run(&cx).await });
    shop.ears.hears(Stream::Out, "ready").await;
    running
}

#[tokio::test]
async fn what_has_left_the_group_is_found_by_its_mark() {
    let shop = Workshop::new().with_run(&own("a"));
    let running = with_a_deserter(&shop).await;
    let mark = Mark { run: own("a"), step: Some(shop.context().step.to_string()), ..Mark::default() };
    assert!(marked(&[Mark { step: Some("another".to_owned()), ..mark.clone() }]).is_empty());
    assert!(marked(&[Mark { run: own("b"), ..mark.clone() }]).is_empty());
    let ended = end_marked(std::slice::from_ref(&mark), shop.clock).await;
    assert!(!ended.is_empty() && ended.iter().all(|orphan| orphan.gone), "{ended:?}");
    assert!(marked(&[mark]).is_empty());
    running.await.unwrap().unwrap_err();
}

#[tokio::test]
async fn a_stop_ends_what_has_left_the_group_as_well() {
    let shop = Workshop::new().with_run(&own("a"));
    let running = with_a_deserter(&shop).await;
    shop.cancel.soft.cancel();
    assert_eq!(running.await.unwrap().unwrap_err().class, Class::Cancelled);
    assert!(marked(&[Mark { run: own("a"), ..Mark::default() }]).is_empty());
    assert!(shop.ears.logged(Stream::Note).contains("had left the process group; it was ended"));
}

/// Tells the step to stop when its program has ended, and nobody has heard of that yet.
struct TooLate(runbook_steps::Cancel);

impl runbook_steps::Observer for TooLate {
    fn progress(&self, _: runbook_steps::Progress) {}

    fn spawned(&self, child: runbook_steps::Child) {
        let zombie =
            || std::fs::read_to_string(format!("/proc/{}/stat", child.pid)).is_ok_and(|stat| stat.contains(") Z "));
        while !zombie() {
            std::thread::yield_now();
        }
        self.0.soft.cancel();
    }
}

#[tokio::test]
async fn what_had_ended_before_it_was_told_to_stop_was_not_stopped() {
    for (program, code) in [("true", Some(0)), ("false", None)] {
        let shop = Workshop::new();
        let mut cx = shop.context();
        cx.observer = std::sync::Arc::new(TooLate(cx.cancel.clone()));
        let ended = Program::new(program).run(&cx).await;
        match (ended, code) {
            (Ok(finished), Some(code)) => assert_eq!(finished.code, code),
            (Err(failure), None) => assert_eq!(failure.facts.exit_code, Some(1), "{failure}"),
            (ended, _) => panic!("`{program}` gave {ended:?}"),
        }
    }
}
