//! A span of time as a plan writes it: `90s`, `1h30m`, `500ms`. A bare number is refused: nobody knows what it counts.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// A span of time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = serde_json::Value::deserialize(deserializer)?;
        let wrong = || D::Error::custom(format!("expected a span of time such as \"90s\" or \"1h30m\", found {text}"));
        text.as_str().and_then(parse).map(Self).ok_or_else(wrong)
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^([0-9]+(\\.[0-9]+)?(ms|s|m|h|d))+$", "examples": ["90s", "1h30m"] })
    }
}

/// Numbers with their units, largest first as people write them; the order is not enforced.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let (mut total, mut rest) = (Duration::ZERO, text.trim());
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let letters = rest[digits..].find(|letter: char| !letter.is_ascii_alphabetic()).unwrap_or(rest.len() - digits);
        let number: f64 = rest[..digits].parse().ok()?;
        let seconds = match &rest[digits..digits + letters] {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        total = total.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = &rest[digits + letters..];
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read() {
        let cases = [("90s", 90_000), ("1h30m", 5_400_000), ("500ms", 500), ("1.5s", 1500), ("1d", 86_400_000)];
        for (text, millis) in cases {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "5", "5x", "s", "-1s", "1s 2"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
