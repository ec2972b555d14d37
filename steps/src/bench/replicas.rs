//! Whether requests with a common beginning reach the replica that has it in its cache: by what each replica counts.
//!
//! The answers say nothing of it: at temperature 0 every replica gives the same. Owns how counters are read and what their
//! differences mean.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Version};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::baseline::Percent;
use super::load::Load;
use super::run::{self, Target};
use super::script::Script;
use crate::cluster::{Cluster, Selection, name_of};
use crate::context::Context;
use crate::failure::{Class, Failure};
use crate::http::connection::Route;
use crate::http::exchange::{Ask, Limits, exchange};
use crate::http::forward::{Forward, is_ready, kind};
use crate::http::judge;
use crate::http::options::Parts;

/// The most that a replica's counters may be.
const LARGEST: usize = 16 << 20;

/// How often counters are read again while they do not yet show what was sent, a second apart.
const READINGS: u32 = 10;

/// How much lower than before the share of hits may be and still count as no lower: prompts differ in length.
const SLACK: f64 = 0.05;

/// Requests with a common beginning, and the replicas that may get them.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CacheTest {
    /// What stands for `{{ prompt }}`: a beginning of some hundred tokens that is always the same, and perhaps `{{ number }}` at its end.
    prompt: String,
    /// How many requests, one after the other.
    #[serde(default = "ten")]
    requests: NonZeroU32,
    /// The replicas, by the labels of their pods.
    replicas: Option<Replicas>,
    /// The replicas, by the addresses of their metrics.
    #[serde(default)]
    metrics: Vec<String>,
    /// Which share of the requests one replica must get.
    #[serde(default = "most")]
    same_replica: Percent,
    /// Which share of the tokens must be found in the cache in the second half; without it any, and no less than in the first.
    hit_ratio: Option<Percent>,
}

/// Pods, and where they show what they count.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Replicas {
    /// A label selector, in kubectl's syntax.
    selector: String,
    /// The namespace; without it the kubeconfig's.
    namespace: Option<String>,
    /// The port of the metrics.
    #[serde(default = "vllm_port")]
    port: u16,
    /// Their path.
    #[serde(default = "metrics_path")]
    path: String,
}

fn ten() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(9)
}

fn most() -> Percent {
    Percent(0.9)
}

fn vllm_port() -> u16 {
    8000
}

fn metrics_path() -> String {
    "/metrics".to_owned()
}

impl CacheTest {
    /// What is wrong with it.
    pub(crate) fn problem(&self) -> Option<String> {
        if self.replicas.is_some() != self.metrics.is_empty() {
            return Some("give `replicas` or `metrics`, one of them".to_owned());
        }
        if let Some(url) = self.metrics.iter().find(|url| url::Url::parse(url).is_err()) {
            return Some(format!("`{url}` is no address"));
        }
        if self.requests.get() < 2 {
            return Some(
                "one request cannot find what another has left in a cache: give at least 2 `requests`".to_owned(),
            );
        }
        judge::template_problem(&self.prompt, &["number"])
    }

    /// Why it does not pass.
    pub(crate) fn verdict(&self, found: &Found) -> Option<Failure> {
        let spread = found.counted.iter().filter(|(_, counts)| counts.requests > 0.0).count();
        if found.same_replica() < self.same_replica.0 {
            let (same, wanted) = (found.same_replica() * 100.0, self.same_replica.0 * 100.0);
            let what = format!(
                "the cache test: {spread} replicas share the requests with the same beginning; {same:.0} % went to one, {wanted:.0} % should"
            );
            return Some(Failure::permanent(what)
                .cause("the gateway does not route by what is in the caches")
                .fix("see that the endpoint picker answers and has the `prefix-cache-scorer`, and that requests go to the InferencePool"));
        }
        let (first, second) = (found.first.hit_ratio(), found.second.hit_ratio());
        if found.second.queries == 0.0 {
            return Some(
                Failure::permanent("the cache test: no replica counts look-ups in its cache")
                    .cause("prefix caching is off")
                    .fix("start the model server with --enable-prefix-caching"),
            );
        }
        let wanted = self.hit_ratio.map_or(f64::MIN_POSITIVE, |percent| percent.0);
        (second < wanted || second + SLACK < first).then(|| {
            let (first, second, wanted) = (first * 100.0, second * 100.0, wanted * 100.0);
            Failure::permanent(format!(
                "the cache test: {second:.0} % of the tokens were found in the cache in the second half, {first:.0} % in the first; at least {wanted:.0} % should be"
            ))
            .cause("the common beginning is shorter than a block of the cache, or the cache is too small to keep it")
        })
    }
}

