"""What the tests share: a channel with its stubs, requests, and rich error details."""

import math
import unittest

import grpc
from google.protobuf import struct_pb2
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2_grpc
from grpc_status import rpc_status
from twn.v1 import (
    collection_pb2,
    collection_pb2_grpc,
    content_pb2,
    document_pb2,
    embed_pb2_grpc,
    info_pb2,
    info_pb2_grpc,
    ingest_pb2,
    ingest_pb2_grpc,
    reasoning_pb2,
    search_pb2,
    search_pb2_grpc,
)

TIMEOUT_S = 60
SERVICES = ["Search", "Ingest", "Embed", "Collection", "Info"]
LANGUAGES = ["en", "de", "fr"]


class Server:
    """A channel and the stubs on it."""

    def __init__(self, address, **options):
        self.channel = grpc.insecure_channel(address, **options)
        self.info = info_pb2_grpc.InfoServiceStub(self.channel)
        self.collections = collection_pb2_grpc.CollectionServiceStub(self.channel)
        self.ingest = ingest_pb2_grpc.IngestServiceStub(self.channel)
        self.search = search_pb2_grpc.SearchServiceStub(self.channel)
        self.embed = embed_pb2_grpc.EmbedServiceStub(self.channel)
        self.health = health_pb2_grpc.HealthStub(self.channel)

    def describe(self):
        return self.info.GetServerInfo(info_pb2.GetServerInfoRequest(), timeout=TIMEOUT_S)


def text(value):
    return content_pb2.Content(parts=[content_pb2.Part(text=value)])


def policy(mode, **fields):
    return reasoning_pb2.ReasoningPolicy(mode=f"REASONING_MODE_{mode}", **fields)


def payload(**fields):
    struct = struct_pb2.Struct()
    struct.update(fields)
    return struct


def document(number):
    """Document `doc-NN` with a language, a year and tags to filter by."""
    fields = {
        "lang": LANGUAGES[number % 3],
        "year": 2000 + number,
        "draft": number % 2 == 0,
        "tags": ["even" if number % 2 == 0 else "odd", f"t{number % 5}"],
        "place": {"city": "Ulm" if number % 4 == 0 else "Bonn"},
    }
    if number % 6 == 0:
        fields["rare"] = "here"
    return document_pb2.DocumentInput(
        id=f"doc-{number:02}", content=text(f"Text number {number}."), payload=payload(**fields)
    )


def details_of(error):
    """The rich details of a failed call, by type name."""
    status = rpc_status.from_call(error)
    assert status is not None, f"no details in {error}"
    types = [
        error_details_pb2.BadRequest,
        error_details_pb2.RetryInfo,
        error_details_pb2.ErrorInfo,
        error_details_pb2.RequestInfo,
    ]
    found = {}
    for packed in status.details:
        for kind in types:
            if packed.Is(kind.DESCRIPTOR):
                found[kind.DESCRIPTOR.name] = kind.FromString(packed.value)
    return found


class ClientTest(unittest.TestCase):
    server = None
    overloaded = None
    pid = None

    def refused(self, code, reason, method, request, **options):
        """Calls, expects the failure and returns its details with the message beside them."""
        with self.assertRaises(grpc.RpcError) as caught:
            method(request, timeout=TIMEOUT_S, **options)
        error = caught.exception
        self.assertEqual(error.code(), code, error.details())
        found = details_of(error)
        self.assertEqual(found["ErrorInfo"].reason, reason)
        self.assertEqual(found["ErrorInfo"].domain, "twn")
        self.assertTrue(found["RequestInfo"].request_id)
        found["message"] = error.details()
        return found

    def collection(self, name, documents=0, **config):
        """Creates a collection that goes away with the test, and fills it."""
        self.server.collections.CreateCollection(
            collection_pb2.CreateCollectionRequest(
                config=collection_pb2.CollectionConfig(name=name, **config)
            ),
            timeout=TIMEOUT_S,
        )
        self.addCleanup(
            self.server.collections.DeleteCollection,
            collection_pb2.DeleteCollectionRequest(name=name),
            timeout=TIMEOUT_S,
        )
        if documents:
            self.server.ingest.Upsert(
                ingest_pb2.UpsertRequest(
                    collection=name,
                    documents=[document(number) for number in range(documents)],
                    reasoning=policy("NEVER"),
                ),
                timeout=TIMEOUT_S,
            )
        return name

    def find(self, collection, query="Which text?", server=None, **fields):
        fields.setdefault("reasoning", policy("NEVER"))
        request = search_pb2.SearchRequest(collection=collection, content=text(query), **fields)
        return (server or self.server).search.Search(request, timeout=TIMEOUT_S)

    def count(self, collection, **fields):
        request = search_pb2.CountRequest(collection=collection, **fields)
        return self.server.search.Count(request, timeout=TIMEOUT_S).count

    def assert_unit(self, values):
        self.assertAlmostEqual(math.sqrt(sum(value * value for value in values)), 1.0, places=3)
