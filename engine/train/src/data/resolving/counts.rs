//! Arithmetic over quantities.

use super::{
    super::{dice::Dice, split::Parts},
    family::{Draw, Family, Topic},
    working::words,
};

pub(super) fn families() -> Vec<Family> {
    let stock = |name, clues, draw| Family { name, kind: Topic::Stock, clues, draw, shared: false };
    vec![
        stock("product", PRODUCT, product),
        stock("sum", SUM, sum),
        stock("difference", DIFFERENCE, difference),
        stock("fraction", FRACTION, fraction),
        stock("dozens", DOZENS, dozens),
    ]
}

const PRODUCT: Parts<&str> = Parts {
    train: &[
        "{a} crates of {b} {item}",
        "{words} boxes with {b} {item} each",
        "{a} x {b} {item}",
        "{words} cases of {b} {item}",
        "{b} {item} in each of {a} boxes",
        "{a} packs of {b} {item}",
        "{words} rows of {b} {item}",
        "{words} pallets, {b} {item} on each",
        "{a} times {b} {item}",
        "{words} lots of {b} {item}",
    ],
    valid: &[
        "{words} bundles holding {b} {item} apiece",
        "{a} trays of {b} {item}",
        "{b} {item} on all {a} shelves",
    ],
    test: &[
        "{words} cartons, every one with {b} {item}",
        "{a} bins each filled with {b} {item}",
        "{b} {item} for each of {words} teams",
        "{words} sacks at {b} {item} a sack",
    ],
};
const SUM: Parts<&str> = Parts {
    train: &[
        "{a} {item} and another {b}",
        "{a} plus {b} {item}",
        "{a} {item} and {b} more",
        "{a} + {b} {item}",
        "{a} old and {b} new {item}",
        "{a} {item} on Monday and {b} on Tuesday",
        "{a} {item} with {b} added",
        "{a} {item} together with {b} others",
        "{a} {item} upstairs and {b} downstairs",
        "first {a}, then {b} {item}",
    ],
    valid: &[
        "{a} {item} joined by {b}",
        "{a} large and {b} small {item}",
        "{a} {item} increased by {b}",
    ],
    test: &[
        "{a} {item} here and {b} over there",
        "{a} {item} topped up with {b}",
        "{a} red and {b} blue {item}",
        "{a} {item} to which {b} came",
    ],
};
const DIFFERENCE: Parts<&str> = Parts {
    train: &[
        "{a} {item} less {b}",
        "{a} minus {b} {item}",
        "{a} {item} of which {b} were used",
        "{a} - {b} {item}",
        "{a} {item} after {b} were sold",
        "{a} {item} with {b} taken away",
        "{a} {item} when {b} had gone",
        "{a} {item} but {b} broken",
        "what is left of {a} {item} after {b}",
        "{a} {item} reduced by {b}",
    ],
    valid: &[
        "{a} {item} once {b} were eaten",
        "{a} {item} without {b} of them",
        "{a} {item} lowered by {b}",
    ],
    test: &[
        "{a} {item} from which {b} went missing",
        "{a} {item} once {b} had been handed out",
        "{a} {item} not counting {b} spoilt ones",
        "the rest of {a} {item} when {b} are gone",
    ],
};
const FRACTION: Parts<&str> = Parts {
    train: &[
        "{part} of {a} {item}",
        "{part} of the {a} {item}",
        "{part} out of {a} {item}",
        "{a} {item}, of which {part}",
        "{part} of a lot of {a} {item}",
        "{part} from {a} {item}",
        "no more than {part} of {a} {item}",
        "{part} of an order of {a} {item}",
        "{part} of all {a} {item}",
        "just {part} of {a} {item}",
    ],
    valid: &[
        "{part} of a batch of {a} {item}",
        "{a} {item} cut to {part}",
        "only {part} of {a} {item}",
    ],
    test: &[
        "{part} of what were {a} {item}",
        "a share of {part} in {a} {item}",
        "{part} of a delivery of {a} {item}",
        "{a} {item} scaled down to {part}",
    ],
};
const DOZENS: Parts<&str> = Parts {
    train: &[
        "{dozens} {item}",
        "{dozens} of {item}",
        "about {dozens} {item}",
        "{dozens} {item} in all",
        "some {dozens} {item}",
        "{dozens} {item} altogether",
        "just {dozens} {item}",
        "a total of {dozens} {item}",
        "{dozens} {item} on the shelf",
        "{dozens} {item} ready",
    ],
    valid: &[
        "{dozens} {item} all told",
        "a count of {dozens} {item}",
        "{dozens} {item} in the box",
    ],
    test: &[
        "{dozens} {item} on hand",
        "a supply of {dozens} {item}",
        "{dozens} {item} at the last count",
        "no fewer than {dozens} {item}",
    ],
};

