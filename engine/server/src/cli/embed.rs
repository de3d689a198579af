//! `twn embed`

use std::io::{self, BufReader};

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde_json::Value;
use tokio::sync::mpsc;
use twn_protos::v1 as pb;

use super::{Outcome, PolicyArgs, ServerArg, Session};
use crate::{
    client::{Client, patiently, text},
    feed::{Line, Lines},
    output::{self, ellipsis, verdict},
};

const STDIN: &str = "-";
/// Inputs of one request: few enough that the first answers come soon.
const BATCH: usize = 16;
const VALUES_SHOWN: usize = 4;
const SNIPPET_CHARS: usize = 60;

/// What to embed, and how.
#[derive(Debug, Clone, Args)]
pub struct EmbedArgs {
    /// The texts; a single - reads one from each line of standard input
    #[arg(required = true)]
    pub texts: Vec<String>,
    /// Whether to embed as queries or as documents
    #[arg(long, value_enum, default_value_t = Kind::Query)]
    pub kind: Kind,
    /// Task instruction, instead of the encoder's own
    #[arg(long, default_value = "", hide_default_value = true)]
    pub instruction: String,
    /// Return the thoughts, if there were any
    #[arg(long)]
    pub show_thought: bool,
    /// Return the embeddings before and after a thought, whatever the route (with --json)
    #[arg(long)]
    pub explain: bool,
    /// When to think.
    #[command(flatten)]
    pub policy: PolicyArgs,
    /// Whom to ask.
    #[command(flatten)]
    pub server: ServerArg,
}

/// What a text is embedded as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Something to look for.
    Query,
    /// Something to be found.
    Document,
}

/// Runs the command.
///
/// # Errors
/// Fails with the server's refusal, or when standard input is not text.
pub async fn run(args: EmbedArgs, session: &Session) -> anyhow::Result<Outcome> {
    let client = session.connect().await?;
    if args.texts != [STDIN] {
        for batch in args.texts.chunks(BATCH) {
            embed(&client, &args, batch, session).await?;
        }
        return Ok(Outcome::Done);
    }
    let limits = client.info().await?.limits.unwrap_or_default();
    let mut lines = read_lines(usize::try_from(limits.max_text_bytes).unwrap_or(usize::MAX));
    let mut batch = Vec::new();
    while lines.recv_many(&mut batch, BATCH).await > 0 {
        let texts: Vec<String> = batch.drain(..).collect::<anyhow::Result<_>>()?;
        embed(&client, &args, &texts, session).await?;
    }
    Ok(Outcome::Done)
}

/// Reads standard input on a thread of its own.
fn read_lines(max_bytes: usize) -> mpsc::Receiver<anyhow::Result<String>> {
    let (sender, receiver) = mpsc::channel(BATCH);
    tokio::task::spawn_blocking(move || {
        let mut lines = Lines::new(BufReader::new(io::stdin().lock()), max_bytes);
        loop {
            let line = match lines.next() {
                Ok(None) => return,
                Ok(Some((_, Line::Whole(line)))) if line.trim_ascii().is_empty() => continue,
                Ok(Some((number, Line::Whole(line)))) => std::str::from_utf8(line)
                    .map(str::to_owned)
                    .with_context(|| format!("line {number} of standard input is not UTF-8")),
                Ok(Some((number, Line::TooLong(bytes)))) => Err(anyhow::anyhow!(
                    "line {number} of standard input has {bytes} bytes, the server takes {max_bytes}"
                )),
                Err(error) => Err(anyhow::Error::new(error).context("cannot read standard input")),
            };
            let is_last = line.is_err();
            if sender.blocking_send(line).is_err() || is_last {
                return;
            }
        }
    });
    receiver
}

async fn embed(
    client: &Client,
    args: &EmbedArgs,
    texts: &[String],
    session: &Session,
) -> anyhow::Result<()> {
    let kind = match args.kind {
        Kind::Query => pb::EmbedKind::Query,
        Kind::Document => pb::EmbedKind::Document,
    };
    let request = pb::EmbedRequest {
        inputs: texts.iter().map(text).collect(),
        instruction: args.instruction.clone(),
        reasoning: Some(args.policy.message(args.show_thought)),
        kind: kind.into(),
        explain: args.explain,
    };
    let client = client.embed();
    let answer = patiently(async || client.clone().embed(request.clone()).await).await?;
    for (text, embedding) in texts.iter().zip(&answer.embeddings) {
        show(session, text, embedding)?;
    }
    Ok(())
}

fn show(session: &Session, text: &str, embedding: &pb::Embedding) -> anyhow::Result<()> {
    let output = session.output;
    if output.is_json() {
        let mut json = output::embedding(embedding);
        json["text"] = Value::from(text);
        return output.json(&json);
    }
    let usage = embedding.usage.clone().unwrap_or_default();
    let values = embedding.values.iter().take(VALUES_SHOWN).map(|value| format!("{value:.4}"));
    let values = values.collect::<Vec<_>>().join(", ");
    output.line(format_args!("{}", ellipsis(text, SNIPPET_CHARS)))?;
    output.line(format_args!("  {values}, … ({} values)", embedding.values.len()))?;
    output.line(format_args!("  {}", verdict(&usage, embedding.timings.as_ref())))?;
    match usage.thought {
        Some(thought) => output.line(format_args!("  thought: {}", ellipsis(&thought, usize::MAX))),
        None => Ok(()),
    }
}
