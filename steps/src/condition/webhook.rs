//! Whether a webhook answers: it has an authority, ready endpoints, and a dry-run that would fail without it goes through.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::sight::Sight;
use super::verdict::Finding;
use crate::cluster::{Resource, label_of, name_of, text_at};
use crate::failure::{Class, Failure};
use crate::readiness::{Around, Readiness, judge};

const CONFIGURATIONS: [&str; 2] = [
    "mutatingwebhookconfigurations.admissionregistration.k8s.io",
    "validatingwebhookconfigurations.admissionregistration.k8s.io",
];

/// A dry-run's answer cannot be watched, so a webhook that does not answer is asked again after this.
const ASK_AGAIN: Duration = Duration::from_secs(3);

/// Looks whether the webhooks of that configuration (or the single webhook of that name) answer.
pub(super) async fn answers(name: &str, sight: &mut Sight<'_>) -> Result<Finding, Failure> {
    let hooks = hooks(name, sight).await?;
    if hooks.is_empty() {
        return Ok(Finding::not(format!("webhook {name}: there is no webhook configuration of that name yet")));
    }
    for (configuration, _) in &hooks {
        if let Readiness::Progressing(why) | Readiness::Failed(why) = judge(configuration, &Around::default()) {
            return Ok(Finding::not(format!("webhook {name}: {why}")));
        }
    }
    for (_, hook) in &hooks {
        if let Some(why) = without_endpoints(hook, sight).await? {
            return Ok(Finding::not(format!("webhook {name}: {why}")));
        }
    }
    for (_, hook) in &hooks {
        if let Some(why) = refuses_dry_run(hook, sight).await? {
            return Ok(Finding::not(format!("webhook {name}: {why}")).again_in(ASK_AGAIN));
        }
    }
    Ok(Finding::holds())
}

/// The webhooks meant, each with its configuration.
async fn hooks(name: &str, sight: &mut Sight<'_>) -> Result<Vec<(Arc<Value>, Value)>, Failure> {
    let mut found = Vec::new();
    for kind in CONFIGURATIONS {
        let Some(resource) = sight.resolve(kind).await? else { continue };
        for configuration in sight.objects(&resource, "", None).await? {
            let whole = name_of(&configuration) == name;
            let hooks = configuration.get("webhooks").and_then(Value::as_array).cloned().unwrap_or_default();
            let meant = hooks.into_iter().filter(|hook| whole || text_at(hook, "/name") == name);
            found.extend(meant.map(|hook| (Arc::clone(&configuration), hook)));
        }
    }
    Ok(found)
}

/// Why nothing can answer behind the webhook's service, if so.
async fn without_endpoints(hook: &Value, sight: &mut Sight<'_>) -> Result<Option<String>, Failure> {
    let Some(service) = hook.pointer("/clientConfig/service") else { return Ok(None) };
    let (namespace, name) = (text_at(service, "/namespace"), text_at(service, "/name"));
    let Some(found) = super::endpoints::slices(sight, namespace, name).await? else { return Ok(None) };
    let ready = found.iter().any(|slice| judge(slice, &Around::default()) == Readiness::Ready);
    Ok((!ready).then(|| format!("service {namespace}/{name} has no ready endpoint yet")))
}

/// Creates, in a dry-run, an object that the webhook is asked about. Any answer but "could not ask the webhook" will do: that
/// the object is refused shows that somebody refused it.
async fn refuses_dry_run(hook: &Value, sight: &mut Sight<'_>) -> Result<Option<String>, Failure> {
    let Some((resource, version)) = watched_kind(hook, sight).await? else { return Ok(None) };
    let mut probe = probe(&resource, &version, sight).await?;
    probe["metadata"]["labels"] = asked_about(hook.get("objectSelector").unwrap_or(&Value::Null));
    if resource.namespaced {
        let Some(namespace) = watched_namespace(hook, sight).await? else { return Ok(None) };
        probe["metadata"]["namespace"] = json!(namespace);
    }
    match sight.cluster.create(&resource, &probe, true).await {
        Err(failure) if failure.class == Class::WebhookNotReady => Ok(Some(failure.what)),
        Err(failure) if matches!(failure.class, Class::Transient | Class::AuthExpired) => Err(failure),
        _ => Ok(None),
    }
}

