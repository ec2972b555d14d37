//! What to install where a program is missing.

/// One line that says how to get a program.
pub fn install_hint(name: &str) -> String {
    let known = HINTS.iter().find(|(program, _)| *program == name);
    known.map_or_else(|| format!("install `{name}`, or add its folder to PATH"), |(_, hint)| (*hint).to_owned())
}

const HINTS: &[(&str, &str)] = &[
    ("bash", "install the package `bash`"),
    ("curl", "install the package `curl`"),
    ("gcloud", "install the Google Cloud SDK: https://cloud.google.com/sdk/docs/install (package `google-cloud-cli`)"),
    (
        "gke-gcloud-auth-plugin",
        "run `gcloud components install gke-gcloud-auth-plugin`, or install the package `google-cloud-cli-gke-gcloud-auth-plugin`",
    ),
    ("git", "install the package `git`"),
    ("helm", "install Helm 3.17 or later: https://helm.sh/docs/intro/install/"),
    (
        "helmfile",
        "install helmfile 1.1 or later, and its plugin with `helm plugin install https://github.com/databus23/helm-diff`",
    ),
    ("helm-diff", "run `helm plugin install https://github.com/databus23/helm-diff`"),
    ("istioctl", "install istioctl: https://istio.io/latest/docs/setup/getting-started/#download"),
    ("jq", "install the package `jq`"),
    ("kubectl", "run `gcloud components install kubectl`, or see https://kubernetes.io/docs/tasks/tools/"),
    ("kustomize", "install kustomize 5.8.0 or later: https://kubectl.docs.kubernetes.io/installation/kustomize/"),
    ("make", "install the package `make` (on macOS: `xcode-select --install`)"),
    ("podman", "install the package `podman`"),
    ("python3", "install the package `python3`"),
    ("skopeo", "install the package `skopeo`"),
    ("yq", "install yq 4: https://github.com/mikefarah/yq#install"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_program_has_a_recipe() {
        assert!(install_hint("gcloud").contains("Google Cloud SDK"));
    }

    #[test]
    fn an_unknown_program_is_named() {
        assert_eq!(install_hint("frob"), "install `frob`, or add its folder to PATH");
    }
}
