#!/usr/bin/env python3
"""A vector index beside ours: one JSON object a line in, one out.

    ann_peer.py hnswlib|faiss|usearch
    ann_peer.py lancedb|chroma|qdrant|milvus

    {"do": "build", "base": PATH, "m": 16, "ef_construction": 200, "threads": 2}
        -> {"seconds": S, "bytes": memory that it took}
    {"do": "queries", "path": PATH, "count": N}      -> {"rows": N}
    {"do": "search", "ef": 64, "k": 10, "threads": 1, "ids": true}
        -> {"seconds": S, "cpu_seconds": S, "ids": [[...], ...]}

Scores are inner products. The libraries take all queries in one call; the databases, which
keep their files in a folder of their own, are asked through their clients one query at a
time, as a service would ask them. Needs numpy and the package of the index asked for (see
ann_setup.sh).
"""

import json
import os
import pathlib
import sys
import tempfile
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


class Database:
    """One that is asked query by query; `one` returns the numbers of the nearest rows."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="ann-peer-")

    def search(self, queries, k, ef, threads):
        self.set_ef(ef)
        return [self.one(query, k, ef) for query in queries]

    def set_ef(self, ef):
        pass


class LanceDb(Database):
    """One HNSW partition over scalar-quantised vectors, rescored with those in full."""

    def build(self, base, m, ef_construction, threads):
        import lancedb
        import pyarrow
        from lancedb.index import HnswSq

        rows, columns = base.shape
        values = pyarrow.array(base.ravel())
        table = pyarrow.table({
            "id": pyarrow.array(range(rows), pyarrow.int64()),
            "vector": pyarrow.FixedSizeListArray.from_arrays(values, columns),
        })
        self.table = lancedb.connect(self.folder.name).create_table("rows", table)
        settings = HnswSq(
            distance_type="dot", num_partitions=1, m=m, ef_construction=ef_construction
        )
        self.table.create_index("vector", config=settings)
        self.table.wait_for_index(["vector_idx"])

    def one(self, query, k, ef):
        # Refining takes four times the hits from the graph, which wants to be as wide.
        search = self.table.search(query).distance_type("dot").nprobes(1).ef(max(ef, 4 * k))
        found = search.refine_factor(4).select(["id", "_distance"]).limit(k).to_arrow()
        return found["id"].to_pylist()


class Chroma(Database):
    def build(self, base, m, ef_construction, threads):
        import chromadb

        settings = {
            "space": "ip", "max_neighbors": m, "ef_construction": ef_construction,
            "num_threads": threads,
        }
        client = chromadb.PersistentClient(self.folder.name)
        self.collection = client.create_collection(
            "rows", configuration={"hnsw": settings}, embedding_function=None
        )
        for start in range(0, len(base), 5000):
            part = base[start : start + 5000]
            ids = [str(number) for number in range(start, start + len(part))]
            self.collection.add(ids=ids, embeddings=part)

    def set_ef(self, ef):
        self.collection.modify(configuration={"hnsw": {"ef_search": ef}})

    def one(self, query, k, ef):
        found = self.collection.query(query_embeddings=[query], n_results=k, include=[])
        return [int(number) for number in found["ids"][0]]


class QdrantEdge(Database):
    def build(self, base, m, ef_construction, threads):
        import qdrant_edge

        self.api = qdrant_edge
        hnsw = qdrant_edge.HnswIndexConfig(m, ef_construction, 1000, threads)
        vectors = qdrant_edge.EdgeVectorParams(base.shape[1], qdrant_edge.Distance.Dot)
        optimizers = qdrant_edge.EdgeOptimizersConfig(
            default_segment_number=1, indexing_threshold=1000, max_segment_size=1 << 30
        )
        self.shard = qdrant_edge.EdgeShard.create(
            self.folder.name,
            qdrant_edge.EdgeConfig(vectors=vectors, hnsw_config=hnsw, optimizers=optimizers),
        )
        for start in range(0, len(base), 5000):
            part = base[start : start + 5000]
            points = [
                qdrant_edge.Point(start + at, vector.tolist(), {}) for at, vector in enumerate(part)
            ]
            self.shard.update(qdrant_edge.UpdateOperation.upsert_points(points))
        while self.shard.optimize():
            pass
        self.shard.flush()

    def one(self, query, k, ef):
        request = self.api.SearchRequest(
            self.api.Query.Nearest(query.tolist()), k, params=self.api.SearchParams(hnsw_ef=ef)
        )
        return [point.id for point in self.shard.search(request)]


class MilvusLite(Database):
    def build(self, base, m, ef_construction, threads):
        from pymilvus import DataType, MilvusClient

        self.client = MilvusClient(os.path.join(self.folder.name, "rows.db"))
        schema = self.client.create_schema(auto_id=False)
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=base.shape[1])
        index = self.client.prepare_index_params()
        params = {"M": m, "efConstruction": ef_construction}
        index.add_index("vector", index_type="HNSW", metric_type="IP", params=params)
        self.client.create_collection("rows", schema=schema, index_params=index)
        for start in range(0, len(base), 2000):
            part = base[start : start + 2000]
            rows = [{"id": start + at, "vector": vector} for at, vector in enumerate(part)]
            self.client.insert("rows", rows)
        self.client.flush("rows")
        self.client.load_collection("rows")

    def one(self, query, k, ef):
        params = {"metric_type": "IP", "params": {"ef": ef}}
        (hits,) = self.client.search("rows", [query], limit=k, search_params=params)
        return [hit["id"] for hit in hits]


PEERS = {
    "hnswlib": Hnswlib,
    "faiss": Faiss,
    "usearch": Usearch,
    "lancedb": LanceDb,
    "chroma": Chroma,
    "qdrant": QdrantEdge,
    "milvus": MilvusLite,
}


def own_memory() -> int:
    """Bytes of this process that are no file's."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise OSError("the system does not say what memory this takes")


def answer(peer, state: dict, request: dict) -> dict:
    if request["do"] == "build":
        base = load(request["base"])
        before, start = own_memory(), time.perf_counter()
        peer.build(base, request["m"], request["ef_construction"], request["threads"])
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "bytes": own_memory() - before}
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
    # What packages print goes to standard error: standard output is for answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    peer = PEERS[sys.argv[1]]()
    state: dict = {}
    for line in sys.stdin:
        try:
            reply = answer(peer, state, json.loads(line))
        except Exception as error:  # The other side decides what an error means.
            reply = {"error": repr(error)}
        print(json.dumps(reply), file=answers, flush=True)


if __name__ == "__main__":
    main()
