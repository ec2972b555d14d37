//! Whether something was reported by an event.

use std::fmt;

use regex::Regex;
use serde_json::Value;

use super::sight::Sight;
use super::verdict::Finding;
use crate::cluster::{Resource, text_at};
use crate::failure::Failure;
use crate::readiness::line;

/// The event that is wanted.
#[derive(Clone, Debug, Default)]
pub(super) struct Happened {
    pub(super) reason: Option<String>,
    /// What its message must match.
    pub(super) pattern: Option<Regex>,
    /// `Normal` or `Warning`.
    pub(super) sort: Option<String>,
    /// What it is about: kind, as a plan's author writes it, and name.
    pub(super) about: Option<(String, String)>,
    /// Empty: that of the kubeconfig.
    pub(super) namespace: String,
}

impl fmt::Display for Happened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is an event")?;
        if let Some(reason) = &self.reason {
            write!(f, " {reason}")?;
        }
        if let Some((kind, name)) = &self.about {
            write!(f, " about {kind}/{name}")?;
        }
        if let Some(pattern) = &self.pattern {
            write!(f, " that matches `{pattern}`")?;
        }
        if self.namespace.is_empty() { Ok(()) } else { write!(f, " -n {}", self.namespace) }
    }
}

impl Happened {
    fn fits(&self, event: &Value, kind: Option<&str>) -> bool {
        let about = event.get("involvedObject").or_else(|| event.get("regarding")).unwrap_or(&Value::Null);
        let named = self.about.as_ref().is_none_or(|(_, name)| text_at(about, "/name") == name);
        self.reason.as_ref().is_none_or(|reason| text_at(event, "/reason") == reason)
            && self.sort.as_ref().is_none_or(|sort| text_at(event, "/type") == sort)
            && self.pattern.as_ref().is_none_or(|pattern| pattern.is_match(text_at(event, "/message")))
            && named
            && kind.is_none_or(|kind| text_at(about, "/kind") == kind)
    }
}

/// Looks whether it was reported. The cluster forgets events, usually after an hour.
pub(super) async fn happened(wanted: &Happened, sight: &mut Sight<'_>) -> Result<Finding, Failure> {
    let kind = match &wanted.about {
        Some((word, _)) => match sight.resolve(word).await? {
            Some(Resource { kind, .. }) => Some(kind),
            None => return Ok(Finding::not(format!("{wanted}: the cluster does not know the kind `{word}` yet"))),
        },
        None => None,
    };
    let Some(events) = sight.resolve("events").await? else {
        return Ok(Finding::not("the cluster has no events"));
    };
    let namespace = sight.namespace(&wanted.namespace);
    let found = sight.objects(&events, &namespace, None).await?;
    if found.iter().any(|event| wanted.fits(event, kind.as_deref())) {
        return Ok(Finding::holds());
    }
    let mut finding = Finding::not(format!("not yet: {wanted}"));
    let near = found.iter().filter(|event| kind.is_some() && wanted.about_only().fits(event, kind.as_deref()));
    finding.facts.events = near.take(20).map(|event| line(event)).collect();
    Ok(finding)
}

impl Happened {
    /// Any event about the same object.
    fn about_only(&self) -> Self {
        Self { about: self.about.clone(), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn all_that_is_given_must_fit() {
        let event = json!({ "reason": "Pulled", "type": "Normal", "message": "image x in 3 s",
                            "involvedObject": { "kind": "Pod", "name": "p" } });
        let fits = |change: fn(&mut Happened), kind: Option<&str>| {
            let mut wanted = Happened { reason: Some("Pulled".into()), ..Happened::default() };
            change(&mut wanted);
            wanted.fits(&event, kind)
        };
        assert!(fits(|_| {}, None));
        assert!(fits(|it| it.about = Some(("po".into(), "p".into())), Some("Pod")));
        assert!(!fits(|it| it.about = Some(("po".into(), "q".into())), Some("Pod")));
        assert!(!fits(|_| {}, Some("Node")));
        assert!(fits(|it| it.pattern = Regex::new("in [0-9]+ s").ok(), None));
        assert!(!fits(|it| it.pattern = Regex::new("^3").ok(), None));
        assert!(!fits(|it| it.sort = Some("Warning".into()), None));
        assert!(!fits(|it| it.reason = Some("Failed".into()), None));
    }
}
