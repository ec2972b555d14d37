//! `tools`: which programs a plan needs, in which versions; one report of all that is missing or too old.

mod known;
mod wanted;

use std::collections::BTreeMap;

use futures::future::{BoxFuture, join_all};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use self::wanted::{Fault, Wanted, judge};
use crate::context::Context;
use crate::failure::{Class, Failure};
use crate::kind::{Effect, Kind, OutputDoc, ReadError, read_with, schema_of};
use crate::step::{Outputs, Standing, Step};
use crate::tools::{Program, install_hint};
use crate::version::Version;

/// The kind `tools`.
pub(super) static KIND: Kind = Kind {
    name: "tools",
    summary: "Looks for programs and their versions, all at once",
    docs: DOCS,
    example: EXAMPLE,
    version: 1,
    effect: Effect::Reads,
    observes: false,
    idempotent: true,
    outputs: &[OutputDoc {
        name: "versions",
        about: "the version of each program; `unknown` where it does not say one",
    }],
    open_outputs: false,
    schema: schema_of::<Tools>,
    read,
};

const DOCS: &str = "\
Asks every program for its version, side by side, and reports everything that is missing or does not fit in one failure, each with
how to install it.

- **observe**: cannot look. Later runs do not ask again where the answer was good and the step still says the same;
  `runbook verify` does, and `apply --redo STEP`.
- **perform**: looks each program up on PATH and runs it with what makes it say its version (`version`, `--version`, or `args`).
- **undo**: nothing to take back.
- **failures**: `invalid`, with a line for each program that is missing, too old, too new, or says no version.

A version is a text such as `'3.17'` or a whole number; `any` only wants the program to be there. `3.10` without quotes would be
the number 3.1, and is refused. `helm-NAME` is the plugin NAME of helm. A pre-release (`-rc.1`) is older than its release; other
suffixes (`-gke.1`, `-dispatcher`) do not count.
";

const EXAMPLE: &str = "\
tools:
  uses: tools
  with:
    programs:
      gcloud: 407
      kubectl: '1.28'
      helm: { at_least: '3.17', below: '5' }
      helm-diff: any
      kustomize: '5.8.0'
      gke-gcloud-auth-plugin: any
";

/// Programs and their versions.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Tools {
    /// What each program must be: the lowest version that will do, `any`, or more about it.
    programs: BTreeMap<String, Wanted>,
}

fn read(with: Value) -> Result<Box<dyn Step>, ReadError> {
    let tools: Tools = read_with(with)?;
    if tools.programs.is_empty() {
        return Err(ReadError { path: "programs".to_owned(), message: "name at least one program".to_owned() });
    }
    Ok(Box::new(tools))
}

/// One program, as it was found.
struct Found<'t> {
    name: &'t str,
    version: Option<Version>,
    fault: Option<Fault>,
    install: String,
}

impl Tools {
    async fn look(&self, cx: &Context) -> Result<Outputs, Failure> {
        let looks = self.programs.iter().map(|(name, wanted)| look(name, wanted, cx));
        let found = join_all(looks).await.into_iter().collect::<Result<Vec<Found>, Failure>>()?;
        let bad: Vec<&Found> = found.iter().filter(|it| it.fault.is_some()).collect();
        if !bad.is_empty() {
            return Err(report(&bad));
        }
        let said = |it: &Found| it.version.as_ref().map_or("unknown".to_owned(), ToString::to_string);
        let versions: BTreeMap<&str, String> = found.iter().map(|it| (it.name, said(it))).collect();
        Ok(Outputs::from_iter([("versions".to_owned(), json!(versions))]))
    }
}

async fn look<'t>(name: &'t str, wanted: &Wanted, cx: &Context) -> Result<Found<'t>, Failure> {
    let plugin = name.strip_prefix("helm-");
    let present = cx.world.find_program(if plugin.is_some() { "helm" } else { name }).is_some();
    let version = match (present, plugin) {
        (false, _) => None,
        (true, Some(plugin)) => known::plugin(plugin, &said("helm", &["plugin", "list"], cx).await?),
        (true, None) => known::read(name, &said(name, &wanted.args(name), cx).await?),
    };
    let present = present && (plugin.is_none() || version.is_some());
    let install = wanted.install.clone().unwrap_or_else(|| install_hint(name));
    Ok(Found { name, fault: judge(present, version.as_ref(), wanted), version, install })
}

/// What a program says of itself, on either stream. One that fails says no version, which is judged later.
async fn said(name: &str, args: &[&str], cx: &Context) -> Result<String, Failure> {
    let program = Program::new(name).args(args.iter().copied()).capture(true).quiet().unchecked();
    match program.run(cx).await {
        Ok(finished) if finished.stdout.trim().is_empty() => Ok(finished.stderr_tail),
        Ok(finished) => Ok(finished.stdout),
        Err(failure) if failure.class == Class::Cancelled => Err(failure),
        Err(failure) => {
            cx.note(&failure.what);
            Ok(String::new())
        }
    }
}

fn report(bad: &[&Found]) -> Failure {
    let one = |it: &&Found| it.fault.as_ref().map(|fault| fault.told(it.name, it.version.as_ref())).unwrap_or_default();
    let what: Vec<String> = bad.iter().map(one).collect();
    let fixes: Vec<String> = bad.iter().map(|it| format!("{}: {}", it.name, it.install)).collect();
    Failure::invalid(what.join("; ")).fix(fixes.join("\n"))
}

impl Step for Tools {
    fn intent(&self) -> Vec<String> {
        let line = |(name, wanted): (&String, &Wanted)| match name.starts_with("helm-") {
            true => "helm plugin list".to_owned(),
            false => Program::new(name).args(wanted.args(name)).command_line(),
        };
        let mut lines: Vec<String> = self.programs.iter().map(line).collect();
        lines.dedup();
        lines
    }

    fn observe<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Result<Standing, Failure>> {
        Box::pin(async { Ok(Standing::Unknown) })
    }

    fn perform<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Outputs, Failure>> {
        Box::pin(self.look(cx))
    }

    fn undo<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async { Ok(()) })
    }
}
