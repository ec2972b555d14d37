//! The README is run: its plans are applied, its commands are understood, its picture is of this plan. What describes the plan language
//! is held against the program.

use std::collections::BTreeSet;

use crate::sandbox::{Sandbox, repository};

struct Block {
    language: String,
    text: String,
}

fn readme() -> String {
    std::fs::read_to_string(repository().join("README.md")).expect("the README")
}

fn language() -> String {
    std::fs::read_to_string(repository().join("plans/LANGUAGE.md")).expect("the description of the language")
}

fn blocks() -> Vec<Block> {
    blocks_of(&readme())
}

fn blocks_of(text: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<Block> = None;
    for line in text.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(_), Some(_)) => found.extend(open.take()),
            (Some(language), None) => open = Some(Block { language: language.to_owned(), text: String::new() }),
            (None, Some(block)) => block.text.push_str(&format!("{line}\n")),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "every block ends");
    found
}

/// The commands of the shell blocks, without their remarks.
fn commands() -> Vec<String> {
    let shell = blocks().into_iter().filter(|block| block.language == "sh");
    shell
        .flat_map(|block| {
            block.text.lines().map(|line| line.split(" #").next().unwrap_or("").trim().to_owned()).collect::<Vec<_>>()
        })
        .filter(|line| !line.is_empty())
        .collect()
}

fn sandbox_with_plans() -> Sandbox {
    let sandbox = Sandbox::new();
    std::os::unix::fs::symlink(repository().join("plans"), sandbox.path("plans")).expect("a link to the plans");
    sandbox
}

#[test]
fn every_plan_in_it_runs() {
    let plans: Vec<Block> = blocks().into_iter().filter(|block| block.language == "yaml").collect();
    assert!(!plans.is_empty());
    for plan in plans {
        let sandbox = Sandbox::new();
        sandbox.write("plan.yaml", &plan.text);
        sandbox.run(&["check", "plan.yaml"]).exits(0);
        sandbox.run(&["apply", "plan.yaml"]).exits(0).says("everything holds");
    }
}

/// What a command of the README does when it is run here.
enum Here {
    /// Runs and ends with this code.
    Ends(i32),
    /// Would build or test this very project, or needs a cloud: another test, or CI, covers it.
    Elsewhere,
}

fn here(command: &str) -> Here {
    match command {
        "cargo test --workspace" => Here::Elsewhere,
        "ls plans/rehearsals/" => Here::Elsewhere,
        // Without gcloud it ends before anything is touched; with it, it would reach for a cloud.
        apply if apply.starts_with("runbook apply") => Here::Elsewhere,
        failing if failing.contains("--scenario") && !failing.contains("--lift") => Here::Ends(4),
        failing if failing.contains("/server.") && !failing.contains("--diagnose") => Here::Ends(4),
        _ => Here::Ends(0),
    }
}

#[test]
fn every_command_in_it_works() {
    let sandbox = sandbox_with_plans();
    for command in commands() {
        let Here::Ends(code) = here(&command) else { continue };
        let line = command.replace("YOUR_PROJECT", "my-project");
        let line = line
            .strip_prefix("cargo run --release -- ")
            .or(line.strip_prefix("runbook "))
            .unwrap_or_else(|| panic!("`{command}` is a command nobody runs"));
        let args: Vec<&str> = line.split_whitespace().collect();
        sandbox.run(&args).exits(code);
    }
}

#[test]
fn apply_without_gcloud_says_what_to_install_and_touches_nothing() {
    let sandbox = sandbox_with_plans().env("HF_TOKEN", "hf_made_up").env("PATH", "/nonexistent");
    sandbox
        .run(&["apply", "plans/native-gateway.yaml", "--input", "project=my-project"])
        .exits(3)
        .says("`gcloud`, needed by")
        .says("`make`, needed by");
}

#[test]
fn every_command_of_the_program_is_in_it() {
    let help = Sandbox::new().run(&["--help"]).exits(0).out;
    let commands: BTreeSet<&str> = help
        .lines()
        .skip_while(|line| !line.starts_with("Commands:"))
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    let text = readme();
    for command in commands {
        assert!(text.contains(&format!("`runbook {command}")), "`runbook {command}` is not in the README");
    }
}

