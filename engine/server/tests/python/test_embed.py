"""Content turned into vectors, and what is refused."""

import time

import grpc
from twn.v1 import content_pb2, embed_pb2, reasoning_pb2, search_pb2

from client import TIMEOUT_S, ClientTest, details_of, policy, text
from filters import all_of

PIXEL_PNG = b"\x89PNG\r\n\x1a\n" + bytes(32)


class EmbedTest(ClientTest):
    def test_inputs_are_embedded_in_order(self):
        dimension = self.server.describe().encoder.dimension
        texts = ["one", "two", "one"]
        request = embed_pb2.EmbedRequest(
            inputs=[text(value) for value in texts], reasoning=policy("NEVER")
        )
        embeddings = self.server.embed.Embed(request, timeout=TIMEOUT_S).embeddings
        self.assertEqual([len(one.values) for one in embeddings], [dimension] * 3)
        for one in embeddings:
            self.assert_unit(one.values)
        first, other, same = (one.values for one in embeddings)
        for left, right in zip(first, same):
            self.assertAlmostEqual(left, right, places=4)
        self.assertTrue(any(abs(left - right) > 1e-3 for left, right in zip(first, other)))

    def test_what_comes_again_ran_nothing_now(self):
        request = embed_pb2.EmbedRequest(
            inputs=[text("remember me")], reasoning=policy("ALWAYS", token_budget=4)
        )
        first = self.server.embed.Embed(request, timeout=TIMEOUT_S).embeddings[0]
        again = self.server.embed.Embed(request, timeout=TIMEOUT_S).embeddings[0]
        self.assertEqual((first.usage.cached, again.usage.cached), (False, True))
        self.assertEqual(first.values, again.values)
        self.assertEqual((again.usage.prompt_tokens, again.usage.reasoning_tokens), (0, 0))
        original = again.usage.original
        self.assertEqual(original.prompt_tokens, first.usage.prompt_tokens)
        self.assertEqual(original.reasoning_tokens, first.usage.reasoning_tokens)
        self.assertEqual(original.query_tokens, first.usage.query_tokens)

    def test_an_explanation_has_both_embeddings(self):
        request = embed_pb2.EmbedRequest(
            inputs=[text("show me")], reasoning=policy("NEVER", token_budget=4), explain=True
        )
        embedding = self.server.embed.Embed(request, timeout=TIMEOUT_S).embeddings[0]
        self.assertEqual(embedding.usage.reasoning_tokens, 0)
        self.assertEqual(embedding.explanation.direct, embedding.values)
        self.assert_unit(embedding.explanation.reasoned)
        self.assertTrue(1 <= embedding.explanation.cost.reasoning_tokens <= 4)

    def test_a_stream_goes_on_after_a_bad_input(self):
        inputs = {1: "fine", 2: " ", 3: "fine too"}
        requests = (
            embed_pb2.EmbedStreamRequest(tag=tag, input=text(value), reasoning=policy("NEVER"))
            for tag, value in inputs.items()
        )
        answers = {
            answer.tag: answer
            for answer in self.server.embed.EmbedStream(requests, timeout=TIMEOUT_S)
        }
        self.assertEqual(sorted(answers), [1, 2, 3])
        self.assertEqual(answers[2].error.code, grpc.StatusCode.INVALID_ARGUMENT.value[0])
        self.assert_unit(answers[3].embedding.values)

    def test_an_image_is_refused_by_name(self):
        image = content_pb2.Part(image=content_pb2.Image(data=PIXEL_PNG))
        content = content_pb2.Content(parts=[content_pb2.Part(text="a"), image])
        request = embed_pb2.EmbedRequest(inputs=[content])
        code = grpc.StatusCode.UNIMPLEMENTED
        found = self.refused(code, "UNSUPPORTED", self.server.embed.Embed, request)
        self.assertIn("part 1 is an image (PNG)", found["message"])


