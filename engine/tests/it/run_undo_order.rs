//! In which order things are taken back when the plan is another one by then.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;
use runbook::plan::model::{Plan, Step};
use runbook::run::undo::{self, Choice, UndoPlan};
use runbook::state::RunState;
use serde_json::json;

use crate::run_bench::{BLIND, plan};
use crate::run_undo::{all_needs, cases, diamond, id, ids, order};
use crate::undo_bench::Place;

/// The place of each step in the order of undoing.
fn place(undo: &UndoPlan, step: &str) -> usize {
    order(undo).iter().position(|other| *other == step).expect("it is undone")
}

fn goes_before(undo: &UndoPlan, first: &str, second: &str) -> bool {
    place(undo, first) < place(undo, second)
}

#[tokio::test]
async fn what_stood_on_something_goes_before_it_whatever_the_plan_says_now() {
    let world = Place::new();
    let thing = |name: &str| world.thing(name, &json!({ "stuck": usize::from(name == "top") }));
    let link = world.bench.step("link", &BLIND, json!({}));
    world.apply(&plan(vec![thing("base"), link, thing("top")], &[("base", "link"), ("link", "top")])).await;
    let unbound = plan(vec![thing("base"), thing("top")], &[]);
    let contrary = plan(vec![thing("top"), thing("base")], &[("top", "base")]);
    for edited in [&unbound, &contrary] {
        assert_eq!(order(&world.look(edited, &Choice::default())), ["top", "base"]);
        let only = Choice { only: ids(&["base"]), ..Choice::default() };
        assert_eq!(order(&world.look(edited, &only)), ["top", "base"], "it could not go on without");
    }
    let summary = world.destroy_with(&contrary, &Choice::default(), None).await;
    assert_eq!(summary.blocked, [(id("base"), vec![id("top")])], "as long as `top` stands");
}

#[tokio::test]
async fn what_is_gone_from_the_plan_waits_for_nothing_that_did_not_stand_on_it() {
    let world = Place::new();
    world.apply(&diamond(&world)).await;
    let other = plan(vec![world.thing("other", &json!({}))], &[]);
    let undo = world.look(&other, &Choice::default());
    assert_eq!((place(&undo, "top"), place(&undo, "base")), (0, 3));
    let needs = |step: &str| {
        let (node, _) = undo.items.iter().find(|(_, item)| item.step == id(step)).expect("it is undone");
        undo.graph.needs[*node].iter().map(|edge| undo.items[&edge.step].step.clone()).collect::<BTreeSet<_>>()
    };
    assert_eq!((needs("left"), needs("right")), (ids(&["top"]), ids(&["top"])), "side by side");
}

#[tokio::test]
async fn where_an_older_program_did_not_say_what_stood_on_what_it_goes_by_the_plan_and_the_order_of_mention() {
    let world = Place::new();
    world.apply(&diamond(&world)).await;
    let mut plain = serde_json::to_value(world.state()).expect("JSON");
    for step in plain["steps"].as_object_mut().expect("a map").values_mut() {
        step["recipes"][0].as_object_mut().expect("a recipe").remove("needs").expect("it was there");
    }
    let older: RunState = serde_json::from_value(plain).expect("a state");
    let smaller = plan(vec![world.thing("top", &json!({}))], &[]);
    let undo = undo::plan(&smaller, &older, &Choice::default());
    assert!(goes_before(&undo, "top", "base") && goes_before(&undo, "left", "base"), "{:?}", order(&undo));
}

/// A plan of these steps, of which each needs some that come before it.
fn plan_of(world: &Place, names: &[String], needs: &[Vec<usize>]) -> Arc<Plan> {
    let steps: Vec<Step> = names.iter().map(|name| world.thing(name, &json!({}))).collect();
    let needed = |step: usize| needs[step].iter().filter(|need| **need < names.len()).map(move |need| (*need, step));
    let edges = (0..names.len()).flat_map(needed).map(|(need, step)| (names[need].as_str(), names[step].as_str()));
    plan(steps, &edges.collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Some of it was there before; the plan is then edited so that it has other needs, and the other way round.
    #[test]
    fn nothing_is_taken_back_before_what_stood_on_it_by_any_edited_plan(case in cases(), other in cases()) {
        let world = Place::new();
        let mut names: Vec<String> = (0..case.made.len()).map(|step| format!("s{step}")).collect();
        let first = plan_of(&world, &names, &case.needs);
        for (name, _) in names.iter().zip(&case.made).filter(|(_, made)| !**made) {
            world.put(name, "somebody");
        }
        tokio::runtime::Runtime::new().expect("a runtime").block_on(world.apply(&first));
        let mut needs = other.needs;
        needs.resize(names.len(), Vec::new());
        names.reverse();
        let undo = world.look(&plan_of(&world, &names, &needs), &Choice::default());
        let order: Vec<usize> = undo.in_order().map(|item| first.index[&item.step]).collect();
        prop_assert_eq!(order.len(), case.made.iter().filter(|made| **made).count());
        for (place, step) in order.iter().enumerate() {
            let needs = all_needs(&case, *step);
            prop_assert!(order[..place].iter().all(|before| !needs.contains(before)), "{:?}", order);
        }
    }
}
