"""What a command answers to a mistake, to Ctrl-C and to a reader who has gone; loads nothing that takes long."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

TRACEBACKS = os.environ.get("HYDRA_FULL_ERROR") == "1"


@contextlib.contextmanager
def answered() -> Iterator[None]:
    """Exit with 2 and one sentence for a mistake, with 130 if interrupted; HYDRA_FULL_ERROR=1 shows the traceback."""
    try:
        yield
    except BrokenPipeError:  # the reader of a pipe has gone, as in `--help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except KeyboardInterrupt:
        print("\nInterrupted. The same command goes on where it stopped.", file=sys.stderr)
        sys.exit(130)
    except ModuleNotFoundError as error:
        if TRACEBACKS or (error.name or "hundredfold").startswith("hundredfold"):
            raise
        print(f"hundredfold: {error.name} is not installed; pip install 'hundredfold[suite]'", file=sys.stderr)
        sys.exit(2)
    except Exception as error:
        from hundredfold.replication.composition import known
        from hundredfold.replication.mistakes import MISTAKES, sentence

        if TRACEBACKS or not isinstance(error, MISTAKES):
            raise
        print(f"hundredfold: {sentence(error, known())}", file=sys.stderr)
        sys.exit(2)
