//! Times of day.

use super::{
    super::{dice::Dice, split::Parts},
    family::{Draw, Family, Topic},
    working::words,
};

pub(super) fn families() -> Vec<Family> {
    let timetable =
        |name, clues, draw| Family { name, kind: Topic::Timetable, clues, draw, shared: false };
    vec![
        timetable("clock-after", CLOCK_AFTER, clock_after),
        timetable("clock-pm", CLOCK_PM, clock_pm),
        timetable("clock-words", CLOCK_WORDS, clock_words),
    ]
}

const CLOCK_AFTER: Parts<&str> = Parts {
    train: &[
        "{n} minutes after {time}",
        "{time} plus {n} minutes",
        "{n} min past {time}",
        "a time {n} minutes later than {time}",
        "{n} minutes on from {time}",
        "{time} and {n} minutes more",
        "{time}, delayed by {n} minutes",
        "{n} minutes counted from {time}",
        "{time} with a delay of {n} minutes",
        "the time {n} minutes after {time}",
    ],
    valid: &[
        "{n} minutes following {time}",
        "{time}, put back by {n} minutes",
        "a moment {n} minutes beyond {time}",
    ],
    test: &[
        "{n} minutes subsequent to {time}",
        "the moment {n} minutes have gone by after {time}",
        "a start at {time} postponed {n} minutes",
        "{time} shifted forward {n} minutes",
    ],
};
const CLOCK_PM: Parts<&str> = Parts {
    train: &[
        "{pm} pm",
        "{pm} p.m.",
        "{pm} PM",
        "{pm} in the afternoon or evening",
        "{pm} pm sharp",
        "{pm} pm today",
        "{pm} after noon",
        "the {pm} pm slot",
        "{pm} pm local time",
        "about {pm} pm",
    ],
    valid: &["{pm} pm exactly", "{pm} post meridiem", "a {pm} pm start"],
    test: &[
        "{pm} pm on the dot",
        "the hour of {pm} pm",
        "{pm} pm by the clock",
        "{pm} past midday",
    ],
};
const CLOCK_WORDS: Parts<&str> = Parts {
    train: &[
        "{words}",
        "{words} sharp",
        "{words} today",
        "{words} local time",
        "about {words}",
        "the {words} slot",
        "{words} as usual",
        "the time of {words}",
        "{words} or so",
        "exactly {words}",
    ],
    valid: &["{words} precisely", "a {words} start", "{words} by my watch"],
    test: &[
        "{words} on the dot",
        "the hour of {words}",
        "{words} by the clock",
        "nothing but {words}",
    ],
};

/// A time as documents write it.
fn show(minutes: i64) -> String {
    format!("{:02}:{:02}", minutes.rem_euclid(1440) / 60, minutes.rem_euclid(60))
}

fn near(time: i64, step: i64) -> Vec<String> {
    let steps = (-8..=8).filter(|n| *n != 0).map(|n| show(time + n * step));
    steps.chain([show(time + 720)]).collect()
}

fn clock_after(dice: &mut Dice) -> Draw {
    let start = dice.range(6 * 12, 21 * 12) * 5;
    let n = dice.range(2, 11) * 5;
    let end = start + n;
    let (hour, minute) = (start / 60, start % 60);
    let sum = minute + n;
    let working = if sum >= 60 {
        format!("{minute} + {n} = {sum}, one hour and {}, so {}.", sum - 60, show(end))
    } else {
        format!("{minute} + {n} = {sum}, hour {hour:02}, so {}.", show(end))
    };
    Draw {
        working,
        slots: vec![("time", show(start)), ("n", n.to_string())],
        near: near(end, 5),
        item: String::new(),
        value: show(end),
    }
}

fn clock_pm(dice: &mut Dice) -> Draw {
    let (hour, minute) = (dice.range(1, 11), dice.range(0, 11) * 5);
    let value = show((hour + 12) * 60 + minute);
    Draw {
        working: format!("{hour} pm is {hour} + 12 = {}, so {value}.", hour + 12),
        slots: vec![("pm", format!("{hour}:{minute:02}"))],
        near: near((hour + 12) * 60 + minute, 60),
        item: String::new(),
        value,
    }
}

fn clock_words(dice: &mut Dice) -> Draw {
    let hour = dice.range(1, 12);
    let before = if hour == 1 { 12 } else { hour - 1 };
    let (text, time, working) = match dice.below(4) {
        0 => (format!("quarter past {}", words(hour)), (hour, 15), "quarter past is :15"),
        1 => (format!("half past {}", words(hour)), (hour, 30), "half past is :30"),
        2 => {
            (format!("quarter to {}", words(hour)), (before, 45), "quarter to is :45, hour before")
        }
        _ => {
            let minute = *dice.pick(&[5, 10, 20, 25]);
            if dice.once_in(2) {
                let text = format!("{} past {}", words(minute), words(hour));
                (text, (hour, minute), "past keeps the hour")
            } else {
                let text = format!("{} to {}", words(minute), words(hour));
                (text, (before, 60 - minute), "to takes the hour before")
            }
        }
    };
    // In the morning, so that twelve is noon or the half hour after midnight never comes up.
    let (text, shift) = if time.0 == 12 || dice.once_in(2) {
        (format!("{text} in the afternoon"), if time.0 == 12 { 0 } else { 12 })
    } else {
        (format!("{text} in the morning"), 0)
    };
    let minutes = (time.0 + shift) * 60 + time.1;
    let value = show(minutes);
    Draw {
        working: format!("{working}, so {value}."),
        slots: vec![("words", text)],
        near: near(minutes, 15),
        item: String::new(),
        value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{Duration, NaiveTime};

    #[test]
    fn times_are_those_of_the_clock() {
        let dice = &mut Dice::new(1, "clock");
        let read = |text: &str| NaiveTime::parse_from_str(text, "%H:%M").expect("a time");
        for _ in 0..500 {
            let draw = clock_after(dice);
            let n: i64 = draw.slots[1].1.parse().expect("a number");
            assert_eq!(read(&draw.value), read(&draw.slots[0].1) + Duration::minutes(n));
            let draw = clock_pm(dice);
            let pm = format!("{} PM", draw.slots[0].1);
            let expected = NaiveTime::parse_from_str(&pm, "%I:%M %p").expect("a time");
            assert_eq!(read(&draw.value), expected);
            assert!(!draw.near.contains(&draw.value));
        }
    }

    #[test]
    fn spoken_times() {
        let dice = &mut Dice::new(2, "clock");
        let known = [
            ("quarter past three in the afternoon", "15:15"),
            ("half past nine in the morning", "09:30"),
            ("twenty to eight in the morning", "07:40"),
            ("quarter to one in the afternoon", "12:45"),
        ];
        let mut seen = 0;
        for _ in 0..4000 {
            let draw = clock_words(dice);
            if let Some((_, value)) = known.iter().find(|(text, _)| *text == draw.slots[0].1) {
                assert_eq!(draw.value, *value);
                seen += 1;
            }
        }
        assert!(seen > 20);
    }
}
