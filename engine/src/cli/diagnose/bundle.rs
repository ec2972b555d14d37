//! The archive of a diagnosis: journal, logs, objects, events, versions and findings, without secret values.
//!
//! Everything goes through two masks: that of the plan's secrets, and patterns of what tokens and keys look like. Secrets come as
//! the names of their keys.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek as _, Write};
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

/// A log is masked in pieces of so many bytes, and the line that these end in.
const PIECE: usize = 256 << 10;

/// Writes the archive, for its owner only.
pub(super) fn write(
    file: &Path,
    home: &Home,
    survey: &Survey,
    findings: &str,
    redactor: &Redactor,
) -> Result<(), Fatal> {
    let mask = |text: &str| TOKENS.replace_all(&redactor.mask(text), "[masked]").into_owned();
    save(file, |archive| {
        for (name, text) in parts(home, survey, findings) {
            let masked = mask(&text);
            add(archive, Path::new(&name), masked.len() as u64, masked.as_bytes())?;
        }
        files(&home.logs_dir()).iter().try_for_each(|log| add_log(archive, log, &mask))
    })
    .map_err(|error| Fatal::new(Exit::Usage, format!("cannot write `{}`: {error}", file.display())))
}

/// The files of the archive besides the logs, by name.
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
    parts
}

/// Adds a log, however long it is: an archive wants the length first, so what is masked waits in a file without a name.
fn add_log(archive: &mut Archive, log: &Path, mask: &dyn Fn(&str) -> String) -> io::Result<()> {
    let mut masked = tempfile::tempfile()?;
    if let Err(error) = File::open(log).and_then(|text| copy_masked(BufReader::new(text), &mut masked, mask, PIECE)) {
        writeln!(masked, "the rest cannot be read: {error}")?;
    }
    let size = masked.stream_position()?;
    masked.rewind()?;
    add(archive, &Path::new("logs").join(log.file_name().unwrap_or_default()), size, masked)
}

/// Copies a text and masks it piece by piece. Where what is masked goes over from one piece into the next, both are one.
fn copy_masked(
    mut text: impl BufRead,
    out: &mut impl Write,
    mask: &dyn Fn(&str) -> String,
    piece: usize,
) -> io::Result<()> {
    let mut held = next_piece(&mut text, piece)?;
    while !held.is_empty() {
        let next = next_piece(&mut text, piece)?;
        let both = format!("{held}{next}");
        let masked = mask(&held);
        if mask(&both) == format!("{masked}{}", mask(&next)) {
            out.write_all(masked.as_bytes())?;
            held = next;
        } else {
            held = both;
        }
    }
    Ok(())
}

fn next_piece(text: &mut impl BufRead, piece: usize) -> io::Result<String> {
    let mut bytes = Vec::new();
    text.by_ref().take(piece as u64).read_to_end(&mut bytes)?;
    if bytes.len() == piece && !bytes.ends_with(b"\n") {
        text.read_until(b'\n', &mut bytes)?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
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

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

type Archive = tar::Builder<GzEncoder<File>>;

/// Writes beside the file and puts it in its place, so that there is never half an archive.
fn save(file: &Path, fill: impl FnOnce(&mut Archive) -> io::Result<()>) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let beside = file.with_extension("part");
    let out = File::options().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    let mut archive = tar::Builder::new(GzEncoder::new(out, Compression::default()));
    fill(&mut archive)?;
    archive.into_inner()?.finish()?.sync_all()?;
    fs::rename(&beside, file)
}

/// Adds a file that its owner may read and write.
fn add(archive: &mut Archive, name: &Path, size: u64, text: impl Read) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o600);
    archive.append_data(&mut header, name, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a text comes to in pieces of every size, where a long word is a secret.
    fn in_pieces(text: &str) -> Vec<String> {
        let mask = |text: &str| TOKENS.replace_all(&text.replace("two\nlines", "***"), "[masked]").into_owned();
        let copy = |piece| {
            let mut out = Vec::new();
            copy_masked(text.as_bytes(), &mut out, &mask, piece).expect("memory");
            String::from_utf8(out).expect("text")
        };
        (1..=text.len() + 1).map(copy).collect()
    }

    #[test]
    fn what_is_masked_may_lie_across_pieces() {
        let text = "before\nin two\nlines, and\nafter, without an end: é";
        let expected = "before\nin ***, and\nafter, without an end: é";
        assert!(in_pieces(text).iter().all(|got| got == expected), "{:?}", in_pieces(text));
        assert!(in_pieces("").iter().all(String::is_empty));
    }

    #[test]
    fn what_looks_like_a_token_is_masked() {
        let text =
            r#"token hf_abcdefghijklmnop1234 and {"auth": "dXNlcjpwYXNz"} and Authorization: Bearer abc.def.ghi-jkl"#;
        let masked = TOKENS.replace_all(text, "[masked]");
        assert_eq!(masked, "token [masked] and {[masked]} and Authorization: [masked]");
    }
}
