//! `backends`: whether a load balancer finds what is behind it healthy.

mod health;
mod names;

use futures::future::{BoxFuture, try_join_all};
use regex::Regex;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::context::{Context, Progress};
use crate::failure::Failure;
use crate::gcloud::{Gcloud, Pace};
use crate::kind::{Effect, Kind, OutputDoc, ReadError, read_with, schema_of};
use crate::step::{Outputs, Standing, Step};
use crate::tools::Program;

use health::{Check, Health, Service};
use names::Wanted;

/// The kind `backends`.
pub(super) static KIND: Kind = Kind {
    name: "backends",
    summary: "Waits until a Google Cloud load balancer finds its backends healthy",
    docs: DOCS,
    example: EXAMPLE,
    version: 1,
    effect: Effect::Reads,
    observes: true,
    idempotent: true,
    outputs: &[
        OutputDoc { name: "healthy", about: "how many backends are healthy" },
        OutputDoc { name: "total", about: "how many there are; those that are drained do not count" },
        OutputDoc { name: "unhealthy", about: "the addresses of those that are not" },
        OutputDoc { name: "services", about: "the names of the backend services" },
    ],
    open_outputs: false,
    schema: schema_of::<Backends>,
    read,
};

const DOCS: &str = "\
Finds the backend services of a GKE Gateway's load balancer in a region, and asks `gcloud compute backend-services get-health` until
all backends are `HEALTHY`, or `min` of them. `Ready` in Kubernetes knows nothing of this: until it holds, the gateway answers 503
\"no healthy upstream\".

GKE names backend services `gkegw1-HASH-NAMESPACE-NAME-PORT-…`, and cuts long ones. Say whose they are with `namespace` and `pool`
(an InferencePool: its generated Service's name has a hash that nobody knows before) or `service`, or give `name`, a regular
expression; without any of them, all of the region's gateways count.

- **observe**: holds where they are healthy now.
- **perform**: asks until they are. Bound it with the step's `timeout`. While it waits it tells who is not healthy, and what the
  health check asks for: on GKE that is `/` until a HealthCheckPolicy says otherwise, which vLLM answers with 404 for ever. The policy's
  `targetRef` is the InferencePool; what is changed by hand in Google Cloud is changed back.
- **undo**: nothing to undo.
- **failures**: `timeout`, `auth-expired`, `permanent` (the account may not look). It only looks.
";

const EXAMPLE: &str = "\
backends:
  uses: backends
  with:
    project: \"${{ inputs.project }}\"
    region: europe-west4
    namespace: llm-d-inference-scheduling
    pool: qwen2-3b-pattern1-inference-pool
    min: 1
  expected: 30s..2m
  timeout: 10m
  normal: The load balancer looks every few seconds, and needs some good answers in a row.
";

/// Whose health is asked for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Backends {
    /// The project.
    project: String,
    /// The load balancer's region.
    region: String,
    /// The namespace of the InferencePool or Service.
    namespace: Option<String>,
    /// The InferencePool.
    pool: Option<String>,
    /// The Service.
    service: Option<String>,
    /// A regular expression for the names of backend services, instead.
    name: Option<String>,
    /// How many backends must be healthy; all where not given.
    #[schemars(range(min = 1))]
    min: Option<u32>,
}

fn read(with: Value) -> Result<Box<dyn Step>, ReadError> {
    let backends: Backends = read_with(with)?;
    let wrong = |path: &str, message: &str| Err(ReadError { path: path.to_owned(), message: message.to_owned() });
    let (pool, service, name) = (&backends.pool, &backends.service, &backends.name);
    if [pool, service, name].iter().filter(|given| given.is_some()).count() > 1 {
        return wrong("pool", "give at most one of `pool`, `service` and `name`");
    }
    if (pool.is_some() || service.is_some()) && backends.namespace.is_none() {
        return wrong("namespace", "the names of backend services begin with it: say which");
    }
    if name.is_some() && backends.namespace.is_some() {
        return wrong("namespace", "`name` stands for all of it: leave this out");
    }
    if let Some(Err(error)) = name.as_ref().map(|name| Regex::new(name)) {
        return wrong("name", &format!("this is no regular expression: {error}"));
    }
    if backends.min == Some(0) {
        return wrong("min", "none is always healthy: at least 1");
    }
    Ok(Box::new(backends))
}

impl Backends {
    fn gcloud<'a>(&'a self, cx: &'a Context) -> Gcloud<'a> {
        Gcloud::new(cx, Some(&self.project))
    }

