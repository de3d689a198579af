//! Embeddings for an evaluation from a running server.
//!
//! Asks for both embeddings of a query at once by `explain`, which also keeps the server
//! from recalling what it made before. Every request is `fixed`, so that the answer is the
//! one of an idle server whatever runs beside it.

use std::{collections::VecDeque, time::Instant};

use tokio::{
    runtime::Handle,
    task::{JoinSet, LocalSet},
};
use twn_protos::v1 as pb;
use twn_train::{
    AfterThought, EmbedOptions, Embedded, EvalError, Input, Pass, Source, SourceInfo, Think,
};

use crate::client::{Client, Refusal, patiently, text};

/// Inputs of one request, at most.
const REQUEST_INPUTS: usize = 16;
/// Bytes of the texts of one request, at most, unless one text alone is longer.
const REQUEST_BYTES: usize = 16 << 10;
/// Requests under way at once: enough that the server's thoughts stay full.
const REQUESTS: usize = 4;

/// A running server's encoder.
pub(super) struct RemoteSource {
    client: Client,
    runtime: Handle,
    info: SourceInfo,
}

/// What the server is to do with the inputs of one round.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Wish {
    Direct,
    Reasoned,
    Both,
}

/// One answered input, and the server's time for it.
struct Answer {
    embedded: Embedded,
    is_recalled: bool,
    direct_seconds: f64,
    thought_seconds: f64,
}

impl RemoteSource {
    /// Asks the server what it runs. Requests go through `runtime`, on which the caller
    /// must not be: a source blocks.
    pub(super) async fn new(client: Client, runtime: Handle) -> anyhow::Result<Self> {
        let encoder = client.info().await?.encoder.unwrap_or_default();
        let info = SourceInfo {
            system: encoder.model,
            fingerprint: encoder.fingerprint,
            dimension: encoder.dimension as usize,
            trained: encoder.trained,
            gate_threshold: encoder.gate_threshold,
            token_budget: encoder.default_token_budget,
        };
        Ok(Self { client, runtime, info })
    }

    /// Embeds inputs in one way, and tells the wall time that took.
    fn round(
        &self,
        inputs: &[&Input],
        wish: Wish,
        options: &EmbedOptions,
        done: &mut dyn FnMut(usize),
    ) -> Result<(Vec<Answer>, f64), EvalError> {
        let started = Instant::now();
        let mut answers: Vec<Option<Answer>> = inputs.iter().map(|_| None).collect();
        let mut batches: VecDeque<_> = batches(inputs).into();
        let mut finished = 0;
        let outcome: Result<(), EvalError> =
            self.runtime.block_on(LocalSet::new().run_until(async {
                let mut calls = JoinSet::new();
                loop {
                    while calls.len() < REQUESTS
                        && let Some(range) = batches.pop_front()
                    {
                        let request = request(&inputs[range.clone()], wish, options);
                        let client = self.client.embed();
                        calls.spawn_local(async move {
                            let call = async || client.clone().embed(request.clone()).await;
                            (range, patiently(call).await)
                        });
                    }
                    let Some(call) = calls.join_next().await else { return Ok(()) };
                    let (range, answer) = call.map_err(|error| failed("a batch", error))?;
                    let (first, count) = (inputs[range.start], range.len());
                    let batch = || format!("a batch of {count} from {}", first.name);
                    let answer = answer.map_err(|refusal: Refusal| failed(&batch(), refusal))?;
                    if answer.embeddings.len() != count {
                        let problem = format!("server gave {} embeddings", answer.embeddings.len());
                        return Err(failed(&batch(), problem));
                    }
                    for (position, embedding) in range.zip(answer.embeddings) {
                        let answer = self.answer(embedding, wish);
                        let named = |problem| failed(&inputs[position].name, problem);
                        answers[position] = Some(answer.map_err(named)?);
                    }
                    finished += count;
                    done(finished);
                }
            }));
        outcome?;
        let answers = answers.into_iter().flatten().collect();
        Ok((answers, started.elapsed().as_secs_f64()))
    }