/// A kind that the webhook is asked about when one is created.
async fn watched_kind(hook: &Value, sight: &mut Sight<'_>) -> Result<Option<(Resource, String)>, Failure> {
    let rules = hook.get("rules").and_then(Value::as_array).into_iter().flatten();
    for rule in rules {
        let creates = texts(rule, "operations").any(|it| it == "CREATE" || it == "*");
        let (group, version) = (texts(rule, "apiGroups").next(), texts(rule, "apiVersions").next());
        let plural = texts(rule, "resources").find(|it| !it.contains(['*', '/']));
        let (true, Some(group), Some(version), Some(plural)) = (creates, group, version, plural) else { continue };
        let word = match (group, version) {
            ("" | "*", _) => plural.to_owned(),
            (group, "*") => format!("{plural}.{group}"),
            (group, version) => format!("{plural}.{version}.{group}"),
        };
        if let Some(resource) = sight.cluster.resolve_known(&word).await? {
            let version = resource.version.clone();
            return Ok(Some((resource, version)));
        }
    }
    Ok(None)
}

fn texts<'v>(value: &'v Value, field: &str) -> impl Iterator<Item = &'v str> {
    value.get(field).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// A namespace in which the webhook is asked: the kubeconfig's if it is one, else the first. `None` where there is none.
async fn watched_namespace(hook: &Value, sight: &mut Sight<'_>) -> Result<Option<String>, Failure> {
    let own = sight.cluster.default_namespace().to_owned();
    let selector = hook.get("namespaceSelector").unwrap_or(&Value::Null);
    if terms(selector).is_empty() {
        return Ok(Some(own));
    }
    let Some(namespaces) = sight.resolve("namespaces").await? else { return Ok(Some(own)) };
    let found = sight.objects(&namespaces, "", None).await?;
    let alive = found.iter().filter(|it| text_at(it, "/status/phase") != "Terminating");
    let mut names: Vec<&str> = alive.filter(|it| selects(selector, it)).map(|it| name_of(it)).collect();
    names.sort_by_key(|name| *name != own);
    Ok(names.first().map(|name| (*name).to_owned()))
}

/// A term of a selector of the API: label, operator, values.
type Term = (String, String, Vec<String>);

fn terms(selector: &Value) -> Vec<Term> {
    let labels = selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten();
    let equal =
        labels.map(|(key, value)| (key.clone(), "In".to_owned(), vec![value.as_str().unwrap_or_default().to_owned()]));
    let expressions = selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten();
    let others = expressions.map(|it| {
        let values = texts(it, "values").map(str::to_owned).collect();
        (text_at(it, "/key").to_owned(), text_at(it, "/operator").to_owned(), values)
    });
    equal.chain(others).collect()
}

fn selects(selector: &Value, object: &Value) -> bool {
    terms(selector).iter().all(|(key, operator, values)| {
        let label = label_of(object, key);
        let listed = label.is_some_and(|label| values.iter().any(|it| it == label));
        match operator.as_str() {
            "In" => listed,
            "NotIn" => !listed,
            "Exists" => label.is_some(),
            _ => label.is_none(),
        }
    })
}

/// Labels that an object must have for a webhook to be asked about it.
fn asked_about(selector: &Value) -> Value {
    let wanted = terms(selector).into_iter().filter(|(_, operator, _)| matches!(operator.as_str(), "In" | "Exists"));
    wanted
        .map(|(key, _, values)| (key, json!(values.first().map_or("true", String::as_str))))
        .collect::<Map<_, _>>()
        .into()
}

