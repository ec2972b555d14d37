//! `git.clone`: a repository at a pinned commit.

use std::path::{Path, PathBuf};

use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::context::Context;
use crate::failure::{Class, Failure};
use crate::kind::{Effect, Kind, OutputDoc, Reach, ReadError, read_with, schema_of};
use crate::step::{Outputs, Standing, Step};
use crate::tools::{Finished, Program, absolute};

/// The kind `git.clone`.
pub(super) static KIND: Kind = Kind {
    name: "git.clone",
    summary: "Clones a Git repository at a pinned commit",
    docs: DOCS,
    example: EXAMPLE,
    version: 1,
    effect: Effect::Changes(Reach::Other),
    observes: true,
    idempotent: true,
    outputs: &[
        OutputDoc { name: "dir", about: "the folder of the clone" },
        OutputDoc { name: "commit", about: "the commit that is checked out" },
    ],
    open_outputs: false,
    schema: schema_of::<Clone>,
    read,
};

const DOCS: &str = "\
Fetches one commit of a repository, shallow where the server allows it, into `dir` (default: a folder of the deployment's own).

- **observe**: holds where `dir` is a clone of `repo`, at `ref`, without local changes to tracked files.
- **perform**: fetches beside `dir` and renames, so a crash leaves no half clone; a clone of an other commit is moved there.
- **undo**: removes a clone that this deployment made, unless it has local changes.
- **failures**: local changes and foreign folders are never touched: they are `invalid`, and what differs is listed.

`ref` is a commit or a tag. A branch moves, so that two runs would differ; it needs `pin: false`.
";

const EXAMPLE: &str = "\
infra_repo:
  uses: git.clone
  with:
    repo: https://github.com/aneeshkp/llm-d-infra-xks
    ref: 3d1f0a4b6c5e2f7a8b9c0d1e2f3a4b5c6d7e8f90
";

/// How an outer git (a hook, an alias) would reach into ours.
const INHERITED: [&str; 5] = ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY"];

/// Which deployment made a clone, in its configuration.
const MAKER: &str = "runbook.deployment";

/// What to clone and where to.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Clone {
    /// The repository's address.
    repo: String,
    /// A commit or a tag; a branch only with `pin: false`.
    r#ref: String,
    /// Where to, relative to the plan.
    dir: Option<PathBuf>,
    /// Whether a `ref` that can move is refused; true where not given.
    #[serde(default = "yes")]
    pin: bool,
}

fn yes() -> bool {
    true
}

fn read(with: Value) -> Result<Box<dyn Step>, ReadError> {
    let clone: Clone = read_with(with)?;
    let flag = |text: &str| text.is_empty() || text.starts_with('-');
    let wrong = |path: &str, text: &str| ReadError {
        path: path.to_owned(),
        message: format!("`{text}` cannot be given to git"),
    };
    match () {
        () if flag(&clone.repo) => Err(wrong("repo", &clone.repo)),
        () if flag(&clone.r#ref) || clone.r#ref.contains([':', ' ', '^', '~']) => Err(wrong("ref", &clone.r#ref)),
        () => Ok(Box::new(clone)),
    }
}

/// What a `ref` is at the server.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Commit(String),
    Tag(String),
    Branch(String),
}

impl Target {
    fn commit(&self) -> &str {
        let (Target::Commit(commit) | Target::Tag(commit) | Target::Branch(commit)) = self;
        commit
    }

    /// Finds a `ref` among the lines of `git ls-remote`. A tag object gives way to the commit that it names.
    fn find(name: &str, listing: &str) -> Option<Self> {
        let lines: Vec<_> = listing.lines().filter_map(|line| line.split_once('\t')).collect();
        let commit =
            |wanted: String| lines.iter().find(|(_, found)| *found == wanted).map(|(commit, _)| (*commit).to_owned());
        commit(format!("refs/tags/{name}^{{}}"))
            .or_else(|| commit(format!("refs/tags/{name}")))
            .map(Target::Tag)
            .or_else(|| commit(format!("refs/heads/{name}")).map(Target::Branch))
    }
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// How a folder stands against what is wanted.
#[derive(Debug)]
enum Found {
    Nothing,
    At(String),
}

impl Clone {
    fn dir(&self, cx: &Context) -> PathBuf {
        match &self.dir {
            Some(dir) => absolute(&cx.plan_path(dir)),
            None => absolute(&cx.state_dir).join("clones").join(self.name()),
        }
    }

