//! What somebody most likely meant who wrote a name that there is not.

/// How much alike two names must be, between 0 and 1, for one to be a slip for the other.
const ALIKE: f64 = 0.6;

/// The candidate that is nearest to what was written, if it is near enough to be what was meant.
pub fn nearest<'c>(written: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let written = bare(written);
    let scored = candidates.into_iter().map(|candidate| (likeness(&written, &bare(candidate)), candidate));
    let near = scored.filter(|(score, _)| *score >= ALIKE);
    near.max_by(|(left, _), (right, _)| left.total_cmp(right)).map(|(_, candidate)| candidate)
}

/// What only differs in its case, or adds or leaves out separators, is the same.
fn bare(text: &str) -> String {
    text.to_lowercase().replace(['_', '-', '.', ' '], "")
}

/// Letters in another order count half as wrong.
fn likeness(written: &str, candidate: &str) -> f64 {
    let starts = written.len() >= 3 && candidate.starts_with(written);
    let holds =
        written.len() > 3 && candidate.len() > 3 && (candidate.contains(written) || written.contains(candidate));
    let part = if starts {
        0.75
    } else if holds {
        ALIKE
    } else {
        0.0
    };
    strsim::normalized_damerau_levenshtein(written, candidate).max(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised() {
        let known = ["NetworkPolicy", "HttpLoadBalancing", "NodeLocalDNS", "gateway_class", "timeout"];
        for (written, meant) in [
            ("GkeNetworkPolicy", "NetworkPolicy"),
            ("HTTPLoadBalancer", "HttpLoadBalancing"),
            ("LocalDNS", "NodeLocalDNS"),
            ("gatewayclass", "gateway_class"),
            ("timeuot", "timeout"),
        ] {
            assert_eq!(nearest(written, known), Some(meant), "{written}");
        }
    }

    #[test]
    fn something_else_is_not_suggested() {
        assert_eq!(nearest("Istio", ["NetworkPolicy", "HttpLoadBalancing", "NodeLocalDNS"]), None);
        assert_eq!(nearest("colour", ["needs", "run", "env"]), None);
    }
}
