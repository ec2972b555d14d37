//! The live picture of a run, as lines of text. Pure: what is drawn where is `live`'s business.

use std::time::Duration;

use runbook_steps::tools::GRACE;

use super::estimate::Estimate;
use super::snapshot::{Row, Snapshot, Standing, waits_for};
use super::words::{MODEL_TIME, Paint, about, clip, columns, pad, span};
use super::{estimate, words};
use crate::plan::{Plan, Step, duration, graph};

/// What a picture is drawn with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub(crate) paint: Paint,
    pub(crate) width: usize,
    pub(crate) height: usize,
    /// How many times faster than real time the run's clock is.
    pub(crate) speed: f64,
    /// Whether another process has the run, which no key that is typed here reaches.
    pub(crate) looks_on: bool,
}

/// The whole picture, a line each; never higher than the terminal, and never with an empty line at its end.
pub(crate) fn draw(plan: &Plan, title: &str, snapshot: &Snapshot, frame: Frame) -> Vec<String> {
    let mut lines = vec![headline(plan, title, snapshot, frame)];
    lines.extend(stopping(snapshot, frame));
    lines.push(String::new());
    let names = words::widest(snapshot.rows.iter().map(|row| row.id.as_str())).min(28);
    let room = frame.height.saturating_sub(lines.len() + 5).max(4);
    let busy: Vec<usize> = indices(snapshot, |row| matches!(row.standing, Standing::Running | Standing::Retrying));
    let bad: Vec<usize> = indices(snapshot, is_bad);
    let reasons = bad.iter().chain(&busy).filter(|&&index| snapshot.rows[index].why.is_some()).count();
    let done = indices(snapshot, |row| row.standing.holds() && !row.reused);
    let waiting = indices(snapshot, |row| row.standing == Standing::Waiting);
    let (never, waiting): (Vec<usize>, _) = waiting.into_iter().partition(|&index| snapshot.never_starts(plan, index));
    let spare = room.saturating_sub(busy.len() + bad.len() + reasons);
    let shown_done = done.len().min(spare.saturating_sub(waiting.len().min(3)));
    if done.len() > shown_done {
        lines.push(frame.paint.dim(&format!("  ✓ {} more done", done.len() - shown_done)));
    }
    let mut recent = done;
    recent.sort_by_key(|&index| ended_at(&snapshot.rows[index]));
    let recent = recent.split_off(recent.len() - shown_done);
    for index in recent.into_iter().chain(bad).chain(busy.iter().copied()) {
        let row = &snapshot.rows[index];
        let given_up = snapshot.never_starts(plan, index);
        lines.push(line(&plan.steps[index], row, given_up, names, frame));
        lines.extend(advice(row, names, frame));
        lines.extend(row.why.iter().map(|why| format!("      {}", clip(why, frame.width.saturating_sub(7)))));
    }
    lines.extend(queue(plan, snapshot, &waiting, names, spare.saturating_sub(shown_done).max(1), frame));
    lines.extend(not_begun(snapshot, &never, frame));
    lines.extend(blocked(snapshot, frame));
    lines.extend(critical_path(plan, snapshot, frame).into_iter().flat_map(|path| [String::new(), path]));
    lines.truncate(frame.height.saturating_sub(1));
    lines
}

fn is_bad(row: &Row) -> bool {
    use Standing::{Cancelled, Failed, NeedsPerson, Unknown};
    matches!(row.standing, Failed | Unknown | Cancelled | NeedsPerson)
}

/// That the run was told to stop, and how it is stopped harder.
fn stopping(snapshot: &Snapshot, frame: Frame) -> Option<String> {
    let signal = snapshot.stopping.as_ref()?;
    let harder = if frame.looks_on { "" } else { "; another ctrl-C kills them" };
    let text = format!("{signal}: stopping; programs have {} to end{harder}", span(GRACE));
    Some(frame.paint.warn(&clip(&text, frame.width)))
}

