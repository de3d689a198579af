//! Temporary: evaluates a model on BEIR folders.

use std::path::{Path, PathBuf};

use twn_encoder::{Encoder, LoadOptions, ReasoningMode};
use twn_train::{Beir, DataSummary, EvalOptions, Report, evaluate, evaluate_bm25};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let max: usize = arguments[2].parse().unwrap();
    let mut encoder = Encoder::load(&LoadOptions::new(&arguments[1])).unwrap();
    for folder in &arguments[3..] {
        let data = Beir::read(Path::new(folder)).unwrap();
        let options = EvalOptions {
            max_document_tokens: (max > 0).then_some(max),
            cache: Some(PathBuf::from("/tmp/evalref/cache")),
            ..EvalOptions::default()
        };
        let bm25 = evaluate_bm25(&data, &options);
        let mut last = 0;
        let started = std::time::Instant::now();
        let never = evaluate(&mut encoder, &data, ReasoningMode::Never, &options, &mut |p| {
            if p.done / 100 != last {
                last = p.done / 100;
                eprintln!("{:?} {:.0}s", p, started.elapsed().as_secs_f64());
            }
        })
        .unwrap();
        let summary = DataSummary::new(&data, options.queries(&data));
        let report = Report::new(summary, vec![bm25, never]).unwrap();
        println!("{}", serde_json::to_string(&report).unwrap());
    }
}
