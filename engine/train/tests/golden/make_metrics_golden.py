"""Writes metrics.json: rankings with trec_eval's own figures (pip install pytrec_eval-terrier==0.5.11).

Run in this folder: python make_metrics_golden.py > metrics.json
"""

import json
import random

import pytrec_eval

MEASURES = {"ndcg_cut.3,10", "recall.5,10", "recip_rank", "success.1"}


def measure(ranking, judgments):
    run = {"q": {str(document): float(-rank) for rank, document in enumerate(ranking)}}
    judged = {"q": {str(document): grade for document, grade in judgments}}
    return pytrec_eval.RelevanceEvaluator(judged, MEASURES).evaluate(run)["q"]


def make_case(random_source):
    documents = list(range(60))
    random_source.shuffle(documents)
    judged = random_source.sample(range(60), random_source.randint(1, 30))
    judgments = [[document, random_source.choice([0, 1, 1, 2, 3, 4])] for document in judged]
    if all(grade == 0 for _, grade in judgments):
        judgments[0][1] = 1
    ranking = documents[: random_source.choice([3, 8, 10, 25])]
    graded = measure(ranking, judgments)
    binary = measure(ranking, [[document, min(grade, 1)] for document, grade in judgments])
    cut = measure(ranking[:10], judgments)
    return {
        "ranking": ranking,
        "judgments": judgments,
        "ndcg_at_10": graded["ndcg_cut_10"],
        "ndcg_binary_at_10": binary["ndcg_cut_10"],
        "ndcg_at_3": graded["ndcg_cut_3"],
        "recall_at_10": graded["recall_10"],
        "recall_at_5": graded["recall_5"],
        "mrr_at_10": cut["recip_rank"],
        "hit_at_1": graded["success_1"],
    }


def main():
    random_source = random.Random(7)
    cases = [make_case(random_source) for _ in range(80)]
    print("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]")


if __name__ == "__main__":
    main()
