//! What a name in an expression may be, and which steps it leads to.

use std::collections::HashSet;

use indexmap::IndexMap;

use super::bind::Frame;
use super::build::Built;
use super::check::suggest;
use super::error::{Problem, nearest, quoted_list};
use super::expr::Fault;
use super::file::File;
use super::gives;
use super::model::{OutputRule, Place, SecretSpec, Step, StepId, Target, Template, Unit};
use super::scan::Reference;
use super::template;
use super::texts::Texts;
use crate::maps::NameMap;

/// Values lead to each other through includes at most this far.
const DEEPEST: usize = 32;

/// What an expression may name where it stands.
#[derive(Clone, Copy)]
pub(crate) struct Allowed<'a> {
    /// What it is part of, for messages.
    pub(crate) what: &'static str,
    pub(crate) secrets: bool,
    pub(crate) steps: bool,
    /// The items of `foreach`.
    pub(crate) each: &'a [String],
    /// The step whose own outputs it sees.
    pub(crate) own: Option<Own>,
}

/// The own outputs that an expression sees.
#[derive(Clone, Copy)]
pub(crate) struct Own {
    pub(crate) step: usize,
    /// How many of those that the plan adds; all, where it is not said.
    pub(crate) above: Option<usize>,
}

impl Allowed<'_> {
    /// What is evaluated before anything runs.
    pub(crate) fn early(what: &'static str) -> Self {
        Self { what, secrets: false, steps: false, each: &[], own: None }
    }

    /// What is evaluated when what it needs has run.
    pub(crate) fn steps(what: &'static str) -> Self {
        Self { steps: true, ..Self::early(what) }
    }
}

/// What was referred to, to find what was not.
#[derive(Default)]
pub(crate) struct Used {
    inputs: HashSet<(usize, String)>,
    whole: HashSet<usize>,
    secrets: HashSet<String>,
}

impl Used {
    /// Warnings for inputs and secrets that nothing refers to.
    pub(crate) fn unused(
        &self,
        texts: &Texts,
        files: &[Option<File<'_>>],
        frames: &[Frame<'_>],
        secrets: &IndexMap<String, SecretSpec>,
    ) -> Vec<Problem> {
        let bound: HashSet<usize> = frames.iter().map(|frame| frame.text).collect();
        let mut problems = Vec::new();
        for (text, file) in
            files.iter().enumerate().filter(|(text, _)| bound.contains(text) && !self.whole.contains(text))
        {
            for (entry, _) in file.iter().flat_map(|file| &file.inputs) {
                if !self.inputs.contains(&(text, entry.key.clone())) {
                    let place = Place { source: texts.list[text].source.clone(), span: entry.key_span.clone() };
                    problems.push(
                        Problem::at("plan::unused", &place, format!("input `{}` is never used", entry.key), "")
                            .warning(),
                    );
                }
            }
        }
        for (name, spec) in secrets.iter().filter(|(name, _)| !self.secrets.contains(*name)) {
            problems
                .push(Problem::at("plan::unused", &spec.place, format!("secret `{name}` is never used"), "").warning());
        }
        problems
    }
}

/// Looks names up.
pub(crate) struct References<'c, 't> {
    files: &'c [Option<File<'t>>],
    frames: &'c [Frame<'t>],
    units: &'c [Unit],
    built: &'c [Built],
    pub(crate) secrets: &'c IndexMap<String, SecretSpec>,
    index: &'c NameMap<StepId, usize>,
    pub(crate) used: Used,
}

