//! Queries whose words are not in their document until something is worked out.
//!
//! A query names a subject and a clue ("the Ashford pump log three days after 14 March");
//! its document has the subject and the value that the clue comes to ("17 March"). Beside
//! the document stand siblings: the same text with other values. Without working out the
//! value a query can find the siblings, but not which of them.
//!
//! Invariant: phrasings, document templates, place names, nouns and value pairs of one
//! [`Split`] appear in no other.

mod calendar;
mod clock;
mod counts;
mod family;
mod measures;
mod names;
mod numerals;
mod surface;
mod working;

pub(crate) use family::{Draw, Family};

use super::{
    dice::Dice,
    example::{Example, Kind},
    split::Split,
};

/// Tries for a draw whose value pair belongs to the split asked for.
const MAX_TRIES: usize = 2000;
/// Siblings that a training query has as negatives.
const NEGATIVES: usize = 4;

/// A subject with its documents, one for each value, and queries that ask for some of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Group {
    /// The family's name.
    pub(crate) family: &'static str,
    /// One document per value; the values differ.
    pub(crate) documents: Vec<String>,
    /// What is asked.
    pub(crate) queries: Vec<Resolving>,
}

/// A query of a [`Group`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resolving {
    pub(crate) query: String,
    pub(crate) thought: String,
    /// Position in the group's documents.
    pub(crate) document: usize,
    /// Family, clue and value: what must differ between splits.
    pub(crate) pair: String,
}

/// Every family.
pub(crate) fn families() -> Vec<Family> {
    let mut all = calendar::families();
    all.extend(clock::families());
    all.extend(measures::families());
    all.extend(numerals::families());
    all.extend(counts::families());
    all.extend(names::families());
    all
}

/// Draws values until one belongs to `split`; none does if the family is too small.
fn draw(family: &Family, split: Split, dice: &mut Dice) -> Option<(Draw, String)> {
    (0..MAX_TRIES).find_map(|_| {
        let draw = (family.draw)(dice);
        let pair = format!("{}|{}|{}", family.name, draw.clue_key(), draw.value);
        (family.shared || Split::of_pair(&pair) == split).then_some((draw, pair))
    })
}

/// Makes a group of `family` with up to `queries` queries and about `documents` documents.
pub(crate) fn group(
    family: &Family,
    split: Split,
    (queries, documents): (usize, usize),
    dice: &mut Dice,
) -> Option<Group> {
    let subject = surface::subject(family.kind, split, dice);
    let template = *dice.pick(surface::documents(family.kind).of(split));
    let detail = surface::detail(split, dice);
    let (first, pair) = draw(family, split, dice)?;
    let item = first.item.clone();
    let write = |value: &str| surface::document(template, &subject, value, &item, &detail);

    let mut values = vec![first.value.clone()];
    let mut near = first.near.clone();
    dice.shuffle(&mut near);
    for value in near {
        if values.len() < documents && !values.contains(&value) {
            values.push(value);
        }
    }
    let mut asked = vec![(first, pair)];
    for _ in 1..queries {
        // Another value of the same subject; what it names may be among the siblings already.
        let Some((mut other, pair)) = draw(family, split, dice) else { break };
        other.set_item(&item);
        if asked.iter().all(|(draw, _)| draw.value != other.value) {
            if !values.contains(&other.value) {
                values.push(other.value.clone());
            }
            asked.push((other, pair));
        }
    }
    dice.shuffle(&mut values);
    let queries = asked.iter().map(|(draw, pair)| Resolving {
        query: surface::query(family, split, &subject, draw, dice),
        thought: working::thought(family.kind, draw, &subject),
        document: values.iter().position(|value| *value == draw.value).unwrap_or_default(),
        pair: pair.clone(),
    });
    let queries = queries.collect();
    let documents = values.iter().map(|value| write(value)).collect();
    Some(Group { family: family.name, documents, queries })
}

/// Makes a training example of `family`.
pub(crate) fn example(family: &Family, dice: &mut Dice) -> Option<Example> {
    let Group { documents, queries, .. } =
        group(family, Split::Train, (1, NEGATIVES + 1), dice)?;
    let query = queries.into_iter().next()?;
    let positive = documents[query.document].clone();
    let negatives = documents.into_iter().filter(|text| *text != positive).collect();
    Some(Example {
        kind: Kind::Resolving,
        instruction: None,
        query: query.query,
        positives: vec![positive],
        negatives,
        thought: Some(query.thought),
        source: family.name.to_owned(),
    })
}
