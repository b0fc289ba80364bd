"""One thread and one metering lock per test process.

The networks are tiny, and threads that wait for each other cost more than they give; and what a test measures is not
looked at, so no test waits for a run elsewhere on the machine, and none is held up by a test.
"""

import gc
import logging
import multiprocessing
import os
import signal
import sys

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_addoption(parser):
    parser.addoption("--write-physicality", action="store_true", help="write what the conformance tests measure")


def pytest_collection_finish():
    """Take the libraries' million objects from the garbage collector, which a quarter of the time went to."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish():
    gc.unfreeze()  # or a library reports its objects as leaked


@pytest.fixture(scope="session", autouse=True)
def own_metering_lock(tmp_path_factory):
    """The lock of this process and of those that it starts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HUNDREDFOLD_LOCK", str(tmp_path_factory.mktemp("lock") / "metering.lock"))
        yield


@pytest.fixture(autouse=True)
def short_idle_baseline(monkeypatch):
    """Counters that are made up are at rest at once."""
    monkeypatch.setattr("hundredfold.replication.record.IDLE_S", 0.02)


@pytest.fixture
def fork_server():
    """Makes processes that have the libraries of a run loaded, by the server that sweeps use too."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["hundredfold.replication.study.preload"])
    return context


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs the command `hundredfold` in this process; returns exit code, output and errors."""
    from hydra.core.global_hydra import GlobalHydra

    from hundredfold.replication import command_line

    handlers, stop = logging.root.handlers[:], signal.getsignal(signal.SIGTERM)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")  # put back at the end, whatever the command sets

    def call(*arguments):
        GlobalHydra.instance().clear()
        monkeypatch.setattr(sys, "argv", ["hundredfold", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            command_line.main()
        return ended.value.code or 0, *capsys.readouterr()

    yield call
    GlobalHydra.instance().clear()
    logging.root.handlers[:] = handlers
    signal.signal(signal.SIGTERM, stop)


@pytest.fixture
def no_plots(monkeypatch):
    """Leaves out the plots of a report's tasks, which take long, where a test does not look at them."""
    from hundredfold.analysis import plots

    monkeypatch.setattr(plots, "draw", lambda *_: [])
