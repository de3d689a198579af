//! How the demonstration's result is shown.

use std::path::Path;

use serde_json::{Value, json};
use twn_protos::v1 as pb;

use super::{Answer, Shown, kept};
use crate::output::{self, Output, ellipsis, figures, milliseconds, table};

const QUERY_CHARS: usize = 72;
const HIT_CHARS: usize = 64;

/// Prints the result: one object for programs; a table, and how to go on, for people.
pub(crate) fn print(shown: &Shown, data: Option<&Path>, output: Output) -> anyhow::Result<()> {
    if output.is_json() {
        return output.json(&as_json(shown));
    }
    let Shown { encoder, source, ingested, documents, answers } = shown;
    output.line(format_args!(
        "{} documents ({source}): {} tokens encoded in {:.1} s by {} on {}",
        figures(*documents),
        figures(ingested.prompt_tokens),
        ingested.seconds(),
        encoder.model,
        encoder.device,
    ))?;
    if ingested.is_interrupted {
        output.line("The time for ingesting was over before all documents were through.")?;
    }
    output.line("")?;
    let header = ["query and hits", "policy", "route", "gate", "tokens", "time"];
    let rows = answers.iter().flat_map(rows).collect();
    output.line(table(&header, &[3, 4, 5], rows))?;
    output.line(format_args!(
        "\ntokens: prompt + thought. gate: how likely thinking helps; AUTO thinks above the threshold."
    ))?;
    if !encoder.trained {
        output.line(format_args!("This encoder is {}", encoder.note))?;
    }
    let data = kept(data);
    output.line(format_args!(
        "\nGo on with your own documents:\n  \
         twn serve{data}\n  \
         twn ingest notes.jsonl --collection notes\n  \
         twn search \"when did we change the pump?\" --collection notes\n\
         (twn is target/release/twn, or `cargo install --path engine/server`)"
    ))
}

/// A row for the query, and one below it for each hit.
fn rows(answer: &Answer) -> Vec<Vec<String>> {
    let usage = answer.response.usage.clone().unwrap_or_default();
    let mode = trimmed(answer.ask.mode.as_str_name(), "REASONING_MODE_");
    let gate = usage.gate_score.map_or_else(|| "-".to_owned(), |score| format!("{score:.3}"));
    let tokens = format!("{} + {}", usage.prompt_tokens, usage.reasoning_tokens);
    let time = milliseconds(output::summary_of_timings(answer.response.timings.as_ref()));
    let query = ellipsis(&answer.ask.query, QUERY_CHARS);
    let route = trimmed(usage.route().as_str_name(), "ROUTE_");
    let mut rows = vec![vec![query, mode, route, gate, tokens, time]];
    for hit in &answer.response.hits {
        let document = hit.document.clone().unwrap_or_default();
        rows.push(vec![format!("  {:.3}  {}", hit.score, label(&document))]);
    }
    rows.push(vec![String::new()]);
    rows
}

/// A hit in a line: its text, after its id where the text does not begin with it.
fn label(document: &pb::Document) -> String {
    let is_named = document.text.starts_with(&document.id);
    let text = if is_named {
        document.text.clone()
    } else {
        format!("{}: {}", document.id, document.text)
    };
    ellipsis(&text, HIT_CHARS)
}

fn trimmed(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_owned()
}

fn as_json(shown: &Shown) -> Value {
    let queries = shown.answers.iter().map(|Answer { ask, response }| {
        let hits = response.hits.iter().map(|hit| {
            let document = hit.document.clone().unwrap_or_default();
            json!({"id": document.id, "score": hit.score, "text": document.text})
        });
        json!({
            "query": ask.query,
            "policy": ask.mode.as_str_name(),
            "hits": hits.collect::<Vec<_>>(),
            "usage": response.usage.as_ref().map(output::usage),
            "timings": response.timings.as_ref().map(output::timings),
        })
    });
    json!({
        "documents": shown.documents,
        "queries": queries.collect::<Vec<_>>(),
        "encoder": {
            "model": shown.encoder.model,
            "trained": shown.encoder.trained,
            "note": shown.encoder.note,
            "fingerprint": shown.encoder.fingerprint,
        },
        "ingest": shown.ingested.json(),
    })
}
