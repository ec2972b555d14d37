//! Figures as people and spreadsheets read them. Pure.

use serde_json::{Map, Value};

use super::figures::number;

/// A column: its title in the table, the name of its figure, and how many places after the point.
type Column = (&'static str, &'static str, usize);

const ALWAYS: [Column; 8] = [
    ("requests", "requests", 0),
    ("failed", "failed", 0),
    ("req/s", "requests_per_s", 2),
    ("mean ms", "mean_ms", 0),
    ("p50 ms", "p50_ms", 0),
    ("p95 ms", "p95_ms", 0),
    ("p99 ms", "p99_ms", 0),
    ("max ms", "max_ms", 0),
];

const TOKENS: [Column; 3] = [
    ("first token p95", "first_token_p95_ms", 0),
    ("token p95 ms", "token_p95_ms", 1),
    ("tokens/s", "tokens_per_s", 1),
];

/// The figures that a spreadsheet gets, besides the scenario's name and its load.
const SHEET: [&str; 22] = [
    "requests",
    "ok",
    "failed",
    "success",
    "seconds",
    "requests_per_s",
    "mean_ms",
    "min_ms",
    "p50_ms",
    "p90_ms",
    "p95_ms",
    "p99_ms",
    "max_ms",
    "deviation_ms",
    "service_p95_ms",
    "first_token_mean_ms",
    "first_token_p50_ms",
    "first_token_p95_ms",
    "token_mean_ms",
    "token_p95_ms",
    "tokens",
    "tokens_per_s",
];

/// A table with a row for each scenario.
pub(crate) fn text(scenarios: &Map<String, Value>, changes: &Map<String, Value>) -> String {
    let figure = |row: &Value, name: &str| row.get(name).is_some_and(|value| !value.is_null());
    let columns: Vec<Column> = ALWAYS
        .into_iter()
        .chain(TOKENS.into_iter().filter(|(_, name, _)| scenarios.values().any(|row| figure(row, name))))
        .collect();
    let mut head = vec!["scenario".to_owned(), "load".to_owned()];
    head.extend(columns.iter().map(|(title, ..)| (*title).to_owned()));
    head.push("p95 since".to_owned());
    let mut rows = vec![head];
    for (name, row) in scenarios {
        let mut cells = vec![name.clone(), load(&row["load"])];
        cells.extend(columns.iter().map(|(_, figure, places)| cell(row.get(*figure), *places)));
        cells.push(changes.get(name).map_or_else(String::new, |change| percent(&change["p95_ms"])));
        rows.push(cells);
    }
    if changes.is_empty() {
        rows.iter_mut().for_each(|row| drop(row.pop()));
    }
    aligned(&rows)
}

/// A load in a few letters: `c20`, `c50 30/s`.
fn load(shape: &Value) -> String {
    let concurrency = &shape["concurrency"];
    let most = match (&shape["requests"], &shape["duration_s"]) {
        (Value::Number(requests), _) => format!("{requests} "),
        (_, Value::Number(seconds)) => format!("{seconds} s "),
        _ => String::new(),
    };
    let rate = shape["rate"].as_f64().map(|rate| format!(" {rate}/s")).unwrap_or_default();
    format!("{most}c{concurrency}{rate}")
}

fn cell(value: Option<&Value>, places: usize) -> String {
    value.filter(|value| value.is_number()).map_or_else(
        || "–".to_owned(),
        |value| {
            let number = number(value);
            // Below ten milliseconds whole ones say nothing.
            let places = if places == 0 && !value.is_u64() && number < 10.0 { 2 } else { places };
            format!("{number:.places$}")
        },
    )
}

fn percent(change: &Value) -> String {
    change.as_f64().map_or_else(String::new, |change| format!("{:+.0} %", change * 100.0))
}

/// Names to the left, figures to the right.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map(Vec::len).unwrap_or_default();
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(at, (cell, &width))| match at {
            0 | 1 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// What a cache test found.
pub(crate) fn cache(cache: &Value) -> String {
    let mut rows = vec![["replica", "requests", "queries", "hits"].map(str::to_owned).to_vec()];
    // The second column of a table is text; here it is a figure, and its width is that of its title anyway.
    for replica in cache["replicas"].as_array().into_iter().flatten() {
        let name = replica["name"].as_str().unwrap_or_default().to_owned();
        let figures = ["requests", "queries", "hits"].map(|figure| format!("{:.0}", number(&replica[figure])));
        rows.push([vec![name], figures.to_vec()].concat());
    }
    let share = |name: &str| number(&cache[name]) * 100.0;
    let (same, first, second) = (share("same_replica"), share("first_half"), share("second_half"));
    format!("{}same replica {same:.0} % · cache hits {first:.0} % → {second:.0} %\n", aligned(&rows))
}

/// Comma-separated values with a head line, one line for each scenario.
pub(crate) fn csv(scenarios: &Map<String, Value>, simulated: bool) -> String {
    let mut text = format!("scenario,concurrency,rate,{},simulated\n", SHEET.join(","));
    for (name, row) in scenarios {
        let plain = |value: Option<&Value>| {
            value.filter(|value| value.is_number()).map(ToString::to_string).unwrap_or_default()
        };
        let mut cells = vec![name.clone(), plain(row["load"].get("concurrency")), plain(row["load"].get("rate"))];
        cells.extend(SHEET.iter().map(|figure| plain(row.get(*figure))));
        cells.push(simulated.to_string());
        text.push_str(&cells.join(","));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn scenarios() -> Map<String, Value> {
        let row = json!({
            "load": { "concurrency": 20, "requests": 100 }, "requests": 100, "ok": 100, "failed": 0, "success": 1.0,
            "requests_per_s": 33.7, "mean_ms": 554.25, "p50_ms": 533.0, "p95_ms": 715.0, "p99_ms": 807.0, "max_ms": 807.0,
        });
        Map::from_iter([("heavy".to_owned(), row)])
    }

    #[test]
    fn a_table_has_a_row_for_each_scenario() {
        let expected = "\
scenario  load     requests  failed  req/s  mean ms  p50 ms  p95 ms  p99 ms  max ms
heavy     100 c20       100       0  33.70      554     533     715     807     807
";
        assert_eq!(text(&scenarios(), &Map::new()), expected);
    }

    #[test]
    fn a_change_since_the_last_run_stands_at_the_end() {
        let changes = Map::from_iter([("heavy".to_owned(), json!({ "p95_ms": 0.124 }))]);
        let text = text(&scenarios(), &changes);
        assert!(text.lines().next().is_some_and(|head| head.ends_with("p95 since")));
        assert!(text.ends_with("+12 %\n"), "{text}");
    }

    #[test]
    fn a_sheet_has_a_head_and_as_many_cells_in_each_line() {
        let sheet = csv(&scenarios(), true);
        let lines: Vec<usize> = sheet.lines().map(|line| line.split(',').count()).collect();
        assert_eq!(lines, [SHEET.len() + 4; 2]);
        assert!(
            sheet
                .lines()
                .nth(1)
                .is_some_and(|line| line.starts_with("heavy,20,,100,100,0,") && line.ends_with(",true"))
        );
    }
}
