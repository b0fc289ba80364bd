"""Verdicts in words: what a page, a terminal and a README print of them."""

from __future__ import annotations

from typing import Any

from hundredfold.analysis import formatting
from hundredfold.analysis.claims.base import Row, Verdict
from hundredfold.analysis.formatting import DASH, UNKNOWN
from hundredfold.analysis.statistics import INCONCLUSIVE, NOT_MEASURED, NOT_REACHABLE, Interval


def figure(row: Row | None, name_arm: bool = True) -> str:
    """Estimate, interval and n of a row; both of them for a conjunction."""
    if row is None:
        return UNKNOWN
    arm = f"{row.arm}: " if name_arm else ""
    if row.parts:
        return arm + " and ".join(figure(part, name_arm=False) for part in row.parts)
    text = formatting.estimate(row.estimate, row.unit)
    missed = f"; {row.misses} of {row.runs} runs missed" if row.misses else ""
    return arm + text + missed


def against(row: Row) -> str:
    """Two arms that a row compares."""
    return f"{row.arm} against {row.against}"


def rival(row: Row | None) -> str:
    """The same quantity for the equally small dense network."""
    if row is None:
        return ""
    rivals = [part.rival for part in row.parts or (row,)]
    if any(one is None for one in rivals):
        return ""
    return f"{rivals[0].arm}: " + " and ".join(figure(one, name_arm=False) for one in rivals)


def simultaneous(row: Row, tests: int) -> str:
    """The interval that holds together with those of all other tests of its family."""
    leaves = row.parts or (row,)
    return " and ".join(formatting.interval(leaf.simultaneous(tests), leaf.unit) for leaf in leaves) or DASH


def sensitivity(row: Row) -> str:
    """The same comparison expressed otherwise."""
    parts = [
        f"{name} {formatting.quantity(value, unit)}"
        for part in row.parts or (row,)
        for name, (value, unit) in part.sensitivity.items()
    ]
    if row.seed_correlation is not None:
        parts.append(f"correlation over seeds {formatting.number(row.seed_correlation, 2)}")
    return "; ".join(parts)


def evidence(verdict: Verdict) -> str:
    """Class of the joules behind a verdict; what was read off the test set is measured."""
    if verdict.word == NOT_MEASURED:
        return UNKNOWN
    if not verdict.claim.uses_energy:
        return "measured (test set)"
    leaves = [part for row in verdict.rows for part in (row.parts or (row,))]
    classes = sorted({leaf.evidence for leaf in leaves if leaf.evidence})
    return ", ".join(formatting.EVIDENCE.get(one, one) for one in classes) or UNKNOWN


def would_change(verdict: Verdict) -> str:
    """What would change or harden a verdict."""
    if verdict.word == NOT_MEASURED:
        reasons = dict.fromkeys(reason for row in verdict.rows for reason in row.refused)
        return f"Runs that can be compared ({'; '.join(reasons)})." if reasons else "Runs of the arms that it compares."
    if verdict.word == INCONCLUSIVE:
        return _more_seeds(verdict)
    remedies = ["arms that execute a hundredth of the FLOPs"] if verdict.word == NOT_REACHABLE else []
    for cap in verdict.caps:
        if "proxy" in cap or "modeled" in cap:
            remedies.append("a machine with an energy counter")
        elif "needed" in cap:
            remedies.append(f"{verdict.claim.minimum_seeds} seeds or more")
        elif "control" in cap:
            remedies.append("a dense-against-dense control that holds 1")
        elif "same figure" in cap:
            remedies.append("a test set that tells the seeds apart")
        elif "not measured" in cap:
            remedies.append("energies and records of every planned arm that can be compared")
    if not remedies:
        return "Another experiment only."
    first = "To be decided otherwise, or more" if verdict.word == NOT_REACHABLE else "To be more"
    return f"{first} than indicative: {', '.join(dict.fromkeys(remedies))}."


def _more_seeds(verdict: Verdict) -> str:
    row = verdict.best
    leaves = row.parts or (row,)
    if any(leaf.misses for leaf in leaves) and row.verdict == INCONCLUSIVE and row.p_supported == 1.0:
        return "Runs that diverge or do not get there count as misses, so the claim cannot be supported."
    if any(leaf.estimate.n == 1 for leaf in leaves):
        return "More seeds: one seed has no interval."
    known = [leaf.seeds_needed(verdict.tests, verdict.claim.level) for leaf in leaves]
    needed = [count for count in known if count is not None]
    if not needed:
        return "More seeds; how many is not known."
    return f"More seeds: {formatting.seeds(max(needed))} for {row.arm}, corrected for {verdict.tests} tests."


def as_data(verdict: Verdict) -> dict[str, Any]:
    """A verdict as plain values, numbers in full precision, for verdicts.json."""
    best = verdict.best
    return {
        "claim": verdict.claim.name,
        "title": verdict.claim.title,
        "statement": verdict.statement,
        "task": verdict.task,
        "verdict": verdict.word,
        "text": verdict.text,
        "caps": list(verdict.caps),
        "p_supported": verdict.p_supported,
        "p_refuted": verdict.p_refuted,
        "evidence": evidence(verdict),
        "best": None if best is None else _row_data(best, verdict),
        "rows": [_row_data(row, verdict) for row in verdict.rows],
        "would_change": would_change(verdict),
    }


def _row_data(row: Row, verdict: Verdict) -> dict[str, Any]:
    data = {
        "arm": row.arm,
        "against": row.against,
        "verdict": row.verdict,
        "unit": row.unit,
        "estimate": row.estimate.value,
        "interval_95": row.estimate.interval and list(row.estimate.interval),
        "interval_90": row.decisive and list(row.decisive),
        "n": row.estimate.n,
        "diverged": row.misses,
        "interval_simultaneous": _plain_interval(row.simultaneous(verdict.tests)),
        "seeds_needed": row.seeds_needed(verdict.tests, verdict.claim.level),
        "refused": list(row.refused),
        "text": figure(row),
    }
    if row.parts:
        data["parts"] = [_row_data(part, verdict) for part in row.parts]
    if row.rival is not None:
        data["rival"] = _row_data(row.rival, verdict)
    return data


def _plain_interval(bounds: Interval | None) -> list[float] | None:
    return bounds and list(bounds)


def markdown(verdicts: list[Verdict], first_line: str) -> str:
    """All verdicts as one Markdown table."""
    header = "| claim | task | verdict | closest arm | equally small dense network |"
    lines = [first_line, "", header, "|---|---|---|---|---|"]
    for verdict in verdicts:
        cells = (verdict.statement, verdict.task, verdict.text, figure(verdict.best), rival(verdict.best))
        lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells) + " |")
    return "\n".join(lines) + "\n"