const ITEMS: [&str; 16] = [
    "bottles",
    "chairs",
    "notebooks",
    "lamps",
    "blankets",
    "batteries",
    "plates",
    "helmets",
    "candles",
    "tins",
    "towels",
    "brushes",
    "cups",
    "seedlings",
    "bandages",
    "tickets",
];

fn draw(
    dice: &mut Dice,
    mut slots: Vec<(&'static str, String)>,
    value: i64,
    working: String,
) -> Draw {
    let item = (*dice.pick(&ITEMS)).to_owned();
    slots.push(("item", item.clone()));
    let near = (1..=9).flat_map(|step| [value - step, value + step]).filter(|n| *n > 0);
    let near = near.chain([value + 10, value + 20]).map(|n| n.to_string()).collect();
    Draw { slots, value: value.to_string(), item, working, near }
}

fn product(dice: &mut Dice) -> Draw {
    let (a, b) = (dice.range(2, 9), dice.range(3, 24));
    let (tens, ones) = (b / 10 * 10, b % 10);
    let working = if tens > 0 && ones > 0 {
        format!("{a} x {tens} = {}, {a} x {ones} = {}, together {}.", a * tens, a * ones, a * b)
    } else {
        format!("{a} x {b} = {}.", a * b)
    };
    draw(
        dice,
        vec![("a", a.to_string()), ("words", words(a)), ("b", b.to_string())],
        a * b,
        working,
    )
}

fn sum(dice: &mut Dice) -> Draw {
    let (a, b) = (dice.range(11, 99), dice.range(3, 99));
    let working = format!("{a} + {b} = {}.", a + b);
    draw(dice, vec![("a", a.to_string()), ("b", b.to_string())], a + b, working)
}

fn difference(dice: &mut Dice) -> Draw {
    let a = dice.range(20, 150);
    let b = dice.range(3, a - 5);
    let working = format!("{a} - {b} = {}.", a - b);
    draw(dice, vec![("a", a.to_string()), ("b", b.to_string())], a - b, working)
}

fn fraction(dice: &mut Dice) -> Draw {
    let (part, over, under) = *dice.pick(&[
        ("half", 1, 2),
        ("a third", 1, 3),
        ("a quarter", 1, 4),
        ("a fifth", 1, 5),
        ("two thirds", 2, 3),
        ("three quarters", 3, 4),
        ("10 percent", 1, 10),
        ("20 percent", 1, 5),
        ("50 percent", 1, 2),
        ("25 percent", 1, 4),
    ]);
    let one = dice.range(4, 40);
    let (a, value) = (one * under, one * over);
    let working = if over == 1 {
        format!("{a} / {under} = {value}.")
    } else {
        format!("{a} / {under} = {one}, x {over} = {value}.")
    };
    draw(dice, vec![("part", part.to_owned()), ("a", a.to_string())], value, working)
}

fn dozens(dice: &mut Dice) -> Draw {
    let (n, unit, size) = *dice.pick(&[
        (0, "dozen", 12),
        (1, "dozen", 12),
        (0, "score", 20),
        (0, "pairs of", 2),
        (0, "half dozen", 6),
    ]);
    let (count, more) = (dice.range(2, 9), dice.range(1, 9) * n);
    let value = count * size + more;
    let (text, working) = if more > 0 {
        (
            format!("{} {unit} and {}", words(count), words(more)),
            format!("{count} x {size} = {}, + {more} = {value}.", count * size),
        )
    } else {
        (format!("{} {unit}", words(count)), format!("{count} x {size} = {value}."))
    };
    draw(dice, vec![("dozens", text)], value, working)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_follow_from_the_clue() {
        let dice = &mut Dice::new(1, "counts");
        for _ in 0..500 {
            let number = |draw: &Draw, name: &str| -> i64 {
                let slot = draw.slots.iter().find(|(slot, _)| *slot == name).expect(name);
                slot.1.parse().expect("a number")
            };
            let of = |draw: &Draw| draw.value.parse::<i64>().expect("a number");
            let draw = product(dice);
            assert_eq!(of(&draw), number(&draw, "a") * number(&draw, "b"));
            let draw = sum(dice);
            assert_eq!(of(&draw), number(&draw, "a") + number(&draw, "b"));
            let draw = difference(dice);
            assert_eq!(of(&draw), number(&draw, "a") - number(&draw, "b"));
            let draw = fraction(dice);
            let share = match draw.slots[0].1.as_str() {
                "half" | "50 percent" => 0.5,
                "a third" => 1.0 / 3.0,
                "two thirds" => 2.0 / 3.0,
                "three quarters" => 0.75,
                "a quarter" | "25 percent" => 0.25,
                "10 percent" => 0.1,
                _ => 0.2,
            };
            let expected = number(&draw, "a") as f64 * share;
            assert!((of(&draw) as f64 - expected).abs() < 1e-9);
        }
    }
}
