"""The random twin of any method: its schedule, its signals and their cost, with every choice drawn at random.

The method decides as ever, but what it ranks by (weights, gradients, importances, activations, losses, probed scores)
is replaced by random numbers of the same shape and sign. Source: this project; the null hypothesis of importance.
Extra cost: that of the method.

    method=random_twin method.of.name=gmp method.of.density=0.2
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from hundredfold.methods.base import Method
from hundredfold.methods.dynamic.rigl import Rigl
from hundredfold.methods.execution.parts import Operands, Part, Samples
from hundredfold.methods.execution.parts.batches import SampleChoice
from hundredfold.methods.execution.storage.selected import Choice
from hundredfold.methods.products import Product, Selection
from hundredfold.methods.topology import Topology
from hundredfold.methods.views import LayerView, NetView, UnitView


def shuffled(values: Tensor | None, generator: torch.Generator) -> Tensor | None:
    """Uniform magnitudes in (0, 1] with the signs and zeros of `values`."""
    if values is None or not values.is_floating_point():
        return values
    draw = 1 - torch.rand(values.shape, generator=generator)
    return values.sign() * draw.to(values)


def seeded_by(values: Tensor) -> torch.Generator:
    """A generator whose seed is the tensor's content, so that products that share a factor share its random twin."""
    bits = values.detach().double().sum().reshape(1).view(torch.int64)
    return torch.Generator().manual_seed(int(bits) & (2**62 - 1))


@dataclass(frozen=True)
class RandomTwin(Method):
    """Another method with random choices in place of importance."""

    source = "this project"
    extra_cost = "that of the method"
    small: ClassVar[dict[str, Any]] = {"of": Rigl(density=0.25)}

    of: Method = Rigl()  # the method and its options

    @property
    def twin_of(self) -> str:
        return self.of.name()

    def __getattr__(self, name: str) -> Any:
        """What else a method may have: a density, a schedule of it, a promise about its number of weights."""
        if name in ("density", "density_at", "num_active"):
            return getattr(self.of, name)
        raise AttributeError(name)

    update = property(lambda self: self.of.update)
    width = property(lambda self: self.of.width)
    duration = property(lambda self: self.of.duration)
    recipe = property(lambda self: self.of.recipe)

    def label(self) -> str:
        return f"random twin of {self.of.label()}"

    def parts(self) -> list[Part]:
        parts = self.of.parts()
        for part in parts:
            part.method = self
            if isinstance(part, Operands):
                part.choose = self._operands(part.choose)
            if isinstance(part, Samples):
                part.choose = self._samples(part.choose)
        return parts

    def positions(self, steps: int) -> range | list[int]:
        return self.of.positions(steps)

    def due(self, step: int, total: int) -> bool:
        return self.of.due(step, total)

    def init_topology(self, net: NetView) -> Topology:
        return self._checked(self.of.init_topology(self._view(net)))

    def update_topology(self, step: int, net: NetView) -> Topology | None:
        return self._checked(self.of.update_topology(step, self._view(net)))

    @staticmethod
    def _operands(choose: Choice) -> Choice:
        def at_random(product: Product, layer: str, left: Tensor, right: Tensor, forward: Selection) -> Selection:
            left, right = (shuffled(factor, seeded_by(factor)) for factor in (left, right))
            return choose(product, layer, left, right, forward)

        return at_random

    @staticmethod
    def _samples(choose: SampleChoice) -> SampleChoice:
        return lambda step, total, losses, generator: choose(step, total, shuffled(losses, generator), generator)

    def _checked(self, topology: Topology | None) -> Topology | None:
        if topology is not None and topology.values:
            raise ValueError(f"of={self.of.name()}: sets weights from what it reads, so that it has no random twin")
        return topology

    def _view(self, net: NetView) -> NetView:
        def random(value: Any) -> Any:
            if isinstance(value, dict):
                return {name: random(item) for name, item in value.items()}
            if isinstance(value, (list, tuple)):
                return type(value)(random(item) for item in value)
            return shuffled(value, net.generator) if torch.is_tensor(value) else value

        layers = {name: self._layer(layer, net.generator) for name, layer in net.layers.items()}
        units = {name: self._unit(unit, net.generator) for name, unit in net.units.items()}
        return net._replace(layers=layers, stored={}, units=units, probe=lambda function: random(net.probe(function)))

    def _layer(self, layer: LayerView, generator: torch.Generator) -> LayerView:
        names = ("weight", "grad", "grad_mean")
        return layer._replace(**{name: shuffled(getattr(layer, name), generator) for name in names})

    def _unit(self, unit: UnitView, generator: torch.Generator) -> UnitView:
        """Random scores; how often units fire is dealt out anew among those alive, so that as many are dead."""
        draws = {name: torch.rand(unit.size, generator=generator) for name in ("importance", "outgoing_grad")}
        alive, fires = unit.alive.nonzero().flatten(), unit.fires.clone()
        fires[alive] = unit.fires[alive[torch.randperm(len(alive), generator=generator)]]
        unknown = {"mean": None, "second": None, "sample": None, "foldable": False}
        return unit._replace(fires=fires, norm=shuffled(unit.norm, generator), **draws, **unknown)
