//! What is counted of requests, in constant memory. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::http::events::Usage;

/// Longer spans count as this long.
const LONGEST: Duration = Duration::from_secs(3600);

/// Three digits of each span, in nanoseconds.
#[derive(Clone, Debug)]
pub(crate) struct Spans(Histogram<u64>);

impl Spans {
    fn new() -> Self {
        let longest = u64::try_from(LONGEST.as_nanos()).unwrap_or(u64::MAX);
        Self(Histogram::new_with_bounds(1, longest, 3).expect("constant bounds that the histogram takes"))
    }

    fn record(&mut self, span: Duration) {
        self.0.saturating_record(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX));
    }

    fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("both have the same bounds");
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// The span that this share of all do not exceed, from 0 to 1.
    pub(crate) fn at(&self, share: f64) -> Duration {
        Duration::from_nanos(self.0.value_at_quantile(share))
    }

    /// The mean.
    pub(crate) fn mean(&self) -> Duration {
        Duration::from_nanos(self.0.mean() as u64)
    }

    /// The standard deviation.
    pub(crate) fn deviation(&self) -> Duration {
        Duration::from_nanos(self.0.stdev() as u64)
    }

    /// The shortest and the longest.
    pub(crate) fn ends(&self) -> (Duration, Duration) {
        (Duration::from_nanos(self.0.min()), Duration::from_nanos(self.0.max()))
    }
}

/// What became of one request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum End {
    /// It was answered as it should be.
    Good(Good),
    /// It was not: the status if it was answered, or what went wrong with it.
    Bad(Bad),
}

/// A good answer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Good {
    pub(crate) status: u16,
    /// From when it was due to its last byte.
    pub(crate) latency: Duration,
    /// From when it was sent to its last byte, where that is not the same.
    pub(crate) service: Option<Duration>,
    /// To the first token.
    pub(crate) first: Option<Duration>,
    /// For each token after it.
    pub(crate) each: Option<Duration>,
    pub(crate) tokens: Usage,
    pub(crate) bytes: u64,
}

/// A failed request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bad {
    pub(crate) what: What,
    /// The start of the answer's body, or the error.
    pub(crate) text: String,
}

/// Under what a failed request is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum What {
    /// An answer with this status.
    Status(u16),
    /// No answer, or none that is whole, by the name of the trouble.
    Trouble(&'static str),
}

