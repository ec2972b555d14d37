//! Which chart a plan means: a folder, an OCI registry, a repository.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::context::Context;
use crate::failure::{Class, Failure};
use crate::files::odd_thing;
use crate::version::Version;

/// Where a chart comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Chart {
    /// A folder, or a file of `helm package`.
    Local(PathBuf),
    /// `oci://HOST/PATH/NAME`.
    Registry(String),
    /// `REPOSITORY/NAME`, where `helm.repo` gave the repository its name; or `NAME` together with an address.
    Repository { name: String, url: Option<String> },
}

/// What a chart must be called in helm's book.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    name: String,
    version: Option<String>,
    /// The digest of a folder.
    pub(crate) digest: Option<String>,
}

impl Chart {
    /// Reads what a plan calls it; the error says what is wrong.
    pub(crate) fn read(chart: &str, url: Option<&str>) -> Result<Self, String> {
        let is_path = chart.starts_with(['.', '/', '~']);
        match (chart.starts_with("oci://"), url) {
            _ if chart.is_empty() => Err("a chart is a folder, `oci://HOST/NAME`, or `REPOSITORY/NAME`".to_owned()),
            (true, None) => Ok(Self::Registry(chart.to_owned())),
            (true, Some(_)) => Err("`repo` has no meaning for a chart in a registry".to_owned()),
            (false, Some(_)) if is_path => Err("`repo` has no meaning for a folder".to_owned()),
            (false, None) if is_path => Ok(Self::Local(chart.into())),
            (false, Some(url)) => Ok(Self::Repository { name: chart.to_owned(), url: Some(url.to_owned()) }),
            (false, None) if chart.split('/').count() == 2 => {
                Ok(Self::Repository { name: chart.to_owned(), url: None })
            }
            (false, None) => Err(format!(
                "`{chart}` is no chart: write ./{chart} for a folder, REPOSITORY/{chart} for one that `helm.repo` added, \
                 or give the address in `repo`"
            )),
        }
    }

    /// Why the version will not do; only one that means one chart for ever does, unless that is not wanted.
    pub(crate) fn verify_version(&self, version: Option<&str>, pin: bool) -> Result<(), String> {
        match (self, version) {
            (Chart::Local(_), Some(_)) => {
                Err("a chart in a folder has the version that is in its Chart.yaml".to_owned())
            }
            (Chart::Local(_), None) => Ok(()),
            (_, Some(version)) if is_exact(version) => Ok(()),
            _ if !pin => Ok(()),
            (_, Some(version)) => {
                Err(format!("`{version}` may be another chart tomorrow: write the whole version, or `pin: false`"))
            }
            (_, None) => {
                Err("without a version it may be another chart tomorrow: give one, or `pin: false`".to_owned())
            }
        }
    }

    /// The words of a command line that name it.
    pub(crate) fn arguments(&self, version: Option<&str>, cx: Option<&Context>) -> Vec<String> {
        let mut words = match self {
            Chart::Local(path) => vec![cx.map_or_else(|| path.clone(), |cx| cx.plan_path(path)).display().to_string()],
            Chart::Registry(address) => vec![address.clone()],
            Chart::Repository { name, url } => {
                let url = url.iter().map(|url| format!("--repo={url}"));
                std::iter::once(name.clone()).chain(url).collect()
            }
        };
        words.extend(version.map(|version| format!("--version={version}")));
        words
    }

    /// What helm's book must say when this chart runs.
    pub(crate) fn expected(&self, version: Option<&str>, cx: &Context) -> Result<Expected, Failure> {
        let last = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        let version = version.filter(|it| is_exact(it)).map(ToOwned::to_owned);
        match self {
            Chart::Local(path) => local(&cx.plan_path(path)),
            Chart::Registry(address) => Ok(Expected { name: last(address), version, digest: None }),
            Chart::Repository { name, .. } => Ok(Expected { name: last(name), version, digest: None }),
        }
    }

    /// The folder, if it is one.
    pub(crate) fn folder(&self) -> Option<&PathBuf> {
        match self {
            Chart::Local(path) => Some(path),
            _ => None,
        }
    }
}

/// Whether a version has all its three numbers and no operator.
fn is_exact(version: &str) -> bool {
    let (numbers, _) = version.split_once(['-', '+']).unwrap_or((version, ""));
    numbers.split('.').count() == 3 && Version::parse(numbers).is_some()
}

impl Expected {
    /// Whether a book that says `chart` means this one. Registries and repositories differ in whether a version begins with `v`.
    pub(crate) fn is(&self, chart: &str) -> bool {
        let Some(version) = chart.strip_prefix(&self.name).and_then(|rest| rest.strip_prefix('-')) else {
            return false;
        };
        let bare = |text: &str| text.strip_prefix('v').unwrap_or(text).replace('_', "+");
        match &self.version {
            Some(wanted) => bare(wanted) == bare(version),
            None => Version::find(version).is_some(),
        }
    }

    /// In words.
    pub(crate) fn told(&self) -> String {
        format!("{}-{}", self.name, self.version.as_deref().unwrap_or("*"))
    }
}

#[derive(Deserialize)]
struct Definition {
    name: String,
    version: String,
}

