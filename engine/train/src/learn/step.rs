//! The loss of one step: examples in, gradients out.

use std::collections::HashMap;

use burn::tensor::{Tensor, TensorData};

use super::{
    Batch, Contrast, Drawn, Pairing, ParameterGradients, Sequence, Sequencer, Stage, Student,
    Teacher, TrainError,
    loss::{cosine_distance, info_nce, similarity_divergence},
};

/// The losses of a step, for the log; those that were not computed are absent.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize)]
pub struct StepLosses {
    /// Mean negative log-probability of the thoughts' tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thought: Option<f32>,
    /// InfoNCE of direct queries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direct: Option<f32>,
    /// InfoNCE of queries with their thoughts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoned: Option<f32>,
    /// Cosine distance to the teacher.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cosine: Option<f32>,
    /// Divergence of the batch's similarities from the teacher's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub similarity: Option<f32>,
    /// Tokens that ran forward and back.
    pub tokens: usize,
    /// Texts that were embedded.
    pub texts: usize,
}

impl StepLosses {
    /// The weighted sum.
    pub fn total(&self, stage: &Stage) -> f32 {
        let weights = &stage.weights;
        let parts = [
            (self.thought, weights.thought),
            (self.direct, weights.direct),
            (self.reasoned, weights.reasoned),
            (self.cosine, weights.cosine),
            (self.similarity, weights.similarity),
        ];
        parts.iter().filter_map(|(loss, weight)| Some(loss.as_ref()? * *weight as f32)).sum()
    }
}

/// What a step embeds, and what the rows mean.
#[derive(Debug, Default)]
struct Texts<'a> {
    sequences: Vec<Sequence>,
    /// Rows of texts by what they are, so that a text that occurs twice runs once.
    known: HashMap<(Role, String), usize>,
    direct: Queries,
    reasoned: Queries,
    /// Rows of documents among `sequences`, each once.
    documents: Vec<usize>,
    /// Rows that the teacher has read, with the text as the teacher knows it.
    taught: Vec<(usize, &'a str)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Role {
    Query,
    Document,
}

/// Rows of queries, with places among the documents.
#[derive(Debug, Default)]
struct Queries {
    rows: Vec<usize>,
    positive: Vec<usize>,
    also_right: Vec<Vec<usize>>,
    hard: Vec<Vec<usize>>,
}

