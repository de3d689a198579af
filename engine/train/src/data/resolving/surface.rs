//! Subjects, frames and document templates: all that surrounds clue and value.

use super::{
    super::{dice::Dice, split::Split},
    family::{Draw, Family, Topic},
};

mod frames;
mod nouns;
mod templates;

pub(crate) use frames::frames;
pub(crate) use templates::documents;

/// A subject: a place and a thing there.
pub(crate) fn subject(topic: Topic, split: Split, dice: &mut Dice) -> String {
    let place = nouns::place(split, dice);
    let thing = dice.pick(nouns::things(topic).of(split));
    match topic {
        Topic::Chapter => format!("{place} {thing}"),
        _ if dice.once_in(3) => format!("{place} {} {thing}", dice.pick(nouns::SITES.of(split))),
        _ => format!("{place} {thing}"),
    }
}

/// A sentence that says nothing of the value.
pub(crate) fn detail(split: Split, dice: &mut Dice) -> String {
    let (who, did, what) = (
        dice.pick(nouns::WHO.of(split)),
        dice.pick(nouns::DID.of(split)),
        dice.pick(nouns::WHAT.of(split)),
    );
    format!("{who} {did} {what}.")
}

/// A document's text.
pub(crate) fn document(
    template: &str,
    subject: &str,
    value: &str,
    item: &str,
    detail: &str,
) -> String {
    let text = template
        .replace("{subject}", subject)
        .replace("{value}", value)
        .replace("{item}", item)
        .replace("{detail}", detail);
    capital(&text)
}

/// A query's text.
pub(crate) fn query(
    family: &Family,
    split: Split,
    subject: &str,
    draw: &Draw,
    dice: &mut Dice,
) -> String {
    let mut clue = (*dice.pick(family.clues.of(split))).to_owned();
    for (slot, value) in &draw.slots {
        clue = clue.replace(&format!("{{{slot}}}"), value);
    }
    let frame = dice.pick(frames(family.kind).of(split));
    let text =
        frame.replace("{subject}", subject).replace("{clue}", &clue).replace("{item}", &draw.item);
    if dice.once_in(2) { capital(&text) } else { text }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Every phrasing of `split`, for the test that splits share none.
#[cfg(test)]
pub(crate) fn phrasings(split: Split) -> Vec<&'static str> {
    let mut all = Vec::new();
    for topic in Topic::ALL {
        all.extend(frames(topic).of(split));
        all.extend(documents(topic).of(split));
        all.extend(nouns::things(topic).of(split));
    }
    for parts in [nouns::SITES, nouns::WHO, nouns::DID, nouns::WHAT, nouns::PREFIXES] {
        all.extend(parts.of(split));
    }
    all
}
