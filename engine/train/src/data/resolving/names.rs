//! Names that are compared, spelled or written short.

use super::{
    super::{dice::Dice, split::Parts},
    family::{Draw, Family, Topic},
};

mod glossary;
use glossary::GLOSSARY;

pub(super) fn families() -> Vec<Family> {
    let unit = |name, clues, draw| Family { name, kind: Topic::Unit, clues, draw, shared: false };
    vec![
        unit("largest", LARGEST, |dice| extreme(dice, true)),
        unit("smallest", SMALLEST, |dice| extreme(dice, false)),
        unit("spelled", SPELLED, spelled),
        unit("letter-steps", LETTERS, letter_steps),
        Family {
            name: "acronym",
            kind: Topic::Handbook,
            clues: ACRONYM,
            draw: acronym,
            shared: true,
        },
    ]
}

const LARGEST: Parts<&str> = Parts {
    train: &[
        "with the largest figure of {list}",
        "the greatest of {list}",
        "the highest of {list}",
        "biggest among {list}",
        "the one with most: {list}",
        "first by size, {list}",
        "the maximum of {list}",
        "largest: {list}",
        "top of the list {list}",
        "that leads in {list}",
    ],
    valid: &["ahead of the others in {list}", "the record of {list}", "number one in {list}"],
    test: &[
        "coming out on top in {list}",
        "with a bigger number than the rest of {list}",
        "the peak of {list}",
        "above all others in {list}",
    ],
};
const SMALLEST: Parts<&str> = Parts {
    train: &[
        "with the smallest figure of {list}",
        "the least of {list}",
        "the lowest of {list}",
        "smallest among {list}",
        "the one with fewest: {list}",
        "last by size, {list}",
        "the minimum of {list}",
        "smallest: {list}",
        "bottom of the list {list}",
        "that trails in {list}",
    ],
    valid: &["behind the others in {list}", "the weakest of {list}", "last in {list}"],
    test: &[
        "coming out lowest in {list}",
        "with a smaller number than the rest of {list}",
        "the low point of {list}",
        "below all others in {list}",
    ],
};
const SPELLED: Parts<&str> = Parts {
    train: &[
        "{x}",
        "called {x}",
        "named {x}",
        "spelled {x}",
        "with the sign {x}",
        "{x} on the radio",
        "marked {x}",
        "known as {x}",
        "labelled {x}",
        "tagged {x}",
    ],
    valid: &["answering to {x}", "signed {x}", "numbered {x}"],
    test: &["bearing the letters {x}", "announced as {x}", "read out as {x}", "with the plate {x}"],
};
const LETTERS: Parts<&str> = Parts {
    train: &[
        "{n} letters after {x}",
        "{n} places past {x}",
        "{x} plus {n} letters",
        "{n} letters on from {x}",
        "{n} steps after {x}",
        "{x} and {n} letters more",
        "{n} letters further than {x}",
        "{n} up the alphabet from {x}",
        "whose letter is {n} after {x}",
        "{n} letters counted from {x}",
    ],
    valid: &["{n} letters following {x}", "{n} letters beyond {x}", "{x}, moved on {n} letters"],
    test: &[
        "{n} letters subsequent to {x}",
        "at {n} positions behind {x} in the alphabet",
        "reached from {x} in {n} letters",
        "{x} shifted forward {n} letters",
    ],
};
const ACRONYM: Parts<&str> = Parts {
    train: &[
        "{x}",
        "the term {x}",
        "{x} in short",
        "what {x} stands for",
        "basics of {x}",
        "{x} rules",
        "the letters {x}",
        "the subject of {x}",
        "work with {x}",
        "{x} (abbreviated)",
    ],
    valid: &["{x} in plain words", "the abbreviation {x}", "questions of {x}"],
    test: &["{x} written in full", "the short form {x}", "matters of {x}", "everything under {x}"],
};

const NAMES: [&str; 14] = [
    "north", "south", "east", "west", "upper", "lower", "red", "blue", "green", "white", "old",
    "new", "inner", "outer",
];
/// The spelling alphabet of radio operators.
const SPELLING: [&str; 26] = [
    "Alfa", "Bravo", "Charlie", "Delta", "Echo", "Foxtrot", "Golf", "Hotel", "India", "Juliett",
    "Kilo", "Lima", "Mike", "November", "Oscar", "Papa", "Quebec", "Romeo", "Sierra", "Tango",
    "Uniform", "Victor", "Whiskey", "Xray", "Yankee", "Zulu",
];

