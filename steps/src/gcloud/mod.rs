//! Calling `gcloud`: what all kinds that use it share.
//!
//! One call costs more than a second of CPU with the real program, so callers ask once and read all they need from one JSON
//! answer. What a resource is, is not known here.

mod explain;
mod operations;
mod pace;
mod place;
mod stock;

use regex::Regex;
use serde_json::Value;

use crate::context::Context;
use crate::failure::{Class, Failure};
use crate::tools::{Finished, Program, absolute};

pub(crate) use explain::explain;
pub(crate) use operations::Target;
pub(crate) use pace::Pace;
pub use place::{GkeCluster, Location};
pub(crate) use place::{Placed, region_of};
pub(crate) use stock::{StockWatch, groups};

/// `gcloud`, for one project.
pub(crate) struct Gcloud<'a> {
    cx: &'a Context,
    project: Option<&'a str>,
}

impl<'a> Gcloud<'a> {
    pub(crate) fn new(cx: &'a Context, project: Option<&'a str>) -> Self {
        Self { cx, project }
    }

    /// Runs a command.
    pub(crate) async fn run(&self, program: Program) -> Result<Finished, Failure> {
        program.run(self.cx).await.map_err(explain)
    }

    /// Runs a command and reads its answer.
    pub(crate) async fn json<T: Into<String>>(&self, args: impl IntoIterator<Item = T>) -> Result<Value, Failure> {
        let args: Vec<String> = args.into_iter().map(Into::into).chain(["--format=json".to_owned()]).collect();
        let finished = self.run(self.program(&args).quiet()).await?;
        // Commands that have nothing to show print nothing, whatever the format.
        if finished.stdout.trim().is_empty() { Ok(Value::Null) } else { finished.json("gcloud") }
    }

    /// The same for what may not exist.
    pub(crate) async fn find<T: Into<String>>(
        &self,
        args: impl IntoIterator<Item = T>,
    ) -> Result<Option<Value>, Failure> {
        match self.json(args).await {
            Ok(found) => Ok(Some(found)),
            Err(failure) if failure.class == Class::NotFound => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Runs a command that GKE refuses while it does something else to the same cluster: waits for that, and asks again.
    pub(crate) async fn json_in_turn(&self, location: &Location, args: &[String]) -> Result<Value, Failure> {
        loop {
            let failure = match self.json(args.iter().cloned()).await {
                Err(failure) if failure.class == Class::Conflict && !already_exists(&failure) => failure,
                other => return other,
            };
            let Some(operation) = operation_in(&failure) else { return Err(failure) };
            self.wait_for_operation(location, &operation).await?;
        }
    }

    /// Waits until an operation on a cluster is done, well or not.
    pub(crate) async fn wait_for_operation(&self, location: &Location, name: &str) -> Result<(), Failure> {
        let mut pace = Pace::new(self.cx);
        let args = ["container", "operations", "describe", name, &location.flag()];
        loop {
            self.cx.progress(format!("waiting for {name}: the cluster does one thing at a time"));
            let operation = pace.tolerate(self.find(args).await)?;
            if operation.is_some_and(|operation| operation.is_none_or(|found| found["status"] == "DONE")) {
                return Ok(());
            }
            pace.rest(self.cx).await?;
        }
    }

    /// Waits until a resource is neither being made nor being deleted; nothing when it is gone.
    pub(crate) async fn settled(
        &self,
        describe: &[String],
        title: &str,
        mut stock: Option<StockWatch>,
    ) -> Result<Option<Value>, Failure> {
        let mut pace = Pace::new(self.cx);
        loop {
            match pace.tolerate(self.find(describe.iter().cloned()).await)? {
                Some(None) => return Ok(None),
                Some(Some(resource)) if !is_under_way(&resource) => return Ok(Some(resource)),
                Some(Some(resource)) => {
                    self.cx.progress(state_of(title, &resource));
                    if let Some(watch) = &mut stock {
                        watch.look(self.cx, self, &resource).await?;
                    }
                }
                None => self.cx.progress(format!("{title}: no answer, asking again")),
            }
            pace.rest(self.cx).await?;
        }
    }

    /// The newest operation on a cluster or pool: `clusters/NAME` or `clusters/NAME/nodePools/POOL`.
    pub(crate) async fn operation_on(&self, location: &Location, target: &str) -> Result<Option<Value>, Failure> {
        let listed = self.json(["container", "operations", "list", &location.flag()]).await?;
        let of_target = |operation: &&Value| {
            operation["targetLink"].as_str().is_some_and(|link| link.ends_with(&format!("/{target}")))
        };
        let started = |operation: &&Value| operation["startTime"].as_str().unwrap_or_default().to_owned();
        Ok(listed.as_array().into_iter().flatten().filter(of_target).max_by_key(started).cloned())
    }

    /// A command with what every call needs. Our flags stand before a `--`: what follows it is for somebody else.
    pub(crate) fn program(&self, args: &[String]) -> Program {
        let (own, passed) = args.split_at(args.iter().position(|arg| arg == "--").unwrap_or(args.len()));
        let has = |flag: &str| own.iter().any(|arg| arg == flag || arg.starts_with(&format!("{flag}=")));
        let project = self.project.filter(|_| !has("--project")).map(|project| format!("--project={project}"));
        let quiet = (!has("--quiet") && !has("-q")).then(|| "--quiet".to_owned());
        let words = own.iter().take_while(|arg| !arg.starts_with('-')).map(String::as_str);
        Program::new("gcloud")
            .called(["gcloud"].into_iter().chain(words).collect::<Vec<_>>().join(" "))
            .args(own)
            .args(project)
            .args(quiet)
            .args(passed)
            // Creating a cluster writes credentials too; never into the user's own file.
            .env("KUBECONFIG", absolute(&self.cx.world.kubeconfig).to_string_lossy())
            .env("CLOUDSDK_CORE_DISABLE_PROMPTS", "1")
            .env("CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK", "1")
            .capture(true)
    }
}

fn is_under_way(resource: &Value) -> bool {
    matches!(resource["status"].as_str(), Some("PROVISIONING" | "STOPPING"))
}

fn state_of(title: &str, resource: &Value) -> String {
    let (status, trouble) = (resource["status"].as_str().unwrap_or_default(), trouble(resource));
    if trouble.is_empty() { format!("{title} is {status}") } else { format!("{title} is {status}: {trouble}") }
}

/// The label that tells what a deployment has made.
pub(crate) const OWNER: &str = "runbook-deployment";

/// A deployment's name as the value of a label: lower case, at most 63 characters.
pub(crate) fn owner(cx: &Context) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c.to_ascii_lowercase() } else { '-' };
    cx.deployment.chars().map(allowed).take(63).collect()
}

