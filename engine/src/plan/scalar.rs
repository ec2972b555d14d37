//! What a plain scalar is: text, or one of the few other things of YAML 1.2, and what people may have meant instead. Pure.

use serde_json::Number;

use super::tree::Data;

/// The value of a plain scalar by the core schema of YAML 1.2, where `0777` and `1_000` are text. None for a number that JSON
/// cannot hold.
pub(super) fn resolve(text: &str) -> Option<Data> {
    match word(text) {
        None if is_no_number(text) => Some(Data::Text(text.into())),
        None => number(text),
        known => known,
    }
}

/// Whether a plain scalar is text: what [`resolve`] says, without making a copy of it.
pub(super) fn is_text(text: &str) -> bool {
    word(text).is_none() && (is_no_number(text) || matches!(number(text), Some(Data::Text(_))))
}

fn word(text: &str) -> Option<Data> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Some(Data::Null),
        "true" | "True" | "TRUE" => Some(Data::Bool(true)),
        "false" | "False" | "FALSE" => Some(Data::Bool(false)),
        _ => None,
    }
}

fn is_no_number(text: &str) -> bool {
    !text.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first))
        || is_digits_with_leading_zero(text)
}

fn number(text: &str) -> Option<Data> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let negative = text.starts_with('-');
    if let Some(int) = integer(unsigned) {
        return int.and_then(|int| signed(int, negative)).map(Data::Number);
    }
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return None;
    }
    if !looks_like_float(unsigned) {
        return Some(Data::Text(text.into()));
    }
    let float: f64 = unsigned.parse().ok()?;
    Number::from_f64(if negative { -float } else { float }).map(Data::Number)
}

/// The outer option says whether it has the form of a whole number, the inner one whether it fits.
fn integer(unsigned: &str) -> Option<Option<u64>> {
    let (digits, radix) = match unsigned.get(..2) {
        Some("0x") => (&unsigned[2..], 16),
        Some("0o") => (&unsigned[2..], 8),
        _ => (unsigned, 10),
    };
    let whole = !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix));
    whole.then(|| u64::from_str_radix(digits, radix).ok())
}

fn signed(int: u64, negative: bool) -> Option<Number> {
    if negative { 0i64.checked_sub_unsigned(int).map(Number::from) } else { Some(Number::from(int)) }
}

fn is_digits_with_leading_zero(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// `[0-9]*(\.[0-9]*)?([eE][-+]?[0-9]+)?` with a digit before the exponent.
fn looks_like_float(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent = exponent.is_none_or(|part| {
        let part = part.strip_prefix(['+', '-']).unwrap_or(part);
        !part.is_empty() && digits(part)
    });
    digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty()) && exponent
}

/// What a plain text would have been in YAML 1.1 or elsewhere: what people expect, and how to write that.
pub(super) fn surprise(text: &str) -> Option<(&'static str, String)> {
    match text {
        "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "y" | "Y" => Some(("true", "`true`".into())),
        "no" | "No" | "NO" | "off" | "Off" | "OFF" | "n" | "N" => Some(("false", "`false`".into())),
        _ if is_digits_with_leading_zero(text) && text.bytes().all(|digit| digit < b'8') => {
            Some(("an octal number", format!("`0o{}`", text.trim_start_matches(['+', '-', '0']))))
        }
        _ if text.contains('_')
            && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_')
            && !text.starts_with('_') =>
        {
            Some(("a number", format!("`{}`", text.replace('_', ""))))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whether_it_is_text_is_found_as_with_a_copy() {
        for text in [
            "", "a", "null", "True", "yes", "0", "007", "1_0", "-", "+1", ".", "1.5", ".inf", "0x1f", "1e3", "1e", "-a",
        ] {
            assert_eq!(is_text(text), matches!(resolve(text), Some(Data::Text(_))), "`{text}`");
        }
    }
}
