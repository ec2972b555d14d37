//! `kustomize`: a kustomization, built by the program and applied by us.

use std::path::{Path, PathBuf};

use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::kubectl_apply::{Apply, OUTPUTS};
use super::vanished::within_cluster;
use crate::context::Context;
use crate::failure::{Class, Failure};
use crate::kind::{Effect, Kind, Reach, ReadError, read_with, schema_of};
use crate::manifest;
use crate::step::{Outputs, Standing, Step};
use crate::tools::{Program, install_hint, scratch};
use crate::version::Version;

/// The kind `kustomize`.
pub(super) static KIND: Kind = Kind {
    name: "kustomize",
    summary: "Builds a kustomization and applies what comes of it",
    docs: DOCS,
    example: EXAMPLE,
    version: 1,
    effect: Effect::Changes(Reach::ObjectsAndMore),
    observes: true,
    idempotent: true,
    outputs: OUTPUTS,
    open_outputs: false,
    schema: schema_of::<With>,
    read,
};

const DOCS: &str = "\
`kustomize build`, and then server-side apply as `kubectl.apply` does it: namespaces and definitions first, webhooks last, with strict
field validation.

- **observe**: builds, and asks the server what applying would change; holds where that is nothing.
- **perform**: builds and applies. What was not there before is marked with the annotation `runbook.dev/deployment`.
- **undo**: deletes what carries this deployment's mark, in the opposite order, by the names that were applied; nothing is built.
- **failures**: those of `kubectl.apply`; a kustomize that crashes, or is older than `min_version`, is `invalid`; a remote that cannot
  be reached is `transient`.

A remote needs a `ref`; a branch may build something else tomorrow, a commit or a tag does not. kustomize 5.5.0 to 5.7 crash on
`$patch: delete`.
";

const EXAMPLE: &str = "\
kserve:
  uses: kustomize
  with:
    url: https://github.com/opendatahub-io/kserve/config/overlays/odh-xks
    ref: release-v0.15   # a branch, but a retired one: it moves no more
    min_version: '5.8.0'
    force: true
";

/// A kustomization and how it is applied.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct With {
    /// The folder with the kustomization, relative to the plan.
    dir: Option<PathBuf>,
    /// The address of a folder in a Git repository, as kustomize takes it.
    url: Option<String>,
    /// The commit, tag or branch of `url`.
    r#ref: Option<String>,
    /// Folders outside `dir` that it builds on: a change in them is a change of this step.
    #[serde(default)]
    bases: Vec<PathBuf>,
    /// The lowest version of kustomize that will do, as text.
    min_version: Option<String>,
    /// Whether charts in the kustomization may be rendered with helm.
    #[serde(default)]
    enable_helm: bool,
    /// Whether it may read files outside its own folder.
    #[serde(default)]
    any_file: bool,
    /// The namespace of objects that name none; without it that of the kubeconfig.
    namespace: Option<String>,
    /// Whether to take over fields that belong to other managers.
    #[serde(default)]
    force: bool,
    /// Only for taking back: the names of what was applied, so that nothing has to be built then.
    #[serde(default)]
    applied: Vec<Map<String, Value>>,
}

fn read(with: Value) -> Result<Box<dyn Step>, ReadError> {
    let with: With = read_with(with)?;
    let wrong = |path: &str, message: String| Err(ReadError { path: path.to_owned(), message });
    let target = match (&with.dir, &with.url, &with.r#ref) {
        (Some(_), None, Some(_)) => return wrong("ref", "`ref` belongs to `url`".to_owned()),
        (Some(dir), None, None) => Target::Folder(dir.clone()),
        (None, Some(url), Some(_)) if url.contains("ref=") => {
            return wrong("ref", "`url` has a ref of its own".to_owned());
        }
        (None, Some(url), Some(name)) => {
            Target::Remote(format!("{url}{}ref={name}", if url.contains('?') { '&' } else { '?' }))
        }
        (None, Some(url), None) if url.contains("ref=") => Target::Remote(url.clone()),
        (None, Some(_), None) => {
            return wrong(
                "ref",
                "without a ref it may build something else tomorrow: name a commit or a tag".to_owned(),
            );
        }
        _ => return wrong("", "give either `dir` or `url`".to_owned()),
    };
    let least = match with.min_version.as_deref().map(|text| Version::parse(text).ok_or(text)) {
        Some(Err(text)) => return wrong("min_version", format!("`{text}` is not a version")),
        Some(Ok(version)) => Some(version),
        None => None,
    };
    Ok(Box::new(Kustomize { target, least, with }))
}

/// What kustomize calls the definition of a folder.
const KUSTOMIZATIONS: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

#[derive(Debug)]
enum Target {
    Folder(PathBuf),
    Remote(String),
}

impl Target {
    fn argument(&self, cx: Option<&Context>) -> String {
        match (self, cx) {
            (Target::Folder(dir), Some(cx)) => cx.plan_path(dir).display().to_string(),
            (Target::Folder(dir), None) => dir.display().to_string(),
            (Target::Remote(url), _) => url.clone(),
        }
    }
}

#[derive(Debug)]
struct Kustomize {
    target: Target,
    least: Option<Version>,
    with: With,
}

impl Kustomize {
    fn arguments(&self, cx: Option<&Context>) -> Vec<String> {
        let mut args = vec!["build".to_owned(), self.target.argument(cx)];
        args.extend(self.with.enable_helm.then(|| "--enable-helm".to_owned()));
        args.extend(self.with.any_file.then(|| "--load-restrictor=LoadRestrictionsNone".to_owned()));
        args
    }

