//! `twn search`

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use twn_protos::v1 as pb;
use twn_service::MIN_RECALL_TARGET;

use super::{Outcome, PolicyArgs, ServerArg, Session, filter};
use crate::{
    client::{patiently, text},
    feed::read_image,
    output::{self, ellipsis, figures, table, verdict},
};

const SNIPPET_CHARS: usize = 160;

/// What to look for, and how.
#[derive(Debug, Clone, Args)]
pub struct SearchArgs {
    /// What to look for
    #[arg(required_unless_present = "image")]
    pub query: Option<String>,
    /// Look for this image, together with the query if there is one; may be repeated
    #[arg(long, value_name = "FILE")]
    pub image: Vec<PathBuf>,
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
    #[arg(long, conflicts_with_all = ["ef", "recall_target"])]
    pub exact: bool,
    /// Candidates that the graph search keeps; more find more and take longer
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    pub ef: u32,
    /// Share of the nearest that the graph search should find, from 0.5 to 1, in place of --ef
    #[arg(long, value_name = "SHARE", conflicts_with = "ef", value_parser = recall_target)]
    pub recall_target: Option<f32>,
    /// Task instruction for the query, instead of the encoder's own
    #[arg(long, default_value = "", hide_default_value = true)]
    pub instruction: String,
    /// Print the thought, if there was one
    #[arg(long)]
    pub show_thought: bool,
    /// Rank by the embeddings before and after a thought, whatever the route
    #[arg(long)]
    pub explain: bool,
    /// When to think.
    #[command(flatten)]
    pub policy: PolicyArgs,
    /// Whom to ask.
    #[command(flatten)]
    pub server: ServerArg,
}

impl SearchArgs {
    /// Reads the images and puts the words behind them.
    fn content(&self) -> anyhow::Result<pb::Content> {
        let images = self.image.iter().map(|path| read_image(path));
        let mut parts = images.collect::<anyhow::Result<Vec<_>>>()?;
        parts.extend(self.query.iter().flat_map(|query| text(query.as_str()).parts));
        Ok(pb::Content { parts })
    }

    fn request(&self, content: &pb::Content) -> pb::SearchRequest {
        pb::SearchRequest {
            collection: self.collection.clone(),
            query: Some(pb::search_request::Query::Content(content.clone())),
            instruction: self.instruction.clone(),
            limit: self.limit,
            filter: filter::all(&self.filter),
            reasoning: Some(self.policy.message(self.show_thought)),
            ef_search: self.ef,
            exact: self.exact,
            mask: None,
            explain: self.explain,
            recall_target: self.recall_target.unwrap_or_default(),
        }
    }
}

/// Runs the command.
///
/// # Errors
/// Fails with the server's refusal, and when an image cannot be read.
pub async fn run(args: SearchArgs, session: &Session) -> anyhow::Result<Outcome> {
    let content = args.content()?;
    let client = session.connect().await?.search();
    let answer = patiently(async || client.clone().search(args.request(&content)).await).await?;
    let output = session.output;
    if output.is_json() {
        output.json(&json!({
            "query": args.query,
            "hits": answer.hits.iter().map(output::hit).collect::<Vec<_>>(),
            "usage": answer.usage.as_ref().map(output::usage),
            "timings": answer.timings.as_ref().map(output::timings),
            "plan": answer.plan.as_ref().map(output::plan),
            "explanation": answer.explanation.as_ref().map(output::search_explanation),
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
        let filtering = match plan.filtering() {
            pb::Filtering::Unspecified => String::new(),
            way => format!(", filter by {}", plain(way.as_str_name(), "FILTERING_")),
        };
        let compared = figures(plan.distance_computations);
        let strategy = plain(plan.strategy().as_str_name(), "STRATEGY_");
        output.line(format_args!(
            "{strategy} over {} segments, {compared} vectors compared{filtering}",
            plan.segments
        ))?;
    }
    if let Some(explanation) = &answer.explanation {
        output.line(format_args!("\n{}", rankings(explanation)))?;
    }
    if let Some(thought) = usage.thought.filter(|_| args.show_thought) {
        output.line(format_args!("\nthought: {}", ellipsis(&thought, usize::MAX)))?;
    }
    Ok(Outcome::Done)
}

/// Reads a share of the nearest.
fn recall_target(text: &str) -> Result<f32, String> {
    let target: f32 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    if (MIN_RECALL_TARGET..=1.0).contains(&target) {
        Ok(target)
    } else {
        Err(format!("{target} is outside {MIN_RECALL_TARGET} to 1"))
    }
}

/// Writes the name of an enumeration's value for people.
fn plain(name: &str, prefix: &str) -> String {
    name.trim_start_matches(prefix).to_lowercase()
}

/// Writes both rankings side by side, and what they cost beside the answer.
fn rankings(explanation: &pb::SearchExplanation) -> String {
    let column = |ranking: &Option<pb::Ranking>| ranking.clone().unwrap_or_default().documents;
    let (direct, reasoned) = (column(&explanation.direct), column(&explanation.reasoned));
    let cells = |documents: &[pb::RankedDocument], rank: usize| match documents.get(rank) {
        Some(found) => [format!("{:.3}", found.score), ellipsis(&found.id, SNIPPET_CHARS)],
        None => [String::new(), String::new()],
    };
    let rows = (0..direct.len().max(reasoned.len())).map(|rank| {
        let number = (rank + 1).to_string();
        [vec![number], cells(&direct, rank).into(), cells(&reasoned, rank).into()].concat()
    });
    let header = ["rank", "direct", "id", "reasoned", "id"];
    let table = table(&header, &[0, 1, 3], rows.collect());
    let cost = match &explanation.cost {
        _ if explanation.reasoned.is_none() => "the context has no room for a thought".to_owned(),
        Some(cost) if cost.reasoning_tokens + cost.query_tokens > 0 => format!(
            "the explanation alone cost {} thought tokens and {} query tokens",
            figures(cost.reasoning_tokens.into()),
            figures(cost.query_tokens.into())
        ),
        _ => "the explanation cost no tokens beside the answer".to_owned(),
    };
    format!("{table}\n{cost}")
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

#[cfg(test)]
mod tests {
    use super::*;

    fn ranking(documents: &[(&str, f32)]) -> Option<pb::Ranking> {
        let document = |&(id, score): &(&str, f32)| pb::RankedDocument { id: id.into(), score };
        Some(pb::Ranking { documents: documents.iter().map(document).collect(), plan: None })
    }

    #[test]
    fn rankings_stand_side_by_side_with_their_cost() {
        let cost = pb::ExplanationCost {
            reasoning_tokens: 1_024,
            query_tokens: 8,
            granted_budget: Some(2_000),
            ..Default::default()
        };
        let explanation = pb::SearchExplanation {
            direct: ranking(&[("a", 0.5), ("b", 0.25)]),
            reasoned: ranking(&[("b", 0.75)]),
            thought: None,
            cost: Some(cost),
        };
        let text = rankings(&explanation);
        let lines: Vec<Vec<&str>> =
            text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1], ["1", "0.500", "a", "0.750", "b"]);
        assert_eq!(lines[2], ["2", "0.250", "b"]);
        assert!(text.ends_with("alone cost 1,024 thought tokens and 8 query tokens"), "{text}");

        let none = Some(pb::ExplanationCost::default());
        let free = rankings(&pb::SearchExplanation { cost: none, ..explanation.clone() });
        assert!(free.ends_with("no tokens beside the answer"), "{free}");
        let full = rankings(&pb::SearchExplanation { reasoned: None, ..explanation });
        assert!(full.ends_with("no room for a thought"), "{full}");
    }
}
