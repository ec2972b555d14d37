//! Asking until the answer is good, cannot get better, or was asked for often enough.

use std::time::Duration;

use serde_json::{Map, Value};

use super::request::Request;
use super::seen::{LARGEST_BODY, Seen};
use crate::context::{Context, Progress};
use crate::failure::{Class, Facts, Failure};
use crate::http::exchange::{Limits, exchange};
use crate::http::options::Expect;
use crate::http::{self, judge};

/// The longest pause between two tries of the same request.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Asks until the answer is as wanted.
pub(super) async fn ask(
    request: &Request,
    captured: Option<&Map<String, Value>>,
    cx: &Context,
) -> Result<Seen, Failure> {
    cx.note(&request.title());
    let mut tries = Tries::default();
    loop {
        let asked = once(request, captured, cx).await;
        if let Ok(seen) = &asked {
            let simulated = if cx.world.simulated.is_some() { " (simulated)" } else { "" };
            cx.note(&format!("{} in {} ms{simulated}", seen.status, seen.response["time_ms"]));
        }
        match judge(request, asked, &mut tries)? {
            Judged::Good(seen) => return asserted(request, seen),
            Judged::Again { why, facts, pause } => {
                cx.observer.progress(Progress { text: why, facts });
                cx.clock().sleep(pause).await;
            }
        }
    }
}

async fn once(request: &Request, captured: Option<&Map<String, Value>>, cx: &Context) -> Result<Seen, Failure> {
    let ask = request.ask(captured, cx)?;
    let route = request.way().route(cx).await?;
    let patience = http::patience(request.timeout.0, cx);
    let limits = Limits { redirects: request.redirects, patience, body: LARGEST_BODY };
    let answer = exchange(&route, &ask, limits).await.map_err(|broken| broken.failure(&request.url))?;
    Ok(Seen::of(&answer, cx))
}

enum Judged {
    Good(Seen),
    Again { why: String, facts: Facts, pause: Duration },
}

/// How often the same request was tried again, by what went wrong.
#[derive(Default)]
struct Tries {
    connection: u32,
    server_error: u32,
    throttled: u32,
}

impl Tries {
    /// How long to pause before trying again after a failure, if it may be tried again.
    fn pause(&mut self, request: &Request, failure: &Failure) -> Option<Duration> {
        let retries = request.retries;
        let answered = failure.facts.http_status.is_some();
        let (used, most) = match (failure.class, answered) {
            (Class::Throttled, _) => (&mut self.throttled, retries.throttled),
            (Class::Transient, true) => (&mut self.server_error, retries.server_error),
            (Class::Transient, false) => (&mut self.connection, retries.connection),
            _ => return None,
        };
        if *used >= most {
            return None;
        }
        *used += 1;
        let doubled = retries.pause.0.saturating_mul(1 << (*used - 1).min(16));
        Some(failure.retry_after.unwrap_or_else(|| doubled.min(LONGEST_PAUSE)))
    }
}

/// Whether an answer is good, bad, or a reason to ask again.
fn judge(request: &Request, asked: Result<Seen, Failure>, tries: &mut Tries) -> Result<Judged, Failure> {
    match &request.until {
        Some(until) => awaited(request, until, asked),
        None => asked.and_then(|seen| expected(request, seen)).map(Judged::Good).or_else(|failure| {
            let Some(pause) = tries.pause(request, &failure) else { return Err(failure) };
            Ok(Judged::Again { why: failure.what, facts: *failure.facts, pause })
        }),
    }
}

fn awaited(request: &Request, until: &str, asked: Result<Seen, Failure>) -> Result<Judged, Failure> {
    let pause = request.interval.0;
    let seen = match asked {
        Err(failure) if failure.class == Class::Transient => {
            return Ok(Judged::Again { why: failure.what, facts: *failure.facts, pause });
        }
        other => other?,
    };
    if judge::holds(until, "response", &seen.response)? {
        let seen = if request.expect.is_some() { expected(request, seen)? } else { seen };
        return Ok(Judged::Good(seen));
    }
    if cannot_get_better(&seen) {
        return Err(refusal(request, &seen));
    }
    let why = format!("{} answered {}: {}", request.url, seen.status, first_line(seen.body()));
    Ok(Judged::Again { why, facts: seen.facts(), pause: seen.retry_after.unwrap_or(pause) })
}

fn expected(request: &Request, seen: Seen) -> Result<Seen, Failure> {
    let any = Expect::default();
    let expect = request.expect.as_ref().unwrap_or(&any);
    if !expect.takes(seen.status) {
        return Err(refusal(request, &seen));
    }
    if let Some(problem) = expect.version_problem(seen.version) {
        return Err(Failure::permanent(format!("`{}`: {problem}", request.url)).facts(seen.facts()));
    }
    if let Some(fault) = &seen.fault {
        return Err(Failure::transient(format!("`{}`: {fault}", request.url)).facts(seen.facts()));
    }
    Ok(seen)
}

fn asserted(request: &Request, seen: Seen) -> Result<Seen, Failure> {
    let unmet = judge::unmet(&request.assert, "response", &seen.response)?;
    let name = request.name.as_ref().map(|name| format!("`{name}`: ")).unwrap_or_default();
    match judge::assertion_failure(&unmet) {
        None => Ok(seen),
        Some(mut failure) => {
            failure.what = format!("{name}{}", failure.what);
            Err(failure.facts(seen.facts()))
        }
    }
}

fn refusal(request: &Request, seen: &Seen) -> Failure {
    http::refused(seen.status, &request.url, seen.body(), seen.retry_after)
}

/// The same request gets the same answer for ever.
fn cannot_get_better(seen: &Seen) -> bool {
    let no_such_model =
        seen.status == 404 && seen.body().contains("does not exist") && !seen.response["json"].is_null();
    no_such_model || matches!(seen.status, 400 | 401 | 405 | 422 | 426)
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(160).collect()
}