    async fn build(&self, cx: &Context) -> Result<Apply, Failure> {
        self.check_version(cx).await?;
        self.no_odd_thing(cx)?;
        // Into a file: what comes of an overlay with definitions is larger than what is kept of an output.
        let file = scratch(cx)?;
        let path = file.path().to_owned();
        let args = self.arguments(Some(cx)).into_iter().chain(["--output".to_owned(), path.display().to_string()]);
        let title = format!("kustomize build {}", self.target.argument(None));
        Program::new("kustomize").args(args).called(title).run(cx).await.map_err(explain)?;
        let objects = manifest::Source { files: vec![path], ..manifest::Source::default() }.load(cx).await?;
        Ok(self.apply(objects))
    }

    /// Kustomize would wait until somebody writes to a pipe.
    fn no_odd_thing(&self, cx: &Context) -> Result<(), Failure> {
        for folder in self.with.dir.iter().chain(&self.with.bases) {
            for file in KUSTOMIZATIONS.map(|name| folder.join(name)) {
                crate::files::no_odd_thing(&cx.plan_path(&file))
                    .map_err(|error| Failure::invalid(format!("cannot build from `{}`: {error}", file.display())))?;
            }
        }
        Ok(())
    }

    fn apply(&self, objects: Vec<Value>) -> Apply {
        Apply::of(objects, self.with.namespace.clone(), self.with.force)
    }

    async fn check_version(&self, cx: &Context) -> Result<(), Failure> {
        let Some(least) = &self.least else { return Ok(()) };
        let said = Program::new("kustomize").args(["version"]).capture(true).quiet().run(cx).await?.stdout;
        match Version::find(&said) {
            Some(version) if version >= *least => Ok(()),
            found => {
                let version = found.map_or_else(|| "of an unknown version".to_owned(), |it| it.to_string());
                let what = format!("kustomize {version} is too old (at least {least})");
                Err(Failure::invalid(what).fix(install_hint("kustomize")))
            }
        }
    }

    async fn names(&self, cx: &Context) -> Result<Option<Value>, Failure> {
        let built = self.build(cx).await?;
        let names = built.names_only(built.all());
        let mut with = serde_json::json!({ "applied": names["objects"] });
        let place = match &self.target {
            Target::Folder(dir) => ("dir", dir.display().to_string()),
            Target::Remote(url) => ("url", url.clone()),
        };
        with[place.0] = place.1.into();
        if let Some(namespace) = &self.with.namespace {
            with["namespace"] = namespace.as_str().into();
        }
        Ok(Some(with))
    }

    async fn unmake(&self, cx: &Context) -> Result<(), Failure> {
        let built = match self.with.applied.is_empty() {
            true => self.build(cx).await?,
            false => self.apply(self.with.applied.iter().cloned().map(Value::Object).collect()),
        };
        built.take_back(cx).await
    }
}

/// What kustomize's words mean.
fn explain(mut failure: Failure) -> Failure {
    let text = format!("{}\n{}", failure.what, failure.facts.stderr);
    let crashed = ["invalid memory address", "nil pointer dereference", "SIGSEGV", "segmentation"];
    if crashed.iter().any(|words| text.contains(words)) {
        failure.class = Class::Invalid;
        "`kustomize build` crashed".clone_into(&mut failure.what);
        return failure.cause("kustomize 5.5.0 to 5.7 crash on `$patch: delete`").fix(install_hint("kustomize"));
    }
    let missing = ["no such file or directory", "unable to find one of 'kustomization.yaml'", "doesn't exist"];
    if failure.class == Class::Permanent && missing.iter().any(|words| text.contains(words)) {
        failure.class = Class::NotFound;
    }
    failure
}

impl Step for Kustomize {
    fn intent(&self) -> Vec<String> {
        let build = Program::new("kustomize").args(self.arguments(None)).command_line();
        let force = if self.with.force { " --force-conflicts" } else { "" };
        vec![format!("{build} | kubectl apply --server-side{force} -f -")]
    }

    fn observe<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Standing, Failure>> {
        Box::pin(async { cx.unless_cancelled(self.build(cx).await?.look(cx)).await })
    }

    fn perform<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Outputs, Failure>> {
        Box::pin(async { cx.unless_cancelled(self.build(cx).await?.apply_all(cx)).await })
    }

    fn undo<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(cx.unless_cancelled(within_cluster(cx, self.unmake(cx))))
    }

    fn undo_intent(&self) -> Vec<String> {
        let build = Program::new("kustomize").args(self.arguments(None)).command_line();
        vec![format!("{build} | kubectl delete -f -")]
    }

    fn undo_with<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Option<Value>, Failure>> {
        Box::pin(self.names(cx))
    }

    fn programs(&self) -> Vec<String> {
        vec!["kustomize".to_owned()]
    }

    fn files(&self) -> Vec<PathBuf> {
        let folder = self.with.dir.iter().map(|dir| Path::new(dir).to_owned());
        folder.chain(self.with.bases.iter().cloned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Facts;

    #[test]
    fn a_crash_is_told_from_a_mistake() {
        let said = |stderr: &str, class: Class| {
            let facts = Facts { stderr: stderr.to_owned(), ..Facts::default() };
            explain(Failure::new(class, "`kustomize build x` failed with exit code 2").facts(facts))
        };
        let crash = said("panic: runtime error: invalid memory address or nil pointer dereference", Class::Permanent);
        assert_eq!((crash.class, crash.what.as_str()), (Class::Invalid, "`kustomize build` crashed"));
        assert!(crash.fix.expect("a fix").contains("5.8.0"));
        let missing = "Error: unable to find one of 'kustomization.yaml', 'kustomization.yml' or 'Kustomization' in directory '/x'";
        assert_eq!(said(missing, Class::Permanent).class, Class::NotFound);
        assert_eq!(said("The requested URL returned error: 503", Class::Transient).class, Class::Transient);
    }
}
