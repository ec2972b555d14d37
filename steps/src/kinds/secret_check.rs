//! `secret.check`: whether registries and Hugging Face let one in, without pulling anything.

mod ask;
mod login;

use std::path::{Path, PathBuf};

use futures::future::{BoxFuture, join_all};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use self::ask::{Asker, Finding, Question};
use self::login::{Image, login_for};
use super::kubectl_secret::login_in;
use crate::context::Context;
use crate::failure::{Class, Failure};
use crate::kind::{Effect, Kind, OutputDoc, ReadError, read_with, schema_of};
use crate::step::{Outputs, Standing, Step};

/// The kind `secret.check`.
pub(super) static KIND: Kind = Kind {
    name: "secret.check",
    summary: "Checks logins of registries and Hugging Face tokens, without pulling anything",
    docs: DOCS,
    example: EXAMPLE,
    version: 1,
    effect: Effect::Reads,
    observes: false,
    idempotent: true,
    outputs: &[
        OutputDoc { name: "checked", about: "what can be had: the images and models" },
        OutputDoc { name: "hugging_face_user", about: "whose the token is; empty where none was checked" },
    ],
    open_outputs: false,
    schema: schema_of::<With>,
    read,
};

const DOCS: &str = "\
Asks for manifests (`HEAD /v2/…/manifests/…` with the registry's token flow) and for models (`whoami-v2`, `HEAD …/config.json`), all
at once, and reports everything that is wrong in one failure. Nothing is pulled, no login is shown.

- **observe**: cannot look. Later runs do not ask again where the answer was good and the step still says the same;
  `runbook verify` does, and `apply --redo STEP`.
- **perform**: asks for each of `images` with the login that `auth_file` (or `auth`) has for it, or as anybody where it has none,
  and again with that of each of `auth_files`;
  for `hugging_face.token` whose it is; and for each of `hugging_face.models` whether it can be read.
- **undo**: nothing to take back.
- **failures**: `auth-expired` (refused, or no login), `needs-person` (403: no subscription; a licence that was not accepted),
  `not-found` (image, tag or model), `transient` and `throttled`.

The login file is one of docker or podman, or a Secret that holds one. Authorities beside the machine's: `ca_bundle`, and the file that
`SSL_CERT_FILE` of the run's environment names.
";

const EXAMPLE: &str = "\
access:
  uses: secret.check
  with:
    images: ['registry.redhat.io/rhaiis/vllm-tpu-rhel9:3.2.5']
    auth_file: ~/.config/containers/auth.json
    hugging_face: { models: [Qwen/Qwen2.5-3B-Instruct] }
";

/// What is to be had, and with what.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct With {
    /// Images by their whole names.
    #[serde(default)]
    images: Vec<String>,
    /// A login file of docker or podman, relative to the plan.
    auth_file: Option<PathBuf>,
    /// More such files: every image must be to be had with each of them.
    #[serde(default)]
    auth_files: Vec<PathBuf>,
    /// The login file's content, as `${{ secrets.NAME }}`.
    auth: Option<String>,
    /// A token and models of Hugging Face.
    hugging_face: Option<HuggingFace>,
    /// A file of certificates (PEM) that are trusted besides the machine's.
    ca_bundle: Option<PathBuf>,
}

/// A token and models.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct HuggingFace {
    /// The token, as `${{ secrets.NAME }}`; without it, models must be for everyone.
    token: Option<String>,
    /// Models: `OWNER/NAME`.
    #[serde(default)]
    models: Vec<String>,
}

fn read(with: Value) -> Result<Box<dyn Step>, ReadError> {
    let with: With = read_with(with)?;
    let wrong = |path: &str, message: String| Err(ReadError { path: path.to_owned(), message });
    let mut images = Vec::new();
    for name in &with.images {
        match Image::read(name) {
            Some(image) => images.push(image),
            None => return wrong("images", format!("`{name}` is not the name of an image")),
        }
    }
    if (with.auth_file.is_some() || !with.auth_files.is_empty()) && with.auth.is_some() {
        return wrong("auth", "give either `auth` or login files".to_owned());
    }
    let hub = with.hugging_face.iter();
    if let Some(model) =
        hub.clone().flat_map(|it| &it.models).find(|it| it.split('/').count() != 2 || it.contains([' ', '?', '#']))
    {
        return wrong("hugging_face.models", format!("`{model}` is not a model: write OWNER/NAME"));
    }
    if images.is_empty() && hub.clone().all(|it| it.token.is_none() && it.models.is_empty()) {
        return wrong("", "nothing to check: give `images`, or a token or models of `hugging_face`".to_owned());
    }
    Ok(Box::new(Check { images, with }))
}

#[derive(Debug)]
struct Check {
    images: Vec<Image>,
    with: With,
}

impl Check {
    async fn ask(&self, cx: &Context) -> Result<Outputs, Failure> {
        let logins = self.logins(cx)?;
        let token = self.token(cx)?;
        let asker = Asker::new(cx, self.authorities(cx)?)?;
        let (asker, logins, token) = (&asker, &logins, token.as_deref());
        let pairs =
            self.images.iter().flat_map(|image| logins.iter().map(move |login| (image, login_for(login, image))));
        let images = pairs.map(|(image, login)| -> Question {
            Box::pin(async move { asker.image(image, &login).await.map(|()| image.name.clone()) })
        });
        let models = self.with.hugging_face.iter().flat_map(|it| &it.models);
        let models = models.map(|model| -> Question {
            Box::pin(async move { asker.model(model, token).await.map(|()| model.clone()) })
        });
        let whose = async {
            match token {
                Some(token) => asker.whoami(token).await,
                None => Ok(String::new()),
            }
        };
        let (answers, whose) = tokio::join!(join_all(images.chain(models)), whose);
        conclude(answers, whose)
    }

