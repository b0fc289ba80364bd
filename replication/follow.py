"""A rank other than 0 of a run, as a process: `python -m hundredfold.replication.follow RANK`, told by standard input.

Whatever ends rank 0 ends this too: its next exchange with it fails.
"""

from __future__ import annotations

import json
import signal
import sys

import torch.distributed as dist

from hundredfold.replication.config import build
from hundredfold.replication.parallel import HERE, WAIT, group
from hundredfold.replication.run import follow


def main() -> None:
    """Train as rank RANK, to the end of the run."""
    rank, given = int(sys.argv[1]), json.load(sys.stdin)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for rank 0
    experiment = build(given["config"])
    store = dist.TCPStore(HERE, given["port"], experiment.trainer.ranks, is_master=False, timeout=WAIT)
    with group(experiment, rank, store):
        follow(experiment, rank)


if __name__ == "__main__":
    main()
