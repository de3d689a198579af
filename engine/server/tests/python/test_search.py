"""Documents found and read: modes, filters, vectors, masks, pages, streams."""

import math

import grpc
from google.protobuf import field_mask_pb2
from twn.v1 import (
    collection_pb2,
    document_pb2,
    embed_pb2,
    ingest_pb2,
    reasoning_pb2,
    search_pb2,
)

from client import TIMEOUT_S, ClientTest, Server, policy, text
from filters import all_of, any_of, exists, match, negated, one_of, within


class SearchTest(ClientTest):
    def test_every_mode_reports_its_route(self):
        name = self.collection("py-modes", documents=6)
        never = self.find(name)
        self.assertEqual(len(never.hits), 6)
        scores = [hit.score for hit in never.hits]
        self.assertEqual(scores, sorted(scores, reverse=True))
        self.assertEqual(never.usage.route, reasoning_pb2.ROUTE_DIRECT)
        self.assertEqual(never.usage.reasoning_tokens, 0)
        self.assertTrue(never.usage.HasField("gate_score"))
        self.assertFalse(never.usage.HasField("gate_threshold"))
        self.assertGreater(never.timings.total.ToNanoseconds(), 0)
        self.assertNotEqual(never.plan.strategy, search_pb2.STRATEGY_UNSPECIFIED)

        always = self.find(name, reasoning=policy("ALWAYS", token_budget=5, include_thought=True))
        self.assertEqual(always.usage.route, reasoning_pb2.ROUTE_REASONED)
        self.assertEqual(always.usage.route_reason, reasoning_pb2.ROUTE_REASON_POLICY_ALWAYS)
        self.assertTrue(1 <= always.usage.reasoning_tokens <= 5, always.usage)
        self.assertNotEqual(always.usage.stop_reason, reasoning_pb2.STOP_REASON_UNSPECIFIED)
        self.assertTrue(always.usage.HasField("thought"))
        self.assertEqual(always.usage.encoder_fingerprint, never.usage.encoder_fingerprint)

        above = self.find(name, reasoning=policy("AUTO", threshold=0.0, token_budget=3))
        self.assertEqual(above.usage.route_reason, reasoning_pb2.ROUTE_REASON_GATE_ABOVE_THRESHOLD)
        below = self.find(name, reasoning=policy("AUTO", threshold=1.0))
        self.assertEqual(below.usage.route_reason, reasoning_pb2.ROUTE_REASON_GATE_BELOW_THRESHOLD)
        self.assertEqual((above.usage.gate_threshold, below.usage.gate_threshold), (0.0, 1.0))
        self.assertAlmostEqual(above.usage.gate_score, never.usage.gate_score, places=5)

    def test_greedy_thoughts_are_the_same_every_time(self):
        name = self.collection("py-greedy", documents=2)
        # Explained searches do not use the cache: both are made.
        ask = lambda: self.find(
            name, reasoning=policy("ALWAYS", token_budget=8, include_thought=True), explain=True
        )
        first, second = ask(), ask()
        self.assertFalse(second.usage.cached)
        self.assertEqual(first.usage.thought, second.usage.thought)
        self.assertEqual(first.usage.reasoning_tokens, second.usage.reasoning_tokens)

    def test_filters_admit_exactly_what_they_say(self):
        name = self.collection("py-filters", documents=24)
        numbers = range(24)
        cases = [
            (match("lang", "de"), lambda n: n % 3 == 1),
            (match("draft", True), lambda n: n % 2 == 0),
            (match("year", 2007), lambda n: n == 7),
            (match("tags", "t3"), lambda n: n % 5 == 3),
            (match("place.city", "Ulm"), lambda n: n % 4 == 0),
            (one_of("lang", "de", "fr"), lambda n: n % 3 > 0),
            (within("year", gte=2005, lt=2010), lambda n: 5 <= n < 10),
            (exists("rare"), lambda n: n % 6 == 0),
            (negated(exists("rare")), lambda n: n % 6 != 0),
            (all_of(match("lang", "en"), within("year", gt=2010)), lambda n: n % 3 == 0 and n > 10),
            (any_of(match("year", 2001), match("year", 2002)), lambda n: n in (1, 2)),
            (match("nowhere", "x"), lambda n: False),
        ]
        for sealed in (False, True):
            if sealed:
                request = collection_pb2.SealCollectionRequest(name=name)
                self.server.collections.SealCollection(request, timeout=TIMEOUT_S)
            for given, admits in cases:
                with self.subTest(filter=str(given), sealed=sealed):
                    want = [f"doc-{number:02}" for number in numbers if admits(number)]
                    self.assertEqual(self.count(name, filter=given), len(want))
                    found = self.find(name, filter=given, limit=24)
                    self.assertEqual(sorted(hit.document.id for hit in found.hits), want)
                    self.assertEqual(found.plan.filter_matches, len(want))

    def test_a_vector_finds_its_neighbours_by_cosine(self):
        name = self.collection("py-vectors", dimension=3)
        vectors = {"x": [2, 0, 0], "y": [0, 5, 0], "xy": [1, 1, 0], "z": [0, 0, 1]}
        documents = [
            document_pb2.DocumentInput(id=id, content=text(id), vector=vector)
            for id, vector in vectors.items()
        ]
        answer = self.server.ingest.Upsert(
            ingest_pb2.UpsertRequest(collection=name, documents=documents), timeout=TIMEOUT_S
        )
        self.assertEqual(
            {one.usage.route_reason for one in answer.results},
            {reasoning_pb2.ROUTE_REASON_VECTOR_SUPPLIED},
        )
        for exact in (False, True):
            request = search_pb2.SearchRequest(
                collection=name,
                vector=search_pb2.Vector(values=[3, 0.3, 0]),
                limit=3,
                exact=exact,
                mask=document_pb2.DocumentMask(include_vector=True),
            )
            found = self.server.search.Search(request, timeout=TIMEOUT_S)
            self.assertEqual([hit.document.id for hit in found.hits], ["x", "xy", "y"])
            self.assertAlmostEqual(found.hits[0].score, 3 / math.hypot(3, 0.3), places=5)
            self.assertAlmostEqual(found.hits[1].document.vector[0], math.sqrt(0.5), places=5)
            self.assertEqual(found.usage.route, reasoning_pb2.ROUTE_NONE)

        request.vector.values.append(1.0)
        code = grpc.StatusCode.INVALID_ARGUMENT
        found = self.refused(code, "INVALID_FIELD", self.server.search.Search, request)
        self.assertIn("3", found["message"])

    def test_documents_are_read_through_masks(self):
        name = self.collection("py-get", documents=3)
        request = search_pb2.GetRequest(collection=name, ids=["doc-02", "nobody", "doc-00"])
        found = self.server.search.Get(request, timeout=TIMEOUT_S)
        self.assertEqual([one.id for one in found.documents], ["doc-02", "doc-00"])
        self.assertEqual(list(found.missing_ids), ["nobody"])
        first = found.documents[0]
        self.assertEqual((first.text, first.payload["year"]), ("Text number 2.", 2002))
        self.assertEqual((len(first.vector), first.HasField("usage")), (0, False))

        request.mask.CopyFrom(
            document_pb2.DocumentMask(
                payload=field_mask_pb2.FieldMask(paths=["lang"]),
                omit_text=True,
                include_vector=True,
                include_usage=True,
            )
        )
        masked = self.server.search.Get(request, timeout=TIMEOUT_S).documents[0]
        self.assertEqual((masked.text, dict(masked.payload)), ("", {"lang": "fr"}))
        self.assert_unit(masked.vector)
        self.assertEqual(masked.usage.route, reasoning_pb2.ROUTE_DIRECT)

    def test_listing_reads_everything_once_in_order(self):
        name = self.collection("py-list", documents=11)
        ids, token = [], ""
        while True:
            request = search_pb2.ListRequest(collection=name, page_size=4, page_token=token)
            page = self.server.search.List(request, timeout=TIMEOUT_S)
            ids += [one.id for one in page.documents]
            token = page.next_page_token
            if not token:
                break
            kept = token
        self.assertEqual(ids, [f"doc-{number:02}" for number in range(11)])

        # A token answers only the question that it was given for.
        request = search_pb2.ListRequest(
            collection=name, page_token=kept, filter=match("lang", "en")
        )
        code = grpc.StatusCode.INVALID_ARGUMENT
        found = self.refused(code, "INVALID_FIELD", self.server.search.List, request)
        self.assertEqual(found["BadRequest"].field_violations[0].field, "page_token")

    def test_a_stream_answers_each_search_by_its_tag(self):
        name = self.collection("py-stream", documents=4)

        def requests():
            for tag in range(10, 15):
                yield search_pb2.SearchStreamRequest(
                    tag=tag,
                    request=search_pb2.SearchRequest(
                        collection=name if tag < 14 else "py-missing",
                        content=text(f"Question {tag}"),
                        reasoning=policy("NEVER"),
                    ),
                )

        answers = {
            answer.tag: answer
            for answer in self.server.search.SearchStream(requests(), timeout=TIMEOUT_S)
        }
        self.assertEqual(sorted(answers), list(range(10, 15)))
        for tag in range(10, 14):
            self.assertEqual(len(answers[tag].response.hits), 4)
        self.assertEqual(answers[14].error.code, grpc.StatusCode.NOT_FOUND.value[0])

    def test_compressed_calls_give_the_same_answer(self):
        name = self.collection("py-gzip", documents=8)
        plain = self.find(name, limit=8)
        zipped_server = Server(self.address, compression=grpc.Compression.Gzip)
        zipped = self.find(name, server=zipped_server, limit=8)
        self.assertEqual(
            [(hit.document.id, hit.document.text) for hit in zipped.hits],
            [(hit.document.id, hit.document.text) for hit in plain.hits],
        )
        long = "word " * 2_000
        answer = zipped_server.embed.Embed(
            embed_pb2.EmbedRequest(inputs=[text(long)], reasoning=policy("NEVER")),
            timeout=TIMEOUT_S,
        )
        self.assertTrue(answer.embeddings[0].usage.truncated)
        zipped_server.channel.close()
