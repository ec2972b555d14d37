//! What counts come to: the figures that expressions, files and tables show. All times are the plan's. Pure.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::load::Load;
use super::run::Ran;
use super::tally::{Spans, Tally, What};
use crate::clock::Clock;
use crate::context::Context;

/// The shares of all requests whose times are shown.
const SHARES: [(&str, f64); 4] = [("p50_ms", 0.50), ("p90_ms", 0.90), ("p95_ms", 0.95), ("p99_ms", 0.99)];

/// What a scenario has besides times; `*` stands for anything.
const COUNTED: [&str; 16] = [
    "load.*",
    "requests",
    "ok",
    "failed",
    "success",
    "statuses.*",
    "troubles.*",
    "seconds",
    "requests_per_s",
    "bytes",
    "min_ms",
    "max_ms",
    "deviation_ms",
    "prompt_tokens",
    "tokens",
    "tokens_per_s",
];

/// What all scenarios have together.
pub(crate) const TOTAL: [&str; 8] =
    ["requests", "ok", "failed", "success", "statuses.*", "troubles.*", "tokens", "seconds"];

/// What the times of a scenario may begin with: the latencies, those without the wait, and those of streams.
const PREFIXES: [&str; 4] = ["", "service_", "first_token_", "token_"];

/// All figures that a scenario may have.
pub(crate) fn named() -> Vec<String> {
    let shares = || ["mean_ms"].into_iter().chain(SHARES.map(|(name, _)| name));
    let times = PREFIXES.into_iter().flat_map(|prefix| shares().map(move |name| format!("{prefix}{name}")));
    COUNTED.map(str::to_owned).into_iter().chain(times).collect()
}

/// The figures of one scenario.
pub(crate) fn of(load: &Load, ran: &Ran, clock: Clock) -> Map<String, Value> {
    let tally = &ran.tally;
    let seconds = clock.model_span(ran.took).as_secs_f64();
    let mut figures = Map::new();
    let mut put = |name: &str, value: Value| figures.insert(name.to_owned(), value);
    put("load", load.shape());
    put("requests", json!(tally.sent()));
    put("ok", json!(tally.good));
    put("failed", json!(tally.bad));
    put("success", json!(success(tally)));
    put("statuses", statuses(tally));
    put("troubles", json!(tally.troubles));
    put("seconds", json!(rounded(seconds)));
    put("requests_per_s", json!(per_second(tally.good, seconds)));
    put("bytes", json!(tally.bytes));
    if tally.latency.count() > 0 {
        let (shortest, longest) = tally.latency.ends();
        put("min_ms", milliseconds(shortest, clock));
        put("max_ms", milliseconds(longest, clock));
        put("deviation_ms", milliseconds(tally.latency.deviation(), clock));
    }
    if tally.tokens.completion_tokens > 0 {
        put("prompt_tokens", json!(tally.tokens.prompt_tokens));
        put("tokens", json!(tally.tokens.completion_tokens));
        put("tokens_per_s", json!(per_second(tally.tokens.completion_tokens, seconds)));
    }
    let kinds = [("", Some(&tally.latency)), ("service_", tally.service.as_ref())];
    let streamed = [("first_token_", tally.first.as_ref()), ("token_", tally.each.as_ref())];
    for (prefix, spans) in kinds.into_iter().chain(streamed) {
        spread(prefix, spans, clock, &mut figures);
    }
    figures
}

fn spread(prefix: &str, spans: Option<&Spans>, clock: Clock, figures: &mut Map<String, Value>) {
    let Some(spans) = spans.filter(|spans| spans.count() > 0) else { return };
    figures.insert(format!("{prefix}mean_ms"), milliseconds(spans.mean(), clock));
    for (name, share) in SHARES {
        figures.insert(format!("{prefix}{name}"), milliseconds(spans.at(share), clock));
    }
}

/// What all scenarios come to together.
pub(crate) fn total(tally: &Tally, took: Duration, clock: Clock) -> Value {
    json!({
        "requests": tally.sent(), "ok": tally.good, "failed": tally.bad, "success": success(tally),
        "statuses": statuses(tally), "troubles": tally.troubles, "tokens": tally.tokens.completion_tokens,
        "seconds": rounded(clock.model_span(took).as_secs_f64()),
    })
}

/// How far a scenario is, in one line.
pub(super) fn progress(load: &Load, tally: &Tally, took: Duration, cx: &Context) -> String {
    let sent = match load.requests {
        Some(most) => format!("{}/{most} requests", tally.sent()),
        None => format!("{} requests", tally.sent()),
    };
    let rate = per_second(tally.good, took.as_secs_f64());
    let latency = match tally.latency.count() {
        0 => String::new(),
        _ => format!(" · p95 {:.0} ms", number(&milliseconds(tally.latency.at(0.95), cx.clock()))),
    };
    let failed = if tally.bad > 0 { format!(" · {} failed", tally.bad) } else { String::new() };
    let simulated = if cx.world.simulated.is_some() { " (simulated)" } else { "" };
    format!("{} · {sent} · {rate:.1}/s{latency}{failed}{simulated}", load.name)
}

