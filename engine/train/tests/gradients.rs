//! Losses and gradients against PyTorch and peft.
//!
//! `golden/make_gradient_golden.py` computed them in f64, one sequence at a time; here they
//! run in f32, in padded batches and with shared beginnings run once.

use std::{collections::BTreeMap, path::Path};

use burn::tensor::{Device, Tensor, TensorData};
use serde::Deserialize;
use twn_encoder::{
    adapter::{Adapters, Interface, Lora, LoraPair},
    model,
};
use twn_train::learn::{
    Batch, Contrast, Pairing, ParameterGradients, Sequence, Student, Wiring,
    loss::{
        PolicyGradient, SampledTokens, cosine_distance, info_nce, policy_loss,
        similarity_divergence,
    },
};

const ERROR_MAX: f64 = 1e-3;

#[derive(Deserialize)]
struct Golden {
    queries: Vec<Row>,
    documents: Vec<Row>,
    thoughts: Vec<Row>,
    reasoned: Vec<Row>,
    positive: Vec<usize>,
    also_right: Vec<Vec<usize>>,
    temperature: f32,
    spread: f32,
    margin: f32,
    teacher: Vec<Vec<f32>>,
    advantages: Vec<f32>,
    sampled: Vec<f32>,
    reference: Vec<f32>,
    clip_low: f32,
    clip_high: f32,
    kl_weight: f32,
}

#[derive(Deserialize)]
struct Row {
    tokens: Vec<u32>,
    content: [usize; 2],
    thought: [usize; 2],
}

struct Case {
    golden: Golden,
    tensors: BTreeMap<String, Vec<f32>>,
    student: Student,
}

fn golden_folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/gradients")
}

fn load(interface: Interface, detach: bool) -> Case {
    let device = Device::flex().autodiff();
    let folder = golden_folder();
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("../encoder/tests/fixtures/tiny-llama");
    let checkpoint = model::open(&tiny).expect("the tiny model opens");
    let mut adapters =
        Adapters::read(&folder.join("adapters"), &checkpoint, &device).expect("adapters");
    adapters.manifest.interface = interface;
    let wiring = Wiring { detach, single: false };
    let student = Student::new(&checkpoint, adapters, 128, wiring, &device).expect("student");
    let bytes = fs_err::read(folder.join("golden.safetensors")).expect("golden file");
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
    let tensors = file
        .iter()
        .map(|(name, view)| {
            let (values, _) = view.data().as_chunks::<4>();
            (name.to_owned(), values.iter().map(|&value| f32::from_le_bytes(value)).collect())
        })
        .collect();
    let golden = fs_err::read(folder.join("batch.json")).expect("batch");
    Case { golden: serde_json::from_slice(&golden).expect("JSON"), tensors, student }
}

/// With shared beginnings run once, as on a CPU, and in padded batches, as on a GPU.
fn both(interface: Interface) -> [Case; 2] {
    let shared = load(interface, true);
    let case = load(interface, true);
    [shared, Case { student: case.student.padded(), ..case }]
}

fn sequences(rows: &[Row]) -> Vec<Sequence> {
    let of = |row: &Row| Sequence {
        tokens: row.tokens.clone(),
        content: row.content[0]..row.content[1],
        thought: row.thought[0]..row.thought[1],
    };
    rows.iter().map(of).collect()
}

impl Case {
    fn embed(&self, rows: &[Row]) -> Tensor<2> {
        let sequences = sequences(rows);
        let batch = Batch::new(sequences.iter().collect(), self.student.queries());
        self.student.embed(&batch).embeddings
    }

    fn contrast(&self, margin: Option<f32>) -> Tensor<1> {
        let golden = &self.golden;
        let pairing = Pairing {
            positive: golden.positive.clone(),
            also_right: golden.also_right.clone(),
            hard: vec![Vec::new(); golden.queries.len()],
            documents: golden.documents.len(),
        };
        let constants = Contrast {
            temperature: golden.temperature,
            false_negative_margin: margin,
            symmetric: true,
        };
        let (queries, documents) = (self.embed(&golden.queries), self.embed(&golden.documents));
        info_nce(queries, documents, &pairing, &constants)
    }

    fn thoughts(&self) -> Tensor<1> {
        let sequences = sequences(&self.golden.thoughts);
        self.student.thought_log_probabilities(&Batch::new(sequences.iter().collect(), 0))
    }

    fn teacher(&self) -> Tensor<2> {
        let rows = &self.golden.teacher;
        let shape = [rows.len(), rows[0].len()];
        Tensor::from_data(TensorData::new(rows.concat(), shape), self.student.device())
    }

    fn vector(&self, values: &[f32]) -> Tensor<1> {
        let data = TensorData::new(values.to_vec(), [values.len()]);
        Tensor::from_data(data, self.student.device())
    }

