//! Versions: what programs print, and which of two is newer. Pure.

use std::cmp::Ordering;
use std::fmt;
use std::sync::LazyLock;

use regex::Regex;

/// A version: its numbers, and whether it came before the release that they name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    numbers: Vec<u64>,
    /// `rc.1` of `5.8.0-rc.1`; a suffix that is no pre-release (`-dispatcher`, `-gke.1`) is not kept.
    before: Option<String>,
}

static PATTERN: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"(?P<numbers>\d+(?:\.\d+)*)(?:-?(?P<before>(?:alpha|beta|rc|pre|dev)[0-9A-Za-z.-]*))?";
    Regex::new(pattern).expect("a pattern that was written here")
});

impl Version {
    /// A version as a plan writes it: `3.17`, `v5.8.0`, `1.2.0-rc.1`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let bare = text.strip_prefix('v').unwrap_or(text);
        let found = PATTERN.captures(bare)?;
        (found.get(0)?.range() == (0..bare.len())).then(|| Self::of(&found)).flatten()
    }

    /// The first version in what a program printed.
    pub(crate) fn find(text: &str) -> Option<Self> {
        // `jq-1.5-1-a5b5cbe` and `(https://github.com/…)` hold versions; `Apple Git-154` and a bare `2` hold none.
        let dotted = PATTERN.captures_iter(text).find(|found| found["numbers"].contains('.'))?;
        Self::of(&dotted)
    }

    fn of(found: &regex::Captures) -> Option<Self> {
        let numbers = found["numbers"].split('.').map(|number| number.parse().ok()).collect::<Option<Vec<u64>>>()?;
        Some(Self { numbers, before: found.name("before").map(|it| it.as_str().to_owned()) })
    }

    fn number(&self, index: usize) -> u64 {
        self.numbers.get(index).copied().unwrap_or(0)
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        let longest = self.numbers.len().max(other.numbers.len());
        let numbers = (0..longest).map(|at| self.number(at).cmp(&other.number(at))).find(|order| order.is_ne());
        match (numbers, &self.before, &other.before) {
            (Some(order), _, _) => Some(order),
            (None, None, None) => Some(Ordering::Equal),
            (None, Some(_), None) => Some(Ordering::Less),
            (None, None, Some(_)) => Some(Ordering::Greater),
            (None, Some(one), Some(other)) => Some(natural(one).cmp(&natural(other))),
        }
    }
}

/// The parts of a pre-release, so that `rc.10` comes after `rc.9`.
fn natural(text: &str) -> Vec<(u64, String)> {
    text.split(['.', '-']).map(|part| (part.parse().unwrap_or(0), part.to_owned())).collect()
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<String> = self.numbers.iter().map(ToString::to_string).collect();
        f.write_str(&numbers.join("."))?;
        self.before.iter().try_for_each(|before| write!(f, "-{before}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Version {
        Version::parse(text).expect(text)
    }

    #[test]
    fn versions_are_ordered_by_numbers_not_by_letters() {
        let ascending =
            ["0.160", "1.1", "1.1.9", "1.2.0-alpha.2", "1.2.0-rc.9", "1.2.0-rc.10", "1.2", "1.10", "407", "528.0.0"];
        for pair in ascending.windows(2) {
            assert!(parse(pair[0]) < parse(pair[1]), "{pair:?}");
        }
        assert!(parse("5.8") >= parse("5.8.0") && parse("v5.8.0") >= parse("5.8"));
    }

    #[test]
    fn what_is_no_version_is_refused() {
        for text in ["", "any", "latest", ">=3.17", "1.x", "3.17 or later", "1..2"] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }
}
