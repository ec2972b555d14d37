//! Requests on single objects and lists: the verbs that steps use.

use std::time::{Duration, Instant};

use http::Request;
use http::header::{ACCEPT, CONTENT_TYPE};
use serde::Deserialize;
use serde_json::{Value, json};

use super::page::{self, Page};
use super::{Cluster, Resource, name_of, uid_of};
use crate::failure::{Class, Failure};

/// An answer that takes longer than this on the machine's clock never comes: the connection is dead.
const LONGEST_ANSWER: Duration = Duration::from_secs(60);

/// How many objects to ask for at a time: the text of so many is here at once.
const PAGE: &str = "100";

/// Which objects of a kind.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// A label selector, in kubectl's syntax; empty for all.
    pub labels: String,
    /// A field selector; empty for all.
    pub fields: String,
}

/// Which part of a log.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LogPart {
    /// At most so many lines, the last ones.
    pub(crate) lines: Option<u32>,
    /// Only what was logged in that span before now.
    pub(crate) since: Option<Duration>,
    /// Of the container's previous life.
    pub(crate) previous: bool,
}

/// How an object is applied or patched.
#[derive(Clone, Debug)]
pub struct Applying {
    /// The field manager.
    pub manager: String,
    /// Whether to take over fields that belong to other managers.
    pub force: bool,
    /// Whether the server should only say what would come of it.
    pub dry_run: bool,
}

/// The sort of a patch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PatchStyle {
    /// RFC 7386: objects are merged, lists replaced, null removes.
    #[default]
    Merge,
    /// RFC 6902: a list of operations.
    Json,
    /// Kubernetes' own: lists are merged by their keys. Only built-in kinds have it.
    Strategic,
    /// Server-side apply.
    Apply,
}

impl PatchStyle {
    fn content_type(self) -> &'static str {
        match self {
            PatchStyle::Merge => "application/merge-patch+json",
            PatchStyle::Json => "application/json-patch+json",
            PatchStyle::Strategic => "application/strategic-merge-patch+json",
            PatchStyle::Apply => "application/apply-patch+yaml",
        }
    }
}

