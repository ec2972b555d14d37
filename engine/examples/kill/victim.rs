//! One deployment: started, killed, resumed, settled, until it is done; and what was seen on the way.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::chance::Chance;
use crate::plan::{Plan, Safety};
use crate::told::{Told, journal};
use crate::world;

/// No run takes longer than this, unless it hangs.
const HANGS: Duration = Duration::from_secs(120);

/// What was done to a deployment, and what it did that it must not.
#[derive(Default)]
pub(crate) struct Story {
    pub(crate) steps: usize,
    pub(crate) kills: usize,
    pub(crate) resumes: usize,
    pub(crate) settled: usize,
    pub(crate) repeats: usize,
    pub(crate) violations: Vec<String>,
}

/// When an engine is killed.
#[derive(Clone, Copy)]
enum Instants {
    After(Duration),
    /// When the journal has so many more lines.
    Records(usize),
    /// When so many more steps have begun to work.
    Starts(usize),
    Never,
}

impl Instants {
    fn draw(chance: &mut Chance) -> Self {
        match chance.below(10) {
            0..=1 => Self::After(Duration::from_micros(chance.below(40_000))),
            2..=4 => Self::After(Duration::from_micros(chance.below(1_500_000))),
            5..=7 => Self::Records(usize::try_from(chance.between(1, 20)).expect("small")),
            _ => Self::Starts(usize::try_from(chance.between(1, 8)).expect("small")),
        }
    }
}

/// How an engine ended.
enum End {
    Killed,
    Itself(ExitStatus),
    Hangs,
}

/// A deployment under way.
pub(crate) struct Victim<'a> {
    pub(crate) binary: &'a Path,
    pub(crate) plan: &'a Plan,
    /// The folder of the world; the state is below it.
    pub(crate) world: PathBuf,
    pub(crate) story: Story,
    /// At each kill: which steps had succeeded, and how long the ledger was.
    seen: Vec<(Told, usize)>,
}

impl<'a> Victim<'a> {
    pub(crate) fn new(binary: &'a Path, plan: &'a Plan, world: PathBuf) -> Self {
        let story = Story { steps: plan.steps.len(), ..Story::default() };
        Self { binary, plan, world, story, seen: Vec::new() }
    }

    fn journal_path(&self) -> PathBuf {
        self.world.join("state").join(&self.plan.name).join("journal.jsonl")
    }

    fn told(&self) -> Told {
        Told::by(&journal(&self.journal_path()))
    }

    /// Runs it to its end, killing it `kills` times on the way.
    pub(crate) fn live(mut self, kills: usize, chance: &mut Chance) -> std::io::Result<Story> {
        loop {
            let instant = if self.story.kills < kills { Instants::draw(chance) } else { Instants::Never };
            match self.run(instant, chance)? {
                End::Killed => self.look_after_kill(chance),
                End::Hangs => return Ok(self.give_up("an engine did not end by itself")),
                End::Itself(status) if status.code() == Some(0) => break,
                End::Itself(status) if status.code() == Some(7) => self.settle(chance)?,
                End::Itself(status) => return Ok(self.give_up(&format!("an engine ended with {status}"))),
            }
            if self.story.resumes > 20 + kills * 3 {
                return Ok(self.give_up("it does not come to an end"));
            }
        }
        self.judge();
        Ok(self.story)
    }

    fn give_up(mut self, why: &str) -> Story {
        self.story.violations.push(format!("{why}; see engine.log"));
        self.story
    }

    fn run(&mut self, instant: Instants, chance: &mut Chance) -> std::io::Result<End> {
        let plan = self.world.join("plan.yaml").display().to_string();
        let parallel = chance.pick(&["2", "8", "32"]);
        let resume = self.told().runs > 0 && chance.percent(70);
        let what: Vec<&str> = if resume { vec!["resume", &self.plan.name] } else { vec!["apply", &plan] };
        self.story.resumes += usize::from(self.told().runs > 0);
        let arguments: Vec<&str> = what.into_iter().chain(["--parallel", parallel]).collect();
        let end = self.engine(&arguments, instant)?;
        if !matches!(end, End::Killed) {
            let left = world::processes(&self.plan.name);
            self.story
                .violations
                .extend(left.iter().map(|one| format!("an engine ended and left this running: {one}")));
        }
        Ok(end)
    }