/// Whether a resource carries this deployment's label.
pub(crate) fn is_ours(cx: &Context, labels: &Value) -> bool {
    labels[OWNER].as_str() == Some(&owner(cx))
}

/// Labels as a flag wants them.
pub(crate) fn label_list<'l>(labels: impl Iterator<Item = (&'l str, &'l str)>) -> String {
    labels.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
}

/// Why a resource is not as it should be, from whatever field says so.
pub(crate) fn trouble(resource: &Value) -> String {
    let conditions = resource["conditions"].as_array().into_iter().flatten();
    let messages = conditions.filter_map(|condition| condition["message"].as_str());
    let all: Vec<&str> =
        resource["statusMessage"].as_str().into_iter().chain(messages).filter(|text| !text.is_empty()).collect();
    let mut distinct = Vec::new();
    all.into_iter().for_each(|text| {
        if !distinct.contains(&text) {
            distinct.push(text);
        }
    });
    distinct.join("; ")
}

pub(crate) fn already_exists(failure: &Failure) -> bool {
    let said = failure.facts.stderr.to_lowercase();
    said.contains("already exists") || said.contains("already_exists")
}

/// The operation that a refusal says is in the way.
pub(crate) fn operation_in(failure: &Failure) -> Option<String> {
    let pattern = Regex::new(r"operation-\d+-[0-9a-f-]*[0-9a-f]").expect("a constant pattern");
    pattern.find(&failure.facts.stderr).map(|found| found.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::failure::Facts;

    #[test]
    fn the_operation_in_the_way_is_read_from_the_words() {
        let said = "code=400, message=Operation operation-1700000000000-9e3779b1 is currently creating cluster c.";
        let failure = Failure::new(Class::Conflict, "x").facts(Facts { stderr: said.to_owned(), ..Facts::default() });
        assert_eq!(operation_in(&failure).as_deref(), Some("operation-1700000000000-9e3779b1"));
    }

    #[test]
    fn trouble_is_told_once() {
        let resource =
            json!({ "statusMessage": "no chips", "conditions": [{ "message": "no chips" }, { "message": "ask" }] });
        assert_eq!(trouble(&resource), "no chips; ask");
    }
}
