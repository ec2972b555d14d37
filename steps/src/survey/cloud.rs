//! What Google Cloud shows of a cluster: its state and that of its pools, its load balancers, their health, and used up quotas.

use serde_json::Value;

use super::{Sighting, Survey};
use crate::context::Context;
use crate::failure::{Class, Facts, Objects};
use crate::gcloud::{Gcloud, GkeCluster, groups};

/// Where in the cloud to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// A cluster.
    pub cluster: GkeCluster,
    /// Its node pools that a plan makes.
    pub pools: Vec<String>,
}

/// Looks at the cloud.
pub(super) async fn look(cx: &Context, places: &Places, survey: &mut Survey) {
    if cx.world.find_program("gcloud").is_none() {
        return survey.failed("gcloud", "the program is not on PATH");
    }
    let mut eye = Eye { gcloud: Gcloud::new(cx, Some(&places.cluster.project)), places, survey };
    eye.cluster().await;
    eye.pools().await;
    eye.operations().await;
    eye.quotas().await;
    eye.balancers().await;
}

/// Looks, and takes notes.
struct Eye<'e> {
    gcloud: Gcloud<'e>,
    places: &'e Places,
    survey: &'e mut Survey,
}

impl Eye<'_> {
    /// The answer of a command, as a list.
    async fn ask(&mut self, words: &[&str]) -> Vec<Value> {
        let command = format!("gcloud {} --project={}", words.join(" "), self.places.cluster.project);
        match self.gcloud.json(words.iter().copied()).await {
            Ok(Value::Array(found)) => found,
            Ok(Value::Null) => Vec::new(),
            Ok(one) => vec![one],
            Err(failure) => {
                // What cannot be read is not there, or says why by itself.
                let text = failure.what.clone();
                self.note(&command, words[words.len().min(3) - 1], &text, Some(failure.class), *failure.facts);
                self.survey.failed(&command, &text);
                Vec::new()
            }
        }
    }

    fn note(&mut self, command: &str, subject: &str, text: &str, class: Option<Class>, facts: Facts) {
        let mut facts = facts;
        if let Some(class) = class {
            facts.other.insert("class".to_owned(), class.name().into());
        }
        let (command, subject, text) = (command.to_owned(), subject.to_owned(), text.to_owned());
        self.survey.sightings.push(Sighting { command, subject, text, facts, ..Sighting::default() });
    }

    fn see(&mut self, command: &str, subject: &str, text: &str, object: &Value) {
        let facts = Facts { objects: Objects::new([object]), ..Facts::default() };
        self.note(command, subject, text, None, facts);
    }

    async fn cluster(&mut self) {
        let GkeCluster { name, location, .. } = &self.places.cluster;
        let place = location.flag();
        for cluster in self.ask(&["container", "clusters", "describe", name, &place]).await {
            let status = cluster["status"].as_str().unwrap_or_default().to_owned();
            let said = cluster["statusMessage"].as_str().unwrap_or_default();
            let text = if status == "RUNNING" { String::new() } else { format!("cluster {name} is {status} {said}") };
            if let Some(version) = cluster["currentMasterVersion"].as_str() {
                self.survey.versions.push(format!("GKE {version}"));
            }
            let command = format!("gcloud container clusters describe {name} {place}");
            self.see(&command, &format!("cluster {name}"), &text, &cluster);
        }
    }

    async fn pools(&mut self) {
        let places = self.places;
        let (place, cluster) = (places.cluster.location.flag(), format!("--cluster={}", places.cluster.name));
        for pool in &places.pools {
            for found in self.ask(&["container", "node-pools", "describe", pool, &cluster, &place]).await {
                let status = found["status"].as_str().unwrap_or_default();
                let said = found["statusMessage"].as_str().unwrap_or_default();
                let text = if status == "RUNNING" { String::new() } else { format!("pool {pool} is {status} {said}") };
                let command = format!("gcloud container node-pools describe {pool} {cluster} {place}");
                self.see(&command, &format!("pool {pool}"), text.trim(), &found);
                self.groups(&found, pool).await;
            }
        }
    }

    /// Why instance groups of a pool cannot make machines: GKE hides it for half an hour.
    async fn groups(&mut self, found: &Value, pool: &str) {
        for (group, zone) in groups(found) {
            let words = ["compute", "instance-groups", "managed", "list-errors", &group, &format!("--zone={zone}")];
            for error in self.ask(&words).await.into_iter().take(1) {
                let said = error["error"]["message"].as_str().unwrap_or_default();
                let code = error["error"]["code"].as_str().unwrap_or_default();
                let text = format!("pool {pool} gets no machines: {code}: {said}");
                self.see(&format!("gcloud {}", words.join(" ")), &format!("pool {pool}"), &text, &error);
            }
        }
    }

    async fn operations(&mut self) {
        let place = self.places.cluster.location.flag();
        let words = ["container", "operations", "list", &place, "--filter=status!=DONE"];
        for operation in self.ask(&words).await {
            let (kind, status) = (operation["operationType"].as_str(), operation["status"].as_str());
            let text = format!("operation {} is {}", kind.unwrap_or_default(), status.unwrap_or_default());
            self.see(&format!("gcloud {}", words.join(" ")), "operations", &text, &operation);
        }
    }

    async fn quotas(&mut self) {
        let region = self.places.cluster.location.region().to_owned();
        for found in self.ask(&["compute", "regions", "describe", &region]).await {
            for quota in found["quotas"].as_array().into_iter().flatten() {
                let (limit, usage) = (quota["limit"].as_f64().unwrap_or(0.0), quota["usage"].as_f64().unwrap_or(0.0));
                let metric = quota["metric"].as_str().unwrap_or_default();
                if usage >= limit && usage > 0.0 {
                    let text = format!("Quota '{metric}' exceeded: {usage} of {limit} are used in {region}");
                    let facts = Facts::default();
                    self.note(
                        &format!("gcloud compute regions describe {region}"),
                        metric,
                        &text,
                        Some(Class::Quota),
                        facts,
                    );
                }
            }
        }
    }

    /// Whether the cluster has a Gateway that needs a proxy-only subnet.
    fn has_regional_gateway(&self) -> bool {
        let class = |object: &Value| object["spec"]["gatewayClassName"].as_str().unwrap_or_default().to_owned();
        self.survey.objects.iter().map(class).any(|class| class.contains("regional") || class.contains("rilb"))
    }

    /// The load balancers of Gateways, which are called `gkegw1-…`.
    async fn balancers(&mut self) {
        let regions = format!("--regions={}", self.places.cluster.location.region());
        let region = format!("--region={}", self.places.cluster.location.region());
        let ours = "--filter=name~gkegw1";
        for service in self.ask(&["compute", "backend-services", "list", &regions, ours]).await {
            let name = service["name"].as_str().unwrap_or_default().to_owned();
            for health in self.ask(&["compute", "backend-services", "get-health", &name, &region]).await {
                let command = format!("gcloud compute backend-services get-health {name} {region}");
                self.see(&command, &format!("backend service {name}"), "", &health);
            }
        }
        let words = ["compute", "forwarding-rules", "list", &regions, ours];
        for rule in self.ask(&words).await {
            let name = format!("forwarding rule {}", rule["name"].as_str().unwrap_or_default());
            self.see(&format!("gcloud {}", words.join(" ")), &name, "", &rule);
        }
        let words = ["compute", "health-checks", "list", &regions, ours];
        for check in self.ask(&words).await {
            let name = format!("health check {}", check["name"].as_str().unwrap_or_default());
            self.see(&format!("gcloud {}", words.join(" ")), &name, "", &check);
        }
        let words = ["compute", "networks", "subnets", "list", &regions, "--filter=purpose=REGIONAL_MANAGED_PROXY"];
        if self.has_regional_gateway() && self.ask(&words).await.is_empty() {
            let text = format!("no proxy-only subnet in {}", self.places.cluster.location.region());
            self.note(&format!("gcloud {}", words.join(" ")), "proxy-only subnet", &text, None, Facts::default());
        }
    }
}
