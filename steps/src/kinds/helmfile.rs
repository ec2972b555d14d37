//! `helmfile`: the releases of a state file, or those of them that a selector chooses.

mod said;

use std::collections::BTreeMap;
use std::path::PathBuf;

use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tempfile::NamedTempFile;

use self::said::{Listed, explain, first_change, listed};
use super::vanished::within_cluster;
use crate::context::Context;
use crate::failure::Failure;
use crate::helm::{self, Book, Healing, Values};
use crate::kind::{Effect, Kind, OutputDoc, Reach, ReadError, read_with, schema_of};
use crate::scalar::Scalar;
use crate::span::Span;
use crate::step::{Outputs, Standing, Step};
use crate::tools::{Program, absolute, install_hint, scratch};

/// The kind `helmfile`.
pub(super) static KIND: Kind = Kind {
    name: "helmfile",
    summary: "Applies the releases of a helmfile",
    docs: DOCS,
    example: EXAMPLE,
    version: 1,
    effect: Effect::Changes(Reach::Anything),
    observes: true,
    idempotent: true,
    outputs: &[OutputDoc {
        name: "releases",
        about: "the releases that were chosen: a list of `name`, `namespace`, `revision`, `status`, `chart`",
    }],
    open_outputs: false,
    schema: schema_of::<Helmfile>,
    read,
};

const DOCS: &str = "\
`helmfile apply` for all releases of a state file, or for those that `selectors` choose. Repositories, indexes and the helmfile cache are
the step's and the deployment's own, so that steps can run side by side.

- **observe**: `helmfile diff --detailed-exitcode`: holds where it finds no change.
- **perform**: puts right what a killed helm left (`helm.release` says how), then applies.
- **undo**: `helmfile destroy` of the releases that were chosen, but not of those that were there before.
- **failures**: the helm plugin `diff`, without which helmfile cannot look, is missing: `invalid`; what helm says: as `helm.release`.

`state_values` go into a file that only the user may read, and that is gone when helmfile has ended; secrets may stand in them.
";

const EXAMPLE: &str = "\
operators:
  uses: helmfile
  with:
    file: infra/helmfile.yaml.gotmpl
    selectors: [name=cert-manager-operator]
  timeout: 15m
";

/// A state file and what is chosen of it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Helmfile {
    /// The state file, relative to the plan.
    file: PathBuf,
    /// Which releases: a release that one of these chooses is chosen; none chooses all.
    #[serde(default)]
    selectors: Vec<String>,
    /// The environment of the state file.
    environment: Option<String>,
    /// The namespace of releases that name none.
    namespace: Option<String>,
    /// State values, over those of the files.
    #[serde(default)]
    state_values: Map<String, Value>,
    /// Files of state values, relative to the plan.
    #[serde(default)]
    state_value_files: Vec<PathBuf>,
    /// Variables over the run's environment. Secrets may stand here.
    #[serde(default)]
    env: BTreeMap<String, Scalar>,
    /// Whether releases that are not there yet are installed without looking at what that changes: for charts that bring the kinds that
    /// they use.
    #[serde(default)]
    skip_diff_on_install: bool,
    /// For how long a pending revision of somebody else counts as being worked on; 15m where not given.
    #[serde(default = "helm::patience")]
    stuck_after: Span,
    /// More arguments for `helmfile apply` and `diff`.
    #[serde(default)]
    extra_args: Vec<String>,
    /// Only for taking back: releases that were there before.
    #[serde(default)]
    keep: Vec<String>,
}

fn read(with: Value) -> Result<Box<dyn Step>, ReadError> {
    let helmfile: Helmfile = read_with(with)?;
    if helmfile.selectors.iter().any(|it| !it.contains('=')) {
        let message = "a selector is `LABEL=VALUE`, or several with commas: `name=web,tier!=test`".to_owned();
        return Err(ReadError { path: "selectors".to_owned(), message });
    }
    Ok(Box::new(helmfile))
}

impl Helmfile {
    /// The arguments before the verb.
    fn place(&self, cx: Option<&Context>) -> Vec<String> {
        let file = cx.map_or_else(|| self.file.clone(), |cx| absolute(&cx.plan_path(&self.file)));
        let mut args = vec![format!("--file={}", file.display())];
        args.extend(self.environment.iter().map(|name| format!("--environment={name}")));
        args.extend(self.namespace.iter().map(|name| format!("--namespace={name}")));
        args.extend(self.chosen().into_iter().map(|selector| format!("--selector={selector}")));
        args
    }