/// What a chart on this machine is. Of a package only the name of its file is known, which is all that helm's book tells, too.
fn local(path: &Path) -> Result<Expected, Failure> {
    if path.is_file() {
        let stem = path.file_name().map(|it| it.to_string_lossy().into_owned()).unwrap_or_default();
        let stem = stem.strip_suffix(".tgz").unwrap_or(&stem).to_owned();
        let at = stem
            .match_indices('-')
            .find(|(at, _)| stem[at + 1..].starts_with(|c: char| c.is_ascii_digit()))
            .map(|it| it.0);
        let (name, version) = at.map_or((stem.as_str(), None), |at| (&stem[..at], Some(stem[at + 1..].to_owned())));
        return Ok(Expected { name: name.to_owned(), version, digest: Some(digest(path)?) });
    }
    let file = path.join("Chart.yaml");
    let text = crate::files::read_text(&file).map_err(|error| {
        Failure::new(
            Class::NotFound,
            format!("`{}` is not a chart: cannot read its Chart.yaml: {error}", path.display()),
        )
    })?;
    let definition: Definition = serde_yaml::from_str(&text)
        .map_err(|error| Failure::invalid(format!("`{}` is not a chart's: {error}", file.display())))?;
    Ok(Expected { name: definition.name, version: Some(definition.version), digest: Some(digest(path)?) })
}

/// The digest of everything in a folder, or of a file: its version does not tell that a template was changed.
fn digest(path: &Path) -> Result<String, Failure> {
    let mut files = Vec::new();
    let unreadable =
        |error: &std::io::Error| Failure::permanent(format!("cannot read the chart `{}`: {error}", path.display()));
    collect(path, &mut files).map_err(|error| unreadable(&error))?;
    files.sort();
    let mut hash = Sha256::new();
    for file in files {
        let relative = file.strip_prefix(path).unwrap_or(&file).to_string_lossy().into_owned();
        let content = crate::files::read(&file).map_err(|error| unreadable(&error))?;
        hash.update([&relative.len().to_le_bytes()[..], relative.as_bytes(), &content.len().to_le_bytes()].concat());
        hash.update(&content);
    }
    Ok(hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect())
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if let Some(what) = odd_thing(path) {
        return Err(std::io::Error::other(format!("`{}` in it is {what}, and a chart has only files", path.display())));
    }
    if path.is_file() {
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_name() != ".git" {
            collect(&entry.path(), files)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charts_are_told_apart() {
        assert_eq!(Chart::read("./charts/x", None), Ok(Chart::Local("./charts/x".into())));
        assert_eq!(Chart::read("oci://h/p/x", None), Ok(Chart::Registry("oci://h/p/x".to_owned())));
        let named = Chart::Repository { name: "infra/x".to_owned(), url: None };
        assert_eq!(Chart::read("infra/x", None), Ok(named));
        let addressed = Chart::Repository { name: "x".to_owned(), url: Some("https://h".to_owned()) };
        assert_eq!(Chart::read("x", Some("https://h")), Ok(addressed));
        for (chart, url) in
            [("x", None), ("a/b/c", None), ("", None), ("oci://h/x", Some("https://h")), ("./x", Some("https://h"))]
        {
            assert!(Chart::read(chart, url).is_err(), "{chart}");
        }
    }

    #[test]
    fn only_a_whole_version_pins() {
        let chart = Chart::Registry("oci://h/x".to_owned());
        for (version, pin, good) in [
            (Some("1.2.0"), true, true),
            (Some("v1.2.0-rc.1"), true, true),
            (Some("~1.2"), true, false),
            (Some("1.2"), true, false),
            (None, true, false),
            (None, false, true),
        ] {
            assert_eq!(chart.verify_version(version, pin).is_ok(), good, "{version:?} {pin}");
        }
        assert!(Chart::Local(".".into()).verify_version(Some("1.2.0"), true).is_err());
    }

    #[test]
    fn a_book_names_the_chart_and_its_version() {
        let of = |version: Option<&str>| Expected {
            name: "llm-d-infra".to_owned(),
            version: version.map(ToOwned::to_owned),
            digest: None,
        };
        assert!(of(Some("v1.3.6")).is("llm-d-infra-v1.3.6") && of(Some("1.3.6")).is("llm-d-infra-v1.3.6"));
        assert!(!of(Some("1.3.6")).is("llm-d-infra-1.3.7") && !of(Some("1.3.6")).is("llm-d-1.3.6"));
        assert!(of(None).is("llm-d-infra-1.3.7") && !of(None).is("llm-d-infra-extra"));
    }

    #[test]
    fn a_changed_template_changes_the_digest() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("templates")).expect("a folder");
        std::fs::write(folder.path().join("Chart.yaml"), "name: demo\nversion: 0.1.0\n").expect("a file");
        std::fs::write(folder.path().join("templates/a.yaml"), "a").expect("a file");
        let before = local(folder.path()).expect("a chart");
        std::fs::write(folder.path().join("templates/a.yaml"), "b").expect("a file");
        let after = local(folder.path()).expect("a chart");
        assert!(before.digest != after.digest && before.told() == "demo-0.1.0" && after.is("demo-0.1.0"));
    }
}
