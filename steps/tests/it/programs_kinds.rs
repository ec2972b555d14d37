//! The kinds that run programs of the machine: `run`, `command`, `make`, `manual`, `git.clone`.

use runbook_steps::secret::marker;
use runbook_steps::tools::Program;
use runbook_steps::{Class, Failure, Outputs, Standing};
use serde_json::Value;

use crate::workshop::{Workshop, apply, refusal, step};

async fn perform(shop: &Workshop, kind: &str, with: &str) -> Result<Outputs, Failure> {
    step(kind, with).perform(&shop.context()).await
}

#[tokio::test]
async fn a_script_gives_outputs() {
    let shop = Workshop::new();
    let with = "{ script: 'echo hello; echo \"ip=$IP\" >> \"$RUNBOOK_OUTPUT\"', env: { IP: 10.0.0.1 } }";
    let outputs = perform(&shop, "run", with).await.unwrap();
    assert_eq!(
        Value::from(outputs),
        serde_json::json!({ "stdout": "hello", "stderr": "", "exit_code": 0, "ip": "10.0.0.1" })
    );
}

/// What a failure says first of a program that has done its work.
const DONE: &str = "the program succeeded, but its outputs cannot be taken: ";

#[tokio::test]
async fn outputs_that_cannot_be_read_do_not_hide_that_the_program_succeeded() {
    let shop = Workshop::new();
    for (way, why) in
        [("mkdir", "Is a directory (os error 21)"), ("mkfifo", "it is a named pipe, and a step reads only files")]
    {
        let with = format!("{{ script: '{way} \"$RUNBOOK_OUTPUT\"' }}");
        let failure = perform(&shop, "run", &with).await.unwrap_err();
        assert_eq!(failure.what, format!("{DONE}cannot read `$RUNBOOK_OUTPUT`: {why}"));
        let fix = failure.fix.unwrap();
        assert!(fix.contains("starts the program again") && fix.contains("`--skip "), "{fix}");
        assert_eq!(std::fs::read_dir(shop.path("state")).unwrap().count(), 0, "what {way} made there is gone");
    }
}

#[tokio::test]
async fn a_script_stops_at_the_first_failure() {
    let shop = Workshop::new();
    let failure = perform(&shop, "run", "{ script: \"false | true\\necho never\" }").await.unwrap_err();
    assert_eq!(failure.what, "`script` failed with exit code 1");
}

#[tokio::test]
async fn a_machine_without_bash_uses_sh() {
    let mut shop = Workshop::new();
    let sh = std::fs::canonicalize("/bin/sh").unwrap();
    std::os::unix::fs::symlink(sh, shop.path("bin/sh")).unwrap();
    shop.env.insert("PATH".to_owned(), shop.path("bin").display().to_string());
    let outputs = perform(&shop, "run", "{ script: 'echo ${BASH_VERSION:-plain}' }").await.unwrap();
    assert_eq!(outputs["stdout"], "plain");
}

#[tokio::test]
async fn a_secret_is_not_an_output() {
    let shop = Workshop::new().secret("token", "hf_sesame");
    let with = format!("{{ script: 'echo \"t=$T\" >> \"$RUNBOOK_OUTPUT\"', env: {{ T: {} }} }}", marker("token"));
    let failure = perform(&shop, "run", &with).await.unwrap_err();
    assert_eq!(failure.what, format!("{DONE}the output `t` holds a secret, and outputs are written to the journal"));
    let fix = failure.fix.unwrap();
    assert!(fix.contains("`${{ secrets.NAME }}` in their `env`. The next run starts the program again"), "{fix}");
    assert!(!fix.contains("short"), "its length does not matter: {fix}");
}

#[tokio::test]
async fn what_every_program_gives_needs_no_other_of_that_name() {
    let shop = Workshop::new();
    let failure = perform(&shop, "run", "{ script: 'echo stdout=1 > $RUNBOOK_OUTPUT' }").await.unwrap_err();
    assert_eq!(
        failure.what,
        format!("{DONE}the output `stdout` of `$RUNBOOK_OUTPUT` is given already by every program")
    );
    assert!(failure.fix.unwrap().starts_with("give it another name. The next run"));
}

#[tokio::test]
async fn what_is_no_output_is_named_by_its_line() {
    let shop = Workshop::new();
    let failure = perform(&shop, "run", "{ script: 'printf \"a=1\\nfoo\\n\" > $RUNBOOK_OUTPUT' }").await.unwrap_err();
    assert_eq!(failure.what, format!("{DONE}line 2 of `$RUNBOOK_OUTPUT` is not `NAME=value`"));
}

