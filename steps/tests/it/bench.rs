//! `http.bench` against a server that does as it is told.

use std::sync::atomic::Ordering;
use std::time::Duration;

use runbook_steps::failure::Class;
use runbook_steps::{Failure, Outputs};
use serde_json::{Value, json};

use crate::bench_server::{Act, ok, serve, status};
use crate::workshop::{Workshop, refusal, step};

async fn bench(workshop: &Workshop, with: Value) -> Result<Outputs, Failure> {
    step("http.bench", &with.to_string()).perform(&workshop.context()).await
}

fn with(url: &str, scenarios: Value, more: Value) -> Value {
    let mut with = json!({ "url": url, "scenarios": scenarios });
    with.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    with
}

#[tokio::test]
async fn every_scenario_is_measured_and_kept() {
    let (url, count) = serve(|_, _| ok()).await;
    let workshop = Workshop::new();
    let scenarios =
        json!([{ "name": "serial", "requests": 10 }, { "name": "heavy", "requests": 40, "concurrency": 8 }]);
    let outputs = bench(&workshop, with(&url, scenarios, json!({ "warm_up": 3 }))).await.unwrap();
    // One before all, three before each.
    assert_eq!(count.load(Ordering::SeqCst), 1 + 3 + 10 + 3 + 40);
    let figures = &outputs["bench"];
    assert_eq!(figures["serial"]["statuses"], json!({ "200": 10 }));
    assert_eq!(figures["heavy"]["ok"], 40);
    assert_eq!((&figures["total"]["requests"], &figures["total"]["success"]), (&json!(50), &json!(1.0)));
    assert_eq!(figures["simulated"], false);
    let read = |name: &str| std::fs::read_to_string(outputs["files"][name].as_str().unwrap()).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&read("json")).unwrap()["heavy"]["ok"], 40);
    assert_eq!(read("csv").lines().count(), 3);
    assert_eq!(read("text"), outputs["table"].as_str().unwrap());
    assert!(outputs["table"].as_str().unwrap().lines().nth(2).unwrap().starts_with("heavy"));
}

#[tokio::test]
async fn a_server_that_refuses_is_not_measured_at_all() {
    let (url, count) = serve(|_, _| status("426 Upgrade Required")).await;
    let scenarios = json!([{ "name": "heavy", "requests": 100, "concurrency": 20 }]);
    let failure = bench(&Workshop::new(), with(&url, scenarios, json!({}))).await.expect_err("all refused");
    assert_eq!((failure.class, count.load(Ordering::SeqCst)), (Class::Invalid, 1));
    assert!(failure.what.starts_with("before any load:") && failure.what.contains("426"), "{}", failure.what);
    assert!(failure.cause.is_some_and(|cause| cause.contains("version of HTTP")));
}

#[tokio::test]
async fn a_run_full_of_refusals_fails_with_their_cause() {
    let (url, _) = serve(|number, _| if number == 0 { ok() } else { status("426 Upgrade Required") }).await;
    let scenarios =
        json!([{ "name": "heavy", "requests": 100, "concurrency": 20 }, { "name": "never", "requests": 1 }]);
    let failure = bench(&Workshop::new(), with(&url, scenarios, json!({}))).await.expect_err("all refused");
    assert_eq!(failure.class, Class::Invalid);
    assert!(failure.what.contains("100 of 100 requests") && failure.what.contains("(426 ×100)"), "{}", failure.what);
    assert!(failure.cause.is_some_and(|cause| cause.contains("version of HTTP")));
    assert_eq!(failure.facts.http_status, Some(426));
    assert!(failure.detail.contains("heavy") && !failure.detail.contains("never"), "{}", failure.detail);
}

#[tokio::test]
async fn refusals_resets_and_silence_are_counted_exactly() {
    let (url, _) = serve(|number, _| match number % 10 {
        3 => status("426 Upgrade Required"),
        5 => Act::Reset,
        7 => status("503 Service Unavailable"),
        9 if number == 19 => Act::Silence,
        _ => ok(),
    })
    .await;
    let scenarios = json!([{ "name": "mixed", "requests": 99, "concurrency": 5 }]);
    let more = json!({ "timeout": "1s", "tolerate": "100%", "assert": ["bench.mixed.failed == 31"] });
    let outputs = bench(&Workshop::new(), with(&url, scenarios, more)).await.unwrap();
    let mixed = &outputs["bench"]["mixed"];
    // Requests 1 to 99: the first went before the load.
    assert_eq!(mixed["statuses"], json!({ "200": 68, "426": 10, "503": 10 }));
    assert_eq!(mixed["troubles"], json!({ "reset": 10, "timeout": 1 }));
    assert_eq!((&mixed["requests"], &mixed["ok"], &mixed["failed"]), (&json!(99), &json!(68), &json!(31)));
}

