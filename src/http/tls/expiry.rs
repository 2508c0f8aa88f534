//! When a certificate expires: the one field of X.509 (RFC 5280, 4.1) that nobody else here reads.

use std::time::SystemTime;

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The end of the validity of a certificate in DER; `None` when it cannot be read.
pub(super) fn expiry(certificate: &[u8]) -> Option<SystemTime> {
    let (certificate, _) = inside(certificate, SEQUENCE)?;
    let (mut fields, _) = inside(certificate, SEQUENCE)?;
    if fields.first() == Some(&VERSION) {
        fields = next(fields)?.2;
    }
    // The serial number, the signature's algorithm and the issuer come first.
    for _ in 0..3 {
        fields = next(fields)?.2;
    }
    let (validity, _) = inside(fields, SEQUENCE)?;
    let (_, _, rest) = next(validity)?;
    let (tag, until, _) = next(rest)?;
    time(tag, std::str::from_utf8(until).ok()?)
}

fn inside(der: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    let (tag, content, rest) = next(der)?;
    (tag == wanted).then_some((content, rest))
}

/// The first value: its tag, its content, and what comes after it.
fn next(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, der) = der.split_first()?;
    let (&first, der) = der.split_first()?;
    let (length, der) = if first < 0x80 {
        (usize::from(first), der)
    } else {
        let (bytes, der) = der.split_at_checked(usize::from(first & 0x7f)).filter(|(bytes, _)| bytes.len() <= 4)?;
        (bytes.iter().fold(0, |length, &byte| length << 8 | usize::from(byte)), der)
    };
    let (content, rest) = der.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// `YYMMDDhhmmssZ`, whose years are of 1950 to 2049, or `YYYYMMDDhhmmssZ`.
fn time(tag: u8, text: &str) -> Option<SystemTime> {
    let text = match tag {
        UTC_TIME if text.len() == 13 => format!("{}{text}", if text < "50" { "20" } else { "19" }),
        GENERALIZED_TIME if text.len() == 15 => text.to_owned(),
        _ => return None,
    };
    let part = |from, to| text.get(from..to);
    let (year, month, day) = (part(0, 4)?, part(4, 6)?, part(6, 8)?);
    let (hour, minute, second) = (part(8, 10)?, part(10, 12)?, part(12, 14)?);
    humantime::parse_rfc3339(&format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_time_are_read() {
        for (tag, text, read) in [
            (UTC_TIME, "491231235959Z", Some("2049-12-31T23:59:59Z")),
            (UTC_TIME, "990101000000Z", Some("1999-01-01T00:00:00Z")),
            (GENERALIZED_TIME, "20500101000000Z", Some("2050-01-01T00:00:00Z")),
            (UTC_TIME, "20500101000000Z", None),
            (GENERALIZED_TIME, "äöüäöüäZ", None),
        ] {
            assert_eq!(time(tag, text), read.map(|text| humantime::parse_rfc3339(text).unwrap()), "{text}");
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_expiry() {
        for odd in [&b""[..], b"\x30", b"\x30\x84\xff\xff\xff\xff", b"\x30\x02\x30\x00", &[0xff; 64]] {
            assert_eq!(expiry(odd), None, "{odd:?}");
        }
    }
}
