//! Measures in other units.

use super::{
    super::{dice::Dice, split::Parts},
    family::{Draw, Family, Topic},
};

pub(super) fn families() -> Vec<Family> {
    let part = |name, draw| Family { name, kind: Topic::Part, clues: MEASURE, draw, shared: false };
    vec![
        part("pressure", |dice| scaled(dice, "pressure", ("bar", "kPa"), (100, 5, 150))),
        part("length-metric", |dice| scaled(dice, "length", ("m", "cm"), (100, 5, 150))),
        part("length-small", |dice| scaled(dice, "width", ("cm", "mm"), (10, 12, 990))),
        part("mass", |dice| scaled(dice, "weight", ("kg", "g"), (1000, 5, 190))),
        part("volume", |dice| scaled(dice, "volume", ("litres", "ml"), (1000, 5, 190))),
        part("length-feet", |dice| multiple(dice, "length", ("feet", "inches"), 12, (2, 40))),
        part("length-yards", |dice| multiple(dice, "length", ("yards", "feet"), 3, (5, 90))),
        part("mass-ounces", |dice| multiple(dice, "weight", ("pounds", "ounces"), 16, (2, 30))),
        part("volume-pints", |dice| multiple(dice, "volume", ("gallons", "pints"), 8, (2, 60))),
        part("temperature", temperature),
        part("duration", duration),
    ]
}

const MEASURE: Parts<&str> = Parts {
    train: &[
        "{x}",
        "{attribute} {x}",
        "a {attribute} of {x}",
        "{x} {attribute}",
        "{attribute}: {x}",
        "{attribute} equal to {x}",
        "a stated {attribute} of {x}",
        "{x} as its {attribute}",
        "just {x}",
        "the {attribute} given as {x}",
    ],
    valid: &["{x} for the {attribute}", "its {attribute} at {x}", "nominal {x}"],
    test: &[
        "{x} in terms of {attribute}",
        "a {attribute} that amounts to {x}",
        "exactly {x} of {attribute}",
        "a {attribute} corresponding to {x}",
    ],
};

/// Tenths as a number with at most one decimal.
fn tenths(n: i64) -> String {
    if n % 10 == 0 { (n / 10).to_string() } else { format!("{}.{}", n / 10, n % 10) }
}

/// A draw that asks in `from` for a document in `to`, or the other way round.
fn draw(attribute: &str, (from, to): (String, String), working: String, near: Vec<String>) -> Draw {
    let near = near.into_iter().filter(|value| *value != to).collect();
    Draw {
        working,
        slots: vec![("x", from), ("attribute", attribute.to_owned())],
        near,
        item: attribute.to_owned(),
        value: to,
    }
}

/// Powers of ten: `factor` small units are a large one; `low..=high` tenths of the large.
fn scaled(
    dice: &mut Dice,
    attribute: &str,
    (large, small): (&str, &str),
    (factor, low, high): (i64, i64, i64),
) -> Draw {
    let n = dice.range(low, high);
    let in_large = |n: i64| format!("{} {large}", tenths(n));
    let in_small = |n: i64| format!("{} {small}", n * factor / 10);
    let others: Vec<i64> =
        (1..=8).flat_map(|step| [n - step, n + step]).filter(|n| *n > 0).collect();
    if dice.once_in(2) {
        let mut near: Vec<String> = others.iter().map(|n| in_small(*n)).collect();
        near.push(in_small(n * 10));
        let working = format!("{} x {factor} = {}.", tenths(n), n * factor / 10);
        draw(attribute, (in_large(n), in_small(n)), working, near)
    } else {
        let mut near: Vec<String> = others.iter().map(|n| in_large(*n)).collect();
        near.push(in_large(n * 10));
        let working = format!("{} / {factor} = {}.", n * factor / 10, tenths(n));
        draw(attribute, (in_small(n), in_large(n)), working, near)
    }
}

/// Whole multiples: a large unit is `factor` small ones; the document has the small ones.
fn multiple(
    dice: &mut Dice,
    attribute: &str,
    (large, small): (&str, &str),
    factor: i64,
    (low, high): (i64, i64),
) -> Draw {
    let n = dice.range(low, high);
    let in_small = |n: i64| format!("{} {small}", n * factor);
    let near = (1..=8).flat_map(|step| [n - step, n + step]).filter(|n| *n > 0);
    let (tens, ones) = (n / 10 * 10, n % 10);
    let working = if n > 10 && ones > 0 {
        format!(
            "{tens} x {factor} = {}, {ones} x {factor} = {}, together {}.",
            tens * factor,
            ones * factor,
            n * factor
        )
    } else {
        format!("{n} x {factor} = {}.", n * factor)
    };
    let near = near.map(in_small).collect();
    draw(attribute, (format!("{n} {large}"), in_small(n)), working, near)
}