    /// The selectors, without what must be kept.
    fn chosen(&self) -> Vec<String> {
        let kept: Vec<String> = self.keep.iter().map(|name| format!("name!={name}")).collect();
        match (self.selectors.is_empty(), kept.is_empty()) {
            (_, true) => self.selectors.clone(),
            (true, false) => vec![kept.join(",")],
            (false, false) => self.selectors.iter().map(|it| format!("{it},{}", kept.join(","))).collect(),
        }
    }

    /// `helmfile … VERB …`, with the state values in a file that lives as long as what is given back beside it.
    fn helmfile(&self, verb: &[&str], cx: &Context) -> Result<(Program, Option<NamedTempFile>), Failure> {
        let values = self.values_file(cx)?;
        let mut args = self.place(Some(cx));
        args.extend(self.state_value_files.iter().map(|file| values_flag(&cx.plan_path(file))));
        args.extend(values.iter().map(|file| values_flag(file.path())));
        args.extend(verb.iter().map(ToString::to_string));
        let cache = absolute(&cx.state_dir).join("helmfile").join(&*cx.step);
        let title = format!("helmfile {}", verb.first().copied().unwrap_or_default());
        let program = Program::new("helmfile").args(args).called(title);
        let program = program.env("HELMFILE_CACHE_HOME", cache.display().to_string());
        let variables = self.env.iter().map(|(name, value)| (name, value.0.clone()));
        Ok((helm::with_environment(cx, program).envs(variables), values))
    }

    fn values_file(&self, cx: &Context) -> Result<Option<NamedTempFile>, Failure> {
        if self.state_values.is_empty() {
            return Ok(None);
        }
        let values = Values::load(&[], &self.state_values, cx)?.revealed(cx)?;
        let file = scratch(cx)?;
        std::fs::write(file.path(), values.to_string())
            .map_err(|error| Failure::permanent(format!("cannot write the state values: {error}")))?;
        Ok(Some(file))
    }

    /// helmfile cannot tell what it would change without this plugin, and says so only when it is too late.
    async fn require_diff(&self, cx: &Context) -> Result<(), Failure> {
        let plugins = helm::helm(cx, ["plugin", "list"]).capture(true).quiet().run(cx).await?.stdout;
        if plugins.lines().any(|line| line.split_whitespace().next() == Some("diff")) {
            return Ok(());
        }
        Err(Failure::invalid("the helm plugin `diff` is missing")
            .cause("`helmfile apply` and `helmfile diff` cannot run without it")
            .fix(install_hint("helm-diff")))
    }

    async fn look(&self, cx: &Context) -> Result<Standing, Failure> {
        self.require_diff(cx).await?;
        let mut verb = vec!["diff", "--detailed-exitcode", "--suppress-secrets"];
        verb.extend(self.extra_args.iter().map(String::as_str));
        let (program, _values) = self.helmfile(&verb, cx)?;
        let found = program.capture(true).quiet().unchecked().run(cx).await?;
        match found.code {
            0 => Ok(Standing::Holds(self.outputs(cx).await?)),
            2 => Ok(Standing::Lacks(first_change(&found.stdout))),
            code => {
                let failure = said::failed(&found, code);
                // The kinds come with the charts that use them; applying meets it again if they do not.
                if failure.facts.stderr.contains("no matches for kind") {
                    return Ok(Standing::Lacks(
                        "what the releases make is of kinds that the cluster does not know yet".to_owned(),
                    ));
                }
                Err(failure)
            }
        }
    }

    /// The releases that are chosen.
    async fn releases(&self, cx: &Context) -> Result<Vec<Listed>, Failure> {
        let (program, _values) = self.helmfile(&["list", "--output", "json"], cx)?;
        let found = program.capture(true).quiet().run(cx).await.map_err(explain)?;
        Ok(listed(&found.json("helmfile list")?))
    }

    async fn books(&self, cx: &Context) -> Result<Vec<(Listed, Book)>, Failure> {
        let mut books = Vec::new();
        for release in self.releases(cx).await? {
            let book = helm::book(&release.name, &release.namespace, cx).await?;
            books.push((release, book));
        }
        Ok(books)
    }

