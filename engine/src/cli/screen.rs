//! What a user sees of a run while it lasts: the moving picture or the lines, and the event file.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use runbook_steps::Clock;

use super::ui::Ui;
use crate::event::Event;
use crate::plan::{Plan, StepId};
use crate::report::events::Events;
use crate::report::lines;
use crate::report::live::Canvas;
use crate::report::tracker::{News, Tracker, between};
use crate::report::view::{self, Frame};
use crate::run::Watcher;
use crate::run::drive::Wants;
use crate::state::{RunState, Status};

/// Looks on and shows.
pub(super) struct Screen {
    plan: Arc<Plan>,
    title: String,
    clock: Clock,
    ui: Ui,
    tracker: Tracker,
    canvas: Option<Canvas>,
    events: Option<Events>,
    advice: Said,
    looks_on: bool,
}

/// The hints that were shown while steps waited, for whoever judges a rehearsal.
pub(super) type Said = Arc<Mutex<Vec<String>>>;

impl Screen {
    /// A screen for a run of a plan.
    pub(super) fn new(plan: Arc<Plan>, title: String, clock: Clock, ui: Ui, events: Option<Events>) -> Self {
        let canvas = ui.live.then(Canvas::new);
        let (tracker, advice) = (Tracker::default(), Said::default());
        Self { plan, title, clock, ui, tracker, canvas, events, advice, looks_on: false }
    }

    /// The same for a run that leaves steps out.
    pub(super) fn without(mut self, left: BTreeSet<StepId>) -> Self {
        self.tracker = Tracker::without(left);
        self
    }

    /// The same for a run of another process.
    pub(super) fn looking_on(mut self) -> Self {
        self.looks_on = true;
        self
    }

    /// The hints that are shown from now on.
    pub(super) fn advice(&self) -> Said {
        Arc::clone(&self.advice)
    }

    fn draw(&self, state: &RunState) {
        let Some(canvas) = &self.canvas else { return };
        let snapshot = self.tracker.snapshot(&self.plan, state, self.clock.now());
        let (width, height) = self.ui.size();
        let (paint, speed, looks_on) = (self.ui.paint, self.clock.speed(), self.looks_on);
        let frame = Frame { paint, width, height, speed, looks_on };
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

    /// Tells what is new in what a step says; the moving picture shows it by itself.
    fn tell_news(&self, step: &StepId, news: &[News], state: &RunState) {
        let Some(index) = self.plan.step(step.as_str()) else { return };
        let advice = news.iter().filter_map(|news| match news {
            News::Advice(advice) => Some(format!("{} {}", advice.cause, advice.fix)),
            News::Stage(_) => None,
        });
        self.advice.lock().unwrap_or_else(PoisonError::into_inner).extend(advice);
        if self.canvas.is_none() {
            let since = self.since_start(state);
            for line in lines::news(&self.plan.steps[index], news, since, self.ui.paint) {
                self.ui.say(&line);
            }
        }
    }

    fn tell_slow(&mut self, state: &RunState) {
        // In a rehearsal what a program takes to start counts as minutes.
        let (now, grace) = (self.clock.now(), self.clock.model_span(Duration::from_secs(1)));
        for index in self.tracker.newly_slow(&self.plan, state, now, grace) {
            let step = &self.plan.steps[index];
            let Status::Running { since, .. } = state.status(&step.id) else { continue };
            let line = lines::slow(step, between(*since, now), self.since_start(state), self.ui.paint);
            line.iter().for_each(|line| self.ui.say(line));
        }
    }

    fn since_start(&self, state: &RunState) -> Duration {
        let now = self.clock.now();
        state.current().map_or(Duration::ZERO, |run| between(run.began, now))
    }
}

impl Watcher for Screen {
    fn wants(&self) -> Wants {
        let slows = self.plan.steps.iter().any(|step| step.expected.is_some());
        Wants { ticks: self.canvas.is_some() || slows, output: self.events.is_some() }
    }

    fn on(&mut self, event: &Event, state: &RunState) {
        let news = self.tracker.on(event, self.clock.now());
        if let Some(words) = self.events.as_mut().and_then(|events| events.write(event)) {
            self.tell(&Event::Notice(words), state);
        }
        self.tell(event, state);
        if let (Event::Progress { step, .. }, false) = (event, news.is_empty()) {
            self.tell_news(step, &news, state);
        }
    }

    fn tick(&mut self, state: &RunState) {
        if self.canvas.is_some() {
            self.draw(state);
        } else {
            self.tell_slow(state);
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if let Some(canvas) = &self.canvas {
            canvas.clear();
        }
    }
}
