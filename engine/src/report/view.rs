//! The live picture of a run, as lines of text. Pure: what is drawn where is `live`'s business.

use std::time::Duration;

use super::snapshot::{Row, Snapshot, Standing, waits_for};
use super::words::{Paint, about, clip, pad, span};
use super::{estimate, words};
use crate::plan::{Plan, Step, graph};

/// What a picture is drawn with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub(crate) paint: Paint,
    pub(crate) width: usize,
    pub(crate) height: usize,
    /// How many times faster than real time the run's clock is.
    pub(crate) speed: f64,
}

/// The whole picture, a line each.
pub(crate) fn draw(plan: &Plan, title: &str, snapshot: &Snapshot, frame: Frame) -> Vec<String> {
    let mut lines = vec![headline(plan, title, snapshot, frame), String::new()];
    let names = snapshot.rows.iter().map(|row| row.id.as_str().chars().count()).max().unwrap_or(0).min(28);
    let room = frame.height.saturating_sub(6).max(4);
    let busy: Vec<usize> = indices(snapshot, |row| matches!(row.standing, Standing::Running | Standing::Retrying));
    let bad: Vec<usize> =
        indices(snapshot, |row| matches!(row.standing, Standing::Failed | Standing::Unknown | Standing::Cancelled));
    let done = indices(snapshot, |row| row.standing.holds() && !row.reused);
    let waiting = indices(snapshot, |row| row.standing == Standing::Waiting);
    let spare = room.saturating_sub(busy.len() + bad.len());
    let shown_done = done.len().min(spare.saturating_sub(waiting.len().min(3)));
    if done.len() > shown_done {
        lines.push(frame.paint.dim(&format!("  ✓ {} more done", done.len() - shown_done)));
    }
    let mut recent = done;
    recent.sort_by_key(|&index| ended_at(&snapshot.rows[index]));
    let recent = recent.split_off(recent.len() - shown_done);
    for index in recent.into_iter().chain(bad).chain(busy.iter().copied()) {
        lines.push(line(&plan.steps[index], &snapshot.rows[index], names, frame));
    }
    lines.extend(queue(plan, snapshot, &waiting, names, spare.saturating_sub(shown_done).max(1), frame));
    lines.push(String::new());
    lines.push(critical_path(plan, snapshot, frame));
    lines
}

fn indices(snapshot: &Snapshot, wanted: impl Fn(&Row) -> bool) -> Vec<usize> {
    (0..snapshot.rows.len()).filter(|&index| wanted(&snapshot.rows[index])).collect()
}

fn ended_at(row: &Row) -> Duration {
    row.began.unwrap_or_default() + row.took
}

fn headline(plan: &Plan, title: &str, snapshot: &Snapshot, frame: Frame) -> String {
    let left = estimate::remaining(plan, snapshot);
    let all = snapshot.elapsed + left;
    let eta = if frame.speed > 1.0 { left.div_f64(frame.speed) } else { left };
    let clock = if frame.speed > 1.0 { " model time" } else { "" };
    let text = format!(
        "{title} · {}/{} done · {} of {}{clock} · ETA {}",
        snapshot.done(),
        snapshot.rows.len(),
        span(snapshot.elapsed),
        about(all),
        span(Duration::from_secs(eta.as_secs()))
    );
    frame.paint.bold(&clip(&text, frame.width))
}

fn line(step: &Step, row: &Row, names: usize, frame: Frame) -> String {
    let paint = frame.paint;
    let mark = match row.standing {
        Standing::Ok | Standing::Changed | Standing::Skipped => paint.good(row.standing.mark()),
        Standing::Failed | Standing::Unknown | Standing::Cancelled => paint.bad(row.standing.mark()),
        _ => paint.busy(row.standing.mark()),
    };
    let name = pad(&clip(row.id.as_str(), names), names);
    let (figures, rest) = match row.standing {
        Standing::Running | Standing::Retrying => (running_figures(step, row), why(step, row)),
        _ => (format!("{} {}", pad(row.standing.word(), 8), pad(&span(row.took), 8)), step.name.clone()),
    };
    let head = format!("{name}  {}", pad(&figures, 17));
    let space = frame.width.saturating_sub(head.chars().count() + 6);
    let late = step.expected.is_some_and(|expected| row.took > expected.high);
    let rest = deepest(&rest, space);
    let rest = if late && !row.standing.ended() { paint.warn(&rest) } else { paint.dim(&rest) };
    format!("  {mark} {head}  {rest}")
}

/// A reason that fits: reasons run from the object that is waited for down to the deepest, and the deepest tells most.
fn deepest(reason: &str, width: usize) -> String {
    if reason.chars().count() <= width {
        return reason.to_owned();
    }
    let last = reason.rsplit(" · ").next().unwrap_or(reason);
    clip(last, width)
}

fn running_figures(step: &Step, row: &Row) -> String {
    match step.expected {
        Some(expected) => format!("{} {}", pad(&span(row.took), 8), about(expected.typical())),
        None => span(row.took),
    }
}

/// Why a running step still takes: what it says; what is usual; that it is slower than usual.
fn why(step: &Step, row: &Row) -> String {
    let slow = step.expected.is_some_and(|expected| row.took > expected.high);
    let says = if row.says.is_empty() { step.work.as_ref().map_or("", |work| work.kind.name) } else { &row.says };
    let tries = if row.attempts > 1 { format!("attempt {} · ", row.attempts) } else { String::new() };
    match (slow, &step.normal) {
        (true, _) => format!("{tries}slower than usual · {says}"),
        (false, Some(normal)) if row.says.is_empty() => format!("{tries}normal: {normal}"),
        _ => format!("{tries}{says}"),
    }
}

fn queue(plan: &Plan, snapshot: &Snapshot, waiting: &[usize], names: usize, room: usize, frame: Frame) -> Vec<String> {
    let show = if waiting.len() <= room { waiting.len() } else { room.saturating_sub(1) };
    let mut lines: Vec<String> = waiting[..show]
        .iter()
        .map(|&index| {
            let name = pad(&clip(snapshot.rows[index].id.as_str(), names), names);
            let needs = waits_for(plan, snapshot, index);
            let text = clip(&format!("· {name}  waits for {}", words::list(&needs)), frame.width.saturating_sub(3));
            frame.paint.dim(&format!("  {text}"))
        })
        .collect();
    if waiting.len() > show {
        lines.push(frame.paint.dim(&format!("  · {} more waiting", waiting.len() - show)));
    }
    lines
}

fn critical_path(plan: &Plan, snapshot: &Snapshot, frame: Frame) -> String {
    let (path, _) = graph::critical_path(plan);
    let left: Vec<&str> = path
        .iter()
        .filter(|&&index| !snapshot.rows[index].standing.ended())
        .map(|&index| plan.steps[index].id.as_str())
        .collect();
    if left.is_empty() {
        return String::new();
    }
    frame.paint.dim(&clip(&format!("critical path: {}", left.join(" → ")), frame.width.saturating_sub(1)))
}