#[tokio::test]
async fn so_many_outputs_are_refused_before_they_are_read() {
    let shop = Workshop::new();
    let script = |size: u32| format!("{{ script: 'printf \"a=%0{size}d\" 7 > $RUNBOOK_OUTPUT' }}");
    let outputs = perform(&shop, "run", &script(65_534)).await.unwrap();
    assert_eq!(outputs["a"].as_str().map(str::len), Some(65_534));
    let failure = perform(&shop, "run", &script(65_535)).await.unwrap_err();
    assert_eq!(failure.what, format!("{DONE}cannot read `$RUNBOOK_OUTPUT`: it holds more than 64 KiB"));
}

#[tokio::test]
async fn a_command_has_no_shell() {
    let shop = Workshop::new();
    let outputs = perform(&shop, "command", "{ argv: [echo, '$HOME; ls'] }").await.unwrap();
    assert_eq!(outputs["stdout"], "$HOME; ls");
}

#[tokio::test]
async fn a_command_of_the_plans_own_is_found_beside_it() {
    let shop = Workshop::new();
    shop.program("tool", "echo mine");
    std::fs::rename(shop.path("bin/tool"), shop.plan("tool.sh")).unwrap();
    assert_eq!(perform(&shop, "command", "{ argv: [./tool.sh] }").await.unwrap()["stdout"], "mine");
}

const MAKEFILE: &str =
    "deploy:\n\t@echo \"in $(NS) as $$WHO level $(MAKELEVEL)\"\nbroken:\n\t@echo 'Error: no chart' >&2; exit 3\n";

#[tokio::test]
async fn make_gets_variables_and_environment() {
    let mut shop = Workshop::new();
    shop.write("plan/infra/Makefile", MAKEFILE);
    shop.env.insert("MAKELEVEL".to_owned(), "3".to_owned());
    shop.env.insert("MAKEFLAGS".to_owned(), "n".to_owned());
    let with = "{ dir: infra, target: deploy, variables: { NS: models }, env: { WHO: me } }";
    assert_eq!(perform(&shop, "make", with).await.unwrap()["stdout"], "in models as me level 0");
}

#[tokio::test]
async fn a_broken_target_says_why() {
    let shop = Workshop::new();
    shop.write("plan/infra/Makefile", MAKEFILE);
    let failure = perform(&shop, "make", "{ dir: infra, target: broken }").await.unwrap_err();
    assert_eq!(failure.what, "`make broken` failed with exit code 2: Error: no chart");
}

#[tokio::test]
async fn a_missing_target_is_invalid() {
    let shop = Workshop::new();
    shop.write("plan/infra/Makefile", MAKEFILE);
    let failure = perform(&shop, "make", "{ dir: infra, target: nope }").await.unwrap_err();
    assert_eq!(failure.class, Class::Invalid);
    assert!(failure.what.contains("No rule to make target 'nope'"), "{failure}");
}

#[tokio::test]
async fn a_person_is_asked_with_the_steps_name() {
    let failure = perform(&Workshop::new(), "manual", "{ ask: Ask for chips }").await.unwrap_err();
    assert_eq!(failure.fix.unwrap(), "do that, then continue with `--answer the_step.done=true`");
}

#[test]
fn unknown_keys_are_refused() {
    assert!(refusal("make", "{ dir: ., tarket: x }").contains("unknown field `tarket`"));
}

/// A repository with the tag `v1`, a commit after it, and the branch `main`.
async fn repository(shop: &Workshop) -> (String, String) {
    let script = "git init -q -b main ../origin && cd ../origin
git config user.email a@example.org; git config user.name A; git config uploadpack.allowAnySHA1InWant true
echo one > file; git add file; git commit -qm one; git tag -a v1 -m v1; git rev-parse HEAD
echo two > file; git commit -qam two; git rev-parse HEAD";
    let script = Program::new("sh").args(["-euc", script]).capture(true);
    let commits = script.run(&shop.context()).await.unwrap().stdout;
    let (first, second) = commits.trim().split_once('\n').unwrap();
    (first.to_owned(), second.to_owned())
}

fn clone(shop: &Workshop, name: &str) -> Box<dyn runbook_steps::Step> {
    step("git.clone", &format!("{{ repo: 'file://{}', ref: '{name}', dir: infra }}", shop.path("origin").display()))
}

