#!/usr/bin/env python3
"""Turns a recipe's texts into token ids, once, so that the machine with the GPU needs
neither tokenizers nor the texts.

    python3 pack.py RECIPE.toml --model MODEL.gguf --teacher MINILM_FOLDER --out packed.npz

The ids are those of `twn train`: same template, same cut, same markers.
"""

import argparse
import json
import pathlib
import tomllib

import numpy

#: Text with fewer is not what the encoder takes for text in capitals alone.
LEAST_CAPITALS = 12


class Texts:
    """A table of texts, each once."""

    def __init__(self):
        self.rows, self.texts = {}, []

    def add(self, text):
        if text not in self.rows:
            self.rows[text] = len(self.texts)
            self.texts.append(text)
        return self.rows[text]


def flat(lists, kind):
    offsets = numpy.zeros(len(lists) + 1, dtype=numpy.int64)
    numpy.cumsum([len(one) for one in lists], out=offsets[1:])
    values = numpy.fromiter((x for one in lists for x in one), dtype=kind, count=offsets[-1])
    return values, offsets


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("recipe", type=pathlib.Path)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--teacher", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--test", default="mixed", help="the collection that a run is judged on")
    parser.add_argument("--lines", type=int, help="of each file, at most; for trials")
    options = parser.parse_args()

    from transformers import AutoTokenizer

    recipe = tomllib.loads(options.recipe.read_text())
    folder = options.recipe.parent
    tokenizer = AutoTokenizer.from_pretrained(options.model.parent, gguf_file=options.model.name)
    teacher = AutoTokenizer.from_pretrained(options.teacher)
    most, budget = recipe["content_tokens_max"], recipe["adapters"]["thought"]["token_budget"]
    markers = recipe["adapters"]["thought"]
    draw = numpy.random.default_rng(recipe["seed"])
    case_noise = max(stage.get("case_noise", 0) for stage in recipe["stage"])
    texts, thoughts, taught = Texts(), Texts(), {}
    packed = {}

    lowered = recipe["adapters"].get("capitals") == "lowered"

    def read(text):
        """The text as the encoder reads it."""
        if lowered and not any(map(str.islower, text)) and sum(map(str.isupper, text)) >= LEAST_CAPITALS:
            return text.lower()
        return text

    def cased(text):
        """The text as it is, or all in capitals or small letters."""
        if draw.random() >= case_noise:
            return text
        return text.upper() if draw.random() < 0.5 else text.lower()

    for kind, name in recipe["data"].items():
        queries, positives, negatives, thought = [], [], [], []
        with open(folder / name, encoding="utf-8") as lines:
            for number, line in enumerate(lines):
                if options.lines and number >= options.lines:
                    break
                one = json.loads(line)
                queries.append(texts.add(cased(one["query"]).strip()))
                positives.append([texts.add(text.strip()) for text in one.get("positives", [])])
                negatives.append([texts.add(text.strip()) for text in one.get("negatives", [])])
                known = one.get("thought")
                thought.append(thoughts.add(known.strip()) if known else -1)
                if kind != "resolving":
                    taught.setdefault(queries[-1], one["query"])
                    for row, text in zip(positives[-1], one.get("positives", [])):
                        taught.setdefault(row, text)
        packed[f"{kind}.query"] = numpy.array(queries, dtype=numpy.int32)
        packed[f"{kind}.thought"] = numpy.array(thought, dtype=numpy.int32)
        packed[f"{kind}.positives"], packed[f"{kind}.positives_at"] = flat(positives, numpy.int32)
        packed[f"{kind}.negatives"], packed[f"{kind}.negatives_at"] = flat(negatives, numpy.int32)

    names = []
    for path in [recipe["evaluate"]["path"], options.test]:
        names.append(path.replace("/", "_"))
        lines = lambda file: [json.loads(line) for line in open(folder / path / file)]
        corpus, queries = lines("corpus.jsonl"), lines("queries.jsonl")
        if options.lines:
            corpus, queries = corpus[: options.lines], queries[:: max(1, len(queries) // 12)]
        place = {one["_id"]: at for at, one in enumerate(corpus)}
        query_place = {one["_id"]: at for at, one in enumerate(queries)}
        title = lambda one: " ".join(filter(None, [one.get("title"), one["text"]])).strip()
        pairs = []
        for line in (folder / path / "qrels/test.tsv").read_text().splitlines()[1:]:
            query, document, score = line.split("\t")
            if int(score) > 0 and query in query_place and document in place:
                pairs.append((query_place[query], place[document], int(score)))
        about = lambda one, key: one.get("metadata", {}).get(key)
        packed |= {
            f"{names[-1]}.documents": numpy.array([texts.add(title(one)) for one in corpus], dtype=numpy.int32),
            f"{names[-1]}.queries": numpy.array([texts.add(one["text"].strip()) for one in queries], dtype=numpy.int32),
            f"{names[-1]}.kinds": numpy.array([about(one, "kind") or "" for one in queries]),
            f"{names[-1]}.thoughts": numpy.array(
                [thoughts.add(about(one, "thought").strip()) if about(one, "thought") else -1 for one in queries],
                dtype=numpy.int32,
            ),
            f"{names[-1]}.answers": numpy.array(pairs, dtype=numpy.int32).reshape(-1, 3),
        }

    plain = lambda some: tokenizer(some, add_special_tokens=False)["input_ids"] if some else []
    special = lambda text: tokenizer.encode(text, add_special_tokens=False)
    for role, instruction in recipe["adapters"]["instructions"].items():
        conversation = [{"role": "system", "content": instruction}, {"role": "user", "content": "\0"}]
        before, after = tokenizer.apply_chat_template(
            conversation, tokenize=False, add_generation_prompt=True
        ).split("\0")
        packed[f"frame.{role}"] = numpy.array(special(before), dtype=numpy.uint16)
        packed["frame.after"] = numpy.array(special(after), dtype=numpy.uint16)
    packed["frame.open"] = numpy.array(special(markers["open"]), dtype=numpy.uint16)
    packed["frame.close"] = numpy.array(special(markers["close"]), dtype=numpy.uint16)
    packed["frame.end"] = numpy.array([tokenizer.eos_token_id], dtype=numpy.uint16)
    # Markers of the template inside a text are text; none of the data's texts has one.
    assert not any("<|im_" in text for text in texts.texts)
    contents = [ids[:most] for ids in plain([read(text) for text in texts.texts])]
    packed["contents"], packed["contents_at"] = flat(contents, numpy.uint16)
    written = plain([text + markers["close"] for text in thoughts.texts])
    packed["thoughts"], packed["thoughts_at"] = flat([ids[:budget] for ids in written], numpy.uint16)
    packed["thoughts_closed"] = numpy.array([len(ids) <= budget for ids in written])
    rows = sorted(taught)
    taught_ids = teacher([taught[row] for row in rows], truncation=True, max_length=256)["input_ids"]
    packed["teacher"], packed["teacher_at"] = flat(taught_ids, numpy.uint16)
    packed["teacher_rows"] = numpy.array(rows, dtype=numpy.int32)
    packed["recipe"] = numpy.array(json.dumps(recipe))
    packed["sets"] = numpy.array(names)
    numpy.savez(options.out, **packed)
    print(json.dumps({"texts": len(contents), "tokens": len(packed["contents"]), "thoughts": len(written),
                      "taught": len(rows), "bytes": options.out.stat().st_size}))


if __name__ == "__main__":
    main()
