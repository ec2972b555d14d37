//! `helm.repo`: a repository of charts, or a login to a registry of charts, for this deployment alone.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::context::Context;
use crate::failure::{Class, Failure};
use crate::helm::{self, explain};
use crate::kind::{Effect, Kind, OutputDoc, Reach, ReadError, read_with, schema_of};
use crate::secret::{Secret, mentions_secret};
use crate::step::{Outputs, Standing, Step};
use crate::tools::Program;

/// The kind `helm.repo`.
pub(super) static KIND: Kind = Kind {
    name: "helm.repo",
    summary: "Adds a repository of Helm charts, or logs in to a registry",
    docs: DOCS,
    example: EXAMPLE,
    version: 1,
    effect: Effect::Changes(Reach::Other),
    observes: true,
    idempotent: true,
    outputs: &[
        OutputDoc { name: "name", about: "what the repository is called, or the registry's host" },
        OutputDoc { name: "url", about: "the repository's address; empty for a registry" },
    ],
    open_outputs: false,
    schema: schema_of::<Repo>,
    read,
};

const DOCS: &str = "\
`helm repo add`, or with `registry` `helm registry login`. What is added is kept in the deployment's own folder and counts for its
steps alone: nothing of the user's own is changed or needed.

- **observe**: holds where the repository is known by this address and login. With `refresh`, each run that comes to the step fetches
  the index anew all the same; it comes again to a step that succeeded when that says something else, when something that it needs was
  changed, or with `apply --redo STEP`.
- **perform**: adds it, or changes it, and fetches its index. The password goes to helm's standard input.
- **undo**: removes it, or logs out.
- **failures**: `auth-expired` where the login is refused; `not-found` where there is no repository.

Helm writes the password into a file that only the user may read, in the deployment's folder, until it is undone.
";

const EXAMPLE: &str = "\
charts:
  uses: helm.repo
  with:
    name: llm-d-infra
    url: https://llm-d-incubation.github.io/llm-d-infra
";

/// A repository, or a registry.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Repo {
    /// What the repository is called in `chart: NAME/CHART`.
    name: Option<String>,
    /// The address of the repository.
    url: Option<String>,
    /// The host of a registry to log in to, instead of `name` and `url`.
    registry: Option<String>,
    /// Who logs in.
    username: Option<String>,
    /// The password; a secret.
    password: Option<String>,
    /// Whether the index is fetched anew by each run that comes to the step.
    #[serde(default)]
    refresh: bool,
}

fn read(with: Value) -> Result<Box<dyn Step>, ReadError> {
    let repo: Repo = read_with(with)?;
    repo.verify().map_err(|(path, message)| ReadError { path: path.to_owned(), message: message.to_owned() })?;
    Ok(Box::new(repo))
}

impl Repo {
    fn verify(&self) -> Result<(), (&'static str, &'static str)> {
        match (&self.name, &self.url, &self.registry) {
            (Some(name), Some(_), None) if name.is_empty() || name.contains('/') => {
                return Err(("name", "the name of a repository has no slash"));
            }
            (Some(_), Some(_), None) | (None, None, Some(_)) => {}
            _ => return Err(("", "give `name` and `url` of a repository, or `registry`")),
        }
        if self.username.is_some() != self.password.is_some() {
            return Err(("username", "`username` and `password` go together"));
        }
        if self.registry.is_some() && self.username.is_none() {
            return Err(("registry", "a login needs `username` and `password`"));
        }
        match &self.password {
            Some(password) if !mentions_secret(password) => Err((
                "password",
                "a password in a plan is no secret: declare it in `secrets`, and write `${{ secrets.NAME }}`",
            )),
            _ => Ok(()),
        }
    }

    fn called(&self) -> &str {
        self.name.as_deref().or(self.registry.as_deref()).unwrap_or_default()
    }

    fn title(&self) -> String {
        let what = if self.registry.is_some() { "the registry" } else { "the repository" };
        format!("{what} `{}`", self.called())
    }