/// What the replicas counted meanwhile.
pub(crate) struct Found {
    /// By replica.
    counted: Vec<(String, Counts)>,
    first: Counts,
    second: Counts,
}

impl Found {
    /// Which share of all requests the busiest replica got.
    fn same_replica(&self) -> f64 {
        let all: f64 = self.counted.iter().map(|(_, counts)| counts.requests).sum();
        let busiest = self.counted.iter().map(|(_, counts)| counts.requests).fold(0.0, f64::max);
        if all > 0.0 { busiest / all } else { 0.0 }
    }

    /// As expressions see it.
    pub(crate) fn shown(&self) -> Value {
        let one = |(name, counts): &(String, Counts)| json!({ "name": name, "requests": counts.requests, "queries": counts.queries, "hits": counts.hits });
        let all = self.first.plus(self.second);
        json!({
            "replicas": self.counted.iter().map(one).collect::<Vec<_>>(), "same_replica": self.same_replica(),
            "first_half": self.first.hit_ratio(), "second_half": self.second.hit_ratio(), "hit_ratio": all.hit_ratio(),
        })
    }
}

/// What one replica, or all of them, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Counts {
    requests: f64,
    queries: f64,
    hits: f64,
}

impl Counts {
    /// Reads the text of a model server's metrics.
    fn read(text: &str) -> Option<Self> {
        let sum = |names: [&str; 2]| names.iter().find_map(|name| total(text, name));
        let requests = total(text, "vllm:request_success_total")?;
        // Servers before 0.9 have them by their older names.
        let queries = sum(["vllm:prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries_total"]);
        let hits = sum(["vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total"]);
        Some(Self { requests, queries: queries.unwrap_or_default(), hits: hits.unwrap_or_default() })
    }

    fn plus(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            queries: self.queries + other.queries,
            hits: self.hits + other.hits,
        }
    }

    /// What was counted since. A replica that was started anew began at nothing.
    fn since(self, before: Self) -> Self {
        let since = |now: f64, before: f64| if now < before { now } else { now - before };
        Self {
            requests: since(self.requests, before.requests),
            queries: since(self.queries, before.queries),
            hits: since(self.hits, before.hits),
        }
    }

    fn hit_ratio(self) -> f64 {
        if self.queries > 0.0 { self.hits / self.queries } else { 0.0 }
    }
}

/// The sum of a counter over all its labels, if it is there.
fn total(text: &str, name: &str) -> Option<f64> {
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let value = match rest.strip_prefix('{') {
            Some(labelled) => labelled.rsplit_once('}')?.1,
            None => rest.strip_prefix(' ')?,
        };
        value.split_whitespace().next()?.parse::<f64>().ok()
    });
    values.reduce(|sum, value| sum + value)
}

/// A replica's counters, and how to read them.
struct Replica {
    name: String,
    route: Route,
    ask: Ask,
}

