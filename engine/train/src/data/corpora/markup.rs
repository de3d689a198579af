//! Paragraphs and headings out of HTML, manual pages, plain text and doc strings.

use super::prose::{plain_signs, squeeze};

/// A piece of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Block {
    /// Names what follows.
    Heading(String),
    /// Running text.
    Paragraph(String),
}

#[derive(Default)]
struct Blocks {
    out: Vec<Block>,
    text: String,
    heading: bool,
}

impl Blocks {
    fn flush(&mut self) {
        let text = squeeze(&plain_signs(&self.text));
        self.text.clear();
        if !text.is_empty() {
            let heading = self.heading;
            self.out.push(if heading { Block::Heading(text) } else { Block::Paragraph(text) });
        }
    }
}

/// Reads HTML: every element that starts a block ends the one before; code, scripts, tables
/// and navigation are left out. Not a parser of malformed pages: what it misreads is
/// dropped later as no prose.
pub(crate) fn html(page: &str) -> Vec<Block> {
    const SKIP: [&str; 12] = [
        "script", "style", "pre", "nav", "table", "svg", "math", "footer", "title", "head",
        "button", "noscript",
    ];
    const INLINE: [&str; 22] = [
        "a", "b", "i", "em", "strong", "code", "span", "tt", "sub", "sup", "cite", "abbr", "var",
        "kbd", "samp", "small", "font", "dfn", "q", "u", "acronym", "img",
    ];
    let mut blocks = Blocks::default();
    let mut rest = page;
    while let Some(open) = rest.find('<') {
        blocks.text.push_str(&entities(&rest[..open]));
        rest = &rest[open..];
        if rest.starts_with("<!--") {
            rest = rest.find("-->").map_or("", |end| &rest[end + 3..]);
            continue;
        }
        let Some(close) = rest.find('>') else { break };
        let tag = &rest[1..close];
        rest = &rest[close + 1..];
        let name: String = tag
            .trim_start_matches('/')
            .chars()
            .take_while(char::is_ascii_alphanumeric)
            .collect::<String>()
            .to_ascii_lowercase();
        if SKIP.contains(&name.as_str()) && !tag.starts_with('/') && !tag.ends_with('/') {
            blocks.flush();
            let end = format!("</{name}");
            rest = find_ignoring_case(rest, &end).map_or("", |at| &rest[at..]);
        } else if !INLINE.contains(&name.as_str()) {
            blocks.flush();
            let is_heading = name.len() == 2 && name.starts_with('h') && name != "hr";
            blocks.heading = is_heading && !tag.starts_with('/');
        }
    }
    if !rest.contains('<') {
        blocks.text.push_str(&entities(rest));
    }
    blocks.flush();
    blocks.out
}

fn find_ignoring_case(text: &str, pattern: &str) -> Option<usize> {
    let (bytes, pattern) = (text.as_bytes(), pattern.as_bytes());
    let at =
        bytes.windows(pattern.len()).position(|window| window.eq_ignore_ascii_case(pattern))?;
    text.is_char_boundary(at).then_some(at)
}

fn entities(text: &str) -> String {
    if !text.contains('&') {
        return text.to_owned();
    }
    const NAMED: [(&str, &str); 14] = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&nbsp;", " "),
        ("&#39;", "'"),
        ("&rsquo;", "'"),
        ("&lsquo;", "'"),
        ("&ldquo;", "\""),
        ("&rdquo;", "\""),
        ("&mdash;", "-"),
        ("&ndash;", "-"),
        ("&hellip;", "..."),
        ("&#8217;", "'"),
        ("&amp;", "&"),
    ];
    NAMED.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// Reads the source of a manual page (man(7) and the common part of mdoc(7)).
