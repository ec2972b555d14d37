//! `helm.release`: a chart, installed or upgraded, with its values.

use std::path::PathBuf;
use std::time::Duration;

use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::vanished::within_cluster;
use crate::context::Context;
use crate::failure::{Class, Failure};
use crate::gcloud::owner;
use crate::helm::{self, Book, Chart, Healing, Revision, Values, difference, explain};
use crate::kind::{Effect, Kind, OutputDoc, Reach, ReadError, read_with, schema_of};
use crate::span::Span;
use crate::step::{Outputs, Standing, Step};
use crate::tools::Program;
use crate::version::Version;

/// The kind `helm.release`.
pub(super) static KIND: Kind = Kind {
    name: "helm.release",
    summary: "Installs or upgrades a Helm chart",
    docs: DOCS,
    example: EXAMPLE,
    version: 1,
    effect: Effect::Changes(Reach::ObjectsAndMore),
    observes: true,
    idempotent: true,
    outputs: &[
        OutputDoc { name: "revision", about: "the number of the revision that runs" },
        OutputDoc { name: "status", about: "its status: `deployed`" },
        OutputDoc { name: "chart", about: "name and version of its chart, such as `demo-0.1.0`" },
        OutputDoc { name: "app_version", about: "the version of what the chart brings" },
    ],
    open_outputs: false,
    schema: schema_of::<Written>,
    read,
};

const DOCS: &str = "\
`helm upgrade --install` (3.13 or later, and 4), with the deployment's own repositories and indexes (`helm.repo`).

- **observe**: `helm history` and `helm get values`. Holds where the newest revision is `deployed`, of this chart and version, with
  exactly these values. What somebody else upgraded since is found, for the values are compared with what helm keeps.
- **perform**: first puts right what was left: a revision that is `pending-…` is waited for while somebody may be at it (at most
  `stuck_after` since it was begun; not at all if it is this deployment's own and its helm is gone), then rolled back to the revision
  that runs, or uninstalled where there is none. Then upgrades, and waits until what the chart makes is ready.
- **undo**: uninstalls what this deployment installed; what was there before goes back to the revision that it had. CRDs and the
  namespace stay, as helm leaves them.
- **failures**: `invalid` (objects of somebody else, a release above 1 MB, values that the schema refuses), `conflict` (another
  helm is at work), `timeout` (not ready in time), `not-found` (chart, version, repository, namespace), `auth-expired`.

Values are files in order, then `values`; maps are merged key by key. All of it goes to helm's standard input as one document, so
secrets in `values` are in no argument and no file. Helm keeps the values in the release's Secret, as always; secrets are compared with
what is there, and nothing else is written down of them. Files are YAML 1.2; a plain `yes` or `no`, which means something else to
helm, is refused.

`chart` is a folder (`./charts/demo`), `oci://HOST/PATH/NAME`, or `REPOSITORY/NAME`; `version` must be whole, unless `pin: false`.
Each revision carries the labels `runbook.dev/deployment`, `runbook.dev/before` and, for a folder, `runbook.dev/chart`.
";

const EXAMPLE: &str = "\
infra:
  uses: helm.release
  with:
    name: infra-pattern1
    namespace: llm-d
    chart: oci://registry.k8s.io/gateway-api-inference-extension/charts/inferencepool
    version: v1.2.0
    values:
      provider: { name: gke }
    timeout: 10m
  timeout: 15m
";

/// A release as it should be.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Written {
    /// The name of the release.
    name: String,
    /// The namespace that it is in.
    namespace: String,
    /// A folder, `oci://HOST/PATH/NAME`, or `REPOSITORY/NAME`.
    chart: String,
    /// The address of the chart's repository, where it was not added with `helm.repo`.
    repo: Option<String>,
    /// The whole version of the chart.
    version: Option<String>,
    /// Whether the version must be whole, so that it means the same chart for ever; true where not given.
    #[serde(default = "yes")]
    pin: bool,
    /// Values, over those of the files.
    #[serde(default)]
    values: Map<String, Value>,
    /// Files of values, relative to the plan; later ones win.
    #[serde(default)]
    value_files: Vec<PathBuf>,
    /// Whether to make the namespace if it is not there.
    #[serde(default)]
    create_namespace: bool,
    /// Whether to leave out the chart's CRDs.
    #[serde(default)]
    skip_crds: bool,
    /// Whether to wait until what the chart makes is ready; true where not given.
    #[serde(default = "yes")]
    wait: bool,
    /// How long helm waits; 10m where not given.
    #[serde(default = "ten_minutes")]
    timeout: Span,
    /// Whether helm takes back an upgrade that fails.
    #[serde(default)]
    atomic: bool,
    /// Whether to take over objects that are not this release's.
    #[serde(default)]
    take_ownership: bool,
    /// For how long a pending revision of somebody else counts as being worked on; `timeout` and two minutes where not given.
    stuck_after: Option<Span>,
    /// More arguments for `helm upgrade`.
    #[serde(default)]
    extra_args: Vec<String>,
}

