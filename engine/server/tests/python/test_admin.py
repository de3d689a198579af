"""What the server tells about itself: description, collections, health, reflection."""

import os
import queue
import signal
import threading

import grpc
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from twn.v1 import collection_pb2

from client import SERVICES, TIMEOUT_S, ClientTest


class InfoTest(ClientTest):
    def test_the_server_describes_its_encoder_and_limits(self):
        info = self.server.describe()
        self.assertTrue(info.version)
        self.assertGreater(info.encoder.dimension, 0)
        self.assertTrue(info.encoder.fingerprint)
        self.assertFalse(info.encoder.trained)
        self.assertIn("untrained", info.encoder.note.lower())
        self.assertIn("text", info.encoder.supported_parts)
        for field, value in info.limits.ListFields():
            if field.message_type is None:
                self.assertGreater(value, 0, field.name)
        self.assertGreater(info.limits.max_deadline.seconds, 0)
        self.assertEqual(len(info.limits.ListFields()), len(info.limits.DESCRIPTOR.fields))


class CollectionTest(ClientTest):
    def test_a_collection_is_created_described_sealed_and_deleted(self):
        name = self.collection("py-lifecycle", documents=4)
        request = collection_pb2.GetCollectionRequest(name=name)
        found = self.server.collections.GetCollection(request, timeout=TIMEOUT_S).collection
        self.assertEqual(found.config.name, name)
        self.assertEqual((found.documents, found.tail_documents), (4, 4))
        self.assertEqual(found.config.dimension, self.server.describe().encoder.dimension)
        self.assertGreater(found.create_time.seconds, 1_600_000_000)

        sealed = self.server.collections.SealCollection(
            collection_pb2.SealCollectionRequest(name=name), timeout=TIMEOUT_S
        ).collection
        self.assertEqual((sealed.documents, sealed.tail_documents, sealed.segments), (4, 0, 1))
        self.assertEqual(len(self.find(name).hits), 4)

        create = collection_pb2.CreateCollectionRequest(
            config=collection_pb2.CollectionConfig(name=name)
        )
        method = self.server.collections.CreateCollection
        self.refused(grpc.StatusCode.ALREADY_EXISTS, "COLLECTION_EXISTS", method, create)

    def test_collections_are_listed_in_pages(self):
        names = [self.collection(f"py-page-{number}") for number in range(5)]
        listed, token = [], ""
        for _ in range(10):
            request = collection_pb2.ListCollectionsRequest(page_size=2, page_token=token)
            page = self.server.collections.ListCollections(request, timeout=TIMEOUT_S)
            self.assertLessEqual(len(page.collections), 2)
            listed += [one.config.name for one in page.collections]
            token = page.next_page_token
            if not token:
                break
        self.assertEqual(listed, sorted(listed))
        self.assertEqual([name for name in listed if name.startswith("py-page-")], names)

    def test_a_missing_collection_is_not_found(self):
        request = collection_pb2.GetCollectionRequest(name="py-missing")
        method = self.server.collections.GetCollection
        found = self.refused(grpc.StatusCode.NOT_FOUND, "COLLECTION_NOT_FOUND", method, request)
        self.assertIn("py-missing", found["message"])


class HealthTest(ClientTest):
    def test_every_service_is_serving(self):
        for service in ["", *(f"twn.v1.{name}Service" for name in SERVICES)]:
            request = health_pb2.HealthCheckRequest(service=service)
            answer = self.server.health.Check(request, timeout=TIMEOUT_S)
            self.assertEqual(answer.status, health_pb2.HealthCheckResponse.SERVING, service)

    def test_an_unknown_service_is_not_found(self):
        with self.assertRaises(grpc.RpcError) as caught:
            request = health_pb2.HealthCheckRequest(service="twn.v1.Nothing")
            self.server.health.Check(request, timeout=TIMEOUT_S)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.NOT_FOUND)


class ReflectionTest(ClientTest):
    def ask(self, version, **fields):
        """Asks over either version: their messages differ in name only."""
        method = self.server.channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        request = reflection_pb2.ServerReflectionRequest(**fields)
        return next(iter(method(iter([request]), timeout=TIMEOUT_S)))

    def test_services_are_listed_and_described(self):
        for version in ("v1", "v1alpha"):
            with self.subTest(version=version):
                answer = self.ask(version, list_services="*")
                names = {one.name for one in answer.list_services_response.service}
                wanted = {f"twn.v1.{name}Service" for name in SERVICES}
                self.assertLessEqual(wanted | {"grpc.health.v1.Health"}, names)

                answer = self.ask(version, file_containing_symbol="twn.v1.SearchService")
                packed = answer.file_descriptor_response.file_descriptor_proto
                files = [descriptor_pb2.FileDescriptorProto.FromString(one) for one in packed]
                own = next(one for one in files if one.name == "twn/v1/search.proto")
                methods = [method.name for method in own.service[0].method]
                self.assertEqual(methods, ["Search", "SearchStream", "Get", "List", "Count"])


class ShutdownTest(ClientTest):
    """Runs last: the server is gone after it."""

    def test_sigterm_turns_health_down_and_a_watcher_sees_it(self):
        statuses = queue.Queue()
        watch = self.server.health.Watch(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)

        def read():
            try:
                for answer in watch:
                    statuses.put(answer.status)
            except grpc.RpcError as error:
                statuses.put(error.code())

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        response = health_pb2.HealthCheckResponse
        self.assertEqual(statuses.get(timeout=TIMEOUT_S), response.SERVING)
        os.kill(self.pid, signal.SIGTERM)
        self.assertEqual(statuses.get(timeout=TIMEOUT_S), response.NOT_SERVING)
        # The watch is still open: the server ends it rather than wait for the watcher.
        self.assertEqual(statuses.get(timeout=TIMEOUT_S), grpc.StatusCode.UNAVAILABLE)
