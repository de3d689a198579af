//! What counts as a usable text, and how it is cleaned.

/// Words of a text at most.
pub(crate) const MAX_WORDS: usize = 180;
const MIN_WORDS: usize = 5;
const COMMON: [&str; 24] = [
    "the", "of", "is", "a", "and", "to", "in", "for", "are", "an", "that", "with", "it", "by",
    "or", "be", "as", "on", "this", "from", "was", "at", "not", "can",
];

/// Makes every run of white space one space.
pub(crate) fn squeeze(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Cuts to at most `max` words, at the end of a sentence where there is one.
pub(crate) fn cut(text: &str, max: usize) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    if words.len() <= max {
        return words.join(" ");
    }
    let head = &words[..max];
    let end = head.iter().rposition(|word| word.ends_with(['.', '?', '!']));
    let end = end.filter(|end| *end >= max / 4).map_or(max, |end| end + 1);
    head[..end].join(" ")
}

/// Splits a long text at sentences into pieces of at most [`MAX_WORDS`] words.
pub(crate) fn pieces(text: &str) -> Vec<String> {
    let mut rest = squeeze(text);
    let mut out = Vec::new();
    while !rest.is_empty() {
        let piece = cut(&rest, MAX_WORDS);
        rest = rest[piece.len()..].trim().to_owned();
        out.push(piece);
    }
    out
}

/// Whether `text` reads as an English sentence or paragraph, not as code, a table or an
/// index.
pub(crate) fn is_prose(text: &str) -> bool {
    let words: Vec<&str> = text.split(' ').collect();
    if !(MIN_WORDS..=MAX_WORDS).contains(&words.len()) {
        return false;
    }
    let visible = text.chars().filter(|c| !c.is_whitespace()).count();
    let letters = text.chars().filter(char::is_ascii_alphabetic).count();
    let strange = text.chars().filter(|c| "{}<>|=_\\^~@#$`".contains(*c)).count();
    let common =
        words.iter().filter(|word| COMMON.contains(&word.to_ascii_lowercase().as_str())).count();
    let average = visible as f64 / words.len() as f64;
    text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '"' || c == '(')
        && letters * 100 >= visible * 80
        && strange * 50 <= visible
        && common * 8 >= words.len()
        && (3.0..9.0).contains(&average)
        && !["http:", "https:", "www.", "::", "();", "/*", ":~", ":meth", ");", "; }", "(Aq"]
            .iter()
            .any(|bad| text.contains(bad))
        && text.is_ascii()
}

/// Whether `text` can stand for the paragraph below it.
pub(crate) fn is_heading(text: &str) -> bool {
    let words = text.split(' ').count();
    let letters = text.chars().filter(|c| c.is_ascii_alphabetic() || *c == ' ').count();
    (2..=14).contains(&words) && letters * 100 >= text.len() * 85 && text.is_ascii()
}

/// Replaces typographic signs by their ASCII forms.
pub(crate) fn plain_signs(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for sign in text.chars() {
        match sign {
            '\u{2018}' | '\u{2019}' => out.push('\''),
            '\u{201c}' | '\u{201d}' => out.push('"'),
            '\u{2010}'..='\u{2015}' => out.push('-'),
            '\u{2026}' => out.push_str("..."),
            '\u{a0}' => out.push(' '),
            '\u{b6}' | '\u{f0c1}' | '\u{200b}' => {}
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_told_from_code() {
        assert!(is_prose("The flow over a flat plate is laminar near the leading edge."));
        assert!(!is_prose("int main() { return foo_bar(x) == y; } // done"));
        assert!(!is_prose("a b c"));
        assert!(!is_prose("alpha beta gamma delta epsilon zeta eta theta iota kappa lambda"));
    }

    #[test]
    fn cuts_end_at_sentences() {
        assert_eq!(cut("One two three. Four five six.", 4), "One two three.");
        assert_eq!(cut("One two three", 2), "One two");
        let text = "A b c d. ".repeat(100);
        let parts = pieces(&text);
        assert!(parts.iter().all(|part| part.split(' ').count() <= MAX_WORDS));
        assert_eq!(parts.join(" "), squeeze(&text));
    }
}