fn extreme(dice: &mut Dice, largest: bool) -> Draw {
    let mut names = NAMES;
    dice.shuffle(&mut names);
    let mut sizes: Vec<i64> = Vec::new();
    while sizes.len() < 4 {
        let size = dice.range(4, 99);
        if !sizes.contains(&size) {
            sizes.push(size);
        }
    }
    let best = if largest { sizes.iter().max() } else { sizes.iter().min() };
    let best = best.copied().unwrap_or_default();
    let at = sizes.iter().position(|size| *size == best).unwrap_or_default();
    let list: Vec<String> =
        names.iter().zip(&sizes).map(|(name, size)| format!("{name} {size}")).collect();
    let mut sorted = sizes.clone();
    sorted.sort_unstable();
    if largest {
        sorted.reverse();
    }
    let order: Vec<String> = sorted.iter().map(ToString::to_string).collect();
    let sign = if largest { " > " } else { " < " };
    Draw {
        slots: vec![("list", list.join(", "))],
        value: names[at].to_owned(),
        item: String::new(),
        working: format!("{}, so {best}, {}.", order.join(sign), names[at]),
        near: names.iter().filter(|name| **name != names[at]).map(|n| (*n).to_owned()).collect(),
    }
}

fn letter(index: usize) -> char {
    char::from(b'A' + u8::try_from(index % 26).unwrap_or_default())
}

fn spelled(dice: &mut Dice) -> Draw {
    let (a, b, n) = (dice.below(26), dice.below(26), dice.range(2, 9));
    let show = |a: usize, b: usize, n: i64| format!("{}{}{n}", letter(a), letter(b));
    let value = show(a, b, n);
    let mut near: Vec<String> = (1..8).map(|step| show(a, b + step * 3, n)).collect();
    near.extend((1..6).map(|step| show(a + step * 5, b, n)));
    near.extend((2..=9).filter(|other| *other != n).map(|other| show(a, b, other)));
    let word = super::working::words(n);
    Draw {
        slots: vec![("x", format!("{} {} {word}", SPELLING[a], SPELLING[b]))],
        working: format!(
            "{} is {}, {} is {}, {word} is {n}: {value}.",
            SPELLING[a],
            letter(a),
            SPELLING[b],
            letter(b)
        ),
        item: String::new(),
        near,
        value,
    }
}

fn letter_steps(dice: &mut Dice) -> Draw {
    let n = dice.below(5) + 2;
    let start = dice.below(26 - n);
    let row = dice.range(1, 9);
    let path: Vec<String> = (start..=start + n).map(|index| letter(index).to_string()).collect();
    let show = |index: usize| format!("{}{row}", letter(index));
    let value = show(start + n);
    let near = (0..26).filter(|other| *other != start + n && other.abs_diff(start + n) < 9);
    Draw {
        slots: vec![("x", show(start)), ("n", super::working::words(n as i64))],
        working: format!("{}: {value}.", path.join(" ")),
        item: String::new(),
        near: near.map(show).collect(),
        value,
    }
}

fn acronym(dice: &mut Dice) -> Draw {
    let at = dice.below(GLOSSARY.len());
    let (short, long) = GLOSSARY[at];
    let mut near: Vec<String> = (0..14)
        .map(|_| *dice.pick(&GLOSSARY))
        .filter(|(other, _)| *other != short)
        .map(|(_, long)| long.to_owned())
        .collect();
    // Those with the same first letter first: they look most alike.
    let alike = GLOSSARY.iter().filter(|(other, _)| *other != short && other[..1] == short[..1]);
    near.extend(alike.map(|(_, long)| (*long).to_owned()));
    Draw {
        slots: vec![("x", short.to_owned())],
        working: format!("{short} is {long}."),
        value: long.to_owned(),
        item: String::new(),
        near,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extreme_is_the_extreme() {
        let dice = &mut Dice::new(1, "names");
        for largest in [true, false] {
            for _ in 0..300 {
                let draw = extreme(dice, largest);
                let mut entries: Vec<(i64, &str)> = draw.slots[0]
                    .1
                    .split(", ")
                    .map(|entry| {
                        let (name, size) = entry.split_once(' ').expect("two words");
                        (size.parse().expect("a number"), name)
                    })
                    .collect();
                entries.sort_unstable();
                let best = if largest { entries.last() } else { entries.first() };
                assert_eq!(best.expect("an entry").1, draw.value);
            }
        }
    }

    #[test]
    fn letters() {
        let dice = &mut Dice::new(1, "letters");
        for _ in 0..300 {
            let draw = spelled(dice);
            let words: Vec<&str> = draw.slots[0].1.split(' ').collect();
            assert_eq!(words[0][..1], draw.value[..1]);
            assert_eq!(words[1][..1], draw.value[1..2]);
            assert!(!draw.near.contains(&draw.value));
            let draw = letter_steps(dice);
            let (from, to) = (draw.slots[0].1.as_bytes()[0], draw.value.as_bytes()[0]);
            assert_eq!(super::super::working::words(i64::from(to - from)), draw.slots[1].1);
        }
    }

    #[test]
    fn short_forms_are_unique() {
        let mut short: Vec<&str> = GLOSSARY.iter().map(|(short, _)| *short).collect();
        short.sort_unstable();
        short.dedup();
        assert_eq!(short.len(), GLOSSARY.len());
    }
}
