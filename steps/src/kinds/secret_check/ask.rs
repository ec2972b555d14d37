//! Questions to registries and to Hugging Face that only want to know whether one may.

use std::time::Duration;

use futures::future::BoxFuture;
use reqwest::header::{ACCEPT, WWW_AUTHENTICATE};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::Value;

use super::login::{Challenge, Image, Login, challenge};
use crate::context::Context;
use crate::failure::{Class, Failure};
use crate::http::{Way, body, patience, unanswered};

/// The sorts of manifests that there are; a registry refuses to answer for those that one does not take.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
                         application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";
/// What an answer may hold at most.
const LARGEST: usize = 1 << 20;

/// Asks, over verified TLS and by way of the world's proxy.
pub(super) struct Asker {
    client: Client,
    timeout: Duration,
}

/// Something that is not as it must be; no word of it comes from a secret.
pub(super) type Finding = Failure;

impl Asker {
    pub(super) fn new(cx: &Context, authorities: Vec<u8>) -> Result<Self, Failure> {
        let client = Way::new(cx, authorities, Duration::from_secs(10)).client()?;
        Ok(Self { client, timeout: patience(Duration::from_secs(30), cx) })
    }

    async fn send(&self, request: RequestBuilder, url: &str) -> Result<Response, Failure> {
        let response = request.timeout(self.timeout).send().await.map_err(|error| unanswered(&error, url))?;
        let status = response.status().as_u16();
        match status {
            429 => Err(Failure::new(Class::Throttled, format!("`{url}` answered 429"))),
            408 | 500.. => Err(Failure::transient(format!("`{url}` answered {status}"))),
            _ => Ok(response),
        }
    }

    /// Whether an image can be pulled with this login.
    pub(super) async fn image(&self, image: &Image, login: &Login) -> Result<(), Finding> {
        let url = image.manifest();
        let ask = |method: Method| self.client.request(method, &url).header(ACCEPT, MANIFESTS);
        let first = self.send(ask(Method::HEAD), &url).await?;
        if first.status() != 401 {
            return judge(image, login, first.status().as_u16());
        }
        let wanted = first.headers().get(WWW_AUTHENTICATE).and_then(|value| value.to_str().ok()).and_then(challenge);
        let request = match wanted {
            None => return Err(Failure::permanent(format!("`{}` wants a login of an unknown sort", image.host))),
            Some(Challenge::Basic) => with_login(ask(Method::HEAD), login),
            Some(Challenge::Token(place)) => ask(Method::HEAD).bearer_auth(self.token(image, login, &place).await?),
        };
        let second = self.send(request, &url).await?;
        judge(image, login, second.status().as_u16())
    }

    async fn token(&self, image: &Image, login: &Login, place: &str) -> Result<String, Finding> {
        let shown = place.split('?').next().unwrap_or(place);
        let response = self.send(with_login(self.client.get(place), login), shown).await?;
        match response.status().as_u16() {
            200 => {}
            401 | 403 | 400 => return Err(not_let_in(image, login)),
            status => return Err(Failure::permanent(format!("`{shown}` answered {status}"))),
        }
        let read = body(response, LARGEST).await.map_err(|error| unanswered(&error, shown))?.0;
        let answer: Value = serde_json::from_slice(&read).unwrap_or_default();
        let token = answer["token"].as_str().or(answer["access_token"].as_str()).map(ToOwned::to_owned);
        token.ok_or_else(|| Failure::permanent(format!("`{shown}` gives no token")))
    }

    /// Whose a token of Hugging Face is.
    pub(super) async fn whoami(&self, token: &str) -> Result<String, Finding> {
        const URL: &str = "https://huggingface.co/api/whoami-v2";
        let response = self.send(self.client.get(URL).bearer_auth(token), URL).await?;
        match response.status().as_u16() {
            200 => {}
            401 => return Err(bad_token()),
            status => return Err(Failure::permanent(format!("`{URL}` answered {status}"))),
        }
        let read = body(response, LARGEST).await.map_err(|error| unanswered(&error, URL))?.0;
        let answer: Value = serde_json::from_slice(&read).unwrap_or_default();
        Ok(answer["name"].as_str().unwrap_or("unknown").to_owned())
    }