    async fn outputs(&self, cx: &Context) -> Result<Outputs, Failure> {
        let books = self.books(cx).await?;
        let one = |(release, book): &(Listed, Book)| {
            let last = book.last()?;
            Some(json!({
                "name": release.name, "namespace": release.namespace, "revision": last.number, "status": last.status,
                "chart": last.chart,
            }))
        };
        let releases: Vec<Value> = books.iter().filter_map(one).collect();
        Ok(Outputs::from_iter([("releases".to_owned(), json!(releases))]))
    }

    async fn make(&self, cx: &Context) -> Result<Outputs, Failure> {
        self.require_diff(cx).await?;
        for release in self.releases(cx).await? {
            let healing = Healing {
                name: &release.name,
                namespace: &release.namespace,
                patience: self.stuck_after.0,
                timeout: self.stuck_after.0,
            };
            healing.heal(helm::left_behind, cx).await?;
        }
        let (program, _values) = self.helmfile(&self.applying(), cx)?;
        program.run(cx).await.map_err(explain)?;
        self.outputs(cx).await
    }

    fn applying(&self) -> Vec<&str> {
        let mut verb = vec!["apply", "--suppress-secrets"];
        verb.extend(self.skip_diff_on_install.then_some("--skip-diff-on-install"));
        verb.extend(self.extra_args.iter().map(String::as_str));
        verb
    }

    async fn unmake(&self, cx: &Context) -> Result<(), Failure> {
        let (program, _values) = self.helmfile(&["destroy"], cx)?;
        match program.run(cx).await.map_err(explain) {
            Err(failure) if !self.keep.is_empty() && said::chooses_nothing(&failure) => {
                cx.note("left alone: all these releases were there before");
                Ok(())
            }
            other => other.map(drop),
        }
    }

    /// The `with` of taking back, with the names of what was there before. Secrets are markers, for the state file may need them.
    async fn recipe(&self, cx: &Context) -> Result<Option<Value>, Failure> {
        let books = self.books(cx).await?;
        let there = books.into_iter().filter(|(_, book)| book.last().is_some_and(|last| !last.is_pending()));
        let keep: Vec<String> = there.map(|(release, _)| release.name).collect();
        let with = json!({
            "file": self.file, "selectors": self.selectors, "environment": self.environment, "namespace": self.namespace,
            "state_values": self.state_values, "state_value_files": self.state_value_files, "keep": keep,
            "env": self.env.iter().map(|(name, value)| (name.clone(), json!(value.0))).collect::<Map<String, Value>>(),
        });
        Ok(Some(with))
    }
}

fn values_flag(path: &std::path::Path) -> String {
    format!("--state-values-file={}", absolute(path).display())
}

impl Step for Helmfile {
    fn intent(&self) -> Vec<String> {
        let values = (!self.state_values.is_empty()).then(|| "--state-values-file=…".to_owned());
        let args = self.place(None).into_iter().chain(values).chain(self.applying().into_iter().map(ToOwned::to_owned));
        vec![Program::new("helmfile").args(args).command_line()]
    }

    fn observe<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Standing, Failure>> {
        Box::pin(self.look(cx))
    }

    fn perform<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Outputs, Failure>> {
        Box::pin(self.make(cx))
    }

    fn undo<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(within_cluster(cx, self.unmake(cx)))
    }

    fn undo_intent(&self) -> Vec<String> {
        vec![Program::new("helmfile").args(self.place(None)).args(["destroy"]).command_line()]
    }

    fn undo_with<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Option<Value>, Failure>> {
        Box::pin(self.recipe(cx))
    }

    fn programs(&self) -> Vec<String> {
        ["helmfile", "helm"].map(ToOwned::to_owned).into()
    }

    fn files(&self) -> Vec<PathBuf> {
        std::iter::once(&self.file).chain(&self.state_value_files).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_be_kept_is_left_out_of_every_selector() {
        let chosen = |with: &str| {
            let with: Value = serde_yaml::from_str(with).expect("YAML");
            read_with::<Helmfile>(with).expect("a good `with`").chosen()
        };
        assert_eq!(chosen("{ file: f }"), Vec::<String>::new());
        assert_eq!(chosen("{ file: f, keep: [a, b] }"), ["name!=a,name!=b"]);
        assert_eq!(chosen("{ file: f, selectors: [x=y, z=w], keep: [a] }"), ["x=y,name!=a", "z=w,name!=a"]);
    }
}
