"""Documents in and out: the ingest stream with its credits, upserts, deletes."""

import queue

import grpc
from twn.v1 import collection_pb2, document_pb2, ingest_pb2, reasoning_pb2

from client import TIMEOUT_S, ClientTest, document, policy, text


class IngestClient:
    """A well-behaved ingest stream: sends an item only for a credit."""

    def __init__(self, server, start):
        self.requests = queue.Queue()
        self.requests.put(ingest_pb2.IngestRequest(start=start))
        self.call = server.ingest.Ingest(iter(self.requests.get, None), timeout=TIMEOUT_S)
        self.granted = 0
        self.sent = 0
        self.acks = {}
        self.errors = {}

    def run(self, documents):
        """Sends every document and returns the summary."""
        waiting = list(enumerate(documents, start=1))
        summary = None
        for response in self.call:
            kind = response.WhichOneof("kind")
            if kind == "window":
                self.granted += response.window.credits
            elif kind == "ack":
                self.acks[response.ack.seq] = response.ack
            elif kind == "item_error":
                self.errors[response.item_error.seq] = response.item_error
            else:
                summary = response.summary
            while waiting and self.sent < self.granted:
                seq, item = waiting.pop(0)
                self.send(seq, item)
                if not waiting:
                    self.finish()
        return summary

    def send(self, seq, item):
        message = ingest_pb2.IngestItem(seq=seq, document=item)
        self.requests.put(ingest_pb2.IngestRequest(item=message))
        self.sent += 1

    def finish(self):
        self.requests.put(ingest_pb2.IngestRequest(finish=ingest_pb2.IngestFinish()))
        self.requests.put(None)


class IngestTest(ClientTest):
    def start(self, name, **fields):
        fields.setdefault("reasoning", policy("NEVER"))
        return ingest_pb2.IngestStart(collection=name, **fields)

    def test_a_stream_acknowledges_refuses_and_sums_up(self):
        name = self.collection("py-ingest")
        documents = [document(number) for number in range(30)]
        empty = document_pb2.DocumentInput(id="empty", content=text("  "))
        nameless = document_pb2.DocumentInput(content=text("No id."))
        client = IngestClient(self.server, self.start(name))
        summary = client.run(documents[:15] + [empty, nameless] + documents[15:])

        self.assertLessEqual(client.sent, client.granted)
        self.assertEqual((summary.inserted, summary.updated, summary.failed), (30, 0, 2))
        self.assertEqual(len(client.acks), 30)
        self.assertEqual(summary.reasoned, 0)
        prompt_tokens = sum(ack.usage.prompt_tokens for ack in client.acks.values())
        self.assertEqual(summary.prompt_tokens, prompt_tokens)
        for ack in client.acks.values():
            self.assertEqual(ack.status, ingest_pb2.WRITE_STATUS_INSERTED)
            self.assertEqual(ack.usage.route, reasoning_pb2.ROUTE_DIRECT)
            self.assertEqual(ack.usage.route_reason, reasoning_pb2.ROUTE_REASON_POLICY_NEVER)
            self.assertGreater(ack.usage.prompt_tokens, 0)
            self.assertTrue(ack.usage.encoder_fingerprint)
        self.assertEqual(client.acks[1].id, "doc-00")
        for seq, id in [(16, "empty"), (17, "")]:
            error = client.errors[seq]
            self.assertEqual(
                (error.id, error.code), (id, grpc.StatusCode.INVALID_ARGUMENT.value[0])
            )
            self.assertEqual((error.reason, error.retriable), ("INVALID_FIELD", False))
        self.assertEqual(self.count(name), 30)

    def test_sending_again_changes_nothing_and_new_content_updates(self):
        name = "py-again"
        self.addCleanup(
            self.server.collections.DeleteCollection,
            collection_pb2.DeleteCollectionRequest(name=name),
            timeout=TIMEOUT_S,
        )
        documents = [document(number) for number in range(5)]
        start = self.start(name, create_collection=True)
        self.assertEqual(IngestClient(self.server, start).run(documents).inserted, 5)

        changed = document(1)
        changed.content.parts[0].text = "Something else."
        documents[1] = changed
        client = IngestClient(self.server, start)
        summary = client.run(documents)
        self.assertEqual((summary.inserted, summary.updated, summary.unchanged), (0, 1, 4))
        self.assertEqual(client.acks[1].usage.route, reasoning_pb2.ROUTE_NONE)
        self.assertEqual(client.acks[1].usage.route_reason, reasoning_pb2.ROUTE_REASON_UNCHANGED)
        self.assertEqual(client.acks[2].status, ingest_pb2.WRITE_STATUS_UPDATED)

    def test_documents_can_think(self):
        name = self.collection("py-thinking")
        start = self.start(name, reasoning=policy("ALWAYS", token_budget=4, include_thought=True))
        client = IngestClient(self.server, start)
        summary = client.run([document(0), document(1)])
        self.assertEqual((summary.inserted, summary.reasoned), (2, 2))
        tokens = [ack.usage.reasoning_tokens for ack in client.acks.values()]
        self.assertTrue(all(1 <= count <= 4 for count in tokens), tokens)
        self.assertEqual(summary.reasoning_tokens, sum(tokens))

    def test_a_cancelled_stream_keeps_what_it_acknowledged(self):
        name = self.collection("py-cancelled")
        client = IngestClient(self.server, self.start(name))
        for response in client.call:
            if response.HasField("window") and client.sent == 0:
                client.send(1, document(1))
            if response.HasField("ack"):
                break
        client.call.cancel()
        self.assertEqual(client.call.code(), grpc.StatusCode.CANCELLED)
        client.requests.put(None)
        self.assertEqual(self.count(name), 1)

    def test_a_stream_must_begin_with_start(self):
        item = ingest_pb2.IngestRequest(item=ingest_pb2.IngestItem(seq=1, document=document(1)))
        with self.assertRaises(grpc.RpcError) as caught:
            list(self.server.ingest.Ingest(iter([item]), timeout=TIMEOUT_S))
        self.assertEqual(caught.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)

    def test_an_upsert_writes_all_or_nothing(self):
        name = self.collection("py-upsert")
        request = ingest_pb2.UpsertRequest(
            collection=name,
            documents=[document(1), document_pb2.DocumentInput(id="x", content=text(""))],
        )
        method = self.server.ingest.Upsert
        code = grpc.StatusCode.INVALID_ARGUMENT
        found = self.refused(code, "INVALID_FIELD", method, request)
        violation = found["BadRequest"].field_violations[0]
        self.assertTrue(violation.field.startswith("documents[1]"), violation)
        self.assertEqual(self.count(name), 0)

        del request.documents[1]
        answer = method(request, timeout=TIMEOUT_S)
        self.assertEqual(
            [(one.id, one.status) for one in answer.results],
            [("doc-01", ingest_pb2.WRITE_STATUS_INSERTED)],
        )
        self.assertGreater(answer.timings.total.ToNanoseconds(), 0)

    def test_deleted_documents_are_gone(self):
        name = self.collection("py-delete", documents=3)
        request = ingest_pb2.DeleteRequest(collection=name, ids=["doc-01", "doc-77"])
        answer = self.server.ingest.Delete(request, timeout=TIMEOUT_S)
        self.assertEqual(answer.deleted, 1)
        self.assertEqual(self.count(name), 2)
        ids = [hit.document.id for hit in self.find(name).hits]
        self.assertEqual(sorted(ids), ["doc-00", "doc-02"])
