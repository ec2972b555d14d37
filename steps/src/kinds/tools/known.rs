//! How each program says its version.

use regex::Regex;

use crate::version::Version;

/// How a program is asked, and where in its answer the version stands.
pub(super) struct Known {
    pub(super) name: &'static str,
    pub(super) args: &'static [&'static str],
    /// What comes just before the version; the first version at all where it is empty.
    lead: &'static str,
}

const fn asked(name: &'static str, args: &'static [&'static str], lead: &'static str) -> Known {
    Known { name, args, lead }
}

/// Programs that are not asked with `--version`, or that print more than one version.
const KNOWN: &[Known] = &[
    asked("argo", &["version", "--short"], ""),
    asked("bash", &["--version"], "version "),
    asked("curl", &["--version"], "curl "),
    asked("gcloud", &["version"], "Google Cloud SDK "),
    asked("gke-gcloud-auth-plugin", &["--version"], "Kubernetes v"),
    asked("go", &["version"], "go version go"),
    asked("helm", &["version", "--template", "{{.Version}}"], "v"),
    asked("istioctl", &["version", "--remote=false"], ""),
    asked("kubectl", &["version", "--client"], r#"(?:Client Version: |GitVersion:")v?"#),
    asked("kustomize", &["version"], r"(?:^|/|\{)v"),
    asked("oc", &["version", "--client"], "Client Version: "),
    // The one in Go; a Python program of that name takes other expressions, and its versions are lower.
    asked("yq", &["--version"], r"(?:version v?|^yq )"),
];

const USUAL: Known = asked("", &["--version"], "");

/// How a program of this name is asked.
pub(super) fn of(name: &str) -> &'static Known {
    KNOWN.iter().find(|known| known.name == name).unwrap_or(&USUAL)
}

/// The version in what a program printed.
pub(super) fn read(name: &str, said: &str) -> Option<Version> {
    let lead = of(name).lead;
    if lead.is_empty() {
        return Version::find(said);
    }
    let lead = Regex::new(&format!("(?m){lead}")).expect("a pattern that was written here");
    let place = lead.find_iter(said).map(|found| &said[found.end()..]);
    let mut begins = place.filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    begins.next().and_then(|rest| Version::find(rest.lines().next().unwrap_or_default()))
}

/// The version of a plugin in the table of `helm plugin list`.
pub(super) fn plugin(name: &str, table: &str) -> Option<Version> {
    let mut rows = table.lines().map(|line| line.split_whitespace());
    rows.find_map(|mut row| (row.next()? == name).then(|| row.next()).flatten()).and_then(Version::parse)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines that real programs print.
    const SAID: &[(&str, &str, &str)] = &[
        ("argo", "argo: v3.6.2", "3.6.2"),
        ("bash", "GNU bash, version 5.2.15(1)-release (x86_64-pc-linux-gnu)", "5.2.15"),
        ("curl", "curl 7.88.1 (x86_64-pc-linux-gnu) libcurl/7.88.1 OpenSSL/3.0.19 zlib/1.2.13", "7.88.1"),
        ("docker", "Docker version 27.3.1, build ce12230", "27.3.1"),
        ("gcloud", "Google Cloud SDK 528.0.0\nalpha 2025.06.20\napp-engine-go 1.9.76\n", "528.0.0"),
        ("git", "git version 2.47.3", "2.47.3"),
        ("git", "git version 2.39.5 (Apple Git-154)", "2.39.5"),
        ("gke-gcloud-auth-plugin", "Kubernetes v1.30.0+03fcd0f8cb9eac57e97a3ed59c702bad8c73be81", "1.30.0"),
        ("gke-gcloud-auth-plugin", "Kubernetes v1.28.2-alpha+b7fe8b2c0b1ac0b8e0e0d6e6cb8d2b6e25b7a1d1", "1.28.2-alpha"),
        ("go", "go version go1.24.7 linux/amd64", "1.24.7"),
        ("helm", "v3.17.3", "3.17.3"),
        ("helm", "v4.1.4", "4.1.4"),
        (
            "helm",
            "WARNING: Kubernetes configuration file is group-readable. /tmp/x.1.2/config\nv3.19.0-rc.1",
            "3.19.0-rc.1",
        ),
        ("helmfile", "helmfile version 1.1.9", "1.1.9"),
        ("helmfile", "helmfile version v0.144.0", "0.144.0"),
        ("istioctl", "client version: 1.27.3", "1.27.3"),
        ("jq", "jq-1.6", "1.6"),
        ("jq", "jq-1.7.1", "1.7.1"),
        ("jq", "jq-1.5-1-a5b5cbe", "1.5"),
        ("kubectl", "Client Version: v1.32.4-dispatcher\nKustomize Version: v5.5.0", "1.32.4"),
        ("kubectl", "Client Version: v1.34.5\nKustomize Version: v5.7.1", "1.34.5"),
        (
            "kubectl",
            "Client Version: version.Info{Major:\"1\", Minor:\"27\", GitVersion:\"v1.27.3\", GitCommit:\"25b4\"}",
            "1.27.3",
        ),
        ("kustomize", "v5.8.0", "5.8.0"),
        ("kustomize", "{Version:kustomize/v4.5.7 GitCommit:56d82a8 BuildDate:2022-08-02T16:35:54Z}", "4.5.7"),
        ("kustomize", "{kustomize/v3.8.1  2020-07-16T00:58:46Z  }", "3.8.1"),
        ("make", "GNU Make 4.3\nBuilt for x86_64-pc-linux-gnu", "4.3"),
        ("oc", "Client Version: 4.16.12\nKustomize Version: v5.0.4", "4.16.12"),
        ("podman", "podman version 4.9.3", "4.9.3"),
        ("python3", "Python 3.11.7", "3.11.7"),
        ("skopeo", "skopeo version 1.13.3", "1.13.3"),
        ("terraform", "Terraform v1.9.8\non linux_amd64", "1.9.8"),
        ("yq", "yq (https://github.com/mikefarah/yq/) version v4.44.3", "4.44.3"),
        ("yq", "yq 3.1.0", "3.1.0"),
    ];

    #[test]
    fn what_real_programs_print_is_read() {
        for (name, said, version) in SAID {
            assert_eq!(read(name, said).map(|it| it.to_string()).as_deref(), Some(*version), "{name}: {said}");
        }
    }

    #[test]
    fn what_holds_no_version_is_not_guessed() {
        for (name, said) in [("kustomize", "(devel)"), ("helm", ""), ("gcloud", "ERROR: 3.1"), ("jq", "jq-master")] {
            assert_eq!(read(name, said), None, "{name}: {said}");
        }
    }

    #[test]
    fn plugins_are_found_in_the_tables_of_both_helms() {
        let three = "NAME\tVERSION\tDESCRIPTION\ndiff\t3.13.0 \tPreview helm upgrade changes as a diff";
        let four = "NAME\tVERSION\tTYPE\tAPIVERSION\tPROVENANCE\tSOURCE\ndiff \t3.15.1 \tcli/v1\tv1 \tunknown \t";
        assert_eq!(plugin("diff", three), Version::parse("3.13.0"));
        assert_eq!(plugin("diff", four), Version::parse("3.15.1"));
        assert_eq!(plugin("secrets", three), None);
    }
}
