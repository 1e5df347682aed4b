//! As much of Markdown as the lint needs: lines inside and outside of code, headings, links.
//!
//! CommonMark 0.31 in the parts that the repository's files use; a file that uses others fails the lint rather than
//! being read wrongly (an unclosed fence, for instance).

use std::collections::HashMap;

/// A Markdown file, taken apart.
#[derive(Debug, Default)]
pub(crate) struct Document {
    pub(crate) lines: Vec<Line>,
    pub(crate) headings: Vec<Heading>,
    pub(crate) links: Vec<Link>,
    /// What `[text][label]` may refer to, in lower case.
    pub(crate) labels: Vec<String>,
    /// The line of a fence that is never closed.
    pub(crate) open_fence: Option<usize>,
}

/// One line and what it is part of.
#[derive(Debug, PartialEq)]
pub(crate) struct Line {
    pub(crate) text: String,
    pub(crate) kind: LineKind,
}

#[derive(Debug, PartialEq, Clone, Copy)]
pub(crate) enum LineKind {
    Text,
    /// The opening line of a code block, and whether it names a language.
    Fence {
        language: bool,
    },
    Code,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Heading {
    pub(crate) line: usize,
    pub(crate) level: usize,
    /// What `#anchor` must say to get here.
    pub(crate) anchor: String,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Link {
    pub(crate) line: usize,
    pub(crate) target: Target,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Target {
    Destination(String),
    /// `[text][label]`, in lower case.
    Label(String),
}

/// Lines are counted from 1.
pub(crate) fn parse(text: &str) -> Document {
    let mut document = Document::default();
    let mut fence: Option<(usize, &str)> = None;
    let mut anchors = HashMap::new();
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let mark = fence_mark(line);
        let kind = match (fence, mark) {
            (None, Some((mark, info))) => {
                fence = Some((number, mark));
                LineKind::Fence { language: !info.is_empty() }
            }
            (Some((_, open)), Some((mark, ""))) if mark.starts_with(open) => {
                fence = None;
                LineKind::Code
            }
            (Some(_), _) => LineKind::Code,
            (None, None) => {
                read_text(&mut document, &mut anchors, number, line);
                LineKind::Text
            }
        };
        document.lines.push(Line { text: line.to_owned(), kind });
    }
    document.open_fence = fence.map(|(number, _)| number);
    document
}

/// The marks of a line that opens or closes a code block, and the words after them.
fn fence_mark(line: &str) -> Option<(&str, &str)> {
    let line = line.trim_start();
    let length =
        line.len() - line.trim_start_matches(line.chars().next().filter(|mark| "`~".contains(*mark))?).len();
    let (mark, info) = line.split_at(length);
    (length >= 3 && !info.contains('`')).then_some((mark, info.trim()))
}

fn read_text(document: &mut Document, anchors: &mut HashMap<String, usize>, line: usize, text: &str) {
    let bare = without_code(text);
    if let Some((level, title)) = heading(text) {
        let slug = slug(title);
        let seen = anchors.entry(slug.clone()).and_modify(|seen| *seen += 1).or_insert(0);
        let anchor = if *seen == 0 { slug } else { format!("{slug}-{seen}") };
        document.headings.push(Heading { line, level, anchor });
    } else if let Some((label, destination)) = definition(&bare) {
        document.labels.push(label.to_lowercase());
        document.links.push(Link { line, target: Target::Destination(destination) });
        return;
    }
    document.links.extend(links(&bare).into_iter().map(|target| Link { line, target }));
}

fn heading(line: &str) -> Option<(usize, &str)> {
    let title = line.trim_start_matches('#');
    let level = line.len() - title.len();
    ((1..=6).contains(&level) && title.starts_with(' ')).then(|| (level, title.trim()))
}

/// The anchor that GitHub gives a heading: lower case, letters, digits, `-` and `_` kept, spaces to `-`.
fn slug(title: &str) -> String {
    let title = links_as_text(title).to_lowercase();
    let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// `[text](destination)` becomes `text`.
fn links_as_text(title: &str) -> String {
    let mut text = String::new();
    let mut rest = title;
    while let Some((before, link)) = rest.split_once('[') {
        let Some((inside, after)) = link.split_once("](").and_then(|(a, b)| Some((a, b.split_once(')')?.1)))
        else {
            break;
        };
        text.push_str(before);
        text.push_str(inside);
        rest = after;
    }
    text + rest
}

/// The line with inline code blanked: what stands there is no link.
fn without_code(line: &str) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some(start) = rest.find('`') {
        let after = &rest[start..];
        let ticks = after.len() - after.trim_start_matches('`').len();
        text.push_str(&rest[..start]);
        let Some(end) = closing(&after[ticks..], ticks) else {
            // Ticks that nothing closes stand for themselves.
            text.push_str(&after[..ticks]);
            rest = &after[ticks..];
            continue;
        };
        text.push('`');
        rest = &after[2 * ticks + end..];
    }
    text + rest
}

/// Where exactly `ticks` backquotes stand in a row.
fn closing(text: &str, ticks: usize) -> Option<usize> {
    let mut at = 0;
    while let Some(start) = text[at..].find('`') {
        let run = text[at + start..].len() - text[at + start..].trim_start_matches('`').len();
        if run == ticks {
            return Some(at + start);
        }
        at += start + run;
    }
    None
}

/// `[label]: destination`
fn definition(line: &str) -> Option<(&str, String)> {
    let (label, destination) = line.trim_start().strip_prefix('[')?.split_once("]: ")?;
    let destination = destination.split_whitespace().next()?;
    (!label.contains(']')).then(|| (label, destination.trim_matches(['<', '>']).to_owned()))
}

fn links(line: &str) -> Vec<Target> {
    let mut found = Vec::new();
    for (at, _) in line.match_indices(']') {
        let after = &line[at + 1..];
        if let Some(inside) =
            after.strip_prefix('(').and_then(|rest| rest.split_once(')')).map(|(inside, _)| inside)
        {
            // A title may follow the destination.
            let destination = inside.split(" \"").next().unwrap_or_default().trim();
            found.push(Target::Destination(destination.trim_matches(['<', '>']).to_owned()));
        } else if let Some((label, _)) = after.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            let text = || line[..at].rsplit('[').next().unwrap_or_default();
            found.push(Target::Label(if label.is_empty() { text() } else { label }.to_lowercase()));
        }
    }
    for attribute in ["href=\"", "src=\""] {
        for (at, _) in line.match_indices(attribute) {
            let value = line[at + attribute.len()..].split('"').next().unwrap_or_default();
            found.push(Target::Destination(value.to_owned()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn destinations(text: &str) -> Vec<String> {
        let name = |link: Link| match link.target {
            Target::Destination(to) => to,
            Target::Label(label) => format!("[{label}]"),
        };
        parse(text).links.into_iter().map(name).collect()
    }

    #[test]
    fn finds_links_of_every_form() {
        assert_eq!(destinations("see [a](b.md#c \"title\") and ![p](p.png)"), ["b.md#c", "p.png"]);
        assert_eq!(destinations("[a][Label] and [b][]"), ["[label]", "[b]"]);
        assert_eq!(destinations("[label]: <x.md>"), ["x.md"]);
        assert_eq!(destinations("<a href=\"x.md\"><img src=\"y.png\"></a>"), ["x.md", "y.png"]);
        assert_eq!(destinations("[![badge](b.svg)](target.md)"), ["b.svg", "target.md"]);
    }

    #[test]
    fn what_stands_in_code_is_no_link() {
        assert_eq!(destinations("`[a](b)` and ``x ` [c](d)`` then [e](f)"), ["f"]);
        assert_eq!(destinations("```text\n[a](b)\n```\n[c](d)"), ["d"]);
        assert_eq!(destinations("````text\n```\n[a](b)\n````\n"), [""; 0]);
        assert_eq!(destinations("an open ` tick and [e](f)"), ["f"]);
    }

    #[test]
    fn anchors_are_those_of_github() {
        let document = parse("# The `API`: v1 & more\n## Same\n## Same\n## See [the map](x.md)_y\n");
        let anchors: Vec<_> = document.headings.iter().map(|heading| heading.anchor.as_str()).collect();
        assert_eq!(anchors, ["the-api-v1--more", "same", "same-1", "see-the-map_y"]);
        assert!(parse("#no heading\n####### neither\n").headings.is_empty());
    }

    #[test]
    fn fences_say_whether_they_name_a_language() {
        let kinds: Vec<_> =
            parse("```sh\nx\n```\n~~~\n```\n~~~\ny").lines.into_iter().map(|line| line.kind).collect();
        let (named, bare) = (LineKind::Fence { language: true }, LineKind::Fence { language: false });
        let code = LineKind::Code;
        assert_eq!(kinds, [named, code, code, bare, code, code, LineKind::Text]);
        assert_eq!(parse("x\n```sh\ny").open_fence, Some(2));
    }
}
