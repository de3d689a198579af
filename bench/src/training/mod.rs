//! `twn-bench training`: contrastive training steps beside PyTorch with PEFT.
//!
//! Both take the same step: the same weights in f32, the same adapters to begin with, the
//! same token ids, symmetric InfoNCE over the batch through GradCache in passes of the same
//! size, gradients bounded to the same norm, AdamW with the same constants. They take turns.
//! That they compute the same is checked by the loss of the first step.
//!
//! | module | owns |
//! |---|---|
//! | `ours` | our training as a contestant |
//! | `workload` | the pairs, as texts and as token ids |

mod ours;
mod workload;

use std::{io::Write, path::PathBuf, time::Duration};

use anyhow::{Context, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use twn_encoder::model;

use self::{
    ours::Ours,
    workload::{Sizes, Workload},
};
use crate::{
    contention::Watch,
    environment::Environment,
    peer::{Peer, PeerCommand},
    rows::{self, Report, Row, Target},
};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/torch_training.py");
/// Loading PyTorch takes half a minute on a slow disk, and a large step minutes.
const ANSWER_WITHIN: Duration = Duration::from_secs(600);
/// Between turns: idle pools spin before they sleep.
const REST: Duration = Duration::from_millis(100);
/// What two implementations in f32 may differ by in the loss of the first step.
const LOSS_TOLERANCE: f64 = 1e-3;
const TARGET: f64 = 2.0;
const PAIRS_MAX: usize = 4_096;

/// Times contrastive training steps beside PyTorch with PEFT, in turn.
///
/// The peer is set up once with bench/peers/setup.sh.
#[derive(Args)]
pub(crate) struct TrainingArguments {
    /// Prints JSON: {rows, environment}.
    #[arg(long)]
    json: bool,
    /// Queries with a positive and a hard negative each in a step.
    #[arg(long, value_name = "N", default_value_t = 8)]
    pairs: usize,
    /// The most tokens of a text's content; the template comes on top.
    #[arg(long, value_name = "N", default_value_t = 64)]
    content_tokens: usize,
    /// Positions of one forward pass at most: the peer's with padding, ours with shared beginnings
    /// once.
    #[arg(long, value_name = "N", default_value_t = 1_024)]
    pass_tokens: usize,
    /// Timed steps of each; one more comes first and is not counted.
    #[arg(long, value_name = "N", default_value_t = 3)]
    repeat: usize,
    /// Our model [default: the default model in the home folder].
    #[arg(long, value_name = "PATH")]
    model: Option<PathBuf>,
    /// Where setup.sh put the peers.
    #[arg(long, value_name = "DIR", default_value = "target/peers")]
    peers: PathBuf,
}

/// Where and with whom it was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Circumstances {
    #[serde(flatten)]
    here: Environment,
    threads: usize,
    pairs: usize,
    texts: usize,
    /// Tokens of the texts, padding not counted.
    tokens: usize,
    pass_tokens: usize,
    repeat: usize,
    /// The loss of the first step, ours and the peer's.
    first_loss: [f64; 2],
    peer: Value,
    /// Of the machine's processor time during the measurement; absent where unknown.
    others_share: Option<f64>,
}

/// What a step took, whoever took it.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
struct Step {
    seconds: f64,
    loss: f64,
}

/// Runs the measurement and prints what it found.
pub(crate) fn main(arguments: &TrainingArguments) -> anyhow::Result<()> {
    let TrainingArguments { pairs, content_tokens, pass_tokens, repeat, .. } = *arguments;
    ensure!((2..=PAIRS_MAX).contains(&pairs), "--pairs {pairs} is not 2 to {PAIRS_MAX}");
    ensure!((4..=1_024).contains(&content_tokens), "--content-tokens is not 4 to 1024");
    ensure!((16..=1 << 20).contains(&pass_tokens), "--pass-tokens is not 16 to 1048576");
    ensure!((1..=1_000).contains(&repeat), "--repeat {repeat} is not 1 to 1000");
    let report = measure(arguments)?;
    let mut output = std::io::stdout().lock();
    if arguments.json {
        serde_json::to_writer_pretty(&mut output, &report)?;
        writeln!(output)?;
    } else {
        write_report(&report, &mut output)?;
    }
    Ok(())
}

