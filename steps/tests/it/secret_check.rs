//! The kind `secret.check` against simulated registries and a simulated Hugging Face, over TLS and by a proxy.

use std::collections::BTreeMap;
use std::sync::Arc;

use runbook_fixtures::scenario::Initial;
use runbook_fixtures::{registry, stage};
use runbook_steps::context::Stream;
use runbook_steps::secret::{Secret, Secrets, marker};
use runbook_steps::{Class, Context, Failure, Outputs, World};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::workshop::{Workshop, refusal, step};

/// A workshop with a way to the hosts outside.
struct Outside {
    shop: Workshop,
    proxy: String,
    server: JoinHandle<()>,
}

impl Drop for Outside {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Outside {
    async fn open(initial: Initial) -> Self {
        let (outside, authority) = stage::outside(&initial).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = format!("http://{}", listener.local_addr().unwrap());
        // Nobody listens at this address: there is no gateway here.
        let server = tokio::spawn(registry::serve(listener, outside, "127.0.0.1:1".parse().unwrap()));
        let mut shop = Workshop::new();
        shop.write("home/authority.pem", &authority);
        shop.env.insert("SSL_CERT_FILE".to_owned(), shop.path("home/authority.pem").display().to_string());
        let secrets = [("hf", "hf_rehearsed"), ("bad", "stale-token")];
        let secret = |(name, value): (&str, &str)| (name.to_owned(), Secret::new(value));
        shop.secrets = Secrets::new(secrets.into_iter().map(secret).collect::<BTreeMap<_, _>>());
        Self { shop, proxy, server }
    }

    fn login(&self, registry: &str, login: &str) {
        use base64::Engine as _;
        let auth = base64::engine::general_purpose::STANDARD.encode(login);
        self.shop.write("plan/auth.json", &json!({ "auths": { registry: { "auth": auth } } }).to_string());
    }

    fn context(&self) -> Context {
        let cx = self.shop.context();
        let world = World { http_proxy: Some(self.proxy.clone()), ..(*cx.world).clone() };
        Context { world: Arc::new(world), ..cx }
    }

    async fn check(&self, with: &str) -> Result<Outputs, Failure> {
        step("secret.check", with).perform(&self.context()).await
    }
}

const IMAGES: &str =
    "images: ['registry.redhat.io/rhaiis/vllm-tpu-rhel9:3.2.5', 'vllm/vllm-tpu:v0.11.1'], auth_file: auth.json";

#[tokio::test(flavor = "multi_thread")]
async fn what_can_be_had_is_said_and_no_login_is_shown() {
    let outside =
        Outside::open(Initial { accepted_licences: vec!["google/gemma-2b-it".to_owned()], ..Initial::default() }).await;
    outside.login("registry.redhat.io", "me:sesame");
    let models = format!("token: '{}', models: [Qwen/Qwen2.5-3B-Instruct, google/gemma-2b-it]", marker("hf"));
    let outputs = outside.check(&format!("{{ {IMAGES}, hugging_face: {{ {models} }} }}")).await.unwrap();
    assert_eq!(outputs["hugging_face_user"], "rehearsal");
    assert_eq!(outputs["checked"].as_array().unwrap().len(), 4);
    let log = [Stream::Out, Stream::Err, Stream::Note].map(|stream| outside.shop.ears.logged(stream)).concat();
    assert!(!log.contains("sesame") && !log.contains("hf_rehearsed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_told_apart() {
    let outside = Outside::open(Initial::default()).await;
    let private = |image: &str| format!("{{ images: ['registry.redhat.io/{image}'], auth_file: auth.json }}");
    outside.login("registry.redhat.io", "me:wrong");
    let failure = outside.check(&private("rhaiis/vllm-tpu-rhel9:3.2.5")).await.unwrap_err();
    assert_eq!(failure.class, Class::AuthExpired);
    assert!(
        failure.what.starts_with("`registry.redhat.io` refuses the login")
            && !format!("{failure:?}").contains("wrong\"")
    );
    outside.login("quay.io", "me:sesame");
    let failure = outside.check(&private("rhaiis/vllm-tpu-rhel9:3.2.5")).await.unwrap_err();
    assert!(failure.what.starts_with("there is no login for `registry.redhat.io`"), "{failure}");
    outside.login("registry.redhat.io", "me:sesame");
    assert_eq!(outside.check(&private("rhaiis/not-subscribed:1")).await.unwrap_err().class, Class::NeedsPerson);
    assert_eq!(outside.check(&private("rhaiis/vllm-tpu-rhel9:9.9")).await.unwrap_err().class, Class::NotFound);
    outside.shop.write("plan/other.json", r#"{ "auths": { "quay.io": { "auth": "eDp5" } } }"#);
    let both = "{ images: ['registry.redhat.io/rhaiis/vllm-tpu-rhel9:3.2.5'], auth_file: auth.json, auth_files: [other.json] }";
    let failure = outside.check(both).await.unwrap_err();
    assert!(
        failure.what.starts_with("there is no login for `registry.redhat.io`"),
        "one of two does not do: {failure}"
    );
    outside.shop.write("plan/auth.json", "{ \"auths\": {}, \"credsStore\": \"desktop\" }");
    let failure = outside.check(&private("rhaiis/vllm-tpu-rhel9:3.2.5")).await.unwrap_err();
    assert!(failure.cause.unwrap().contains("the helper `desktop`"));
    let failure = outside.check("{ images: [busybox], auth_file: nowhere.json }").await.unwrap_err();
    assert!(failure.class == Class::NotFound && failure.fix.unwrap().contains("--authfile nowhere.json"));
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_and_licences_are_told_apart_and_all_is_told_at_once() {
    let outside = Outside::open(Initial::default()).await;
    let hub =
        |token: &str, model: &str| format!("{{ hugging_face: {{ token: '{}', models: [{model}] }} }}", marker(token));
    let failure = outside.check(&hub("hf", "google/gemma-2b-it")).await.unwrap_err();
    assert_eq!(failure.class, Class::NeedsPerson);
    assert_eq!(
        failure.fix.as_deref(),
        Some("open https://huggingface.co/google/gemma-2b-it as that user and accept it")
    );
    assert_eq!(outside.check(&hub("hf", "nobody/nothing")).await.unwrap_err().class, Class::NotFound);
    let failure = outside.check(&hub("bad", "Qwen/Qwen2.5-3B-Instruct")).await.unwrap_err();
    assert_eq!(failure.class, Class::AuthExpired);
    assert_eq!(failure.detail.lines().count(), 2, "{}", failure.detail);
    assert!(!format!("{failure:?}").contains("stale-token"));
    let failure = outside.check("{ hugging_face: { models: [google/gemma-2b-it] } }").await.unwrap_err();
    assert!(failure.fix.unwrap().contains("hugging_face.token"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_does_not_answer_may_answer_later() {
    let outside = Outside::open(Initial::default()).await;
    assert_eq!(outside.check("{ images: ['nowhere.example.com/a/b:1'] }").await.unwrap_err().class, Class::Transient);
}

#[test]
fn there_must_be_something_to_check() {
    assert!(refusal("secret.check", "{}").starts_with(": nothing to check"));
    assert!(refusal("secret.check", "{ images: ['a b'] }").starts_with("images: `a b` is not"));
    assert!(refusal("secret.check", "{ hugging_face: { models: [qwen] } }").contains("OWNER/NAME"));
}