    fn wanted(&self) -> Wanted<'_> {
        match (&self.name, self.namespace.as_deref(), &self.pool, &self.service) {
            (Some(name), ..) => Wanted::Pattern(Regex::new(name).expect("verified when it was read")),
            (_, Some(namespace), Some(pool), _) => Wanted::Pool { namespace, pool },
            (_, Some(namespace), _, Some(service)) => Wanted::Service { namespace, service },
            (_, Some(namespace), ..) => Wanted::Namespace(namespace),
            _ => Wanted::Any,
        }
    }

    fn region_flag(&self) -> String {
        format!("--region={}", self.region)
    }

    fn list(&self) -> Vec<String> {
        let regions = format!("--regions={}", self.region);
        // What a plan gives as `name` need not be a gateway's.
        let filter = self.name.is_none().then(|| "--filter=name~^gkegw1-".to_owned());
        let words = ["compute", "backend-services", "list", &regions].map(str::to_owned);
        words.into_iter().chain(filter).collect()
    }

    /// The health of everything behind the load balancer, now.
    async fn look(&self, cx: &Context) -> Result<Health, Failure> {
        let listed = self.gcloud(cx).json(self.list()).await?;
        let wanted = self.wanted();
        let services = listed.as_array().into_iter().flatten();
        let own = services.filter(|service| service["name"].as_str().is_some_and(|name| wanted.includes(name)));
        let asked = own.map(|service| self.ask(cx, service));
        Ok(Health { services: try_join_all(asked).await? })
    }

    async fn ask(&self, cx: &Context, service: &Value) -> Result<Service, Failure> {
        let name = service["name"].as_str().unwrap_or_default();
        let args = ["compute", "backend-services", "get-health", name, &self.region_flag()].map(str::to_owned);
        let health = self.gcloud(cx).json(args).await?;
        let mut asked = Service::read(name, &health);
        if asked.has_trouble() {
            asked.check = self.check_of(cx, service).await?;
        }
        Ok(asked)
    }

    /// What the health check of a service asks for; nothing where that cannot be seen.
    async fn check_of(&self, cx: &Context, service: &Value) -> Result<Option<Check>, Failure> {
        let Some(link) = service["healthChecks"][0].as_str() else { return Ok(None) };
        let name = link.rsplit('/').next().unwrap_or_default();
        let place = if link.contains("/global/") { "--global".to_owned() } else { self.region_flag() };
        let found = self.gcloud(cx).find(["compute", "health-checks", "describe", name, &place]).await?;
        Ok(found.as_ref().and_then(Check::read))
    }

    async fn wait(&self, cx: &Context) -> Result<Outputs, Failure> {
        let mut pace = Pace::new(cx);
        loop {
            match pace.tolerate(self.look(cx).await)? {
                Some(health) if health.suffices(self.min) => return Ok(outputs(&health)),
                Some(health) => {
                    let progress = Progress { text: health.told(&self.whose(), self.min), facts: health.facts() };
                    cx.observer.progress(progress);
                }
                None => cx.progress("no answer, asking again"),
            }
            pace.rest(cx).await?;
        }
    }

    fn whose(&self) -> String {
        match self.wanted() {
            Wanted::Pattern(pattern) => format!("backend service like `{pattern}`"),
            Wanted::Pool { namespace, pool } => format!("backend service of the InferencePool `{namespace}/{pool}`"),
            Wanted::Service { namespace, service } => format!("backend service of the Service `{namespace}/{service}`"),
            Wanted::Namespace(namespace) => format!("backend service of a gateway's route in `{namespace}`"),
            Wanted::Any => "backend service of a gateway".to_owned(),
        }
    }
}

fn outputs(health: &Health) -> Outputs {
    let outputs = json!({
        "healthy": health.healthy(),
        "total": health.total(),
        "unhealthy": health.unhealthy(),
        "services": health.services.iter().map(|service| &service.name).collect::<Vec<_>>(),
    });
    outputs.as_object().cloned().unwrap_or_default()
}

impl Step for Backends {
    fn intent(&self) -> Vec<String> {
        let project = format!("--project={}", self.project);
        let line = |args: Vec<String>| Program::new("gcloud").args(args).args([project.clone()]).command_line();
        let each = ["compute", "backend-services", "get-health", "NAME", &self.region_flag()].map(str::to_owned);
        vec![line(self.list()), line(each.into())]
    }

    fn observe<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Standing, Failure>> {
        Box::pin(async {
            let health = self.look(cx).await?;
            Ok(match health.suffices(self.min) {
                true => Standing::Holds(outputs(&health)),
                false => Standing::Lacks(health.told(&self.whose(), self.min)),
            })
        })
    }

    fn perform<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Outputs, Failure>> {
        Box::pin(self.wait(cx))
    }

    fn undo<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async { Ok(()) })
    }

    fn programs(&self) -> Vec<String> {
        vec!["gcloud".to_owned()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(more: &str) -> String {
        let with = serde_yaml::from_str(&format!("{{ project: p-1, region: europe-west4, {more} }}")).unwrap();
        let error = read(with).expect_err("wrong");
        format!("{}: {}", error.path, error.message)
    }

    #[test]
    fn a_load_balancer_is_named_in_one_way() {
        assert!(problem("namespace: n, pool: p, service: s").contains("at most one"));
        assert_eq!(problem("pool: p"), "namespace: the names of backend services begin with it: say which");
        assert!(problem("name: x, namespace: n").contains("leave this out"));
        assert!(problem("name: '('").starts_with("name: this is no regular expression"));
        assert!(problem("min: 0").starts_with("min: "));
    }

    #[test]
    fn the_intent_is_what_a_person_would_type() {
        let with = json!({ "project": "p-1", "region": "europe-west4", "namespace": "n", "pool": "p" });
        let step = read(with).unwrap();
        assert_eq!(
            step.intent(),
            [
                "gcloud compute backend-services list --regions=europe-west4 '--filter=name~^gkegw1-' --project=p-1",
                "gcloud compute backend-services get-health NAME --region=europe-west4 --project=p-1",
            ]
        );
    }
}
