//! The archive of a diagnosis: journal, logs, objects, events, versions and findings, without secret values.
//!
//! Everything goes through two masks: that of the plan's secrets, and patterns of what tokens and keys look like. Secrets come as
//! the names of their keys.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::LazyLock;

use flate2::Compression;
use flate2::write::GzEncoder;
use regex::Regex;
use runbook_steps::Redactor;
use runbook_steps::survey::Survey;
use serde_json::Value;

use super::versions;
use crate::cli::exit::{Exit, Fatal};
use crate::state::{Home, journal};

/// What tokens and keys look like: of Hugging Face, GitHub and Google, in an `Authorization` header, in a registry's login, and keys
/// as text.
static TOKENS: LazyLock<Regex> = LazyLock::new(|| {
    let parts = [
        r"hf_[A-Za-z0-9]{16,}",
        r"gh[pousr]_[A-Za-z0-9]{20,}",
        r"ya29\.[A-Za-z0-9_.-]{10,}",
        r"(?i:bearer) [A-Za-z0-9._~+/=-]{8,}",
        r#""auth"\s*:\s*"[^"]{4,}""#,
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?s:.)*?-----END [A-Z ]*PRIVATE KEY-----",
        r"eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{5,}",
    ];
    Regex::new(&parts.join("|")).expect("the patterns are constants")
});

/// Writes the archive, for its owner only.
pub(super) fn write(
    file: &Path,
    home: &Home,
    survey: &Survey,
    findings: &str,
    redactor: &Redactor,
) -> Result<(), Fatal> {
    let mask = |text: &str| TOKENS.replace_all(&redactor.mask(text), "[masked]").into_owned();
    let parts = parts(home, survey, findings);
    save(file, parts.iter().map(|(name, text)| (name.as_str(), mask(text))))
        .map_err(|error| Fatal::new(Exit::Usage, format!("cannot write `{}`: {error}", file.display())))
}

/// The files of the archive, by name.
fn parts(home: &Home, survey: &Survey, findings: &str) -> BTreeMap<String, String> {
    let mut parts = BTreeMap::from([
        ("findings.json".to_owned(), findings.to_owned()),
        ("versions.json".to_owned(), pretty(&serde_json::to_value(versions(survey)).unwrap_or_default())),
        ("unseen.txt".to_owned(), survey.unseen.join("\n")),
        ("journal.jsonl".to_owned(), journal::text(home)),
    ]);
    for (kind, objects) in by_kind(&survey.objects) {
        parts.insert(format!("objects/{kind}.json"), pretty(&Value::Array(objects)));
    }
    for log in files(&home.logs_dir()) {
        let name = log.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        parts.insert(format!("logs/{name}"), read(&log));
    }
    parts
}

fn by_kind(objects: &[Value]) -> BTreeMap<String, Vec<Value>> {
    let mut kinds: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for object in objects {
        let kind = object["kind"].as_str().unwrap_or("other").to_lowercase();
        kinds.entry(kind).or_default().push(object.clone());
    }
    kinds
}

fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<_> = entries.filter(|path| path.is_file()).collect();
    files.sort();
    files
}

fn read(path: &Path) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

/// Writes beside the file and puts it in its place, so that there is never half an archive.
fn save<'p>(file: &Path, parts: impl Iterator<Item = (&'p str, String)>) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let beside = file.with_extension("part");
    let out = File::options().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    let mut packed = GzEncoder::new(out, Compression::default());
    for (name, text) in parts {
        packed.write_all(&header(name, text.len()))?;
        packed.write_all(text.as_bytes())?;
        packed.write_all(&vec![0; text.len().next_multiple_of(BLOCK) - text.len()])?;
    }
    packed.write_all(&[0; 2 * BLOCK])?;
    packed.finish()?.sync_all()?;
    fs::rename(&beside, file)
}

/// The unit of a tar archive.
const BLOCK: usize = 512;

/// A header of the ustar format, for a file that its owner may read and write.
fn header(name: &str, size: usize) -> [u8; BLOCK] {
    let mut header = [0; BLOCK];
    let mut put = |at: usize, text: &str, most: usize| {
        let bytes = &text.as_bytes()[..text.len().min(most)];
        header[at..at + bytes.len()].copy_from_slice(bytes);
    };
    put(0, name, 100);
    put(100, "0000600", 7);
    put(108, "0000000", 7);
    put(116, "0000000", 7);
    put(124, &format!("{size:011o}"), 11);
    put(136, "00000000000", 11);
    put(148, "        ", 8);
    put(156, "0", 1);
    put(257, "ustar", 5);
    put(263, "00", 2);
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_has_the_sum_that_tar_expects() {
        let header = header("a/b.json", 1000);
        assert_eq!(&header[..8], b"a/b.json");
        assert_eq!(&header[124..135], b"00000001750");
        let blank: u32 = header
            .iter()
            .enumerate()
            .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
            .sum();
        assert_eq!(&header[148..154], format!("{blank:06o}").as_bytes());
    }

    #[test]
    fn what_looks_like_a_token_is_masked() {
        let text =
            r#"token hf_abcdefghijklmnop1234 and {"auth": "dXNlcjpwYXNz"} and Authorization: Bearer abc.def.ghi-jkl"#;
        let masked = TOKENS.replace_all(text, "[masked]");
        assert_eq!(masked, "token [masked] and {[masked]} and Authorization: [masked]");
    }
}
