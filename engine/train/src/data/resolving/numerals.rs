//! Number bases, roman numerals, ordinals and number words.

use super::{
    super::{dice::Dice, split::Parts},
    family::{Draw, Family, Topic},
    working::{ordinal, roman, words},
};

pub(super) fn families() -> Vec<Family> {
    let code = |name, clues, draw| Family { name, kind: Topic::Code, clues, draw, shared: false };
    let chapter =
        |name, clues, draw| Family { name, kind: Topic::Chapter, clues, draw, shared: false };
    vec![
        code("hex-to-decimal", CODE, hex_to_decimal),
        code("decimal-to-hex", DECIMAL, decimal_to_hex),
        code("binary-to-decimal", BINARY, binary_to_decimal),
        code("decimal-to-binary", DECIMAL, decimal_to_binary),
        chapter("roman-to-arabic", CHAPTER, roman_to_arabic),
        chapter("arabic-to-roman", CHAPTER, arabic_to_roman),
        chapter("ordinal", ORDINAL, ordinal_to_number),
        code("number-words", WORDS, number_words),
    ]
}

const CODE: Parts<&str> = Parts {
    train: &[
        "{x}",
        "{item} {x}",
        "code {x}",
        "{item} {x} in hexadecimal",
        "hex {x}",
        "the value {x}",
        "hexadecimal {x}",
        "{x} (hex)",
        "a hex code of {x}",
        "{item}: {x}",
    ],
    valid: &["{x} in base sixteen", "the hex word {x}", "{item} = {x}"],
    test: &[
        "{x} as a hex dump",
        "the base-16 {item} {x}",
        "number {x} in hex notation",
        "status word {x}",
    ],
};
const DECIMAL: Parts<&str> = Parts {
    train: &[
        "{x}",
        "{item} {x}",
        "code {x}",
        "{item} {x} in decimal",
        "decimal {x}",
        "the value {x}",
        "{x} as a decimal number",
        "{x} (decimal)",
        "a code of {x}",
        "{item}: {x}",
    ],
    valid: &["{x} in base ten", "the decimal word {x}", "{item} = {x}"],
    test: &[
        "{x} in ordinary digits",
        "the base-10 {item} {x}",
        "number {x} in decimal notation",
        "status number {x}",
    ],
};
const BINARY: Parts<&str> = Parts {
    train: &[
        "{x}",
        "{item} {x}",
        "bits {x}",
        "{item} {x} in binary",
        "binary {x}",
        "the bit pattern {x}",
        "{x} as bits",
        "{x} (binary)",
        "a binary code of {x}",
        "{item}: {x}",
    ],
    valid: &["{x} in base two", "the binary word {x}", "{item} = {x}"],
    test: &[
        "{x} on the lamps",
        "the base-2 {item} {x}",
        "number {x} in binary notation",
        "switches set to {x}",
    ],
};
const WORDS: Parts<&str> = Parts {
    train: &[
        "{x}",
        "{item} {x}",
        "code {x}",
        "number {x}",
        "{item} number {x}",
        "the value {x}",
        "{x} spelled out",
        "{x} in words",
        "a code of {x}",
        "{item}: {x}",
    ],
    valid: &["{x} when spoken", "the figure {x}", "{item} = {x}"],
    test: &["{x} read aloud", "the {item} pronounced {x}", "status {x}", "a number heard as {x}"],
};
const CHAPTER: Parts<&str> = Parts {
    train: &[
        "{item} {x}",
        "{item} no. {x}",
        "the {item} {x}",
        "{item} number {x}",
        "{x}, the {item},",
        "the {item} numbered {x}",
        "{item} ({x})",
        "{item}: {x}",
        "the text of {item} {x}",
        "all of {item} {x}",
    ],
    valid: &["{item} marked {x}", "what is called {item} {x}", "{item} / {x}"],
    test: &[
        "{item} headed {x}",
        "the part known as {item} {x}",
        "{item} with the numeral {x}",
        "just {item} {x}",
    ],
};
const ORDINAL: Parts<&str> = Parts {
    train: &[
        "the {x} {item}",
        "{x} {item}",
        "the {item} that comes {x}",
        "its {x} {item}",
        "the {x} {item} in order",
        "the {x} of the {item}s",
        "the {x} {item} of all",
        "the text of the {x} {item}",
        "all of the {x} {item}",
        "{item} the {x}",
    ],
    valid: &["the {item} in {x} place", "what is called the {x} {item}", "a {x} {item}"],
    test: &[
        "the {item} in {x} position",
        "the {x} {item} counted from the front",
        "the very {x} {item}",
        "just the {x} {item}",
    ],
};

