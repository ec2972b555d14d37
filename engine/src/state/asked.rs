//! The part of a plan that a run was asked for, as names: how it is typed, and how it stands in the journal. Knows no plan.

use std::fmt;

use runbook_steps::tools::quote;
use serde::{Deserialize, Serialize};

/// What the user asked for, by names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Asked {
    /// This step and all that depends on it run again, and nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Nothing but these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<String>,
    /// These again, even if they hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub redo: Vec<String>,
    /// And all that depends on those.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub downstream: bool,
    /// Not these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skip: Vec<String>,
}

/// As it would be typed.
impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words().iter().map(|word| quote(word)).collect::<Vec<_>>().join(" "))
    }
}

impl Asked {
    /// Whether all of the plan is meant, as it stands.
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// The arguments that ask for it.
    pub fn words(&self) -> Vec<String> {
        let mut words: Vec<String> = self.from.iter().flat_map(|step| ["--from".to_owned(), step.clone()]).collect();
        words.extend((!self.only.is_empty()).then(|| "--only".to_owned()));
        words.extend(self.only.iter().cloned());
        words.extend(self.redo.iter().flat_map(|step| ["--redo".to_owned(), step.clone()]));
        words.extend(self.downstream.then(|| "--downstream".to_owned()));
        words.extend(self.skip.iter().flat_map(|step| ["--skip".to_owned(), step.clone()]));
        words
    }

    /// What was written down of a run that began before requests were written as they are, as a request again. Nothing where it cannot be
    /// read: names with blanks cannot.
    pub fn read(text: &str) -> Option<Self> {
        let (mut asked, mut flag) = (Self::default(), "");
        for word in text.split_whitespace() {
            match (flag, word) {
                (_, "--downstream") => asked.downstream = true,
                (_, "--from" | "--only" | "--redo" | "--skip") => flag = word,
                ("--from", step) => asked.from = Some(step.to_owned()),
                ("--only", step) => asked.only.push(step.to_owned()),
                ("--redo", step) => asked.redo.push(step.to_owned()),
                ("--skip", step) => asked.skip.push(step.to_owned()),
                _ => return None,
            }
        }
        Some(asked).filter(|asked| !asked.is_all())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_typed_as_it_was_asked_for() {
        let asked = Asked { only: vec!["a[x y]".to_owned(), "b".to_owned()], downstream: true, ..Asked::default() };
        assert_eq!(asked.to_string(), "--only 'a[x y]' b --downstream");
        assert_eq!(Asked::default().to_string(), "");
    }

    #[test]
    fn what_is_written_down_of_a_request_reads_back() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
        let asked = [
            Asked { from: Some("a".to_owned()), ..Asked::default() },
            Asked { only: words(&["a", "b"]), redo: words(&["a"]), downstream: true, ..Asked::default() },
            Asked { redo: words(&["a", "b"]), skip: words(&["c", "d"]), ..Asked::default() },
        ];
        for asked in asked {
            assert_eq!(Asked::read(&asked.to_string()), Some(asked));
        }
        assert_eq!(Asked::read(""), None);
        assert_eq!(Asked::read("--later a"), None, "a later version's words are not guessed at");
    }
}
