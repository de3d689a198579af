#!/usr/bin/env python3
"""Makes a test collection in BEIR's layout of training examples that no stage has drawn, for
`twn train gate`: where adapters are changed after a run, its gate does not fit them any more.

    python3 unseen.py data/twn-mini-gpu.toml data/unseen [--kinds resolving=1000,plain=800,explain=500]
        [--beside data/valid/mixed]
"""

import argparse
import json
import math
import pathlib
import tomllib

from data import HELD_OUT

#: Documents of an example beside its answers.
NEGATIVES = 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("recipe", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--kinds", default="resolving=1000,plain=800,explain=500")
    parser.add_argument("--beside", type=pathlib.Path, help="a collection that is joined with them")
    options = parser.parse_args()
    files = tomllib.loads(options.recipe.read_text())["data"]
    documents, queries, answers = {}, [], []
    name = lambda text: documents.setdefault(text.strip(), f"d{len(documents)}")
    for kind, count in (one.split("=") for one in options.kinds.split(",")):
        with open(options.recipe.parent / files[kind], encoding="utf-8") as file:
            lines = list(file)
        for line in lines[math.ceil((1 - HELD_OUT) * len(lines)) :][: int(count)]:
            one, query = json.loads(line), f"q{len(queries)}"
            queries.append({"_id": query, "text": one["query"], "metadata": {"kind": kind}})
            answers += [f"{query}\t{name(text)}\t1" for text in one["positives"]]
            for text in one.get("negatives", [])[: NEGATIVES if kind == "resolving" else 0]:
                name(text)
    corpus = [{"_id": place, "title": "", "text": text} for text, place in documents.items()]
    if options.beside:
        # Their names get a mark, so that none is one of the others.
        marked = lambda one: one | {"_id": f"b-{one['_id']}"}
        lines = lambda file: (options.beside / file).read_text(encoding="utf-8").splitlines()
        corpus += [marked(json.loads(line)) for line in lines("corpus.jsonl")]
        queries += [marked(json.loads(line)) for line in lines("queries.jsonl")]
        judged = (line.split("\t") for line in lines("qrels/test.tsv")[1:])
        answers += [f"b-{query}\tb-{document}\t{grade}" for query, document, grade in judged]
    (options.out / "qrels").mkdir(parents=True, exist_ok=True)
    for file, rows in [("corpus.jsonl", corpus), ("queries.jsonl", queries)]:
        (options.out / file).write_text("".join(json.dumps(row) + "\n" for row in rows))
    (options.out / "qrels/test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *answers]) + "\n")
    print(json.dumps({"documents": len(corpus), "queries": len(queries)}))


if __name__ == "__main__":
    main()
