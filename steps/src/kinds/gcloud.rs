//! `gcloud`: any command of the Google Cloud CLI.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::context::Context;
use crate::failure::{Class, Failure};
use crate::gcloud::Gcloud;
use crate::kind::{Effect, Kind, OutputDoc, Reach, ReadError, read_with, schema_of};
use crate::scalar::Scalar;
use crate::step::{Outputs, Standing, Step};
use crate::tools::{Finished, Program, classify};

/// The kind `gcloud`.
pub(super) static KIND: Kind = Kind {
    name: "gcloud",
    summary: "Runs a command of the Google Cloud CLI, unless a look-up says that it is done",
    docs: DOCS,
    example: EXAMPLE,
    version: 1,
    effect: Effect::Changes(Reach::Anything),
    observes: true,
    idempotent: false,
    outputs: &[
        OutputDoc { name: "stdout", about: "its standard output, trimmed" },
        OutputDoc { name: "json", about: "the same, read as JSON; null without `format: json`" },
    ],
    open_outputs: false,
    schema: schema_of::<Command>,
    read,
};

const DOCS: &str = "\
Runs `gcloud` with an argument list, with `--quiet` and `--project` added.

- **observe**: runs the look-up `exists`: what it finds is there already, and the step holds. It finds something where it exits
  with 0 and, with `not_empty`, prints something, and, with `contains`, prints that text. Without `exists` it cannot look:
  after a crash in the middle it then waits for a person (`runbook settle`), unless the step says `idempotent: true`.
- **perform**: runs `args`. With `format: json` and an `exists`, the outputs come from a look-up after it, so that they look the
  same whether the step had to do something or not.
- **undo**: runs `undo`; what is gone already is no failure, what is still in use is a `conflict`. Without `undo` nothing.
- **failures**: classed by gcloud's words: `quota`, `stockout`, `auth-expired`, `throttled`, `conflict`, `transient`, `not-found`,
  `invalid`.
";

const EXAMPLE: &str = "\
proxy_subnet:
  uses: gcloud
  with:
    project: \"${{ inputs.project }}\"
    args: [compute, networks, subnets, create, proxy-only, --purpose=REGIONAL_MANAGED_PROXY, --role=ACTIVE,
      --region=europe-west4, --network=default, --range=192.168.0.0/23]
    exists:
      args: [compute, networks, subnets, describe, proxy-only, --region=europe-west4]
    undo:
      args: [compute, networks, subnets, delete, proxy-only, --region=europe-west4]
";

/// A command and its look-up.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Command {
    /// The arguments of `gcloud`.
    args: Vec<Scalar>,
    /// How to see that it is done.
    exists: Option<Lookup>,
    /// What takes it back.
    undo: Option<Undo>,
    /// The project; that of gcloud's configuration where not given.
    project: Option<String>,
    /// `json` reads what it prints.
    format: Option<Format>,
    /// Variables over the run's environment.
    #[serde(default)]
    env: BTreeMap<String, Scalar>,
}

/// A command that finds something or does not.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Lookup {
    /// The arguments of `gcloud`.
    args: Vec<Scalar>,
    /// Whether it must print something; a `list` that finds nothing exits with 0 too.
    #[serde(default)]
    not_empty: bool,
    /// What it must print, among other things.
    contains: Option<String>,
}

/// A command that takes something back.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Undo {
    /// The arguments of `gcloud`.
    args: Vec<Scalar>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Format {
    Json,
}