    fn engine(&mut self, arguments: &[&str], instant: Instants) -> std::io::Result<End> {
        let log = std::fs::OpenOptions::new().append(true).create(true).open(self.world.join("engine.log"))?;
        let path = format!("{}:{}", self.world.join("bin").display(), std::env::var("PATH").unwrap_or_default());
        let (records, starts) = (self.records(), self.starts());
        let mut engine = Command::new(self.binary)
            .args(["--color", "never", "--state"])
            .arg(self.world.join("state"))
            .args(arguments)
            .env("PATH", path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        let began = Instant::now();
        loop {
            if let Some(status) = engine.try_wait()? {
                return Ok(End::Itself(status));
            }
            let now = match instant {
                Instants::After(span) => began.elapsed() >= span,
                Instants::Records(more) => self.records() >= records + more,
                Instants::Starts(more) => self.starts() >= starts + more,
                Instants::Never => false,
            };
            let hangs = began.elapsed() > HANGS;
            if now || hangs {
                engine.kill()?;
                engine.wait()?;
                self.story.kills += 1;
                return Ok(if hangs { End::Hangs } else { End::Killed });
            }
            std::thread::sleep(if matches!(instant, Instants::Never) { Duration::from_millis(5) } else { PEEK });
        }
    }

    fn records(&self) -> usize {
        std::fs::read(self.journal_path()).map_or(0, |bytes| bytes.iter().filter(|byte| **byte == b'\n').count())
    }

    fn starts(&self) -> usize {
        world::ledger(&self.world).iter().filter(|mark| mark.what == "start").count()
    }

    /// Keeps what must stay true, and sometimes gives the orphans time to go on.
    fn look_after_kill(&mut self, chance: &mut Chance) {
        let length = world::ledger(&self.world).len();
        self.seen.push((self.told(), length));
        if chance.percent(40) {
            std::thread::sleep(Duration::from_micros(chance.below(400_000)));
        }
    }

    /// Does as a person would: looks whether the effect is there, and says so.
    fn settle(&mut self, chance: &mut Chance) -> std::io::Result<()> {
        let unknown = self.told().unknown;
        if unknown.is_empty() {
            self.story.violations.push("an engine asked for a person, and no step is unknown".to_owned());
        }
        for step in unknown {
            let word = if world::has_effect(&self.world, &step) { "--done" } else { "--redo" };
            let instant = if chance.percent(10) {
                Instants::After(Duration::from_micros(chance.below(20_000)))
            } else {
                Instants::Never
            };
            let name = self.plan.name.as_str();
            match self.engine(&["settle", &step, word, "--name", name], instant)? {
                End::Itself(status) if !status.success() => {
                    self.story.violations.push(format!("`settle {step} {word}` ended with {status}"));
                }
                _ => self.story.settled += 1,
            }
        }
        Ok(())
    }

    /// Holds the ledger against the journal.
    fn judge(&mut self) {
        let (told, marks) = (self.told(), world::ledger(&self.world));
        let count = |what: &str, step: &str| marks.iter().filter(|mark| mark.what == what && mark.step == step).count();
        let mut wrong: Vec<String> = Vec::new();
        for step in &self.plan.steps {
            let id = step.id.as_str();
            if !world::has_effect(&self.world, id) {
                wrong.push(format!("`{id}` has had no effect"));
            }
            if !told.succeeded.contains(id) {
                wrong.push(format!("`{id}` is not done"));
            }
            let (begun, started) = (count("start", id), told.started.get(id).copied().unwrap_or_default());
            if begun > started {
                wrong.push(format!("`{id}` began {begun} times, and the journal has {started} starts"));
            }
            let again = count("again", id);
            self.story.repeats += again;
            if again > 0 && step.safety != Safety::Idempotent {
                wrong.push(format!("`{id}` ({:?}) had its effect {} times", step.safety, again + 1));
            }
        }
        wrong.extend(told.again.iter().map(|step| format!("the journal has a start of `{step}` after its success")));
        for (told, length) in &self.seen {
            let later = marks.iter().skip(*length).filter(|mark| told.succeeded.contains(&mark.step));
            wrong.extend(later.map(|mark| {
                format!("`{}` did `{}` after its success was in the journal ({})", mark.step, mark.what, mark.attempt)
            }));
        }
        let beside = marks.iter().filter(|mark| mark.what == "overlap");
        wrong.extend(beside.map(|mark| {
            let shape = self.plan.steps.iter().find(|step| step.id == mark.step).map(|step| step.shape);
            format!("two copies of `{}` ({shape:?}) were alive at once ({})", mark.step, mark.attempt)
        }));
        wrong.extend(world::processes(&self.plan.name).iter().map(|one| format!("this is left running: {one}")));
        self.story.violations.extend(wrong);
    }
}

/// How often to look whether the instant has come.
const PEEK: Duration = Duration::from_micros(200);
