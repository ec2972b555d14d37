//! From the first request to the verdict.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::options::Bench;
use super::results::Results;
use crate::bench::replicas;
use crate::bench::run::{self, Ran, Target};
use crate::bench::script::Script;
use crate::bench::tally::{Tally, What};
use crate::bench::{figures, load::Load};
use crate::context::Context;
use crate::failure::{Class, Facts, Failure};
use crate::http::events::Streamed;
use crate::http::exchange::{Limits, exchange};
use crate::http::{self, judge};
use crate::step::Outputs;

/// Measures, keeps the figures, and judges them.
pub(super) async fn run(bench: &Bench, cx: &Context) -> Result<Outputs, Failure> {
    let target = target(bench, cx).await?;
    try_once(bench, &target, cx).await?;
    let mut measured = measure(bench, &target, cx).await?;
    if let (Some(test), None) = (&bench.cache_test, &measured.failure) {
        let found = replicas::test(test, &target, bench.parts(), cx).await?;
        measured.failure = test.verdict(&found);
        measured.figures.insert("cache".to_owned(), found.shown());
    }
    let results = Results::of(bench, measured.figures, cx).await;
    for line in results.table.lines() {
        cx.note(line);
    }
    let files = results.write(bench, cx).await?;
    if let Some(failure) = measured.failure {
        return Err(failure.detail(results.table));
    }
    let unmet = judge::unmet(&bench.assert, "bench", &results.bench)?;
    if let Some(failure) = judge::assertion_failure(&unmet) {
        let detail = [failure.detail.as_str(), &results.table].join("\n");
        return Err(failure.detail(detail.trim_start().to_owned()));
    }
    results.hold_against_last(bench)?;
    results.keep(cx).await?;
    Ok(Outputs::from_iter([
        ("bench".to_owned(), results.bench),
        ("table".to_owned(), Value::String(results.table)),
        ("files".to_owned(), files),
    ]))
}

async fn target(bench: &Bench, cx: &Context) -> Result<Target, Failure> {
    let most = bench.scenarios.iter().map(|load| load.requests.map_or(u64::MAX, |requests| u64::from(requests.get())));
    let most = most.max().unwrap_or(1);
    Ok(Target {
        script: Arc::new(Script::new(bench.parts(), &bench.prompts, most, cx)?),
        route: bench.way().route(cx).await?,
        expect: bench.expect.clone(),
        patience: http::patience(bench.timeout.0, cx),
    })
}

/// One request must be good before there is any load: a run full of refusals would say nothing, and say it late.
async fn try_once(bench: &Bench, target: &Target, cx: &Context) -> Result<(), Failure> {
    cx.note(&format!("{} {}", bench.parts().method(), bench.url));
    let limits = Limits { redirects: 0, patience: target.patience, body: 4096 };
    let before = |mut failure: Failure| {
        failure.what = format!("before any load: {}", failure.what);
        failure
    };
    let answer = exchange(&target.route, &target.script.ask, limits).await;
    let answer = answer.map_err(|broken| before(broken.failure(&bench.url)))?;
    let body = cx.redactor.mask(&String::from_utf8_lossy(&answer.body)).into_owned();
    if !bench.expect.takes(answer.status) {
        let pause = http::retry_after(&answer.headers, cx.clock().now());
        return Err(before(http::refused(answer.status, &bench.url, &body, pause)));
    }
    let problem = bench.expect.version_problem(answer.version);
    match problem.or_else(|| answer.streamed.as_ref().and_then(Streamed::fault)) {
        Some(problem) => Err(before(Failure::permanent(format!("`{}`: {problem}", bench.url)))),
        None => Ok(()),
    }
}

struct Measured {
    /// What `bench` is in expressions.
    figures: Map<String, Value>,
    /// What there is to say of failed requests, if there were too many.
    failure: Option<Failure>,
}

async fn measure(bench: &Bench, target: &Target, cx: &Context) -> Result<Measured, Failure> {
    let (mut figures, mut all, mut took) = (Map::new(), Tally::new(), Duration::ZERO);
    let mut failure = None;
    for load in &bench.scenarios {
        cx.progress(format!("{} · warming up", load.name));
        let ran = run::put(load, u64::from(bench.warm_up), target.clone(), cx).await?;
        figures.insert(load.name.clone(), Value::Object(figures::of(load, &ran, cx.clock())));
        failure = too_many_failed(bench, load, &ran, cx);
        took += ran.took;
        all.add(ran.tally);
        if failure.is_some() {
            break;
        }
    }
    figures.insert("total".to_owned(), figures::total(&all, took, cx.clock()));
    figures.insert("simulated".to_owned(), json!(cx.world.simulated.is_some()));
    figures.insert("when".to_owned(), json!(cx.clock().now().to_string()));
    Ok(Measured { figures, failure })
}

fn too_many_failed(bench: &Bench, load: &Load, ran: &Ran, cx: &Context) -> Option<Failure> {
    let tally = &ran.tally;
    let good = |status| bench.expect.takes(status);
    if tally.bad as f64 <= bench.tolerate.0 * tally.sent() as f64 {
        return None;
    }
    let (what, _, sample) = tally.worst(good)?;
    let sample = cx.redactor.mask(sample);
    let counts = figures::failures(tally, good);
    let mut failure = match what {
        What::Status(status) => http::refused(status, &bench.url, &sample, None),
        What::Trouble(name) => broken(name, &sample),
    };
    let first = sample.lines().next().map(str::trim).filter(|line| !line.is_empty()).map(|line| format!(": {line}"));
    failure.what = format!(
        "`{}`: {} of {} requests to `{}` failed ({counts}); most with {}{}",
        load.name,
        tally.bad,
        tally.sent(),
        bench.url,
        figures::told(what),
        first.unwrap_or_default(),
    );
    Some(failure)
}

fn broken(name: &str, sample: &str) -> Failure {
    let passes = matches!(name, "refused" | "unreachable" | "reset" | "timeout" | "tls");
    let class = if passes { Class::Transient } else { Class::Permanent };
    Failure::new(class, sample).facts(Facts::default())
}
