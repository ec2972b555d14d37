//! Figures against those of the last good run. Pure, but for reading and writing the file that keeps them.

use std::collections::BTreeMap;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::figures::number;
use crate::failure::Failure;

/// A share, as `20%`.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
pub(crate) struct Percent(#[schemars(with = "String", regex(pattern = r"^[0-9]+(\.[0-9]+)?%$"))] pub(crate) f64);

impl TryFrom<String> for Percent {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let number: Option<f64> = text.strip_suffix('%').and_then(|number| number.trim().parse().ok());
        let share = number.filter(|number| (0.0..=10_000.0).contains(number));
        share
            .map(|number| Self(number / 100.0))
            .ok_or_else(|| format!("expected a share such as \"20%\", found \"{text}\""))
    }
}

/// The figures that are compared.
pub(crate) const COMPARED: [&str; 11] = [
    "requests_per_s",
    "mean_ms",
    "p50_ms",
    "p90_ms",
    "p95_ms",
    "p99_ms",
    "first_token_p50_ms",
    "first_token_p95_ms",
    "token_mean_ms",
    "token_p95_ms",
    "tokens_per_s",
];

/// The last good run, as it is kept.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Kept {
    /// When it was.
    pub(crate) when: String,
    /// Whether it was in a rehearsal.
    pub(crate) simulated: bool,
    /// What was sent: another request has other figures.
    pub(crate) digest: String,
    /// The figures by scenario.
    pub(crate) scenarios: Map<String, Value>,
}

impl Kept {
    /// What is kept in a file, if it is there and can be read.
    pub(crate) async fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&tokio::fs::read(path).await.ok()?).ok()
    }

    /// Keeps it, whole or not at all.
    pub(crate) async fn write(&self, path: &Path) -> Result<(), Failure> {
        let failed = |error: std::io::Error| Failure::permanent(format!("cannot keep `{}`: {error}", path.display()));
        let text = serde_json::to_vec_pretty(self).map_err(|error| failed(error.into()))?;
        let fresh = path.with_extension("new");
        tokio::fs::write(&fresh, text).await.map_err(failed)?;
        tokio::fs::rename(&fresh, path).await.map_err(failed)
    }

    /// Whether another run may be held against it.
    pub(crate) fn compares(&self, other: &Self) -> bool {
        self.digest == other.digest && self.simulated == other.simulated
    }
}

/// How much each figure changed, by scenario: 0.2 is a fifth more. Only scenarios under the same load are compared.
pub(crate) fn changes(before: &Map<String, Value>, now: &Map<String, Value>) -> Map<String, Value> {
    let mut changes = Map::new();
    for (name, row) in now {
        let Some(old) = before.get(name).filter(|old| old["load"] == row["load"]) else { continue };
        let changed = COMPARED.iter().filter_map(|figure| {
            let (was, is) = (old.get(*figure)?.as_f64().filter(|was| *was > 0.0)?, row.get(*figure)?.as_f64()?);
            Some((
                (*figure).to_owned(),
                Value::from((is / was - 1.0) * 1e4).as_f64().map(|it| it.round() / 1e4)?.into(),
            ))
        });
        changes.insert(name.clone(), Value::Object(changed.collect()));
    }
    changes
}

/// What got worse by more than is tolerated, a line each.
pub(crate) fn worse(
    changes: &Map<String, Value>,
    tolerated: &BTreeMap<String, Percent>,
    before: &Map<String, Value>,
    now: &Map<String, Value>,
) -> Vec<String> {
    let mut worse = Vec::new();
    for (name, change) in changes {
        for (figure, most) in tolerated {
            let Some(change) = change[figure].as_f64() else { continue };
            // More in a second is better, more milliseconds are not.
            let loss = if figure.ends_with("_per_s") { -change } else { change };
            if loss > most.0 {
                let (was, is) = (number(&before[name][figure]), number(&now[name][figure]));
                let (change, most) = (change * 100.0, most.0 * 100.0);
                worse.push(format!("{name}.{figure} was {was}, is {is} ({change:+.0} %, tolerated {most:.0} %)"));
            }
        }
    }
    worse
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rows(p95: f64, rate: f64, concurrency: u32) -> Map<String, Value> {
        let row = json!({ "load": { "concurrency": concurrency }, "p95_ms": p95, "requests_per_s": rate });
        Map::from_iter([("heavy".to_owned(), row)])
    }

    fn tolerated() -> BTreeMap<String, Percent> {
        serde_json::from_value(json!({ "p95_ms": "20%", "requests_per_s": "10%" })).expect("shares")
    }

    #[test]
    fn slower_is_worse_and_faster_is_not() {
        let before = rows(100.0, 30.0, 20);
        for (now, expected) in [
            (rows(119.0, 27.1, 20), 0),
            (rows(121.0, 30.0, 20), 1),
            (rows(50.0, 26.0, 20), 1),
            (rows(50.0, 90.0, 20), 0),
        ] {
            let worse = worse(&changes(&before, &now), &tolerated(), &before, &now);
            assert_eq!(worse.len(), expected, "{now:?}: {worse:?}");
        }
        let now = rows(133.0, 30.0, 20);
        let worse = worse(&changes(&before, &now), &tolerated(), &before, &now);
        assert_eq!(worse, ["heavy.p95_ms was 100, is 133 (+33 %, tolerated 20 %)"]);
    }

    #[test]
    fn another_load_is_not_compared() {
        assert!(changes(&rows(100.0, 30.0, 20), &rows(100.0, 30.0, 10)).is_empty());
        assert!(changes(&Map::new(), &rows(100.0, 30.0, 10)).is_empty());
    }

    #[test]
    fn shares_are_written_with_their_sign() {
        let read = |text: &str| Percent::try_from(text.to_owned()).map(|percent| percent.0);
        assert_eq!((read("20%"), read("0.5%")), (Ok(0.2), Ok(0.005)));
        assert!(read("20").is_err() && read("-1%").is_err() && read("x%").is_err());
    }
}
