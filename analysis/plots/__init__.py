"""The plots of a task, each as PNG and SVG; `draw` makes them all."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from hundredfold.analysis.plots import energy, quality, style
from hundredfold.analysis.plots.scene import Scene
from hundredfold.analysis.tables import file_stem
from hundredfold.analysis.task import Task

MAKERS = {
    "quality-against-energy": quality.against_energy,
    "energy-ratios": energy.ratios,
    "quality-differences": quality.differences,
    "curves": energy.curves,
    "saving-against-density": energy.saving_against_density,
    "where-the-joules-go": energy.phases,
}


class Plot(NamedTuple):
    """A drawn plot: its name, where it lies (without suffix) and the sentence under it."""

    name: str
    stem: Path
    caption: str


def draw(task: Task, marks: dict[str, tuple[str, str]], folder: Path) -> list[Plot]:
    """Draw every plot that the records of a task allow.

    Args:
        marks: method -> (colour, marker).
        folder: where PNG and SVG files go.
    """
    scene, drawn = Scene(task, marks), []
    for name, make in MAKERS.items():
        result = make(scene)
        if result is not None:
            figure, caption = result
            stem = folder / f"{file_stem(task.name)}-{name}"
            style.save(figure, stem)
            drawn.append(Plot(name, stem, caption))
    return drawn
