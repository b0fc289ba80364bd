"""The dense-against-dense control: whether the same run twice takes the same energy and ends alike."""

from __future__ import annotations

from hundredfold.analysis import formatting
from hundredfold.analysis.formatting import UNKNOWN
from hundredfold.analysis.schema import DENSE
from hundredfold.analysis.task import Task


def energy(task: Task) -> str:
    """Joules of dense over those of dense once more, and which effects that leaves visible."""
    figure, refused = task.control.ratio, task.control.refused
    if figure.interval is None:
        return f"{UNKNOWN}{': ' + '; '.join(refused) if refused else ''}; without it a verdict on energy is indicative"
    least = max(figure.interval.high, 1 / figure.interval.low)
    word = "holds 1" if task.control.holds else "does not hold 1, so that verdicts on energy are indicative"
    smallest = f"effects below {formatting.quantity(least, 'ratio')} prove nothing"
    return f"{formatting.estimate(figure, 'ratio')}: {word}; {smallest}"


def repeats(task: Task) -> str:
    """Whether the repeated dense runs ended with the same test quality."""
    dense = task.runs[(task.runs.method == DENSE) & (task.runs.status == "finished")]
    pairs = dense.pivot_table(index="seed", columns="replicate", values=f"test_{task.metric}").dropna()
    if 1 not in pairs.columns or pairs.empty:
        return UNKNOWN
    return f"{int((pairs[0] == pairs[1]).sum())} of {len(pairs)} repeated dense runs gave exactly the same test figure"
