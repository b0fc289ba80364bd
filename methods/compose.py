"""Several methods at once, each deciding about its own part: a stack is a configuration, not a class.

A topology method (weights or units), an operand method and a sample method; any part may be left out. What the parts
select is intersected by the session. Source: this project. Extra cost: that of the parts.

    method=compose method.topology.name=dsc method.samples.name=infobatch
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from methods.base import Method, Site, delegated

SLOTS = {
    "topology": frozenset({"weights", "units", "layers"}),
    "operands": frozenset({"operands"}),
    "samples": frozenset({"samples", "tokens", "inputs"}),
}


@delegated("topology", *"replaces_step rescale keeps_weights grad_decay rewind_step duration backend due".split())
@delegated("topology", "positions", "init_topology", "update_topology", "observes")
@delegated("operands", "select_operands", "operand_layers")
@delegated("samples", "select_samples", "reads_losses", "select_tokens", "transform")
@dataclass(frozen=True)
class Compose(Method):
    """A topology, an operand and a sample method joined."""

    family = "selective"
    source = "this project"
    extra_cost = "that of its parts"

    topology: Method | None = None  # of weights, units or layers
    operands: Method | None = None  # of single products
    samples: Method | None = None  # of examples, tokens or inputs
    title: str = ""  # name of the arm in tables; empty joins the parts' names

    def __post_init__(self):
        for slot, allowed in SLOTS.items():
            part = getattr(self, slot)
            if part is not None and (not part.selects or part.selects - allowed):
                raise ValueError(
                    f"{slot}={part.name()}: selects {', '.join(sorted(part.selects)) or 'nothing'}; "
                    f"choose a method of {', '.join(sorted(allowed))}"
                )

    @property
    def parts(self) -> list[Method]:
        return [part for part in (self.topology, self.operands, self.samples) if part is not None]

    def label(self) -> str:
        return self.title or " + ".join(part.label() for part in self.parts) or "compose"

    # ---- what several parts decide ----------------------------------------------------------------------------------
    selects = property(lambda self: frozenset().union(*(part.selects for part in self.parts)))
    needs = property(lambda self: frozenset().union(*(part.needs for part in self.parts)))
    cost_varies = property(lambda self: any(part.cost_varies for part in self.parts))
    recipe = property(lambda self: {k: v for part in self.parts for k, v in part.recipe.items()})

    @property
    def operand_backend(self) -> str:
        masked_weights = self.topology is not None and "weights" in self.topology.selects
        return "masked" if masked_weights or self.operands is None else self.operands.backend

    @property
    def physicality(self) -> str:
        """The weakest of the parts', and masked where masked weights keep an operand method from its kernels."""
        kinds = {part.physicality for part in self.parts}
        if self.operands is not None and self.operand_backend == "masked":
            kinds.add("masked")
        return next((kind for kind in ("masked", "partial") if kind in kinds), "physical")

    def adapt(self, model: nn.Module, site: Site) -> None:
        for part in self.parts:
            part.adapt(model, site)

    def penalty(self, net: Mapping[str, Tensor], units: Mapping[str, Any]) -> Tensor | None:
        terms = [term for part in self.parts if (term := part.penalty(net, units)) is not None]
        return sum(terms) if terms else None
