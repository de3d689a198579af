//! The first paragraph of prose in a Markdown file.

const LETTERS_MIN: usize = 20;

/// Finds the first paragraph that is prose: no heading, badge, list, table, code or HTML.
pub(crate) fn first_paragraph(markdown: &str) -> Option<String> {
    let mut is_code = false;
    let mut paragraph = String::new();
    for line in markdown.lines().map(str::trim) {
        let is_fence = line.starts_with("```") || line.starts_with("~~~");
        is_code ^= is_fence;
        if is_fence || is_code || !is_prose(line) {
            if is_enough(&paragraph) {
                break;
            }
            paragraph.clear();
            continue;
        }
        if !paragraph.is_empty() {
            paragraph.push(' ');
        }
        paragraph.push_str(&plain(line));
    }
    let paragraph = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
    is_enough(&paragraph).then_some(paragraph)
}

fn is_enough(paragraph: &str) -> bool {
    paragraph.chars().filter(|c| c.is_alphabetic()).count() >= LETTERS_MIN
}

fn is_prose(line: &str) -> bool {
    let is_marked = ["#", "[!", "![", "<", "|", "-", "*", "+", ">", "=", ":"];
    let is_reference = line.starts_with('[') && line.contains("]:");
    !line.is_empty() && !is_reference && !is_marked.iter().any(|mark| line.starts_with(mark))
        || line.starts_with("**")
}

/// Takes the marks out of a line: of `[text](address)` and `[text][name]` the text stays.
fn plain(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(start) = rest.find('[') {
        text.push_str(&rest[..start]);
        rest = &rest[start..];
        let Some(end) = rest.find(']') else { break };
        text.push_str(&rest[1..end]);
        rest = &rest[end + 1..];
        for (open, close) in [('(', ')'), ('[', ']')] {
            if rest.starts_with(open) {
                rest = rest.find(close).map_or("", |end| &rest[end + 1..]);
            }
        }
    }
    text.push_str(rest);
    text.replace(['`', '*'], "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(markdown: &str, want: Option<&str>) {
        assert_eq!(first_paragraph(markdown).as_deref(), want);
    }

    #[test]
    fn prose_is_found_behind_headings_and_badges() {
        check(
            "# Name\n\n[![Build](x)](y)\n![logo](z)\n<p align=center>\nshort\n\n\
             A **fast** parser for [dates](http://d) and\n`times`, see [docs][1].\n\nMore.",
            Some("A fast parser for dates and times, see docs."),
        );
        check(
            "```rust\nlet much = \"code that looks like a long sentence\";\n```\n\
             This is what it is about, in so many words.",
            Some("This is what it is about, in so many words."),
        );
    }

    #[test]
    fn without_prose_there_is_nothing() {
        check("", None);
        check("# Only a heading that is long enough to be prose", None);
        check(
            "- a list item that is long enough to be prose\n\n[1]: a reference, long enough",
            None,
        );
        check(
            "an [unclosed bracket that is long enough to count",
            Some("an [unclosed bracket that is long enough to count"),
        );
    }
}