/// The counts of many requests.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    /// Answers by status, good and bad.
    pub(crate) statuses: BTreeMap<u16, u64>,
    /// Requests without a whole answer, by what went wrong.
    pub(crate) troubles: BTreeMap<&'static str, u64>,
    pub(crate) good: u64,
    pub(crate) bad: u64,
    /// Good ones only: a refusal comes fast, and would make a broken server look quick.
    pub(crate) latency: Spans,
    pub(crate) service: Option<Spans>,
    pub(crate) first: Option<Spans>,
    pub(crate) each: Option<Spans>,
    pub(crate) tokens: Usage,
    pub(crate) bytes: u64,
    /// One failed request of each sort.
    pub(crate) samples: BTreeMap<What, String>,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            statuses: BTreeMap::new(),
            troubles: BTreeMap::new(),
            good: 0,
            bad: 0,
            latency: Spans::new(),
            service: None,
            first: None,
            each: None,
            tokens: Usage::default(),
            bytes: 0,
            samples: BTreeMap::new(),
        }
    }

    /// Counts one request.
    pub(crate) fn count(&mut self, end: End) {
        match end {
            End::Good(good) => self.count_good(&good),
            End::Bad(bad) => self.count_bad(bad),
        }
    }

    fn count_good(&mut self, good: &Good) {
        self.good += 1;
        *self.statuses.entry(good.status).or_default() += 1;
        self.latency.record(good.latency);
        let parts = [(&mut self.service, good.service), (&mut self.first, good.first), (&mut self.each, good.each)];
        for (spans, span) in parts {
            if let Some(span) = span {
                spans.get_or_insert_with(Spans::new).record(span);
            }
        }
        self.bytes += good.bytes;
        self.tokens.prompt_tokens += good.tokens.prompt_tokens;
        self.tokens.completion_tokens += good.tokens.completion_tokens;
    }

    fn count_bad(&mut self, bad: Bad) {
        self.bad += 1;
        match bad.what {
            What::Status(status) => *self.statuses.entry(status).or_default() += 1,
            What::Trouble(name) => *self.troubles.entry(name).or_default() += 1,
        }
        self.samples.entry(bad.what).or_insert(bad.text);
    }

    /// Adds what another counted.
    pub(crate) fn add(&mut self, other: Self) {
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        for (name, count) in other.troubles {
            *self.troubles.entry(name).or_default() += count;
        }
        self.good += other.good;
        self.bad += other.bad;
        self.latency.add(&other.latency);
        for (mine, theirs) in
            [(&mut self.service, other.service), (&mut self.first, other.first), (&mut self.each, other.each)]
        {
            if let Some(theirs) = theirs {
                mine.get_or_insert_with(Spans::new).add(&theirs);
            }
        }
        self.tokens.prompt_tokens += other.tokens.prompt_tokens;
        self.tokens.completion_tokens += other.tokens.completion_tokens;
        self.bytes += other.bytes;
        for (what, text) in other.samples {
            self.samples.entry(what).or_insert(text);
        }
    }

    /// All that were sent.
    pub(crate) fn sent(&self) -> u64 {
        self.good + self.bad
    }

    /// Which failure there was most of, how often, and one of it.
    pub(crate) fn worst(&self, good: impl Fn(u16) -> bool) -> Option<(What, u64, &str)> {
        let statuses = self.statuses.iter().filter(|(status, _)| !good(**status));
        let statuses = statuses.map(|(status, count)| (What::Status(*status), *count));
        let troubles = self.troubles.iter().map(|(name, count)| (What::Trouble(name), *count));
        let (what, count) = statuses.chain(troubles).max_by_key(|(_, count)| *count)?;
        Some((what, count, self.samples.get(&what).map(String::as_str).unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(ms: u64) -> End {
        End::Good(Good { status: 200, latency: Duration::from_millis(ms), bytes: 2, ..Good::default() })
    }

    fn bad(what: What) -> End {
        End::Bad(Bad { what, text: "why".to_owned() })
    }

    #[test]
    fn every_request_is_counted_once() {
        let mut tally = Tally::new();
        for end in [good(1), good(2), bad(What::Status(426)), bad(What::Trouble("reset")), bad(What::Status(426))] {
            tally.count(end);
        }
        assert_eq!((tally.sent(), tally.good, tally.bad), (5, 2, 3));
        assert_eq!(tally.statuses, BTreeMap::from([(200, 2), (426, 2)]));
        assert_eq!(tally.troubles, BTreeMap::from([("reset", 1)]));
        assert_eq!(tally.worst(|status| status == 200), Some((What::Status(426), 2, "why")));
        assert_eq!(tally.latency.count(), 2);
    }

    #[test]
    fn two_halves_are_the_whole() {
        let (mut whole, mut left, mut right) = (Tally::new(), Tally::new(), Tally::new());
        for ms in 1..=1000 {
            whole.count(good(ms));
            if ms % 2 == 0 { left.count(good(ms)) } else { right.count(good(ms)) }
        }
        left.add(right);
        for share in [0.5, 0.95, 0.99, 1.0] {
            assert_eq!(left.latency.at(share), whole.latency.at(share));
        }
        assert_eq!(left.statuses, whole.statuses);
    }

    #[test]
    fn three_digits_of_a_span_are_kept() {
        let mut spans = Spans::new();
        for ms in 1..=10_000 {
            spans.record(Duration::from_millis(ms));
        }
        for (share, expected) in [(0.5, 5.0), (0.95, 9.5), (0.99, 9.9)] {
            assert!((spans.at(share).as_secs_f64() / expected - 1.0).abs() < 0.001, "{share}");
        }
        spans.record(Duration::from_secs(100_000));
        assert!(spans.at(1.0) >= LONGEST);
    }
}
