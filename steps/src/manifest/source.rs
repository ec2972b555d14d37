//! Where objects come from: files, folders, a pinned URL, or the plan itself.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::template;
use crate::cluster::{api_version, kind_of, name_of};
use crate::context::Context;
use crate::failure::{Class, Failure};
use crate::{files, http};

/// A manifest on the web, pinned by its digest.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pinned {
    /// The address; only `https` is taken.
    pub(crate) url: String,
    /// The SHA-256 digest of what it must hold, in hexadecimal.
    #[serde(deserialize_with = "digest_text")]
    pub(crate) sha256: String,
}

/// A digest in lower case, as it is compared and as its download is named.
fn digest_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(text.to_ascii_lowercase());
    }
    Err(D::Error::custom(format!(
        "`{text}` is no SHA-256 digest: that is 64 hexadecimal digits, as `sha256sum` prints them"
    )))
}

/// Everything that one step applies.
#[derive(Clone, Debug, Default)]
pub(crate) struct Source {
    pub(crate) files: Vec<PathBuf>,
    pub(crate) folders: Vec<PathBuf>,
    pub(crate) urls: Vec<Pinned>,
    pub(crate) objects: Vec<Value>,
    /// Values for the templates in files; `None` leaves documents as they are.
    pub(crate) values: Option<Map<String, Value>>,
}

impl Source {
    /// Reads all objects, in the order in which they were written.
    pub(crate) async fn load(&self, cx: &Context) -> Result<Vec<Value>, Failure> {
        let mut found = Vec::new();
        for file in self.all_files(cx)? {
            found.extend(self.documents(&read_file(&file).await?, &file.display().to_string())?);
        }
        for pinned in &self.urls {
            found.extend(self.documents(&fetch(pinned, cx).await?, &pinned.url)?);
        }
        for object in &self.objects {
            found.extend(whole(flatten(object.clone()), "the plan's `objects`")?);
        }
        match found.is_empty() {
            true => Err(Failure::invalid("there is no object in these manifests")),
            false => Ok(found),
        }
    }

    fn all_files(&self, cx: &Context) -> Result<Vec<PathBuf>, Failure> {
        let mut files: Vec<PathBuf> = self.files.iter().map(|file| cx.plan_path(file)).collect();
        for folder in &self.folders {
            files.extend(manifests_in(&cx.plan_path(folder))?);
        }
        Ok(files)
    }

    fn documents(&self, text: &str, origin: &str) -> Result<Vec<Value>, Failure> {
        let mut documents = parse(text, origin)?;
        if let Some(values) = &self.values {
            for document in &mut documents {
                template::render(document, values)
                    .map_err(|why| Failure::invalid(format!("cannot render `{origin}`: {why}")))?;
            }
        }
        whole(documents.into_iter().flat_map(flatten).collect(), origin)
    }
}

async fn read_file(path: &Path) -> Result<String, Failure> {
    let bytes = files::read_aside(path).await.map_err(|error| unreadable(path, &error))?;
    text_of(bytes, &path.display().to_string())
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    let missing = error.kind() == std::io::ErrorKind::NotFound;
    let class = if missing { Class::NotFound } else { Class::Permanent };
    Failure::new(class, format!("cannot read the manifest `{}`: {error}", path.display()))
}

/// The manifests of a folder, by name; folders inside it are not looked into, as with `kubectl apply -f`.
fn manifests_in(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = std::fs::read_dir(folder).map_err(|error| unreadable(folder, &error))?;
    manifests_among(entries.map(|entry| Ok(entry?.path()))).map_err(|error| unreadable(folder, &error))
}

/// One entry that cannot be had fails all: what it was would not be applied, and nobody would be told.
fn manifests_among(entries: impl Iterator<Item = std::io::Result<PathBuf>>) -> std::io::Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = entries.collect::<std::io::Result<_>>()?;
    found.retain(|path| path.extension().is_some_and(|it| it == "yaml" || it == "yml" || it == "json"));
    found.sort();
    Ok(found)
}

fn parse(text: &str, origin: &str) -> Result<Vec<Value>, Failure> {
    let broken = |why: String| Failure::invalid(format!("`{origin}` is not a manifest: {why}"));
    let mut found = Vec::new();
    for document in serde_yaml::Deserializer::from_str(text) {
        // By way of YAML's own values, which refuse a key that stands twice.
        let node = serde_yaml::Value::deserialize(document).map_err(|error| broken(error.to_string()))?;
        if !node.is_null() {
            found.push(serde_json::to_value(node).map_err(|error| broken(error.to_string()))?);
        }
    }
    Ok(found)
}

