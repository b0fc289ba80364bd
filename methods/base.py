"""What a method is: a frozen dataclass that decides which parts of a training step are computed.

It holds no state and touches no tensor of the model. It says which parts of a session carry its decisions out
(`parts`), and answers their questions; the session applies, enforces and meters the answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from hundredfold.methods.execution.parts.base import Part
from hundredfold.methods.options import check_options
from hundredfold.methods.topology import Topology, UpdateSchedule
from hundredfold.methods.views import NetView


class Diverged(ValueError):
    """The network's numbers are no longer finite."""


@dataclass(frozen=True)
class Method:
    """A method of training; this base class trains densely. Fields of a subclass are its hyperparameters.

    A subclass lies in the folder of its family and says with `parts` what it decides about.
    """

    source: ClassVar[str] = ""  # paper, arXiv id, equation or algorithm
    extra_cost: ClassVar[str] = "none"  # what it computes beside the three products
    twin_of: ClassVar[str | None] = None  # a control that differs from this method in its choice alone
    reference: ClassVar[str | None] = None  # method whose finished run (same options, same seed) is read at the start
    reference_file: ClassVar[str] = "units.safetensors"  # of that run's folder
    outcome: ClassVar[bool] = False  # whether what exists in each layer follows from training, and not from the options
    update: ClassVar[UpdateSchedule | None] = None
    updates_at_zero: ClassVar[bool] = True  # whether the first step of a run has one; as in the authors' code
    width: ClassVar[float] = 1.0  # fraction of the hidden units that the model is built with
    duration: ClassVar[float] = 1.0  # fraction of the recipe's steps that its schedule is fitted into
    recipe: ClassVar[Mapping[str, float]] = {}  # changes of the recipe, such as {"weight_decay": 0.0}
    kinds: ClassVar[tuple[str, ...]] = ("image", "text")  # of data that it can select in
    small: ClassVar[Mapping[str, Any]] = {}  # options that suit a run of a few dozen steps

    def __post_init__(self):
        check_options(self)

    # ---- what it is -------------------------------------------------------------------------------------------------
    @classmethod
    def name(cls) -> str:
        return cls.__module__.rpartition(".")[2]

    @property
    def family(self) -> str:
        """The folder of its file."""
        return type(self).__module__.split(".")[-2]

    def label(self) -> str:
        """The arm's name in tables: the method, its density, and the variant that was chosen."""
        density = getattr(self, "density", None)
        chosen = [(f.name, getattr(self, f.name)) for f in fields(self) if getattr(self, f.name) != f.default]
        variants = [value if isinstance(value, str) else n for n, value in chosen if isinstance(value, (str, bool))]
        name = self.name() if density is None else f"{self.name()} {density:g}"
        return f"{name} ({', '.join(variants)})" if variants else name

    # ---- before the run ---------------------------------------------------------------------------------------------
    def parts(self) -> list[Part]:
        """The parts of a session that carry its decisions out, made anew at every call; none trains densely."""
        return []

    def reference_options(self, options: dict[str, Any]) -> dict[str, Any]:
        """The method of the run that is read at the start, given this one's options, both with their names."""
        return options | {"name": self.reference}

    def members(self) -> tuple[Method, ...]:
        """The methods that decide; more than one in a stack."""
        return (self,)

    def prepare(self) -> None:
        """Get ready without reading the model or the data, such as by compiling; a loop calls it outside the meter."""

    def positions(self, steps: int) -> range | list[int]:
        """Position in the schedule of every training step; as many as there are training steps.

        Args:
            steps: of the schedule.
        """
        return range(steps)

    def init_topology(self, net: NetView) -> Topology:
        """The topology before the first step."""
        return Topology()

    # ---- during the run ---------------------------------------------------------------------------------------------
    def due(self, step: int, total: int) -> bool:
        """Whether `update_topology` is asked at this step."""
        begins = step > 0 or self.updates_at_zero
        return begins and self.update is not None and self.update.due(step, total)

    def num_updates(self, total: int) -> int | None:
        """Decisions that the method's schedule has room for in a run; None for a method without one."""
        return None if self.update is None else sum(self.due(step, total) for step in range(total))

    def update_topology(self, step: int, net: NetView) -> Topology | None:
        """The topology after this step; None leaves it as it is."""
        return None


FAMILIES = ("dense", "dense_control", "static", "dynamic", "neurons", "selective", "control")
