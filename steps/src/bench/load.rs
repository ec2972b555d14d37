//! How much load, as a plan says it.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::span::Span;

/// One row of the table of scenarios.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Load {
    /// What results are called: a word that expressions can name, as in `bench.heavy.p95_ms`.
    pub(crate) name: String,
    /// How many requests in all.
    pub(crate) requests: Option<NonZeroU32>,
    /// How long to go on sending.
    pub(crate) duration: Option<Span>,
    /// How many may be under way at once, each over a connection of its own.
    #[serde(default = "one")]
    pub(crate) concurrency: NonZeroU32,
    /// How many to send in a second, however slowly they are answered; without it as fast as they are answered.
    pub(crate) rate: Option<Rate>,
}

/// Requests in a second.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(try_from = "f64")]
pub(crate) struct Rate(#[schemars(range(min = 0.001))] pub(crate) f64);

impl TryFrom<f64> for Rate {
    type Error = String;

    fn try_from(rate: f64) -> Result<Self, String> {
        if rate.is_finite() && rate >= 0.001 {
            return Ok(Self(rate));
        }
        Err(format!("expected requests in a second, at least 0.001, found {rate}"))
    }
}

fn one() -> NonZeroU32 {
    NonZeroU32::MIN
}

/// Keys of the results that are no scenario's.
pub(crate) const TAKEN: [&str; 5] = ["total", "cache", "since", "simulated", "when"];

impl Load {
    /// So many requests, one after the other.
    pub(super) fn serial(requests: u64) -> Self {
        let requests = u32::try_from(requests).ok().and_then(NonZeroU32::new);
        Self { name: String::new(), requests: requests.or(Some(one())), duration: None, concurrency: one(), rate: None }
    }

    /// What is wrong with it, and at which of its keys.
    pub(crate) fn problem(&self) -> Option<(&'static str, String)> {
        let letter = |first: char| first.is_ascii_alphabetic() || first == '_';
        let word = self.name.starts_with(letter) && self.name.chars().all(|c| letter(c) || c.is_ascii_digit());
        if !word {
            let message = format!("`{}` cannot be named in an expression: use letters, digits and `_`", self.name);
            return Some(("name", message));
        }
        if TAKEN.contains(&self.name.as_str()) {
            return Some(("name", format!("`{}` stands for something else in the results", self.name)));
        }
        if self.requests.is_some() == self.duration.is_some() {
            return Some(("", "give `requests` or `duration`, one of them".to_owned()));
        }
        None
    }

    /// How many workers it takes: no more than there are requests.
    pub(crate) fn workers(&self) -> u32 {
        self.requests.map_or(self.concurrency, |requests| requests.min(self.concurrency)).get()
    }

    /// What has to be the same in two runs for them to be compared.
    pub(crate) fn shape(&self) -> Value {
        let mut shape = Map::new();
        shape.insert("concurrency".to_owned(), json!(self.concurrency));
        shape.extend(self.requests.map(|requests| ("requests".to_owned(), json!(requests))));
        shape.extend(self.duration.map(|span| ("duration_s".to_owned(), json!(span.0.as_secs_f64()))));
        shape.extend(self.rate.map(|rate| ("rate".to_owned(), json!(rate))));
        Value::Object(shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Load {
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn mistakes_are_told() {
        for (text, key) in [
            (r#"{"name": "a-b", "requests": 1}"#, "name"),
            (r#"{"name": "total", "requests": 1}"#, "name"),
            (r#"{"name": "a"}"#, ""),
            (r#"{"name": "a", "requests": 1, "duration": "1s"}"#, ""),
        ] {
            assert_eq!(load(text).problem().map(|(at, _)| at), Some(key), "{text}");
        }
        assert_eq!(load(r#"{"name": "heavy_2", "requests": 1}"#).problem(), None);
        assert!(serde_json::from_str::<Load>(r#"{"name": "a", "requests": 0}"#).is_err());
        assert!(serde_json::from_str::<Load>(r#"{"name": "a", "requests": 1, "rate": -1}"#).is_err());
    }

    #[test]
    fn there_are_no_more_workers_than_requests() {
        assert_eq!(load(r#"{"name": "a", "requests": 3, "concurrency": 8}"#).workers(), 3);
        assert_eq!(load(r#"{"name": "a", "duration": "3s", "concurrency": 8}"#).workers(), 8);
    }
}
