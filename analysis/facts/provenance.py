"""Where the records come from: what their joules are, the machine, the code, and what the study itself has cost."""

from __future__ import annotations

import pandas as pd

from hundredfold.analysis import formatting
from hundredfold.analysis.formatting import EVIDENCE, UNKNOWN

Facts = list[tuple[str, str]]  # name, text


def first_line(runs: pd.DataFrame) -> str:
    """What the joules on the page are, before anything else is said."""
    classes = sorted(set(runs.evidence.dropna()))
    sources = ", ".join(sorted(set(runs.source.dropna())))
    if classes == ["measured"]:
        return f"Energy on this page was measured ({sources})."
    if classes == ["estimated"]:
        return "Energy on this page is a CPU-time proxy; energy was not measured."
    if classes == ["modeled"]:
        return f"Energy on this page is modeled ({sources}); energy was not measured."
    if classes in ([], ["none"]):
        return "Energy was not measured, and nothing stands in for it."
    return f"Energy on this page is of several kinds ({', '.join(classes)}), which are never compared with each other."


def machine(runs: pd.DataFrame) -> Facts:
    """What the records say about where they come from."""
    versions = sorted({f"{name} {v}" for held in runs.versions.dropna() for name, v in held.items() if v})
    unmetered = runs.unmetered_fraction.dropna()
    commits = _values(runs.commit.dropna().str[:12])
    changed = " with uncommitted changes" if runs.dirty.fillna(False).astype(bool).any() else ""
    return [
        ("Processor", _values(runs.cpu)),
        ("Device", _values(runs.device)),
        ("Cores, threads, precision", f"{_values(runs.cores)}, {_values(runs.threads)}, {_values(runs.precision)}"),
        ("Energy source", f"{_values(runs.source)} ({_values(runs.evidence)}), domains {_domains(runs)}"),
        ("Why this source", " ".join(sorted(set(runs.energy_reason.dropna()))) or UNKNOWN),
        ("Time outside the meter", f"at most {formatting.percent(unmetered.max(), 1)}" if len(unmetered) else UNKNOWN),
        ("Load of the machine", _range(runs.load_average)),
        ("Cores that everything else kept busy", _range(runs.others_cores)),
        ("Other processes on the GPU", _range(runs.others_on_gpu)),
        ("Platform", f"{_values(runs.platform)}, Python {_values(runs.python)}"),
        ("Versions", ", ".join(versions) or UNKNOWN),
        ("Code", f"commit {commits}{changed}" if commits != UNKNOWN else UNKNOWN),
        ("Time of the runs", f"{runs.started.min()} to {runs.started.max()}"),
    ]


def _range(column: pd.Series) -> str:
    known = column.dropna()
    return f"{known.min():.2f} to {known.max():.2f}" if len(known) else UNKNOWN


def _values(column: pd.Series) -> str:
    return ", ".join(sorted({str(value) for value in column.dropna()})) or UNKNOWN


def _domains(runs: pd.DataFrame) -> str:
    return ", ".join(sorted({"+".join(d) for d in runs.domains if d})) or UNKNOWN


def totals(runs: pd.DataFrame, tuning: str | None) -> Facts:
    """What the study itself has cost, replayed work included, and what its tuning has, where that is known."""
    lines = []
    for evidence, group in runs.dropna(subset=["training_j"]).groupby("evidence"):
        everything = sum(sum(phases.values()) for phases in group.phases_j)
        training = group.training_j.sum() + sum(phases.get("replayed", 0.0) for phases in group.phases_j)
        lines.append((f"Training, {EVIDENCE[evidence]}", formatting.quantity(training, "j")))
        lines.append((f"All phases, {EVIDENCE[evidence]}", formatting.quantity(everything, "j")))
    seconds = sum(sum(p.values()) for p in runs.phases_s.dropna())
    return [*lines, ("Wall time", f"{seconds / 60:.1f} min"), ("Tuning", tuning or f"{UNKNOWN} in these records")]
