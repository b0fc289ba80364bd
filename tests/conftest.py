"""One thread per test process: the networks are tiny, and threads that wait for each other cost more than they give."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_addoption(parser):
    parser.addoption("--write-physicality", action="store_true", help="write what the conformance tests measure")