/// Sends the requests, in two halves, and reads the counters around them.
pub(crate) async fn test(test: &CacheTest, target: &Target, parts: Parts<'_>, cx: &Context) -> Result<Found, Failure> {
    let replicas = replicas(test, target, cx).await?;
    let prompts = [test.prompt.clone()];
    let script = Script::new(parts, &prompts, u64::from(test.requests.get()), cx)?;
    let (script, most) = (Arc::new(script), u64::from(test.requests.get()));
    let half = most / 2;
    cx.progress(format!("cache test · {most} requests with a common beginning, {} replicas", replicas.len()));
    let before = counts(&replicas, cx).await?;
    send(half, 0, &script, target, cx).await?;
    let middle = counted(&replicas, &before, half, cx).await?;
    send(most - half, half, &script, target, cx).await?;
    let after = counted(&replicas, &middle, most - half, cx).await?;
    let names = replicas.into_iter().map(|replica| replica.name);
    Ok(Found {
        counted: names.zip(differences(&before, &after)).collect(),
        first: sum(&differences(&before, &middle)),
        second: sum(&differences(&middle, &after)),
    })
}

/// Sends so many requests of the script, from one on, one after the other.
async fn send(count: u64, from: u64, script: &Arc<Script>, target: &Target, cx: &Context) -> Result<(), Failure> {
    let load = Load::serial(count);
    let target = Target { script: Arc::new(script.from(from)), ..target.clone() };
    let ran = run::put(&load, 0, target, cx).await?;
    if ran.tally.bad == 0 {
        return Ok(());
    }
    let why = ran.tally.samples.values().next().map(|text| cx.redactor.mask(text).into_owned()).unwrap_or_default();
    Err(Failure::transient(format!(
        "the cache test: {} of {count} requests failed: {}",
        ran.tally.bad,
        judge::clipped(&why)
    )))
}

fn differences(before: &[Counts], after: &[Counts]) -> Vec<Counts> {
    after.iter().zip(before).map(|(after, before)| after.since(*before)).collect()
}

fn sum(counts: &[Counts]) -> Counts {
    counts.iter().fold(Counts::default(), |sum, counts| sum.plus(*counts))
}

/// Reads the counters until they show what was sent.
async fn counted(replicas: &[Replica], before: &[Counts], sent: u64, cx: &Context) -> Result<Vec<Counts>, Failure> {
    for _ in 0..READINGS {
        let now = counts(replicas, cx).await?;
        if sum(&differences(before, &now)).requests >= sent as f64 {
            return Ok(now);
        }
        cx.clock().sleep(Duration::from_secs(1)).await;
    }
    Err(Failure::permanent(format!("the cache test: the replicas did not count all of {sent} requests"))
        .cause("some were answered by replicas that the selector, or the list of addresses, does not name")
        .fix("name all replicas that the gateway may send requests to"))
}

async fn counts(replicas: &[Replica], cx: &Context) -> Result<Vec<Counts>, Failure> {
    futures::future::try_join_all(replicas.iter().map(|replica| replica.counts(cx))).await
}

impl Replica {
    async fn counts(&self, cx: &Context) -> Result<Counts, Failure> {
        let patience = crate::http::patience(Duration::from_secs(30), cx);
        let limits = Limits { redirects: 0, patience, body: LARGEST };
        let told = |failure: Failure| Failure {
            what: format!("the counters of `{}`: {}", self.name, failure.what),
            ..failure
        };
        let url = self.ask.url.as_str();
        let answer = exchange(&self.route, &self.ask, limits).await.map_err(|broken| told(broken.failure(url)))?;
        let text = String::from_utf8_lossy(&answer.body);
        if answer.status != 200 {
            return Err(told(crate::http::refused(answer.status, url, &text, None)));
        }
        let strange = || Failure::invalid(format!("`{}` shows no `vllm:request_success_total` at {url}", self.name));
        Counts::read(&text).ok_or_else(strange)
    }
}