    fn answer(&self, embedding: pb::Embedding, wish: Wish) -> Result<Answer, String> {
        let usage = embedding.usage.ok_or("server told no usage")?;
        if usage.encoder_fingerprint != self.info.fingerprint {
            return Err("server has changed its encoder meanwhile".to_owned());
        }
        let cost = usage.original.unwrap_or(pb::TokenCost {
            prompt_tokens: usage.prompt_tokens,
            reasoning_tokens: usage.reasoning_tokens,
            ..Default::default()
        });
        let has_thought = usage.route() == pb::Route::Reasoned;
        let gate_score = match usage.gate_score {
            Some(score) => score,
            // Only a thought was asked for: the gate has been asked before.
            None if has_thought && wish == Wish::Reasoned => 0.0,
            None => return Err("server told no gate score".to_owned()),
        };
        let direct = match embedding.explanation {
            Some(both) => both.direct,
            // Only a thought was asked for: the direct embedding is there already.
            None if has_thought && wish == Wish::Reasoned => Vec::new(),
            None => embedding.values.clone(),
        };
        let reasoned = has_thought.then_some(AfterThought {
            embedding: embedding.values,
            reasoning_tokens: cost.reasoning_tokens,
        });
        let timings = embedding.timings.unwrap_or_default();
        Ok(Answer {
            embedded: Embedded { direct, gate_score, prompt_tokens: cost.prompt_tokens, reasoned },
            is_recalled: usage.cached,
            direct_seconds: seconds(timings.prepare) + seconds(timings.prefill),
            thought_seconds: seconds(timings.reasoning) + seconds(timings.reembed),
        })
    }

    /// Embeds directly, then thinks about those above the threshold.
    fn embed_above(
        &self,
        threshold: f32,
        inputs: &[Input],
        options: &EmbedOptions,
        done: &mut dyn FnMut(usize),
    ) -> Result<Pass, EvalError> {
        let all: Vec<&Input> = inputs.iter().collect();
        let (answers, wall) = self.round(&all, Wish::Direct, options, done)?;
        let mut pass = pass(answers, wall, 0.0);
        let above: Vec<usize> =
            (0..all.len()).filter(|&i| pass.embedded[i].gate_score > threshold).collect();
        let thinking: Vec<&Input> = above.iter().map(|&position| all[position]).collect();
        let (answers, wall) = self.round(&thinking, Wish::Reasoned, options, &mut |_| {})?;
        (_, pass.thought_seconds) = split(&answers, wall);
        for (position, answer) in above.into_iter().zip(answers) {
            pass.recalled += usize::from(answer.is_recalled);
            pass.embedded[position].reasoned = answer.embedded.reasoned;
        }
        Ok(pass)
    }
}

impl Source for RemoteSource {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn embed(
        &mut self,
        inputs: &[Input],
        options: &EmbedOptions,
        done: &mut dyn FnMut(usize),
    ) -> Result<Pass, EvalError> {
        if options.max_content_tokens.is_some() {
            let problem = "a server cuts at its context only".to_owned();
            return Err(EvalError::Option { option: "max_document_tokens", problem });
        }
        let wish = match options.think {
            Think::Above(threshold) => return self.embed_above(threshold, inputs, options, done),
            Think::Nobody => Wish::Direct,
            Think::Everybody => Wish::Both,
        };
        let all: Vec<&Input> = inputs.iter().collect();
        let (answers, wall) = self.round(&all, wish, options, done)?;
        let (direct, thought) = split(&answers, wall);
        Ok(pass(answers, direct, thought))
    }
}

fn pass(answers: Vec<Answer>, direct_seconds: f64, thought_seconds: f64) -> Pass {
    let recalled = answers.iter().filter(|answer| answer.is_recalled).count();
    let embedded = answers.into_iter().map(|answer| answer.embedded).collect();
    Pass { embedded, direct_seconds, thought_seconds, recalled }
}

