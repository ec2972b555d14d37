//! `runbook status --follow`: looks on while another process runs a deployment. Takes no lock and writes nothing.
//!
//! It ends as the run ends that it follows. Where nobody runs it any more, that is the last run: whoever waits for a run must not
//! depend on having come before its end.

use std::sync::Arc;
use std::time::Duration;

use runbook_steps::Clock;

use super::deployment::state_fatal;
use super::exit::{Exit, Fatal, exit_of_run};
use super::screen::Screen;
use super::status::{continuing, ended, held_by, note_later, text, text_of_followed};
use super::ui::Ui;
use super::{Session, resume};
use crate::event::Event;
use crate::plan::Plan;
use crate::plan::load::{self, Given};
use crate::report::lines;
use crate::run::Watcher as _;
use crate::state::follow::Follower;
use crate::state::lock::{LockId, Note};
use crate::state::record::Entry;
use crate::state::{Home, RunState};

/// How often the file is looked at.
const PAUSE: Duration = Duration::from_millis(100);

/// Shows what happens until the run ends, or whoever runs it is gone, and leaves as it left.
pub(super) fn follow(session: &Session, home: &Home) -> Result<Exit, Fatal> {
    let mut follower = Follower::new(home);
    let note = home.holder().map_err(state_fatal)?;
    follower.read_on(|_, _| {}).map_err(state_fatal)?;
    note_later(session, follower.later());
    let Some(note) = note else {
        session.ui.page(&text(session, home, follower.state(), false));
        session.ui.say("nobody runs it now, so there is nothing to follow");
        return Ok(exit_of_last(follower.state()));
    };
    session.ui.say(&format!("{}\n", held_by(home, &note, follower.state())));
    let before = closed(follower.state());
    let mut show = Show::new(session, home, follower.state());
    show.begin(session, home, follower.state());
    loop {
        // Asked first: what was written before the lock was given back is read after that.
        let held = holds(home, &note.id)?;
        follower.read_on(|entry, state| show.on(entry, state)).map_err(state_fatal)?;
        show.tick(follower.state());
        if closed(follower.state()) > before || !held {
            break;
        }
        pause(PAUSE);
    }
    drop(show);
    session.ui.say(&farewell(session, home, &note, follower.state(), before));
    Ok(exit_of_last(follower.state()))
}

/// The last run, if it was seen to end.
fn closed(state: &RunState) -> Option<u32> {
    state.current().filter(|run| run.verdict.is_some()).map(|run| run.opened.run)
}

fn exit_of_last(state: &RunState) -> Exit {
    state.current().map_or(Exit::Holds, exit_of_run)
}

fn holds(home: &Home, id: &LockId) -> Result<bool, Fatal> {
    Ok(home.holder().map_err(state_fatal)?.is_some_and(|now| now.id == *id))
}

fn farewell(session: &Session, home: &Home, note: &Note, state: &RunState, before: Option<u32>) -> String {
    let Note { holder, .. } = note;
    let idle = format!("`{}` (pid {}) has begun no run", holder.command, holder.pid);
    let Some(run) = state.current() else { return format!("\n{idle}") };
    let (number, how) = (run.opened.run, ended(state, run, false));
    if closed(state) > before {
        return format!("\nrun {number} has ended: {how}");
    }
    if run.opened.pid != holder.pid {
        return format!("\n{idle}; the last one is run {number}: {how}");
    }
    let next = continuing(session, home, &run.opened);
    let gone = format!("the process that ran it is gone (pid {}), and has not said how it ended", holder.pid);
    format!("\n{gone}; continue with: {next}")
}

/// How it is shown: as the process that runs it would, or line by line.
enum Show {
    Picture(Box<Screen>),
    Lines(Ui, Option<Arc<Plan>>),
}

impl Show {
    /// The picture needs a terminal, the plan as that process read it, and its clock, which is not ours in a rehearsal.
    fn new(session: &Session, home: &Home, state: &RunState) -> Self {
        let plan = plan_of(session, home, state).map(Arc::new);
        match plan {
            Some(plan) if session.ui.live && state.simulated().is_none() => {
                let title = format!("{} · looking on", home.deployment());
                let screen = Screen::new(plan, title, Clock::real(), session.ui, None);
                Self::Picture(Box::new(screen.looking_on()))
            }
            plan => Self::Lines(session.ui, plan),
        }
    }

    fn begin(&self, session: &Session, home: &Home, state: &RunState) {
        if let Self::Lines(ui, _) = self {
            ui.page(&format!("{}\n", text_of_followed(session, home, state)));
        }
    }

    fn on(&mut self, entry: &Entry, state: &RunState) {
        let event = Event::Recorded(entry.clone());
        match self {
            Self::Picture(screen) => screen.on(&event, state),
            Self::Lines(ui, plan) => {
                if let Some(line) = lines::line(plan.as_deref(), &event, state, ui.paint) {
                    ui.page(&format!("{line}\n"));
                }
            }
        }
    }

    fn tick(&mut self, state: &RunState) {
        if let Self::Picture(screen) = self {
            screen.tick(state);
        }
    }
}

/// The plan that is being run, if it can still be read as it was.
pub(super) fn plan_of(session: &Session, home: &Home, state: &RunState) -> Option<Plan> {
    let digest = &state.current()?.opened.digest;
    plan_now(session, home, state).filter(|plan| plan.digest == *digest)
}

/// The plan of the last run as it can be read now.
pub(super) fn plan_now(session: &Session, home: &Home, state: &RunState) -> Option<Plan> {
    let opened = &state.current()?.opened;
    let inputs = resume::inputs_of(opened);
    let remembered = inputs.keys().cloned().collect();
    let given = Given { inputs, remembered, require_inputs: true, home: session.env.home() };
    let file = resume::plan_file(home, opened)?;
    Some(load::load(&file, &given).ok()?.plan)
}

#[expect(clippy::disallowed_methods, reason = "waits for another process, on the machine's clock")]
fn pause(span: Duration) {
    std::thread::sleep(span);
}