class FailureTest(ClientTest):
    def test_wrong_fields_are_named(self):
        name = self.collection("py-wrong", documents=1)
        limits = self.server.describe().limits
        search, embed = self.server.search.Search, self.server.embed.Embed
        asking = {"collection": name, "content": text("q")}
        cases = [
            (
                search,
                search_pb2.SearchRequest(limit=limits.max_search_limit + 1, **asking),
                "limit",
            ),
            (
                search,
                search_pb2.SearchRequest(ef_search=limits.max_ef_search + 1, **asking),
                "ef_search",
            ),
            (
                search,
                search_pb2.SearchRequest(
                    reasoning=reasoning_pb2.ReasoningPolicy(threshold=1.5), **asking
                ),
                "reasoning.threshold",
            ),
            (
                search,
                search_pb2.SearchRequest(
                    reasoning=reasoning_pb2.ReasoningPolicy(token_budget=0), **asking
                ),
                "reasoning.token_budget",
            ),
            (
                search,
                search_pb2.SearchRequest(
                    reasoning=reasoning_pb2.ReasoningPolicy(mode=77), **asking
                ),
                "reasoning.mode",
            ),
            (search, search_pb2.SearchRequest(filter=all_of(), **asking), "filter"),
            (embed, embed_pb2.EmbedRequest(inputs=[text("a"), text("")]), "inputs[1]"),
        ]
        for method, request, field in cases:
            with self.subTest(field=field):
                code = grpc.StatusCode.INVALID_ARGUMENT
                found = self.refused(code, "INVALID_FIELD", method, request)
                violation = found["BadRequest"].field_violations[0]
                self.assertTrue(violation.field.startswith(field), violation)
                self.assertTrue(violation.description)

    def long_thoughts(self):
        budget = self.server.describe().limits.max_token_budget
        return embed_pb2.EmbedRequest(
            inputs=[text(f"long thought {number}") for number in range(64)],
            reasoning=policy("ALWAYS", token_budget=budget, temperature=2.0, seed=3, fixed=True),
        )

    def test_a_short_deadline_ends_a_long_thought(self):
        request = self.long_thoughts()
        started = time.monotonic()
        with self.assertRaises(grpc.RpcError) as caught:
            self.server.embed.Embed(request, timeout=0.02)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        self.assertLess(time.monotonic() - started, 10)

        # The header without a timer of the client's own: this answer is the server's.
        with self.assertRaises(grpc.RpcError) as caught:
            self.server.embed.Embed(request, metadata=[("grpc-timeout", "20m")])
        self.assertEqual(caught.exception.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        found = details_of(caught.exception)
        self.assertEqual(found["ErrorInfo"].reason, "DEADLINE_EXCEEDED")

    def test_a_cancelled_call_ends_and_leaves_the_server_well(self):
        call = self.server.embed.Embed.future(self.long_thoughts(), timeout=TIMEOUT_S)
        call.cancel()
        self.assertTrue(call.cancelled())
        self.assertEqual(call.code(), grpc.StatusCode.CANCELLED)
        plain = embed_pb2.EmbedRequest(inputs=[text("wanted")], reasoning=policy("NEVER"))
        self.assertEqual(len(self.server.embed.Embed(plain, timeout=TIMEOUT_S).embeddings), 1)

    def test_an_overloaded_server_says_when_to_come_again(self):
        def request(number):
            # Each with a seed of its own, so that none is answered from the cache.
            reasoning = policy("ALWAYS", token_budget=64, temperature=2.0, seed=number)
            return embed_pb2.EmbedRequest(inputs=[text("busy")], reasoning=reasoning)

        refusals, served = [], 0
        for attempt in range(20):
            calls = [
                self.overloaded.embed.Embed.future(
                    request(32 * attempt + number), timeout=TIMEOUT_S
                )
                for number in range(32)
            ]
            for call in calls:
                if call.code() == grpc.StatusCode.OK:
                    served += 1
                else:
                    refusals.append(call)
            if refusals and served:
                break
        self.assertTrue(served, "nothing was served")
        self.assertTrue(refusals, "nothing was refused")
        for call in refusals:
            self.assertEqual(call.code(), grpc.StatusCode.RESOURCE_EXHAUSTED, call.details())
            found = details_of(call)
            self.assertEqual(found["ErrorInfo"].reason, "OVERLOADED")
            self.assertGreater(found["RetryInfo"].retry_delay.ToMilliseconds(), 0)
