//! `.env` files: `NAME=value` lines.

use std::collections::BTreeMap;

use crate::load::Problem;

/// Reads `NAME=value` lines. Empty lines and those that begin with `#` are passed over, `export ` in front is allowed.
/// A value in single quotes is taken as it is; in double quotes `\n`, `\"` and `\\` are understood; an unquoted one ends
/// before ` #`. Nothing is expanded.
///
/// # Errors
/// Every line that is none of these, with its number.
pub fn parse_env_file(text: &str) -> Result<BTreeMap<String, String>, Vec<Problem>> {
    let (mut values, mut problems) = (BTreeMap::new(), Vec::new());
    for (number, line) in text.lines().enumerate().map(|(n, line)| (n + 1, line.trim())) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match parse_line(line) {
            Ok((name, value)) => {
                if values.insert(name.clone(), value).is_some() {
                    problems.push(Problem::new(name, format!("line {number} sets it a second time")));
                }
            }
            Err(message) => problems.push(Problem::new(format!("line {number}"), message)),
        }
    }
    if problems.is_empty() { Ok(values) } else { Err(problems) }
}

fn parse_line(line: &str) -> Result<(String, String), String> {
    let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
    let (name, value) = line.split_once('=').ok_or("expected NAME=value")?;
    let name = name.trim_end();
    let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && name.starts_with(|c: char| !c.is_ascii_digit());
    if !is_name {
        // it may be a line of a key: what stands there is not repeated
        return Err("what stands before the = is no name: letters, digits and underscores only".into());
    }
    Ok((name.to_owned(), parse_value(value.trim())?))
}

fn parse_value(value: &str) -> Result<String, String> {
    let Some(quote) = value.chars().next().filter(|c| matches!(c, '"' | '\'')) else {
        return Ok(value.split(" #").next().unwrap_or_default().trim_end().to_owned());
    };
    let mut parsed = String::new();
    let mut rest = value[1..].chars();
    loop {
        match rest.next() {
            None => return Err(format!("the closing {quote} is missing")),
            Some(c) if c == quote => break,
            Some('\\') if quote == '"' => match rest.next() {
                Some('n') => parsed.push('\n'),
                Some(c @ ('"' | '\\')) => parsed.push(c),
                _ => return Err("a backslash in double quotes stands before n, \" or \\ only".into()),
            },
            Some(c) => parsed.push(c),
        }
    }
    let after = rest.as_str().trim();
    if after.is_empty() || after.starts_with('#') {
        Ok(parsed)
    } else {
        Err(format!("something stands behind the closing {quote}; quotes stand around the whole value"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_shells_would() {
        let text = "\n# comment\nA=1\nexport B = two words # note\nC='$x # \"y\"'\nD=\"a\\nb \\\"c\\\\\" # z\nE=\nF=a#b\n";
        let values = parse_env_file(text).unwrap();
        let expected = [
            ("A", "1"),
            ("B", "two words"),
            ("C", "$x # \"y\""),
            ("D", "a\nb \"c\\"),
            ("E", ""),
            ("F", "a#b"),
        ];
        assert_eq!(values.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn every_bad_line_is_named() {
        let problems = parse_env_file("A\n1B=x\nC='x\nD=\"x\" y\nE=\"\\t\"\nF=1\nF=2\n").unwrap_err();
        let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
        for (n, expected) in [
            "line 1: expected",
            "line 2: what stands before the =",
            "line 3: the closing",
            "line 4: something stands behind",
            "line 5: a backslash",
            "F: line 7",
        ]
        .iter()
        .enumerate()
        {
            assert!(shown[n].starts_with(expected), "{shown:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_file_is_read_or_told_line_by_line(
            text in "\\PC{0,80}|(export |A|B_1|=|'|\"|\\\\|\\\\n|#| |\n|\r\n|\t|é){0,40}"
        ) {
            if let Err(problems) = parse_env_file(&text) {
                proptest::prop_assert!(!problems.is_empty());
            }
        }
    }
}
