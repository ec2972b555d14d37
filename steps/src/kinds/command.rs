//! `command`: one program, by its argument list, without a shell.

use std::collections::BTreeMap;
use std::path::PathBuf;

use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::context::Context;
use crate::failure::Failure;
use crate::kind::{Effect, Kind, OutputDoc, Reach, ReadError, read_as, schema_of};
use crate::scalar::Scalar;
use crate::step::{Outputs, Standing, Step};
use crate::tools::{Finished, MOST_OUTPUT, OutputFile, Program};

/// The kind `command`.
pub(super) static KIND: Kind = Kind {
    name: "command",
    summary: "Runs a program with an argument list, without a shell",
    docs: DOCS,
    example: EXAMPLE,
    version: 1,
    effect: Effect::Changes(Reach::Anything),
    observes: false,
    idempotent: false,
    outputs: PROGRAM_OUTPUTS,
    open_outputs: true,
    schema: schema_of::<Command>,
    read,
};

/// What every program gives.
pub(super) const PROGRAM_OUTPUTS: &[OutputDoc] = &[
    OutputDoc {
        name: "stdout",
        about: "its standard output, trimmed (the last lines, where it is longer than 64 KiB)",
    },
    OutputDoc { name: "stderr", about: "the last lines of its standard error" },
    OutputDoc { name: "exit_code", about: "its exit code" },
];

const DOCS: &str = "\
Runs one program. The arguments reach it as they are: no shell expands anything.

`command: [PROGRAM, ARGUMENT…]`, with `env` and `dir` beside it, is short for `uses: command` with `argv`, `env` and `dir`. `stdin` needs
the long form.

- **observe**: cannot look.
- **after a crash** in the middle the step is `unknown` and waits for a person (`runbook settle`). It goes on by itself with
  `read_only: true` (it changes nothing), `idempotent: true` (a repeat does no harm: it sees for itself what is done already),
  or a `check` of the cluster, such as `check: [{ object: deployment/x, for: ready }]`: where that holds it is done, else it runs again.
- **perform**: runs the program in a process group of its own, in `dir` (default: the plan's folder). An exit code other than 0
  is a failure, classed by what was said last on standard error. What it leaves running in that group is ended with it; what is to live
  on must be started with `setsid`, and is ended all the same where the program fails.
- **undo**: nothing; give the step an `undo` of its own.
- **outputs**: `stdout`, `stderr`, `exit_code`, and each `NAME=value` line that the program writes to the file `$RUNBOOK_OUTPUT`
  (64 KiB at most).

Secrets go through `env` or `stdin`; in `argv` they are refused, because every user of the machine can read them there.
";

const EXAMPLE: &str = "\
versions:
  command: [kubectl, version, --client, -o, json]
  env: { LC_ALL: C }
  read_only: true
";

/// A program and what it gets.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Command {
    /// The program and its arguments.
    argv: Vec<Scalar>,
    /// Variables over the run's environment.
    #[serde(default)]
    env: BTreeMap<String, Scalar>,
    /// The folder to run in, relative to the plan.
    dir: Option<PathBuf>,
    /// What it can read from standard input.
    stdin: Option<Scalar>,
}

fn read(with: Value) -> Result<Box<dyn Step>, ReadError> {
    if with.get("argv").and_then(Value::as_array).is_some_and(Vec::is_empty) {
        return Err(ReadError {
            path: "argv".to_owned(),
            message: "expected a program, found an empty list".to_owned(),
        });
    }
    read_as::<Command>(with)
}

impl Command {
    fn program(&self) -> Program {
        let mut words = self.argv.iter().map(|word| word.0.clone());
        let program = Program::new(words.next().unwrap_or_default()).args(words);
        let program = program.envs(self.env.iter().map(|(name, value)| (name, value.0.clone())));
        let program = self.dir.iter().fold(program, Program::dir);
        self.stdin.iter().fold(program, |program, text| program.stdin(&*text.0))
    }
}

impl Step for Command {
    fn intent(&self) -> Vec<String> {
        vec![in_dir(self.dir.as_ref(), &self.program().command_line())]
    }

    fn observe<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Result<Standing, Failure>> {
        Box::pin(async { Ok(Standing::Unknown) })
    }

    fn perform<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Outputs, Failure>> {
        Box::pin(run_for_outputs(cx, self.program()))
    }

    fn undo<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async { not_undone(cx) })
    }

    fn programs(&self) -> Vec<String> {
        self.argv.first().map(|word| word.0.clone()).into_iter().collect()
    }

    fn files(&self) -> Vec<PathBuf> {
        let words = self.argv.iter().map(|word| word.0.as_str());
        super::scripts::local_script(self.dir.as_deref(), words).into_iter().collect()
    }
}

