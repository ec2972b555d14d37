//! The files of a plan: the plan itself and all that it includes, each read once.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::Problem;
use super::model::{Place, Source};
use super::tree::{self, Node};

/// Reads a file as text, or says why not.
pub(crate) type ReadText = fn(&Path) -> Result<String, String>;

/// A file that was read.
pub(crate) struct Text {
    pub(crate) path: PathBuf,
    pub(crate) source: Arc<Source>,
    pub(crate) root: Option<Node>,
}

/// Every file of a plan; the first is the plan itself.
pub(crate) struct Texts {
    pub(crate) list: Vec<Text>,
    /// From a file and what it includes to where that is in the list.
    pub(crate) included: HashMap<(usize, String), usize>,
}

impl Texts {
    /// Reads a plan and all that it includes.
    pub(crate) fn read(file: &Path, read: ReadText, problems: &mut Vec<Problem>) -> Result<Texts, Problem> {
        let mut texts = Texts { list: Vec::new(), included: HashMap::new() };
        let text = read(file).map_err(|why| unreadable(file, &why))?;
        texts.add(file.to_owned(), text, problems);
        let mut at = 0;
        while at < texts.list.len() {
            texts.follow(at, read, problems);
            at += 1;
        }
        Ok(texts)
    }

    fn add(&mut self, path: PathBuf, text: String, problems: &mut Vec<Problem>) -> usize {
        let source = Arc::new(Source::new(path.display().to_string(), text));
        let root = tree::parse(&source, problems);
        self.list.push(Text { path, source, root });
        self.list.len() - 1
    }

    fn follow(&mut self, at: usize, read: ReadText, problems: &mut Vec<Problem>) {
        let wanted: Vec<(String, Range<usize>)> = included_in(&self.list[at]);
        let dir = self.list[at].path.parent().map(Path::to_owned).unwrap_or_default();
        for (name, span) in wanted {
            let path = tidy(&dir.join(&name));
            let index = match self.list.iter().position(|text| text.path == path) {
                Some(index) => index,
                None => match read(&path) {
                    Ok(text) => self.add(path, text, problems),
                    Err(why) => {
                        let place = Place { source: self.list[at].source.clone(), span };
                        problems.push(Problem::at(
                            "include::unreadable",
                            &place,
                            format!("cannot read `{}`", path.display()),
                            why,
                        ));
                        continue;
                    }
                },
            };
            self.included.insert((at, name), index);
        }
    }
}

fn included_in(text: &Text) -> Vec<(String, Range<usize>)> {
    let includes = text.root.as_ref().and_then(|root| root.get("include")).and_then(Node::entries).unwrap_or(&[]);
    let plans = includes.iter().filter_map(|entry| entry.value.get("plan"));
    plans.filter_map(|node| Some((node.text()?.to_owned(), node.span.clone()))).collect()
}

/// Without `.` and with `..` taken up, so that one file has one name.
pub(crate) fn tidy(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir if out.file_name().is_some() => drop(out.pop()),
            other => out.push(other),
        }
    }
    out
}

fn unreadable(file: &Path, why: &str) -> Problem {
    Problem::bare("plan::unreadable", format!("cannot read the plan `{}`: {why}", file.display()))
}
