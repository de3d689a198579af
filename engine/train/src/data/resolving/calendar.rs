//! Dates, weekdays, months and years.

use super::{
    super::{dice::Dice, split::Parts},
    family::{Draw, Family, Topic},
    working::words,
};

/// Names and lengths, February without its leap day.
const MONTHS: [(&str, i64); 12] = [
    ("January", 31),
    ("February", 28),
    ("March", 31),
    ("April", 30),
    ("May", 31),
    ("June", 30),
    ("July", 31),
    ("August", 31),
    ("September", 30),
    ("October", 31),
    ("November", 30),
    ("December", 31),
];
const WEEKDAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

pub(super) fn families() -> Vec<Family> {
    let record =
        |name, clues, draw| Family { name, kind: Topic::Record, clues, draw, shared: false };
    vec![
        record("date-after", DATE_AFTER, date_after),
        record("date-before", DATE_BEFORE, date_before),
        record("weeks-after", WEEKS_AFTER, weeks_after),
        record("iso-date", ISO_DATE, iso_date),
        record("weekday-after", WEEKDAY_AFTER, |dice| weekday(dice, 1)),
        record("weekday-before", WEEKDAY_BEFORE, |dice| weekday(dice, -1)),
        record("month-after", MONTH_AFTER, |dice| month(dice, 1)),
        record("month-before", MONTH_BEFORE, |dice| month(dice, -1)),
        record("year-after", YEAR_AFTER, |dice| year(dice, 1)),
        record("year-before", YEAR_BEFORE, |dice| year(dice, -1)),
    ]
}

