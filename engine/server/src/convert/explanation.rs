//! What both embeddings of one input are and find.

use std::time::Duration;

use twn_protos::v1 as pb;
use twn_service::{Explanation, ExplanationCost, Ranking, SearchExplanation};

use super::{
    search::plan,
    usage::{pressure, stage, stop_reason},
};

/// Writes the embeddings of one input.
pub(crate) fn embedding(explanation: Explanation) -> pb::EmbedExplanation {
    let Explanation { direct, reasoned, thought, cost } = explanation;
    pb::EmbedExplanation {
        direct,
        reasoned: reasoned.unwrap_or_default(),
        thought,
        cost: Some(self::cost(&cost, Duration::ZERO)),
    }
}

/// Writes the rankings of one query.
pub(crate) fn search(explanation: SearchExplanation) -> pb::SearchExplanation {
    let SearchExplanation { direct, reasoned, thought, cost, search } = explanation;
    pb::SearchExplanation {
        direct: Some(ranking(direct)),
        reasoned: reasoned.map(ranking),
        thought,
        cost: Some(self::cost(&cost, search)),
    }
}

fn ranking(ranking: Ranking) -> pb::Ranking {
    let document = |(id, score)| pb::RankedDocument { id, score };
    pb::Ranking {
        documents: ranking.documents.into_iter().map(document).collect(),
        plan: Some(plan(&ranking.plan)),
    }
}

fn cost(cost: &ExplanationCost, search: Duration) -> pb::ExplanationCost {
    // Where no thought was run for the explanation, there was none to press.
    let ran = cost.granted_budget.map(|_| pressure(cost.pressure));
    pb::ExplanationCost {
        reasoning_tokens: cost.reasoning_tokens,
        query_tokens: cost.query_tokens,
        granted_budget: cost.granted_budget,
        stop_reason: stop_reason(cost.stop_reason).into(),
        pressure: ran.unwrap_or(pb::Pressure::Unspecified).into(),
        reasoning: stage(cost.reasoning),
        reembed: stage(cost.reembed),
        search: stage(search),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twn_service::{Pressure, StopReason};

    fn explanation(cost: ExplanationCost) -> Explanation {
        let (direct, reasoned) = (vec![1.0, 0.0], Some(vec![0.0, 1.0]));
        Explanation { direct, reasoned, thought: Some("hm".into()), cost }
    }

    #[test]
    fn cost_of_an_explanation_keeps_every_figure() {
        let cost = ExplanationCost {
            reasoning_tokens: 7,
            query_tokens: 8,
            granted_budget: Some(9),
            stop_reason: Some(StopReason::Closed),
            pressure: Pressure::Load,
            reasoning: Duration::from_millis(2),
            reembed: Duration::from_millis(3),
        };
        let message = embedding(explanation(cost));
        assert_eq!(message.direct, [1.0, 0.0]);
        assert_eq!(message.reasoned, [0.0, 1.0]);
        let cost = message.cost.unwrap();
        assert_eq!(
            (cost.reasoning_tokens, cost.query_tokens, cost.granted_budget),
            (7, 8, Some(9))
        );
        assert_eq!(cost.stop_reason(), pb::StopReason::Closed);
        assert_eq!(cost.pressure(), pb::Pressure::Load);
        assert_eq!(cost.reasoning.unwrap().nanos, 2_000_000);
        assert_eq!(cost.reembed.unwrap().nanos, 3_000_000);
        assert_eq!(cost.search, None);
    }

    #[test]
    fn a_reasoned_answers_explanation_cost_nothing() {
        let message = embedding(explanation(ExplanationCost::default()));
        assert_eq!(message.cost, Some(pb::ExplanationCost::default()));
        assert_eq!(message.thought.as_deref(), Some("hm"));
    }
}
