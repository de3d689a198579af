//! `twn search`

use clap::Args;
use serde_json::json;
use twn_protos::v1 as pb;

use super::{Outcome, PolicyArgs, ServerArg, Session, filter};
use crate::{
    client::{patiently, text},
    output::{self, ellipsis, figures, table, verdict},
};

const SNIPPET_CHARS: usize = 160;

/// What to look for, and how.
#[derive(Debug, Clone, Args)]
pub struct SearchArgs {
    /// What to look for
    pub query: String,
    /// Where to look
    #[arg(long, short, value_name = "NAME")]
    pub collection: String,
    /// Hits to return at most
    #[arg(long, short = 'n', default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
    /// Only documents whose payload satisfies this
    #[arg(long, short, long_help = filter::HELP, value_parser = filter::parse)]
    pub filter: Vec<pb::Filter>,
    /// Compare with every document instead of walking the graph
    #[arg(long, conflicts_with = "ef")]
    pub exact: bool,
    /// Candidates that the graph search keeps; more find more and take longer
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    pub ef: u32,
    /// Task instruction for the query, instead of the encoder's own
    #[arg(long, default_value = "", hide_default_value = true)]
    pub instruction: String,
    /// Print the thought, if there was one
    #[arg(long)]
    pub show_thought: bool,
    /// When to think.
    #[command(flatten)]
    pub policy: PolicyArgs,
    /// Whom to ask.
    #[command(flatten)]
    pub server: ServerArg,
}

impl SearchArgs {
    fn request(&self) -> pb::SearchRequest {
        pb::SearchRequest {
            collection: self.collection.clone(),
            query: Some(pb::search_request::Query::Content(text(self.query.as_str()))),
            instruction: self.instruction.clone(),
            limit: self.limit,
            filter: filter::all(&self.filter),
            reasoning: Some(self.policy.message(self.show_thought)),
            ef_search: self.ef,
            exact: self.exact,
            mask: None,
        }
    }
}

/// Runs the command.
///
/// # Errors
/// Fails with the server's refusal.
pub async fn run(args: SearchArgs, session: &Session) -> anyhow::Result<Outcome> {
    let client = session.connect().await?.search();
    let answer = patiently(async || client.clone().search(args.request()).await).await?;
    let output = session.output;
    if output.is_json() {
        output.json(&json!({
            "query": args.query,
            "hits": answer.hits.iter().map(output::hit).collect::<Vec<_>>(),
            "usage": answer.usage.as_ref().map(output::usage),
            "timings": answer.timings.as_ref().map(output::timings),
            "plan": answer.plan.as_ref().map(output::plan),
        }))?;
        return Ok(Outcome::Done);
    }

    if answer.hits.is_empty() {
        output.line("nothing found")?;
    } else {
        output.line(hits_table(&answer.hits))?;
    }
    let usage = answer.usage.unwrap_or_default();
    output.line(format_args!("\n{}", verdict(&usage, answer.timings.as_ref())))?;
    if let Some(plan) = &answer.plan {
        let compared = figures(plan.distance_computations);
        let strategy = plan.strategy().as_str_name().trim_start_matches("STRATEGY_").to_lowercase();
        output.line(format_args!(
            "{strategy} over {} segments, {compared} vectors compared",
            plan.segments
        ))?;
    }
    if let Some(thought) = usage.thought.filter(|_| args.show_thought) {
        output.line(format_args!("\nthought: {}", ellipsis(&thought, usize::MAX)))?;
    }
    Ok(Outcome::Done)
}

/// Writes hits for people.
pub(crate) fn hits_table(hits: &[pb::Hit]) -> String {
    let rows = hits.iter().map(|hit| {
        let document = hit.document.clone().unwrap_or_default();
        let id = ellipsis(&document.id, SNIPPET_CHARS);
        vec![format!("{:.3}", hit.score), id, ellipsis(&document.text, SNIPPET_CHARS)]
    });
    table(&["score", "id", "text"], &[0], rows.collect())
}