    fn name(&self) -> &str {
        let name = self.repo.trim_end_matches('/').rsplit(['/', ':']).next().unwrap_or_default();
        Some(name.trim_end_matches(".git")).filter(|name| !name.is_empty()).unwrap_or("clone")
    }

    /// Looks at the folder, and fails where it is somebody else's or has changes of somebody's own.
    async fn look(&self, cx: &Context, dir: &Path) -> Result<Found, Failure> {
        if is_free(dir) {
            return Ok(Found::Nothing);
        }
        if !dir.join(".git").exists() {
            return Err(foreign(dir, "it is not a Git clone"));
        }
        let origin = git(cx, dir).args(["config", "--get", "remote.origin.url"]).unchecked().run(cx).await?;
        if origin.stdout.trim() != self.repo {
            return Err(foreign(dir, &format!("it is a clone of `{}`, not of `{}`", origin.stdout.trim(), self.repo)));
        }
        let changes = changes(cx, dir, "no").await?;
        if !changes.is_empty() {
            let what = format!("the clone `{}` has local changes", dir.display());
            return Err(Failure::invalid(what)
                .detail(changes)
                .fix("commit and push them elsewhere, or take them back with `git restore .`"));
        }
        let head = git(cx, dir).args(["rev-parse", "--verify", "--quiet", "HEAD"]).unchecked().run(cx).await?;
        Ok(Found::At(head.stdout.trim().to_owned()))
    }

