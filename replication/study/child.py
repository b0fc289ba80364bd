"""The child side of the queue: one run in a process of its own, forked from the server, or begun on another machine."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from hundredfold.replication import environment
from hundredfold.replication.config import GROUPS, Experiment, build, registry
from hundredfold.replication.environment import COMPONENTS
from hundredfold.replication.run import fail, run
from hundredfold.replication.wandb_mirror import mirror

for group in GROUPS:
    registry(group)  # imports every method, model and data set
for component in COMPONENTS:
    environment.component(component)  # known before any run is forked
warnings.filterwarnings("ignore", module="lightning")


def perform(experiment: Experiment, *, suite: str | None, progress) -> tuple[str, dict, Path]:
    """Bring a run to its end and export it where the logger says so; (action, record, folder)."""
    result = run(experiment, suite=suite, progress=progress)
    logger = experiment.config["logger"]
    if logger.get("wandb") and result.action in ("started", "resumed"):
        mirror(result.record, result.folder, project=logger["project"], mode=logger["wandb"])
    return result.action, result.record, result.folder


def work(connection: Connection, config: dict[str, Any], suite: str | None) -> None:
    """Do one run and tell the queue: ("progress", done, total) and at last ("ended", action, status, reason)."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # or Lightning goes on to the end of its segment
    with open(os.devnull, "w") as null, contextlib.suppress(KeyboardInterrupt):
        sys.stdout = null
        connection.send(("ended", *_done(partial(_report, connection), config, suite)))
        connection.close()


def main() -> None:
    """Do one run that the standard input describes, and answer how it ended with a line of JSON."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    given, out = json.load(sys.stdin), sys.stdout
    with open(os.devnull, "w") as null:
        sys.stdout = null
        ended = _done(lambda done, total: None, given["config"], given["suite"])
    print(json.dumps(ended), file=out)


def _done(tell: Callable[[int, int], None], config: dict[str, Any], suite: str | None) -> tuple[str, str, str | None]:
    """The run's action, status and reason; only what is no mistake of the user's is recorded as a failure."""
    experiment = build(config)
    try:
        action, record, _ = perform(experiment, suite=suite, progress=tell)
        return action, record["status"], record["reason"]
    except ValueError as error:
        return "started", "failed", str(error).splitlines()[0]
    except Exception as error:
        traceback.print_exc()
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        fail(experiment, reason, suite=suite)
        return "started", "failed", reason


def _report(connection: Connection, done: int, total: int) -> None:
    try:
        connection.send(("progress", done, total))
    except BrokenPipeError:  # the queue was killed; the run goes on from its checkpoint when it is started again
        raise SystemExit from None


if __name__ == "__main__":
    main()
