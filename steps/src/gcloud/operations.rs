//! Operations on a cluster: GKE does one after the other, and says of each how it ended.
//!
//! Not every command tells the name of the operation that it starts, and after a crash nobody knows it: what is new in the list
//! is ours.

use serde_json::Value;

use super::{Gcloud, Location, Pace, StockWatch, explain};
use crate::context::Context;
use crate::failure::{Class, Facts, Failure};
use crate::tools::classify;

/// A cluster that somebody waits for.
#[derive(Clone, Copy)]
pub(crate) struct Target<'t> {
    /// Where it is.
    pub(crate) location: &'t Location,
    /// Its name.
    pub(crate) cluster: &'t str,
    /// What is done to what, for the live view.
    pub(crate) title: &'t str,
    /// How to describe the pool that needs machines, if one does.
    pub(crate) pool: Option<&'t [String]>,
}

impl Gcloud<'_> {
    /// The operations on a cluster and what is in it.
    async fn operations_of(&self, target: &Target<'_>) -> Result<Vec<Value>, Failure> {
        let filter = format!("--filter=targetLink~/clusters/{}", target.cluster);
        let listed = self.json(["container", "operations", "list", &target.location.flag(), &filter]).await?;
        let all = listed.as_array().cloned().unwrap_or_default();
        Ok(all.into_iter().filter(|operation| is_on(operation, target.cluster)).collect())
    }

    /// What is being done to a cluster now, as a person would say it; nothing where it rests.
    pub(crate) async fn under_way(&self, target: &Target<'_>) -> Result<Option<String>, Failure> {
        Ok(self.operations_of(target).await?.iter().find(|operation| is_running(operation)).map(describe))
    }

    /// Waits until nothing is done to a cluster any more; all its operations.
    pub(crate) async fn at_rest(&self, cx: &Context, target: &Target<'_>) -> Result<Vec<Value>, Failure> {
        let mut pace = Pace::new(cx);
        let mut stock = StockWatch::new(cx);
        loop {
            match pace.tolerate(self.operations_of(target).await)? {
                Some(operations) => match operations.iter().find(|operation| is_running(operation)) {
                    None => return Ok(operations),
                    Some(running) => cx.progress(format!("{}: waiting for {}", target.title, describe(running))),
                },
                None => cx.progress(format!("{}: no answer, asking again", target.title)),
            }
            if let Some(pool) = target.pool
                && let Some(Some(found)) = pace.tolerate(self.find(pool.iter().cloned()).await)?
            {
                stock.look(cx, self, &found).await?;
            }
            pace.rest(cx).await?;
        }
    }

    /// Changes a cluster by a command with `--async`, when it is its turn, and waits for the end.
    pub(crate) async fn change(&self, cx: &Context, target: &Target<'_>, args: &[String]) -> Result<(), Failure> {
        let before = self.at_rest(cx, &Target { pool: None, ..*target }).await?;
        self.json_in_turn(target.location, args).await?;
        let after = self.at_rest(cx, target).await?;
        let known = |operation: &Value| before.iter().any(|other| other["name"] == operation["name"]);
        after.iter().filter(|operation| !known(operation)).try_for_each(|operation| ended_well(operation, target.title))
    }
}

fn is_running(operation: &Value) -> bool {
    operation["status"] != "DONE"
}

/// `…/clusters/NAME` or `…/clusters/NAME/nodePools/POOL`, and not `…/clusters/NAME-2`.
fn is_on(operation: &Value, cluster: &str) -> bool {
    let link = operation["targetLink"].as_str().unwrap_or_default();
    let after = link.split_once("/clusters/").map_or("", |(_, after)| after);
    after.split('/').next() == Some(cluster)
}

fn describe(operation: &Value) -> String {
    let text = |key: &str| operation[key].as_str().unwrap_or_default();
    let kind = text("operationType").to_lowercase().replace('_', " ");
    format!("{} ({kind})", text("name"))
}

/// Fails as the operation did.
fn ended_well(operation: &Value, title: &str) -> Result<(), Failure> {
    let message = operation["error"]["message"].as_str().or(operation["statusMessage"].as_str()).unwrap_or_default();
    if message.is_empty() {
        return Ok(());
    }
    let class = classify(message).unwrap_or(Class::Permanent);
    let facts = Facts { stderr: message.to_owned(), ..Facts::default() };
    let what = format!("{title}: {} failed: {message}", describe(operation));
    Err(explain(Failure::new(class, what).facts(facts)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn operations_are_told_apart_by_their_target() {
        let on = |link: &str| is_on(&json!({ "targetLink": link }), "llm-d");
        assert!(on("https://x/v1/projects/p/zones/z/clusters/llm-d"));
        assert!(on("https://x/v1/projects/p/locations/z/clusters/llm-d/nodePools/tpu"));
        assert!(!on("https://x/v1/projects/p/zones/z/clusters/llm-d-2"));
        assert!(!on("https://x/v1/projects/p/zones/z"));
    }

    #[test]
    fn an_operation_that_failed_says_why() {
        let operation = |more: Value| {
            let mut operation =
                json!({ "name": "operation-1-a", "operationType": "SET_NODE_POOL_SIZE", "status": "DONE" });
            operation.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
            operation
        };
        assert_eq!(ended_well(&operation(json!({})), "x"), Ok(()));
        let failed = operation(json!({ "error": { "code": 8, "message": "Quota 'CPUS' exceeded." } }));
        let failure = ended_well(&failed, "resizing").unwrap_err();
        assert_eq!(failure.class, Class::Quota);
        assert_eq!(failure.what, "resizing: operation-1-a (set node pool size) failed: Quota 'CPUS' exceeded.");
    }
}