/// Counts by what went wrong, most first, as in `426 ×100, reset ×2`.
pub(crate) fn failures(tally: &Tally, good: impl Fn(u16) -> bool) -> String {
    let statuses = tally.statuses.iter().filter(|(status, _)| !good(**status));
    let statuses = statuses.map(|(status, count)| (status.to_string(), *count));
    let troubles = tally.troubles.iter().map(|(name, count)| ((*name).to_owned(), *count));
    let mut all: Vec<(String, u64)> = statuses.chain(troubles).collect();
    all.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    all.iter().map(|(what, count)| format!("{what} ×{count}")).collect::<Vec<_>>().join(", ")
}

/// How a kind of failure reads in a sentence.
pub(crate) fn told(what: What) -> String {
    match what {
        What::Status(status) => format!("status {status}"),
        What::Trouble(name) => name.to_owned(),
    }
}

fn statuses(tally: &Tally) -> Value {
    tally.statuses.iter().map(|(status, count)| (status.to_string(), json!(count))).collect::<Map<_, _>>().into()
}

fn success(tally: &Tally) -> f64 {
    if tally.sent() == 0 { 0.0 } else { tally.good as f64 / tally.sent() as f64 }
}

fn per_second(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { rounded(count as f64 / seconds) } else { 0.0 }
}

/// A span of the machine's time as milliseconds of the plan's.
fn milliseconds(real: Duration, clock: Clock) -> Value {
    json!(rounded(clock.model_span(real).as_secs_f64() * 1e3))
}

/// To three places after the point.
fn rounded(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}

/// A figure as a number; 0 where there is none.
pub(crate) fn number(figure: &Value) -> f64 {
    figure.as_f64().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::tally::{Bad, End, Good};
    use crate::http::events::Usage;

    fn ran() -> Ran {
        let mut tally = Tally::new();
        for ms in 1..=100 {
            let tokens = Usage { prompt_tokens: 3, completion_tokens: 10 };
            let latency = Duration::from_millis(ms);
            tally.count(End::Good(Good { status: 200, latency, first: Some(latency / 2), tokens, ..Good::default() }));
        }
        tally.count(End::Bad(Bad { what: What::Status(503), text: String::new() }));
        Ran { tally, took: Duration::from_secs(2) }
    }

    fn load() -> Load {
        serde_json::from_value(json!({ "name": "a", "requests": 101 })).expect("a load")
    }

    #[test]
    fn figures_are_what_was_counted() {
        let figures = of(&load(), &ran(), Clock::real());
        assert_eq!((&figures["requests"], &figures["failed"], &figures["ok"]), (&json!(101), &json!(1), &json!(100)));
        assert_eq!(figures["statuses"], json!({ "200": 100, "503": 1 }));
        assert_eq!((&figures["requests_per_s"], &figures["tokens_per_s"]), (&json!(50.0), &json!(500.0)));
        assert!((number(&figures["p95_ms"]) - 95.0).abs() < 0.2);
        assert!((number(&figures["first_token_p95_ms"]) - 47.5).abs() < 0.2);
        assert!(!figures.contains_key("service_p95_ms"));
    }

    #[test]
    fn every_figure_is_among_those_that_may_be_named() {
        let known = named();
        let rated = serde_json::from_value(json!({ "name": "a", "requests": 101, "rate": 5 })).expect("a load");
        for name in of(&rated, &ran(), Clock::real()).keys() {
            assert!(known.iter().any(|known| known.trim_end_matches(".*") == name), "{name}");
        }
        let whole = total(&ran().tally, Duration::from_secs(2), Clock::real());
        let names: Vec<&String> = whole.as_object().expect("figures").keys().collect();
        assert_eq!(names, TOTAL.map(|name| name.trim_end_matches(".*")));
    }

    #[test]
    fn on_a_fast_clock_they_are_the_plans_time() {
        let figures = of(&load(), &ran(), Clock::scaled(0, 100.0));
        assert!((number(&figures["p95_ms"]) - 9500.0).abs() < 20.0);
        assert_eq!((&figures["seconds"], &figures["requests_per_s"]), (&json!(200.0), &json!(0.5)));
    }

    #[test]
    fn failures_are_told_most_first() {
        let mut tally = ran().tally;
        tally.count(End::Bad(Bad { what: What::Trouble("reset"), text: String::new() }));
        tally.count(End::Bad(Bad { what: What::Trouble("reset"), text: String::new() }));
        assert_eq!(failures(&tally, |status| status == 200), "reset ×2, 503 ×1");
    }
}