    /// Whether the files of a model can be read.
    pub(super) async fn model(&self, model: &str, token: Option<&str>) -> Result<(), Finding> {
        let url = format!("https://huggingface.co/{model}/resolve/main/config.json");
        let request = self.client.head(&url);
        let request = token.into_iter().fold(request, RequestBuilder::bearer_auth);
        let status = self.send(request, &url).await?.status().as_u16();
        match (status, token) {
            (200..=399, _) => Ok(()),
            (401, None) => Err(Failure::new(
                Class::AuthExpired,
                format!("the model `{model}` is not for everyone, or does not exist"),
            )
            .fix("give a token that may read it in `hugging_face.token`")),
            (401, Some(_)) => {
                Err(Failure::new(Class::AuthExpired, format!("the token does not open the model `{model}`"))
                    .cause("the token is wrong, has expired, or may not read this repository")
                    .fix("make a token with read access at https://huggingface.co/settings/tokens"))
            }
            (403, _) => {
                Err(Failure::new(Class::NeedsPerson, format!("the licence of the model `{model}` was not accepted"))
                    .cause("the model is gated: its licence must be accepted by the owner of the token")
                    .fix(format!("open https://huggingface.co/{model} as that user and accept it")))
            }
            (404, _) => {
                Err(Failure::new(Class::NotFound, format!("there is no model `{model}`, or no config.json in it"))
                    .fix("check its name: it is case-sensitive"))
            }
            (status, _) => Err(Failure::permanent(format!("`{url}` answered {status}"))),
        }
    }
}

fn bad_token() -> Finding {
    Failure::new(Class::AuthExpired, "Hugging Face does not know this token")
        .cause("the token is wrong, was revoked, or has expired")
        .fix("make a token with read access at https://huggingface.co/settings/tokens")
}

fn with_login(request: RequestBuilder, login: &Login) -> RequestBuilder {
    match login {
        Login::Pair(name, password) => request.basic_auth(name, Some(password)),
        Login::Helper(_) | Login::None => request,
    }
}

/// What the answer for a manifest means.
fn judge(image: &Image, login: &Login, status: u16) -> Result<(), Finding> {
    let name = &image.name;
    match status {
        200..300 => Ok(()),
        401 => Err(not_let_in(image, login)),
        403 => Err(Failure::new(Class::NeedsPerson, format!("the login for `{}` may not pull `{name}`", image.host))
            .cause(
                "the registry knows the user, but the image is not for them: a subscription or a permission is missing",
            )
            .fix("ask the owner of the image for access, or log in as somebody who has it")),
        404 => Err(Failure::new(Class::NotFound, format!("there is no image `{name}`"))
            .cause("the repository or the tag does not exist, or the registry hides it from this login")
            .fix("check the name and the tag")),
        status => Err(Failure::permanent(format!("`{}` answered {status} for `{name}`", image.host))),
    }
}

/// The registry does not let anybody in with this login.
fn not_let_in(image: &Image, login: &Login) -> Finding {
    let host = &image.host;
    let fix = format!("run `podman login {host} --authfile FILE` with the file that the plan names");
    match login {
        Login::Pair(..) => {
            Failure::new(Class::AuthExpired, format!("`{host}` refuses the login, for `{}`", image.name))
                .cause("the password is wrong or has expired")
                .fix(fix)
        }
        Login::None => Failure::new(
            Class::AuthExpired,
            format!("there is no login for `{host}`, which `{}` needs", image.name),
        )
        .cause("the file has no entry for it; a rootless `podman login` writes elsewhere unless it is given --authfile")
        .fix(fix),
        Login::Helper(helper) => Failure::new(Class::AuthExpired, format!("the login for `{host}` is not in the file"))
            .cause(format!("it is kept by the helper `{helper}`, and a pull secret made of this file would hold none"))
            .fix(fix),
    }
}

/// A question, and the name of what can be had.
pub(super) type Question<'q> = BoxFuture<'q, Result<String, Finding>>;