/// Computes a step's losses and gradients.
///
/// # Errors
/// Fails when a text cannot be made into a prompt.
pub fn run_step(
    student: &Student,
    sequencer: &Sequencer,
    teacher: Option<&Teacher>,
    drawn: &[Drawn<'_>],
    stage: &Stage,
) -> Result<(StepLosses, ParameterGradients), TrainError> {
    let mut losses = StepLosses::default();
    let mut gradients = ParameterGradients::default();
    if stage.weights.thought > 0.0 {
        think_step(student, sequencer, drawn, stage, &mut losses, &mut gradients)?;
    }
    let weights = &stage.weights;
    if weights.direct + weights.reasoned + weights.cosine + weights.similarity > 0.0 {
        let texts = Texts::of(sequencer, drawn, stage)?;
        embed_step(student, teacher, &texts, stage, &mut losses, &mut gradients);
    }
    Ok((losses, gradients))
}

/// Next-token loss of the thoughts.
fn think_step(
    student: &Student,
    sequencer: &Sequencer,
    drawn: &[Drawn<'_>],
    stage: &Stage,
    losses: &mut StepLosses,
    gradients: &mut ParameterGradients,
) -> Result<(), TrainError> {
    let mut sequences = Vec::new();
    for one in drawn {
        if let Some(thought) = &one.example.thought {
            let query = one.case.apply(&one.example.query);
            let prompt = sequencer.query(&query, one.example.instruction.as_deref())?;
            sequences.push(sequencer.think(&prompt, thought)?);
        }
    }
    let targets: usize = sequences.iter().map(|sequence| sequence.thought.len()).sum();
    if targets == 0 {
        return Ok(());
    }
    let mut sum = 0.0;
    for group in student.thought_passes(&sequences, stage.pass_tokens_max) {
        let batch = Batch::new(group.iter().map(|&index| &sequences[index]).collect(), 0);
        let loss = student.thought_log_probabilities(&batch).sum().neg();
        let loss = loss.div_scalar(targets as f32);
        let mut passed = loss.clone().mul_scalar(stage.weights.thought as f32).backward();
        gradients.add(ParameterGradients::take(&student.adapters, &mut passed));
        sum += loss.into_scalar::<f32>();
        losses.tokens += batch.sequences.iter().map(|one| one.tokens.len()).sum::<usize>();
    }
    losses.thought = Some(sum);
    Ok(())
}

/// Contrastive and distillation losses.
fn embed_step(
    student: &Student,
    teacher: Option<&Teacher>,
    texts: &Texts<'_>,
    stage: &Stage,
    losses: &mut StepLosses,
    gradients: &mut ParameterGradients,
) {
    let extra = student.queries();
    let groups = student.embedding_passes(&texts.sequences, stage.pass_tokens_max);
    let batches: Vec<Batch<'_>> = groups
        .iter()
        .map(|group| Batch::new(group.iter().map(|&row| &texts.sequences[row]).collect(), extra))
        .collect();
    losses.texts = texts.sequences.len();
    losses.tokens += texts.sequences.iter().map(|one| one.tokens.len()).sum::<usize>();

    // Embeddings come group by group; `place[row]` is where a text's embedding lies.
    let mut place = vec![0; texts.sequences.len()];
    for (at, &row) in groups.iter().flatten().enumerate() {
        place[row] = at;
    }
    if !stage.grad_cache {
        let parts = batches.iter().map(|batch| student.embed(batch).embeddings).collect();
        let total = embed_loss(Tensor::cat(parts, 0), &place, teacher, texts, stage, losses);
        if let Some(total) = total {
            gradients.add(ParameterGradients::take(&student.adapters, &mut total.backward()));
        }
        return;
    }
    // GradCache (arXiv 2101.06983). The first pass keeps what its gradient needs: one pass has to
    // fit anyway, and it need not run again.
    let Some((first, others)) = batches.split_first() else { return };
    let kept = student.embed(first).embeddings;
    let frozen = student.frozen();
    let mut parts = vec![kept.clone().detach()];
    parts.extend(others.iter().map(|batch| frozen.embed(batch).embeddings));
    let embeddings = Tensor::cat(parts, 0).detach().require_grad();
    let total = embed_loss(embeddings.clone(), &place, teacher, texts, stage, losses);
    let wanted = total.and_then(|total| embeddings.grad_remove(&mut total.backward()));
    let Some(wanted) = wanted.map(Tensor::autodiff) else {
        // What a pass has recorded is freed by going back through it.
        kept.sum().backward();
        return;
    };
    let mut back = |embedded: Tensor<2>, start: usize| {
        let rows = start..start + embedded.dims()[0];
        let mut passed = (embedded * wanted.clone().slice(rows)).sum().backward();
        gradients.add(ParameterGradients::take(&student.adapters, &mut passed));
    };
    back(kept, 0);
    let mut start = first.count();
    for batch in others {
        back(student.embed(batch).embeddings, start);
        start += batch.count();
    }
}

/// The weighted sum of the losses over all embeddings; `None` when there is none.
fn embed_loss(
    embeddings: Tensor<2>,
    place: &[usize],
    teacher: Option<&Teacher>,
    texts: &Texts<'_>,
    stage: &Stage,
    losses: &mut StepLosses,
) -> Option<Tensor<1>> {
    let select = |rows: &[usize]| pick(&embeddings, rows.iter().map(|&row| place[row]));
    let mut total: Option<Tensor<1>> = None;
    let mut add = |loss: Tensor<1>, weight: f64, slot: &mut Option<f32>| {
        *slot = Some(loss.clone().into_scalar::<f32>());
        let weighted = loss.mul_scalar(weight as f32);
        total = Some(match total.take() {
            Some(sum) => sum + weighted,
            None => weighted,
        });
    };
    let contrast = Contrast {
        temperature: stage.temperature,
        false_negative_margin: stage.false_negative_margin,
        symmetric: true,
    };
    let weights = &stage.weights;
    for (queries, weight, slot) in [
        (&texts.direct, weights.direct, &mut losses.direct),
        (&texts.reasoned, weights.reasoned, &mut losses.reasoned),
    ] {
        if weight > 0.0 && !queries.rows.is_empty() {
            let documents = select(&texts.documents);
            let pairing = queries.pairing(texts.documents.len());
            add(info_nce(select(&queries.rows), documents, &pairing, &contrast), weight, slot);
        }
    }
    if let Some(teacher) = teacher.filter(|_| weights.cosine + weights.similarity > 0.0) {
        let mut rows = Vec::new();
        let mut vectors = Vec::new();
        for (row, text) in &texts.taught {
            if let Some(vector) = teacher.vector(text) {
                rows.push(*row);
                vectors.extend(vector);
            }
        }
        if !rows.is_empty() {
            let shape = [rows.len(), teacher.dimension()];
            let taught =
                Tensor::<2>::from_data(TensorData::new(vectors, shape), &embeddings.device());
            let students = select(&rows);
            if weights.cosine > 0.0 {
                let loss = cosine_distance(students.clone(), taught.clone());
                add(loss, weights.cosine, &mut losses.cosine);
            }
            if weights.similarity > 0.0 && rows.len() > 1 {
                let loss = similarity_divergence(students, taught, stage.temperature);
                add(loss, weights.similarity, &mut losses.similarity);
            }
        }
    }
    total
}

/// Picks rows by a product with zeros and ones, whose backward pass is a product as well:
/// the same on every device, in every run.
fn pick(rows: &Tensor<2>, places: impl ExactSizeIterator<Item = usize>) -> Tensor<2> {
    let [total, _] = rows.dims();
    let count = places.len();
    let mut values = vec![0.0_f32; count * total];
    for (row, place) in values.chunks_exact_mut(total).zip(places) {
        row[place] = 1.0;
    }
    let selector = Tensor::<2>::from_data(TensorData::new(values, [count, total]), &rows.device());
    selector.matmul(rows.clone())
}

impl Queries {
    fn pairing(&self, documents: usize) -> Pairing {
        Pairing {
            positive: self.positive.clone(),
            also_right: self.also_right.clone(),
            hard: self.hard.clone(),
            documents,
        }
    }

    fn push(&mut self, row: usize, answers: &Answers) {
        self.rows.push(row);
        self.positive.push(answers.positive);
        self.also_right.push(answers.also_right.clone());
        self.hard.push(answers.hard.clone());
    }
}

/// Places of an example's documents among all documents.
struct Answers {
    positive: usize,
    also_right: Vec<usize>,
    hard: Vec<usize>,
}

/// A query with the thought that it is embedded after: one of the adapter's own where one
/// was sampled, else the written one; `None` without either.
fn think(
    sequencer: &Sequencer,
    one: &Drawn<'_>,
    prompt: &Sequence,
) -> Result<Option<Sequence>, TrainError> {
    match (&one.own_thought, &one.example.thought) {
        (Some(decoded), _) => Ok(Some(sequencer.think_decoded(prompt, decoded))),
        (None, Some(text)) => sequencer.think(prompt, text).map(Some),
        (None, None) => Ok(None),
    }
}

impl<'a> Texts<'a> {
    fn of(sequencer: &Sequencer, drawn: &[Drawn<'a>], stage: &Stage) -> Result<Self, TrainError> {
        let mut texts = Self::default();
        let contrastive = stage.weights.direct + stage.weights.reasoned > 0.0;
        // Documents come first, so that every query knows which of them are right.
        let mut document_place: HashMap<&str, usize> = HashMap::new();
        let mut owners: Vec<Vec<usize>> = Vec::new();
        for one in drawn {
            for text in one.positive.iter().chain(&one.negatives).filter(|_| contrastive) {
                if !document_place.contains_key(text) {
                    let row = texts.row(Role::Document, text, || sequencer.document(text))?;
                    document_place.insert(text, texts.documents.len());
                    texts.documents.push(row);
                }
            }
        }
        for one in drawn {
            let right = |text: &String| document_place.get(text.as_str()).copied();
            owners.push(one.example.positives.iter().filter_map(right).collect());
        }
        for (one, right) in drawn.iter().zip(owners) {
            let instruction = one.example.instruction.as_deref();
            let written = one.case.apply(&one.example.query);
            let row = match one.is_document {
                true => texts.row(Role::Document, &written, || sequencer.document(&written))?,
                false => {
                    texts.row(Role::Query, &written, || sequencer.query(&written, instruction))?
                }
            };
            texts.teach(one, row, sequencer)?;
            let Some(positive) = one.positive.filter(|_| contrastive) else { continue };
            let answers = Answers {
                positive: document_place[positive],
                also_right: right,
                hard: one.negatives.iter().map(|text| document_place[text]).collect(),
            };
            texts.direct.push(row, &answers);
            if stage.weights.reasoned > 0.0
                && let Some(sequence) = think(sequencer, one, &texts.sequences[row])?
            {
                texts.reasoned.push(texts.sequences.len(), &answers);
                texts.sequences.push(sequence);
            }
        }
        Ok(texts)
    }

    /// Notes which of an example's texts a teacher may know: a pair's documents that are
    /// embedded anyway, and the query, in whatever case it is written.
    fn teach(
        &mut self,
        one: &Drawn<'a>,
        row: usize,
        sequencer: &Sequencer,
    ) -> Result<(), TrainError> {
        self.taught.push((row, &one.example.query));
        if let Some(positive) = one.positive {
            let row = self.row(Role::Document, positive, || sequencer.document(positive))?;
            self.taught.push((row, positive));
        }
        Ok(())
    }

    fn row(
        &mut self,
        role: Role,
        text: &str,
        make: impl FnOnce() -> Result<Sequence, TrainError>,
    ) -> Result<usize, TrainError> {
        let key = (role, text.to_owned());
        if let Some(&row) = self.known.get(&key) {
            return Ok(row);
        }
        self.sequences.push(make()?);
        self.known.insert(key, self.sequences.len() - 1);
        Ok(self.sequences.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use twn_encoder::{
        Pooling,
        adapter::{AdapterPlan, Adapters},
        model,
    };

    use super::*;
    use crate::learn::{Case, Example, SequenceLimits, Wiring};

    /// GradCache in passes of every size gives the gradients of one pass over everything.
    #[test]
    fn passes_add_up_to_one() {
        let tiny = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../encoder/tests/fixtures/tiny-llama");
        let checkpoint = model::open(&tiny).expect("the tiny model opens");
        let device = Device::flex().autodiff();
        let plan = AdapterPlan {
            pooling: Pooling::QueriesAndMean,
            dimension: Some(16),
            queries: 2,
            ..AdapterPlan::default()
        };
        let adapters = Adapters::planned(&checkpoint, &plan, 5, &device);
        let limits = SequenceLimits { content: 32, frame: 128 };
        let sequencer =
            Sequencer::new(&checkpoint, &adapters.manifest, limits).expect("a template");
        let student = Student::new(&checkpoint, adapters, 256, Wiring::default(), &device)
            .expect("the tiny model loads");
        let examples: Vec<Example> = (1..=4)
            .map(|n| Example {
                query: "why ".repeat(n),
                positives: vec!["a pump ".repeat(n * n)],
                negatives: vec!["an engine ".repeat(n)],
                ..Example::default()
            })
            .collect();
        let drawn: Vec<Drawn<'_>> = examples
            .iter()
            .map(|example| Drawn {
                example,
                positive: example.positives.first().map(String::as_str),
                negatives: example.negatives.iter().map(String::as_str).collect(),
                case: Case::Kept,
                is_document: false,
                own_thought: None,
            })
            .collect();
        let step = |grad_cache: bool, pass_tokens_max: usize| {
            let stage = format!(
                "name = \"embedding\"\nsteps = 1\nbatch = {{ pair = 4 }}\nlearning_rate = 1e-4\n\
                 grad_cache = {grad_cache}\npass_tokens_max = {pass_tokens_max}\n\
                 weights = {{ direct = 1.0 }}"
            );
            let stage: Stage = toml::from_str(&stage).expect("a stage");
            let (losses, gradients) =
                run_step(&student, &sequencer, None, &drawn, &stage).expect("runs");
            (losses.direct.expect("a loss"), gradients.to_host())
        };
        let (loss, whole) = step(false, 8_192);
        assert!(whole.values().flatten().any(|value| value.abs() > 1e-4));
        for pass_tokens_max in [16, 150, 8_192] {
            let (cached_loss, cached) = step(true, pass_tokens_max);
            assert!((loss - cached_loss).abs() < 1e-5, "{loss} {cached_loss}");
            assert_eq!(whole.keys().collect::<Vec<_>>(), cached.keys().collect::<Vec<_>>());
            for (index, want) in &whole {
                let scale = want.iter().fold(1e-3_f32, |most, value| most.max(value.abs()));
                for (value, got) in want.iter().zip(&cached[index]) {
                    assert!((value - got).abs() < 1e-3 * scale, "{index}: {value} {got}");
                }
            }
        }
    }
}