/// The steps that a run which stops begins no more, in a line.
fn not_begun(snapshot: &Snapshot, never: &[usize], frame: Frame) -> Option<String> {
    let names: Vec<&str> = never.iter().map(|&index| snapshot.rows[index].id.as_str()).collect();
    let text = clip(&format!("· {} will not start: {}", names.len(), names.join(", ")), frame.width.saturating_sub(3));
    (!names.is_empty()).then(|| frame.paint.dim(&format!("  {text}")))
}

/// The steps that can never run, in a line.
fn blocked(snapshot: &Snapshot, frame: Frame) -> Option<String> {
    let (steps, culprits) = snapshot.blocked();
    if steps.is_empty() {
        return None;
    }
    let names: Vec<&str> = steps.iter().map(|id| id.as_str()).collect();
    let text = format!("⊘ {} blocked by {}: {}", steps.len(), words::some(&culprits, 3), names.join(", "));
    Some(format!("  {}", frame.paint.warn(&clip(&text, frame.width.saturating_sub(3)))))
}

fn indices(snapshot: &Snapshot, wanted: impl Fn(&Row) -> bool) -> Vec<usize> {
    (0..snapshot.rows.len()).filter(|&index| wanted(&snapshot.rows[index])).collect()
}

fn ended_at(row: &Row) -> Duration {
    row.began.unwrap_or_default() + row.took
}

/// Who, how far, how long and how long still; in a narrow terminal, what can be missed is dropped: what is simulated first.
fn headline(plan: &Plan, title: &str, snapshot: &Snapshot, frame: Frame) -> String {
    let counts = format!("{} of {} done", snapshot.done(), snapshot.part().count());
    let counts = std::iter::once(counts).chain(snapshot.trouble()).collect::<Vec<_>>().join(" · ");
    let (of, eta) = how_long_still(plan, snapshot, frame);
    let name = title.split(" · ").next().unwrap_or(title);
    let short = title.split(" (").next().unwrap_or(title);
    // Which clock a figure is of is no thing that can be missed.
    let clock = if frame.speed > 1.0 { format!(" {MODEL_TIME}") } else { String::new() };
    let brief = if frame.speed > 1.0 { " model" } else { "" };
    let elapsed = span(snapshot.elapsed);
    let all = [
        format!("{title} · {counts} · {elapsed}{of}{clock}{eta}"),
        format!("{short} · {counts} · {elapsed}{of}{clock}{eta}"),
        format!("{short} · {counts} · {elapsed}{of}{brief}{eta}"),
        format!("{short} · {counts} · {elapsed}{brief}{eta}"),
        format!("{name} · {counts} · {elapsed}{brief}{eta}"),
        format!("{name} · {counts} · {elapsed}{brief}"),
    ];
    let fits = |text: &&String| columns(text) <= frame.width;
    let fitting = all.iter().find(fits).cloned().unwrap_or_else(|| clip(&all[5], frame.width));
    frame.paint.bold(&fitting)
}

/// How long all of it takes, and how long from now, as far as the plan says; the latter by the clock on the wall.
fn how_long_still(plan: &Plan, snapshot: &Snapshot, frame: Frame) -> (String, String) {
    let wall = |left: Duration| {
        let left = if frame.speed > 1.0 { left.div_f64(frame.speed) } else { left };
        span(Duration::from_secs(left.as_secs()))
    };
    let real = if frame.speed > 1.0 { " (real)" } else { "" };
    match estimate::remaining(plan, snapshot) {
        _ if snapshot.stopping.is_some() => (String::new(), String::new()),
        Estimate::About(Duration::ZERO) | Estimate::Unknown => (String::new(), String::new()),
        Estimate::About(left) => {
            (format!(" of {}", about(snapshot.elapsed + left)), format!(" · ETA {}{real}", wall(left)))
        }
        Estimate::AtLeast(left) => (String::new(), format!(" · at least {} more{real}", wall(left))),
    }
}