    /// What each login file holds; one that holds nothing where there is none.
    fn logins(&self, cx: &Context) -> Result<Vec<Value>, Failure> {
        if let Some(auth) = &self.with.auth {
            return Ok(vec![login_of(&reveal(auth, cx)?, "the given login")?]);
        }
        let mut files: Vec<&PathBuf> = self.files().collect();
        files.dedup();
        match files.is_empty() {
            true => Ok(vec![Value::Null]),
            false => files.into_iter().map(|file| login_in_file(file, cx)).collect(),
        }
    }

    fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.with.auth_file.iter().chain(&self.with.auth_files)
    }

    fn token(&self, cx: &Context) -> Result<Option<String>, Failure> {
        let token = self.with.hugging_face.as_ref().and_then(|it| it.token.as_ref());
        token.map(|token| reveal(token, cx).map(|it| it.trim().to_owned())).transpose()
    }

    /// Certificates that are trusted besides the machine's.
    fn authorities(&self, cx: &Context) -> Result<Vec<u8>, Failure> {
        let mut all = Vec::new();
        let of_the_run = cx.world.var("SSL_CERT_FILE").map(PathBuf::from);
        let of_the_plan = self.with.ca_bundle.as_ref().map(|file| cx.plan_path(file));
        for file in of_the_run.into_iter().chain(of_the_plan) {
            let read = crate::files::read(&file);
            all.extend(read.map_err(|error| {
                Failure::invalid(format!("cannot read the certificates `{}`: {error}", file.display()))
            })?);
        }
        Ok(all)
    }
}

fn login_in_file(file: &Path, cx: &Context) -> Result<Value, Failure> {
    let text = crate::files::read_text(&cx.plan_path(file)).map_err(|error| {
        Failure::new(Class::NotFound, format!("cannot read the login file `{}`: {error}", file.display()))
            .cause("a rootless `podman login` writes elsewhere unless it is given this file with --authfile")
            .fix(format!("run `podman login HOST --authfile {}`", file.display()))
    })?;
    login_of(&text, &format!("`{}`", file.display()))
}

fn login_of(text: &str, origin: &str) -> Result<Value, Failure> {
    let login = login_in(text).map(Value::Object);
    login.ok_or_else(|| Failure::invalid(format!("{origin} is not a login of docker or podman: it has no `auths`")))
}

fn reveal(text: &str, cx: &Context) -> Result<String, Failure> {
    let secret = cx.secrets.reveal(text).map_err(|why| Failure::new(Class::NeedsPerson, why))?;
    Ok(secret.expose().to_owned())
}

/// One failure of all that was found. What a person must do counts more than what goes away by itself.
fn conclude(answers: Vec<Result<String, Finding>>, whose: Result<String, Finding>) -> Result<Outputs, Failure> {
    let mut findings = Vec::new();
    let user = whose.unwrap_or_else(|finding| {
        findings.push(finding);
        String::new()
    });
    let mut checked = Vec::new();
    for answer in answers {
        match answer {
            Ok(name) if checked.contains(&name) => {}
            Ok(name) => checked.push(name),
            Err(finding) => findings.push(finding),
        }
    }
    if findings.is_empty() {
        return Ok(Outputs::from_iter([
            ("checked".to_owned(), json!(checked)),
            ("hugging_face_user".to_owned(), json!(user)),
        ]));
    }
    Err(report(&findings))
}

fn report(findings: &[Finding]) -> Failure {
    let gravest = findings.iter().find(|it| !it.class.retried_by_default()).unwrap_or(&findings[0]);
    let told = |of: fn(&Finding) -> Option<String>| -> Vec<String> {
        let mut texts: Vec<String> = findings.iter().filter_map(of).collect();
        texts.dedup();
        texts
    };
    let what = told(|it| Some(it.what.clone()));
    let mut failure = Failure::new(gravest.class, what.join("; ")).detail(what.join("\n"));
    failure.cause = Some(told(|it| it.cause.clone()).join("\n")).filter(|it| !it.is_empty());
    failure.fix = Some(told(|it| it.fix.clone()).join("\n")).filter(|it| !it.is_empty());
    failure
}

impl Step for Check {
    fn intent(&self) -> Vec<String> {
        let file = self.files().take(1).map(|file| format!(" --authfile {}", file.display())).collect::<String>();
        let images = self.images.iter().map(|image| format!("skopeo inspect{file} docker://{}", image.name));
        let models = self.with.hugging_face.iter().flat_map(|it| &it.models);
        let models = models.map(|model| format!("curl -fI https://huggingface.co/{model}/resolve/main/config.json"));
        let token = self.with.hugging_face.iter().filter(|it| it.token.is_some());
        let token = token.map(|_| "curl -f https://huggingface.co/api/whoami-v2".to_owned());
        images.chain(token).chain(models).collect()
    }

    fn observe<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Result<Standing, Failure>> {
        Box::pin(async { Ok(Standing::Unknown) })
    }

    fn perform<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Outputs, Failure>> {
        Box::pin(cx.unless_cancelled(self.ask(cx)))
    }

    fn undo<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async { Ok(()) })
    }
}
