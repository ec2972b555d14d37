//! What a plan wants of a program, and what is wrong with the one that was found. Pure.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::known;
use crate::version::Version;

/// What a program must be.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    at_least: Option<Version>,
    below: Option<Version>,
    args: Option<Vec<String>>,
    pub(super) install: Option<String>,
}

/// The long form.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Written {
    /// The lowest version that will do.
    at_least: Option<Value>,
    /// The version that is too new already.
    below: Option<Value>,
    /// What makes it say its version, where `--version` does not.
    args: Option<Vec<String>>,
    /// How to get it.
    install: Option<String>,
}

impl<'de> Deserialize<'de> for Wanted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            written @ Value::Object(_) => {
                let written: Written = serde_json::from_value(written).map_err(D::Error::custom)?;
                let version = |it: &Option<Value>| it.as_ref().map_or(Ok(None), version).map_err(D::Error::custom);
                let (at_least, below) = (version(&written.at_least)?, version(&written.below)?);
                Ok(Self { at_least, below, args: written.args, install: written.install })
            }
            short => Ok(Self { at_least: version(&short).map_err(D::Error::custom)?, ..Self::default() }),
        }
    }
}

/// A version as a plan writes it; none for `any`.
fn version(value: &Value) -> Result<Option<Version>, String> {
    match value {
        Value::String(text) if text == "any" => Ok(None),
        Value::String(text) => Version::parse(text)
            .map(Some)
            .ok_or_else(|| format!("`{text}` is not a version: write one such as '3.17', or any")),
        Value::Number(number) if number.is_u64() => Ok(Version::parse(&number.to_string())),
        Value::Number(number) => {
            Err(format!("write the version as a text ('{number}'): as a number, 3.10 would be 3.1"))
        }
        other => Err(format!("expected a version such as '3.17', or any, found {other}")),
    }
}

impl JsonSchema for Wanted {
    fn schema_name() -> Cow<'static, str> {
        "Wanted".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let long = generator.subschema_for::<Written>();
        json_schema!({ "anyOf": [
            { "type": "string", "examples": ["3.17", "any"] },
            { "type": "integer" },
            long,
        ] })
    }
}

impl Wanted {
    /// What makes the program say its version.
    pub(super) fn args<'a>(&'a self, name: &str) -> Vec<&'a str> {
        match &self.args {
            Some(args) => args.iter().map(String::as_str).collect(),
            None => known::of(name).args.to_vec(),
        }
    }
}

/// What is wrong with a program.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fault {
    Missing,
    NoVersion,
    TooOld(Version),
    TooNew(Version),
}

/// What is wrong with a program that was found so, if anything.
pub(super) fn judge(present: bool, version: Option<&Version>, wanted: &Wanted) -> Option<Fault> {
    if !present {
        return Some(Fault::Missing);
    }
    let Some(version) = version else {
        return (wanted.at_least.is_some() || wanted.below.is_some()).then_some(Fault::NoVersion);
    };
    let too_old = wanted.at_least.as_ref().filter(|least| version < least).cloned().map(Fault::TooOld);
    too_old.or_else(|| wanted.below.as_ref().filter(|below| version >= below).cloned().map(Fault::TooNew))
}

impl Fault {
    /// In words.
    pub(super) fn told(&self, name: &str, version: Option<&Version>) -> String {
        let version = version.map(|it| format!(" {it}")).unwrap_or_default();
        match self {
            Fault::Missing => format!("{name} is missing"),
            Fault::NoVersion => format!("{name} does not say its version"),
            Fault::TooOld(least) => format!("{name}{version} is too old (at least {least})"),
            Fault::TooNew(below) => format!("{name}{version} is too new (below {below})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn wanted(value: Value) -> Wanted {
        serde_json::from_value(value).expect("a good version")
    }

    #[test]
    fn floors_and_ceilings_are_judged() {
        let told = |found: &str, value: Value| {
            let version = Version::parse(found);
            judge(true, version.as_ref(), &wanted(value)).map(|fault| fault.told("p", version.as_ref()))
        };
        assert_eq!(told("5.8.0", json!("5.8")), None);
        assert_eq!(told("5.8.0-rc.1", json!("5.8")).as_deref(), Some("p 5.8.0-rc.1 is too old (at least 5.8)"));
        assert_eq!(told("4.1", json!({ "below": 4 })).as_deref(), Some("p 4.1 is too new (below 4)"));
        assert_eq!(told("0.1", json!("any")), None);
        assert_eq!(told("", json!("any")), None);
        assert_eq!(told("", json!(3)).as_deref(), Some("p does not say its version"));
        assert_eq!(judge(false, None, &wanted(json!("any"))), Some(Fault::Missing));
    }

    #[test]
    fn what_is_no_version_is_explained() {
        let why = |value: Value| serde_json::from_value::<Wanted>(value).expect_err("no version").to_string();
        assert!(why(json!(3.1)).contains("3.10 would be 3.1"));
        assert!(why(json!(">=3")).contains("not a version"));
        assert!(why(json!({ "at_lest": "3" })).contains("at_lest"));
    }
}