async fn git(shop: &Workshop, args: &[&str]) -> String {
    let program = Program::new("git").args(["-C", "infra"]).args(args.iter().copied()).capture(true);
    program.run(&shop.context()).await.unwrap().stdout.trim().to_owned()
}

#[tokio::test]
async fn a_clone_is_made_once_and_moved_when_the_pin_moves() {
    let shop = Workshop::new();
    let (first, second) = repository(&shop).await;
    let (changed, outputs) = apply(&*clone(&shop, "v1"), &shop.context()).await.unwrap();
    assert_eq!((changed, outputs["commit"].as_str()), (true, Some(first.as_str())));
    assert_eq!(outputs["dir"].as_str().unwrap(), shop.plan("infra").to_str().unwrap());
    assert!(!apply(&*clone(&shop, "v1"), &shop.context()).await.unwrap().0);
    assert!(apply(&*clone(&shop, &second), &shop.context()).await.unwrap().0);
    assert_eq!(shop.read("plan/infra/file"), "two\n");
    assert_eq!(git(&shop, &["rev-list", "--count", "HEAD"]).await, "1");
}

#[tokio::test]
async fn a_branch_needs_permission_to_move() {
    let shop = Workshop::new();
    let (_, second) = repository(&shop).await;
    let failure = apply(&*clone(&shop, "main"), &shop.context()).await.unwrap_err();
    assert_eq!(failure.class, Class::Invalid);
    assert!(failure.fix.unwrap().contains(&second));
    let with = format!("{{ repo: 'file://{}', ref: main, pin: false, dir: infra }}", shop.path("origin").display());
    assert_eq!(apply(&*step("git.clone", &with), &shop.context()).await.unwrap().1["commit"], second.as_str());
    assert!(!apply(&*step("git.clone", &with), &shop.context()).await.unwrap().0);
}

#[tokio::test]
async fn local_changes_are_listed_and_kept() {
    let shop = Workshop::new();
    repository(&shop).await;
    apply(&*clone(&shop, "v1"), &shop.context()).await.unwrap();
    shop.write("plan/infra/file", "mine\n");
    let failure = clone(&shop, "v1").observe(&shop.context()).await.unwrap_err();
    assert_eq!((failure.class, failure.detail.trim()), (Class::Invalid, "M file"));
    assert_eq!(clone(&shop, "v1").undo(&shop.context()).await.unwrap_err().class, Class::Invalid);
    assert_eq!(shop.read("plan/infra/file"), "mine\n");
}

#[tokio::test]
async fn a_half_clone_is_thrown_away() {
    let shop = Workshop::new();
    repository(&shop).await;
    shop.write("plan/.infra.partial/.git/HEAD", "half");
    let standing = clone(&shop, "v1").observe(&shop.context()).await.unwrap();
    assert!(matches!(standing, Standing::Lacks(_)));
    apply(&*clone(&shop, "v1"), &shop.context()).await.unwrap();
    assert!(!shop.plan(".infra.partial").exists());
    assert_eq!(shop.read("plan/infra/file"), "one\n");
}

#[tokio::test]
async fn a_foreign_folder_is_not_touched() {
    let shop = Workshop::new();
    repository(&shop).await;
    shop.write("plan/infra/notes", "mine");
    let failure = apply(&*clone(&shop, "v1"), &shop.context()).await.unwrap_err();
    assert!(failure.what.contains("is not a Git clone"), "{failure}");
    assert_eq!(shop.read("plan/infra/notes"), "mine");
}

#[tokio::test]
async fn a_missing_tag_is_not_found() {
    let shop = Workshop::new();
    repository(&shop).await;
    assert_eq!(apply(&*clone(&shop, "v9"), &shop.context()).await.unwrap_err().class, Class::NotFound);
}

#[tokio::test]
async fn undo_removes_what_was_made_and_is_fine_twice() {
    let shop = Workshop::new();
    repository(&shop).await;
    apply(&*clone(&shop, "v1"), &shop.context()).await.unwrap();
    clone(&shop, "v1").undo(&shop.context()).await.unwrap();
    assert!(!shop.plan("infra").exists());
    clone(&shop, "v1").undo(&shop.context()).await.unwrap();
}

#[tokio::test]
async fn undo_leaves_a_clone_of_somebody_else() {
    let shop = Workshop::new();
    repository(&shop).await;
    let origin = format!("file://{}", shop.path("origin").display());
    Program::new("git").args(["clone", "-q", &origin, "infra"]).run(&shop.context()).await.unwrap();
    clone(&shop, "v1").undo(&shop.context()).await.unwrap();
    assert!(shop.plan("infra").exists());
}