fn yes() -> bool {
    true
}

fn ten_minutes() -> Span {
    Span(Duration::from_secs(600))
}

/// How long helm may take beyond its own waiting before nobody can be at it any more.
const MARGIN: Duration = Duration::from_secs(120);

fn read(with: Value) -> Result<Box<dyn Step>, ReadError> {
    let written: Written = read_with(with)?;
    let wrong = |path: &str, message: String| ReadError { path: path.to_owned(), message };
    if written.name.is_empty() || written.name.len() > 53 {
        return Err(wrong("name", "the name of a release has 1 to 53 letters".to_owned()));
    }
    let chart = Chart::read(&written.chart, written.repo.as_deref()).map_err(|why| wrong("chart", why))?;
    chart.verify_version(written.version.as_deref(), written.pin).map_err(|why| wrong("version", why))?;
    Ok(Box::new(Release { chart, with: written }))
}

#[derive(Debug)]
struct Release {
    chart: Chart,
    with: Written,
}

impl Release {
    fn title(&self) -> String {
        format!("the release `{}`", self.with.name)
    }

    async fn book(&self, cx: &Context) -> Result<Book, Failure> {
        helm::book(&self.with.name, &self.with.namespace, cx).await
    }

    fn values(&self, cx: &Context) -> Result<Value, Failure> {
        Values::load(&self.with.value_files, &self.with.values, cx)?.revealed(cx)
    }

    fn healing(&self) -> Healing<'_> {
        let patience = self.with.stuck_after.map_or(self.with.timeout.0 + MARGIN, |it| it.0);
        Healing { name: &self.with.name, namespace: &self.with.namespace, patience, timeout: self.with.timeout.0 }
    }

    fn timeout(&self) -> String {
        format!("--timeout={}s", self.with.timeout.0.as_secs_f64().ceil())
    }

    fn upgrade(&self, cx: Option<&Context>, version: Option<&Version>) -> Vec<String> {
        let mut args = vec!["upgrade".to_owned(), "--install".to_owned(), self.with.name.clone()];
        args.extend(self.chart.arguments(self.with.version.as_deref(), cx));
        args.push(format!("--namespace={}", self.with.namespace));
        let four = Version::parse("4").expect("written here");
        let atomic = if version.is_some_and(|it| *it >= four) { "--rollback-on-failure" } else { "--atomic" };
        let flags = [
            (self.with.create_namespace, "--create-namespace"),
            (self.with.skip_crds, "--skip-crds"),
            (self.with.wait, "--wait"),
            (self.with.atomic, atomic),
            (self.with.take_ownership, "--take-ownership"),
        ];
        args.extend(flags.iter().filter(|(on, _)| *on).map(|(_, flag)| (*flag).to_owned()));
        args.extend([self.timeout(), "--reset-values".to_owned(), "--values=-".to_owned()]);
        args.extend(self.with.extra_args.iter().cloned());
        args
    }

    fn helm(&self, cx: &Context, args: Vec<String>) -> Program {
        let title =
            args.iter().take_while(|word| !word.starts_with("--namespace")).cloned().collect::<Vec<_>>().join(" ");
        helm::helm(cx, args).called(format!("helm {title}"))
    }

    async fn look(&self, cx: &Context) -> Result<Standing, Failure> {
        let book = self.book(cx).await?;
        let Some(last) = book.last() else {
            return Ok(Standing::Lacks(format!("{} does not exist in `{}`", self.title(), self.with.namespace)));
        };
        if last.is_pending() {
            return Ok(self.healing().judge(&book, last, is_abandoned(&book, cx), cx));
        }
        if last.status != "deployed" {
            return Ok(Standing::Lacks(format!("revision {} is {}: {}", last.number, last.status, last.description)));
        }
        match self.lacks(&book, last, cx).await? {
            Some(why) => Ok(Standing::Lacks(why)),
            None => Ok(Standing::Holds(outputs(last))),
        }
    }

    /// What a deployed revision has otherwise than the plan wants it.
    async fn lacks(&self, book: &Book, last: &Revision, cx: &Context) -> Result<Option<String>, Failure> {
        let expected = self.chart.expected(self.with.version.as_deref(), cx)?;
        if !expected.is(&last.chart) {
            return Ok(Some(format!("the chart is {}, not {}", last.chart, expected.told())));
        }
        if expected.digest.is_some() && expected.digest != book.marks.chart {
            return Ok(Some(format!("the chart in `{}` is not the one that runs", self.with.chart)));
        }
        let given = helm::given_values(&self.with.name, &self.with.namespace, last.number, cx).await?;
        let path = difference(&self.values(cx)?, &given);
        Ok(path.map(|path| format!("the values differ at `{path}`")))
    }

    async fn make(&self, cx: &Context) -> Result<Outputs, Failure> {
        // Before anything is changed: a mistake in the plan's files must not cost a release.
        let (values, expected) = (self.values(cx)?, self.chart.expected(self.with.version.as_deref(), cx)?);
        let version = helm::version(cx).await?;
        let book = self.healing().heal(is_abandoned, cx).await?;
        let marks = book.next_marks(&owner(cx), expected.digest);
        let mut args = self.upgrade(Some(cx), Some(&version));
        args.extend(["--labels".to_owned(), marks.argument()]);
        let program = self.helm(cx, args).stdin(values.to_string());
        program.run(cx).await.map_err(|failure| explain(failure, &self.with.name))?;
        match self.book(cx).await?.last() {
            Some(last) if last.status == "deployed" => Ok(outputs(last)),
            Some(last) => Err(Failure::new(Class::Conflict, format!("{} is {} again", self.title(), last.status))),
            None => Err(Failure::new(Class::Conflict, format!("{} vanished while it was made", self.title()))),
        }
    }

    async fn unmake(&self, cx: &Context) -> Result<(), Failure> {
        let book = self.book(cx).await?;
        if book.last().is_none() {
            return Ok(());
        }
        if book.marks.deployment.as_deref() != Some(&owner(cx)) {
            cx.note(&format!("left alone: this deployment did not change {}", self.title()));
            return Ok(());
        }
        match book.marks.before.unwrap_or(0) {
            0 => self.healing().uninstall(cx).await,
            before if book.has(before) => self.healing().roll_back(before, cx).await,
            before => Err(Failure::invalid(format!("cannot go back to revision {before} of {}", self.title()))
                .cause("helm keeps the last ten revisions, and that one is no longer among them")
                .fix(format!("upgrade it by hand as it should be, or `helm uninstall {}`", self.with.name))),
        }
    }
}

