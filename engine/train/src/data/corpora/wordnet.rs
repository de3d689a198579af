//! WordNet's glosses: `data.noun`, `data.verb`, `data.adj`, `data.adv`
//! (format: wndb(5WN)).

use std::{collections::BTreeMap, path::Path};

use super::{
    super::{dice::Dice, error::DataError},
    Pair, Text,
};

/// Other senses of a word beside the one asked for.
const MAX_NEGATIVES: usize = 4;

/// A synset's words, definition and example sentences.
struct Synset {
    lemmas: Vec<String>,
    definition: String,
    examples: Vec<String>,
}

/// Reads the glosses in `folder` as pairs and as single texts.
///
/// # Errors
/// Fails when none of the files can be read.
pub(crate) fn read(folder: &Path, dice: &mut Dice) -> Result<(Vec<Pair>, Vec<Text>), DataError> {
    let mut synsets = Vec::new();
    for name in ["data.noun", "data.verb", "data.adj", "data.adv"] {
        let path = folder.join(name);
        synsets.extend(fs_err::read_to_string(&path)?.lines().filter_map(synset));
    }
    if synsets.is_empty() {
        return Err(DataError::Empty { path: folder.to_owned(), what: "glosses" });
    }
    let mut senses: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for synset in &synsets {
        for lemma in &synset.lemmas {
            senses.entry(lemma).or_default().push(&synset.definition);
        }
    }

    let source = "wordnet".to_owned();
    let (mut pairs, mut texts) = (Vec::new(), Vec::new());
    for synset in &synsets {
        let key = format!("wordnet {}", synset.definition);
        let lemma = dice.pick(&synset.lemmas).clone();
        // A word of many senses asks for none of them in particular.
        let query = match senses.get(lemma.as_str()) {
            Some(all) if all.len() > 1 => match synset.examples.first() {
                Some(example) => Some(format!("{lemma}: {example}")),
                None => synset.lemmas.iter().find(|l| senses[l.as_str()].len() == 1).cloned(),
            },
            _ => Some(match dice.below(4) {
                0 => format!("what is {lemma}?"),
                1 => format!("meaning of {lemma}"),
                2 => synset.lemmas.join(", "),
                _ => lemma,
            }),
        };
        if let Some(query) = query {
            let positives = vec![synset.definition.clone()];
            // Other senses of the word are what the example has to tell apart.
            let others = senses.get(lemma_of(&query)).into_iter().flatten();
            let others = others.filter(|other| **other != synset.definition);
            let negatives = others.take(MAX_NEGATIVES).map(|other| (*other).to_owned()).collect();
            pairs.push(Pair { source: source.clone(), query, positives, negatives, key });
        }
        let singles = synset.examples.iter().chain([&synset.definition]);
        texts.extend(singles.map(|text| Text { source: source.clone(), text: text.clone() }));
    }
    Ok((pairs, texts))
}

/// The word that a query with an example sentence asks for.
fn lemma_of(query: &str) -> &str {
    query.split(": ").next().unwrap_or_default()
}

/// Reads a line; the licence's lines start with a space.
fn synset(line: &str) -> Option<Synset> {
    if line.starts_with(' ') {
        return None;
    }
    let (data, gloss) = line.split_once(" | ")?;
    let mut fields = data.split(' ').skip(3);
    let count = usize::from_str_radix(fields.next()?, 16).ok()?;
    let lemmas = fields.step_by(2).take(count).map(|word| {
        let word = word.split('(').next().unwrap_or_default();
        word.replace('_', " ")
    });
    let lemmas: Vec<String> = lemmas.collect();
    let mut definition = String::new();
    let mut examples = Vec::new();
    for (index, part) in gloss.split('"').enumerate() {
        let part = part.trim().trim_end_matches(';').trim();
        if index % 2 == 1 {
            examples.push(part.to_owned());
        } else if index == 0 {
            definition = part.to_owned();
        }
    }
    let is_usable = !lemmas.is_empty() && definition.split(' ').count() >= 3;
    is_usable.then_some(Synset { lemmas, definition, examples })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read() {
        let line = "00014742 29 v 03 sleep 0 kip 0 log_Z's 0 005 @ 01 v 0000 | be asleep at night; \"he slept well\"; \"she sleeps\"  ";
        let synset = synset(line).expect("a synset");
        assert_eq!(synset.lemmas, ["sleep", "kip", "log Z's"]);
        assert_eq!(synset.definition, "be asleep at night");
        assert_eq!(synset.examples, ["he slept well", "she sleeps"]);
        assert!(super::synset("  1 This software and database is being provided to you").is_none());
    }
}
