//! One page of a list, read item by item: parsed as a whole it would take ten times its text. Pure.

use serde::Deserialize;
use serde::de::Error as _;
use serde_json::Value;
use serde_json::value::RawValue;

use super::Resource;

/// A page, with its items as whoever asked wants to keep them.
#[derive(Debug, PartialEq)]
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    /// The resource version of the list, which a watch goes on from.
    pub(super) version: String,
    /// What to ask for the next page by; empty on the last.
    pub(super) next: String,
}

/// A page as it comes: the items are still text.
#[derive(Deserialize)]
struct Written<'t> {
    #[serde(default)]
    metadata: Metadata,
    /// The server writes `null` for none.
    #[serde(borrow)]
    items: Option<Vec<&'t RawValue>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    resource_version: String,
    r#continue: String,
}

/// Reads a page. At any time only one item is there parsed, unless `pack` keeps them so.
pub(super) fn read<T>(
    text: &str,
    resource: &Resource,
    pack: impl Fn(Value) -> T,
) -> Result<Page<T>, serde_json::Error> {
    let written: Written<'_> = serde_json::from_str(text)?;
    let parsed = written.items.iter().flatten().enumerate().map(|(number, item)| parse(number, item));
    let items = parsed.map(|item| Ok(pack(named(item?, resource)))).collect::<Result<_, serde_json::Error>>()?;
    Ok(Page { items, version: written.metadata.resource_version, next: written.metadata.r#continue })
}

fn parse(number: usize, item: &RawValue) -> Result<Value, serde_json::Error> {
    serde_json::from_str(item.get())
        .map_err(|error| serde_json::Error::custom(format!("in `items[{number}]`: {error}")))
}

/// An item with its kind, which the server leaves out where all share it.
fn named(mut item: Value, resource: &Resource) -> Value {
    if let Some(fields) = item.as_object_mut() {
        fields.entry("apiVersion").or_insert_with(|| resource.api_version().into());
        fields.entry("kind").or_insert_with(|| resource.kind.clone().into());
    }
    item
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pods() -> Resource {
        Resource {
            group: String::new(),
            version: "v1".into(),
            kind: "Pod".into(),
            plural: "pods".into(),
            singular: "pod".into(),
            short_names: Vec::new(),
            namespaced: true,
            has_status: true,
        }
    }

    fn read(text: &str) -> Result<Page<Value>, serde_json::Error> {
        super::read(text, &pods(), |item| item)
    }

    #[test]
    fn item_by_item_a_page_is_what_it_is_as_a_whole() {
        let items = json!([
            { "metadata": { "name": "a", "labels": { "z": "1", "b": "\"\\ü\u{1}" } }, "n": [1.5, -3, null, 1e300] },
            { "apiVersion": "v2", "kind": "Other", "metadata": { "name": "b" }, "deep": { "er": [[{}], []] } }
        ]);
        let whole = json!({ "kind": "PodList", "items": items.clone(), "apiVersion": "v1",
                            "metadata": { "resourceVersion": "42", "continue": "abc", "remainingItemCount": 7 } });
        let mut expected = items.as_array().expect("a list").clone();
        expected[0]["apiVersion"] = json!("v1");
        expected[0]["kind"] = json!("Pod");
        for text in [whole.to_string(), format!("{whole:#}")] {
            let page = read(&text).expect("a page");
            assert_eq!((page.version.as_str(), page.next.as_str()), ("42", "abc"));
            assert_eq!(page.items, expected);
        }
    }

    #[test]
    fn a_page_may_hold_nothing() {
        for text in [r#"{"items":null,"metadata":{"resourceVersion":"1"}}"#, r#"{"metadata":{"resourceVersion":"1"}}"#]
        {
            let page = read(text).expect("a page");
            assert_eq!(page, Page { items: Vec::new(), version: "1".into(), next: String::new() });
        }
        assert_eq!(read("{}").expect("a page").version, "");
    }

    #[test]
    fn a_broken_page_says_where() {
        let cases = [
            (r#"{"items":[{"a":1},{"b":}]}"#, "expected value at line 1 column 24"),
            (r#"{"items":[{"a":1},{"#, "EOF while parsing an object at line 1 column 19"),
            (
                r#"{"items":[{"a":1},{"b":"\ud800"}]}"#,
                "in `items[1]`: unexpected end of hex escape at line 1 column 13",
            ),
            ("<html>", "expected value at line 1 column 1"),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text).expect_err(text).to_string(), expected, "{text}");
        }
    }
}