/// A command line with the folder that it is meant for.
pub(super) fn in_dir(dir: Option<&PathBuf>, line: &str) -> String {
    dir.map_or_else(|| line.to_owned(), |dir| format!("(cd {} && {line})", crate::tools::quote(&dir.to_string_lossy())))
}

/// Only the plan's author knows how to take back what a program did.
pub(super) fn not_undone(cx: &Context) -> Result<(), Failure> {
    cx.note("nothing undone: what a program did is not known; give the step an `undo` of its own");
    Ok(())
}

/// Runs a program and takes its outputs, those too that it writes to `$RUNBOOK_OUTPUT`.
pub(super) async fn run_for_outputs(cx: &Context, program: Program) -> Result<Outputs, Failure> {
    let mut file = OutputFile::new(&cx.state_dir);
    let program = program.env(OUTPUT_FILE, file.path().to_string_lossy());
    let finished = program.capture(true).run(cx).await?;
    let mut outputs = program_outputs(&finished);
    outputs.extend(written_outputs(&mut file, cx).map_err(|failure| after_success(failure, cx))?);
    Ok(outputs)
}

fn written_outputs(file: &mut OutputFile, cx: &Context) -> Result<Outputs, Failure> {
    let text = file.read().map_err(|error| Failure::invalid(format!("cannot read `${OUTPUT_FILE}`: {error}")))?;
    named_outputs(&text, cx)
}

/// What the program did is done: only what it says of it is of no use.
fn after_success(mut failure: Failure, cx: &Context) -> Failure {
    failure.what = format!("the program succeeded, but its outputs cannot be taken: {}", failure.what);
    let lines = || {
        format!(
            "write short `NAME=value` lines to `${OUTPUT_FILE}`; what is long belongs into a file of its own, named by an output"
        )
    };
    let way = failure.fix.take().unwrap_or_else(lines);
    failure.fix(format!(
        "{way}. The next run starts the program again: where that would do harm, have it look first whether its work is done, \
         or leave it out with `--skip {}`",
        cx.step
    ))
}

const OUTPUT_FILE: &str = "RUNBOOK_OUTPUT";

const HAND_ON: &str =
    "leave it out, and give the secret itself to the steps that need it: `${{ secrets.NAME }}` in their `env`";

fn program_outputs(finished: &Finished) -> Outputs {
    let whole = finished.stdout.trim();
    let stdout = if finished.truncated || whole.len() > MOST_OUTPUT { finished.stdout_tail.trim() } else { whole };
    let outputs = json!({ "stdout": stdout, "stderr": finished.stderr_tail.trim(), "exit_code": finished.code });
    outputs.as_object().cloned().unwrap_or_default()
}

/// Reads `NAME=value` lines. Outputs are journaled, so a secret among them is refused, not masked: a masked value would be wrong.
fn named_outputs(text: &str, cx: &Context) -> Result<Outputs, Failure> {
    let mut outputs = Outputs::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let parsed = line.split_once('=').filter(|(name, _)| is_name(name));
        let (name, value) = parsed
            .ok_or_else(|| Failure::invalid(format!("line {} of `${OUTPUT_FILE}` is not `NAME=value`", number + 1)))?;
        if PROGRAM_OUTPUTS.iter().any(|output| output.name == name) {
            let what = format!("the output `{name}` of `${OUTPUT_FILE}` is given already by every program");
            return Err(Failure::invalid(what).fix("give it another name"));
        }
        if cx.redactor.mask(value) != value {
            let what = format!("the output `{name}` holds a secret, and outputs are written to the journal");
            return Err(Failure::invalid(what).fix(HAND_ON));
        }
        outputs.insert(name.to_owned(), Value::from(value));
    }
    Ok(outputs)
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(with: Value) -> Command {
        serde_json::from_value(with).unwrap()
    }

    #[test]
    fn arguments_may_be_numbers() {
        let command = command(json!({ "argv": ["resize", "--num-nodes", 3] }));
        assert_eq!(command.intent(), ["resize --num-nodes 3"]);
    }

    #[test]
    fn the_folder_is_part_of_what_a_person_would_type() {
        let command = command(json!({ "argv": ["ls"], "dir": "my infra" }));
        assert_eq!(command.intent(), ["(cd 'my infra' && ls)"]);
    }

    #[test]
    fn an_empty_list_is_no_command() {
        assert_eq!(read(json!({ "argv": [] })).expect_err("empty").path, "argv");
    }

    #[test]
    fn long_output_is_cut_to_its_end() {
        let finished =
            Finished { stdout: "x\n".repeat(MOST_OUTPUT), stdout_tail: "x\nend\n".to_owned(), ..Finished::default() };
        assert_eq!(program_outputs(&finished)["stdout"], "x\nend");
    }

    #[test]
    fn names_are_as_in_a_shell() {
        assert!(is_name("gateway_ip2"));
        assert!(!is_name("2x") && !is_name("") && !is_name("a b"));
    }
}