const ITEMS: [&str; 4] = ["code", "error", "fault", "status"];
const SECTIONS: [&str; 5] = ["chapter", "section", "article", "volume", "part"];

fn near_numbers(n: i64, high: i64) -> impl Iterator<Item = i64> {
    (1..=7)
        .flat_map(move |step| [n - step, n + step])
        .chain([n + 16, n - 16])
        .filter(move |other| (1..=high).contains(other) && *other != n)
}

fn draw(
    dice: &mut Dice,
    items: &[&str],
    (x, value): (String, String),
    working: String,
    near: Vec<String>,
) -> Draw {
    let item = (*dice.pick(items)).to_owned();
    Draw { slots: vec![("x", x), ("item", item.clone())], value, item, working, near }
}

/// The value of one hexadecimal digit, as the thought shows it.
fn digit(n: i64) -> String {
    if n < 10 { n.to_string() } else { format!("{n:X} is {n}") }
}

fn hex_to_decimal(dice: &mut Dice) -> Draw {
    let n = dice.range(17, 255);
    let (high, low) = (n / 16, n % 16);
    let working =
        format!("{}, {}: {high} x 16 = {}, + {low} = {n}.", digit(high), digit(low), high * 16);
    let near = near_numbers(n, 255).map(|n| n.to_string()).collect();
    draw(dice, &ITEMS, (format!("0x{n:02X}"), n.to_string()), working, near)
}

fn decimal_to_hex(dice: &mut Dice) -> Draw {
    let n = dice.range(17, 255);
    let (high, low) = (n / 16, n % 16);
    let show = |n: i64| if n < 10 { String::new() } else { format!(", {n} is {n:X}") };
    let working = format!(
        "{high} x 16 = {}, rest {low}{}{}: 0x{n:02X}.",
        high * 16,
        show(high),
        if low == high { String::new() } else { show(low) }
    );
    let near = near_numbers(n, 255).map(|n| format!("0x{n:02X}")).collect();
    draw(dice, &ITEMS, (n.to_string(), format!("0x{n:02X}")), working, near)
}

/// The powers of two in `n`, largest first.
fn powers(n: i64) -> String {
    let powers = (0..8).rev().map(|bit| 1 << bit).filter(|power| n & power != 0);
    powers.map(|power: i64| power.to_string()).collect::<Vec<_>>().join(" + ")
}

fn binary_to_decimal(dice: &mut Dice) -> Draw {
    let n = dice.range(5, 63);
    let near = near_numbers(n, 63).map(|n| n.to_string()).collect();
    draw(dice, &ITEMS, (format!("{n:b}"), n.to_string()), format!("{} = {n}.", powers(n)), near)
}

fn decimal_to_binary(dice: &mut Dice) -> Draw {
    let n = dice.range(5, 63);
    let near = near_numbers(n, 63).map(|n| format!("{n:b}")).collect();
    let working = format!("{n} = {}: {n:b}.", powers(n));
    draw(dice, &ITEMS, (n.to_string(), format!("{n:b}")), working, near)
}

