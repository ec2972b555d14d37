//! `make`: targets of a Makefile.

use std::collections::BTreeMap;
use std::path::PathBuf;

use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::command::{PROGRAM_OUTPUTS, in_dir, not_undone, run_for_outputs};
use crate::context::Context;
use crate::failure::Failure;
use crate::helm::Releases;
use crate::kind::{Effect, Kind, Reach, ReadError, schema_of};
use crate::scalar::Scalar;
use crate::step::{Outputs, Standing, Step};
use crate::tools::Program;

/// The kind `make`.
pub(super) static KIND: Kind = Kind {
    name: "make",
    summary: "Makes targets of a Makefile",
    docs: DOCS,
    example: EXAMPLE,
    version: 1,
    effect: Effect::Changes(Reach::Anything),
    observes: false,
    idempotent: false,
    outputs: PROGRAM_OUTPUTS,
    open_outputs: true,
    schema: schema_of::<Make>,
    read,
};

const DOCS: &str = "\
Runs GNU make in a folder.

- **observe**: cannot look: a Makefile's phony targets say nothing about the world.
- **after a crash** in the middle the step is `unknown` and waits for a person (`runbook settle`). It goes on by itself with
  `read_only: true` (it changes nothing), `idempotent: true` (a repeat does no harm: what is made already stays as it is),
  or a `check` of the cluster, such as `check: [{ object: deployment/x, for: ready }]`: where that holds it is done, else it runs again.
- **perform**: `make --no-print-directory [-j N] TARGET… NAME=VALUE…` in `dir`. Flags of an outer make are not inherited. Where its recipes
  install `releases` with helm, a revision that a killed helm left pending is first rolled back, or uninstalled where none came up before.
- **undo**: nothing; give the step an `undo` of its own.
- **outputs**: `stdout`, `stderr`, `exit_code`, and each `NAME=value` line that a recipe writes to the file `$RUNBOOK_OUTPUT`
  (64 KiB at most).

Secrets go through `env`; in `variables` they are refused, because every user of the machine can read arguments.
";

const EXAMPLE: &str = "\
cert_manager:
  uses: make
  with:
    dir: \"${{ steps.infra_repo.outputs.dir }}\"
    target: deploy-cert-manager
    releases: [{ release: cert-manager-operator, namespace: cert-manager-operator }]
";

/// How an outer make would reach into ours.
const INHERITED: [&str; 5] = ["MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "GNUMAKEFLAGS"];

/// Targets of a Makefile.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Make {
    /// The folder with the Makefile, relative to the plan.
    dir: PathBuf,
    /// One target.
    target: Option<String>,
    /// Several targets, made in this order.
    #[serde(default)]
    targets: Vec<String>,
    /// Variables on make's command line: these win over those of the Makefile.
    #[serde(default)]
    variables: BTreeMap<String, Scalar>,
    /// How many recipes may run at once; 1 where not given.
    jobs: Option<u16>,
    /// The releases that its recipes install with helm: what a killed helm left of one is taken back first.
    #[serde(default)]
    releases: Releases,
    /// Variables over the run's environment.
    #[serde(default)]
    env: BTreeMap<String, Scalar>,
}

fn read(with: Value) -> Result<Box<dyn Step>, ReadError> {
    let make: Make = crate::kind::read_with(with)?;
    make.verify()?;
    Ok(Box::new(make))
}

impl Make {
    fn verify(&self) -> Result<(), ReadError> {
        let wrong = |path: &str, message: String| Err(ReadError { path: path.to_owned(), message });
        if self.target.is_some() && !self.targets.is_empty() {
            return wrong("targets", "give `target` or `targets`, not both".to_owned());
        }
        if let Some(target) =
            self.all_targets().find(|target| target.is_empty() || target.starts_with('-') || target.contains('='))
        {
            return wrong("target", format!("`{target}` is not a target: make would take it for a flag or a variable"));
        }
        match self
            .variables
            .keys()
            .find(|name| name.is_empty() || name.contains(|c: char| c.is_whitespace() || "=:#-".contains(c)))
        {
            Some(name) => wrong("variables", format!("`{name}` is not the name of a variable")),
            None => Ok(()),
        }
    }

    fn all_targets(&self) -> impl Iterator<Item = &String> {
        self.target.iter().chain(&self.targets)
    }

    fn program(&self) -> Program {
        let mut title = vec!["make"];
        title.extend(self.all_targets().map(String::as_str));
        let program = Program::new("make").called(title.join(" ")).dir(&self.dir).args(["--no-print-directory"]);
        let program = program.args(self.jobs.map(|jobs| format!("-j{jobs}")));
        let program = program
            .args(self.all_targets())
            .args(self.variables.iter().map(|(name, value)| format!("{name}={}", value.0)));
        let program = INHERITED.iter().fold(program, |program, name| program.without_env(*name));
        program.envs(self.env.iter().map(|(name, value)| (name, value.0.clone())))
    }
}

impl Step for Make {
    fn intent(&self) -> Vec<String> {
        vec![in_dir(Some(&self.dir), &self.program().command_line())]
    }

    fn observe<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Result<Standing, Failure>> {
        Box::pin(async { Ok(Standing::Unknown) })
    }

    fn perform<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Outputs, Failure>> {
        Box::pin(async {
            self.releases.heal(cx).await?;
            run_for_outputs(cx, self.program()).await
        })
    }

    fn undo<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async { not_undone(cx) })
    }

    fn programs(&self) -> Vec<String> {
        std::iter::once("make".to_owned()).chain(self.releases.programs()).collect()
    }

    fn files(&self) -> Vec<PathBuf> {
        super::scripts::makefile(&self.dir).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn problem(with: Value) -> String {
        read(with).expect_err("wrong").message
    }

    #[test]
    fn targets_come_before_variables() {
        let make: Make = serde_json::from_value(json!({
            "dir": "infra", "targets": ["a", "b"], "jobs": 2, "variables": { "NS": "x y", "N": 3 },
        }))
        .unwrap();
        assert_eq!(make.program().command_line(), "make --no-print-directory -j2 a b N=3 'NS=x y'");
    }

    #[test]
    fn a_flag_is_not_a_target() {
        assert!(problem(json!({ "dir": ".", "target": "-k" })).contains("flag"));
        assert!(problem(json!({ "dir": ".", "target": "A=b" })).contains("variable"));
    }

    #[test]
    fn one_target_or_several_but_not_both() {
        assert_eq!(
            problem(json!({ "dir": ".", "target": "a", "targets": ["b"] })),
            "give `target` or `targets`, not both"
        );
    }

    #[test]
    fn a_variable_needs_a_name() {
        assert_eq!(problem(json!({ "dir": ".", "variables": { "A B": 1 } })), "`A B` is not the name of a variable");
    }
}
