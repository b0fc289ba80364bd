"""The documentation's table of methods, generated from their classes.

    python -m hundredfold.replication.catalogue [docs/methods.md]
"""

from __future__ import annotations

import json
import sys
from importlib.resources import files

import pandas as pd

from hundredfold.analysis import markers
from hundredfold.methods.base import FAMILIES
from hundredfold.replication.config import registry, stacks
from hundredfold.replication.registry import describe

PHYSICALITY = files("hundredfold.methods") / "physicality.json"  # written by the conformance tests


def table() -> str:
    """One row per method in Markdown: family, what it selects, what is really skipped, extra cost, source."""
    rows, measured = [], json.loads(PHYSICALITY.read_text())
    for name, cls in registry("method").items():
        method = cls()
        rows.append(
            {
                "method": f"`{name}`",
                "what it does": describe(cls)[0].rstrip("."),
                "family": method.family.replace("_", " "),
                "selects": ", ".join(sorted({part.selects for part in method.parts()} - {""})) or "nothing",
                "executed": measured.get(name, "not measured"),
                "extra cost": method.extra_cost,
                "source": method.source,
            }
        )
    rows.sort(key=lambda row: FAMILIES.index(row["family"].replace(" ", "_")))
    cells = pd.DataFrame(rows).map(lambda text: text.replace("|", "\\|"))
    text = cells.to_markdown(index=False, disable_numparse=True)
    return f"{text}\n\nStacks, as configurations in `conf/method/`: {', '.join(f'`{name}`' for name in stacks())}."


def main(arguments: list[str]) -> int:
    """Exit code."""
    return markers.fill(["methods", *arguments], "methods", ("methods", "docs/methods.md"), lambda _: table())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
