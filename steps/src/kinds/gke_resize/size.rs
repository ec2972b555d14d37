//! How large a pool is: what its instance groups want and have, and between what its autoscaler keeps it. Pure.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A pool's size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) groups: Vec<Group>,
    pub(super) bounds: Option<Bounds>,
    /// Whether something is being done to it.
    pub(super) changing: bool,
}

/// The machines of a pool in one zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) zone: String,
    pub(super) wants: u32,
    /// How many are being made or taken away.
    pub(super) moving: u32,
}

/// Between what an autoscaler keeps a pool.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Bounds {
    /// The least number of nodes.
    pub(super) least: u32,
    /// The greatest number of nodes.
    pub(super) most: u32,
    /// Whether they are for all zones together.
    pub(super) total: bool,
}

impl Group {
    pub(super) fn read(zone: &str, found: &Value) -> Self {
        let actions = &found["currentActions"];
        let busy = ["creating", "creatingWithoutRetries", "deleting", "abandoning", "recreating"];
        let moving = busy.iter().map(|name| number(&actions[name])).sum();
        Self { zone: zone.to_owned(), wants: number(&found["targetSize"]), moving }
    }
}

impl Bounds {
    fn read(pool: &Value) -> Option<Self> {
        let given = &pool["autoscaling"];
        let number = |name: &str| number(&given[name]);
        let total = number("totalMaxNodeCount") > 0;
        let (least, most) = if total {
            (number("totalMinNodeCount"), number("totalMaxNodeCount"))
        } else {
            (number("minNodeCount"), number("maxNodeCount"))
        };
        (given["enabled"] == true).then_some(Self { least, most, total })
    }

    /// The same, wide enough for a number.
    fn with(&self, count: u32) -> Self {
        Self { least: self.least.min(count), most: self.most.max(count), ..*self }
    }

    /// The flags that set them.
    pub(super) fn flags(&self) -> [String; 2] {
        let total = if self.total { "total-" } else { "" };
        [format!("--{total}min-nodes={}", self.least), format!("--{total}max-nodes={}", self.most)]
    }
}

impl Size {
    pub(super) fn read(pool: &Value, groups: Vec<Group>) -> Self {
        let moving = groups.iter().any(|group| group.moving > 0);
        let changing = moving || matches!(pool["status"].as_str(), Some("PROVISIONING" | "RECONCILING"));
        Self { groups, bounds: Bounds::read(pool), changing }
    }

    pub(super) fn busy(&self) -> bool {
        self.groups.iter().any(|group| group.moving > 0)
    }

    /// How many nodes it wants in each zone; the most where zones differ.
    pub(super) fn by_zone(&self) -> u32 {
        self.groups.iter().map(|group| group.wants).max().unwrap_or_default()
    }

    /// The autoscaler's bounds, where a size is outside them.
    pub(super) fn outside(&self, nodes: u32) -> Option<Bounds> {
        let bounds = self.bounds.clone()?;
        (bounds.with(self.count(&bounds, nodes)) != bounds).then_some(bounds)
    }

    /// Bounds that are wide enough for a size.
    pub(super) fn widened(&self, bounds: &Bounds, nodes: u32) -> Bounds {
        bounds.with(self.count(bounds, nodes))
    }

    fn count(&self, bounds: &Bounds, nodes: u32) -> u32 {
        let zones = if bounds.total { self.groups.len().max(1) } else { 1 };
        nodes.saturating_mul(u32::try_from(zones).unwrap_or(u32::MAX))
    }

    /// In what it is not of a size.
    pub(super) fn differs(&self, nodes: u32) -> Option<String> {
        let other = self.groups.iter().find(|group| group.wants != nodes)?;
        let place = if self.groups.len() > 1 { format!(" in {}", other.zone) } else { String::new() };
        Some(format!("{} nodes{place}, not {nodes}", other.wants))
    }
}

/// JSON numbers of the API may be text.
fn number(value: &Value) -> u32 {
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
    number.and_then(|number| u32::try_from(number).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn group(zone: &str, wants: u32, creating: u32) -> Group {
        Group::read(zone, &json!({ "targetSize": wants, "currentActions": { "none": 1, "creating": creating } }))
    }

    fn size(autoscaling: &Value, groups: Vec<Group>) -> Size {
        Size::read(&json!({ "status": "RUNNING", "autoscaling": autoscaling }), groups)
    }

    #[test]
    fn a_size_is_what_the_groups_want() {
        let one = size(&json!(null), vec![group("a", 3, 0)]);
        assert_eq!((one.by_zone(), one.differs(3), one.changing), (3, None, false));
        assert_eq!(one.differs(0).as_deref(), Some("3 nodes, not 0"));
        let two = size(&json!(null), vec![group("a", 1, 0), group("b", 2, 0)]);
        assert_eq!(two.differs(1).as_deref(), Some("2 nodes in b, not 1"));
    }

    #[test]
    fn machines_on_their_way_are_a_change() {
        let growing = size(&json!(null), vec![group("a", 3, 2)]);
        assert!(growing.changing && growing.busy());
    }

    #[test]
    fn an_autoscaler_keeps_a_pool_within_its_bounds() {
        let bounds = json!({ "enabled": true, "minNodeCount": 1, "maxNodeCount": 3 });
        let pool = size(&bounds, vec![group("a", 1, 0)]);
        assert_eq!((pool.outside(3), pool.outside(1)), (None, None));
        let narrow = pool.outside(4).unwrap();
        assert_eq!(pool.widened(&narrow, 4).flags(), ["--min-nodes=1", "--max-nodes=4"]);
        assert_eq!(pool.widened(&narrow, 0).least, 0);
        assert!(size(&json!({ "enabled": false, "maxNodeCount": 1 }), Vec::new()).outside(4).is_none());
    }

    #[test]
    fn bounds_may_be_for_all_zones_together() {
        let bounds = json!({ "enabled": true, "totalMinNodeCount": "0", "totalMaxNodeCount": "4" });
        let pool = size(&bounds, vec![group("a", 1, 0), group("b", 1, 0)]);
        assert!(pool.outside(2).is_none());
        let wide = pool.widened(&pool.outside(3).unwrap(), 3);
        assert_eq!(wide.flags(), ["--total-min-nodes=0", "--total-max-nodes=6"]);
    }
}