impl<'c, 't> References<'c, 't> {
    pub(crate) fn new(
        files: &'c [Option<File<'t>>],
        frames: &'c [Frame<'t>],
        units: &'c [Unit],
        (built, index): (&'c [Built], &'c NameMap<StepId, usize>),
        secrets: &'c IndexMap<String, SecretSpec>,
    ) -> Self {
        Self { files, frames, units, built, secrets, index, used: Used::default() }
    }

    fn inputs(&self, unit: usize) -> impl Iterator<Item = &'c str> + use<'c, 't> {
        self.frames[unit].inputs.iter().map(|input| input.entry.key.as_str())
    }

    fn vars(&self, unit: usize) -> impl Iterator<Item = &'c str> + use<'c, 't> {
        let file = self.files[self.frames[unit].text].as_ref();
        file.map_or(&[][..], |file| file.vars).iter().map(|entry| entry.key.as_str())
    }

    /// Whether something of this name is there, though nobody could read it.
    pub(crate) fn is_unread(&self, unit: usize, name: &str) -> bool {
        self.files[self.frames[unit].text].as_ref().is_some_and(|file| file.unread.contains(&name))
    }

    /// What is wrong with a reference, if anything.
    pub(crate) fn check(&mut self, reference: &Reference, unit: usize, allowed: &Allowed<'_>) -> Option<Fault> {
        let name = reference.path.get(1).map(String::as_str);
        if name.is_some_and(|name| self.is_unread(unit, name)) {
            return None;
        }
        let problem = match (reference.path[0].as_str(), name) {
            ("inputs", name) => self.check_input(unit, name),
            ("vars", Some(name)) => self.check_var(unit, name),
            ("each", Some(name)) => check_each(name, allowed),
            ("each", None) if allowed.each.is_empty() => Some(no_foreach()),
            ("secrets", Some(name)) => self.check_secret(reference, name, allowed),
            ("steps", _) => return self.check_step(reference, unit, allowed),
            ("vars" | "each" | "secrets", _) => None,
            (root, _) => return self.check_root(root, reference, unit, allowed),
        };
        let last = reference.spans.get(1).unwrap_or(&reference.spans[0]).clone();
        problem.map(|fault| fault.at(reference.spans[0].start..last.end))
    }

    /// Whether a plan has an input, a var, a step or a secret of this name.
    pub(crate) fn exists(&self, reference: &Reference, unit: usize) -> bool {
        let Some(name) = reference.path.get(1).map(String::as_str) else { return false };
        match reference.path[0].as_str() {
            "inputs" => self.inputs(unit).any(|known| known == name),
            "vars" => self.vars(unit).any(|known| known == name),
            "steps" => self.units[unit].names.contains_key(name),
            "secrets" => self.secrets.contains_key(name),
            _ => false,
        }
    }

    fn check_input(&mut self, unit: usize, name: Option<&str>) -> Option<Fault> {
        let text = self.frames[unit].text;
        let Some(name) = name else {
            self.used.whole.insert(text);
            return None;
        };
        if self.inputs(unit).any(|known| known == name) {
            self.used.inputs.insert((text, name.to_owned()));
            return None;
        }
        let fault = Fault::new(format!("there is no input `{name}`"));
        if self.vars(unit).any(|known| known == name) {
            return Some(fault.help(format!("did you mean `vars.{name}`?")));
        }
        Some(or_declare(suggest(fault, name, self.inputs(unit)), "inputs", &format!("{name}: {{ type: string }}")))
    }

    fn check_var(&self, unit: usize, name: &str) -> Option<Fault> {
        let known = self.vars(unit).any(|known| known == name);
        (!known).then(|| {
            let fault = suggest(Fault::new(format!("there is no var `{name}`")), name, self.vars(unit));
            or_declare(fault, "vars", &format!("{name}: VALUE"))
        })
    }

    fn check_secret(&mut self, reference: &Reference, name: &str, allowed: &Allowed<'_>) -> Option<Fault> {
        if !allowed.secrets {
            let fault = Fault::new(format!("{} cannot hold a secret", allowed.what));
            return Some(fault.help(
                "`secrets` can be used in `with` and `env` of a step, so that their values stay out of logs and state",
            ));
        }
        if self.secrets.contains_key(name) {
            self.used.secrets.insert(name.to_owned());
            return (!reference.as_is).then(|| {
                let fault = Fault::new("nothing can be computed from a secret").at(reference.span());
                fault.help(
                    "its value is put in only when the step begins, so that it stays out of logs and state: hand it on as it is, \
                     alone or joined with `~`",
                )
            });
        }
        let known = self.secrets.keys().map(String::as_str);
        let fault = suggest(Fault::new(format!("there is no secret `{name}`")), name, known);
        Some(or_declare(fault, "secrets", &format!("{name}: {{ from: [{{ env: {} }}] }}", name.to_uppercase())))
    }

    fn check_step(&self, reference: &Reference, unit: usize, allowed: &Allowed<'_>) -> Option<Fault> {
        if !allowed.steps {
            let fault = Fault::new(format!("{} cannot depend on what steps give", allowed.what)).at(reference.span());
            return Some(fault.help("it is evaluated before anything runs: use inputs and vars only"));
        }
        let names = &self.units[unit].names;
        let Some(name) = reference.path.get(1) else {
            let fault = Fault::new("a step must be named as it is").at(reference.span());
            return Some(
                fault.help("write `steps.NAME.outputs.OUTPUT`, so that the order of steps is known before they run"),
            );
        };
        let Some(target) = names.get(name) else {
            let fault =
                Fault::new(format!("there is no step `{name}`")).at(reference.spans[0].start..reference.spans[1].end);
            return Some(suggest(fault, name, self.units[unit].sorted_names()));
        };
        match reference.path.get(2).map(String::as_str) {
            Some("outputs") => self.check_output(reference, name, target),
            other => {
                let fault = Fault::new(format!("of step `{name}` only its `outputs` can be used")).at(reference.span());
                Some(fault.help(match other {
                    Some(near) if nearest(near, ["outputs"]).is_some() => {
                        let rest = reference.path.get(3).map_or("…", String::as_str);
                        format!("did you mean `steps.{name}.outputs.{rest}`?")
                    }
                    Some(other) => format!("did you mean `steps.{name}.outputs.{other}`?"),
                    None => format!("write `steps.{name}.outputs.OUTPUT`"),
                }))
            }
        }
    }

    fn check_output(&self, reference: &Reference, name: &str, target: &Target) -> Option<Fault> {
        let output = reference.path.get(3)?;
        let span = reference.spans[0].start..reference.spans[3].end;
        match target {
            Target::Step(id) => {
                lacks_output(&self.built[*self.index.get(id)?].step, name, output).map(|it| it.at(span))
            }
            Target::Items(items) => self.check_item(reference, name, items),
            Target::Include(unit) => {
                let outputs = &self.units[*unit].outputs;
                (!outputs.contains_key(output)).then(|| {
                    let fault =
                        Fault::new(format!("the plan included as `{name}` exports no `{output}`")).at(span.clone());
                    suggest(fault, output, outputs.keys().map(String::as_str))
                })
            }
        }
    }

    fn check_item(&self, reference: &Reference, name: &str, items: &[(String, StepId)]) -> Option<Fault> {
        let item = reference.path.get(3)?;
        let known = || items.iter().map(|(item, _)| item.as_str());
        if known().any(|item| item.contains('…')) {
            return None;
        }
        let Some((_, id)) = items.iter().find(|(known, _)| known == item) else {
            let fault = Fault::new(format!("step `{name}` has no item `{item}`"));
            return Some(suggest(fault.at(reference.spans[0].start..reference.spans[3].end), item, known()));
        };
        let output = reference.path.get(4)?;
        let step = &self.built[*self.index.get(id)?].step;
        lacks_output(step, id.as_str(), output).map(|it| it.at(reference.spans[0].start..reference.spans[4].end))
    }

    fn check_root(&self, root: &str, reference: &Reference, unit: usize, allowed: &Allowed<'_>) -> Option<Fault> {
        let own = allowed.own.map(|own| (&self.built[own.step].step, own.above));
        if let Some((step, above)) = own {
            let (name, last) = match root {
                "outputs" => (reference.path.get(1)?.as_str(), 1),
                root => (root, 0),
            };
            let span = reference.spans[0].start..reference.spans[last].end;
            if gives::may_give(step, name) {
                return not_yet(step, name, above).map(|fault| fault.at(span));
            }
            if root == "outputs" {
                let fault = Fault::new(format!("this step has no output `{name}`")).at(span);
                let known = gives::names(step);
                return Some(suggest(fault, name, known.iter().map(String::as_str)));
            }
        }
        if root == "outputs" {
            let fault = Fault::new("the own outputs of a step are seen only in its `assert` and `outputs`");
            return Some(
                fault.at(reference.spans[0].clone()).help("those of another step are `steps.NAME.outputs.OUTPUT`"),
            );
        }
        let fault = Fault::new(format!("nothing is called `{root}`")).at(reference.spans[0].clone());
        let groups = ["inputs", "vars", "steps", "secrets", "each"];
        if self.inputs(unit).any(|known| known == root) {
            return Some(fault.help(format!("did you mean `inputs.{root}`?")));
        }
        if self.vars(unit).any(|known| known == root) {
            return Some(fault.help(format!("did you mean `vars.{root}`?")));
        }
        if self.units[unit].names.contains_key(root) {
            return Some(fault.help(format!("did you mean `steps.{root}.outputs.…`?")));
        }
        let own = own.map(|(step, _)| gives::names(step)).unwrap_or_default();
        let fault = suggest(fault, root, groups.into_iter().chain(own.iter().map(String::as_str)));
        Some(match &fault.help {
            Some(_) => fault,
            None if own.is_empty() => fault.help(what_else(root)),
            None => fault.help(format!("{}; of this step also {}", what_else(root), quoted(&own))),
        })
    }

    /// The steps whose outputs a reference leads to.
    pub(crate) fn targets(&self, unit: usize, reference: &Reference, found: &mut Vec<usize>, depth: usize) {
        if depth > DEEPEST {
            return;
        }
        let here = &self.units[unit];
        let Some(name) = reference.path.get(1) else { return };
        match reference.path[0].as_str() {
            "inputs" => {
                if let (Some(template), Some(parent)) = (here.late_inputs.get(name), here.parent) {
                    self.targets_of(parent, template, found, depth);
                }
            }
            "vars" => {
                here.late_vars.get(name).into_iter().for_each(|template| self.targets_of(unit, template, found, depth));
            }
            "steps" => self.step_targets(here, name, reference, found, depth),
            _ => {}
        }
    }

    fn targets_of(&self, unit: usize, template: &Template, found: &mut Vec<usize>, depth: usize) {
        for reference in template::references(template) {
            self.targets(unit, &reference, found, depth + 1);
        }
    }

    fn step_targets(&self, unit: &Unit, name: &str, reference: &Reference, found: &mut Vec<usize>, depth: usize) {
        let wanted = reference.path.get(3);
        match unit.names.get(name) {
            Some(Target::Step(id)) => found.extend(self.index.get(id)),
            Some(Target::Items(items)) => {
                let these = items.iter().filter(|(item, _)| wanted.is_none_or(|wanted| wanted == item));
                found.extend(these.filter_map(|(_, id)| self.index.get(id)));
            }
            Some(Target::Include(inner)) => {
                let exports =
                    self.units[*inner].outputs.iter().filter(|(name, _)| wanted.is_none_or(|wanted| wanted == *name));
                exports.for_each(|(_, template)| self.targets_of(*inner, template, found, depth));
            }
            None => {}
        }
    }
}