fn measure(arguments: &TrainingArguments) -> anyhow::Result<Report<Circumstances>> {
    let model = match &arguments.model {
        Some(path) => path.clone(),
        None => model::ensure_default(&model::default_home()?)?,
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let scratch = tempfile::tempdir().context("a folder for the adapters")?;
    let sizes = Sizes {
        pairs: arguments.pairs,
        content_tokens: arguments.content_tokens,
        pass_tokens: arguments.pass_tokens,
    };
    eprintln!("loading both");
    let workload = Workload::of_this_repository(arguments.pairs)?;
    let mut ours = Ours::load(&model, &workload, &sizes)?;
    ours.write_adapters(scratch.path())?;
    let mut peer = Peer::start(command(arguments, scratch.path(), threads))?;
    let description: Value = peer.call(&json!({ "op": "describe" }))?;
    let request = ours.request(&workload)?;
    let here = Environment::capture(None);
    let watch = Watch::start(&[peer.process_id()]);

    let mut rates: [Vec<f64>; 2] = Default::default();
    let mut first_loss = [0.0; 2];
    for round in 0..=arguments.repeat {
        // Every other round goes backwards, so that nobody always runs behind the other.
        let turns = if round % 2 == 0 { [0, 1] } else { [1, 0] };
        for who in turns {
            std::thread::sleep(REST);
            let step: Step = match who {
                0 => ours.step(&workload)?,
                _ => peer.call(&request)?,
            };
            let name = ["ours", "the peer"][who];
            ensure!(step.seconds > 0.0, "{name} claims a step of {} s", step.seconds);
            eprintln!("round {round}, {name}: {:.2} s, loss {:.5}", step.seconds, step.loss);
            match round {
                // The first step begins with the same adapters, and is not timed.
                0 => first_loss[who] = step.loss,
                _ => rates[who].push(arguments.pairs as f64 / step.seconds),
            }
        }
        if round == 0 {
            let [one, other] = first_loss;
            let off = (one - other).abs() / other.abs().max(1e-9);
            ensure!(
                off <= LOSS_TOLERANCE,
                "the two do not compute the same: the first losses are {one} and {other}"
            );
        }
    }
    let others_share = watch.and_then(|watch| watch.others_share());
    let what = format!(
        "contrastive training, {} pairs with a hard negative each: ours f32 vs PyTorch + PEFT f32",
        arguments.pairs
    );
    let [own, other] = &rates;
    let row = Row::compare(what, "pairs/s", own, other, Some(Target::at_least(TARGET)));
    let environment = Circumstances {
        here,
        threads,
        pairs: arguments.pairs,
        texts: workload.texts(),
        tokens: ours.tokens(&workload)?,
        pass_tokens: arguments.pass_tokens,
        repeat: arguments.repeat,
        first_loss,
        peer: description,
        others_share,
    };
    Ok(Report { rows: vec![row], environment })
}

fn command(
    arguments: &TrainingArguments,
    adapters: &std::path::Path,
    threads: usize,
) -> PeerCommand {
    let program = arguments.peers.join("venv/bin/python");
    let model = arguments.peers.join("models/source.gguf");
    PeerCommand {
        name: "PyTorch + PEFT".to_owned(),
        program: program.clone(),
        arguments: vec![
            SCRIPT.into(),
            model.clone().into(),
            adapters.into(),
            "--threads".into(),
            threads.to_string().into(),
        ],
        variables: &[],
        needs: vec![program, SCRIPT.into(), model],
        setup: format!("bench/peers/setup.sh {}", arguments.peers.display()),
        answer_within: ANSWER_WITHIN,
    }
}

fn write_report(report: &Report<Circumstances>, output: &mut dyn Write) -> anyhow::Result<()> {
    let Report { rows, environment } = report;
    writeln!(output, "{}", rows::table(rows))?;
    let cpu = environment.here.cpu.as_deref().unwrap_or("unknown processor");
    writeln!(
        output,
        "{cpu}, {} threads, medians of {}; {} texts of {} tokens in all, passes of {}",
        environment.threads,
        environment.repeat,
        environment.texts,
        environment.tokens,
        environment.pass_tokens
    )?;
    let [own, other] = environment.first_loss;
    writeln!(output, "loss of the first step: {own:.5}, the peer's {other:.5}")?;
    match environment.others_share {
        Some(share) => writeln!(output, "others had {:.1} % of the machine", share * 100.0)?,
        None => writeln!(output, "what others had of the machine is not known")?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(peers: &str) -> TrainingArguments {
        TrainingArguments {
            json: false,
            pairs: 4,
            content_tokens: 8,
            pass_tokens: 64,
            repeat: 1,
            model: None,
            peers: peers.into(),
        }
    }

    #[test]
    fn a_peer_that_is_not_set_up_says_how_to() {
        let command = command(&arguments("/nowhere"), std::path::Path::new("/tmp"), 2);
        assert!(command.needs[1].is_file(), "{}", command.needs[1].display());
        let message = Peer::start(command).expect_err("is not there").to_string();
        assert!(message.contains("run `bench/peers/setup.sh /nowhere` first"), "{message}");
    }

    #[test]
    fn what_cannot_be_is_refused_before_anything_is_loaded() {
        for change in [
            |a: &mut TrainingArguments| a.pairs = 1,
            |a: &mut TrainingArguments| a.repeat = 0,
            |a: &mut TrainingArguments| a.content_tokens = 0,
            |a: &mut TrainingArguments| a.pass_tokens = 1,
        ] {
            let mut wrong = arguments("/nowhere");
            change(&mut wrong);
            assert!(main(&wrong).is_err());
        }
    }
}
