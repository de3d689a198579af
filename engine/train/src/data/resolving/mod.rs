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
    dice::{Dice, hash, mix},
    example::{Example, Kind},
    split::Split,
};

/// Tries for a draw whose value pair belongs to the split asked for.
const MAX_TRIES: usize = 2000;
/// Siblings that a training query has as negatives.
const NEGATIVES: usize = 4;
/// How many training queries of a hundred have the brief thought: an adapter that learns both
/// gives reinforcement something to choose from.
const BRIEF_PERCENT: u64 = 40;

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
    /// The same in as few words as do.
    pub(crate) brief: String,
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

    let mut asked = vec![(first, pair)];
    for _ in 1..queries {
        let Some((mut other, pair)) = draw(family, split, dice) else { break };
        other.set_item(&item);
        if asked.iter().all(|(draw, _)| draw.value != other.value) {
            asked.push((other, pair));
        }
    }
    let mut values: Vec<String> = asked.iter().map(|(draw, _)| draw.value.clone()).collect();
    // Each value gets siblings of its own in turn: near values of one are far from another.
    let mut near: Vec<Vec<String>> = asked.iter().map(|(draw, _)| draw.near.clone()).collect();
    near.iter_mut().for_each(|values| dice.shuffle(values));
    while values.len() < documents && near.iter().any(|values| !values.is_empty()) {
        for value in near.iter_mut().filter_map(Vec::pop) {
            if values.len() < documents && !values.contains(&value) {
                values.push(value);
            }
        }
    }
    dice.shuffle(&mut values);
    let queries = asked.iter().map(|(draw, pair)| Resolving {
        query: surface::query(family, split, &subject, draw, dice),
        thought: working::thought(family.kind, draw, &subject),
        brief: working::brief(family.kind, draw),
        document: values.iter().position(|value| *value == draw.value).unwrap_or_default(),
        pair: pair.clone(),
    });
    let queries = queries.collect();
    let documents = values.iter().map(|value| write(value)).collect();
    Some(Group { family: family.name, documents, queries })
}

/// Makes a training example of `family`.
pub(crate) fn example(family: &Family, dice: &mut Dice) -> Option<Example> {
    let Group { documents, queries, .. } = group(family, Split::Train, (1, NEGATIVES + 1), dice)?;
    let query = queries.into_iter().next()?;
    let is_brief = mix(hash(&query.query)) % 100 < BRIEF_PERCENT;
    let positive = documents[query.document].clone();
    let negatives = documents.into_iter().filter(|text| *text != positive).collect();
    Some(Example {
        kind: Kind::Resolving,
        instruction: None,
        query: query.query,
        positives: vec![positive],
        negatives,
        thought: Some(if is_brief { query.brief } else { query.thought }),
        source: family.name.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn groups(split: Split, seed: u64) -> Vec<Group> {
        let size = if split == Split::Train { (1, NEGATIVES + 1) } else { (3, 12) };
        let mut all = Vec::new();
        for family in families() {
            let dice = &mut Dice::new(seed, &format!("{split:?} {}", family.name));
            all.extend((0..150).filter_map(|_| group(&family, split, size, dice)));
        }
        all
    }

    /// Templates, frames, clue phrasings, nouns and names of a split.
    fn phrasings(split: Split) -> HashSet<&'static str> {
        let clues = families().into_iter().flat_map(|family| family.clues.of(split));
        surface::phrasings(split).into_iter().chain(clues.copied()).collect()
    }

    #[test]
    fn splits_share_no_phrasing_and_no_name() {
        for (one, other) in
            [(Split::Train, Split::Test), (Split::Train, Split::Valid), (Split::Valid, Split::Test)]
        {
            let shared: Vec<_> = phrasings(one).intersection(&phrasings(other)).copied().collect();
            assert!(shared.is_empty(), "{one:?} and {other:?} share {shared:?}");
        }
    }

    #[test]
    fn every_family_has_enough_phrasings() {
        assert!(families().len() >= 15);
        for family in families() {
            for (split, least) in [(Split::Train, 10), (Split::Valid, 3), (Split::Test, 4)] {
                assert!(family.clues.of(split).len() >= least, "{}", family.name);
                assert!(surface::frames(family.kind).of(split).len() >= least);
                assert!(surface::documents(family.kind).of(split).len() >= least);
            }
        }
    }

    #[test]
    fn splits_share_no_text_and_no_value_pair() {
        let shared_values: HashSet<&str> =
            families().iter().filter(|family| family.shared).map(|family| family.name).collect();
        let collect = |split| {
            let (mut texts, mut pairs) = (HashSet::new(), HashSet::new());
            for group in groups(split, 7) {
                texts.extend(group.documents);
                for query in group.queries {
                    texts.insert(query.query);
                    if !shared_values.contains(group.family) {
                        pairs.insert(query.pair);
                    }
                }
            }
            (texts, pairs)
        };
        let (train, train_pairs) = collect(Split::Train);
        for split in [Split::Valid, Split::Test] {
            let (texts, pairs) = collect(split);
            assert!(texts.is_disjoint(&train), "{split:?} shares texts with training");
            assert!(pairs.is_disjoint(&train_pairs), "{split:?} shares values with training");
            assert!(pairs.len() > 1000);
        }
    }

    #[test]
    fn documents_differ_in_their_value_and_queries_find_theirs() {
        for split in Split::ALL {
            for group in groups(split, 3) {
                let distinct: HashSet<&String> = group.documents.iter().collect();
                assert_eq!(distinct.len(), group.documents.len(), "{group:?}");
                assert!(group.documents.len() >= 4, "{group:?}");
                for query in &group.queries {
                    let text = group.documents[query.document].to_lowercase();
                    let value = query.pair.rsplit('|').next().unwrap_or_default().to_lowercase();
                    assert!(text.contains(&value), "{query:?} {text}");
                    for thought in [&query.thought, &query.brief] {
                        assert!(thought.to_lowercase().contains(&value), "{query:?}");
                    }
                    assert!(query.brief.len() < query.thought.len(), "{query:?}");
                    assert!(!query.query.contains(['{', '}']), "{query:?}");
                    assert!(!text.contains(['{', '}']), "{text}");
                    assert!(query.thought.split(' ').count() <= 40, "{query:?}");
                }
            }
        }
    }

    #[test]
    fn the_seed_decides_everything() {
        assert_eq!(groups(Split::Test, 5), groups(Split::Test, 5));
        assert_ne!(groups(Split::Test, 5), groups(Split::Test, 6));
    }
}