/// The items of a list, or the object itself.
fn flatten(object: Value) -> Vec<Value> {
    let is_list = kind_of(&object) == "List" || (kind_of(&object).ends_with("List") && object.get("items").is_some());
    match object {
        Value::Object(mut map) if is_list => match map.remove("items") {
            Some(Value::Array(items)) => items.into_iter().flat_map(flatten).collect(),
            _ => Vec::new(),
        },
        other => vec![other],
    }
}

/// Refuses what is no object, with its place.
fn whole(objects: Vec<Value>, origin: &str) -> Result<Vec<Value>, Failure> {
    for (index, object) in objects.iter().enumerate() {
        let parts =
            [("apiVersion", api_version(object)), ("kind", kind_of(object)), ("metadata.name", name_of(object))];
        if let Some((part, _)) = parts.iter().find(|(_, text)| text.is_empty()) {
            return Err(Failure::invalid(format!("object {} of {origin} has no `{part}`", index + 1)));
        }
    }
    Ok(objects)
}

/// The most that a manifest on the web may hold.
const LARGEST: usize = 32 << 20;

/// Fetches a pinned manifest, or takes it from an earlier fetch: what has the digest is right wherever it came from.
async fn fetch(pinned: &Pinned, cx: &Context) -> Result<String, Failure> {
    let kept = cx.state_dir.join("downloads").join(&pinned.sha256);
    if let Ok(bytes) = tokio::fs::read(&kept).await
        && digest(&bytes) == pinned.sha256
    {
        return text_of(bytes, &pinned.url);
    }
    let bytes = http::download(&pinned.url, LARGEST, cx).await?;
    let found = digest(&bytes);
    if found != pinned.sha256 {
        return Err(Failure::permanent(format!("`{}` does not hold what the plan pinned", pinned.url))
            .detail(format!("pinned  {}\nfound   {found}", pinned.sha256))
            .cause("the file was changed at its source, or on the way")
            .fix("look at what changed, then write the new digest into `sha256`"));
    }
    keep(&kept, &bytes).await;
    text_of(bytes, &pinned.url)
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Keeps a download for the next look. Not keeping it costs only another fetch.
async fn keep(path: &Path, bytes: &[u8]) {
    if let Some(folder) = path.parent() {
        tokio::fs::create_dir_all(folder).await.ok();
    }
    tokio::fs::write(path, bytes).await.ok();
}

fn text_of(bytes: Vec<u8>, url: &str) -> Result<String, Failure> {
    String::from_utf8(bytes).map_err(|_| Failure::invalid(format!("`{url}` is not a text")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_and_lists_become_objects() {
        let text = "---\n# nothing\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\n\
                    apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: Secret, metadata: {name: b}}]\n";
        let objects = Source::default().documents(text, "f").expect("objects");
        assert_eq!(objects.iter().map(name_of).collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn a_folder_that_cannot_be_listed_to_its_end_is_an_error() {
        let among = |names: &[&str]| names.iter().map(|name| Ok(PathBuf::from(*name))).collect::<Vec<_>>();
        let listed = manifests_among(among(&["b.yml", "README.md", "a.yaml", "c.json"]).into_iter()).expect("a list");
        assert_eq!(listed, ["a.yaml", "b.yml", "c.json"].map(PathBuf::from));
        let broken = among(&["a.yaml"]).into_iter().chain([Err(std::io::Error::from_raw_os_error(5))]);
        assert_eq!(manifests_among(broken).expect_err("it broke off").raw_os_error(), Some(5));
    }

    #[test]
    fn a_digest_is_checked_and_lower_case() {
        let read = |sha256: &str| {
            serde_json::from_value::<Pinned>(serde_json::json!({ "url": "https://a/b", "sha256": sha256 }))
        };
        assert_eq!(read(&"AB".repeat(32)).expect("a digest").sha256, "ab".repeat(32));
        for wrong in ["", "../../../etc", &"ab".repeat(31), &"xy".repeat(32), &"é".repeat(32)] {
            assert!(read(wrong).expect_err(wrong).to_string().contains("is no SHA-256 digest"), "{wrong}");
        }
    }

    #[test]
    fn mistakes_name_the_document() {
        let of = |text: &str| Source::default().documents(text, "f.yaml").expect_err("a mistake").what;
        assert_eq!(of("apiVersion: v1\nkind: ConfigMap\n"), "object 1 of f.yaml has no `metadata.name`");
        assert!(of("a: 1\na: 2\n").starts_with("`f.yaml` is not a manifest: "));
        assert!(of("a: [").starts_with("`f.yaml` is not a manifest: "));
    }
}
