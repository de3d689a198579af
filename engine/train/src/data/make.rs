//! The whole run: evaluation sets first, then training files that keep clear of them.

use std::{
    collections::{BTreeMap, HashSet},
    io::Write,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{
    collection::Collection,
    corpora::{Pair, Text, explain, explain::Question, packages, prose, tree, wordnet},
    dice::{Dice, hash},
    error::DataError,
    example::{Example, Kind},
    leak::{Guard, Leak},
    resolving,
    split::Split,
};

/// Groups, queries a group and documents a group of a family in an evaluation set.
const GROUPS: usize = 4;
const GROUP_QUERIES: usize = 3;
const GROUP_DOCUMENTS: usize = 15;
/// Queries of the other kinds in an evaluation set, and documents beside theirs.
const PLAIN: (usize, usize) = (400, 800);
const EXPLAIN: (usize, usize) = (250, 350);

/// How many times the texts of another source a favoured one may have.
pub const FAVOUR: usize = 4;

/// Where the inputs are, and how much is made of them.
#[derive(Debug, Clone, Default)]
pub struct DataOptions {
    /// The same seed gives the same files.
    pub seed: u64,
    /// Folder with WordNet's `data.noun`, `data.verb`, `data.adj`, `data.adv`.
    pub wordnet: Option<PathBuf>,
    /// File with Debian package descriptions (`apt-cache dumpavail`).
    pub packages: Option<PathBuf>,
    /// Folder with JSONL files of `{question, answer, rationale}`.
    pub rationales: Option<PathBuf>,
    /// Folder of unpacked documentation, one folder a package.
    pub texts: Option<PathBuf>,
    /// Files and folders of JSONL whose texts are kept out of training.
    pub exclude: Vec<PathBuf>,
    /// Resolving examples for training.
    pub resolving: usize,
    /// Plain pairs for training, at most.
    pub plain: usize,
    /// Texts of one package to distil from, at most.
    pub texts_per_source: usize,
    /// Sources that may have [`FAVOUR`] times as many texts as others when not all fit.
    pub favoured: Vec<String>,
    /// Bytes of text to distil from, at most.
    pub distill_bytes: usize,
}

impl DataOptions {
    /// The texts of `source` that are taken when others may have `cap`.
    fn cap(&self, source: &str, cap: usize) -> usize {
        let times = if self.favoured.iter().any(|name| name == source) { FAVOUR } else { 1 };
        (cap * times).min(self.texts_per_source)
    }
}

/// What was made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DataSummary {
    /// Lines of each training file.
    pub training: BTreeMap<&'static str, usize>,
    /// Lines of each training file by where they come from.
    pub sources: BTreeMap<&'static str, BTreeMap<String, usize>>,
    /// Documents and queries of each evaluation set.
    pub evaluation: BTreeMap<String, (usize, usize)>,
    /// Training texts that were dropped: found whole in an evaluation set, or in part.
    pub leaks: BTreeMap<&'static str, (usize, usize)>,
    /// Texts of excluded sets that training texts were compared with.
    pub excluded_texts: usize,
}

/// The texts of packages, read once.
#[derive(Default)]
struct Corpora {
    pairs: Vec<Pair>,
    texts: Vec<Text>,
    questions: Vec<Question>,
}

