//! What is sent: the same request every time, or one body for each prompt, or a body made for each request.

use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Map, Value, json};

use crate::context::Context;
use crate::failure::Failure;
use crate::http::exchange::Ask;
use crate::http::judge;
use crate::http::options::{Filling, Parts};

/// The most bodies that are made ahead.
const AHEAD: u64 = 4096;

/// Requests by number.
pub(crate) struct Script {
    /// What is the same in all of them.
    pub(crate) ask: Ask,
    bodies: Vec<Bytes>,
}

impl Script {
    /// Makes the bodies, before any clock runs. A body that names its request's number is made for each of `most` requests.
    pub(crate) fn new(parts: Parts<'_>, prompts: &[String], most: u64, cx: &Context) -> Result<Self, Failure> {
        let numbered = prompts.iter().any(|prompt| numbers(prompt)) || parts.texts().iter().any(|text| numbers(text));
        let prompted = u64::try_from(prompts.len().max(1)).unwrap_or(u64::MAX);
        let count = if numbered { most.clamp(prompted, AHEAD) } else { prompted };
        let mut bodies = Vec::new();
        for number in 0..count {
            bodies.push(body(parts, prompts, number, cx)?);
        }
        let names = names(prompts, 0)?;
        Ok(Self { ask: parts.ask(Some(&names), cx)?, bodies })
    }

    /// The same from a later request on.
    pub(super) fn from(&self, number: u64) -> Self {
        let count = self.bodies.len().max(1);
        let mut bodies = self.bodies.clone();
        bodies.rotate_left(usize::try_from(number).unwrap_or_default() % count);
        Self { ask: self.ask.clone(), bodies }
    }

    /// The body of a request.
    pub(super) fn body(&self, number: u64) -> Bytes {
        let count = u64::try_from(self.bodies.len()).unwrap_or(1).max(1);
        usize::try_from(number % count).ok().and_then(|at| self.bodies.get(at)).cloned().unwrap_or_default()
    }
}

/// Whether a text says another thing for each request.
fn numbers(text: &str) -> bool {
    judge::is_template(text) && text.contains("number")
}

fn body(parts: Parts<'_>, prompts: &[String], number: u64, cx: &Context) -> Result<Bytes, Failure> {
    let names = names(prompts, number)?;
    parts.content(&Filling { names: Some(&names), cx }, &mut HeaderMap::new())
}

/// What a body may name: the request's number from 1, and its prompt.
fn names(prompts: &[String], number: u64) -> Result<Map<String, Value>, Failure> {
    let mut names = Map::from_iter([("number".to_owned(), json!(number + 1))]);
    let turn = number % u64::try_from(prompts.len().max(1)).unwrap_or(1);
    if let Some(prompt) = usize::try_from(turn).ok().and_then(|turn| prompts.get(turn)) {
        let prompt = judge::filled(prompt, &names)?;
        names.insert("prompt".to_owned(), Value::String(prompt));
    }
    Ok(names)
}