pub(crate) fn roff(page: &str) -> Vec<Block> {
    let mut blocks = Blocks::default();
    let mut skip = false;
    for line in page.lines() {
        if let Some(request) = line.strip_prefix(['.', '\'']) {
            let (name, rest) = request.trim().split_once(' ').unwrap_or((request.trim(), ""));
            match name {
                "SH" | "SS" | "Sh" | "Ss" => {
                    blocks.flush();
                    blocks.heading = true;
                    blocks.text.push_str(&escapes(rest));
                    blocks.flush();
                    blocks.heading = false;
                }
                "nf" | "EX" | "TS" | "Bd" => skip = true,
                "fi" | "EE" | "TE" | "Ed" => skip = false,
                "B" | "I" | "BR" | "IR" | "RB" | "RI" | "BI" | "IB" if !skip => {
                    blocks.text.push(' ');
                    let glued = name.len() == 2;
                    let rest = escapes(rest).replace('"', "");
                    blocks.text.push_str(&if glued { rest.replace(' ', "") } else { rest });
                }
                "PP" | "P" | "LP" | "TP" | "IP" | "HP" | "Pp" | "It" | "sp" | "br" | "RS"
                | "RE" | "TH" => blocks.flush(),
                _ => {}
            }
        } else if line.is_empty() {
            blocks.flush();
        } else if !skip {
            blocks.text.push(' ');
            blocks.text.push_str(&escapes(line));
        }
    }
    blocks.flush();
    blocks.out
}

/// Resolves roff's escapes: fonts vanish, signs become ASCII.
fn escapes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut signs = text.chars();
    while let Some(sign) = signs.next() {
        if sign != '\\' {
            out.push(sign);
            continue;
        }
        match signs.next() {
            Some('f') => {
                let long = signs.next();
                if long == Some('[') {
                    signs.by_ref().find(|sign| *sign == ']');
                } else if long == Some('(') {
                    signs.nth(1);
                }
            }
            Some('(') => {
                let name: String = signs.by_ref().take(2).collect();
                out.push_str(match name.as_str() {
                    "aq" | "cq" | "oq" => "'",
                    "lq" | "rq" | "dq" => "\"",
                    "em" | "en" | "hy" => "-",
                    _ => "",
                });
            }
            Some('[') => {
                signs.by_ref().find(|sign| *sign == ']');
            }
            Some('-') => out.push('-'),
            Some('e') => out.push('\\'),
            Some(' ' | '~' | '0') => out.push(' '),
            Some('"') | None => break,
            _ => {}
        }
    }
    out
}

/// Reads plain text: paragraphs are parted by empty lines.
pub(crate) fn text(page: &str) -> Vec<Block> {
    let mut blocks = Blocks::default();
    for line in page.lines() {
        if line.trim().is_empty() {
            blocks.flush();
        } else if line.trim().chars().all(|sign| "=-~*+#^.\"'".contains(sign)) {
            // An underline makes a heading of what is above it.
            blocks.heading = true;
            blocks.flush();
            blocks.heading = false;
        } else {
            blocks.text.push(' ');
            blocks.text.push_str(&line.replace("``", "").replace(['*', '`'], ""));
        }
    }
    blocks.flush();
    blocks.out
}

/// Reads a dictionary in dict's format: bracketed remarks go.
pub(crate) fn dictionary(page: &str) -> Vec<Block> {
    let mut clean = String::with_capacity(page.len());
    let mut depth = 0_usize;
    for sign in page.chars() {
        match sign {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            // A bracket that is never closed ends with its paragraph.
            '\n' if clean.ends_with('\n') => {
                depth = 0;
                clean.push('\n');
            }
            '{' | '}' => {}
            other if depth == 0 => clean.push(other),
            '\n' => clean.push('\n'),
            _ => {}
        }
    }
    text(&clean)
}

/// Reads the doc strings of Python source.
pub(crate) fn doc_strings(source: &str) -> Vec<Block> {
    let mut out = Vec::new();
    for (index, part) in source.split("\"\"\"").enumerate() {
        if index % 2 == 1 {
            out.extend(text(part));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_blocks() {
        let page = "<html><head><title>x</title></head><h2>Flow &amp; heat</h2><p>It <b>is</b> hot.<pre>code</pre><li>One";
        let blocks = html(page);
        assert_eq!(
            blocks,
            [
                Block::Heading("Flow & heat".into()),
                Block::Paragraph("It is hot.".into()),
                Block::Paragraph("One".into()),
            ]
        );
        html("<");
        html("<script>never closed");
        html("<p>\u{e9}<PRE>\u{e9}</PRE>");
    }

    #[test]
    fn roff_blocks() {
        let page = ".TH X 1\n.SH NAME\nx \\- prints \\fBall\\fR\n.PP\nIt uses\n.BR read (2)\nonly.";
        let blocks = roff(page);
        assert_eq!(
            blocks,
            [
                Block::Heading("NAME".into()),
                Block::Paragraph("x - prints all".into()),
                Block::Paragraph("It uses read(2) only.".into()),
            ]
        );
    }
}
