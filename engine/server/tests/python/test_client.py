"""Drives a running server through grpcio and stubs generated from protos/.

The arguments name two servers with the tiny test model: one to use in full, and one whose
queue holds a single input. The last test sends the first server a SIGTERM.
"""

import argparse
import sys
import unittest

from client import ClientTest, Server
from test_admin import CollectionTest, HealthTest, InfoTest, ReflectionTest, ShutdownTest
from test_embed import EmbedTest, FailureTest
from test_ingest import IngestTest
from test_search import SearchTest

ORDER = [
    InfoTest,
    HealthTest,
    ReflectionTest,
    CollectionTest,
    IngestTest,
    SearchTest,
    EmbedTest,
    FailureTest,
    ShutdownTest,
]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--address", required=True)
    parser.add_argument("--overloaded", required=True)
    parser.add_argument("--pid", type=int, required=True)
    options = parser.parse_args()
    ClientTest.address = options.address
    ClientTest.server = Server(options.address)
    ClientTest.overloaded = Server(options.overloaded)
    ClientTest.pid = options.pid

    loader = unittest.defaultTestLoader
    suite = unittest.TestSuite(loader.loadTestsFromTestCase(case) for case in ORDER)
    outcome = unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(suite)
    raise SystemExit(0 if outcome.wasSuccessful() and outcome.testsRun > 0 else 1)


if __name__ == "__main__":
    main()