const DATE_AFTER: Parts<&str> = Parts {
    train: &[
        "{n} days after {date}",
        "{words} days after {date}",
        "{date} plus {n} days",
        "the day {n} days after {date}",
        "the date {words} days past {date}",
        "{n} days later than {date}",
        "{words} days on from {date}",
        "{date} and {n} days more",
        "when {n} days have passed since {date}",
        "day {n} counted from {date}",
    ],
    valid: &[
        "{words} days following {date}",
        "a point {n} days beyond {date}",
        "{date}, moved on {n} days",
    ],
    test: &[
        "{words} days subsequent to {date}",
        "the moment {n} days had gone by after {date}",
        "{n} days in the wake of {date}",
        "starting on {date} and going forward {words} days",
    ],
};
const DATE_BEFORE: Parts<&str> = Parts {
    train: &[
        "{n} days before {date}",
        "{words} days before {date}",
        "{date} minus {n} days",
        "the day {n} days before {date}",
        "the date {words} days ahead of {date}",
        "{n} days earlier than {date}",
        "{words} days back from {date}",
        "{date} less {n} days",
        "when {n} days were left until {date}",
        "{n} days short of {date}",
    ],
    valid: &[
        "{words} days preceding {date}",
        "a point {n} days in front of {date}",
        "{date}, moved back {n} days",
    ],
    test: &[
        "{words} days prior to {date}",
        "the moment {n} days remained to {date}",
        "{n} days in the run-up to {date}",
        "starting on {date} and going backward {words} days",
    ],
};
const WEEKS_AFTER: Parts<&str> = Parts {
    train: &[
        "{weeks} after {date}",
        "{date} plus {weeks}",
        "the day {weeks} after {date}",
        "{weeks} later than {date}",
        "{weeks} on from {date}",
        "{date} and {weeks} more",
        "when {weeks} had passed since {date}",
        "the date {weeks} past {date}",
        "{weeks} from {date}",
        "{weeks} counted from {date}",
    ],
    valid: &[
        "{weeks} following {date}",
        "{date}, moved on {weeks}",
        "a point {weeks} beyond {date}",
    ],
    test: &[
        "{weeks} subsequent to {date}",
        "the moment {weeks} had gone by after {date}",
        "{weeks} in the wake of {date}",
        "starting on {date} and going forward {weeks}",
    ],
};
const ISO_DATE: Parts<&str> = Parts {
    train: &[
        "{iso}",
        "the day {iso}",
        "date {iso}",
        "{iso} in the calendar",
        "the date written {iso}",
        "timestamp {iso}",
        "{iso} (year first)",
        "stamp {iso}",
        "day {iso}",
        "file {iso}",
    ],
    valid: &["{iso} as stored", "the key {iso}", "folder {iso}"],
    test: &[
        "{iso} in digits",
        "the stamp reading {iso}",
        "a line tagged {iso}",
        "{iso} as the computer has it",
    ],
};
const WEEKDAY_AFTER: Parts<&str> = Parts {
    train: &[
        "{n} days after {day}",
        "{words} days after {day}",
        "{day} plus {n} days",
        "the day {words} days past {day}",
        "{n} days later than {day}",
        "{words} days on from {day}",
        "{day} and {n} days more",
        "when {n} days have passed since {day}",
        "the weekday {n} days after {day}",
        "{words} days counted from {day}",
    ],
    valid: &[
        "{words} days following {day}",
        "a point {n} days beyond {day}",
        "{day}, moved on {n} days",
    ],
    test: &[
        "{words} days subsequent to {day}",
        "the moment {n} days had gone by after {day}",
        "{n} days in the wake of {day}",
        "starting on {day} and going forward {words} days",
    ],
};
const WEEKDAY_BEFORE: Parts<&str> = Parts {
    train: &[
        "{n} days before {day}",
        "{words} days before {day}",
        "{day} minus {n} days",
        "the day {words} days ahead of {day}",
        "{n} days earlier than {day}",
        "{words} days back from {day}",
        "{day} less {n} days",
        "when {n} days were left until {day}",
        "the weekday {n} days before {day}",
        "{n} days short of {day}",
    ],
    valid: &[
        "{words} days preceding {day}",
        "a point {n} days in front of {day}",
        "{day}, moved back {n} days",
    ],
    test: &[
        "{words} days prior to {day}",
        "the moment {n} days remained to {day}",
        "{n} days in the run-up to {day}",
        "starting on {day} and going backward {words} days",
    ],
};
const MONTH_AFTER: Parts<&str> = Parts {
    train: &[
        "{n} months after {month}",
        "{words} months after {month}",
        "{month} plus {n} months",
        "the month {words} months past {month}",
        "{n} months later than {month}",
        "{words} months on from {month}",
        "{month} and {n} months more",
        "when {n} months have passed since {month}",
        "the month {n} after {month}",
        "{words} months counted from {month}",
    ],
    valid: &[
        "{words} months following {month}",
        "a point {n} months beyond {month}",
        "{month}, moved on {n} months",
    ],
    test: &[
        "{words} months subsequent to {month}",
        "the moment {n} months had gone by after {month}",
        "{n} months in the wake of {month}",
        "starting in {month} and going forward {words} months",
    ],
};
const MONTH_BEFORE: Parts<&str> = Parts {
    train: &[
        "{n} months before {month}",
        "{words} months before {month}",
        "{month} minus {n} months",
        "the month {words} months ahead of {month}",
        "{n} months earlier than {month}",
        "{words} months back from {month}",
        "{month} less {n} months",
        "when {n} months were left until {month}",
        "the month {n} before {month}",
        "{n} months short of {month}",
    ],
    valid: &[
        "{words} months preceding {month}",
        "a point {n} months in front of {month}",
        "{month}, moved back {n} months",
    ],
    test: &[
        "{words} months prior to {month}",
        "the moment {n} months remained to {month}",
        "{n} months in the run-up to {month}",
        "starting in {month} and going backward {words} months",
    ],
};
const YEAR_AFTER: Parts<&str> = Parts {
    train: &[
        "{n} years after {year}",
        "{words} years after {year}",
        "{year} plus {n} years",
        "the year {words} years past {year}",
        "{n} years later than {year}",
        "{words} years on from {year}",
        "{year} and {n} years more",
        "when {n} years have passed since {year}",
        "the year {n} after {year}",
        "{words} years counted from {year}",
    ],
    valid: &[
        "{words} years following {year}",
        "a point {n} years beyond {year}",
        "{year}, moved on {n} years",
    ],
    test: &[
        "{words} years subsequent to {year}",
        "the moment {n} years had gone by after {year}",
        "{n} years in the wake of {year}",
        "starting in {year} and going forward {words} years",
    ],
};
const YEAR_BEFORE: Parts<&str> = Parts {
    train: &[
        "{n} years before {year}",
        "{words} years before {year}",
        "{year} minus {n} years",
        "the year {words} years ahead of {year}",
        "{n} years earlier than {year}",
        "{words} years back from {year}",
        "{year} less {n} years",
        "when {n} years were left until {year}",
        "the year {n} before {year}",
        "{n} years short of {year}",
    ],
    valid: &[
        "{words} years preceding {year}",
        "a point {n} years in front of {year}",
        "{year}, moved back {n} years",
    ],
    test: &[
        "{words} years prior to {year}",
        "the moment {n} years remained to {year}",
        "{n} years in the run-up to {year}",
        "starting in {year} and going backward {words} years",
    ],
};

