"""Operands: single entries of a layer's three products, chosen anew at every product."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from hundredfold.methods.execution.context import Context
from hundredfold.methods.execution.kernels.gathered import Gathered
from hundredfold.methods.execution.kernels.masked import Masked
from hundredfold.methods.execution.parts.base import Decider, Part
from hundredfold.methods.execution.parts.weights import Weights
from hundredfold.methods.execution.prunable import prunable_layers
from hundredfold.methods.execution.storage.masked import unmask_layer
from hundredfold.methods.execution.storage.selected import Choice, SelectedWeight, select_layer
from hundredfold.methods.execution.units.groups import find_units


def hidden(model: nn.Module) -> set[str]:
    """Every prunable layer but the model's output."""
    *others, last = prunable_layers(model)
    is_output = next(reversed(dict(model.named_parameters()))).startswith(f"{last}.")  # nothing comes after it
    return set(others) if is_output else {*others, last}


def readers(model: nn.Module) -> set[str]:
    """Layers that read hidden neurons."""
    return {group.reads for group in find_units(model).values() if group.kind == "neuron"}


class Operands(Part):
    """Asks the method for a selection of every product.

    Args:
        choose: (product, layer, left, right, what was chosen in the forward product) -> selection.
        layers: model -> names of the layers that are asked about; the others compute everything.
        gathers: selections are whole rows or columns, which smaller products leave out; else they are simulated.
        cost_varies: how much is selected depends on the data.
        inference: a forward product may differ from the whole one, so that the deployed network selects too.
    """

    selects = "operands"

    def __init__(
        self,
        method: Decider,
        choose: Choice,
        *,
        layers: Callable[[nn.Module], set[str]] = lambda model: set(prunable_layers(model)),
        gathers: bool = False,
        cost_varies: bool = False,
        inference: bool = True,
    ):
        super().__init__(method)
        self.choose, self.asked, self.gathers, self.cost_varies = choose, layers, gathers, cost_varies
        self.inference = inference
        self.layers: dict[str, SelectedWeight] = {}
        self._own: dict[str, SelectedWeight] = {}

    def simulated(self, storage: str) -> bool:
        return not self.gathers

    def compiles(self, storage: str) -> bool:
        return False

    def attach(self, context: Context) -> None:
        super().attach(context)
        plain = prunable_layers(context.model)
        if not plain:
            raise ValueError(f"{self.method.name()} selects weights of linear layers, and this model has none")
        kernel = Gathered() if self.gathers and context.part(Weights) is None else Masked()
        layers = {name: select_layer(layer, name, None, kernel) for name, layer in plain.items()}
        asked = self.asked(context.model)
        for name, layer in layers.items():
            if name in asked:
                object.__setattr__(layer, "choose", self.choose)
        self.layers = layers
        self._own = layers if context.part(Weights) is None else {}  # else they are that part's

    # ---- accounts ---------------------------------------------------------------------------------------------------
    def begin_count(self) -> None:
        for layer in self._own.values():
            layer.skipped = 0.0

    def end_count(self) -> float | Tensor:
        excess = 0.0
        for layer in self._own.values():
            excess += layer.skipped
            layer.skipped = None
        return excess

    def density_of(self, layer: str) -> float | None:
        return self._own[layer].density() if layer in self._own else None

    def num_missing(self) -> int:
        return sum(layer.num_missing() for layer in self._own.values())

    def finalize(self) -> None:
        if not self.inference:
            for layer in self.layers.values():
                unmask_layer(layer)
            self.layers = self._own = {}