/// Splits a round's wall time between direct embeddings and thoughts: for one input by the
/// server's clock, for many, which overlap, in proportion to it.
fn split(answers: &[Answer], wall: f64) -> (f64, f64) {
    let direct: f64 = answers.iter().map(|answer| answer.direct_seconds).sum();
    let thought: f64 = answers.iter().map(|answer| answer.thought_seconds).sum();
    let thought = match answers {
        [] => 0.0,
        [_] => thought.min(wall),
        _ if thought > 0.0 => wall * thought / (direct + thought),
        _ => 0.0,
    };
    (wall - thought, thought)
}

/// Cuts inputs into requests.
fn batches(inputs: &[&Input]) -> Vec<std::ops::Range<usize>> {
    let mut batches = Vec::new();
    let mut start = 0;
    while start < inputs.len() {
        let mut bytes = 0;
        let fitting = inputs[start..].iter().take(REQUEST_INPUTS).take_while(|input| {
            bytes += input.text.len();
            bytes <= REQUEST_BYTES
        });
        let end = start + fitting.count().max(1);
        batches.push(start..end);
        start = end;
    }
    batches
}

fn request(inputs: &[&Input], wish: Wish, options: &EmbedOptions) -> pb::EmbedRequest {
    let mode = match wish {
        Wish::Direct => pb::ReasoningMode::Never,
        Wish::Reasoned | Wish::Both => pb::ReasoningMode::Always,
    };
    let kind = match options.kind {
        twn_encoder::EmbedKind::Query => pb::EmbedKind::Query,
        twn_encoder::EmbedKind::Document => pb::EmbedKind::Document,
    };
    pb::EmbedRequest {
        inputs: inputs.iter().map(|input| text(input.text.as_str())).collect(),
        instruction: options.instruction.clone().unwrap_or_default(),
        reasoning: Some(pb::ReasoningPolicy {
            mode: mode.into(),
            token_budget: (wish != Wish::Direct).then_some(options.token_budget),
            temperature: Some(0.0),
            convergence: Some(pb::Convergence { every: 0, similarity: 0.0 }),
            fixed: true,
            ..Default::default()
        }),
        kind: kind.into(),
        explain: wish == Wish::Both,
    }
}

fn failed(what: &str, problem: impl ToString) -> EvalError {
    EvalError::Source { what: what.to_owned(), problem: problem.to_string() }
}

fn seconds(duration: Option<prost_types::Duration>) -> f64 {
    duration.map_or(0.0, |duration| duration.seconds as f64 + f64::from(duration.nanos) * 1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_bounded_by_inputs_and_bytes() {
        let input = |bytes: usize| Input { name: "query `q`".into(), text: "x".repeat(bytes) };
        let check = |sizes: &[usize], want: &[usize]| {
            let inputs: Vec<Input> = sizes.iter().map(|size| input(*size)).collect();
            let inputs: Vec<&Input> = inputs.iter().collect();
            let got: Vec<usize> = batches(&inputs).iter().map(ExactSizeIterator::len).collect();
            assert_eq!(got, want);
        };
        check(&[], &[]);
        check(&[10; 40], &[16, 16, 8]);
        check(&[REQUEST_BYTES / 2; 3], &[2, 1]);
        check(&[REQUEST_BYTES * 2, 1, REQUEST_BYTES * 2], &[1, 1, 1]);
    }

    #[test]
    fn wall_time_is_split_by_the_servers_clock() {
        let answer = |direct_seconds: f64, thought_seconds: f64| Answer {
            embedded: Embedded {
                direct: Vec::new(),
                gate_score: 0.5,
                prompt_tokens: 1,
                reasoned: None,
            },
            is_recalled: false,
            direct_seconds,
            thought_seconds,
        };
        assert_eq!(split(&[answer(0.25, 0.5)], 1.0), (0.5, 0.5));
        assert_eq!(split(&[answer(1.0, 3.0), answer(1.0, 3.0)], 1.0), (0.25, 0.75));
        assert_eq!(split(&[answer(0.0, 0.0), answer(0.0, 0.0)], 2.0), (2.0, 0.0));
        assert_eq!(split(&[], 0.5), (0.5, 0.0));
    }
}