/// Makes every file in the folder `out`.
///
/// # Errors
/// Fails when an input cannot be read or a file cannot be written.
pub fn make(
    out: &Path,
    options: &DataOptions,
    progress: &mut dyn FnMut(&str),
) -> Result<DataSummary, DataError> {
    let mut summary = DataSummary::default();
    fs_err::create_dir_all(out)?;
    progress("reading");
    let corpora = Corpora::read(options)?;
    let mut guard = Guard::default();
    for path in &options.exclude {
        summary.excluded_texts += guard.add_path(path)?;
    }

    progress("evaluation sets");
    for (split, folder) in [(Split::Valid, out.join("valid")), (Split::Test, out.to_owned())] {
        let mut mixed = Collection::default();
        for kind in Kind::PAIRS {
            let set = corpora.evaluation(kind, split, options.seed, &guard);
            if set.counts().1 == 0 {
                continue;
            }
            mixed.merge(&set);
            set.write(&folder.join(kind.name()))?;
            let name = format!("{split:?}/{}", kind.name()).to_lowercase();
            summary.evaluation.insert(name, set.counts());
        }
        mixed.write(&folder.join("mixed"))?;
        summary.evaluation.insert(format!("{split:?}/mixed").to_lowercase(), mixed.counts());
        mixed.texts().for_each(|text| guard.add(text));
    }

    let training: [(Kind, Vec<Example>); 4] = [
        (Kind::Resolving, resolving_examples(options)),
        (Kind::Explain, corpora.explain_examples()),
        (Kind::Plain, corpora.plain_examples(options)),
        (Kind::Distill, corpora.distill_examples(options)),
    ];
    for (kind, examples) in training {
        progress(kind.name());
        let name = kind.name();
        let path = out.join(format!("train_{name}.jsonl"));
        let mut file = std::io::BufWriter::new(fs_err::File::create(path)?);
        let limit = if kind == Kind::Distill { options.distill_bytes } else { usize::MAX };
        let mut bytes = 0;
        for mut example in examples {
            match leak(&guard, &example) {
                Some(Leak::Exact) => summary.leaks.entry(name).or_default().0 += 1,
                Some(Leak::Near) => summary.leaks.entry(name).or_default().1 += 1,
                None if bytes + example.query.len() <= limit => {
                    bytes += example.query.len();
                    example.negatives.retain(|text| guard.leak(text).is_none());
                    writeln!(file, "{}", serde_json::to_string(&example)?)?;
                    *summary.training.entry(name).or_default() += 1;
                    let sources = summary.sources.entry(name).or_default();
                    *sources.entry(example.source).or_default() += 1;
                }
                None => {}
            }
        }
        file.flush()?;
    }
    Ok(summary)
}

/// The most texts a source may have for all of them to fit.
fn fitting_cap(all: &[(&str, &str)], options: &DataOptions) -> usize {
    let mut lengths: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (source, text) in all {
        lengths.entry(source).or_default().push(text.len());
    }
    let bytes = |cap: usize| -> usize {
        let taken = lengths.iter().map(|(source, lengths)| -> usize {
            lengths.iter().take(options.cap(source, cap)).sum()
        });
        taken.sum()
    };
    let (mut low, mut high) = (0, options.texts_per_source);
    while low < high {
        let middle = (low + high).div_ceil(2);
        if bytes(middle) <= options.distill_bytes { low = middle } else { high = middle - 1 }
    }
    low
}

fn leak(guard: &Guard, example: &Example) -> Option<Leak> {
    let texts = std::iter::once(&example.query).chain(&example.positives);
    texts.filter_map(|text| guard.leak(text)).min()
}

fn resolving_examples(options: &DataOptions) -> Vec<Example> {
    let families = resolving::families();
    let mut examples = Vec::new();
    let mut seen = HashSet::new();
    let each = options.resolving / families.len();
    for family in &families {
        let dice = &mut Dice::new(options.seed, &format!("train {}", family.name));
        let made = (0..each).filter_map(|_| resolving::example(family, dice));
        examples.extend(made.filter(|example| seen.insert(hash(&example.query))));
    }
    Dice::new(options.seed, "order of resolving").shuffle(&mut examples);
    examples
}

impl Corpora {
    fn read(options: &DataOptions) -> Result<Self, DataError> {
        let mut corpora = Self::default();
        let dice = &mut Dice::new(options.seed, "corpora");
        if let Some(folder) = &options.wordnet {
            corpora.take(wordnet::read(folder, dice)?);
        }
        if let Some(path) = &options.packages {
            corpora.take(packages::read(path, dice)?);
        }
        if let Some(folder) = &options.texts {
            corpora.take(tree::read(folder, options.texts_per_source)?);
        }
        if let Some(folder) = &options.rationales {
            corpora.questions = explain::read(folder)?;
            dice.shuffle(&mut corpora.questions);
        }
        dice.shuffle(&mut corpora.pairs);
        Ok(corpora)
    }

    fn take(&mut self, (pairs, texts): (Vec<Pair>, Vec<Text>)) {
        self.pairs.extend(pairs);
        self.texts.extend(texts);
    }