fn read(with: Value) -> Result<Box<dyn Step>, ReadError> {
    let command: Command = read_with(with)?;
    let lists = [
        ("args", Some(&command.args)),
        ("exists.args", command.exists.as_ref().map(|lookup| &lookup.args)),
        ("undo.args", command.undo.as_ref().map(|undo| &undo.args)),
    ];
    for (path, args) in lists.into_iter().filter_map(|(path, args)| Some((path, args?))) {
        let wrong = |message: &str| ReadError { path: path.to_owned(), message: message.to_owned() };
        match args.first() {
            None => return Err(wrong("expected arguments, found an empty list")),
            Some(first) if first.0 == "gcloud" => {
                return Err(wrong("leave `gcloud` out: the list holds its arguments"));
            }
            Some(_) => {}
        }
        if command.format.is_some() && args.iter().any(|arg| arg.0.starts_with("--format")) {
            return Err(wrong("give `format: json` or a `--format` of your own, not both"));
        }
    }
    Ok(Box::new(command))
}

/// Many commands only say in words of their own that something is not there. A code of 2 tells of a wrong command line; and who was not
/// allowed to look, or got no answer, has not seen that nothing is there.
fn is_absence(failure: &Failure) -> bool {
    let unclear = failure.class == Class::Permanent && failure.facts.exit_code == Some(1);
    failure.class == Class::NotFound || (unclear && classify(&failure.facts.stderr).is_none())
}

/// What uses it is most often on its way out: a load balancer outlives the object that it was made for.
fn is_in_use(failure: &Failure) -> bool {
    failure.facts.stderr.contains("already being used by")
}

impl Lookup {
    fn finds(&self, finished: &Finished) -> bool {
        let printed = finished.stdout.trim();
        let nothing = printed.is_empty() || printed == "[]";
        !(self.not_empty && nothing) && self.contains.as_ref().is_none_or(|text| printed.contains(text.as_str()))
    }
}

impl Command {
    fn program(&self, cx: &Context, args: &[Scalar]) -> Program {
        let json = self.format.map(|Format::Json| "--format=json".to_owned());
        // gcloud takes what follows a `--` for another program's.
        let end = args.iter().position(|arg| arg.0 == "--").unwrap_or(args.len());
        let mut args: Vec<String> = args.iter().map(|arg| arg.0.clone()).collect();
        args.splice(end..end, json);
        let program = Gcloud::new(cx, self.project.as_deref()).program(&args);
        program.envs(self.env.iter().map(|(name, value)| (name, value.0.clone())))
    }

    fn line(&self, args: &[Scalar]) -> String {
        let project = self.project.iter().map(|project| format!("--project={project}"));
        let words = args.iter().map(|arg| arg.0.clone()).chain(project);
        Program::new("gcloud").args(words).command_line()
    }

    async fn run(&self, cx: &Context, args: &[Scalar]) -> Result<Finished, Failure> {
        Gcloud::new(cx, self.project.as_deref()).run(self.program(cx, args)).await
    }

    fn outputs(&self, finished: &Finished) -> Result<Outputs, Failure> {
        let json = match self.format {
            Some(Format::Json) if !finished.stdout.trim().is_empty() => finished.json("gcloud")?,
            _ => Value::Null,
        };
        let stdout = if finished.truncated { &finished.stdout_tail } else { &finished.stdout };
        Ok(json!({ "stdout": stdout.trim(), "json": json }).as_object().cloned().unwrap_or_default())
    }

