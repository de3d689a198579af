//! A gate that reads the query states between two layers.

#[allow(dead_code, reason = "each test binary uses its part")]
mod encoder_setup;
#[allow(dead_code, reason = "each test binary uses its part")]
mod golden;

use encoder_setup::{INTERFACES, Setup, TEXTS, prepare};
use golden::{relative_error, tiny_llama};
use twn_encoder::{Encoder, Prompt, model};

/// An encoder whose gate reads after so many layers, and the prompts of all texts.
fn load(
    interface: &'static str,
    device: &'static str,
    depth: Option<usize>,
) -> (Encoder, Vec<Prompt>) {
    let setup = Setup { gate_depth: depth, interface, device, ..Setup::with_adapters() };
    let encoder = setup.load();
    let prompts = TEXTS.iter().map(|text| prepare(&encoder, text)).collect();
    (encoder, prompts)
}

fn inputs(encoder: &mut Encoder, prompts: &[Prompt]) -> Vec<f32> {
    let prompts: Vec<&Prompt> = prompts.iter().collect();
    encoder.gate_inputs(&prompts).expect("runs").concat()
}

#[test]
fn both_executions_read_the_same_and_batches_what_singles_do() {
    for interface in INTERFACES {
        for depth in [1, 2] {
            let (mut fused, prompts) = load(interface, "cpu", Some(depth));
            let (mut portable, _) = load(interface, "flex", Some(depth));
            let got = inputs(&mut fused, &prompts);
            assert!(relative_error(&got, &inputs(&mut portable, &prompts)) < 1e-4);
            let singles = prompts.chunks(1).flat_map(|one| inputs(&mut fused, one));
            assert_eq!(got, singles.collect::<Vec<_>>());
            let (mut last, _) = load(interface, "cpu", None);
            assert!(relative_error(&got, &inputs(&mut last, &prompts)) > 0.01);
        }
    }
}

/// The final norm is a root mean square of 1 and a weight for each column.
#[test]
fn after_all_layers_they_are_those_of_the_end_without_the_norms_weights() {
    let checkpoint = model::open(&tiny_llama()).expect("opens");
    let norm = checkpoint.tensors.tensor("model.norm.weight").expect("is there").values;
    for interface in INTERFACES {
        let (mut inner, prompts) = load(interface, "cpu", Some(2));
        let (mut last, _) = load(interface, "cpu", None);
        let read = inputs(&mut inner, &prompts);
        let weighted: Vec<f32> = read
            .chunks(norm.len())
            .flat_map(|row| row.iter().zip(&norm).map(|(a, b)| a * b))
            .collect();
        assert!(relative_error(&weighted, &inputs(&mut last, &prompts)) < 1e-4);
    }
}

#[test]
fn a_depth_that_the_backbone_has_not_is_refused() {
    let folder = Setup { gate_depth: Some(3), ..Setup::with_adapters() }.write();
    let checkpoint = model::open(&tiny_llama()).expect("opens");
    let device = twn_encoder::open_device("flex").expect("opens");
    let read = twn_encoder::adapter::Adapters::read(folder.path(), &checkpoint, &device);
    let problem = read.expect_err("has two layers").to_string();
    assert!(problem.contains("`gate_depth` is 3, the model has 2 layers"), "{problem}");
}