    /// The evaluation set of a kind.
    fn evaluation(&self, kind: Kind, split: Split, seed: u64, guard: &Guard) -> Collection {
        let mut set = Collection::default();
        match kind {
            Kind::Resolving => {
                for family in resolving::families() {
                    let name = format!("{split:?} {}", family.name);
                    let dice = &mut Dice::new(seed, &name);
                    for _ in 0..GROUPS {
                        let size = (GROUP_QUERIES, GROUP_DOCUMENTS);
                        let Some(group) = resolving::group(&family, split, size, dice) else {
                            continue;
                        };
                        let places: Vec<usize> =
                            group.documents.iter().map(|text| set.document(kind, text)).collect();
                        for query in group.queries {
                            let relevant = vec![places[query.document]];
                            let thought = Some(query.thought.as_str());
                            set.query((kind, family.name), &query.query, thought, relevant);
                        }
                    }
                }
            }
            Kind::Explain => {
                let mut asked = HashSet::new();
                let questions = self.questions.iter().filter(|question| {
                    Split::of_text(&question.question) == split
                        && guard.leak(&question.question).is_none()
                        && asked.insert(&question.question)
                });
                for (index, question) in questions.take(EXPLAIN.0 + EXPLAIN.1).enumerate() {
                    let place = set.document(kind, &question.rationale);
                    if index < EXPLAIN.0 {
                        let thought = Some(question.thought.as_str());
                        let name = (kind, question.source.as_str());
                        set.query(name, &question.question, thought, vec![place]);
                    }
                }
            }
            Kind::Plain | Kind::Distill => {
                let mut asked = HashSet::new();
                let pairs = self.pairs.iter().filter(|pair| {
                    Split::of_text(&pair.key) == split
                        && guard.leak(&pair.positives[0]).is_none()
                        && pair.positives[0].split(' ').count() <= 60
                        && asked.insert(pair.query.to_lowercase())
                });
                for (index, pair) in pairs.take(PLAIN.0 + PLAIN.1).enumerate() {
                    let places: Vec<usize> =
                        pair.positives.iter().map(|text| set.document(kind, text)).collect();
                    if index < PLAIN.0 {
                        set.query((kind, &pair.source), &pair.query, None, places);
                    }
                }
            }
        }
        set
    }

    fn explain_examples(&self) -> Vec<Example> {
        let questions = self
            .questions
            .iter()
            .filter(|question| Split::of_text(&question.question) == Split::Train);
        let examples = questions.map(|question| Example {
            kind: Kind::Explain,
            instruction: None,
            query: question.question.clone(),
            positives: vec![question.rationale.clone()],
            negatives: Vec::new(),
            thought: Some(question.thought.clone()),
            source: question.source.clone(),
        });
        examples.collect()
    }

    fn plain_examples(&self, options: &DataOptions) -> Vec<Example> {
        let pairs = self.pairs.iter().filter(|pair| Split::of_text(&pair.key) == Split::Train);
        let examples = pairs.take(options.plain).map(|pair| Example {
            kind: Kind::Plain,
            instruction: None,
            query: pair.query.clone(),
            positives: pair.positives.clone(),
            negatives: pair.negatives.clone(),
            thought: None,
            source: pair.source.clone(),
        });
        examples.collect()
    }

    /// Texts alone, each once, shuffled, with every twelfth short one in capitals, as old
    /// collections have their queries. Where there are too many, the largest sources are
    /// cut first.
    fn distill_examples(&self, options: &DataOptions) -> Vec<Example> {
        let dice = &mut Dice::new(options.seed, "distill");
        let questions =
            self.questions.iter().filter(|q| Split::of_text(&q.question) == Split::Train);
        let questions = questions.map(|q| (q.source.as_str(), q.question.as_str()));
        let headings = self.pairs.iter().filter(|pair| pair.source != "wordnet");
        let headings = headings.map(|pair| (pair.source.as_str(), pair.query.as_str()));
        let texts = self.texts.iter().map(|text| (text.source.as_str(), text.text.as_str()));
        let mut seen = HashSet::new();
        let mut all: Vec<(&str, &str)> = texts
            .chain(questions)
            .chain(headings)
            .filter(|(_, text)| (3..=prose::MAX_WORDS).contains(&text.split(' ').count()))
            .filter(|(_, text)| seen.insert(hash(&text.to_lowercase())))
            .collect();
        dice.shuffle(&mut all);
        let cap = fitting_cap(&all, options);
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        all.retain(|(source, _)| {
            let count = counts.entry(source).or_default();
            *count += 1;
            *count <= options.cap(source, cap)
        });
        let examples = all.into_iter().map(|(source, text)| Example {
            kind: Kind::Distill,
            instruction: None,
            query: if text.len() < 160 && dice.once_in(12) {
                text.to_uppercase()
            } else {
                text.to_owned()
            },
            positives: Vec::new(),
            negatives: Vec::new(),
            thought: None,
            source: source.to_owned(),
        });
        examples.collect()
    }
}
