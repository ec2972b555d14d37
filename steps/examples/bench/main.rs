//! `http.bench` side by side with the truth, and with `ab` and `wrk`, on loopback.
//!
//!     cargo run --release -p runbook-steps --example bench -- [--ab PATH] [--wrk PATH] [--rounds N]
//!
//! A server in a process of its own delays each request as its path says, and remembers how long it really did. What `http.bench`
//! reports must be within 3 % of that; its counts of statuses, resets and timeouts must be the server's; and on a server that does
//! nothing it must answer for at least what `ab` does, and half of what `wrk` does. A tool that is not found is left out.
#![expect(clippy::print_stdout, reason = "the table is what this program is for")]
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on must end")]

mod rivals;
mod server;
mod subject;

use std::process::ExitCode;

use serde_json::{Value, json};

/// How far from the truth a percentile may be.
const TOLERATED: f64 = 0.03;

const CONCURRENCIES: [u32; 3] = [1, 20, 100];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "serve") {
        server::run();
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    match runtime.block_on(measure(&arguments)) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

async fn measure(arguments: &[String]) -> bool {
    let option = |name: &str| arguments.iter().skip_while(|it| *it != name).nth(1).cloned();
    let server = server::Running::start();
    println!("load of the machine before: {}", load());
    let exact = accuracy(&server).await;
    let counted = counts(&server).await;
    let rounds = option("--rounds").and_then(|text| text.parse().ok()).unwrap_or(3);
    let ab = option("--ab").unwrap_or_else(|| "ab".to_owned());
    let wrk = option("--wrk").unwrap_or_else(|| "wrk".to_owned());
    let quick = throughput(&server, &ab, &wrk, rounds).await;
    println!("\nload of the machine after: {}", load());
    exact && counted && quick
}

fn load() -> String {
    std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim().to_owned()
}

/// The percentiles, against what the server really did.
async fn accuracy(server: &server::Running) -> bool {
    println!(
        "\ndelays                 c  requests        p50 true    told  off       p95 true    told  off       p99 true    told  off"
    );
    let mut good = true;
    for (path, title, counts) in [
        ("/constant/10", "10 ms", [400, 2000, 6000]),
        ("/constant/500", "500 ms", [30, 300, 800]),
        ("/tail", "heavy tail (Pareto)", [400, 2000, 6000]),
    ] {
        for (concurrency, requests) in CONCURRENCIES.into_iter().zip(counts) {
            server.reset().await;
            let row = json!({ "name": "it", "requests": requests, "concurrency": concurrency });
            let figures = subject::bench(&server.url(path), &row, &json!({})).await.unwrap();
            let truth = server.truth().await;
            let line = compare(title, concurrency, requests, &figures, &truth);
            good &= line.1;
            println!("{}", line.0);
        }
    }
    good
}

fn compare(title: &str, concurrency: u32, requests: u32, figures: &Value, truth: &Value) -> (String, bool) {
    let mut line = format!("{title:<20} {concurrency:>3}  {requests:>8}");
    let mut good = true;
    for name in ["p50_ms", "p95_ms", "p99_ms"] {
        let (told, real) = (figures[name].as_f64().unwrap(), truth[name].as_f64().unwrap());
        let off = told / real - 1.0;
        let mark = if off.abs() <= TOLERATED { ' ' } else { '!' };
        good &= mark == ' ';
        line.push_str(&format!("     {real:>10.2} {told:>7.2} {:>4.1}%{mark}", off * 100.0));
    }
    (line, good)
}

/// The counts, against what the server did.
async fn counts(server: &server::Running) -> bool {
    server.reset().await;
    let row = json!({ "name": "it", "requests": 1000, "concurrency": 20 });
    let more = json!({ "tolerate": "100%", "timeout": "2s" });
    let figures = subject::bench(&server.url("/mixed"), &row, &more).await.unwrap();
    let truth = server.truth().await;
    println!("\nof 1000 requests           200    426    503  reset  timeout");
    let line = |who: &str, statuses: &Value, troubles: &Value| {
        let at = |value: &Value, name: &str| value[name].as_u64().unwrap_or_default();
        let counts = [
            at(statuses, "200"),
            at(statuses, "426"),
            at(statuses, "503"),
            at(troubles, "reset"),
            at(troubles, "timeout"),
        ];
        let [ok, upgrade, busy, reset, timeout] = counts;
        println!("{who:<22} {ok:>7} {upgrade:>6} {busy:>6} {reset:>6} {timeout:>8}");
        counts
    };
    let did = line("the server did", &truth["statuses"], &truth["troubles"]);
    did == line("http.bench counted", &figures["statuses"], &figures["troubles"])
}

/// Answers in a second, against other load generators.
async fn throughput(server: &server::Running, ab: &str, wrk: &str, rounds: usize) -> bool {
    println!(
        "\nanswers in a second     c   http.bench         ab   of ab        wrk  of wrk   (best of {rounds}, 3 s each)"
    );
    let url = server.url("/plain");
    let mut good = true;
    for concurrency in CONCURRENCIES {
        let (mut ours, mut theirs, mut best) = (0.0_f64, None::<f64>, None::<f64>);
        for _ in 0..rounds {
            let row = json!({ "name": "it", "duration": "3s", "concurrency": concurrency });
            let figures = subject::bench(&url, &row, &json!({})).await.unwrap();
            ours = ours.max(figures["requests_per_s"].as_f64().unwrap());
            theirs = rivals::ab(ab, &url, concurrency).await.max_of(theirs);
            best = rivals::wrk(wrk, &url, concurrency).await.max_of(best);
        }
        let share = |other: Option<f64>| other.map_or("–".to_owned(), |other| format!("{:.2}", ours / other));
        let shown = |other: Option<f64>| other.map_or("not found".to_owned(), |other| format!("{other:.0}"));
        good &= theirs.is_none_or(|theirs| ours >= theirs) && best.is_none_or(|best| ours * 2.0 >= best);
        let (ab, of_ab, wrk, of_wrk) = (shown(theirs), share(theirs), shown(best), share(best));
        println!("a server that does nothing {concurrency:>3} {ours:>9.0} {ab:>10} {of_ab:>7} {wrk:>10} {of_wrk:>7}");
    }
    good
}

/// The larger of two that may not be there.
trait MaxOf {
    fn max_of(self, other: Option<f64>) -> Option<f64>;
}

impl MaxOf for Option<f64> {
    fn max_of(self, other: Option<f64>) -> Option<f64> {
        match (self, other) {
            (Some(one), Some(two)) => Some(one.max(two)),
            (one, two) => one.or(two),
        }
    }
}
