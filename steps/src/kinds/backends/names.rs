//! Which backend services are whose, by the names that GKE gives them. Pure.
//!
//! `gkegw1-HASH-NAMESPACE-NAME-PORT-HASH`, where a name that would be longer than Compute takes (63) has its parts cut.

use regex::Regex;

/// From this length on, parts of a name may be cut.
const LONG: usize = 60;

/// Whose backend services.
#[derive(Debug)]
pub(super) enum Wanted<'w> {
    Any,
    Namespace(&'w str),
    Pool { namespace: &'w str, pool: &'w str },
    Service { namespace: &'w str, service: &'w str },
    Pattern(Regex),
}

impl Wanted<'_> {
    pub(super) fn includes(&self, name: &str) -> bool {
        if let Wanted::Pattern(pattern) = self {
            return pattern.is_match(name);
        }
        let Some((_, rest)) = name.strip_prefix("gkegw1-").and_then(|rest| rest.split_once('-')) else { return false };
        let cut = name.len() >= LONG;
        match self {
            Wanted::Any | Wanted::Pattern(_) => true,
            Wanted::Namespace(namespace) => !after(rest, namespace, cut).is_empty(),
            Wanted::Service { namespace, service } => {
                let rests = after(rest, namespace, cut).into_iter().flat_map(|rest| after(rest, service, cut));
                rests.into_iter().any(begins_with_a_port)
            }
            // The Service that stands for a pool is called POOL-ip-HASH.
            Wanted::Pool { namespace, pool } => {
                let rests = after(rest, namespace, cut).into_iter().flat_map(|rest| after(rest, pool, cut));
                rests.into_iter().any(|rest| begins_with_a_port(rest) || begins_with_a_hash(rest, cut))
            }
        }
    }
}

/// What follows a part of a name, for each way in which the part may have been cut.
fn after<'r>(rest: &'r str, part: &str, cut: bool) -> Vec<&'r str> {
    let least = if cut { 1 } else { part.len() };
    let lengths = (least..=part.len()).rev().filter_map(|length| part.get(..length));
    lengths.filter_map(|part| rest.strip_prefix(part)?.strip_prefix('-')).collect()
}

fn begins_with_a_port(rest: &str) -> bool {
    rest.split('-').next().is_some_and(|first| !first.is_empty() && first.chars().all(|c| c.is_ascii_digit()))
}

/// `ip-5a3f9c21-54321-…`, or as much of it as is left.
fn begins_with_a_hash(rest: &str, cut: bool) -> bool {
    let mut parts = rest.split('-');
    let (first, second, third) = (parts.next(), parts.next(), parts.next());
    let hash = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_hexdigit());
    match (first, second, third) {
        (Some("ip"), Some(second), Some(third)) => {
            hash(second) && begins_with_a_port(third) || cut && begins_with_a_port(second)
        }
        (Some("i"), Some(second), _) => cut && begins_with_a_port(second),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMESPACE: &str = "llm-d-inference-scheduling";

    #[test]
    fn a_service_is_found_by_namespace_and_name() {
        let wanted = Wanted::Service { namespace: "default", service: "store" };
        assert!(wanted.includes("gkegw1-dgr3-default-store-8080-5k2n1dm9b5yz"));
        for other in [
            "gkegw1-dgr3-default-store-v1-8080-5k2n1dm9b5yz",
            "gkegw1-dgr3-other-store-8080-5k2n1dm9b5yz",
            "k8s1-dgr3-default-store-8080-5k2n1dm9b5yz",
            "gkegw1-dgr3-default-gw-5k2n1dm9b5yz",
        ] {
            assert!(!wanted.includes(other), "{other}");
        }
    }

    #[test]
    fn a_pool_goes_by_the_service_that_stands_for_it() {
        let wanted = Wanted::Pool { namespace: "llm", pool: "qwen-pool" };
        assert!(wanted.includes("gkegw1-qd0b-llm-qwen-pool-ip-5a3f9c21-54321-5k2n1dm9b5yz"));
        assert!(wanted.includes("gkegw1-qd0b-llm-qwen-pool-54321-5k2n1dm9b5yz"));
        assert!(!wanted.includes("gkegw1-qd0b-llm-qwen-pool-b-ip-5a3f9c21-54321-5k2n1dm9b5yz"));
    }

    #[test]
    fn long_names_are_cut() {
        let pool = "qwen2-3b-pattern1-inference-pool";
        let wanted = Wanted::Pool { namespace: NAMESPACE, pool };
        let name = "gkegw1-qd0b-llm-d-inference-sch-qwen2-3b-patter-54321-7hx2kq9zm";
        assert_eq!(name.len(), 63);
        assert!(wanted.includes(name));
        assert!(wanted.includes(&format!("gkegw1-abcd-{NAMESPACE}-{pool}-54321-xyz")));
        let other = Wanted::Pool { namespace: NAMESPACE, pool: "mistral-pool" };
        assert!(!other.includes(name));
    }

    #[test]
    fn a_namespace_or_a_pattern_is_enough() {
        let name = "gkegw1-dgr3-default-store-8080-5k2n1dm9b5yz";
        assert!(Wanted::Any.includes(name) && Wanted::Namespace("default").includes(name));
        assert!(!Wanted::Namespace("def").includes(name));
        assert!(Wanted::Pattern(Regex::new("store").unwrap()).includes(name));
    }
}