impl Cluster {
    /// One object, or `None` when there is none of that name.
    pub async fn get(&self, resource: &Resource, namespace: &str, name: &str) -> Result<Option<Value>, Failure> {
        let doing = doing("get", resource, namespace, name);
        match self.send(bare(Request::get(resource.path(namespace, Some(name))))?, &doing).await {
            Ok(object) => Ok(Some(object)),
            Err(failure) if failure.class == Class::NotFound => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// All objects of a kind in a namespace (empty: in all of them).
    pub async fn list(
        &self,
        resource: &Resource,
        namespace: &str,
        selection: &Selection,
    ) -> Result<Vec<Value>, Failure> {
        Ok(self.list_at(resource, namespace, selection, |object| object).await?.0)
    }

    /// As [`Cluster::list`], with the resource version that a watch goes on from. Each object is packed as soon as it is parsed: a
    /// thousand of them, unpacked, take tens of megabytes.
    pub(super) async fn list_at<T>(
        &self,
        resource: &Resource,
        namespace: &str,
        selection: &Selection,
        pack: impl Fn(Value) -> T,
    ) -> Result<(Vec<T>, String), Failure> {
        let (mut found, mut next) = (Vec::new(), String::new());
        loop {
            let page = self.page(resource, namespace, selection, &next, &pack).await?;
            found.extend(page.items);
            next = page.next;
            if next.is_empty() {
                return Ok((found, page.version));
            }
        }
    }

    async fn page<T>(
        &self,
        resource: &Resource,
        ns: &str,
        selection: &Selection,
        next: &str,
        pack: impl Fn(Value) -> T,
    ) -> Result<Page<T>, Failure> {
        let query = query(&[
            ("labelSelector", &selection.labels),
            ("fieldSelector", &selection.fields),
            ("limit", PAGE),
            ("continue", next),
        ]);
        let request = bare(Request::get(resource.path(ns, None) + &query))?;
        let doing = doing("list", resource, ns, "");
        let text = self.text(request, &doing).await?;
        page::read(&text, resource, pack).map_err(|error| self.unreadable(error, &doing))
    }

    /// Applies an object on the server's side. Unknown and misspelt fields are refused.
    pub async fn apply(&self, resource: &Resource, object: &Value, how: &Applying) -> Result<Value, Failure> {
        let namespace = super::namespace_of(object).to_owned();
        self.change(resource, (&namespace, name_of(object)), PatchStyle::Apply, object, how).await
    }

    /// Patches an object.
    pub(crate) async fn patch(
        &self,
        resource: &Resource,
        (namespace, name): (&str, &str),
        style: PatchStyle,
        patch: &Value,
        how: &Applying,
    ) -> Result<Value, Failure> {
        self.change(resource, (namespace, name), style, patch, how).await
    }

    async fn change(
        &self,
        resource: &Resource,
        (namespace, name): (&str, &str),
        style: PatchStyle,
        body: &Value,
        how: &Applying,
    ) -> Result<Value, Failure> {
        let apply = style == PatchStyle::Apply;
        let query = query(&[
            ("fieldManager", &how.manager),
            ("fieldValidation", "Strict"),
            ("force", if apply && how.force { "true" } else { "" }),
            ("dryRun", if how.dry_run { "All" } else { "" }),
        ]);
        let request = Request::patch(resource.path(namespace, Some(name)) + &query);
        let request = full(request.header(CONTENT_TYPE, style.content_type()), body)?;
        self.send(request, &doing(if apply { "apply" } else { "patch" }, resource, namespace, name)).await
    }

    /// Creates an object.
    pub async fn create(&self, resource: &Resource, object: &Value, dry_run: bool) -> Result<Value, Failure> {
        let namespace = super::namespace_of(object);
        let query = query(&[
            ("fieldManager", super::FIELD_MANAGER),
            ("fieldValidation", "Strict"),
            ("dryRun", if dry_run { "All" } else { "" }),
        ]);
        let request = Request::post(resource.path(namespace, None) + &query);
        let request = full(request.header(CONTENT_TYPE, "application/json"), object)?;
        self.send(request, &doing("create", resource, namespace, name_of(object))).await
    }

    /// Deletes an object. Says whether there was one.
    pub async fn delete(&self, resource: &Resource, namespace: &str, name: &str) -> Result<bool, Failure> {
        self.delete_by(resource, (namespace, name), json!({})).await
    }

    /// Deletes this very object, as it was seen before, and not another that has its name by now. Says whether it was still there.
    pub async fn delete_object(&self, resource: &Resource, object: &Value) -> Result<bool, Failure> {
        let place = (super::namespace_of(object), name_of(object));
        match self.delete_by(resource, place, json!({ "uid": uid_of(object) })).await {
            Err(failure) if failure.class == Class::Conflict && failure.what.contains("UID in precondition") => {
                Ok(false)
            }
            other => other,
        }
    }

    async fn delete_by(
        &self,
        resource: &Resource,
        (namespace, name): (&str, &str),
        preconditions: Value,
    ) -> Result<bool, Failure> {
        let options = json!({
            "kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background", "preconditions": preconditions
        });
        let request = Request::delete(resource.path(namespace, Some(name)));
        let request = full(request.header(CONTENT_TYPE, "application/json"), &options)?;
        match self.send(request, &doing("delete", resource, namespace, name)).await {
            Ok(_) => Ok(true),
            Err(failure) if failure.class == Class::NotFound => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// What a container logged, redacted.
    pub(crate) async fn log(
        &self,
        (namespace, pod, container): (&str, &str, &str),
        part: LogPart,
    ) -> Result<String, Failure> {
        let number = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
        let query = query(&[
            ("container", container),
            ("tailLines", &number(part.lines.map(u64::from))),
            ("sinceSeconds", &number(part.since.map(|span| span.as_secs().max(1)))),
            // So much is enough for the last lines; who looks for one wants all.
            ("limitBytes", if part.lines.is_some_and(|lines| lines <= 100) { "16384" } else { "4194304" }),
            ("previous", if part.previous { "true" } else { "" }),
        ]);
        let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/log{query}");
        let request = bare(Request::get(path))?;
        let doing = format!("read the log of `{namespace}/{pod}`");
        let text = self.text(request, &doing).await?;
        Ok(self.redactor.mask(&text).into_owned())
    }

    /// Sends a request and reads the answer.
    pub(super) async fn send(&self, request: Request<Vec<u8>>, doing: &str) -> Result<Value, Failure> {
        let text = self.text(request, doing).await?;
        serde_json::from_str(&text).map_err(|error| self.unreadable(error, doing))
    }

    /// Sends a request. The text of the answer.
    async fn text(&self, request: Request<Vec<u8>>, doing: &str) -> Result<String, Failure> {
        let began = Instant::now();
        let asked = self.shared.client.request_text(request);
        let answer = tokio::time::timeout(LONGEST_ANSWER, asked).await.map_err(|_| silent(doing, self.url()))?;
        tracing::debug!(doing, took = ?began.elapsed(), good = answer.is_ok(), "the cluster has answered");
        answer.map_err(|error| self.failure(&error, doing))
    }

    fn unreadable(&self, error: serde_json::Error, doing: &str) -> Failure {
        self.failure(&kube::Error::SerdeError(error), doing)
    }
}

fn silent(doing: &str, url: &str) -> Failure {
    Failure::transient(format!("cannot {doing}: the cluster at `{url}` did not answer for {LONGEST_ANSWER:?}"))
}

/// ``get deployments.apps `namespace/name` ``, for messages.
fn doing(verb: &str, resource: &Resource, namespace: &str, name: &str) -> String {
    let place = match (namespace, name) {
        ("", "") => return format!("{verb} {}", resource.qualified()),
        ("", name) => name.to_owned(),
        (namespace, "") => return format!("{verb} {} in `{namespace}`", resource.qualified()),
        (namespace, name) => format!("{namespace}/{name}"),
    };
    format!("{verb} {} `{place}`", resource.qualified())
}

fn bare(request: http::request::Builder) -> Result<Request<Vec<u8>>, Failure> {
    finish(request.header(ACCEPT, "application/json"), Vec::new())
}

fn full(request: http::request::Builder, body: &Value) -> Result<Request<Vec<u8>>, Failure> {
    finish(request.header(ACCEPT, "application/json"), body.to_string().into_bytes())
}

fn finish(request: http::request::Builder, body: Vec<u8>) -> Result<Request<Vec<u8>>, Failure> {
    request.body(body).map_err(|error| Failure::invalid(format!("a name that no path can hold: {error}")))
}

/// A query string of the pairs that have a value, or nothing.
pub(super) fn query(pairs: &[(&str, &str)]) -> String {
    let given = pairs.iter().filter(|(_, value)| !value.is_empty());
    let written: Vec<String> = given.map(|(name, value)| format!("{name}={}", encode(value))).collect();
    if written.is_empty() { String::new() } else { format!("?{}", written.join("&")) }
}

fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_holds_what_was_given_encoded() {
        let text = query(&[("labelSelector", "app=x,y!=z"), ("continue", ""), ("limit", "5")]);
        assert_eq!(text, "?labelSelector=app%3Dx%2Cy%21%3Dz&limit=5");
        assert_eq!(query(&[("continue", "")]), "");
    }
}
