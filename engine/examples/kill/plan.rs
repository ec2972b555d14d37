//! Plans whose steps leave marks in a world: which steps, of which sorts, in which order. Pure, but for writing the files.

use std::fmt::Write as _;
use std::path::Path;

use crate::chance::Chance;

/// How the engine may settle a step that a crash has caught in the middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Safety {
    /// `idempotent: true`: it is done again.
    Idempotent,
    /// A plan-level `check` looks at the effect.
    Checked,
    /// The kind itself looks at the effect.
    Observed,
    /// Nobody can look: a person is asked.
    Blind,
}

/// How a step's processes are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `command`, one process and its children.
    Command,
    /// `run`, a shell in between.
    Script,
    /// `make`, with grandchildren beside each other.
    Make,
    /// Its program ends while a grandchild holds its pipes open.
    Pipes,
    /// It takes its time to die when it is told to.
    Slow,
    /// Its program is in a session of its own.
    Session,
    /// `gcloud`, which can look.
    Gcloud,
}

/// One step.
pub(crate) struct Step {
    pub(crate) id: String,
    pub(crate) safety: Safety,
    pub(crate) shape: Shape,
    needs: Vec<usize>,
    milliseconds: u64,
}

/// A plan, and the name of its deployment.
pub(crate) struct Plan {
    pub(crate) name: String,
    pub(crate) steps: Vec<Step>,
}

impl Plan {
    /// The plan of a seed.
    pub(crate) fn generate(name: String, chance: &mut Chance) -> Self {
        let count = usize::try_from(chance.between(15, 60)).expect("a small number");
        let steps = (0..count).map(|index| Step::generate(index, chance)).collect();
        Self { name, steps }
    }

    /// Writes the plan and all that its steps start.
    pub(crate) fn write(&self, world: &Path) -> std::io::Result<()> {
        for folder in ["effects", "locks", "bin"] {
            std::fs::create_dir_all(world.join(folder))?;
        }
        std::fs::write(world.join("ledger"), "")?;
        std::fs::write(world.join("act"), ACT)?;
        std::fs::write(world.join("Makefile"), MAKEFILE)?;
        let gcloud = world.join("bin/gcloud");
        std::fs::write(&gcloud, GCLOUD)?;
        std::fs::set_permissions(&gcloud, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        std::fs::write(world.join("plan.yaml"), self.yaml(world))
    }

    fn yaml(&self, world: &Path) -> String {
        let mut text = format!("runbook: 1\nname: {}\nsteps:\n", self.name);
        for step in &self.steps {
            let needs: Vec<&str> = step.needs.iter().map(|index| self.steps[*index].id.as_str()).collect();
            let _ =
                writeln!(text, "  {}:\n    needs: [{}]\n{}", step.id, needs.join(", "), step.yaml(world, &self.name));
        }
        text
    }
}

impl Step {
    fn generate(index: usize, chance: &mut Chance) -> Self {
        const SHAPES: [Shape; 7] =
            [Shape::Command, Shape::Script, Shape::Make, Shape::Pipes, Shape::Slow, Shape::Gcloud, Shape::Session];
        let shape = chance.pick(&SHAPES);
        let safety = match shape {
            Shape::Gcloud => Safety::Observed,
            _ => {
                chance.pick(&[Safety::Idempotent, Safety::Idempotent, Safety::Checked, Safety::Checked, Safety::Blind])
            }
        };
        let milliseconds = match chance.below(10) {
            0 => chance.between(700, 2000),
            1..=3 => chance.between(100, 400),
            _ => chance.between(5, 60),
        };
        let wanted = if index == 0 { 0 } else { chance.below(4) };
        let mut needs: Vec<usize> =
            (0..wanted).map(|_| usize::try_from(chance.below(index as u64)).expect("an index")).collect();
        needs.sort_unstable();
        needs.dedup();
        Self { id: format!("s{index:02}"), safety, shape, needs, milliseconds }
    }

    fn yaml(&self, world: &Path, namespace: &str) -> String {
        let act = world.join("act");
        let (act, id) = (act.display(), &self.id);
        let seconds = format!("{}.{:03}", self.milliseconds / 1000, self.milliseconds % 1000);
        let work = match self.shape {
            Shape::Command => format!("command: [sh, '{act}', {id}, '{seconds}', plain]"),
            Shape::Slow => format!("command: [sh, '{act}', {id}, '{seconds}', slow]"),
            Shape::Pipes => format!("command: [sh, '{act}', {id}, '{seconds}', pipes]"),
            Shape::Session => format!("command: [setsid, --wait, sh, '{act}', {id}, '{seconds}', plain]"),
            Shape::Script => format!("run: |\n      sh '{act}' {id} {seconds} plain\n      true"),
            Shape::Make => {
                format!("uses: make\n    with: {{ dir: ., target: {id}, variables: {{ SECONDS: '{seconds}' }} }}")
            }
            Shape::Gcloud => format!(
                "uses: gcloud\n    with: {{ args: [make, {id}, '{seconds}'], exists: {{ args: [look, {id}], not_empty: true }} }}"
            ),
        };
        let safety = match self.safety {
            Safety::Idempotent => "idempotent: true".to_owned(),
            Safety::Checked => format!("check: [{{ object: configmap/{id}, namespace: {namespace}, for: exists }}]"),
            Safety::Observed | Safety::Blind => "timeout: 2m".to_owned(),
        };
        format!("    {work}\n    {safety}")
    }
}

/// A step's work. The effect is a folder: it is made in one instant, and only once. The lock is held by all that the step starts,
/// so that a second copy beside any of it is seen.
const ACT: &str = r#"# act STEP SECONDS MANNER
world=${0%/*} step=$1 seconds=$2 manner=$3
read -r id < /proc/sys/kernel/random/uuid
say() { printf '%s %s %s %s\n' "$1" "$step" "$id" "$$" >> "$world/ledger"; }
say start
exec 9> "$world/locks/$step"
flock -n 9 || say overlap
[ "$manner" != slow ] || trap 'sleep 0.2; exit 1' TERM
sleep "$seconds"
if mkdir "$world/effects/$step" 2> "$world/mkdir.$step"; then say effect; else say again; fi
sleep "$seconds"
[ "$manner" != pipes ] || sleep 600 &
say end
"#;

const MAKEFILE: &str = "\
%:
\t@sh ./act $@ $(SECONDS) plain & sleep $(SECONDS) & wait $$!; wait
.PHONY: FORCE
";

/// A stand-in that makes and looks.
const GCLOUD: &str = r#"#!/bin/sh
world=${0%/bin/gcloud}
case $1 in
look) if [ -d "$world/effects/$2" ]; then echo there; else echo "ERROR: $2 was not found" >&2; exit 1; fi ;;
make) exec sh "$world/act" "$2" "$3" plain ;;
*) echo "gcloud: $1 is not played" >&2; exit 2 ;;
esac
"#;
