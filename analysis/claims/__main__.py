"""Writes down when claims were written: those that are new or say something else than before, with the time of now.

python -m hundredfold.analysis.claims

A report compares that time with the first run. Whoever doubts it finds the file's history in the repository.
"""

import json
import sys
from datetime import UTC, datetime

from hundredfold.analysis.claims import discover
from hundredfold.analysis.claims.base import WRITTEN, Claim


def main(now: str | None = None) -> int:
    """Exit code."""
    known = json.loads(WRITTEN.read_text(encoding="utf-8")) if WRITTEN.exists() else {}
    new: list[Claim] = [claim for claim in discover() if claim.identity not in known]
    time = now or datetime.now(UTC).isoformat(timespec="seconds")
    known |= {claim.identity: {"claim": claim.name, "written": time} for claim in new}
    WRITTEN.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    print(f"{len(new)} claims written down at {time}: {', '.join(claim.name for claim in new) or 'nothing new'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