    /// Compares a loss and every gradient with the golden ones named `case`. A parameter
    /// that has no golden gradient must have none, or exact zeros.
    #[track_caller]
    fn check(&self, case: &str, loss: Tensor<1>) {
        let want = self.tensors[&format!("{case}.loss")][0];
        let got = loss.clone().into_scalar::<f32>();
        assert!(
            f64::from((got - want).abs()) <= ERROR_MAX * f64::from(want.abs()),
            "{case}: {got}, not {want}"
        );

        let mut passed = loss.backward();
        let adapters = &self.student.adapters;
        let mut compared = 0;
        let mut compare = |name: String, got: Option<Vec<f32>>| {
            let want = self.tensors.get(&format!("{case}.{name}"));
            match (want, got) {
                (Some(want), Some(got)) => {
                    let error = relative_error(&got, want);
                    assert!(error <= ERROR_MAX, "{case}.{name}: relative error {error}");
                    compared += 1;
                }
                (Some(_), None) => panic!("{case}.{name} has no gradient"),
                (None, Some(got)) => {
                    assert!(got.iter().all(|&value| value == 0.0), "{case}.{name} is not zero");
                }
                (None, None) => {}
            }
        };
        for (adapter, lora) in
            [("reasoning", &adapters.reasoning), ("embedding", &adapters.embedding)]
        {
            for (module, pair) in named_pairs(lora) {
                let path = format!("{adapter}.base_model.model.model.layers.{module}");
                compare(
                    format!("{path}.lora_A.weight"),
                    host(pair.a.val().grad_remove(&mut passed)),
                );
                compare(
                    format!("{path}.lora_B.weight"),
                    host(pair.b.val().grad_remove(&mut passed)),
                );
            }
        }
        let head = &adapters.pooler;
        compare("queries".to_owned(), host(adapters.queries.rows.val().grad_remove(&mut passed)));
        for (name, part) in [("queries", &head.queries), ("mean", &head.mean)] {
            let part = part.as_ref().expect("projected");
            let (weight, bias) = (part.weight.val(), part.bias.val());
            compare(format!("project.{name}.weight"), host(weight.grad_remove(&mut passed)));
            compare(format!("project.{name}.bias"), host(bias.grad_remove(&mut passed)));
        }
        let wanted =
            self.tensors.keys().filter(|name| name.starts_with(&format!("{case}."))).count();
        assert_eq!(compared + 1, wanted, "{case}: every golden gradient was compared");
    }
}

fn named_pairs(lora: &Lora) -> impl Iterator<Item = (String, &LoraPair)> {
    lora.pairs().map(|(index, target, pair)| (format!("{index}.{}", target.module()), pair))
}

fn host<const D: usize>(gradient: Option<Tensor<D>>) -> Option<Vec<f32>> {
    gradient.map(|gradient| gradient.into_data().try_to_vec().expect("f32"))
}

fn relative_error(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len());
    let square = |value: f32| f64::from(value).powi(2);
    let difference: f64 = got.iter().zip(want).map(|(g, w)| square(g - w)).sum();
    let size: f64 = want.iter().map(|&w| square(w)).sum();
    (difference / size.max(1e-24)).sqrt()
}

#[test]
fn thoughts_teach_the_reasoning_adapter_alone() {
    for case in both(Interface::Cache) {
        case.check("thought", case.thoughts().mean().neg());
    }
}

#[test]
fn the_policy_gradient_is_pytorchs() {
    for case in both(Interface::Cache) {
        let golden = &case.golden;
        let count = golden.advantages.len();
        let tokens = SampledTokens {
            advantages: case.vector(&golden.advantages),
            sampled: case.vector(&golden.sampled),
            reference: case.vector(&golden.reference),
            weights: case.vector(&vec![1.0 / count as f32; count]),
        };
        let constants = PolicyGradient {
            clip_low: golden.clip_low,
            clip_high: golden.clip_high,
            kl_weight: golden.kl_weight,
        };
        case.check("policy", policy_loss(case.thoughts(), &tokens, &constants));
    }
}

#[test]
fn contrast_teaches_through_encoding_again() {
    for case in both(Interface::Reencode) {
        case.check("contrast.reencode", case.contrast(None));
    }
    for case in both(Interface::Reencode) {
        case.check("margin.reencode", case.contrast(Some(case.golden.margin)));
    }
}

/// The golden file has no gradient of the reasoning adapter here, so the check asks for
/// exact zeros.
#[test]
fn detached_contrast_leaves_the_reasoning_adapter_alone() {
    let case = load(Interface::Cache, true);
    case.check("contrast.detached", case.contrast(None));
    let reasoned = case.embed(&case.golden.reasoned);
    let [count, _] = reasoned.dims();
    let case_loss = reasoned.slice([0..count, 0..5]).sum();
    case.check("reasoned.detached", case_loss);
}

#[test]
fn attached_contrast_reaches_the_reasoning_adapter() {
    let case = load(Interface::Cache, false);
    case.check("contrast.attached", case.contrast(None));
}

#[test]
fn distillation_is_pytorchs() {
    for case in both(Interface::Reencode) {
        let students = case.embed(&case.golden.queries);
        case.check("cosine.reencode", cosine_distance(students, case.teacher()));
    }
    for case in both(Interface::Reencode) {
        let students = case.embed(&case.golden.queries);
        let loss = similarity_divergence(students, case.teacher(), case.golden.spread);
        case.check("similarity.reencode", loss);
    }
}

#[test]
fn gradients_add_up_over_passes() {
    let case = load(Interface::Reencode, true);
    let take =
        |loss: Tensor<1>| ParameterGradients::take(&case.student.adapters, &mut loss.backward());
    let whole = take(
        case.embed(&case.golden.queries).square().sum() + case.embed(&case.golden.documents).sum(),
    );
    let mut parts = take(case.embed(&case.golden.queries).square().sum());
    parts.add(take(case.embed(&case.golden.documents).sum()));
    let (whole, parts) = (whole.to_host(), parts.to_host());
    assert_eq!(whole.keys().collect::<Vec<_>>(), parts.keys().collect::<Vec<_>>());
    for (index, values) in &whole {
        assert!(relative_error(&parts[index], values) < ERROR_MAX, "parameter {index}");
    }
}
