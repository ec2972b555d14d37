//! `{{ inputs.x }}` without its `$`: text like any other, which its author most likely took for an expression.
//!
//! Finds them; which names there are is known elsewhere. Other programs have such braces too, so only what names something is told.

use super::scan::{self, Reference};
use super::tree::{Data, Node};

/// A text with such braces.
pub(super) struct Bare<'n> {
    pub(super) node: &'n Node,
    /// Where they stand in the text.
    pub(super) at: std::ops::Range<usize>,
    pub(super) reference: Reference,
}

/// All of them below a node.
pub(super) fn below<'n>(node: &'n Node, found: &mut Vec<Bare<'n>>) {
    match &node.data {
        Data::Text(text) if text.contains("{{") => within(node, text, found),
        Data::List(items) => items.iter().for_each(|item| below(item, found)),
        Data::Map(entries) => entries.iter().for_each(|entry| below(&entry.value, found)),
        _ => {}
    }
}

fn within<'n>(node: &'n Node, text: &str, found: &mut Vec<Bare<'n>>) {
    for (open, _) in text.match_indices("{{").filter(|(open, _)| !text[..*open].ends_with('$')) {
        let Some(length) = text[open..].find("}}") else { continue };
        let mentions = scan::mentions(&text[open + 2..open + length]);
        if let Some(reference) = mentions.references.into_iter().next() {
            found.push(Bare { node, at: open..open + length + 2, reference });
        }
    }
}