fn check_each(name: &str, allowed: &Allowed<'_>) -> Option<Fault> {
    if allowed.each.is_empty() {
        return Some(no_foreach());
    }
    let known = allowed.each.iter().map(String::as_str);
    (!allowed.each.iter().any(|known| known == name))
        .then(|| suggest(Fault::new(format!("there is no item `{name}`")), name, known))
}

fn no_foreach() -> Fault {
    Fault::new("`each` has a meaning only in a step with `foreach`")
}

/// What to write where no other name is near.
fn or_declare(fault: Fault, key: &str, what: &str) -> Fault {
    if fault.help.is_some() { fault } else { fault.help(format!("declare it below `{key}:`, as in `{what}`")) }
}

/// What expressions can name, for who named something else.
fn what_else(root: &str) -> &'static str {
    match root {
        "env" => {
            "variables of the environment have no name here: declare an input, or read them in a `run` script as `$NAME`"
        }
        _ => "expressions can name `inputs`, `vars` and `steps`; put text in quotes",
    }
}

fn quoted(names: &[String]) -> String {
    quoted_list(names.iter().map(String::as_str))
}

/// What is wrong with a reference to an output that a step never has.
fn lacks_output(step: &Step, name: &str, output: &str) -> Option<Fault> {
    if gives::may_give(step, output) {
        return None;
    }
    let known = gives::names(step);
    let fault = Fault::new(format!("step `{name}` has no output `{output}`"));
    let fault = suggest(fault, output, known.iter().map(String::as_str));
    Some(match &fault.help {
        None if !known.is_empty() => fault.help(format!("it has {}", quoted(&known))),
        None => fault.help("it has none; declare it below `outputs:` of that step"),
        Some(_) => fault,
    })
}

/// Outputs of a plan see those above them, and none that is still to be looked up.
fn not_yet(step: &Step, name: &str, above: Option<usize>) -> Option<Fault> {
    let above = above.filter(|_| !gives::kind_may_give(step, name))?;
    let (at, _, rule) = step.outputs.get_full(name)?;
    if matches!(rule, OutputRule::Lookup(_)) {
        let fault = Fault::new(format!("`{name}` is looked up only after this"));
        return Some(fault.help("use it in `assert`, or in a later step"));
    }
    (at >= above).then(|| {
        Fault::new(format!("`{name}` has no value yet")).help("an output sees those above it: move the other one up")
    })
}