/// The parts of a roman numeral: tens, then ones.
fn parts(n: i64) -> String {
    let (tens, ones) = (n / 10 * 10, n % 10);
    match (tens, ones) {
        (0, _) => format!("{} is {n}", roman(n)),
        (_, 0) => format!("{} is {n}", roman(n)),
        _ => format!("{} is {tens}, {} is {ones}, together {n}", roman(tens), roman(ones)),
    }
}

fn roman_to_arabic(dice: &mut Dice) -> Draw {
    let n = dice.range(2, 89);
    let near = near_numbers(n, 89).map(|n| n.to_string()).collect();
    draw(dice, &SECTIONS, (roman(n), n.to_string()), format!("{}.", parts(n)), near)
}

fn arabic_to_roman(dice: &mut Dice) -> Draw {
    let n = dice.range(2, 89);
    let near = near_numbers(n, 89).map(roman).collect();
    let (tens, ones) = (n / 10 * 10, n % 10);
    let working = if tens > 0 && ones > 0 {
        format!("{tens} is {}, {ones} is {}, so {}.", roman(tens), roman(ones), roman(n))
    } else {
        format!("{n} is {}.", roman(n))
    };
    draw(dice, &SECTIONS, (n.to_string(), roman(n)), working, near)
}

fn ordinal_to_number(dice: &mut Dice) -> Draw {
    let n = dice.range(2, 99);
    let near = near_numbers(n, 99).map(|n| n.to_string()).collect();
    let working = format!("{} is {n}.", ordinal(n));
    draw(dice, &SECTIONS, (ordinal(n), n.to_string()), working, near)
}

fn number_words(dice: &mut Dice) -> Draw {
    let n = dice.range(13, 199);
    let near = near_numbers(n, 199).map(|n| n.to_string()).collect();
    draw(dice, &ITEMS, (words(n), n.to_string()), format!("{} is {n}.", words(n)), near)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bases_agree_with_the_standard_library() {
        let dice = &mut Dice::new(1, "bases");
        let hex = |text: &str| i64::from_str_radix(text.trim_start_matches("0x"), 16).expect("hex");
        let bits = |text: &str| i64::from_str_radix(text, 2).expect("binary");
        let decimal = |text: &str| text.parse::<i64>().expect("decimal");
        for _ in 0..500 {
            let draw = hex_to_decimal(dice);
            assert_eq!(hex(&draw.slots[0].1), decimal(&draw.value));
            let draw = decimal_to_hex(dice);
            assert_eq!(decimal(&draw.slots[0].1), hex(&draw.value));
            let draw = binary_to_decimal(dice);
            assert_eq!(bits(&draw.slots[0].1), decimal(&draw.value));
            let draw = decimal_to_binary(dice);
            assert_eq!(decimal(&draw.slots[0].1), bits(&draw.value));
        }
    }

    #[test]
    fn numerals() {
        let known =
            [(4, "IV"), (9, "IX"), (14, "XIV"), (39, "XXXIX"), (40, "XL"), (88, "LXXXVIII")];
        for (n, text) in known {
            assert_eq!(roman(n), text);
        }
        let known = [(1, "first"), (12, "twelfth"), (20, "twentieth"), (23, "twenty-third")];
        for (n, text) in known {
            assert_eq!(ordinal(n), text);
        }
        assert_eq!(words(142), "one hundred and forty-two");
        assert_eq!(powers(37), "32 + 4 + 1");
        // Reading a numeral back by the subtraction rule, for all that are used.
        for n in 1..90 {
            let values: Vec<i64> = roman(n)
                .chars()
                .map(|sign| match sign {
                    'I' => 1,
                    'V' => 5,
                    'X' => 10,
                    'L' => 50,
                    _ => 100,
                })
                .collect();
            let sum: i64 = (0..values.len())
                .map(|i| match values.get(i + 1) {
                    Some(next) if *next > values[i] => -values[i],
                    _ => values[i],
                })
                .sum();
            assert_eq!(sum, n);
        }
    }
}
