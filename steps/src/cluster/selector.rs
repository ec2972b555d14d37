//! Label selectors in kubectl's syntax: `app=x,tier!=db,env in (a,b),!old`.

/// Which labels an object must have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    written: String,
    terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Term {
    /// The label is there and one of these.
    In(String, Vec<String>),
    /// The label is absent or none of these.
    NotIn(String, Vec<String>),
    Has(String),
    Lacks(String),
}

impl Selector {
    /// Reads a selector; one that selects everything is an error, because nobody means it.
    pub fn read(text: &str) -> Result<Self, String> {
        let terms: Vec<Term> = split(text).into_iter().map(term).collect::<Result<_, _>>()?;
        if terms.is_empty() {
            return Err("an empty selector would select everything".to_owned());
        }
        Ok(Self { written: text.trim().to_owned(), terms })
    }

    /// The selector as it was written.
    pub fn text(&self) -> &str {
        &self.written
    }

    /// Whether it selects an object with these labels, found by their names.
    pub(super) fn selects<'l>(&self, label: impl Fn(&str) -> Option<&'l str>) -> bool {
        self.terms.iter().all(|term| match term {
            Term::In(key, values) => label(key).is_some_and(|label| values.iter().any(|it| it == label)),
            Term::NotIn(key, values) => label(key).is_none_or(|label| values.iter().all(|it| it != label)),
            Term::Has(key) => label(key).is_some(),
            Term::Lacks(key) => label(key).is_none(),
        })
    }
}

/// The terms: parted by commas that are not inside parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut depth = 0;
    let parts = text.split(move |letter| {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        letter == ',' && depth == 0
    });
    parts.map(str::trim).filter(|part| !part.is_empty()).collect()
}

fn term(text: &str) -> Result<Term, String> {
    if let Some(key) = text.strip_prefix('!') {
        return Ok(Term::Lacks(key_of(key, text)?));
    }
    if let Some((key, values)) = text.split_once(" notin ") {
        return Ok(Term::NotIn(key_of(key, text)?, among(values, text)?));
    }
    if let Some((key, values)) = text.split_once(" in ") {
        return Ok(Term::In(key_of(key, text)?, among(values, text)?));
    }
    if let Some((key, value)) = text.split_once("!=") {
        return Ok(Term::NotIn(key_of(key, text)?, vec![value.trim().to_owned()]));
    }
    if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return Ok(Term::In(key_of(key, text)?, vec![value.trim().to_owned()]));
    }
    Ok(Term::Has(key_of(text, text)?))
}

fn key_of(key: &str, term: &str) -> Result<String, String> {
    let key = key.trim();
    let fits = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_' | '/');
    if key.is_empty() || !key.chars().all(fits) {
        return Err(format!("`{term}` is no term of a label selector"));
    }
    Ok(key.to_owned())
}

fn among(values: &str, term: &str) -> Result<Vec<String>, String> {
    let inside = values.trim().strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
    let inside = inside.ok_or_else(|| format!("`{term}` needs its values in parentheses"))?;
    Ok(inside.split(',').map(|value| value.trim().to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_select_as_kubectl_does() {
        let labels = [("app", "x"), ("tier", "web"), ("a.b/c", "1")];
        let label = |name: &str| labels.iter().find(|(label, _)| *label == name).map(|(_, value)| *value);
        let cases = [
            ("app=x", true),
            ("app==x,tier!=db", true),
            ("app!=x", false),
            ("other!=x", true),
            ("app in (x, y)", true),
            ("app notin (x,y)", false),
            ("app", true),
            ("!app", false),
            ("a.b/c=1,!other", true),
            ("app=x,tier=db", false),
        ];
        for (text, selected) in cases {
            assert_eq!(Selector::read(text).expect(text).selects(label), selected, "{text}");
        }
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        for text in ["", " , ", "a b=c", "app in x", "=x"] {
            assert!(Selector::read(text).is_err(), "{text}");
        }
    }
}
