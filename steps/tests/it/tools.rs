//! The kind `tools`, with programs that say what the real ones say.

use runbook_steps::{Class, Failure, Outputs};
use serde_json::json;

use crate::workshop::{Workshop, refusal, step};

async fn look(shop: &Workshop, programs: &str) -> Result<Outputs, Failure> {
    step("tools", &format!("{{ programs: {programs} }}")).perform(&shop.context()).await
}

/// A workshop whose PATH has nothing but what the test puts there.
fn bare() -> Workshop {
    let mut shop = Workshop::new();
    shop.env.insert("PATH".to_owned(), shop.path("bin").display().to_string());
    shop
}

#[tokio::test]
async fn versions_are_outputs() {
    let shop = bare();
    shop.program("kubectl", "[ \"$*\" = 'version --client' ] && echo 'Client Version: v1.34.1'");
    shop.program(
        "helm",
        "case $1 in version) echo v3.19.0;; plugin) printf 'NAME\\tVERSION\\ndiff\\t3.13.0\\n';; esac",
    );
    shop.program("own", "[ \"$1\" = -V ] && echo 'own, 2.5 of 2026' >&2");
    shop.program("silent", "exit 3");
    let programs = "{ kubectl: '1.28', helm: 3, helm-diff: '3.9', own: { at_least: '2.5', args: [-V] }, silent: any }";
    let versions =
        json!({ "kubectl": "1.34.1", "helm": "3.19.0", "helm-diff": "3.13.0", "own": "2.5", "silent": "unknown" });
    assert_eq!(look(&shop, programs).await.unwrap()["versions"], versions);
}

#[tokio::test]
async fn everything_that_is_wrong_is_told_at_once_with_what_to_do() {
    let shop = bare();
    shop.program("kustomize", "echo v5.5.0");
    shop.program("helm", "case $1 in version) echo v4.1.4;; plugin) printf 'NAME\\tVERSION\\n';; esac");
    shop.program("jq", "echo jq-master");
    let programs = "{ kustomize: '5.8.0', helm: { below: 4 }, helm-diff: any, jq: '1.6', own: { install: ask me } }";
    let failure = look(&shop, programs).await.unwrap_err();
    assert_eq!(failure.class, Class::Invalid);
    assert_eq!(
        failure.what,
        "helm 4.1.4 is too new (below 4); helm-diff is missing; jq does not say its version; \
         kustomize 5.5.0 is too old (at least 5.8.0); own is missing"
    );
    let fix = failure.fix.unwrap();
    assert!(fix.contains("helm-diff: run `helm plugin install https://github.com/databus23/helm-diff`"), "{fix}");
    assert!(fix.contains("own: ask me") && fix.contains("kustomize: install kustomize 5.8.0"), "{fix}");
}

/// Whatever this machine has is asked as it is; a program that is there says its version.
#[tokio::test]
async fn the_programs_of_this_machine_are_read() {
    let shop = Workshop::new();
    let names = ["bash", "curl", "gcloud", "git", "helm", "jq", "kubectl", "kustomize", "make", "python3"];
    for name in names.into_iter().filter(|name| shop.context().world.find_program(name).is_some()) {
        let outputs = look(&shop, &format!("{{ {name}: any }}")).await.unwrap();
        assert_ne!(outputs["versions"][name], "unknown", "{name}");
    }
}

#[test]
fn a_number_that_loses_a_zero_is_refused() {
    assert!(refusal("tools", "{ programs: { helm: 3.10 } }").contains("as a number, 3.10 would be 3.1"));
    assert_eq!(refusal("tools", "{ programs: {} }"), "programs: name at least one program");
}