async fn replicas(test: &CacheTest, target: &Target, cx: &Context) -> Result<Vec<Replica>, Failure> {
    let Some(pods) = &test.replicas else {
        return test.metrics.iter().map(|url| replica(url.clone(), url, target.route.without_forward())).collect();
    };
    let cluster = Cluster::connect(cx).await?;
    let namespace = pods.namespace.clone().unwrap_or_else(|| cluster.default_namespace().to_owned());
    let selection = Selection { labels: pods.selector.clone(), ..Selection::default() };
    let mut found = cluster.list(&kind(&cluster, "pods").await?, &namespace, &selection).await?;
    found.retain(is_ready);
    if found.is_empty() {
        let what = format!("no pod in `{namespace}` has the labels `{}` and is ready", pods.selector);
        return Err(Failure::new(Class::NotFound, what));
    }
    let one = |pod: &Value| {
        let name = name_of(pod).to_owned();
        let forward = Forward::new(cluster.clone(), namespace.clone(), name.clone(), pods.port);
        let url = format!("http://{name}:{}{}", pods.port, pods.path);
        replica(name, &url, Route { forward: Some(forward), ..target.route.clone() })
    };
    found.iter().map(one).collect()
}

fn replica(name: String, url: &str, route: Route) -> Result<Replica, Failure> {
    let parsed = url::Url::parse(url).map_err(|error| Failure::invalid(format!("`{url}` is no address: {error}")))?;
    let ask = Ask::new(Method::GET, parsed, HeaderMap::new(), Bytes::new(), Version::HTTP_11);
    Ok(Replica { name, route, ask: ask.map_err(|broken| Failure::invalid(broken.text))? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(requests: &[f64], first: (f64, f64), second: (f64, f64)) -> Found {
        let counts = |(queries, hits)| Counts { requests: 0.0, queries, hits };
        let one = |requests: &f64| ("r".to_owned(), Counts { requests: *requests, ..Counts::default() });
        Found { counted: requests.iter().map(one).collect(), first: counts(first), second: counts(second) }
    }

    fn cache_test() -> CacheTest {
        serde_json::from_value(json!({ "prompt": "x", "metrics": ["http://a/metrics"] })).expect("a test")
    }

    #[test]
    fn counters_are_summed_over_their_labels_and_known_by_either_name() {
        let text = "# TYPE vllm:request_success_total counter\n\
            vllm:request_success_total{engine=\"0\",finished_reason=\"stop\",model_name=\"a}b\"} 3.0\n\
            vllm:request_success_total{engine=\"0\",finished_reason=\"length\"} 2.0 1700000000000\n\
            vllm:gpu_prefix_cache_queries_total 40\nvllm:gpu_prefix_cache_hits_total{} 1.6e1\n";
        assert_eq!(Counts::read(text), Some(Counts { requests: 5.0, queries: 40.0, hits: 16.0 }));
        assert_eq!(Counts::read("# nothing\n"), None);
    }

    #[test]
    fn a_restarted_replica_began_at_nothing() {
        let (before, now) =
            (Counts { requests: 9.0, queries: 9.0, hits: 9.0 }, Counts { requests: 2.0, queries: 10.0, hits: 9.0 });
        assert_eq!(now.since(before), Counts { requests: 2.0, queries: 1.0, hits: 0.0 });
    }

    #[test]
    fn requests_that_are_spread_do_not_pass() {
        let what = |found: &Found| cache_test().verdict(found).map(|failure| failure.what);
        let good = found(&[10.0, 0.0, 0.0], (500.0, 300.0), (500.0, 480.0));
        assert_eq!(what(&good), None);
        let spread = found(&[4.0, 3.0, 3.0], (500.0, 300.0), (500.0, 480.0));
        assert!(
            what(&spread).is_some_and(|what| what.contains("3 replicas share") && what.contains("40 % went to one"))
        );
    }

    #[test]
    fn a_cache_that_finds_nothing_or_less_does_not_pass() {
        for (first, second) in
            [((500.0, 0.0), (500.0, 0.0)), ((500.0, 400.0), (500.0, 100.0)), ((0.0, 0.0), (0.0, 0.0))]
        {
            assert!(cache_test().verdict(&found(&[10.0], first, second)).is_some(), "{first:?} {second:?}");
        }
    }
}