fn line(step: &Step, row: &Row, given_up: bool, names: usize, frame: Frame) -> String {
    let paint = frame.paint;
    let mark = match row.standing {
        Standing::Ok | Standing::Changed | Standing::Skipped => paint.good(row.standing.mark()),
        Standing::Failed | Standing::Unknown | Standing::Cancelled => paint.bad(row.standing.mark()),
        Standing::NeedsPerson => paint.warn(row.standing.mark()),
        _ => paint.busy(row.standing.mark()),
    };
    let name = pad(&clip(row.id.as_str(), names), names);
    let (figures, rest) = match row.standing {
        Standing::Running => (running_figures(step, row), why(step, row)),
        Standing::Retrying => (running_figures(step, row), again(step, row, given_up)),
        _ => (format!("{} {}", pad(row.standing.said(), 9), pad(&span(row.took), 7)), name_of(step)),
    };
    let head = format!("{name}  {}", pad(&figures, 17));
    let space = frame.width.saturating_sub(columns(&head) + 6);
    let late = step.expected.is_some_and(|expected| row.took > expected.high);
    let rest = deepest(&rest, space);
    let rest = if late && !row.standing.ended() { paint.warn(&rest) } else { paint.dim(&rest) };
    format!("  {mark} {head}  {rest}")
}

/// When a step that has failed is tried again.
fn again(step: &Step, row: &Row, given_up: bool) -> String {
    let Some(left) = row.again.filter(|_| !given_up) else { return "is not tried again".to_owned() };
    // Rounded up: it counts down to the attempt, not to a second before.
    let left = span(Duration::from_secs(left.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)));
    format!("retrying in {left} (attempt {} of {})", row.attempts + 1, step.retry.attempts)
}

/// What a step is called, where that is more than its id.
fn name_of(step: &Step) -> String {
    if step.name == step.id.as_str() { String::new() } else { step.name.clone() }
}

/// A reason that fits: reasons run from the object that is waited for down to the deepest, and the deepest tells most.
fn deepest(reason: &str, width: usize) -> String {
    if columns(reason) <= width {
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

/// A step that has said nothing new for so long is silent, by the run's clock.
const SILENT: Duration = Duration::from_secs(30);

/// Why a running step still takes: that it is slower than usual; the stage that it is in; what it says, or, when it says nothing,
/// what is usual then.
fn why(step: &Step, row: &Row) -> String {
    let words = &row.words;
    let mut parts = Vec::new();
    if row.attempts > 1 {
        parts.push(format!("attempt {}", row.attempts));
    }
    parts.extend(slow(step, row.took));
    parts.extend(words.stage.map(|(stage, spent)| self::stage(step, stage, spent)));
    parts.push(match normal(step, row) {
        Some(normal) if words.says.is_empty() || words.quiet >= SILENT => format!("normal: {normal}"),
        _ if words.says.is_empty() => step.work.as_ref().map_or("", |work| work.kind.name).to_owned(),
        _ => words.says.clone(),
    });
    parts.retain(|part| !part.is_empty());
    parts.join(" · ")
}

/// That a step takes longer than it ever should, and what was expected.
pub(crate) fn slow(step: &Step, took: Duration) -> Option<String> {
    let expected = step.expected.filter(|expected| took > expected.high)?;
    let (low, high) = (duration::format(expected.low), duration::format(expected.high));
    let range = if low == high { low } else { format!("{low}..{high}") };
    Some(format!("slower than usual (expected {range})"))
}

/// A stage with how long it has lasted: `compiling 1m 20s of ~90s (3 of 4)`.
fn stage(step: &Step, stage: usize, spent: Duration) -> String {
    let Some(known) = step.stages.get(stage) else { return String::new() };
    let of = known.expected.map(|expected| format!(" of {}", about(expected.typical()))).unwrap_or_default();
    format!("{} {}{of} ({} of {})", known.name, span(spent), stage + 1, step.stages.len())
}

/// What is usual now: in the stage that the step is in, or in all of it; not once it is slower than usual.
fn normal<'s>(step: &'s Step, row: &Row) -> Option<&'s str> {
    if slow(step, row.took).is_some() {
        return None;
    }
    let of_stage = row.words.stage.and_then(|(stage, _)| step.stages.get(stage)?.normal.as_deref());
    of_stage.or(step.normal.as_deref())
}