fn month_of(dice: &mut Dice) -> (&'static str, i64) {
    *dice.pick(&MONTHS)
}

/// The other days of a month that are within 9 of `day`.
fn near_days(day: i64, length: i64, month: &str) -> Vec<String> {
    let days = (day - 9).max(1)..=(day + 9).min(length);
    days.filter(|other| *other != day).map(|other| format!("{other} {month}")).collect()
}

fn date_after(dice: &mut Dice) -> Draw {
    let (month, length) = month_of(dice);
    let n = dice.range(2, 9);
    let day = dice.range(1, length - n);
    let date = format!("{day} {month}");
    let value = format!("{} {month}", day + n);
    Draw {
        working: format!("{day} + {n} = {}, so {value}.", day + n),
        slots: vec![("date", date), ("n", n.to_string()), ("words", words(n))],
        near: near_days(day + n, length, month),
        item: String::new(),
        value,
    }
}

fn date_before(dice: &mut Dice) -> Draw {
    let (month, length) = month_of(dice);
    let n = dice.range(2, 9);
    let day = dice.range(1 + n, length);
    let date = format!("{day} {month}");
    let value = format!("{} {month}", day - n);
    Draw {
        working: format!("{day} - {n} = {}, so {value}.", day - n),
        slots: vec![("date", date), ("n", n.to_string()), ("words", words(n))],
        near: near_days(day - n, length, month),
        item: String::new(),
        value,
    }
}

fn weeks_after(dice: &mut Dice) -> Draw {
    let (month, length) = month_of(dice);
    let (weeks, n) = *dice.pick(&[
        ("a week", 7),
        ("one week", 7),
        ("a fortnight", 14),
        ("two weeks", 14),
        ("three weeks", 21),
        ("a week and a day", 8),
    ]);
    let day = dice.range(1, length - n);
    let value = format!("{} {month}", day + n);
    Draw {
        working: format!("{weeks} is {n} days; {day} + {n} = {}, so {value}.", day + n),
        slots: vec![("date", format!("{day} {month}")), ("weeks", weeks.to_owned())],
        near: near_days(day + n, length, month),
        item: String::new(),
        value,
    }
}

fn iso_date(dice: &mut Dice) -> Draw {
    let index = dice.below(MONTHS.len());
    let (month, length) = MONTHS[index];
    let day = dice.range(1, length);
    let year = dice.range(1990, 2029);
    let value = format!("{day} {month} {year}");
    let mut near: Vec<String> = (0..MONTHS.len())
        .filter(|other| *other != index)
        .filter(|other| MONTHS[*other].1 >= day)
        .map(|other| format!("{day} {} {year}", MONTHS[other].0))
        .collect();
    near.extend(near_days(day, length, month).into_iter().map(|date| format!("{date} {year}")));
    Draw {
        working: format!("Month {:02} is {month}, so {value}.", index + 1),
        slots: vec![("iso", format!("{year}-{:02}-{day:02}", index + 1))],
        near,
        item: String::new(),
        value,
    }
}

/// The names on the way from `start`, in steps of `sign`, and the last of them.
fn steps<'a>(names: &[&'a str], start: usize, count: usize, sign: i64) -> Vec<&'a str> {
    let length = names.len();
    let step = if sign > 0 { 1 } else { length - 1 };
    (1..=count).map(|n| names[(start + n * step) % length]).collect()
}

