//! A text that a plan may also write as a number or a boolean: `replicas: 3` where a program needs `"3"`.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// A text, or what was written as a number or a boolean, as text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Scalar(pub(crate) String);

impl fmt::Debug for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self(text)),
            Value::Number(number) => Ok(Self(number.to_string())),
            Value::Bool(flag) => Ok(Self(flag.to_string())),
            Value::Null => Err(D::Error::custom("expected a text, found nothing (write \"\" for an empty one)")),
            Value::Array(_) => Err(D::Error::custom("expected a text, found a list")),
            Value::Object(_) => Err(D::Error::custom("expected a text, found a map")),
        }
    }
}

impl JsonSchema for Scalar {
    fn schema_name() -> Cow<'static, str> {
        "Scalar".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "number", "boolean"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_booleans_become_text() {
        let read: Vec<Scalar> = serde_json::from_str(r#"["a", 3, 0.5, true]"#).unwrap();
        assert_eq!(format!("{read:?}"), r#"["a", "3", "0.5", "true"]"#);
    }

    #[test]
    fn nothing_is_not_a_text() {
        let error = serde_json::from_str::<Scalar>("null").expect_err("null");
        assert!(error.to_string().contains("found nothing"), "{error}");
    }
}
