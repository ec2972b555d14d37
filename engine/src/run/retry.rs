//! Whether a failure is tried again, and when. Pure.

use std::time::Duration;

use runbook_steps::Failure;

use crate::plan::model::Retry;

/// How long a far side may ask us to wait. What it says in its answer is not to be trusted with more.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// What becomes of a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// There is another attempt after a pause.
    Again {
        /// The pause.
        after: Duration,
    },
    /// It was the last.
    Enough,
}

/// One failed attempt, as the decision sees it.
#[derive(Clone, Copy, Debug)]
pub struct Tried<'a> {
    /// The step's name: steps that fail together must not come back together.
    pub step: &'a str,
    /// The attempt that failed, from 1.
    pub attempt: u32,
    /// How long all attempts and pauses took so far.
    pub spent: Duration,
    /// What all of them may take.
    pub deadline: Option<Duration>,
    /// The run's seed; the same seed gives the same pauses.
    pub seed: u64,
}

/// Decides by the failure's class, the attempts left and the deadline.
pub fn decide(policy: &Retry, failure: &Failure, tried: Tried<'_>) -> Decision {
    if tried.attempt >= policy.attempts || !policy.only.contains(&failure.class) {
        return Decision::Enough;
    }
    let pause = pause(policy, tried);
    let after = failure.retry_after.map_or(pause, |asked| asked.min(LONGEST).max(pause));
    match tried.deadline {
        Some(deadline) if tried.spent.saturating_add(after) >= deadline => Decision::Enough,
        _ => Decision::Again { after },
    }
}

/// `initial × factor^(attempt-1)`, at most `max`, times a jitter in (0.5, 1].
fn pause(policy: &Retry, tried: Tried<'_>) -> Duration {
    let exponent = i32::try_from(tried.attempt.saturating_sub(1)).unwrap_or(i32::MAX);
    let seconds = policy.initial.as_secs_f64() * policy.factor.max(1.0).powi(exponent);
    let longest = policy.max.max(policy.initial).as_secs_f64();
    Duration::from_secs_f64(seconds.min(longest) * jitter(tried))
}

/// In (0.5, 1], from a hash of seed, step and attempt.
fn jitter(tried: Tried<'_>) -> f64 {
    let mut hash = 0xcbf2_9ce4_8422_2325 ^ tried.seed;
    for byte in tried.step.bytes().chain(tried.attempt.to_le_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    // FNV leaves the high bits of short inputs alike; this spreads them (the finalizer of splitmix64).
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let share = ((hash ^ (hash >> 31)) >> 32) as f64 / f64::from(u32::MAX);
    1.0 - share * 0.499
}

#[cfg(test)]
mod tests {
    use runbook_steps::Class;

    use super::*;

    fn policy() -> Retry {
        Retry {
            attempts: 4,
            initial: Duration::from_secs(4),
            factor: 2.0,
            max: Duration::from_secs(10),
            only: vec![Class::Transient, Class::Throttled],
        }
    }

    fn tried(attempt: u32) -> Tried<'static> {
        Tried { step: "gateway", attempt, spent: Duration::from_secs(60), deadline: None, seed: 7 }
    }

    fn after(decision: Decision) -> Duration {
        match decision {
            Decision::Again { after } => after,
            Decision::Enough => panic!("no more attempts"),
        }
    }

    #[test]
    fn only_listed_classes_and_only_so_often() {
        assert_eq!(decide(&policy(), &Failure::permanent("x"), tried(1)), Decision::Enough);
        assert_eq!(decide(&policy(), &Failure::transient("x"), tried(4)), Decision::Enough);
        assert!(matches!(decide(&policy(), &Failure::transient("x"), tried(3)), Decision::Again { .. }));
    }

    #[test]
    fn pauses_grow_to_the_longest_with_jitter_between_half_and_all() {
        for (attempt, full) in [(1, 4.0), (2, 8.0), (3, 10.0)] {
            let pause = after(decide(&policy(), &Failure::transient("x"), tried(attempt))).as_secs_f64();
            assert!(pause > full / 2.0 && pause <= full, "{pause} of {full}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_pause_and_other_steps_others() {
        let ours = after(decide(&policy(), &Failure::transient("x"), tried(1)));
        assert_eq!(ours, after(decide(&policy(), &Failure::transient("x"), tried(1))));
        let other = Tried { step: "model", ..tried(1) };
        assert_ne!(ours, after(decide(&policy(), &Failure::transient("x"), other)));
    }

    #[test]
    fn nobody_waits_longer_than_a_day_for_being_asked_to() {
        let failure = Failure { retry_after: Some(Duration::MAX), ..Failure::transient("busy") };
        let Decision::Again { after } = decide(&Retry::default(), &failure, tried(1)) else { panic!("again") };
        assert_eq!(after, LONGEST);
    }

    #[test]
    fn what_the_far_side_asks_for_is_the_least() {
        let asked = Duration::from_secs(90);
        let failure = Failure { retry_after: Some(asked), ..Failure::new(Class::Throttled, "429") };
        assert_eq!(decide(&policy(), &failure, tried(1)), Decision::Again { after: asked });
    }

    #[test]
    fn a_pause_that_would_pass_the_deadline_is_the_end() {
        let late = Tried { deadline: Some(Duration::from_secs(61)), ..tried(1) };
        assert_eq!(decide(&policy(), &Failure::transient("x"), late), Decision::Enough);
    }
}
