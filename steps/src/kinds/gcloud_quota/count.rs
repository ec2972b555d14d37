//! What the machines that are there use of a quota by TPU or GPU family, for which Google shows no usage. Pure.

use regex::Regex;
use serde_json::Value;

/// The filter that finds the machines of a family in a region.
pub(super) fn filter(metric: &str, region: &str, family: &str) -> String {
    let what = if is_of_tpus(metric) { "machineType" } else { "guestAccelerators.acceleratorType" };
    format!("zone~{region}- AND {what}~{}", stem(family))
}

/// How many chips or GPUs of a family machines have.
pub(super) fn units(machines: &Value, metric: &str, family: &str) -> f64 {
    let spot = metric.starts_with("PREEMPTIBLE_");
    let machines = machines.as_array().into_iter().flatten().filter(|machine| is_spot(machine) == spot);
    let of = |machine: &Value| if is_of_tpus(metric) { chips(machine, family) } else { gpus(machine, family) };
    machines.map(of).fold(0.0, std::ops::Add::add)
}

fn is_of_tpus(metric: &str) -> bool {
    metric.contains("TPU")
}

/// `nvidia-h100` of `NVIDIA_H100`.
fn stem(family: &str) -> String {
    family.to_lowercase().replace('_', "-")
}

fn is_spot(machine: &Value) -> bool {
    let scheduling = &machine["scheduling"];
    scheduling["provisioningModel"] == "SPOT" || scheduling["preemptible"] == true
}

fn last(link: &Value) -> &str {
    link.as_str().unwrap_or_default().rsplit('/').next().unwrap_or_default()
}

/// Four of a `ct6e-standard-4t`.
fn chips(machine: &Value, family: &str) -> f64 {
    let name = last(&machine["machineType"]);
    let of_family = name.split('-').next() == Some(&stem(family));
    let chips = name.rsplit('-').next().and_then(|last| last.strip_suffix('t')).and_then(|count| count.parse().ok());
    if of_family { chips.unwrap_or(0.0) } else { 0.0 }
}

/// An `nvidia-h100-80gb` is of the family `NVIDIA_H100`, an `nvidia-h100-mega-80gb` is not.
fn gpus(machine: &Value, family: &str) -> f64 {
    let model = Regex::new(&format!("^{}(-[0-9]+gb)?$", regex::escape(&stem(family)))).expect("an escaped name");
    let all = machine["guestAccelerators"].as_array().into_iter().flatten();
    let own = all.filter(|gpu| model.is_match(last(&gpu["acceleratorType"])));
    own.map(|gpu| gpu["acceleratorCount"].as_f64().unwrap_or_default()).fold(0.0, std::ops::Add::add)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TPUS: &str = "TPUS_PER_TPU_FAMILY";

    #[test]
    fn chips_are_counted_from_machine_types() {
        let machine = |name: &str| json!({ "machineType": format!("https://x/zones/z/machineTypes/{name}") });
        let machines = json!([machine("ct6e-standard-4t"), machine("ct6e-standard-8t"), machine("ct5lp-hightpu-4t")]);
        assert_eq!(units(&machines, TPUS, "CT6E"), 12.0);
        assert_eq!(filter(TPUS, "us-east5", "CT6E"), "zone~us-east5- AND machineType~ct6e");
    }

    #[test]
    fn spot_machines_have_a_quota_of_their_own() {
        let spot = json!([{ "machineType": "ct6e-standard-4t", "scheduling": { "provisioningModel": "SPOT" } }]);
        assert_eq!((units(&spot, TPUS, "CT6E"), units(&spot, "PREEMPTIBLE_TPUS_PER_TPU_FAMILY", "CT6E")), (0.0, 4.0));
    }

    #[test]
    fn gpus_are_told_apart_by_model() {
        let with = |model: &str| json!({ "guestAccelerators": [{ "acceleratorType": format!("x/{model}"), "acceleratorCount": 8 }] });
        let machines = json!([with("nvidia-h100-80gb"), with("nvidia-h100-mega-80gb")]);
        assert_eq!(units(&machines, "GPUS_PER_GPU_FAMILY", "NVIDIA_H100"), 8.0);
    }
}
