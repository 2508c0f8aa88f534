//! Values as Go's `strconv` and `time` read them.

use std::time::Duration;

/// `1`, `t`, `T`, `true`, `True`, `TRUE` and their opposites.
pub(super) fn bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "True" | "TRUE" => Some(true),
        "0" | "f" | "F" | "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// A whole number; `0x`, `0o` or `0`, and `0b` say another base than ten, and then `_` may stand between digits.
pub(super) fn integer(text: &str) -> Option<i64> {
    let (is_negative, digits) = sign(text);
    let lower = digits.to_ascii_lowercase();
    let (base, rest) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    let is_apart = |digits: &str| !digits.ends_with('_') && !digits.contains("__");
    if rest.contains('_') && (rest.len() == lower.len() && rest.starts_with('_') || !is_apart(rest)) {
        return None;
    }
    let rest = rest.replace('_', "");
    if !rest.chars().all(|c| c.is_digit(base)) {
        return None;
    }
    let value = i128::from_str_radix(&rest, base).ok()?;
    i64::try_from(if is_negative { -value } else { value }).ok()
}

/// A number with a fraction; infinity and the like are none here.
pub(super) fn float(text: &str) -> Option<f64> {
    text.parse().ok().filter(|f: &f64| f.is_finite())
}

/// Nanoseconds, as in `1h2m3.5s`, `-100ms` and `1.5h`.
pub(super) fn nanoseconds(text: &str) -> Option<i64> {
    let (is_negative, mut rest) = sign(text);
    if rest == "0" {
        return Some(0);
    }
    let mut sum = 0_i128;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let unit = rest[number..].find(|c: char| c.is_ascii_digit() || c == '.').map_or(rest.len(), |end| number + end);
        sum = sum.checked_add(part(&rest[..number], unit_of(&rest[number..unit])?)?)?;
        rest = &rest[unit..];
    }
    i64::try_from(if is_negative { -sum } else { sum }).ok()
}

/// The same as a duration that is not negative.
pub(super) fn duration(nanoseconds: i64) -> Duration {
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0))
}

fn sign(text: &str) -> (bool, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    }
}

fn unit_of(text: &str) -> Option<i128> {
    Some(match text {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60 * 1_000_000_000,
        "h" => 3600 * 1_000_000_000,
        _ => return None,
    })
}

/// `1.5` of a unit; one side of the point may be empty, and what is less than a nanosecond is cut off.
fn part(number: &str, unit: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') || whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut sum = whole.checked_mul(unit)?;
    let mut scale = unit;
    for digit in fraction.bytes() {
        // Digits so far behind the point that they count for nothing.
        sum = sum.checked_add(i128::from(digit - b'0') * scale / 10)?;
        scale /= 10;
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, expected) in [
            ("0", 0),
            ("-0", 0),
            ("10s", 10_000_000_000),
            ("1h2m3.5s", 3_723_500_000_000),
            ("100ms", 100_000_000),
            ("1.5h", 5_400_000_000_000),
            (".5s", 500_000_000),
            ("5.s", 5_000_000_000),
            ("7us", 7_000),
            ("7µs", 7_000),
            ("7μs", 7_000),
            ("1ns", 1),
            ("0.25us", 250),
            ("+2m", 120_000_000_000),
            ("-2m", -120_000_000_000),
            ("1m1m", 120_000_000_000),
            ("0.3333333333333333333333s", 333_333_333),
        ] {
            assert_eq!(nanoseconds(text), Some(expected), "{text}");
        }
        for text in ["", "-", "10", "s", ".s", "1.1.1s", "1d", "1S", "1 s", "10s ", "1e3s", "9999999999h", "--1s"] {
            assert_eq!(nanoseconds(text), None, "{text}");
        }
    }

    #[test]
    fn whole_numbers() {
        for (text, expected) in [
            ("0", 0),
            ("-1", -1),
            ("+7", 7),
            ("42", 42),
            ("0x1F", 31),
            ("-0X10", -16),
            ("010", 8),
            ("0o17", 15),
            ("0b101", 5),
            ("1_000", 1000),
            ("0x_ff", 255),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(integer(text), Some(expected), "{text}");
        }
        for text in ["", "-", "1.0", "08", "0x", "1__0", "1_", "_1", "9223372036854775808", "0b2", "--1", "0x-1", " 1"]
        {
            assert_eq!(integer(text), None, "{text}");
        }
    }

    #[test]
    fn truth_and_fractions() {
        assert!(["1", "t", "T", "true", "True", "TRUE"].iter().all(|t| bool(t) == Some(true)));
        assert!(["0", "f", "F", "false", "False", "FALSE"].iter().all(|t| bool(t) == Some(false)));
        assert!(["", "yes", "tRUE", "on", "2"].iter().all(|t| bool(t).is_none()));
        assert!(float("0.5") == Some(0.5) && float(".5") == Some(0.5) && float("1e3") == Some(1000.0));
        assert!(float("").is_none() && float("inf").is_none() && float("1s").is_none());
    }
}
