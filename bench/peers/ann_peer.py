#!/usr/bin/env python3
"""A vector index beside ours: one JSON object a line in, one out.

    ann_peer.py hnswlib|faiss|usearch

    {"do": "build", "base": PATH, "m": 16, "ef_construction": 200, "threads": 2}
        -> {"seconds": S}
    {"do": "queries", "path": PATH, "count": N}      -> {"rows": N}
    {"do": "search", "ef": 64, "k": 10, "threads": 1, "ids": true}
        -> {"seconds": S, "cpu_seconds": S, "ids": [[...], ...]}

Scores are inner products. Needs numpy and the package of the index asked for.
"""

import json
import sys
import time

import numpy as np


def load(path: str) -> np.ndarray:
    with open(path, "rb") as file:
        rows, columns = np.fromfile(file, dtype=np.uint32, count=2)
        return np.fromfile(file, dtype=np.float32).reshape(rows, columns)


class Hnswlib:
    def build(self, base, m, ef_construction, threads):
        import hnswlib

        self.index = hnswlib.Index("ip", base.shape[1])
        self.index.init_index(len(base), ef_construction=ef_construction, M=m)
        self.index.add_items(base, num_threads=threads)

    def search(self, queries, k, ef, threads):
        self.index.set_ef(ef)
        return self.index.knn_query(queries, k, num_threads=threads)[0]


class Faiss:
    def build(self, base, m, ef_construction, threads):
        import faiss

        self.faiss = faiss
        faiss.omp_set_num_threads(threads)
        self.index = faiss.IndexHNSWFlat(base.shape[1], m, faiss.METRIC_INNER_PRODUCT)
        self.index.hnsw.efConstruction = ef_construction
        self.index.add(base)

    def search(self, queries, k, ef, threads):
        self.faiss.omp_set_num_threads(threads)
        self.index.hnsw.efSearch = ef
        return self.index.search(queries, k)[1]


class Usearch:
    def build(self, base, m, ef_construction, threads):
        from usearch.index import Index

        self.index = Index(
            ndim=base.shape[1],
            metric="ip",
            dtype="f32",
            connectivity=m,
            expansion_add=ef_construction,
        )
        self.index.add(np.arange(len(base)), base, threads=threads)

    def search(self, queries, k, ef, threads):
        self.index.expansion_search = ef
        return self.index.search(queries, k, threads=threads).keys


def answer(peer, state: dict, request: dict) -> dict:
    if request["do"] == "build":
        base = load(request["base"])
        start = time.perf_counter()
        peer.build(base, request["m"], request["ef_construction"], request["threads"])
        return {"seconds": time.perf_counter() - start}
    if request["do"] == "queries":
        state["queries"] = load(request["path"])[: request["count"]]
        return {"rows": len(state["queries"])}
    if request["do"] == "search":
        start, cpu_start = time.perf_counter(), time.process_time()
        ids = peer.search(state["queries"], request["k"], request["ef"], request["threads"])
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
        found = np.asarray(ids).tolist() if request.get("ids") else None
        return {"seconds": seconds, "cpu_seconds": cpu_seconds, "ids": found}
    raise ValueError(f"no such request: {request['do']}")


def main() -> None:
    peer = {"hnswlib": Hnswlib, "faiss": Faiss, "usearch": Usearch}[sys.argv[1]]()
    state: dict = {}
    for line in sys.stdin:
        try:
            print(json.dumps(answer(peer, state, json.loads(line))), flush=True)
        except Exception as error:  # The other side decides what an error means.
            print(json.dumps({"error": repr(error)}), flush=True)


if __name__ == "__main__":
    main()
