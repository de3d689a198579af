//! Weights of the default model against Python's `gguf` package.

use serde::Deserialize;
use twn_encoder::model;

#[derive(Deserialize)]
struct Golden {
    tensors: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    shape: Vec<usize>,
    sum: f64,
    samples: Vec<(usize, f32)>,
}

#[test]
fn dequantised_weights_are_those_of_the_reference() {
    let golden: Golden = serde_json::from_str(include_str!("../golden/weights_golden.json"))
        .expect("the golden file is JSON");
    let home = model::default_home().expect("there is a home");
    let folder = model::ensure_default(&home).expect("the default model is there");
    let checkpoint = model::open(&folder).expect("it opens");
    assert_eq!(checkpoint.name, "SmolLM2-135M-Instruct");
    assert_eq!(checkpoint.tensors.names().len(), 272);
    assert!(golden.tensors.len() >= 10);
    for case in golden.tensors {
        let tensor = checkpoint.tensors.tensor(&case.name).expect("it is read");
        assert_eq!(tensor.shape, case.shape, "{}", case.name);
        for (index, want) in case.samples {
            assert_eq!(tensor.values[index], want, "{} at {index}", case.name);
        }
        let sum: f64 = tensor.values.iter().map(|&value| f64::from(value)).sum();
        assert!((sum - case.sum).abs() < 1e-6 * tensor.values.len() as f64, "{}", case.name);
    }
}
