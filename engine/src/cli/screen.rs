//! What a user sees of a run while it lasts: the moving picture or the lines, and the event file.

use std::collections::BTreeSet;
use std::sync::Arc;

use runbook_steps::Clock;

use super::ui::Ui;
use crate::event::Event;
use crate::plan::{Plan, StepId};
use crate::report::events::Events;
use crate::report::lines;
use crate::report::live::Canvas;
use crate::report::tracker::Tracker;
use crate::report::view::{self, Frame};
use crate::run::Watcher;
use crate::run::drive::Wants;
use crate::state::RunState;

/// Looks on and shows.
pub(super) struct Screen {
    plan: Arc<Plan>,
    title: String,
    clock: Clock,
    ui: Ui,
    tracker: Tracker,
    canvas: Option<Canvas>,
    events: Option<Events>,
}

impl Screen {
    /// A screen for a run of a plan.
    pub(super) fn new(plan: Arc<Plan>, title: String, clock: Clock, ui: Ui, events: Option<Events>) -> Self {
        let canvas = ui.live.then(Canvas::new);
        Self { plan, title, clock, ui, tracker: Tracker::default(), canvas, events }
    }

    /// The same for a run that leaves steps out.
    pub(super) fn without(mut self, left: BTreeSet<StepId>) -> Self {
        self.tracker = Tracker::without(left);
        self
    }

    fn draw(&self, state: &RunState) {
        let Some(canvas) = &self.canvas else { return };
        let snapshot = self.tracker.snapshot(&self.plan, state, self.clock.now());
        let (width, height) = self.ui.size();
        let frame = Frame { paint: self.ui.paint, width, height, speed: self.clock.speed() };
        canvas.draw(&view::draw(&self.plan, &self.title, &snapshot, frame));
    }

    fn tell(&self, event: &Event, state: &RunState) {
        let Some(line) = lines::line(Some(&self.plan), event, state, self.ui.paint) else { return };
        match (&self.canvas, event) {
            (None, _) => self.ui.say(&line),
            (Some(canvas), Event::Notice(_)) => canvas.above(&line),
            (Some(_), _) => {}
        }
    }
}

impl Watcher for Screen {
    fn wants(&self) -> Wants {
        Wants { ticks: self.canvas.is_some(), output: self.events.is_some() }
    }

    fn on(&mut self, event: &Event, state: &RunState) {
        self.tracker.on(event);
        if let Some(events) = &mut self.events {
            events.write(event);
        }
        self.tell(event, state);
    }

    fn tick(&mut self, state: &RunState) {
        self.draw(state);
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if let Some(canvas) = &self.canvas {
            canvas.clear();
        }
    }
}
