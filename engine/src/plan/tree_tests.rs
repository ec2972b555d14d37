//! Properties of the tree: it never panics, and it says the same as an independent YAML reader.

use std::sync::Arc;

use proptest::prelude::*;

use super::model::Source;
use super::{scan, tree};

fn read(text: &str) -> Option<serde_json::Value> {
    let source = Arc::new(Source::new("t", text));
    let mut problems = Vec::new();
    let node = tree::parse(&source, &mut problems);
    for problem in &problems {
        for label in &problem.labels {
            assert!(text.get(label.span.clone()).is_some(), "{problem} points outside the text");
        }
    }
    let duplicate = problems.iter().any(|problem| problem.code == "yaml::duplicate-key");
    node.filter(|_| !duplicate).map(|node| node.to_value())
}

/// Text made of what YAML is made of.
fn yamlish() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("\n".to_owned()),
        Just("\n  ".to_owned()),
        Just("\n    ".to_owned()),
        Just(": ".to_owned()),
        Just("- ".to_owned()),
        Just("[".to_owned()),
        Just("]".to_owned()),
        Just("{".to_owned()),
        Just("}".to_owned()),
        Just(", ".to_owned()),
        Just("|\n".to_owned()),
        Just(">-\n".to_owned()),
        Just("&x ".to_owned()),
        Just("*x".to_owned()),
        Just("!!str ".to_owned()),
        Just("---\n".to_owned()),
        Just("# c\n".to_owned()),
        Just("'".to_owned()),
        Just("\"".to_owned()),
        Just("\t".to_owned()),
        Just("${{ inputs.a }}".to_owned()),
        Just("~".to_owned()),
        Just("0777".to_owned()),
        Just("-1.5e3".to_owned()),
        "[a-cé]{1,3}",
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        read(&text);
        let _ = scan::split(&text);
        scan::mentions(&text);
    }

    #[test]
    fn yamlish_text_means_the_same_to_another_reader(text in yamlish()) {
        // Not compared: what a plan may use differently, a block scalar at the very margin, where a `#` is text by the
        // specification but a comment to the other reader, and one that ends with the file instead of with its line: whether that has
        // a line break is told differently.
        let text = text + "\n";
        let margin = text.contains('#') && text.contains(['|', '>']);
        let plain = !margin && !["&x", "*x", "!!"].iter().any(|mark| text.contains(mark));
        if let (Some(ours), true) = (read(&text), plain)
            && let Ok(theirs) = serde_yaml::from_str::<serde_json::Value>(&text)
        {
            prop_assert_eq!(ours, theirs);
        }
    }

    #[test]
    fn expressions_are_scanned_without_panic(text in "[a-z.|'\"\\[\\](){}$ =é]{0,40}") {
        let _ = scan::split(&text);
        let _ = super::expr::check(&text);
    }

    #[test]
    fn references_are_those_that_the_template_engine_finds(text in "(a|b|c)(\\.(d|e|f)){0,3}( (\\+|~|and|==) (g|h)(\\.(d|e)){0,2}){0,3}") {
        let environment = minijinja::Environment::new();
        if let Ok(expression) = environment.compile_expression(&text) {
            let theirs: std::collections::BTreeSet<String> = expression.undeclared_variables(true).into_iter().collect();
            let ours: std::collections::BTreeSet<String> = scan::mentions(&text).references.iter().map(scan::Reference::text).collect();
            prop_assert_eq!(ours, theirs);
        }
    }
}
