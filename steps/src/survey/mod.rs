//! A look at all that may tell why something does not work: what a person would type when a guide says "troubleshooting".
//!
//! Reads and changes nothing. What is not there, or may not be read, is said and does not stop the rest. It does not know what the
//! sights mean: that is the business of hints.

mod cloud;
mod cluster;

use serde_json::Value;

use crate::context::Context;
use crate::failure::Facts;

pub use cloud::Places;

/// One thing that was looked at.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sighting {
    /// The command that shows the same to a person.
    pub command: String,
    /// What it is about: `kind/name` of a Kubernetes object, or words.
    pub subject: String,
    /// The namespace of that, if it has one.
    pub namespace: String,
    /// What is the matter with it, in a line; empty where nothing shows.
    pub text: String,
    /// What was seen.
    pub facts: Facts,
}

/// All that was seen.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// One thing each.
    pub sightings: Vec<Sighting>,
    /// What could not be looked at, and why.
    pub unseen: Vec<String>,
    /// The Kubernetes objects and events that were read, without secret values and without what only the server needs.
    pub objects: Vec<Value>,
    /// The programs and servers that answered, with their versions.
    pub versions: Vec<String>,
}

/// Looks at the cluster that the kubeconfig leads to, and at the cloud where a plan uses it. Without a kubeconfig, only a plan that uses
/// a cluster lacks something.
pub async fn survey(cx: &Context, places: &[Places]) -> Survey {
    let mut survey = Survey::default();
    if !places.is_empty() || cx.world.kubeconfig.exists() {
        cluster::look(cx, &mut survey).await;
    }
    for place in places {
        cloud::look(cx, place, &mut survey).await;
    }
    survey
}

impl Survey {
    /// Takes note of a look that failed.
    fn failed(&mut self, command: &str, why: &str) {
        self.unseen.push(format!("{command}: {why}"));
    }
}