fn temperature(dice: &mut Dice) -> Draw {
    let celsius = dice.range(-6, 50) * 5;
    let fahrenheit = |celsius: i64| celsius * 9 / 5 + 32;
    let others: Vec<i64> =
        (1..=8).flat_map(|step| [celsius - 5 * step, celsius + 5 * step]).collect();
    let (c, f) = (format!("{celsius} C"), format!("{} F", fahrenheit(celsius)));
    let attribute = "temperature";
    if dice.once_in(2) {
        let fifth = celsius / 5;
        let working = format!(
            "{celsius} / 5 = {fifth}, x 9 = {}, + 32 = {}.",
            fifth * 9,
            fahrenheit(celsius)
        );
        let near = others.iter().map(|c| format!("{} F", fahrenheit(*c))).collect();
        draw(attribute, (c, f), working, near)
    } else {
        let rest = fahrenheit(celsius) - 32;
        let working =
            format!("{} - 32 = {rest}, / 9 = {}, x 5 = {celsius}.", fahrenheit(celsius), rest / 9);
        draw(attribute, (f, c), working, others.iter().map(|c| format!("{c} C")).collect())
    }
}

fn duration(dice: &mut Dice) -> Draw {
    let minutes = dice.range(61, 240);
    let hours = |minutes: i64| format!("{} h {} min", minutes / 60, minutes % 60);
    let plain = |minutes: i64| format!("{minutes} minutes");
    let others: Vec<i64> =
        (1..=8).flat_map(|step| [minutes - 5 * step, minutes + 5 * step]).collect();
    let (h, rest) = (minutes / 60, minutes % 60);
    let attribute = "running time";
    if dice.once_in(2) {
        let working = format!("{minutes} - {} = {rest}, so {}.", h * 60, hours(minutes));
        let near = others.iter().map(|n| hours(*n)).collect();
        draw(attribute, (plain(minutes), hours(minutes)), working, near)
    } else {
        let working = format!("{h} h is {} minutes, + {rest} = {minutes}.", h * 60);
        let near = others.iter().map(|n| plain(*n)).collect();
        draw(attribute, (hours(minutes), plain(minutes)), working, near)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A measure in the base unit of its kind.
    fn base(text: &str) -> f64 {
        if let Some((hours, minutes)) = text.split_once(" h ") {
            let minutes = minutes.trim_end_matches(" min");
            return hours.parse::<f64>().expect(text) * 60.0 + minutes.parse::<f64>().expect(text);
        }
        let (number, unit) = text.split_once(' ').expect(text);
        let number: f64 = number.parse().expect(text);
        match unit {
            "bar" => number * 100.0,
            "m" | "litres" | "kg" => number * 1000.0,
            "cm" => number * 10.0,
            "kPa" | "mm" | "g" | "ml" | "inches" | "ounces" | "minutes" => number,
            "C" => number * 1.8 + 32.0,
            "F" => number,
            "pounds" => number * 16.0,
            _ => panic!("{text}"),
        }
    }

    #[test]
    fn both_sides_measure_the_same() {
        let dice = &mut Dice::new(1, "measures");
        for family in families() {
            for _ in 0..300 {
                let draw = (family.draw)(dice);
                let (clue, value) = (draw.slots[0].1.clone(), draw.value.clone());
                let ratio = match family.name {
                    "length-feet" => (12.0, "feet"),
                    "length-yards" => (3.0, "yards"),
                    "volume-pints" => (8.0, "gallons"),
                    _ => {
                        assert!((base(&clue) - base(&value)).abs() < 1e-6, "{clue} {value}");
                        continue;
                    }
                };
                let large: f64 = clue.trim_end_matches(ratio.1).trim().parse().expect("number");
                let small: f64 = value.split_once(' ').expect("unit").0.parse().expect("number");
                assert!((large * ratio.0 - small).abs() < 1e-6, "{clue} {value}");
            }
        }
    }
}