    /// The outputs of the look-up where it finds something.
    async fn look(&self, cx: &Context, lookup: &Lookup) -> Result<Option<Outputs>, Failure> {
        match self.run(cx, &lookup.args).await {
            Ok(finished) => lookup.finds(&finished).then(|| self.outputs(&finished)).transpose(),
            Err(failure) if is_absence(&failure) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    async fn make(&self, cx: &Context) -> Result<Outputs, Failure> {
        let finished = self.run(cx, &self.args).await?;
        if let (Some(lookup), Some(Format::Json)) = (&self.exists, self.format) {
            let missing =
                || Failure::transient("`gcloud` says that it is done, but the look-up `exists` does not find it");
            return self.look(cx, lookup).await?.ok_or_else(missing);
        }
        self.outputs(&finished)
    }

    async fn unmake(&self, cx: &Context, undo: &Undo) -> Result<(), Failure> {
        match self.run(cx, &undo.args).await {
            Err(failure) if failure.class == Class::NotFound => Ok(()),
            Err(failure) if is_in_use(&failure) => Err(Failure { class: Class::Conflict, ..failure }),
            other => other.map(drop),
        }
    }
}

impl Step for Command {
    fn intent(&self) -> Vec<String> {
        vec![self.line(&self.args)]
    }

    fn undo_intent(&self) -> Vec<String> {
        self.undo.iter().map(|undo| self.line(&undo.args)).collect()
    }

    fn observe<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Standing, Failure>> {
        Box::pin(async {
            let Some(lookup) = &self.exists else { return Ok(Standing::Unknown) };
            let found = self.look(cx, lookup).await?;
            Ok(found.map_or_else(|| Standing::Lacks("the look-up `exists` finds nothing".to_owned()), Standing::Holds))
        })
    }

    fn perform<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Outputs, Failure>> {
        Box::pin(self.make(cx))
    }

    fn undo<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async {
            match &self.undo {
                Some(undo) => self.unmake(cx, undo).await,
                None => super::command::not_undone(cx),
            }
        })
    }

    fn can_look(&self) -> bool {
        self.exists.is_some()
    }

    fn programs(&self) -> Vec<String> {
        vec!["gcloud".to_owned()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Facts;

    fn problem(with: Value) -> String {
        let error = read(with).expect_err("wrong");
        format!("{}: {}", error.path, error.message)
    }

    #[test]
    fn the_name_of_the_program_is_not_an_argument() {
        assert_eq!(
            problem(json!({ "args": ["gcloud", "version"] })),
            "args: leave `gcloud` out: the list holds its arguments"
        );
        assert_eq!(
            problem(json!({ "args": ["a"], "undo": { "args": [] } })),
            "undo.args: expected arguments, found an empty list"
        );
    }

    #[test]
    fn who_could_not_look_has_not_seen_that_nothing_is_there() {
        let failed = |stderr: &str, code: i32| {
            let facts = Facts { stderr: stderr.to_owned(), exit_code: Some(code), ..Facts::default() };
            Failure::new(classify(stderr).unwrap_or(Class::Permanent), "no").facts(facts)
        };
        for (said, absent) in [
            ("ERROR: code=404, message=Not found", true),
            ("ERROR: (gcloud.x.describe) There is no such thing here.", true),
            ("ERROR: PERMISSION_DENIED: Permission denied on resource project p", false),
            ("ERROR: Could not fetch resource:\n - Required 'compute.networks.get' permission for 'x'", false),
            ("ERROR: HTTPError 503: The service is currently unavailable.", false),
        ] {
            assert_eq!(is_absence(&failed(said, 1)), absent, "{said}");
        }
        assert!(!is_absence(&failed("ERROR: odd", 2)));
    }

    #[test]
    fn one_format_is_enough() {
        assert!(problem(json!({ "args": ["a", "--format=value(name)"], "format": "json" })).contains("not both"));
    }

    #[test]
    fn an_empty_list_is_nothing_where_that_matters() {
        let lookup = |with: Value| serde_json::from_value::<Lookup>(with).unwrap();
        let said = |text: &str| Finished { stdout: text.to_owned(), ..Finished::default() };
        assert!(lookup(json!({ "args": ["x"] })).finds(&said("")));
        assert!(!lookup(json!({ "args": ["x"], "not_empty": true })).finds(&said("[]\n")));
        assert!(lookup(json!({ "args": ["x"], "contains": "ACTIVE" })).finds(&said("name ACTIVE\n")));
        assert!(!lookup(json!({ "args": ["x"], "contains": "ACTIVE" })).finds(&said("name\n")));
    }

    #[test]
    fn the_intent_names_the_project() {
        let command: Command =
            serde_json::from_value(json!({ "args": ["compute", "regions", "list"], "project": "p-1" })).unwrap();
        assert_eq!(command.intent(), ["gcloud compute regions list --project=p-1"]);
    }
}