#[tokio::test]
async fn a_refused_connection_and_a_cut_answer_are_failures_too() {
    let cut = r#"{"choices":[{"text":"a"}]}"#.to_owned();
    let (url, _) = serve(move |number, _| match number {
        0 => ok(),
        _ => Act::Events(vec![(Duration::ZERO, cut.clone())]),
    })
    .await;
    let scenarios = json!([{ "name": "cut", "requests": 4 }]);
    let failure = bench(&Workshop::new(), with(&url, scenarios.clone(), json!({}))).await.expect_err("no end");
    assert!(failure.what.contains("stream ×4") && failure.what.contains("without `[DONE]`"), "{}", failure.what);
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let failure =
        bench(&Workshop::new(), with(&format!("http://{free}/"), scenarios, json!({}))).await.expect_err("nobody");
    assert_eq!(failure.class, Class::Transient);
}

#[tokio::test]
async fn prompts_take_turns_and_requests_have_numbers() {
    let (url, _) = serve(|_, body| {
        Act::Answer(
            "200 OK",
            "application/json",
            format!(r#"{{"usage":{{"prompt_tokens":2,"completion_tokens":3}},"said":{body}}}"#),
        )
    })
    .await;
    let bodies = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let heard = std::sync::Arc::clone(&bodies);
    let (other, _) = serve(move |_, body| {
        heard.lock().unwrap().push(body.to_owned());
        ok()
    })
    .await;
    let more = json!({ "json": { "prompt": "{{ prompt }}", "n": 1 }, "prompts": ["Request {{ number }}: What is AI?", "{{ number }} again"] });
    let scenarios = json!([{ "name": "a", "requests": 3 }]);
    bench(&Workshop::new(), with(&other, scenarios.clone(), more.clone())).await.unwrap();
    let expected = [
        r#"{"prompt":"Request 1: What is AI?","n":1}"#,
        r#"{"prompt":"Request 1: What is AI?","n":1}"#,
        r#"{"prompt":"2 again","n":1}"#,
        r#"{"prompt":"Request 3: What is AI?","n":1}"#,
    ];
    assert_eq!(*bodies.lock().unwrap(), expected);
    let outputs = bench(&Workshop::new(), with(&url, scenarios, more)).await.unwrap();
    assert_eq!((&outputs["bench"]["a"]["tokens"], &outputs["bench"]["a"]["prompt_tokens"]), (&json!(9), &json!(6)));
}

#[tokio::test]
async fn streams_give_the_times_of_tokens() {
    let text = |text: &str| format!(r#"{{"choices":[{{"text":"{text}"}}]}}"#);
    let (first, then) = (Duration::from_millis(60), Duration::from_millis(30));
    let events = vec![(first, text("a")), (then, text("b")), (then, text("c")), (Duration::ZERO, "[DONE]".to_owned())];
    let (url, _) = serve(move |_, _| Act::Events(events.clone())).await;
    let outputs =
        bench(&Workshop::new(), with(&url, json!([{ "name": "a", "requests": 5 }]), json!({}))).await.unwrap();
    let figures = &outputs["bench"]["a"];
    assert_eq!(figures["tokens"], 15);
    // The server waits at least so long; how much longer is the machine's business.
    let at_least = [("first_token_p50_ms", 60.0), ("token_p50_ms", 30.0), ("p50_ms", 120.0)];
    for (figure, least) in at_least {
        assert!(figures[figure].as_f64().unwrap() >= least * 0.995, "{figure}: {figures}");
    }
    assert!(outputs["table"].as_str().unwrap().contains("first token p95"));
}

#[tokio::test]
async fn a_stall_is_charged_to_all_that_had_to_wait_for_it() {
    // The load is ten a second in the plan's time, over one connection; the third answer takes a second and a half.
    let mut workshop = Workshop::new();
    workshop.clock = runbook_steps::Clock::scaled(0, 10.0);
    let stall = Duration::from_millis(150);
    let (url, _) = serve(move |number, _| if number == 3 { Act::Later(stall, "200 OK") } else { ok() }).await;
    let scenarios = json!([{ "name": "steady", "requests": 20, "rate": 10 }]);
    let outputs = bench(&workshop, with(&url, scenarios, json!({}))).await.unwrap();
    let figures = &outputs["bench"]["steady"];
    let at = |figure: &str| figures[figure].as_f64().unwrap();
    // Without the correction only one request of twenty is slow; with it all that were due meanwhile are.
    assert!(at("p90_ms") > 1000.0 && at("service_p50_ms") < at("p90_ms"), "{figures}");
    assert!(at("max_ms") >= 1499.0, "{figures}");
}

#[tokio::test]
async fn thresholds_are_judged_and_say_what_was_seen() {
    let (url, _) = serve(|_, _| ok()).await;
    let more = json!({ "assert": ["bench.a.ok == 5", "bench.a.requests > 100"] });
    let failure =
        bench(&Workshop::new(), with(&url, json!([{ "name": "a", "requests": 5 }]), more)).await.expect_err("5");
    assert_eq!(failure.class, Class::Permanent);
    assert!(
        failure.what.ends_with("`bench.a.requests > 100` does not hold: bench.a.requests is 5"),
        "{}",
        failure.what
    );
    assert!(failure.detail.contains("scenario"), "{}", failure.detail);
}

#[tokio::test]
async fn a_run_is_held_against_the_last_good_one() {
    let (quick, _) = serve(|_, _| ok()).await;
    let (slow, _) = serve(|_, _| Act::Later(Duration::from_millis(200), "200 OK")).await;
    let workshop = Workshop::new();
    let scenarios = json!([{ "name": "a", "requests": 3 }]);
    let more = json!({ "baseline": { "p95_ms": "100%" } });
    bench(&workshop, with(&quick, scenarios.clone(), more.clone())).await.unwrap();
    let failure = bench(&workshop, with(&slow, scenarios.clone(), more.clone())).await.expect_err("slower");
    assert!(
        failure.what.starts_with("worse than the last good run, of ") && failure.what.contains("a.p95_ms was"),
        "{}",
        failure.what
    );
    // A bad run is no measure for the next one.
    bench(&workshop, with(&slow, scenarios.clone(), more.clone())).await.expect_err("still slower");
    // Another load, or another request, has no last run.
    let other = json!([{ "name": "a", "requests": 4 }]);
    let outputs = bench(&workshop, with(&slow, other, more.clone())).await.unwrap();
    assert_eq!(outputs["bench"]["since"]["changes"], json!({}));
}

#[tokio::test]
async fn it_ends_when_it_is_told_to() {
    let (url, count) = serve(|number, _| if number < 2 { ok() } else { Act::Silence }).await;
    let workshop = Workshop::new();
    let cancel = workshop.cancel.clone();
    let asked = std::sync::Arc::clone(&count);
    let stop = async move {
        while asked.load(Ordering::SeqCst) < 3 {
            tokio::task::yield_now().await;
        }
        cancel.soft.cancel();
    };
    let bench = bench(&workshop, with(&url, json!([{ "name": "a", "duration": "1h", "concurrency": 4 }]), json!({})));
    let (failure, ()) = tokio::join!(bench, stop);
    assert_eq!(failure.expect_err("told to stop").class, Class::Cancelled);
}

#[test]
fn mistakes_are_found_where_they_are() {
    for (with, expected) in [
        ("{url: 'http://a', scenarios: []}", "scenarios: there is no scenario"),
        ("{url: 'http://a', scenarios: [{name: a}]}", "scenarios[0]: give `requests` or `duration`"),
        (
            "{url: 'http://a', scenarios: [{name: a, requests: 1}, {name: a, requests: 1}]}",
            "scenarios[1].name: there are two",
        ),
        ("{url: 'http://a', scenarios: [{name: a, requests: 1}], assert: ['(']}", "assert[0]: `(` is no expression"),
        (
            "{url: 'http://a', scenarios: [{name: heavy, requests: 1}], assert: [bench.hevy.ok == 1, bench.heavy.p95 < 9]}",
            "assert[0]: `bench.hevy.ok == 1`: `bench` has no `hevy`; did you mean `heavy`? (it has heavy, simulated, \
             since, total, when); and `assert[1]`: `bench.heavy.p95 < 9`: `bench.heavy` has no `p95`; did you mean `p95_ms`?",
        ),
        (
            "{url: 'http://a', json: '{{ prompt }}', scenarios: [{name: a, requests: 1}]}",
            ": `{{ prompt }}` cannot be filled in: there is no `prompt` (known: number)",
        ),
        (
            "{url: 'http://a', scenarios: [{name: a, requests: 1}], baseline: {p33_ms: 1%}}",
            "baseline: `p33_ms` is not compared",
        ),
        ("{url: 'http://a/{{ number }}', scenarios: [{name: a, requests: 1}]}", "url: "),
        ("{url: 'http://a', prompts: ['{{'], scenarios: [{name: a, requests: 1}]}", "prompts[0]: "),
        ("{url: 'http://a', scenarios: [{name: a, requests: 1, rate: 0}]}", "scenarios[0].rate: "),
        ("{url: 'http://a', tolerate: 5, scenarios: [{name: a, requests: 1}]}", "tolerate: "),
    ] {
        let found = refusal("http.bench", with);
        assert!(found.starts_with(expected), "{with}: {found}");
    }
}
