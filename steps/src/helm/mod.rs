//! Helm, as the kinds that use it reach it: its environment, its book of a release, and its words for what went wrong.
//!
//! Helm keeps one Secret for each revision of a release; [`Book`] is what stands in them. Repositories and their indexes are kept in
//! the deployment's own folder, so that a plan does not depend on what the user has added, nor changes it. This does not know what a
//! plan wants of a release.

mod book;
mod chart;
mod failures;
mod heal;
mod inner;
mod values;

use std::path::PathBuf;

use serde_json::Value;

pub(crate) use book::{Book, Marks, Revision};
pub(crate) use chart::Chart;
pub(crate) use failures::explain;
pub(crate) use heal::{Healing, left_behind, patience};
pub(crate) use inner::Releases;
pub(crate) use values::{Values, difference};

use crate::cluster::Cluster;
use crate::context::Context;
use crate::failure::Failure;
use crate::tools::{Program, absolute};
use crate::version::Version;

/// The first version that can label a release.
const LEAST: &str = "3.13";

/// Where a deployment's repositories and indexes are.
fn folder(cx: &Context) -> PathBuf {
    absolute(&cx.state_dir).join("helm")
}

/// The file with the repositories that `helm.repo` added.
pub(crate) fn repositories(cx: &Context) -> PathBuf {
    folder(cx).join("repositories.yaml")
}

/// The file with the logins that `helm.repo` made.
pub(crate) fn logins(cx: &Context) -> PathBuf {
    folder(cx).join("registry.json")
}

/// `helm` with the environment of this deployment.
pub(crate) fn helm<T: Into<String>>(cx: &Context, args: impl IntoIterator<Item = T>) -> Program {
    with_environment(cx, Program::new("helm").args(args))
}

/// Gives a program that is helm, or that runs it, this deployment's cluster and repositories. The user's own logins count until the
/// plan has some.
pub(crate) fn with_environment(cx: &Context, program: Program) -> Program {
    let folder = folder(cx);
    let program = program
        .env("KUBECONFIG", cx.world.kubeconfig.display().to_string())
        .env("HELM_REPOSITORY_CONFIG", repositories(cx).display().to_string())
        .env("HELM_REPOSITORY_CACHE", folder.join("cache").display().to_string());
    let logins = logins(cx);
    if logins.exists() { program.env("HELM_REGISTRY_CONFIG", logins.display().to_string()) } else { program }
}

/// The same, for the command that makes the first login.
pub(crate) fn with_logins(cx: &Context, program: Program) -> Program {
    program.env("HELM_REGISTRY_CONFIG", logins(cx).display().to_string())
}

/// The version of the helm on PATH.
pub(crate) async fn version(cx: &Context) -> Result<Version, Failure> {
    let said = helm(cx, ["version", "--template", "{{.Version}}"]).capture(true).quiet().run(cx).await?.stdout;
    let version = Version::find(&said);
    let version = version.ok_or_else(|| Failure::invalid(format!("`helm version` does not say a version: {said}")))?;
    let least = Version::parse(LEAST).expect("written here");
    if version < least {
        let what = format!("helm {version} is too old: it cannot label a release");
        return Err(Failure::invalid(what).fix(crate::tools::install_hint("helm")));
    }
    Ok(version)
}

/// What helm knows of a release; no revision where there is none.
pub(crate) async fn book(name: &str, namespace: &str, cx: &Context) -> Result<Book, Failure> {
    refuse_other_storage(cx)?;
    let args = ["history", name, "--namespace", namespace, "--max", "256", "--output", "json"];
    let found = helm(cx, args).capture(true).quiet().unchecked().run(cx).await?;
    if found.code != 0 && found.stderr_tail.contains("release: not found") {
        return Ok(Book::default());
    }
    if found.code != 0 {
        let failure = Failure::permanent(format!("cannot read the history of the release `{name}`"));
        return Err(explain(failure.facts(found.facts(Some(found.code))), name));
    }
    let mut book = Book::read(&found.json("helm history")?);
    if let Some(last) = book.last() {
        book.marks = marks(name, namespace, last.number, cx).await?;
    }
    Ok(book)
}

fn refuse_other_storage(cx: &Context) -> Result<(), Failure> {
    match cx.world.var("HELM_DRIVER").map(|it| it.to_string_lossy().into_owned()).as_deref() {
        None | Some("" | "secret" | "secrets") => Ok(()),
        Some(other) => {
            Err(Failure::invalid(format!("`HELM_DRIVER` is `{other}`: only releases in Secrets are understood"))
                .fix("unset HELM_DRIVER"))
        }
    }
}

/// The labels of a revision's Secret that are ours.
async fn marks(name: &str, namespace: &str, revision: u64, cx: &Context) -> Result<Marks, Failure> {
    let cluster = Cluster::connect(cx).await?;
    let Some(secrets) = cluster.resolve("secret").await? else { return Ok(Marks::default()) };
    let found = cluster.get(&secrets, namespace, &format!("sh.helm.release.v1.{name}.v{revision}")).await?;
    Ok(found.map(|secret| Marks::read(&secret["metadata"]["labels"])).unwrap_or_default())
}

/// The values that were given to a revision. They may hold secrets that this run does not know.
pub(crate) async fn given_values(name: &str, namespace: &str, revision: u64, cx: &Context) -> Result<Value, Failure> {
    let number = revision.to_string();
    let args = ["get", "values", name, "--namespace", namespace, "--revision", &number, "--output", "json"];
    let found = helm(cx, args).confidential().run(cx).await.map_err(|failure| explain(failure, name))?;
    found.json("helm get values")
}