#[test]
fn its_picture_is_of_this_plan() {
    let text = readme();
    let picture =
        text.split("<!-- picture: begin -->").nth(1).and_then(|rest| rest.split("<!-- picture: end -->").next());
    let picture = picture.expect("a picture between its marks");
    let sandbox = sandbox_with_plans();
    let plan =
        sandbox.run(&["plan", "plans/native-gateway.yaml", "--input", "project=my-project", "-o", "json"]).exits(0);
    let plan: serde_json::Value = serde_json::from_str(&plan.out).expect("JSON");
    for step in plan["steps"].as_array().expect("steps") {
        let id = step["step"].as_str().expect("a name");
        assert!(picture.contains(id), "`{id}` is not in the picture");
    }
}

#[test]
fn the_files_that_it_names_exist() {
    for name in [
        "engine/ARCHITECTURE.md",
        "plans/LANGUAGE.md",
        "plans/schema.json",
        "plans/native-gateway.yaml",
        "LICENSE",
        "CHANGELOG.md",
    ] {
        assert!(repository().join(name).exists(), "{name}");
    }
}

#[test]
fn every_plan_of_the_language_checks_or_is_refused_as_it_says() {
    let plans: Vec<Block> = blocks_of(&language()).into_iter().filter(|block| block.language == "yaml").collect();
    assert!(plans.len() > 4, "{} plans", plans.len());
    for plan in plans {
        let sandbox = Sandbox::new();
        sandbox.write("plan.yaml", &plan.text);
        let checked = sandbox.run(&["check", "plan.yaml"]);
        match plan.text.lines().next().and_then(|line| line.strip_prefix("# refused: ")) {
            Some(why) => drop(checked.exits(3).says("1 problem").says(why)),
            None => assert_eq!(checked.exits(0).err, "", "a plan without warnings:\n{}", plan.text),
        }
    }
}

/// The names in the first column of the first table under a heading.
fn first_column(text: &str, heading: &str) -> BTreeSet<String> {
    let under = text.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no `{heading}`")).1;
    let table = under.lines().skip_while(|line| !line.starts_with("| `")).take_while(|line| line.starts_with("| `"));
    table.filter_map(|line| line.split('`').nth(1)).map(str::to_owned).collect()
}

#[test]
fn the_tables_of_the_language_are_those_of_the_schema() {
    let (text, schema) = (language(), runbook::plan::schema::schema());
    for (heading, pointer) in [
        ("## The plan", "/properties"),
        ("### Inputs", "/definitions/input/properties"),
        ("## Steps", "/definitions/step/properties"),
    ] {
        let known = schema.pointer(pointer).and_then(serde_json::Value::as_object).expect("a map");
        assert_eq!(first_column(&text, heading), known.keys().cloned().collect(), "{heading}");
    }
}

/// A plan in which a key holds an output of a step.
fn with_output_in(key: &str) -> String {
    let value = "${{ steps.a.outputs.stdout }}";
    let of_step = match key {
        "retry" => format!("retry: {{ backoff: {{ initial: '{value}' }} }}"),
        "foreach" => format!("foreach: {{ x: '{value}' }}"),
        "hints" => format!("hints: [{{ match: {{ error: x }}, cause: '{value}', fix: y }}]"),
        "stages" => format!("stages: [{{ name: '{value}', match: {{ event: x }} }}]"),
        "confirm" => format!("undo: {{ confirm: '{value}' }}"),
        "reason" => format!("known_issue: {{ reason: '{value}' }}"),
        key => format!("{key}: '{value}'"),
    };
    let (vars, of_step) =
        if key == "vars" { (format!("vars: {{ x: '{value}' }}\n"), String::new()) } else { (String::new(), of_step) };
    format!("runbook: 1\n{vars}steps:\n  a: {{ run: echo }}\n  b:\n    run: echo\n    {of_step}\n")
}

#[test]
fn outputs_of_steps_are_refused_where_the_language_says_so() {
    let text = language();
    let row = text.lines().find(|line| line.starts_with("| `steps.NAME.outputs.X`")).expect("a row");
    let keys: Vec<&str> = row.split("not in ").nth(1).expect("keys").split('`').skip(1).step_by(2).collect();
    assert!(keys.len() > 10, "{keys:?}");
    for key in keys {
        let sandbox = Sandbox::new();
        sandbox.write("plan.yaml", &with_output_in(key));
        sandbox.run(&["check", "plan.yaml"]).exits(3).says("1 problem").says("cannot depend on what");
    }
}
