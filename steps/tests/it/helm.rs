//! `helm.release` and `helm.repo` against the embedded API: with the stand-in for helm, and with the machine's own where there is one.

use std::io::Write as _;
use std::path::PathBuf;

use runbook_steps::context::Stream;
use runbook_steps::secret::{Secret, marker};
use runbook_steps::tools::Program;
use runbook_steps::{Class, Context, Secrets, Standing, Step};
use serde_json::{Value, json};

use crate::site::{SPEED, Site, config_map};
use crate::workshop::{apply, refusal, step};

/// Which helm a site has.
#[derive(Clone, Debug)]
enum Which {
    StandIn,
    Real(PathBuf),
}

/// The stand-in, and the real one if this machine has it.
#[expect(clippy::disallowed_methods, reason = "the machine's own PATH says whether there is a real helm")]
fn every_helm() -> Vec<Which> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let real = std::env::split_paths(&path).map(|folder| folder.join("helm")).find(|file| file.is_file());
    if real.is_none() {
        // The one thing that a test may say: that a part of it did not run.
        std::io::stderr().write_all(b"skipped for the real helm: there is none on PATH\n").unwrap();
    }
    std::iter::once(Which::StandIn).chain(real.map(Which::Real)).collect()
}

/// The program behind the shims: Cargo builds the examples beside the tests.
pub(crate) fn tool() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(std::path::Path::parent).unwrap().join("examples/cloud_tool")
}

/// A site with a helm and a chart of one ConfigMap.
async fn site(which: &Which) -> Site {
    let mut site = Site::new().await;
    match which {
        Which::StandIn => {
            site.workshop.env.insert("RUNBOOK_REHEARSAL_EPOCH".to_owned(), site.epoch.to_string());
            site.workshop.env.insert("RUNBOOK_REHEARSAL_SPEED".to_owned(), SPEED.to_string());
            site.workshop.program("helm", &format!("exec '{}' helm \"$@\"", tool().display()));
        }
        Which::Real(path) => site.workshop.program("helm", &format!("exec '{}' \"$@\"", path.display())),
    }
    chart(&site, "0.1.0", "color: {{ .Values.color | quote }}");
    site
}

fn chart(site: &Site, version: &str, data: &str) {
    let shop = &site.workshop;
    let definition = format!("apiVersion: v2\nname: demo\nversion: {version}\nappVersion: '2.5'\n");
    shop.write("plan/charts/demo/Chart.yaml", &definition);
    shop.write("plan/charts/demo/values.yaml", "color: green\ntoken: ''\n");
    let template = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: \"{{{{ .Release.Name }}}}-settings\" }}\ndata:\n  {data}\n"
    );
    shop.write("plan/charts/demo/templates/settings.yaml", &template);
}

fn release(more: &str) -> Box<dyn Step> {
    step("helm.release", &format!("{{ name: web, namespace: default, chart: ./charts/demo, timeout: 60s{more} }}"))
}

fn settings(site: &Site) -> Option<Value> {
    site.kube.get("v1", "ConfigMap", "default", "web-settings").map(|it| it["data"]["color"].clone())
}

async fn helm(cx: &Context, line: &str) -> String {
    let kubeconfig = cx.world.kubeconfig.display().to_string();
    let helm = Program::new("helm").args(line.split(' ')).env("KUBECONFIG", kubeconfig).capture(true);
    helm.run(cx).await.unwrap().stdout
}

async fn history(cx: &Context) -> Vec<(u64, String)> {
    let rows: Value = serde_json::from_str(&helm(cx, "history web -n default -o json").await).unwrap();
    let row = |row: &Value| (row["revision"].as_u64().unwrap(), row["status"].as_str().unwrap().to_owned());
    rows.as_array().unwrap().iter().map(row).collect()
}

async fn lacks(step: &dyn Step, cx: &Context) -> String {
    match step.observe(cx).await.unwrap() {
        Standing::Lacks(why) => why,
        other => panic!("{other:?}"),
    }
}