/// What is known of what a step waits for, below its line.
fn advice(row: &Row, names: usize, frame: Frame) -> Option<String> {
    if !matches!(row.standing, Standing::Running | Standing::Retrying) {
        return None;
    }
    let advice = row.words.advice.as_ref()?;
    let text = format!("hint: {} {}", advice.cause, advice.fix);
    let space = frame.width.saturating_sub(names + 7);
    Some(format!("    {}  {}", pad("", names), frame.paint.warn(&clip(&text, space))))
}

fn queue(plan: &Plan, snapshot: &Snapshot, waiting: &[usize], names: usize, room: usize, frame: Frame) -> Vec<String> {
    let show = if waiting.len() <= room { waiting.len() } else { room.saturating_sub(1) };
    let mut lines: Vec<String> = waiting[..show]
        .iter()
        .map(|&index| {
            let name = pad(&clip(snapshot.rows[index].id.as_str(), names), names);
            let text =
                clip(&format!("· {name}  waits for {}", awaited(plan, snapshot, index)), frame.width.saturating_sub(3));
            frame.paint.dim(&format!("  {text}"))
        })
        .collect();
    if waiting.len() > show {
        lines.push(frame.paint.dim(&format!("  · {} more waiting", waiting.len() - show)));
    }
    lines
}

/// What a step waits for, in words: steps, all of them before what comes at the end, or nothing but room.
fn awaited(plan: &Plan, snapshot: &Snapshot, index: usize) -> String {
    let needs = waits_for(plan, snapshot, index);
    match needs.as_slice() {
        _ if plan.steps[index].finally => "all others to end".to_owned(),
        [] => "its turn".to_owned(),
        needs => words::list(needs),
    }
}

