"""Append-only account of a run's energy that survives kills and torn lines.

Every process that works on a run writes one segment: lines of cumulative figures since its own start. The run's total
is the sum over segments of the last valid line. Raw counter values never leave their process.
"""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path
from typing import Any, BinaryIO


class Ledger:
    """The energy.jsonl of a run folder.

    Args:
        path: the file; earlier segments are read, and a new one begins with the first line written.
    """

    def __init__(self, path: Path):
        self.path = path
        self.earlier = list(self._read().values())
        self.segment = len(self.earlier)
        self._file: BinaryIO | None = None

    def write(self, figures: dict[str, Any], durable: bool = True) -> None:
        """Append one line of cumulative figures of this segment.

        Args:
            durable: wait until the disk has it; else a killed process loses nothing either, but a machine may.
        """
        if self._file is None:
            self._file = open(self.path, "ab")
            self._file.write(b"\n")  # ends a line that a kill has torn
        body = json.dumps({"segment": self.segment} | figures, separators=(",", ":"), allow_nan=False)
        self._file.write(f"{zlib.crc32(body.encode()):08x} {body}\n".encode())
        self._file.flush()
        if durable:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Let go of the file; a later line opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def num_segments(self) -> int:
        """Processes that have worked on the run, this one included."""
        return self.segment + 1

    def _read(self) -> dict[int, dict[str, Any]]:
        """segment -> its last valid line."""
        last: dict[int, dict[str, Any]] = {}
        if not self.path.exists():
            return last
        for line in self.path.read_bytes().splitlines():
            checksum, _, body = line.partition(b" ")
            try:
                if int(checksum, 16) == zlib.crc32(body):
                    figures = json.loads(body)
                    last[figures["segment"]] = figures
            except ValueError:
                continue
        return {i: last[key] for i, key in enumerate(sorted(last))}
