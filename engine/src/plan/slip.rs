//! What somebody most likely did who wrote something that is not YAML: the words of a parser say what it expected, not what to do.
//!
//! Pure guesses from the lines around the place; says nothing where none fits.

/// What to say below the caret, and what to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Slip {
    pub(super) remark: String,
    pub(super) help: String,
}

/// The slip at an offset, by what the parser says of it.
pub(super) fn at(text: &str, offset: usize, said: &str) -> Option<Slip> {
    let begins = text[..offset].rfind('\n').map_or(0, |newline| newline + 1);
    let line = text[begins..].lines().next().unwrap_or("");
    let here = Here { before: &text[..begins], line, left: &text[begins..offset] };
    here.tab()
        .or_else(|| here.bare_expression())
        .or_else(|| here.quote_in_quotes(said))
        .or_else(|| here.open_quote(said))
        .or_else(|| here.odd_letter(said))
        .or_else(|| here.open_bracket(said))
        .or_else(|| here.flat_block())
        .or_else(|| here.colon_in_text(said))
        .or_else(|| here.indentation(said))
        .or_else(|| here.alias(said))
}

struct Here<'t> {
    /// The lines above.
    before: &'t str,
    line: &'t str,
    /// What stands on the line, left of the place.
    left: &'t str,
}

impl<'t> Here<'t> {
    fn above(&self) -> Option<&'t str> {
        self.before.lines().rev().find(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
    }

    fn tab(&self) -> Option<Slip> {
        let indent = &self.line[..self.line.len() - self.line.trim_start().len()];
        let tabbed = indent.contains('\t') || self.left.contains('\t');
        tabbed.then(|| slip("here", "YAML is indented with spaces, not tabs"))
    }

    fn bare_expression(&self) -> Option<Slip> {
        let inside = self.left.trim_end_matches('{').strip_suffix('$')?;
        let rest = &self.line[inside.len()..];
        let whole = rest.find("}}").map_or("${{ … }}", |end| &rest[..end + 2]);
        let help = format!("within `{{ }}` and `[ ]` it stands in quotes: `\"{whole}\"`");
        rest.starts_with("${{").then(|| slip("a brace without quotes is YAML's own", help))
    }

    fn quote_in_quotes(&self, said: &str) -> Option<Slip> {
        let help = if said.contains("single") {
            "within '…' a quote is written twice: `''`"
        } else {
            "within \"…\" a quote is written `\\\"`"
        };
        said.contains("trailing content after").then(|| slip("the quoted text has ended before this", help))
    }

    fn odd_letter(&self, said: &str) -> Option<Slip> {
        let text = self.line[self.left.len()..].split(" #").next().unwrap_or("").trim();
        let help = format!("put the text in quotes: `'{}'`", text.replace('\'', "''"));
        (said.contains("unexpected character") && self.left.ends_with(' '))
            .then(|| slip("begins no text without quotes", help))
    }

    fn open_bracket(&self, said: &str) -> Option<Slip> {
        let about = ["illegal placement of ':'", "flow sequence", "flow mapping"];
        let lines = self.before.lines().enumerate();
        let (index, _) =
            lines.filter(|(_, line)| depth(line) > 0).last().filter(|_| about.iter().any(|it| said.contains(it)))?;
        Some(slip("still within brackets", format!("a bracket that opens in line {} does not close", index + 1)))
    }

    fn open_quote(&self, said: &str) -> Option<Slip> {
        let lines = self.before.lines().chain([self.line]).enumerate();
        let (index, _) =
            lines.filter(|(_, line)| opens_quote(line)).last().filter(|_| said.contains("quoted scalar"))?;
        let help = format!("the quote that opens in line {} does not close", index + 1);
        Some(slip("still within a quoted text", help))
    }

    /// A line that should stand further in, below a `|` or `>`.
    fn flat_block(&self) -> Option<Slip> {
        let above = self.above()?;
        let (key, mark) = above.trim().rsplit_once(": ")?;
        let flat = mark.starts_with(['|', '>']) && mark.len() <= 2 && indent(self.line) <= indent(above);
        flat.then(|| slip("not further in", format!("the text of `{key}: {mark}` stands further in than `{key}`")))
    }

    fn colon_in_text(&self, said: &str) -> Option<Slip> {
        let (key, value) = self.left.split_once(": ").filter(|_| said.contains("mapping values"))?;
        let whole = self.line[key.len() + 2..].trim();
        let quoted = whole.replace('\'', "''");
        let help = format!("a text with `: ` in it stands in quotes: `{}: '{quoted}'`", key.trim());
        (!value.is_empty()).then(|| slip("begins a second value", help))
    }

