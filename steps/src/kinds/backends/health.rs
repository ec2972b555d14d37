//! What the health of backends means. Pure.

use serde_json::{Value, json};

use crate::failure::Facts;

/// The health of a load balancer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Health {
    pub(super) services: Vec<Service>,
}

/// One backend service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) name: String,
    backends: Vec<Backend>,
    pub(super) check: Option<Check>,
}

/// One backend: an address and what the load balancer makes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Backend {
    address: String,
    state: String,
}

/// What a health check asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Check {
    protocol: String,
    path: String,
    /// Nothing where it asks on the port that serves.
    port: Option<u64>,
}

impl Check {
    /// `{type: HTTP, httpHealthCheck: {requestPath, port}}`, and the same in other protocols.
    pub(super) fn read(found: &Value) -> Option<Self> {
        let protocol = found["type"].as_str()?;
        let field = format!("{}HealthCheck", protocol.to_lowercase());
        let details = &found[field.as_str()];
        let fixed = details["portSpecification"].as_str().is_none_or(|how| how == "USE_FIXED_PORT");
        Some(Self {
            protocol: protocol.to_owned(),
            path: details["requestPath"].as_str().unwrap_or_default().to_owned(),
            port: details["port"].as_u64().filter(|port| fixed && *port > 0),
        })
    }

    fn told(&self) -> String {
        let port = self.port.map_or_else(|| "the serving port".to_owned(), |port| format!("port {port}"));
        let asks =
            if self.path.is_empty() { self.protocol.clone() } else { format!("{} `{}`", self.protocol, self.path) };
        let hint = if self.path == "/" {
            ", which vLLM answers with 404: a HealthCheckPolicy on the InferencePool names its path, `/health`"
        } else {
            ""
        };
        format!("the health check asks {asks} on {port}{hint}")
    }
}

impl Service {
    /// Reads the answer of `get-health`: one entry a group, each with the status of its endpoints.
    pub(super) fn read(name: &str, answer: &Value) -> Self {
        let groups = answer.as_array().into_iter().flatten();
        let all = groups.flat_map(|group| group["status"]["healthStatus"].as_array().into_iter().flatten());
        // The same endpoint may be in groups of several zones' lists.
        let mut backends: Vec<Backend> = Vec::new();
        for backend in all.map(Backend::read) {
            if !backends.contains(&backend) {
                backends.push(backend);
            }
        }
        Self { name: name.to_owned(), backends, check: None }
    }

    pub(super) fn has_trouble(&self) -> bool {
        self.counted().any(|backend| !backend.is_healthy())
    }

    fn counted(&self) -> impl Iterator<Item = &Backend> {
        self.backends.iter().filter(|backend| backend.state != "DRAINING")
    }
}

impl Backend {
    fn read(status: &Value) -> Self {
        let text = |key: &str| status[key].as_str().unwrap_or_default();
        let host = if text("ipAddress").is_empty() {
            text("instance").rsplit('/').next().unwrap_or_default()
        } else {
            text("ipAddress")
        };
        let port = status["port"].as_u64().map(|port| format!(":{port}")).unwrap_or_default();
        let state = if text("healthState").is_empty() { "UNKNOWN" } else { text("healthState") };
        Self { address: format!("{host}{port}"), state: state.to_owned() }
    }

    fn is_healthy(&self) -> bool {
        self.state == "HEALTHY"
    }
}

impl Health {
    fn counted(&self) -> impl Iterator<Item = &Backend> {
        self.services.iter().flat_map(Service::counted)
    }

    pub(super) fn total(&self) -> usize {
        self.counted().count()
    }

    pub(super) fn healthy(&self) -> usize {
        self.counted().filter(|backend| backend.is_healthy()).count()
    }

    pub(super) fn unhealthy(&self) -> Vec<&str> {
        self.counted().filter(|backend| !backend.is_healthy()).map(|backend| backend.address.as_str()).collect()
    }

    /// Whether it is healthy enough. Nothing is not.
    pub(super) fn suffices(&self, min: Option<u32>) -> bool {
        let healthy = self.healthy();
        match min {
            Some(min) => healthy >= min as usize,
            // A service that has no backends yet will have some.
            None => healthy > 0 && healthy == self.total() && self.services.iter().all(|one| one.counted().count() > 0),
        }
    }

