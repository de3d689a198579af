//! The thought that leads from a query to its document's words.

use super::family::{Draw, Topic};

/// The working-out, then the document's words: subject and value.
pub(crate) fn thought(topic: Topic, draw: &Draw, subject: &str) -> String {
    format!("{} {subject}: {}.", draw.working, words_of_document(topic, draw))
}

/// The same without the subject, which the query has, and without the value where the
/// working-out ends in the document's words.
pub(crate) fn brief(topic: Topic, draw: &Draw) -> String {
    let words = words_of_document(topic, draw);
    let before = draw.working.trim_end_matches('.').strip_suffix(&words);
    if before.is_some_and(|before| !before.ends_with(char::is_alphanumeric)) {
        return draw.working.clone();
    }
    format!("{} {words}.", draw.working)
}

fn words_of_document(topic: Topic, draw: &Draw) -> String {
    match topic {
        Topic::Stock => format!("{} {}", draw.value, draw.item),
        Topic::Code | Topic::Chapter | Topic::Part => format!("{} {}", draw.item, draw.value),
        _ => draw.value.clone(),
    }
}

/// Numbers from 0 to 199 in words.
pub(crate) fn words(number: i64) -> String {
    const SMALL: [&str; 20] = [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
    ];
    const TENS: [&str; 10] =
        ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
    let index = usize::try_from(number).unwrap_or_default();
    match index {
        0..20 => SMALL[index].to_owned(),
        20..100 if index % 10 == 0 => TENS[index / 10].to_owned(),
        20..100 => format!("{}-{}", TENS[index / 10], SMALL[index % 10]),
        100 => "one hundred".to_owned(),
        _ => format!("one hundred and {}", words(number - 100)),
    }
}

/// Ordinals from 1 to 99 in words.
pub(crate) fn ordinal(number: i64) -> String {
    let cardinal = words(number);
    let (head, last) = match cardinal.rsplit_once('-') {
        Some((head, last)) => (format!("{head}-"), last.to_owned()),
        None => (String::new(), cardinal),
    };
    let last = match last.as_str() {
        "one" => "first".to_owned(),
        "two" => "second".to_owned(),
        "three" => "third".to_owned(),
        "five" => "fifth".to_owned(),
        "eight" => "eighth".to_owned(),
        "nine" => "ninth".to_owned(),
        "twelve" => "twelfth".to_owned(),
        tens if tens.ends_with('y') => format!("{}ieth", &tens[..tens.len() - 1]),
        other => format!("{other}th"),
    };
    head + &last
}

/// Roman numerals, for 1 to 399.
pub(crate) fn roman(mut number: i64) -> String {
    const SIGNS: [(i64, &str); 9] = [
        (100, "C"),
        (90, "XC"),
        (50, "L"),
        (40, "XL"),
        (10, "X"),
        (9, "IX"),
        (5, "V"),
        (4, "IV"),
        (1, "I"),
    ];
    let mut out = String::new();
    for (value, sign) in SIGNS {
        while number >= value {
            out.push_str(sign);
            number -= value;
        }
    }
    out
}