    fn arguments(&self) -> Vec<String> {
        let mut args: Vec<&str> = match (&self.name, &self.url, &self.registry) {
            (Some(name), Some(url), _) => vec!["repo", "add", name, url, "--force-update"],
            _ => vec!["registry", "login", self.called()],
        };
        args.extend(self.username.iter().flat_map(|name| ["--username", name, "--password-stdin"]));
        args.into_iter().map(ToOwned::to_owned).collect()
    }

    fn undoing(&self) -> Vec<String> {
        let args = if self.registry.is_some() { ["registry", "logout"] } else { ["repo", "remove"] };
        args.into_iter().chain([self.called()]).map(ToOwned::to_owned).collect()
    }

    fn helm(&self, cx: &Context, args: Vec<String>) -> Program {
        helm::with_logins(cx, helm::helm(cx, args)).called(format!("helm … {}", self.called()))
    }

    fn secret(&self, cx: &Context) -> Result<Option<Secret>, Failure> {
        let reveal = |text: &String| cx.secrets.reveal(text).map_err(|why| Failure::new(Class::NeedsPerson, why));
        self.password.as_ref().map(reveal).transpose()
    }

    /// What the deployment's folder knows: address and login.
    fn known(&self, cx: &Context) -> Option<(String, Option<String>)> {
        if self.registry.is_some() {
            let file: Value = serde_json::from_str(&std::fs::read_to_string(helm::logins(cx)).ok()?).ok()?;
            let auth = STANDARD.decode(file["auths"][self.called()]["auth"].as_str()?).ok()?;
            return Some((String::new(), String::from_utf8(auth).ok()));
        }
        let file: Value = serde_yaml::from_str(&std::fs::read_to_string(helm::repositories(cx)).ok()?).ok()?;
        let entry = file["repositories"].as_array()?.iter().find(|it| it["name"] == self.called())?;
        let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
        let login = Some(format!("{}:{}", text("username"), text("password"))).filter(|it| it != ":");
        Some((text("url"), login))
    }

    fn look(&self, cx: &Context) -> Result<Standing, Failure> {
        let password = self.secret(cx)?;
        let wanted = self.username.as_ref().zip(password).map(|(name, secret)| format!("{name}:{}", secret.expose()));
        Ok(match self.known(cx) {
            None => Standing::Lacks(format!("{} is not known to this deployment", self.title())),
            Some((url, _)) if url != self.url.as_deref().unwrap_or_default() => {
                Standing::Lacks(format!("{} is at {url}", self.title()))
            }
            Some((_, login)) if login != wanted => Standing::Lacks(format!("{} has another login", self.title())),
            Some(_) if self.refresh => Standing::Due(self.outputs()),
            Some(_) => Standing::Holds(self.outputs()),
        })
    }

    async fn make(&self, cx: &Context) -> Result<Outputs, Failure> {
        let program = self.helm(cx, self.arguments());
        let program = match &self.password {
            Some(password) => program.stdin(password),
            None => program,
        };
        program.run(cx).await.map_err(|failure| explain(failure, self.called()))?;
        Ok(self.outputs())
    }

    async fn unmake(&self, cx: &Context) -> Result<(), Failure> {
        match self.known(cx) {
            None => Ok(()),
            Some(_) => self.helm(cx, self.undoing()).run(cx).await.map(drop),
        }
    }

    fn outputs(&self) -> Outputs {
        Outputs::from_iter([
            ("name".to_owned(), json!(self.called())),
            ("url".to_owned(), json!(self.url.clone().unwrap_or_default())),
        ])
    }
}

impl Step for Repo {
    fn intent(&self) -> Vec<String> {
        vec![Program::new("helm").args(self.arguments()).command_line()]
    }

    fn observe<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Standing, Failure>> {
        Box::pin(async { self.look(cx) })
    }

    fn perform<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Outputs, Failure>> {
        Box::pin(self.make(cx))
    }

    fn undo<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(self.unmake(cx))
    }

    fn undo_intent(&self) -> Vec<String> {
        vec![Program::new("helm").args(self.undoing()).command_line()]
    }

    fn programs(&self) -> Vec<String> {
        vec!["helm".to_owned()]
    }
}
