//! The one form of a duration, wherever a person writes one: `90s`, `1h30m`, `500ms`. A bare number is refused: nobody knows what it
//! counts.

use std::time::Duration;

/// What a duration looks like, for schemas; what has it is a duration to whoever checks by one.
pub const PATTERN: &str = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+$";

/// Reads a duration. The error says what to write instead.
pub fn parse(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("a duration is missing; write `30s`, `5m` or `1h30m`".into());
    }
    if text.parse::<f64>().is_ok() {
        return Err(format!("`{text}` has no unit; did you mean `{text}s` or `{text}m`?"));
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    let mut last = u32::MAX;
    while !rest.is_empty() {
        let (part, rank, after) = first_part(rest).ok_or_else(|| not_a_duration(text))?;
        if rank >= last {
            return Err(not_a_duration(text));
        }
        last = rank;
        total = total.checked_add(part).ok_or_else(|| format!("`{text}` is too long for a duration"))?;
        rest = after;
    }
    Ok(total)
}

fn not_a_duration(text: &str) -> String {
    format!("`{text}` is not a duration; write `500ms`, `30s`, `5m`, `1h30m` or `1d`")
}

/// The first number with its unit, the rank of the unit, and what follows.
fn first_part(text: &str) -> Option<(Duration, u32, &str)> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
    let (number, rest) = text.split_at(digits);
    let letters = rest.find(|letter: char| !letter.is_ascii_alphabetic()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(letters);
    let (seconds, rank) = match unit {
        "d" => (86_400.0, 5),
        "h" => (3_600.0, 4),
        "m" => (60.0, 3),
        "s" => (1.0, 2),
        "ms" => (0.001, 1),
        _ => return None,
    };
    let amount: f64 = number.parse().ok()?;
    let exact = Duration::try_from_secs_f64(amount * seconds).ok()?;
    // Fractions such as 0.1 have no exact binary form; a millisecond is the finest unit there is.
    Some((Duration::from_millis(exact.as_micros().div_ceil(1000).try_into().ok()?), rank, rest))
}

/// The shortest form that reads back as the same: `1h30m`, `90ms`, `0s`.
pub fn format(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if rest == 0 {
        return "0s".into();
    }
    let mut text = String::new();
    for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        if rest >= size {
            text.push_str(&format!("{}{unit}", rest / size));
            rest %= size;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read() {
        for line in include_str!("duration.cases").lines().filter(|line| !line.starts_with('#')) {
            let (text, meaning) = line.split_once(' ').expect("a text and what it means");
            let read = parse(text).ok().map(|duration| duration.as_millis().to_string());
            assert_eq!(read.as_deref().unwrap_or("refused"), meaning.trim(), "{text}");
        }
    }

    #[test]
    fn a_bare_number_is_refused_with_a_suggestion() {
        assert_eq!(parse("30").unwrap_err(), "`30` has no unit; did you mean `30s` or `30m`?");
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "5 parsecs", "1h 30m"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for millis in [0, 1, 999, 1_000, 90_000, 5_400_000, 90_061_001] {
            let duration = Duration::from_millis(millis);
            assert_eq!(parse(&format(duration)), Ok(duration));
        }
    }
}