fn weekday(dice: &mut Dice, sign: i64) -> Draw {
    let start = dice.below(7);
    let n = dice.range(2, 6);
    let path = steps(&WEEKDAYS, start, n as usize, sign);
    let value = path.last().copied().unwrap_or_default().to_owned();
    Draw {
        working: format!("{}: {}.", WEEKDAYS[start], path.join(", ")),
        near: WEEKDAYS.iter().filter(|day| **day != value).map(|day| (*day).to_owned()).collect(),
        slots: vec![("day", WEEKDAYS[start].to_owned()), ("n", n.to_string()), ("words", words(n))],
        item: String::new(),
        value,
    }
}

fn month(dice: &mut Dice, sign: i64) -> Draw {
    let names = MONTHS.map(|(name, _)| name);
    let start = dice.below(12);
    let n = dice.range(2, 6);
    let path = steps(&names, start, n as usize, sign);
    let value = path.last().copied().unwrap_or_default().to_owned();
    Draw {
        working: format!("{}: {}.", names[start], path.join(", ")),
        near: names.iter().filter(|name| **name != value).map(|name| (*name).to_owned()).collect(),
        slots: vec![("month", names[start].to_owned()), ("n", n.to_string()), ("words", words(n))],
        item: String::new(),
        value,
    }
}

fn year(dice: &mut Dice, sign: i64) -> Draw {
    let start = dice.range(1850, 2020);
    let n = dice.range(2, 15);
    let value = start + sign * n;
    let near = (value - 9..=value + 9).filter(|other| *other != value);
    Draw {
        working: format!("{start} {} {n} = {value}.", if sign > 0 { "+" } else { "-" }),
        near: near.map(|year| year.to_string()).collect(),
        slots: vec![("year", start.to_string()), ("n", n.to_string()), ("words", words(n))],
        item: String::new(),
        value: value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{Datelike, Days, Months, NaiveDate, Weekday};

    fn day_of(text: &str) -> NaiveDate {
        NaiveDate::parse_from_str(&format!("{text} 2023"), "%d %B %Y").expect(text)
    }

    fn slot(draw: &Draw, name: &str) -> String {
        draw.slots.iter().find(|(slot, _)| *slot == name).expect(name).1.clone()
    }

    fn n(draw: &Draw) -> u64 {
        slot(draw, "n").parse().expect("a number")
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        let dice = &mut Dice::new(1, "dates");
        for _ in 0..500 {
            let draw = date_after(dice);
            let expected = day_of(&slot(&draw, "date")) + Days::new(n(&draw));
            assert_eq!(day_of(&draw.value), expected);
            let draw = date_before(dice);
            let expected = day_of(&slot(&draw, "date")) - Days::new(n(&draw));
            assert_eq!(day_of(&draw.value), expected);
            let draw = iso_date(dice);
            let expected =
                NaiveDate::parse_from_str(&slot(&draw, "iso"), "%Y-%m-%d").expect("date");
            assert_eq!(NaiveDate::parse_from_str(&draw.value, "%d %B %Y").expect("date"), expected);
            let draw = weeks_after(dice);
            let days = match slot(&draw, "weeks").as_str() {
                "a week" | "one week" => 7,
                "a week and a day" => 8,
                "three weeks" => 21,
                _ => 14,
            };
            let expected = day_of(&slot(&draw, "date")) + Days::new(days);
            assert_eq!(day_of(&draw.value), expected);
        }
    }

    #[test]
    fn weekdays_and_months_are_those_of_the_calendar() {
        let dice = &mut Dice::new(1, "weekdays");
        for sign in [1, -1] {
            for _ in 0..200 {
                let draw = weekday(dice, sign);
                let start: Weekday = slot(&draw, "day").parse().expect("weekday");
                let mut date = NaiveDate::from_ymd_opt(2023, 5, 10).expect("date");
                while date.weekday() != start {
                    date = date + Days::new(1);
                }
                let days = Days::new(n(&draw));
                let end = if sign > 0 { date + days } else { date - days };
                assert_eq!(draw.value.parse::<Weekday>().expect("weekday"), end.weekday());

                let draw = month(dice, sign);
                let date = day_of(&format!("1 {}", slot(&draw, "month")));
                let months = Months::new(n(&draw) as u32);
                let end = if sign > 0 { date + months } else { date - months };
                assert_eq!(day_of(&format!("1 {}", draw.value)).month(), end.month());
            }
        }
    }
}