/// Whether a pending revision is this deployment's own, of an attempt whose helm is gone for sure: whoever holds the deployment has
/// ended all that earlier attempts left.
fn is_abandoned(book: &Book, cx: &Context) -> bool {
    let ours = book.marks.deployment.as_deref() == Some(&owner(cx));
    ours && (cx.after_crash || cx.attempt > 1)
}

fn outputs(revision: &Revision) -> Outputs {
    let outputs = json!({
        "revision": revision.number, "status": revision.status, "chart": revision.chart,
        "app_version": revision.app_version,
    });
    outputs.as_object().cloned().unwrap_or_default()
}

impl Step for Release {
    fn intent(&self) -> Vec<String> {
        vec![Program::new("helm").args(self.upgrade(None, None)).command_line()]
    }

    fn observe<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Standing, Failure>> {
        Box::pin(cx.unless_cancelled(self.look(cx)))
    }

    fn perform<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Outputs, Failure>> {
        // Not cut off when it is cancelled: helm is told to stop, and writes down that the release failed.
        Box::pin(self.make(cx))
    }

    fn undo<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(within_cluster(cx, self.unmake(cx)))
    }

    fn undo_intent(&self) -> Vec<String> {
        vec![Program::new("helm").args(self.healing().uninstalling()).command_line()]
    }

    /// Without values: they may have changed by then, and hold secrets.
    fn undo_with<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Result<Option<Value>, Failure>> {
        let with = json!({
            "name": self.with.name, "namespace": self.with.namespace, "chart": self.with.chart, "repo": self.with.repo,
            "pin": false, "timeout": format!("{}s", self.with.timeout.0.as_secs_f64().ceil()),
        });
        Box::pin(async { Ok(Some(with)) })
    }

    fn programs(&self) -> Vec<String> {
        vec!["helm".to_owned()]
    }

    fn files(&self) -> Vec<PathBuf> {
        self.with.value_files.iter().chain(self.chart.folder()).cloned().collect()
    }
}
