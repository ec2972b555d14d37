//! Which cluster, and where it is. Knows nothing of what is done to it.

use std::ops::Deref;

use serde_json::Value;

use crate::kind::ReadError;

/// Where a cluster is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Location {
    /// A zonal cluster's zone.
    Zone(String),
    /// A regional cluster's region.
    Region(String),
}

impl Location {
    /// Exactly one of the two, as a `with` gives them.
    pub(crate) fn read(zone: Option<&str>, region: Option<&str>) -> Result<Self, ReadError> {
        match (zone, region) {
            (Some(zone), None) => Ok(Location::Zone(zone.to_owned())),
            (None, Some(region)) => Ok(Location::Region(region.to_owned())),
            _ => {
                let message = "give exactly one of `zone` and `region`".to_owned();
                Err(ReadError { path: "zone".to_owned(), message })
            }
        }
    }

    /// As the commands of `gcloud container` want it.
    pub(crate) fn flag(&self) -> String {
        match self {
            Location::Zone(zone) => format!("--zone={zone}"),
            Location::Region(region) => format!("--region={region}"),
        }
    }

    /// The name of the zone, or of the region.
    pub(crate) fn name(&self) -> &str {
        let (Location::Zone(name) | Location::Region(name)) = self;
        name
    }

    /// `europe-west4` of `europe-west4-a`.
    pub(crate) fn region(&self) -> &str {
        match self {
            Location::Zone(zone) => region_of(zone),
            Location::Region(region) => region,
        }
    }
}

/// What a `with` says, and the location that its `zone` or `region` names.
#[derive(Clone, Debug)]
pub(crate) struct Placed<T> {
    said: T,
    location: Location,
}

impl<T> Placed<T> {
    pub(crate) fn new(said: T, location: Location) -> Self {
        Self { said, location }
    }

    pub(crate) fn location(&self) -> &Location {
        &self.location
    }
}

impl<T> Deref for Placed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.said
    }
}

/// The region that a zone is in.
pub(crate) fn region_of(zone: &str) -> &str {
    zone.rsplit_once('-').map_or(zone, |(region, _)| region)
}

/// A cluster of Google's, by what tells it from all others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GkeCluster {
    /// The project that it belongs to.
    pub project: String,
    /// Where it is.
    pub location: Location,
    /// Its name there.
    pub name: String,
}

impl GkeCluster {
    /// The one that a `with` names under a key, beside its `project` and its `zone` or `region`.
    pub(crate) fn named(with: &Value, key: &str) -> Option<Self> {
        let text = |key: &str| with[key].as_str();
        let location = Location::read(text("zone"), text("region")).ok()?;
        Some(Self { project: text("project")?.to_owned(), location, name: text(key)?.to_owned() })
    }

    /// The one of a kubeconfig's context, by the name that gcloud gives it.
    pub(crate) fn of_context(context: &str) -> Option<Self> {
        let mut parts = context.strip_prefix("gke_")?.splitn(3, '_');
        let (project, place, name) = (parts.next()?, parts.next()?.to_owned(), parts.next()?);
        // `europe-west4` is a region, `europe-west4-a` one of its zones.
        let location = if place.matches('-').count() == 2 { Location::Zone(place) } else { Location::Region(place) };
        Some(Self { project: project.to_owned(), location, name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cluster(location: Location) -> GkeCluster {
        GkeCluster { project: "p-1".to_owned(), location, name: "llm-d".to_owned() }
    }

    #[test]
    fn a_zone_is_in_its_region() {
        let zone = Location::read(Some("europe-west4-a"), None).unwrap();
        assert_eq!((zone.flag().as_str(), zone.region()), ("--zone=europe-west4-a", "europe-west4"));
        for (zone, region) in [(Some("a"), Some("b")), (None, None)] {
            let error = Location::read(zone, region).unwrap_err();
            assert_eq!(
                (error.path.as_str(), error.message.as_str()),
                ("zone", "give exactly one of `zone` and `region`")
            );
        }
    }

    #[test]
    fn a_context_names_its_cluster() {
        let zonal = cluster(Location::Zone("europe-west4-a".to_owned()));
        assert_eq!(GkeCluster::of_context("gke_p-1_europe-west4-a_llm-d"), Some(zonal));
        let regional = cluster(Location::Region("europe-west4".to_owned()));
        assert_eq!(GkeCluster::of_context("gke_p-1_europe-west4_llm-d"), Some(regional));
        assert_eq!(GkeCluster::of_context("kind-kind"), None);
    }

    #[test]
    fn a_step_names_its_cluster_wholly_or_not_at_all() {
        let with = json!({ "project": "p-1", "region": "europe-west4", "name": "pool", "cluster": "llm-d" });
        let regional = cluster(Location::Region("europe-west4".to_owned()));
        assert_eq!(GkeCluster::named(&with, "cluster"), Some(regional));
        assert_eq!(GkeCluster::named(&json!({ "project": "p-1", "cluster": "llm-d" }), "cluster"), None);
    }
}
