//! `label_selector`: `a`, `!a`, `a=b`, `a==b`, `a!=b`, `a in (b,c)`, `a notin (b,c)`, joined by commas.

use api_control::LabelNeed;

/// Cloud Foundry's limit.
const MAX_NEEDS: usize = 50;
/// So long may a key with its prefix, or a value, be; what is longer matches nothing that exists.
const MAX_LENGTH: usize = 253 + 1 + 63;

/// None where the text is no selector.
pub(crate) fn parse(text: &str) -> Option<Vec<LabelNeed>> {
    let needs = split(text)?
        .into_iter()
        .map(need)
        .collect::<Option<Vec<_>>>()?;
    (needs.len() <= MAX_NEEDS).then_some(needs)
}

/// At the commas outside parentheses.
fn split(text: &str) -> Option<Vec<&str>> {
    let (mut parts, mut begin, mut depth) = (Vec::new(), 0, 0_u32);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.checked_sub(1)?,
            b',' if depth == 0 => {
                parts.push(&text[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[begin..]);
    (depth == 0).then_some(parts)
}

fn need(text: &str) -> Option<LabelNeed> {
    let text = text.trim();
    let with = |key: &str, wanted, values: Option<Vec<String>>| {
        let key = word(key)?;
        Some(LabelNeed {
            key: key.to_owned(),
            wanted,
            values,
        })
    };
    if let Some((key, value)) = text.split_once("!=") {
        return with(key, false, Some(vec![value_of(value)?]));
    }
    if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return with(key, true, Some(vec![value_of(value)?]));
    }
    if let Some(list) = text.strip_suffix(')') {
        let (head, list) = list.split_once('(')?;
        let (key, operator) = head.trim().rsplit_once(char::is_whitespace)?;
        let values = list.split(',').map(value_of).collect::<Option<Vec<_>>>()?;
        return match operator {
            "in" => with(key, true, Some(values)),
            "notin" => with(key, false, Some(values)),
            _ => None,
        };
    }
    match text.strip_prefix('!') {
        Some(key) => with(key, false, None),
        None => with(text, true, None),
    }
}

/// A key: no blanks, nothing that an operator is made of.
fn word(text: &str) -> Option<&str> {
    let text = text.trim();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    (!text.is_empty() && text.len() <= MAX_LENGTH && text.chars().all(plain)).then_some(text)
}

/// A value may be empty.
fn value_of(text: &str) -> Option<String> {
    let text = text.trim();
    if text.is_empty() {
        return Some(String::new());
    }
    word(text).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_say_which_labels_are_wanted_and_which_are_not() {
        let some = |key: &str, wanted, values: &[&str]| LabelNeed {
            key: key.into(),
            wanted,
            values: Some(values.iter().map(|value| (*value).to_owned()).collect()),
        };
        let bare = |key: &str, wanted| LabelNeed {
            key: key.into(),
            wanted,
            values: None,
        };
        for (text, want) in [
            ("a", vec![bare("a", true)]),
            ("!a", vec![bare("a", false)]),
            ("a=b", vec![some("a", true, &["b"])]),
            ("a==b", vec![some("a", true, &["b"])]),
            ("a!=b", vec![some("a", false, &["b"])]),
            ("a=", vec![some("a", true, &[""])]),
            (
                "example.com/a in (b, c)",
                vec![some("example.com/a", true, &["b", "c"])],
            ),
            (
                "a notin (b),c=d , !e",
                vec![
                    some("a", false, &["b"]),
                    some("c", true, &["d"]),
                    bare("e", false),
                ],
            ),
        ] {
            assert_eq!(parse(text), Some(want), "{text}");
        }
        for bad in [
            "",
            ",",
            "a b",
            "a in b",
            "a in (b",
            "a)",
            "(",
            "a=b=c",
            "a in ((b))",
            "a near (b)",
            "a'b",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert_eq!(parse(&["a"; 51].join(",")), None);
    }
}