    fn indentation(&self, said: &str) -> Option<Slip> {
        let about =
            ["mapping values", "expected key", "expected <block end>", "block end", "simple key", "block collection"];
        let above = self.above().filter(|_| about.iter().any(|words| said.contains(words)))?;
        if said.contains("simple key") && !self.line.contains(": ") && !self.line.trim_end().ends_with(':') {
            return Some(slip("a key without `:`", "write `key: value`, with a colon and a space"));
        }
        if let Some((key, value)) =
            above.trim().split_once(':').filter(|(key, _)| !above.contains(": ") && !key.contains(' '))
            && !value.is_empty()
        {
            return Some(slip(
                "the line above has no key",
                format!("a colon is followed by a space: `{key}: {value}`"),
            ));
        }
        let (own, other) = (indent(self.line), indent(above));
        let remark = format!("{own} spaces in, the line above {other}");
        (own != other)
            .then(|| slip(remark, "keys of one map stand equally far in; what belongs to a key stands further in"))
    }

    fn alias(&self, said: &str) -> Option<Slip> {
        let help = "`*name` refers to an anchor `&name` above it; put the text in quotes if a star is meant";
        said.contains("unknown anchor").then(|| slip("here", help))
    }
}

fn slip(remark: impl Into<String>, help: impl Into<String>) -> Slip {
    Slip { remark: remark.into(), help: help.into() }
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// How many brackets a line opens beyond those that it closes.
fn depth(line: &str) -> isize {
    let letters = line.chars().map(|letter| match letter {
        '[' | '{' => 1,
        ']' | '}' => -1,
        _ => 0,
    });
    letters.sum()
}

/// Whether a quote opens at the start of a value and does not close on its line.
fn opens_quote(line: &str) -> bool {
    let begins = |quote: char| {
        let at = line.match_indices(quote).map(|(at, _)| at);
        at.into_iter()
            .find(|at| line[..*at].trim_end().ends_with([':', '-', '[', '{', ',']) || line[..*at].trim().is_empty())
    };
    let open = |quote: char| begins(quote).is_some_and(|at| line[at..].matches(quote).count() % 2 == 1);
    open('"') || open('\'')
}

#[cfg(test)]
mod tests {
    fn help(text: &str, at: &str, said: &str) -> Option<String> {
        super::at(text, text.find(at).expect("a place"), said).map(|slip| slip.help)
    }

    #[test]
    fn slips_are_told() {
        let expected = "while parsing a flow mapping, did not find expected ',' or '}'";
        for (text, at, said, told) in [
            ("a:\n\tb: 1\n", "b", "tabs", "YAML is indented with spaces, not tabs"),
            (
                "a: { b: ${{ inputs.x }} }",
                "{{ ",
                expected,
                "within `{ }` and `[ ]` it stands in quotes: `\"${{ inputs.x }}\"`",
            ),
            (
                "a: \"x\nb: 1\n",
                "b:",
                "invalid indentation in multiline quoted scalar",
                "the quote that opens in line 1 does not close",
            ),
            (
                "a:\n  run: |\n  echo\n",
                "echo",
                "simple key expected ':'",
                "the text of `run: |` stands further in than `run`",
            ),
            (
                "run: echo it's: here",
                ": here",
                "mapping values are not allowed in this context",
                "a text with `: ` in it stands in quotes: `run: 'echo it''s: here'`",
            ),
            (
                "a: 1\n  b: 2\n",
                ": 2",
                "mapping values are not allowed in this context",
                "keys of one map stand equally far in; what belongs to a key stands further in",
            ),
            (
                "a: 'it's'\n",
                "s'",
                "invalid trailing content after single-quoted scalar",
                "within '…' a quote is written twice: `''`",
            ),
            ("a: @foo # x\n", "@", "unexpected character: `@'", "put the text in quotes: `'@foo'`"),
            (
                "a: [b\nc: d\n",
                ": d",
                "illegal placement of ':' indicator",
                "a bracket that opens in line 1 does not close",
            ),
            (
                "run:echo hi\nneeds: x\n",
                ": x",
                "mapping values are not allowed in this context",
                "a colon is followed by a space: `run: echo hi`",
            ),
            ("a: 1\nb\nc: 2\n", "b", "simple key expected ':'", "write `key: value`, with a colon and a space"),
        ] {
            assert_eq!(help(text, at, said).as_deref(), Some(told), "{text}");
        }
    }

    #[test]
    fn what_fits_nothing_is_left_to_the_parser() {
        assert_eq!(help("a: 1\nb: ]\n", "]", "did not find expected node content"), None);
        assert_eq!(help("a: [1\n", "1", "did not find expected ',' or ']'"), None);
    }
}