    /// What `ref` means, without asking the server where that can be avoided.
    async fn wanted(&self, cx: &Context, dir: &Path) -> Result<Option<String>, Failure> {
        if is_commit(&self.r#ref) {
            return Ok(Some(self.r#ref.to_lowercase()));
        }
        if !self.pin {
            return Ok(Some(self.resolve(cx).await?.commit().to_owned()));
        }
        let tag = format!("refs/tags/{}^{{commit}}", self.r#ref);
        let known = git(cx, dir).args(["rev-parse", "--verify", "--quiet", &tag]).unchecked().run(cx).await?;
        Ok((known.code == 0).then(|| known.stdout.trim().to_owned()))
    }

    async fn resolve(&self, cx: &Context) -> Result<Target, Failure> {
        if is_commit(&self.r#ref) {
            return Ok(Target::Commit(self.r#ref.to_lowercase()));
        }
        let names = [
            format!("refs/tags/{}", self.r#ref),
            format!("refs/tags/{}^{{}}", self.r#ref),
            format!("refs/heads/{}", self.r#ref),
        ];
        let listing = git(cx, &absolute(&cx.state_dir)).args(["ls-remote", &self.repo]).args(names).run(cx).await?;
        let missing = || {
            Failure::new(Class::NotFound, format!("`{}` has no tag or branch `{}`", self.repo, self.r#ref))
                .fix("give a tag, or a commit with all its 40 digits")
        };
        match Target::find(&self.r#ref, &listing.stdout).ok_or_else(missing)? {
            Target::Branch(commit) if self.pin => Err(moving(&self.r#ref, &commit)),
            target => Ok(target),
        }
    }

    async fn make(&self, cx: &Context, dir: &Path) -> Result<String, Failure> {
        let target = self.resolve(cx).await?;
        match self.look(cx, dir).await? {
            Found::At(commit) if commit == target.commit() => {}
            Found::At(_) => self.check_out(cx, dir, &target).await?,
            Found::Nothing => self.clone_fresh(cx, dir, &target).await?,
        }
        Ok(target.commit().to_owned())
    }

    /// Fetches into a folder beside, so that `dir` is whole or not there. A half one that a crash has left is thrown away.
    async fn clone_fresh(&self, cx: &Context, dir: &Path, target: &Target) -> Result<(), Failure> {
        let partial = dir.with_file_name(format!(".{}.partial", dir.file_name().unwrap_or_default().to_string_lossy()));
        remove(&partial)?;
        std::fs::create_dir_all(&partial).map_err(|error| cannot("create", &partial, &error))?;
        git(cx, &partial).args(["init", "--quiet"]).run(cx).await?;
        git(cx, &partial).args(["remote", "add", "origin", &self.repo]).run(cx).await?;
        git(cx, &partial).args(["config", MAKER, &cx.deployment]).run(cx).await?;
        self.check_out(cx, &partial, target).await?;
        std::fs::rename(&partial, dir).map_err(|error| cannot("create", dir, &error))
    }

    async fn check_out(&self, cx: &Context, dir: &Path, target: &Target) -> Result<(), Failure> {
        self.fetch(cx, dir, target).await?;
        git(cx, dir).args(["checkout", "--quiet", "--detach", target.commit()]).run(cx).await.map(drop)
    }

    /// Only the commit; all of the repository where the server does not give single commits.
    async fn fetch(&self, cx: &Context, dir: &Path, target: &Target) -> Result<(), Failure> {
        let name = &self.r#ref;
        let spec = match target {
            Target::Commit(commit) => commit.clone(),
            Target::Tag(_) => format!("+refs/tags/{name}:refs/tags/{name}"),
            Target::Branch(_) => format!("+refs/heads/{name}:refs/remotes/origin/{name}"),
        };
        let shallow =
            git(cx, dir).args(["fetch", "--quiet", "--depth", "1", "--no-tags", "origin", &spec]).run(cx).await;
        match shallow {
            Err(failure) if !matches!(failure.class, Class::Cancelled | Class::AuthExpired | Class::Transient) => {
                cx.note("the server does not give this commit alone: fetching everything");
                let all = ["fetch", "--quiet", "--tags", "origin", "+refs/heads/*:refs/remotes/origin/*"];
                git(cx, dir).args(all).run(cx).await.map(drop)
            }
            other => other.map(drop),
        }
    }

    fn outputs(dir: &Path, commit: &str) -> Outputs {
        json!({ "dir": dir, "commit": commit }).as_object().cloned().unwrap_or_default()
    }
}

/// `git` as a program uses it: no questions, no advice, no housekeeping that outlives it.
fn git(cx: &Context, dir: &Path) -> Program {
    let program = Program::new("git").args([
        "-c",
        "advice.detachedHead=false",
        "-c",
        "gc.auto=0",
        "-c",
        "maintenance.auto=false",
    ]);
    let program = program.env("GIT_TERMINAL_PROMPT", "0").env("LC_ALL", "C").dir(dir).capture(true);
    let program = if cx.world.var("GIT_SSH_COMMAND").is_some() {
        program
    } else {
        program.env("GIT_SSH_COMMAND", "ssh -o BatchMode=yes")
    };
    INHERITED.iter().fold(program, |program, name| program.without_env(*name))
}

/// Changed files, one a line.
async fn changes(cx: &Context, dir: &Path, untracked: &str) -> Result<String, Failure> {
    let status =
        git(cx, dir).args(["status", "--porcelain", &format!("--untracked-files={untracked}")]).run(cx).await?;
    Ok(status.stdout.trim_end().lines().take(20).collect::<Vec<_>>().join("\n"))
}

/// Not there, or an empty folder.
fn is_free(dir: &Path) -> bool {
    match std::fs::read_dir(dir) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

fn remove(dir: &Path) -> Result<(), Failure> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(cannot("remove", dir, &error)),
        _ => Ok(()),
    }
}

fn cannot(what: &str, dir: &Path, error: &std::io::Error) -> Failure {
    Failure::permanent(format!("cannot {what} the folder `{}`: {error}", dir.display()))
}

fn foreign(dir: &Path, why: &str) -> Failure {
    Failure::invalid(format!("the folder `{}` is in the way: {why}", dir.display()))
        .fix("move it away, or give another `dir`")
}

fn moving(name: &str, commit: &str) -> Failure {
    Failure::invalid(format!("`{name}` is a branch: it moves, and two runs would not do the same"))
        .fix(format!("pin it with `ref: {commit}`, or say `pin: false`"))
}

impl Step for Clone {
    fn intent(&self) -> Vec<String> {
        let dir = self.dir.as_ref().map_or_else(|| self.name().to_owned(), |dir| dir.display().to_string());
        let lines = [
            Program::new("git").args(["clone", "--no-checkout", &self.repo, &dir]),
            Program::new("git").args(["-C", &dir, "checkout", "--detach", &self.r#ref]),
        ];
        lines.iter().map(Program::command_line).collect()
    }

    fn observe<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Standing, Failure>> {
        Box::pin(async {
            let dir = self.dir(cx);
            let Found::At(head) = self.look(cx, &dir).await? else {
                return Ok(Standing::Lacks(format!("there is no clone in `{}`", dir.display())));
            };
            Ok(match self.wanted(cx, &dir).await? {
                Some(wanted) if wanted == head => Standing::Holds(Self::outputs(&dir, &head)),
                _ => Standing::Lacks(format!("the clone is at {}, not at {}", short(&head), self.r#ref)),
            })
        })
    }

    fn perform<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Outputs, Failure>> {
        Box::pin(async {
            let dir = self.dir(cx);
            let commit = self.make(cx, &dir).await?;
            Ok(Self::outputs(&dir, &commit))
        })
    }

    fn undo<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async {
            let dir = self.dir(cx);
            let Found::At(_) = self.look(cx, &dir).await? else { return Ok(()) };
            let maker: Finished = git(cx, &dir).args(["config", "--get", MAKER]).unchecked().run(cx).await?;
            if maker.stdout.trim() != &*cx.deployment {
                cx.note("left alone: this deployment did not make the clone");
                return Ok(());
            }
            let own = dir.starts_with(absolute(&cx.state_dir));
            let changes = changes(cx, &dir, if own { "no" } else { "normal" }).await?;
            if !changes.is_empty() {
                let what = format!("the clone `{}` has files of its own and is left alone", dir.display());
                return Err(Failure::invalid(what).detail(changes));
            }
            remove(&dir)
        })
    }

    fn undo_intent(&self) -> Vec<String> {
        let dir = self.dir.as_ref().map_or_else(|| self.name().to_owned(), |dir| dir.display().to_string());
        vec![Program::new("rm").args(["-r", &dir]).command_line()]
    }

    fn programs(&self) -> Vec<String> {
        vec!["git".to_owned()]
    }
}

fn short(commit: &str) -> &str {
    if commit.is_empty() { "no commit" } else { commit.get(..12).unwrap_or(commit) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = "\
1111111111111111111111111111111111111111\trefs/heads/v1
2222222222222222222222222222222222222222\trefs/tags/v1
3333333333333333333333333333333333333333\trefs/tags/v1^{}
4444444444444444444444444444444444444444\trefs/heads/main
";

    #[test]
    fn a_tag_wins_over_a_branch_and_gives_its_commit() {
        assert_eq!(Target::find("v1", LISTING), Some(Target::Tag("3".repeat(40))));
        assert_eq!(Target::find("main", LISTING), Some(Target::Branch("4".repeat(40))));
        assert_eq!(Target::find("mai", LISTING), None);
    }

    #[test]
    fn the_folder_is_called_like_the_repository() {
        let name = |repo: &str| {
            serde_json::from_value::<Clone>(json!({ "repo": repo, "ref": "v1" })).unwrap().name().to_owned()
        };
        assert_eq!(name("https://github.com/a/infra.git/"), "infra");
        assert_eq!(name("git@github.com:infra"), "infra");
    }

    #[test]
    fn a_flag_is_neither_repository_nor_ref() {
        let path = |repo: &str, name: &str| read(json!({ "repo": repo, "ref": name })).expect_err("a flag").path;
        assert_eq!(path("--upload-pack=evil", "v1"), "repo");
        assert_eq!(path("x", "--force"), "ref");
    }

    #[test]
    fn only_whole_commits_count_as_commits() {
        assert!(is_commit(&"a".repeat(40)));
        assert!(!is_commit("abcdef1") && !is_commit(&"g".repeat(40)));
    }
}