fn status(number: u64, status: &str) -> (u64, String) {
    (number, status.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_installed_once_and_upgraded_when_something_changes() {
    for which in every_helm() {
        let site = site(&which).await;
        let cx = site.context();
        assert_eq!(lacks(&*release(""), &cx).await, "the release `web` does not exist in `default`");
        let (changed, outputs) = apply(&*release(""), &cx).await.unwrap();
        assert!(changed, "{which:?}");
        let wanted = json!({ "revision": 1, "status": "deployed", "chart": "demo-0.1.0", "app_version": "2.5" });
        assert_eq!(Value::from(outputs), wanted);
        assert_eq!(settings(&site), Some(json!("green")));
        assert!(!apply(&*release(""), &cx).await.unwrap().0, "{which:?}: a second look finds it as wanted");

        let red = release(", values: { color: red }");
        assert_eq!(lacks(&*red, &cx).await, "the values differ at `.color`");
        assert_eq!(apply(&*red, &cx).await.unwrap().1["revision"], 2);
        assert_eq!(settings(&site), Some(json!("red")));
        chart(&site, "0.1.0", "color: {{ .Values.color | quote }}\n  more: x");
        assert_eq!(lacks(&*red, &cx).await, "the chart in `./charts/demo` is not the one that runs");
        chart(&site, "0.2.0", "color: {{ .Values.color | quote }}");
        assert_eq!(lacks(&*red, &cx).await, "the chart is demo-0.1.0, not demo-0.2.0");
        apply(&*red, &cx).await.unwrap();
        assert!(!apply(&*red, &cx).await.unwrap().0);

        helm(&cx, "upgrade web ./charts/demo -n default --set color=blue").await;
        assert_eq!(lacks(&*red, &cx).await, "the values differ at `.color`", "what somebody else upgraded is seen");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn values_come_from_files_the_plan_and_secrets_and_leave_no_trace() {
    for which in every_helm() {
        let mut site = site(&which).await;
        let secret = |value: &str| Secrets::new([("t".to_owned(), Secret::new(value))].into());
        site.workshop.secrets = secret("sesame-\"open\"");
        site.workshop.write("plan/base.yaml", "color: blue\nnested: { a: 1, b: [1, 2] }\n");
        site.workshop.write("plan/over.yaml", "nested: { a: 2 }\n");
        let with = format!(", value_files: [base.yaml, over.yaml], values: {{ token: '{}' }}", marker("t"));
        let cx = site.context();
        apply(&*release(&with), &cx).await.unwrap();
        let kept: Value =
            serde_json::from_str(&helm(&cx, "get values web -n default -o json").await.replace("[redacted]", "?"))
                .unwrap();
        assert_eq!(kept, json!({ "color": "blue", "nested": { "a": 2, "b": [1, 2] }, "token": "?" }));
        assert!(!apply(&*release(&with), &cx).await.unwrap().0);

        site.workshop.secrets = secret("another-word");
        let cx = site.context();
        assert_eq!(lacks(&*release(&with), &cx).await, "the values differ at `.token`");
        let logged = [Stream::Out, Stream::Err, Stream::Note].map(|it| site.workshop.ears.logged(it)).concat();
        assert!(!logged.contains("sesame"), "an old secret is not logged: {logged}");
        let with = release(&with).undo_with(&cx).await.unwrap().unwrap().to_string();
        assert!(!with.contains("secret") && !with.contains("token"), "{with}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_helm_left_is_put_right() {
    for which in every_helm() {
        let site = site(&which).await;
        let cx = Context { after_crash: true, ..site.context() };
        // A chart with a Deployment that never comes up keeps helm waiting.
        let waiting = "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: { name: web }\nspec: { replicas: 1, selector: { matchLabels: { a: b } }, \
                       template: { metadata: { labels: { a: b } }, spec: { containers: [{ name: c, image: i }] } } }\n";
        site.workshop.write("plan/charts/demo/templates/web.yaml", waiting);
        killed(&site, 1, "pending-install").await;
        let quick = release(", wait: false");
        assert_eq!(lacks(&*quick, &cx).await, "revision 1 is pending-install, and nobody works on it any more");
        quick.perform(&cx).await.unwrap();
        assert_eq!(history(&cx).await, [status(1, "deployed")], "{which:?}: away with it, and made anew");

        killed(&site, 2, "pending-upgrade").await;
        let outputs = quick.perform(&cx).await.unwrap();
        assert_eq!(outputs["revision"], 4);
        let wanted =
            [status(1, "superseded"), status(2, "pending-upgrade"), status(3, "superseded"), status(4, "deployed")];
        assert_eq!(history(&cx).await, wanted, "{which:?}: back to the revision that ran, then on");
    }
}

/// Performs with a helm that waits, and kills it when its revision is pending.
async fn killed(site: &Site, revision: u64, status: &str) {
    let cx = site.context();
    let patient = release(", timeout: 1h, values: { color: black }");
    let pid = || site.told.children().last().map(|child| child.pid);
    let before = pid();
    let killer = async {
        let name = format!("sh.helm.release.v1.web.v{revision}");
        loop {
            let label =
                site.kube.get("v1", "Secret", "default", &name).map(|it| it["metadata"]["labels"]["status"].clone());
            // The Deployment is the last that is made: then helm waits.
            let made = site
                .kube
                .get("v1", "ConfigMap", "default", "web-settings")
                .is_some_and(|it| it["data"]["color"] == "black");
            if label == Some(json!(status)) && made {
                break;
            }
            tokio::task::yield_now().await;
        }
        assert_ne!(pid(), before);
        let group = format!("-{}", pid().unwrap());
        Program::new("kill").args(["-9", "--", &group]).run(&site.workshop.context()).await.unwrap();
    };
    let (performed, ()) = tokio::join!(patient.perform(&cx), killer);
    assert!(performed.unwrap_err().what.contains("SIGKILL"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_helm_that_may_still_be_at_work_is_waited_for() {
    for which in every_helm() {
        let site = site(&which).await;
        let cx = site.context();
        let at = cx.clock().now();
        pending(&site, &at.to_string());
        let patient = release(", stuck_after: 300s");
        let standing = patient.observe(&cx).await.unwrap();
        assert_eq!(
            standing,
            Standing::InProgress("revision 1 is pending-install: another helm may be at work".to_owned())
        );
        patient.perform(&cx).await.unwrap();
        let waited = cx.clock().now().duration_since(at).as_secs();
        assert!(waited >= 300, "{which:?}: after {waited} s");
        site.told.hears("waiting at most").await;
        assert_eq!(settings(&site), Some(json!("green")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_installs_a_release_finds_it_free() {
    let install = "helm upgrade --install web";
    let make = ("make", "dir: infra, target: deploy".to_owned());
    let run = ("run", format!("script: '{install} charts/demo --namespace default'"));
    for (which, (kind, with)) in every_helm().iter().flat_map(|which| [(which, &make), (which, &run)]) {
        let site = site(which).await;
        let recipe = format!("deploy:\n\t{install} ../charts/demo --namespace default\n");
        site.workshop.write("plan/infra/Makefile", &recipe);
        let cx = Context { after_crash: true, ..site.context() };
        let env = format!("env: {{ KUBECONFIG: '{}' }}", cx.world.kubeconfig.display());
        let blind = step(kind, &format!("{{ {with}, {env} }}"));
        let named = step(kind, &format!("{{ {with}, {env}, releases: [{{ release: web, namespace: default }}] }}"));
        assert!(named.programs().contains(&"helm".to_owned()) && !blind.programs().contains(&"helm".to_owned()));

        pending(&site, &cx.clock().now().to_string());
        let refused = blind.perform(&cx).await.unwrap_err();
        assert!(refused.detail.contains("another operation"), "{which:?} {kind}: {refused}");
        named.perform(&cx).await.unwrap();
        assert_eq!(history(&cx).await, [status(1, "deployed")], "{which:?} {kind}: made anew");
        named.perform(&cx).await.unwrap();
        let wanted = [status(1, "superseded"), status(2, "deployed")];
        assert_eq!(history(&cx).await, wanted, "{which:?} {kind}: what is whole is left alone");
    }
}

/// A revision that somebody else has begun, as helm writes it down.
fn pending(site: &Site, at: &str) {
    use base64::Engine as _;
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let body = json!({
        "name": "web", "namespace": "default", "version": 1, "config": {}, "manifest": "",
        "info": { "first_deployed": at, "last_deployed": at, "deleted": "", "status": "pending-install", "description": "Initial install underway" },
        "chart": { "metadata": { "name": "demo", "version": "0.1.0", "apiVersion": "v2" }, "values": {}, "templates": [] },
    });
    site.create(json!({
        "apiVersion": "v1", "kind": "Secret", "type": "helm.sh/release.v1",
        "metadata": {
            "name": "sh.helm.release.v1.web.v1", "namespace": "default",
            "labels": { "owner": "helm", "name": "web", "version": "1", "status": "pending-install" },
        },
        "data": { "release": encode(&encode(&body.to_string())) },
    }));
}

#[tokio::test(flavor = "multi_thread")]
async fn undo_uninstalls_what_was_installed_and_takes_back_what_was_changed() {
    for which in every_helm() {
        let site = site(&which).await;
        let cx = site.context();
        apply(&*release(""), &cx).await.unwrap();
        apply(&*release(", values: { color: red }"), &cx).await.unwrap();
        let with = release("").undo_with(&cx).await.unwrap().unwrap();
        let later = step("helm.release", &with.to_string());
        assert_eq!(later.undo_intent(), ["helm uninstall web --namespace=default --wait --timeout=60s"]);
        later.undo(&cx).await.unwrap();
        assert_eq!(settings(&site), None, "{which:?}");
        later.undo(&cx).await.expect("what is gone is no failure");

        helm(&cx, "upgrade --install web ./charts/demo -n default --set color=theirs").await;
        apply(&*release(", values: { color: ours }"), &cx).await.unwrap();
        apply(&*release(", values: { color: again }"), &cx).await.unwrap();
        later.undo(&cx).await.unwrap();
        assert_eq!(settings(&site), Some(json!("theirs")), "{which:?}: what was there before is there again");
        later.undo(&cx).await.unwrap();
        assert_eq!(settings(&site), Some(json!("theirs")), "{which:?}: and what others made is left alone");
        assert_eq!(history(&cx).await.len(), 4);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_release_is_upgraded() {
    for which in every_helm() {
        let site = site(&which).await;
        let cx = site.context();
        let waiting = "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: { name: web }\nspec: { replicas: 1, selector: { matchLabels: { a: b } }, \
                       template: { metadata: { labels: { a: b } }, spec: { containers: [{ name: c, image: i }] } } }\n";
        site.workshop.write("plan/charts/demo/templates/web.yaml", waiting);
        let failure = step("helm.release", "{ name: web, namespace: default, chart: ./charts/demo, timeout: 1s }")
            .perform(&cx)
            .await
            .unwrap_err();
        assert_eq!(failure.class, Class::Timeout, "{which:?}: {failure:?}");
        assert!(lacks(&*release(""), &cx).await.starts_with("revision 1 is failed: "));
        std::fs::remove_file(site.workshop.plan("charts/demo/templates/web.yaml")).unwrap();
        assert_eq!(release("").perform(&cx).await.unwrap()["revision"], 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_others_are_not_taken_over_unasked() {
    for which in every_helm() {
        let site = site(&which).await;
        let cx = site.context();
        site.create(config_map("web-settings", "theirs"));
        let failure = release("").perform(&cx).await.unwrap_err();
        assert_eq!(failure.class, Class::Invalid, "{which:?}: {failure:?}");
        assert!(failure.fix.unwrap().contains("take_ownership: true"));
        release(", take_ownership: true").perform(&cx).await.unwrap();
        assert_eq!(settings(&site), Some(json!("green")));
        let absent = "{ name: web, namespace: absent, chart: ./charts/demo }";
        let failure = step("helm.release", absent).perform(&cx).await.unwrap_err();
        assert_eq!(
            (failure.class, failure.fix.unwrap().contains("create_namespace")),
            (Class::NotFound, true),
            "{which:?}"
        );
        let absent = "{ name: web, namespace: absent, chart: ./charts/demo, create_namespace: true }";
        step("helm.release", absent).perform(&cx).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_no_file_is_refused_by_name_and_not_waited_for() {
    let site = site(&Which::StandIn).await;
    site.workshop.pipe("plan/charts/demo/templates/p.yaml");
    let failure = release("").perform(&site.context()).await.unwrap_err();
    let end = "/charts/demo/templates/p.yaml` in it is a named pipe, and a chart has only files";
    assert!(failure.what.ends_with(end), "{}", failure.what);
    site.workshop.pipe("plan/piped.yaml");
    let failure = release(", value_files: [piped.yaml]").perform(&site.context()).await.unwrap_err();
    let expected = "cannot read the values file `piped.yaml`: it is a named pipe, and a step reads only files";
    assert_eq!(failure.what, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_yaml_reads_in_two_ways_is_refused_before_anything_is_done() {
    let site = site(&Which::StandIn).await;
    site.workshop.write("plan/values.yaml", "a: 1\nenabled: no\n");
    let failure = release(", value_files: [values.yaml]").perform(&site.context()).await.unwrap_err();
    assert_eq!(failure.what, "line 2 of `values.yaml`: a plain `no` is not a text to helm");
    assert!(site.kube.list("v1", "Secret", "default", "").is_empty());
}

#[test]
fn a_chart_must_mean_the_same_for_ever() {
    let why = |with: &str| refusal("helm.release", &format!("{{ name: a, namespace: n, {with} }}"));
    assert!(why("chart: oci://h/x").starts_with("version: without a version"));
    assert!(why("chart: infra/x, version: '~1.2'").contains("`pin: false`"));
    assert!(why("chart: demo").contains("write ./demo for a folder"));
}

const REPOSITORY: &str = "{ name: infra, url: 'https://llm-d-incubation.github.io/llm-d-infra' }";

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_is_added_for_this_deployment_alone() {
    let site = site(&Which::StandIn).await;
    let cx = site.context();
    let repository = step("helm.repo", REPOSITORY);
    assert_eq!(lacks(&*repository, &cx).await, "the repository `infra` is not known to this deployment");
    assert!(apply(&*repository, &cx).await.unwrap().0 && !apply(&*repository, &cx).await.unwrap().0);
    let fresh = step("helm.repo", &REPOSITORY.replace(" }", ", refresh: true }"));
    assert!(matches!(fresh.observe(&cx).await.unwrap(), Standing::Due(_)), "it is there, and is fetched anew");
    assert!(
        site.workshop.path("state/helm/repositories.yaml").exists() && !site.workshop.path("home/.config").exists()
    );
    let gateway = "{ name: infra-p1, namespace: default, chart: infra/llm-d-infra, version: v1.3.6, \
                   values: { gateway: { gatewayClassName: gke-l7-regional-external-managed } } }";
    // The chart makes a Gateway, whose kind this cluster does not know.
    let failure = step("helm.release", gateway).perform(&cx).await.unwrap_err();
    assert!(failure.what.contains("no matches for kind \"Gateway\""), "{failure}");
    let other = step("helm.repo", "{ name: infra, url: 'https://charts.example.invalid/private' }");
    assert_eq!(
        lacks(&*other, &cx).await,
        "the repository `infra` is at https://llm-d-incubation.github.io/llm-d-infra"
    );
    assert_eq!(other.perform(&cx).await.unwrap_err().class, Class::AuthExpired);
    let nowhere = step("helm.repo", "{ name: x, url: 'https://charts.example.invalid/nothing' }");
    assert_eq!(nowhere.perform(&cx).await.unwrap_err().class, Class::NotFound);
    repository.undo(&cx).await.unwrap();
    repository.undo(&cx).await.unwrap();
    assert!(matches!(repository.observe(&cx).await.unwrap(), Standing::Lacks(_)));
    let failure = step("helm.release", gateway).perform(&cx).await.unwrap_err();
    assert_eq!((failure.class, failure.fix.unwrap().contains("helm.repo")), (Class::NotFound, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_goes_through_standard_input() {
    let mut site = site(&Which::StandIn).await;
    let secret = |value: &str| Secrets::new([("p".to_owned(), Secret::new(value))].into());
    site.workshop.secrets = secret("chart-password");
    let login = format!("username: reader, password: '{}'", marker("p"));
    let repository =
        step("helm.repo", &format!("{{ name: own, url: 'https://charts.example.invalid/private', {login} }}"));
    let registry = step("helm.repo", &format!("{{ registry: quay.io, {login} }}"));
    let cx = site.context();
    for it in [&repository, &registry] {
        assert!(apply(&**it, &cx).await.unwrap().0 && !apply(&**it, &cx).await.unwrap().0);
        assert!(it.intent()[0].ends_with("--username reader --password-stdin"), "{:?}", it.intent());
    }
    site.workshop.secrets = secret("wrong");
    let cx = site.context();
    for it in [&repository, &registry] {
        assert!(lacks(&**it, &cx).await.ends_with("has another login"));
        assert_eq!(it.perform(&cx).await.unwrap_err().class, Class::AuthExpired);
        it.undo(&cx).await.unwrap();
        assert!(lacks(&**it, &cx).await.ends_with("is not known to this deployment"));
    }
    assert!(refusal("helm.repo", "{ registry: quay.io, username: a, password: b }").contains("no secret"));
}
