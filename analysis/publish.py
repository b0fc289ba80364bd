"""Puts a study into results/, so that a visitor sees it without running it: records, tables, verdicts, page, plot.

python -m hundredfold.analysis.publish quick [reports [results]]
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from hundredfold.analysis import records
from hundredfold.analysis.formatting import EVIDENCE, UNKNOWN

FILES = ("records.parquet", "verdicts.json", "verdicts.md", "answer.md", "report.html")
PLOT = "quality-against-energy.png"
INDEX = "README.md"


def publish(report: Path, target: Path) -> list[Path]:
    """Copy what a report's folder holds into a study's own; the plot is that of the first text of the answer, or task.

    Raises:
        ValueError: the folder holds no finished report.
    """
    missing = [name for name in FILES if not (report / name).is_file()]
    if missing:
        raise ValueError(f"{report}: no {missing[0]}; make the report first")
    target.mkdir(parents=True, exist_ok=True)
    written = [Path(shutil.copyfile(report / name, target / name)) for name in FILES]
    shutil.rmtree(target / "tables", ignore_errors=True)
    shutil.copytree(report / "tables", target / "tables")
    answer = (report / "answer.md").read_text(encoding="utf-8")
    texts = sorted((report / "plots").glob("frontier-*.png"), key=lambda plot: _place(plot, answer))
    first = next(iter([*texts, *sorted((report / "plots").glob(f"*-{PLOT}"))]), None)
    return written if first is None else [*written, Path(shutil.copyfile(first, target / PLOT))]


def _place(plot: Path, answer: str) -> tuple[bool, int]:
    """Where an answer speaks of the text of a plot; behind all others where it does not."""
    place = answer.find(f"On {plot.stem.removeprefix('frontier-')},")
    return place < 0, place


def index(results: Path) -> Path:
    """Write what came out of every published study, in its page's own words, beside the studies."""
    lines = ["# Published studies", "", "Generated from the studies' records by `make publish`.", ""]
    for folder in sorted(path.parent for path in results.glob("*/answer.md")):
        runs = records.read(folder / "records.parquet")
        evidence = ", ".join(sorted({EVIDENCE[one] for one in runs.evidence.dropna()}))
        day = max(runs.started.dropna(), default=UNKNOWN)[:10]
        lines += [
            f"## [{folder.name}]({folder.name}/report.html)",
            "",
            (folder / "answer.md").read_text(encoding="utf-8").strip(),
            "",
            f"{len(runs)} runs, the last of {day}; energy: {evidence}.",
            "",
        ]
    path = results / INDEX
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def main(arguments: list[str]) -> int:
    """Exit code 2 if there is no such report."""
    if not 1 <= len(arguments) <= 3:
        print("publish: name a study, such as quick", file=sys.stderr)
        return 2
    name, reports, results = (*arguments, *("", "reports", "results")[len(arguments) :])
    try:
        written = publish(Path(reports) / name, Path(results) / name)
    except (OSError, ValueError) as error:
        print(f"publish: {error}", file=sys.stderr)
        return 2
    print(f"{len(written)} files and the tables: {written[0].parent}; all studies: {index(Path(results))}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
