//! How a rehearsal was begun, kept beside its state: another command can then say what to type to go on with it. The journal does not
//! know: it speaks of a plan and its inputs, and not of scenarios.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use runbook_steps::tools::quote;
use serde::{Deserialize, Serialize};

use crate::cli::deployment::absolute;
use crate::state::Home;

/// The words of the command line that say what is rehearsed.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cli) struct Begun {
    /// The folder that they were typed in.
    dir: PathBuf,
    typed: Vec<String>,
    /// The same words where they are typed elsewhere.
    elsewhere: Vec<String>,
}

impl Begun {
    /// Words that were typed here.
    pub(super) fn new(typed: Vec<String>, elsewhere: Vec<String>) -> Self {
        Self { dir: here(), typed, elsewhere }
    }

    /// Keeps them. That they cannot be kept ends no rehearsal: they are only for what other commands advise.
    pub(super) fn keep(&self, root: &Path, name: &str) {
        let open = File::options().write(true).create(true).truncate(true).mode(0o600).open(file(root, name));
        let text = serde_json::to_string(self).expect("texts have a JSON form");
        let _ = open.and_then(|mut file| file.write_all(text.as_bytes()));
    }

    /// Those of the rehearsal whose state this is, if they were kept.
    pub(in crate::cli) fn of(home: &Home) -> Option<Self> {
        let text = std::fs::read_to_string(file(home.path().parent()?, home.deployment())).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// What is typed for the same again, with a flag besides. One that looks or undoes does not stand beside `--destroy`.
    pub(in crate::cli) fn command(&self, program: &str, flag: Option<&str>) -> String {
        let words = if self.dir == here() { &self.typed } else { &self.elsewhere };
        let kept = words.iter().filter(|word| flag.is_none() || *word != "--destroy");
        let words = std::iter::once(program.to_owned()).chain(kept.map(|word| quote(word)));
        words.chain(flag.map(str::to_owned)).collect::<Vec<_>>().join(" ")
    }
}

fn here() -> PathBuf {
    absolute(Path::new("."))
}

fn file(root: &Path, name: &str) -> PathBuf {
    root.join(format!("{name}.begun.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn paths_are_as_they_were_typed_only_where_they_were_typed() {
        let (typed, elsewhere) = (words("rehearse p.yaml --destroy"), words("rehearse /plans/p.yaml --destroy"));
        let begun = Begun::new(typed, elsewhere);
        assert_eq!(begun.command("runbook", None), "runbook rehearse p.yaml --destroy");
        assert_eq!(begun.command("runbook", Some("--verify")), "runbook rehearse p.yaml --verify");
        let begun = Begun { dir: "/elsewhere".into(), ..begun };
        assert_eq!(begun.command("runbook", None), "runbook rehearse /plans/p.yaml --destroy");
    }
}