/// The least object that the kind's schema allows: validating webhooks are asked only about what the schema accepts.
async fn probe(resource: &Resource, version: &str, sight: &mut Sight<'_>) -> Result<Value, Failure> {
    let mut object = json!({
        "apiVersion": resource.api_version(), "kind": resource.kind,
        "metadata": { "name": "runbook-probe" }
    });
    let definitions = sight.cluster.resolve_known("customresourcedefinitions.apiextensions.k8s.io").await?;
    let definition = match definitions {
        Some(definitions) => sight.cluster.get(&definitions, "", &resource.qualified()).await?,
        None => None,
    };
    if let Some(Value::Object(filled)) = definition.and_then(|it| schema_of(&it, version).map(|schema| least(&schema)))
    {
        let own = ["apiVersion", "kind", "metadata", "status"];
        for (key, value) in filled.into_iter().filter(|(key, _)| !own.contains(&key.as_str())) {
            object[key] = value;
        }
    }
    Ok(object)
}

fn schema_of(definition: &Value, version: &str) -> Option<Value> {
    let versions = definition.pointer("/spec/versions")?.as_array()?;
    let meant = versions.iter().find(|it| text_at(it, "/name") == version)?;
    let mut schema = meant.pointer("/schema/openAPIV3Schema")?.clone();
    // A spec is there on every real object, required or not.
    if schema.pointer("/properties/spec").is_some() {
        schema["required"] = json!(["spec"]);
    }
    Some(schema)
}

/// The least value that a schema allows.
fn least(schema: &Value) -> Value {
    if let Some(value) = schema.get("default").or_else(|| schema.pointer("/enum/0")) {
        return value.clone();
    }
    match text_at(schema, "/type") {
        "object" => Value::Object(least_object(schema)),
        "array" => {
            let count = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0).min(3);
            let item = schema.get("items").map_or(Value::Null, least);
            Value::Array((0..count).map(|_| item.clone()).collect())
        }
        "integer" | "number" => schema.get("minimum").cloned().unwrap_or_else(|| json!(1)),
        "boolean" => json!(false),
        _ => json!("x".repeat(schema.get("minLength").and_then(Value::as_u64).unwrap_or(1).clamp(1, 64) as usize)),
    }
}

fn least_object(schema: &Value) -> Map<String, Value> {
    let required = texts(schema, "required");
    let field = |name: &str| Some((name.to_owned(), least(schema.get("properties")?.get(name)?)));
    required.filter_map(field).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_value_has_what_is_required_and_no_more() {
        let schema = json!({
            "type": "object", "required": ["name", "mode", "items", "inner"],
            "properties": {
                "name": { "type": "string", "minLength": 2 }, "mode": { "type": "string", "enum": ["a", "b"] },
                "items": { "type": "array", "minItems": 1, "items": { "type": "integer", "minimum": 5 } },
                "inner": { "type": "object", "required": ["on"], "properties": { "on": { "type": "boolean" } } },
                "other": { "type": "string" }
            }
        });
        assert_eq!(least(&schema), json!({ "name": "xx", "mode": "a", "items": [5], "inner": { "on": false } }));
    }

    #[test]
    fn a_webhook_is_asked_about_what_its_selectors_select() {
        let selector = json!({ "matchLabels": { "a": "1" }, "matchExpressions": [
            { "key": "b", "operator": "In", "values": ["x", "y"] }, { "key": "c", "operator": "Exists" },
            { "key": "d", "operator": "NotIn", "values": ["true"] }, { "key": "e", "operator": "DoesNotExist" }] });
        let labels = asked_about(&selector);
        assert_eq!(labels, json!({ "a": "1", "b": "x", "c": "true" }));
        let with = |labels: Value| selects(&selector, &json!({ "metadata": { "labels": labels } }));
        assert!(with(labels));
        assert!(!with(json!({ "a": "1", "b": "z", "c": "" })));
        assert!(!with(json!({ "a": "1", "b": "x", "c": "", "d": "true" })));
        assert!(!with(json!({ "a": "1", "b": "x", "c": "", "e": "" })));
        assert!(selects(&Value::Null, &json!({})) && terms(&json!({})).is_empty());
    }
}
