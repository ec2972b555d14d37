//! `run`: a shell script.

use std::collections::BTreeMap;
use std::path::PathBuf;

use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;

use super::command::{PROGRAM_OUTPUTS, in_dir, not_undone, run_for_outputs};
use crate::context::Context;
use crate::failure::Failure;
use crate::helm::Releases;
use crate::kind::{Effect, Kind, Reach, read_as, schema_of};
use crate::scalar::Scalar;
use crate::step::{Outputs, Standing, Step};
use crate::tools::{Program, shorten};

/// The kind `run`.
pub(super) static KIND: Kind = Kind {
    name: "run",
    summary: "Runs a shell script",
    docs: DOCS,
    example: EXAMPLE,
    version: 1,
    effect: Effect::Changes(Reach::Anything),
    observes: false,
    idempotent: false,
    outputs: PROGRAM_OUTPUTS,
    open_outputs: true,
    schema: schema_of::<Run>,
    read: read_as::<Run>,
};

const DOCS: &str = "\
Runs a script with `bash -euo pipefail` (`sh -eu` where there is no bash, or where `shell: sh` asks for it). Another interpreter
is a list: `shell: [python3, -c]`.

`run: SCRIPT`, with `env` and `dir` beside it, is short for `uses: run` with `script`, `env` and `dir`. `shell` and `releases` need the
long form.

Values reach the script through `env`, never by `${{ }}` inside it: a value with a quote or a `$(…)` in it would become code.

- **observe**: cannot look.
- **after a crash** in the middle the step is `unknown` and waits for a person (`runbook settle`). It goes on by itself with
  `read_only: true` (it changes nothing), `idempotent: true` (a repeat does no harm: the script sees for itself what is done already),
  or a `check` of the cluster, such as `check: [{ object: deployment/x, for: ready }]`: where that holds it is done, else it runs again.
- **perform**: runs the script in a process group of its own, in `dir` (default: the plan's folder). Where it installs `releases` with helm,
  a revision that a killed helm left pending is first rolled back, or uninstalled where none came up before. What the script leaves
  running in that group (`… &`) is ended with it; what is to live on must be started with `setsid`, and is ended all the same where the
  script fails.
- **undo**: nothing; give the step an `undo` of its own.
- **outputs**: `stdout`, `stderr`, `exit_code`, and each `NAME=value` line that the script writes to the file `$RUNBOOK_OUTPUT`
  (64 KiB at most).
";

const EXAMPLE: &str = "\
newest:
  run: |
    version=$(git ls-remote --tags \"$REPO\" | tail -n 1 | cut -f 1)
    echo \"version=$version\" >> \"$RUNBOOK_OUTPUT\"
  env: { REPO: \"${{ inputs.repo }}\" }
  read_only: true
";

/// The kernel refuses an argument of 128 KiB.
const LONGEST: usize = 100 << 10;

/// A script and what it gets.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Run {
    /// The script.
    script: String,
    /// What runs it; `bash` where there is one.
    shell: Option<Shell>,
    /// Variables over the run's environment.
    #[serde(default)]
    env: BTreeMap<String, Scalar>,
    /// The folder to run in, relative to the plan.
    dir: Option<PathBuf>,
    /// The releases that it installs with helm: what a killed helm left of one is taken back first.
    #[serde(default)]
    releases: Releases,
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected `bash`, `sh` or a list such as [python3, -c]")]
enum Shell {
    Named(Name),
    /// A program and the arguments that stand before the script.
    Command(Vec<String>),
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Name {
    Bash,
    Sh,
}

impl Shell {
    fn words(&self) -> Vec<String> {
        let words: &[&str] = match self {
            Shell::Named(Name::Bash) => &["bash", "-euo", "pipefail", "-c"],
            Shell::Named(Name::Sh) => &["sh", "-eu", "-c"],
            Shell::Command(words) => return words.clone(),
        };
        words.iter().map(|word| (*word).to_owned()).collect()
    }
}

impl Run {
    fn program(&self, shell: &Shell) -> Program {
        let mut words = shell.words().into_iter();
        let program = Program::new(words.next().unwrap_or_default()).args(words).args([&self.script]);
        let program = program.called(self.title()).envs(self.env.iter().map(|(name, value)| (name, value.0.clone())));
        self.dir.iter().fold(program, Program::dir)
    }

    /// What messages call it: the one command that it is, or just a script.
    fn title(&self) -> String {
        self.only_command().map_or_else(|| "script".to_owned(), |only| shorten(only, 60))
    }

    fn only_command(&self) -> Option<&str> {
        let mut lines = self.script.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.next().filter(|_| lines.next().is_none())
    }
}

impl Step for Run {
    fn intent(&self) -> Vec<String> {
        vec![in_dir(self.dir.as_ref(), self.script.trim_end())]
    }

    fn observe<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Result<Standing, Failure>> {
        Box::pin(async { Ok(Standing::Unknown) })
    }

    fn perform<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Outputs, Failure>> {
        Box::pin(async {
            if self.script.len() > LONGEST {
                let what =
                    format!("the script is {} KiB long; {} KiB is the most", self.script.len() >> 10, LONGEST >> 10);
                return Err(Failure::invalid(what).fix("put it into a file beside the plan and call that"));
            }
            self.releases.heal(cx).await?;
            let usual = if cx.world.find_program("bash").is_some() { Name::Bash } else { Name::Sh };
            let shell = self.shell.clone().unwrap_or(Shell::Named(usual));
            run_for_outputs(cx, self.program(&shell)).await
        })
    }

    fn undo<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async { not_undone(cx) })
    }

    fn programs(&self) -> Vec<String> {
        let shell = self.shell.as_ref().and_then(|shell| shell.words().into_iter().next());
        shell.into_iter().chain(self.releases.programs()).collect()
    }

    fn files(&self) -> Vec<PathBuf> {
        let shell = !matches!(self.shell, Some(Shell::Command(_)));
        let line = self.only_command().filter(|_| shell);
        line.and_then(|line| super::scripts::script_of_line(self.dir.as_deref(), line)).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(with: serde_json::Value) -> Run {
        serde_json::from_value(with).unwrap()
    }

    #[test]
    fn bash_stops_at_the_first_error() {
        let run = run(json!({ "script": "make all" }));
        assert_eq!(run.program(&Shell::Named(Name::Bash)).command_line(), "bash -euo pipefail -c 'make all'");
    }

    #[test]
    fn another_interpreter_is_a_list() {
        let run = run(json!({ "script": "print(1)", "shell": ["python3", "-c"] }));
        assert_eq!(run.programs(), ["python3"]);
    }

    #[test]
    fn an_unknown_shell_says_what_there_is() {
        let error = read_as::<Run>(json!({ "script": "x", "shell": "fish" })).expect_err("fish");
        assert!(error.message.contains("`bash`, `sh` or a list"), "{}", error.message);
    }

    #[test]
    fn a_script_is_called_by_its_only_command_or_just_a_script() {
        assert_eq!(run(json!({ "script": "# why\n\nhelm list\n" })).title(), "helm list");
        assert_eq!(run(json!({ "script": "helm list\nmake\n" })).title(), "script");
    }
}
