#!/usr/bin/env python3
"""Embeds the real texts of the index benchmark and writes them as .fbin files.

    ann_vectors.py wordllama FOLDER --wordnet DICT
    ann_vectors.py minilm FOLDER --wordnet DICT --texts 53000

Texts: the glosses of WordNet (`data.*` in DICT; Debian's package wordnet-base) and the
descriptions of Debian's packages (`apt-cache dumpavail`), each once. FOLDER gets
NAME.base.fbin and NAME.query.fbin: u32 rows, u32 columns, then the rows as f32, all of
length 1; the queries are texts held out. MiniLM sees 64 tokens of each. Needs the packages numpy and wordllama, or those
that minilm_beir.py names.
"""

import argparse
import pathlib
import re
import shutil
import subprocess
import tempfile

import numpy as np

QUERIES = 2000


def texts(wordnet: pathlib.Path) -> list[str]:
    found: dict[str, None] = {}
    for path in sorted(wordnet.glob("data.*")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            # The licence at the top is indented.
            if not line.startswith(" ") and "|" in line:
                found[line.split("|", 1)[1].strip()] = None
    packages = subprocess.run(
        ["apt-cache", "dumpavail"], capture_output=True, text=True, check=True
    ).stdout
    for block in packages.split("\n\n"):
        description = re.search(r"^Description(?:-en)?: (.*(?:\n .*)*)", block, re.M)
        if description:
            found[description.group(1).strip()] = None
    found.pop("", None)
    return list(found)


def wordllama_vectors(documents: list[str]) -> np.ndarray:
    import wordllama

    # The package has the tokenizer's file, but looks for it in another folder.
    with tempfile.TemporaryDirectory() as cache:
        for name in ("tokenizer", "tokenizers"):
            folder = pathlib.Path(cache) / name
            folder.mkdir()
            for path in (pathlib.Path(wordllama.__file__).parent / "tokenizers").glob("*.json"):
                shutil.copy(path, folder)
        model = wordllama.WordLlama.load(cache_dir=pathlib.Path(cache), disable_download=True)
        return model.embed(documents, norm=True)


def minilm_vectors(documents: list[str]) -> np.ndarray:
    from minilm_beir import MiniLm

    return MiniLm(max_tokens=64).embed(documents)


def save(path: pathlib.Path, vectors: np.ndarray) -> None:
    with path.open("wb") as file:
        np.array(vectors.shape, dtype=np.uint32).tofile(file)
        np.ascontiguousarray(vectors, dtype=np.float32).tofile(file)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("model", choices=["wordllama", "minilm"])
    arguments.add_argument("folder", type=pathlib.Path)
    arguments.add_argument("--wordnet", type=pathlib.Path, required=True)
    arguments.add_argument("--texts", type=int, default=None)
    options = arguments.parse_args()

    documents = texts(options.wordnet)
    order = np.random.default_rng(1).permutation(len(documents))
    documents = [documents[number] for number in order[: options.texts]]
    embed = wordllama_vectors if options.model == "wordllama" else minilm_vectors
    vectors = np.asarray(embed(documents), dtype=np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = vectors[lengths[:, 0] > 0] / lengths[lengths[:, 0] > 0]
    # Different texts may have one vector; each counts once.
    _, first = np.unique(vectors, axis=0, return_index=True)
    vectors = vectors[np.sort(first)]
    options.folder.mkdir(parents=True, exist_ok=True)
    save(options.folder / f"{options.model}.base.fbin", vectors[QUERIES:])
    save(options.folder / f"{options.model}.query.fbin", vectors[:QUERIES])
    print(f"{len(vectors) - QUERIES} rows of {vectors.shape[1]}")


if __name__ == "__main__":
    main()