    /// Why it is not, in a line.
    pub(super) fn told(&self, whose: &str, min: Option<u32>) -> String {
        if self.services.is_empty() {
            return format!("there is no {whose} yet");
        }
        if self.total() == 0 {
            return format!("`{}` has no backends yet", self.services[0].name);
        }
        let wanted = min.map(|min| format!(", {min} are wanted")).unwrap_or_default();
        let count = format!("{} of {} backends are healthy{wanted}", self.healthy(), self.total());
        let Some((service, backend)) = self.first_trouble() else { return count };
        let check = service.check.as_ref().map(|check| format!("; {}", check.told())).unwrap_or_default();
        format!("{count}: {} is {}{check}", backend.address, backend.state)
    }

    fn first_trouble(&self) -> Option<(&Service, &Backend)> {
        let bad = |service: &Service| service.counted().find(|backend| !backend.is_healthy()).cloned();
        let service = self.services.iter().find(|service| bad(service).is_some())?;
        service.counted().find(|backend| !backend.is_healthy()).map(|backend| (service, backend))
    }

    /// The same for hints.
    pub(super) fn facts(&self) -> Facts {
        let mut facts = Facts::default();
        let mut add = |name: &str, value: Value| facts.other.insert(name.to_owned(), value);
        add("healthy", json!(self.healthy()));
        add("total", json!(self.total()));
        add("unhealthy", json!(self.unhealthy()));
        if let Some(check) = self.services.iter().find_map(|service| service.check.as_ref()) {
            add("health_check", json!({ "protocol": check.protocol, "path": check.path, "port": check.port }));
        }
        facts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(states: &[&str]) -> Service {
        let status = |(index, state): (usize, &&str)| json!({ "healthState": state, "ipAddress": format!("10.4.0.{index}"), "port": 8000 });
        let all: Vec<Value> = states.iter().enumerate().map(status).collect();
        Service::read("gkegw1-a-n-s-1-x", &json!([{ "backend": "g", "status": { "healthStatus": all } }]))
    }

    fn health(states: &[&str]) -> Health {
        Health { services: vec![service(states)] }
    }

    fn check(details: &Value) -> Check {
        Check::read(&json!({ "type": "HTTP", "httpHealthCheck": details })).unwrap()
    }

    #[test]
    fn all_are_wanted_unless_fewer_will_do() {
        assert!(health(&["HEALTHY", "HEALTHY"]).suffices(None));
        let one = health(&["HEALTHY", "UNHEALTHY"]);
        assert!(!one.suffices(None) && one.suffices(Some(1)) && !one.suffices(Some(2)));
        assert!(health(&["HEALTHY", "DRAINING"]).suffices(None), "what goes does not count");
    }

    #[test]
    fn nothing_is_not_healthy() {
        assert!(!health(&[]).suffices(None) && !Health { services: Vec::new() }.suffices(None));
        let half = Health { services: vec![service(&["HEALTHY"]), service(&[])] };
        assert!(!half.suffices(None), "the other service will have backends too");
        assert_eq!(health(&[]).told("x", None), "`gkegw1-a-n-s-1-x` has no backends yet");
        assert_eq!(
            Health { services: Vec::new() }.told("backend service of a gateway", None),
            "there is no backend service of a gateway yet"
        );
    }

    #[test]
    fn the_check_that_fails_is_named() {
        let mut one = service(&["HEALTHY", "UNHEALTHY"]);
        one.check = Some(check(&json!({ "requestPath": "/", "portSpecification": "USE_SERVING_PORT" })));
        let health = Health { services: vec![one] };
        assert_eq!(
            health.told("x", None),
            "1 of 2 backends are healthy: 10.4.0.1:8000 is UNHEALTHY; the health check asks HTTP `/` on the serving port, which vLLM \
             answers with 404: a HealthCheckPolicy on the InferencePool names its path, `/health`"
        );
        assert_eq!(health.facts().other["health_check"]["path"], "/");
    }

    #[test]
    fn a_check_may_have_a_port_of_its_own() {
        assert_eq!(
            check(&json!({ "requestPath": "/health", "port": 8000 })).told(),
            "the health check asks HTTP `/health` on port 8000"
        );
        let tcp = Check::read(&json!({ "type": "TCP", "tcpHealthCheck": { "port": 80 } })).unwrap();
        assert_eq!(tcp.told(), "the health check asks TCP on port 80");
    }
}
