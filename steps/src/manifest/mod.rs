//! Manifests: where Kubernetes objects come from, in which order they are applied, and who owns them.
//!
//! Owns reading (files, folders, inline, pinned URLs), templates inside a document, order, ownership marks and differences. Does
//! not talk to a cluster.

mod difference;
mod order;
mod source;
mod template;

use base64::Engine as _;
use serde_json::{Map, Value, json};

use crate::cluster::{annotation, describe, kind_of};
use crate::context::Context;
use crate::failure::Failure;
use crate::secret::mentions_secret;

pub(crate) use difference::first_difference;
pub(crate) use order::{rank, sort};
pub(crate) use source::{Pinned, Source};

/// Which deployment made an object; only that one takes it away again.
const DEPLOYMENT: &str = "runbook.dev/deployment";
/// Which of its steps did.
const STEP: &str = "runbook.dev/step";

/// Marks an object as made by this step.
pub(crate) fn mark(object: &mut Value, cx: &Context) {
    let annotations = &mut object["metadata"]["annotations"];
    if !annotations.is_object() {
        *annotations = json!({});
    }
    annotations[DEPLOYMENT] = json!(&*cx.deployment);
    annotations[STEP] = json!(&*cx.step);
}

/// Whether this deployment made an object.
pub(crate) fn is_ours(object: &Value, cx: &Context) -> bool {
    annotation(object, DEPLOYMENT) == Some(&*cx.deployment)
}

/// Whether this very step made an object.
pub(crate) fn is_of_this_step(object: &Value, cx: &Context) -> bool {
    is_ours(object, cx) && annotation(object, STEP) == Some(&*cx.step)
}

/// Puts values in the place of secrets, which only the data of a Secret may hold. A Secret's `stringData` becomes `data`, so
/// that what is applied can be compared with what is there.
pub(crate) fn reveal(object: &Value, cx: &Context) -> Result<Value, Failure> {
    let mut revealed = object.clone();
    if kind_of(object) == "Secret" {
        let texts = revealed.as_object_mut().and_then(|it| it.remove("stringData"));
        if let Some(Value::Object(texts)) = texts {
            let data = encode(&texts, cx)?;
            match revealed.get_mut("data").and_then(Value::as_object_mut) {
                Some(old) => old.extend(data),
                None => revealed["data"] = Value::Object(data),
            }
        }
    }
    match mentions_secret(&revealed.to_string()) {
        false => Ok(revealed),
        true => Err(Failure::invalid(format!("{} holds a secret outside the data of a Secret", describe(object)))
            .cause("everybody who may read the object could read it")
            .fix("put it into `stringData` of a Secret, and refer to that by `secretKeyRef`")),
    }
}

fn encode(texts: &Map<String, Value>, cx: &Context) -> Result<Map<String, Value>, Failure> {
    let one = |(key, value): (&String, &Value)| {
        let text = value.as_str().ok_or_else(|| Failure::invalid(format!("`stringData.{key}` is not a text")))?;
        let secret = cx.secrets.reveal(text).map_err(Failure::invalid)?;
        Ok((key.clone(), json!(base64::engine::general_purpose::STANDARD.encode(secret.expose()))))
    };
    texts.iter().map(one).collect()
}
