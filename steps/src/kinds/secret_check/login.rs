//! Logins as docker and podman keep them, and images as they are named. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// An image: where it is, and which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Image {
    /// As the plan writes it.
    pub(super) name: String,
    /// The host that answers for it.
    pub(super) host: String,
    pub(super) repository: String,
    /// A tag, or a digest.
    pub(super) reference: String,
}

/// Docker Hub has three names.
const HUB: (&str, &str, &str) = ("docker.io", "index.docker.io", "registry-1.docker.io");

impl Image {
    /// Reads a name such as `registry.redhat.io/rhaiis/vllm-tpu-rhel9:3.2.5`, by docker's rules.
    pub(super) fn read(name: &str) -> Option<Self> {
        let (host, rest) = match name.split_once('/') {
            Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => (host, rest),
            _ => (HUB.0, name),
        };
        let (path, reference) = match (rest.split_once('@'), rest.rsplit_once(':')) {
            (Some((path, digest)), _) => (path.rsplit_once(':').map_or(path, |(path, _)| path), digest),
            (None, Some((path, tag))) => (path, tag),
            (None, None) => (rest, "latest"),
        };
        let hub = host == HUB.0 || host == HUB.1;
        let repository = if hub && !path.contains('/') { format!("library/{path}") } else { path.to_owned() };
        let good =
            |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-/:".contains(c));
        let host = if hub { HUB.2 } else { host };
        [host, path, &repository, reference].into_iter().all(good).then_some(())?;
        let (name, host, reference) = (name.to_owned(), host.to_owned(), reference.to_owned());
        Some(Self { name, host, repository, reference })
    }

    pub(super) fn manifest(&self) -> String {
        format!("https://{}/v2/{}/manifests/{}", self.host, self.repository, self.reference)
    }
}

/// What a login file has for an image.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Login {
    /// A name and a password.
    Pair(String, String),
    /// They are kept by this program, and not in the file.
    Helper(String),
    /// Nothing.
    None,
}

/// What `{"auths": …}` has for an image: of the keys that fit, the longest counts.
pub(super) fn login_for(file: &Value, image: &Image) -> Login {
    let host = if image.host == HUB.2 { HUB.0 } else { image.host.as_str() };
    let place = format!("{host}/{}", image.repository);
    let bare = |key: &str| {
        let key = key.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
        let key = key.strip_suffix("/v1").or(key.strip_suffix("/v2")).unwrap_or(key);
        key.strip_prefix(HUB.1).map_or_else(|| key.to_owned(), |rest| format!("{}{rest}", HUB.0))
    };
    let fits = |key: &str| {
        let key = bare(key);
        place.strip_prefix(&key).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let auths = file["auths"].as_object().into_iter().flatten();
    let found = auths.filter(|(key, _)| fits(key)).max_by_key(|(key, _)| bare(key).len());
    let pair = found.and_then(|(_, entry)| pair(entry));
    let helper = || file["credHelpers"][host].as_str().or(file["credsStore"].as_str()).map(ToOwned::to_owned);
    match pair {
        Some((name, password)) => Login::Pair(name, password),
        None => helper().map_or(Login::None, Login::Helper),
    }
}

fn pair(entry: &Value) -> Option<(String, String)> {
    if let Some((name, password)) = entry["username"].as_str().zip(entry["password"].as_str()) {
        return Some((name.to_owned(), password.to_owned()));
    }
    let text = String::from_utf8(STANDARD.decode(entry["auth"].as_str()?.trim()).ok()?).ok()?;
    let (name, password) = text.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

/// What a registry wants before it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    /// A token from this address.
    Token(String),
}

/// Reads `WWW-Authenticate`.
pub(super) fn challenge(header: &str) -> Option<Challenge> {
    let (scheme, parameters) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let parameter = |name: &str| {
        let (_, rest) = parameters.split_once(&format!("{name}=\""))?;
        rest.split_once('"').map(|(value, _)| value)
    };
    let mut url = parameter("realm").filter(|realm| realm.starts_with("https://"))?.to_owned();
    for name in ["service", "scope"] {
        if let Some(value) = parameter(name) {
            let joint = if url.contains('?') { '&' } else { '?' };
            url.push_str(&format!("{joint}{name}={}", escaped(value)));
        }
    }
    Some(Challenge::Token(url))
}

fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/,".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn images_are_named_as_docker_names_them() {
        let cases = [
            ("registry.redhat.io/rhaiis/vllm:3.2.5", "registry.redhat.io", "rhaiis/vllm", "3.2.5"),
            ("vllm/vllm-tpu:v0.11.1", "registry-1.docker.io", "vllm/vllm-tpu", "v0.11.1"),
            ("busybox", "registry-1.docker.io", "library/busybox", "latest"),
            ("localhost:5000/a/b", "localhost:5000", "a/b", "latest"),
            ("quay.io/a/b:1@sha256:00ff", "quay.io", "a/b", "sha256:00ff"),
        ];
        for (name, host, repository, reference) in cases {
            let image = Image::read(name).expect(name);
            assert_eq!(
                (image.host.as_str(), image.repository.as_str(), image.reference.as_str()),
                (host, repository, reference)
            );
        }
        assert!(["", "a b", "quay.io/", "quay.io/a:"].iter().all(|name| Image::read(name).is_none()));
    }

    #[test]
    fn the_login_that_fits_best_is_taken() {
        let auth = |text: &str| json!({ "auth": STANDARD.encode(text) });
        let file = json!({ "auths": {
            "quay.io": auth("all:1"), "quay.io/team": auth("team:2"), "https://index.docker.io/v1/": auth("hub:3"),
            "ghcr.io": {},
        }, "credHelpers": { "gcr.io": "gcloud" } });
        let of = |image: &str| match login_for(&file, &Image::read(image).expect("an image")) {
            Login::Pair(name, password) => format!("{name}:{password}"),
            Login::Helper(helper) => format!("helper {helper}"),
            Login::None => "none".to_owned(),
        };
        let found =
            ["quay.io/x/y", "quay.io/team/y", "quay.io/teams/y", "busybox", "ghcr.io/a/b", "gcr.io/a/b"].map(of);
        assert_eq!(found, ["all:1", "team:2", "all:1", "hub:3", "none", "helper gcloud"]);
    }

    #[test]
    fn a_challenge_leads_to_the_token() {
        let header =
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull""#;
        let url = "https://auth.docker.io/token?service=registry.docker.io&scope=repository:a/b:pull";
        assert_eq!(challenge(header), Some(Challenge::Token(url.to_owned())));
        assert_eq!(challenge("Basic realm=\"x\""), Some(Challenge::Basic));
        assert_eq!(challenge("Bearer realm=\"http://in.clear/token\""), None);
    }
}