/// What decides how long it still takes: the longest chain of the steps that can still run.
fn critical_path(plan: &Plan, snapshot: &Snapshot, frame: Frame) -> Option<String> {
    if snapshot.stopping.is_some() {
        return None;
    }
    let still = |index: usize| !snapshot.rows[index].standing.ended();
    let typical = |index: usize| if still(index) { plan.steps[index].typical() } else { Duration::ZERO };
    let (mut path, _) = graph::longest_path(&plan.graph, typical);
    path.retain(|&index| still(index));
    let left: Vec<&str> = path.iter().map(|&index| plan.steps[index].id.as_str()).collect();
    let text = format!("critical path: {}", left.join(" → "));
    (left.len() > 1).then(|| frame.paint.dim(&clip(&text, frame.width.saturating_sub(1))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Advice;
    use crate::plan::{Given, StepId, load};
    use crate::report::snapshot::Words;

    const PLAN: &str = "runbook: 1
steps:
  long:
    run: echo
    expected: 4m10s..15m
    normal: Silence is usual.
    stages:
      - { name: pulling, match: { event: x } }
      - { name: compiling, match: { log: x }, expected: 90s, normal: It compiles. }
";

    fn plan() -> Plan {
        plan_of(PLAN)
    }

    fn plan_of(text: &str) -> Plan {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("plan.yaml");
        std::fs::write(&file, text).expect("written");
        load(&file, &Given::default()).expect("a plan").plan
    }

    fn row(took: u64, quiet: u64, stage: Option<(usize, Duration)>) -> Row {
        let words = Words { says: "0 of 1 ready".into(), quiet: Duration::from_secs(quiet), stage, ..Words::default() };
        Row {
            id: StepId::from("long"),
            standing: Standing::Running,
            attempts: 1,
            took: Duration::from_secs(took),
            began: None,
            reused: false,
            why: None,
            again: None,
            by: Vec::new(),
            words,
        }
    }

    #[test]
    fn a_running_step_says_its_stage_and_what_silence_means() {
        let plan = plan();
        let step = &plan.steps[0];
        let stage = Some((1, Duration::from_secs(20)));
        assert_eq!(why(step, &row(60, 5, None)), "0 of 1 ready");
        assert_eq!(why(step, &row(60, 40, None)), "normal: Silence is usual.");
        assert_eq!(why(step, &row(60, 5, stage)), "compiling 20s of ~2m (2 of 2) · 0 of 1 ready");
        assert_eq!(why(step, &row(60, 40, stage)), "compiling 20s of ~2m (2 of 2) · normal: It compiles.");
    }

    #[test]
    fn one_that_is_slower_than_usual_says_so_and_calls_nothing_normal() {
        let plan = plan();
        let said = why(&plan.steps[0], &row(1000, 300, None));
        assert_eq!(said, "slower than usual (expected 4m10s..15m) · 0 of 1 ready");
    }

    const FRAME: Frame = Frame { paint: Paint { on: false }, width: 80, height: 30, speed: 1.0, looks_on: false };

    /// A step waits to be tried again, and others for it.
    fn retrying(stopping: Option<&str>, looks_on: bool) -> String {
        let plan = plan_of(
            "runbook: 1\nname: r\nsteps:\n  a: { run: echo, expected: 9s, retry: { attempts: 5 } }\n  \
             b: { needs: [a], run: echo }\nfinally:\n  bye: { run: echo }\n",
        );
        let stand = |id: &str, standing| Row { id: StepId::from(id), standing, ..row(7, 0, None) };
        let (why, again) = (Some("there is no such zone".to_owned()), Some(Duration::from_millis(2100)));
        let waiting = ["b", "bye"].map(|id| stand(id, Standing::Waiting));
        let rows =
            [Row { why, again, attempts: 2, ..stand("a", Standing::Retrying) }].into_iter().chain(waiting).collect();
        let snapshot = Snapshot { rows, elapsed: Duration::from_secs(8), stopping: stopping.map(str::to_owned) };
        draw(&plan, "r", &snapshot, Frame { looks_on, ..FRAME }).join("\n")
    }

    #[test]
    fn one_that_is_tried_again_says_when_and_why() {
        let shown = retrying(None, false);
        let row = "  ↻ a    7s       ~9s       retrying in 3s (attempt 3 of 5)\n      there is no such zone\n";
        assert!(shown.contains(row), "{shown}");
        assert!(shown.contains("· b    waits for a"), "{shown}");
    }

    #[test]
    fn a_run_that_stops_says_so_and_what_it_begins_no_more() {
        let shown = retrying(Some("SIGINT"), false);
        let head = "r · 0 of 3 done · 8s\nSIGINT: stopping; programs have 10s to end; another ctrl-C kills them\n\n";
        assert!(shown.starts_with(head), "{shown}");
        assert!(shown.contains("  ↻ a    7s       ~9s       is not tried again\n"), "{shown}");
        assert!(shown.ends_with("  · bye  waits for all others to end\n  · 1 will not start: b"), "{shown}");
        let shown = retrying(Some("SIGTERM"), true);
        assert!(shown.contains("\nSIGTERM: stopping; programs have 10s to end\n"), "{shown}");
    }

    #[test]
    fn wide_letters_never_make_a_line_too_long() {
        let plan =
            plan_of("runbook: 1\nname: wide\nsteps:\n  a: { name: 日本語の長い名前, run: echo }\n  b: { run: echo }\n");
        let says = "準備中 🎉 ".repeat(20);
        let words = Words { says, ..Words::default() };
        let rows = vec![
            Row {
                id: StepId::from("a"), standing: Standing::Failed, why: Some("失敗".repeat(50)), ..row(7, 0, None)
            },
            Row { id: StepId::from("b"), words, ..row(7, 0, None) },
        ];
        let snapshot = Snapshot { rows, ..Snapshot::default() };
        let lines = draw(&plan, "日本語 · 試験 (模擬)", &snapshot, Frame { width: 60, ..FRAME });
        assert!(lines.iter().all(|line| columns(line) <= 60), "{lines:#?}");
        assert!(lines.iter().any(|line| line.contains("準備中")) && lines.iter().any(|line| line.contains("失敗")));
    }

    const CHAIN: &str = "runbook: 1
name: chain
steps:
  broken: { run: echo, expected: 1m }
  after: { needs: [broken], run: echo, expected: 2h }
  last: { needs: [after], run: echo }
  apart: { run: echo, expected: 30m }
  beside: { needs: [apart], run: echo, expected: 10m }
";

    /// The first step has failed, what needs it is blocked, and another works.
    fn trouble(width: usize) -> Vec<String> {
        let plan = plan_of(CHAIN);
        let stand = |id: &str, standing, why: Option<&str>, by: &[&str]| Row {
            id: StepId::from(id),
            standing,
            why: why.map(str::to_owned),
            by: by.iter().map(|id| StepId::from(*id)).collect(),
            ..row(60, 0, None)
        };
        let rows = vec![
            stand("broken", Standing::Failed, Some("there is no such zone"), &[]),
            stand("after", Standing::Blocked, None, &["broken"]),
            stand("last", Standing::Blocked, None, &["broken"]),
            stand("apart", Standing::Running, None, &[]),
            stand("beside", Standing::Waiting, None, &[]),
        ];
        let snapshot = Snapshot { rows, elapsed: Duration::from_secs(60), stopping: None };
        let frame = Frame { width, speed: 10.0, ..FRAME };
        draw(&plan, "chain · rehearsal (simulated, 10× time)", &snapshot, frame)
    }

    #[test]
    fn a_failure_says_why_and_what_it_blocks() {
        let lines = trouble(140);
        assert_eq!(lines[3], "      there is no such zone");
        assert!(lines.iter().any(|line| line == "  ⊘ 2 blocked by broken: after, last"), "{lines:?}");
        assert_eq!(lines.last().map(String::as_str), Some("critical path: apart → beside"), "not of what cannot run");
    }

    #[test]
    fn what_waits_always_says_for_what() {
        let plan = plan_of(
            "runbook: 1\nsteps:\n  a: { run: echo }\n  b: { needs: [a], run: echo }\nfinally:\n  bye: { run: echo }\n",
        );
        let waiting = |id: &str| Row { id: StepId::from(id), standing: Standing::Waiting, ..row(0, 0, None) };
        let snapshot = Snapshot { rows: ["a", "b", "bye"].map(waiting).to_vec(), ..Snapshot::default() };
        let lines = queue(&plan, &snapshot, &[0, 1, 2], 3, 9, FRAME);
        assert_eq!(
            lines,
            ["  · a    waits for its turn", "  · b    waits for a", "  · bye  waits for all others to end"]
        );
    }

    #[test]
    fn a_narrow_headline_keeps_name_counts_and_times() {
        let counts = "0 of 5 done · 1 failed · 2 blocked";
        let long = "1m 00s of ~39m model time · ETA 3m 48s (real)";
        assert_eq!(trouble(140)[0], format!("chain · rehearsal (simulated, 10× time) · {counts} · {long}"));
        let short = "1m 00s model · ETA 3m 48s (real)";
        assert_eq!(trouble(90)[0], format!("chain · rehearsal · {counts} · {short}"));
        assert_eq!(trouble(80)[0], format!("chain · {counts} · {short}"));
        assert_eq!(trouble(70)[0], format!("chain · {counts} · 1m 00s model"));
    }

    #[test]
    fn what_is_known_stands_below_the_step() {
        let frame = Frame { width: 60, ..FRAME };
        let mut row = row(60, 5, None);
        assert_eq!(advice(&row, 4, frame), None);
        row.words.advice = Some(Advice { cause: "No subnet.".into(), fix: "Make one.".into() });
        assert_eq!(advice(&row, 4, frame).as_deref(), Some("          hint: No subnet. Make one."));
    }
}
