//! Rehearsing a plan, with or without a death in the middle.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_yaml::{Mapping, Value};

use crate::end::End;

/// Where the engine dies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    pub(crate) after_record: u64,
    pub(crate) torn: bool,
}

impl Cut {
    pub(crate) fn name(self) -> String {
        format!("{}{}", self.after_record, if self.torn { "-torn" } else { "" })
    }
}

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.torn {
            false => write!(f, "after record {}", self.after_record),
            true => write!(f, "inside record {}", self.after_record + 1),
        }
    }
}

/// A plan with its scenario in which nothing goes wrong.
pub(crate) struct Rehearsal {
    scenario: Mapping,
    binary: PathBuf,
    pub(crate) root: PathBuf,
    speed: f64,
}

impl Rehearsal {
    pub(crate) fn new(plan: &Path, binary: PathBuf, root: PathBuf, speed: f64) -> std::io::Result<Self> {
        let plan = plan.canonicalize()?;
        let stem = plan.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let file = plan.with_file_name("rehearsals").join(format!("{stem}.ok.yaml"));
        let mut scenario: Mapping =
            serde_yaml::from_str(&std::fs::read_to_string(file)?).map_err(std::io::Error::other)?;
        scenario.insert("plan".into(), plan.to_string_lossy().into_owned().into());
        // What it expects is for a run that is not cut: a step that a cut has caught may find its work done.
        scenario.remove("expect");
        Ok(Self { scenario, binary, root, speed })
    }

    /// Plays it in a folder of its own, at so much of the usual speed.
    pub(crate) fn play(&self, name: &str, cut: Option<Cut>, pace: f64) -> std::io::Result<End> {
        let place = self.root.join(name);
        std::fs::create_dir_all(&place)?;
        let file = place.join("scenario.yaml");
        std::fs::write(&file, self.text(cut)?)?;
        let said = std::fs::File::create(place.join("said"))?;
        let output = Command::new(&self.binary)
            .args(["--color", "never", "--state"])
            .arg(&place)
            .arg("rehearse")
            .arg(&file)
            .args(["--output", "json", "--speed", &(self.speed * pace).to_string()])
            .stdin(Stdio::null())
            .stderr(said)
            .output()?;
        End::read(&place, &output)
    }

    fn text(&self, cut: Option<Cut>) -> std::io::Result<String> {
        let mut scenario = self.scenario.clone();
        if let Some(cut) = cut {
            let kill = [("after_record", Value::from(cut.after_record)), ("torn", Value::from(cut.torn))];
            let kill: Mapping = kill.into_iter().map(|(key, value)| (key.into(), value)).collect();
            scenario.insert("kill".into(), Value::Mapping(kill));
        }
        serde_yaml::to_string(&scenario).map_err(std::io::Error::other)
    }
}
