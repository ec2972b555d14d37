//! What a probe shows of a server's certificate: for whom it is, who signed it, and how long it lasts.
//!
//! Reads only these parts of X.509, and gives nothing where it does not understand; whether the certificate is good was decided
//! by TLS before. Pure.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const IDENTIFIER: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const LONG_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const DNS_NAME: u8 = 0x82;
const ADDRESS: u8 = 0x87;

const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const OTHER_NAMES: &[u8] = &[0x55, 0x1d, 0x11];

/// The certificate as expressions see it; `days_left` counts from `now`.
pub(super) fn shown(der: &[u8], now: Timestamp) -> Value {
    let digest: String = Sha256::digest(der).iter().map(|byte| format!("{byte:02x}")).collect();
    let Some(read) = read(der) else { return json!({ "sha256": digest }) };
    let days = read.not_after.duration_since(now).as_hours() / 24;
    json!({
        "subject": read.subject, "issuer": read.issuer, "names": read.names, "not_before": read.not_before.to_string(),
        "not_after": read.not_after.to_string(), "days_left": days, "sha256": digest,
    })
}

struct Certificate {
    subject: String,
    issuer: String,
    names: Vec<String>,
    not_before: Timestamp,
    not_after: Timestamp,
}

fn read(der: &[u8]) -> Option<Certificate> {
    let mut body = Reader(Reader(der).take(SEQUENCE)?).inside(SEQUENCE)?;
    body.take(VERSION);
    body.take(INTEGER)?;
    body.take(SEQUENCE)?;
    let issuer = common_name(body.take(SEQUENCE)?);
    let mut validity = body.inside(SEQUENCE)?;
    let (not_before, not_after) = (validity.time()?, validity.time()?);
    let subject = common_name(body.take(SEQUENCE)?);
    body.take(SEQUENCE)?;
    Some(Certificate { subject, issuer, names: other_names(body), not_before, not_after })
}

/// The last common name among the parts of a distinguished name.
fn common_name(name: &[u8]) -> String {
    let mut parts = Reader(name);
    let mut found = String::new();
    while let Some(mut set) = parts.inside(SET) {
        let Some(mut pair) = set.inside(SEQUENCE) else { continue };
        if pair.take(IDENTIFIER) == Some(COMMON_NAME) {
            found = pair.next().map(|(_, text)| String::from_utf8_lossy(text).into_owned()).unwrap_or_default();
        }
    }
    found
}

fn other_names(mut body: Reader<'_>) -> Vec<String> {
    while let Some((tag, content)) = body.next() {
        if tag != EXTENSIONS {
            continue;
        }
        let Some(mut extensions) = Reader(content).inside(SEQUENCE) else { break };
        while let Some(mut extension) = extensions.inside(SEQUENCE) {
            if extension.take(IDENTIFIER) == Some(OTHER_NAMES) {
                return extension
                    .last(OCTETS)
                    .and_then(|octets| Reader(octets).inside(SEQUENCE))
                    .map(names)
                    .unwrap_or_default();
            }
        }
    }
    Vec::new()
}

fn names(mut list: Reader<'_>) -> Vec<String> {
    let mut found = Vec::new();
    while let Some((tag, content)) = list.next() {
        match (tag, <[u8; 4]>::try_from(content), <[u8; 16]>::try_from(content)) {
            (DNS_NAME, ..) => found.push(String::from_utf8_lossy(content).into_owned()),
            (ADDRESS, Ok(four), _) => found.push(std::net::Ipv4Addr::from(four).to_string()),
            (ADDRESS, _, Ok(sixteen)) => found.push(std::net::Ipv6Addr::from(sixteen).to_string()),
            _ => {}
        }
    }
    found
}

/// Elements one after the other, each a tag, a length and a content.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&short, mut rest) = rest.split_first()?;
        let mut length = usize::from(short);
        if short >= 0x80 {
            let (bytes, after) =
                rest.split_at_checked(usize::from(short & 0x7f)).filter(|(bytes, _)| bytes.len() <= 4)?;
            length = bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            rest = after;
        }
        let (content, after) = rest.split_at_checked(length)?;
        self.0 = after;
        Some((tag, content))
    }

    /// The next element's content, if it has that tag; otherwise it stays.
    fn take(&mut self, wanted: u8) -> Option<&'a [u8]> {
        let before = self.0;
        let (tag, content) = self.next()?;
        if tag == wanted {
            return Some(content);
        }
        self.0 = before;
        None
    }

    fn inside(&mut self, wanted: u8) -> Option<Reader<'a>> {
        self.take(wanted).map(Reader)
    }

    /// The last element of those that are left, if it has that tag.
    fn last(&mut self, wanted: u8) -> Option<&'a [u8]> {
        let mut last = None;
        while let Some(element) = self.next() {
            last = Some(element);
        }
        last.filter(|(tag, _)| *tag == wanted).map(|(_, content)| content)
    }

    /// `YYMMDDhhmmssZ`, of 1950 to 2049, or `YYYYMMDDhhmmssZ`.
    fn time(&mut self) -> Option<Timestamp> {
        let (tag, content) = self.next()?;
        let text = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
        let text = match tag {
            UTC_TIME if text.get(..2)? < "50" => format!("20{text}"),
            UTC_TIME => format!("19{text}"),
            LONG_TIME => text.to_owned(),
            _ => return None,
        };
        let time = DateTime::strptime("%Y%m%d%H%M%S", &text).ok()?;
        time.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_shows_whose_it_is_and_how_long() {
        let mut wanted =
            rcgen::CertificateParams::new(vec!["gateway.example".to_owned(), "10.0.0.7".to_owned()]).unwrap();
        wanted.distinguished_name.push(rcgen::DnType::CommonName, "the gateway");
        wanted.not_before = rcgen::date_time_ymd(2026, 1, 1);
        wanted.not_after = rcgen::date_time_ymd(2026, 3, 1);
        let made = wanted.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let now: Timestamp = "2026-02-01T00:00:00Z".parse().unwrap();
        let shown = shown(made.der(), now);
        assert_eq!(shown["subject"], "the gateway");
        assert_eq!(shown["issuer"], "the gateway");
        assert_eq!(shown["names"], json!(["gateway.example", "10.0.0.7"]));
        assert_eq!(shown["not_after"], "2026-03-01T00:00:00Z");
        assert_eq!(shown["days_left"], 28);
    }

    #[test]
    fn what_is_no_certificate_still_has_its_digest() {
        for bytes in [&b""[..], b"0", b"0\x84\xff\xff\xff\xff", &[0x30, 0x03, 0x30, 0x82, 0xff]] {
            let shown = shown(bytes, Timestamp::UNIX_EPOCH);
            assert!(shown["sha256"].is_string() && shown["subject"].is_null());
        }
    }
}
