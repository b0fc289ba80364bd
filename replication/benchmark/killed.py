"""A run that is killed in its middle and goes on, beside the same run left alone: are the weights bitwise the same?

python -m hundredfold.replication.benchmark.killed [overrides of a run]
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import tempfile

from hundredfold.replication.composition import compose
from hundredfold.replication.run import run

OFTEN = ["trainer.checkpoint_every_s=0", "trainer.segments=4", "recipe.steps=100"]


def _killed(overrides: list[str], step: int) -> None:
    def progress(done: int, total: int) -> None:
        if done > step:
            os.kill(os.getpid(), signal.SIGKILL)

    run(compose(overrides), progress=progress)


def main(overrides: list[str]) -> int:
    """Exit code: 0 where the weights are the same."""
    kept = [override for override in overrides if not override.startswith("results=")]
    with contextlib.ExitStack() as stack:
        whole, parts = (
            [*kept, *OFTEN, f"results={stack.enter_context(tempfile.TemporaryDirectory())}"] for _ in range(2)
        )
        process = multiprocessing.get_context("spawn").Process(target=_killed, args=(parts, 60))
        process.start()
        process.join()
        resumed, alone = run(compose(parts)), run(compose(whole))
    same = resumed.record["weights_sha256"] == alone.record["weights_sha256"]
    print(f"{resumed.action} after a kill; the weights are {'bitwise the same' if same else 'NOT the same'}")
    return 0 if same and resumed.action == "resumed" else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
