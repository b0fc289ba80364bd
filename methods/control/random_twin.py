"""The random twin of any method: its schedule, its signals and their cost, with every choice made at random.

The method decides as ever, but what it ranks by is dealt out anew among those it is about: weights and gradients within
a layer, among the active ones and among the others; statistics within a group of units; losses within a batch; scores
of a probe within a tensor; and of an operand's selection the entries within each row. So every layer has as many
entries of every size as the method sees, and keeps as many. The order in which they are dealt is drawn once for a run,
so that what a method keeps for long its twin keeps for long. Where how much exists in each layer is an outcome of
training, the twin reads the method's own run of its seed (`Session.trace`) and has as much, filled up or thinned out at
random. Source: this project; the null hypothesis of importance. Extra cost: that of the method, and dealing.

    method=random_twin method.of.name=gmp method.of.density=0.2
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hundredfold.methods.base import Method
from hundredfold.methods.dynamic.rigl import Rigl
from hundredfold.methods.execution.host import counts, numbers, places, sizes
from hundredfold.methods.execution.parts import Modules, Operands, Part, Samples
from hundredfold.methods.execution.parts.batches import SampleChoice
from hundredfold.methods.execution.storage.selected import Choice
from hundredfold.methods.products import Product, Selection
from hundredfold.methods.topology import Topology
from hundredfold.methods.views import LayerView, NetView, UnitView


class Deal:
    """Deals values out anew within sets of entries, in an order that is the same for sets of the same size.

    Args:
        seed: of the order.
        device: on which the entries lie.
    """

    def __init__(self, seed: Tensor, device: torch.device | str = "cpu"):
        self.generator = torch.Generator(device).manual_seed(int(seed))

    def orders(self, sets: Mapping[str, Sequence[Tensor]]) -> dict[str, Tensor]:
        """Where every entry of each layer gets its value from, long [n]; the host waits once for all layers.

        Args:
            sets: layer -> bool masks of one size each; entries of none stay.
        """
        known = iter(counts([mask for masks in sets.values() for mask in masks]))
        orders = {}
        for name, masks in sets.items():
            order = torch.arange(masks[0].numel(), device=self.generator.device)
            for mask, count in zip(masks, known, strict=False):
                there = places(mask, count)
                shuffled = torch.randperm(count, generator=self.generator, device=self.generator.device)
                order[there] = there[shuffled]
            orders[name] = order
        return orders

    def among_nonzero(self, values: Any) -> Any:
        """Numbers, or what holds tensors of them, with the entries of every tensor that are not 0 dealt out anew."""
        if isinstance(values, dict):
            return {name: self.among_nonzero(item) for name, item in values.items()}
        if isinstance(values, (list, tuple)):
            return type(values)(self.among_nonzero(item) for item in values)
        if not torch.is_tensor(values) or not values.is_floating_point():
            return values
        return dealt(values, self.orders({"": [values != 0]})[""])


def dealt(values: Tensor | None, order: Tensor) -> Tensor | None:
    """Values of any shape, each from its place in `order`."""
    return None if values is None else values.flatten()[order].view_as(values)


def dealt_in_rows(mask: Tensor) -> Tensor:
    """A mask with the entries of every row in another order, which is a hash of the row: equal masks stay equal."""
    index = torch.arange(mask.shape[-1], device=mask.device, dtype=torch.float64)
    key = (mask * index).sum(-1, keepdim=True)
    noise = torch.frac(torch.sin(key * 12.9898 + index * 78.233) * 43758.5453)
    return mask.gather(-1, noise.argsort(-1))


def twin_view(net: NetView) -> NetView:
    """What a method may read, dealt out anew; `net.memory["twin"]` seeds the order."""
    deal = Deal(net.memory["twin"], net.device_generator.device)
    orders = deal.orders({name: _sets(layer) for name, layer in net.layers.items()})
    layers = {name: _layer(layer, orders[name]) for name, layer in net.layers.items()}
    on_host = Deal(net.memory["twin"]).orders({name: _unit_sets(unit) for name, unit in net.units.items()})
    units = {name: _unit(unit, on_host[name]) for name, unit in net.units.items()}

    def probe(function: Callable[[nn.Module], Any]) -> Any:
        found = net.probe(function)
        if isinstance(found, dict) and found.keys() == orders.keys():  # in the order of the weights that they belong to
            return {name: dealt(values, orders[name]) for name, values in found.items()}
        return deal.among_nonzero(found)

    return net._replace(layers=layers, stored={}, units=units, probe=probe)


def _sets(layer: LayerView) -> tuple[Tensor, ...]:
    beside = layer.trained & ~layer.active
    return layer.active, beside, ~layer.active & ~beside


def _unit_sets(unit: UnitView) -> tuple[Tensor, ...]:
    return unit.alive & ~unit.new, unit.alive & unit.new, ~unit.alive


def _layer(layer: LayerView, order: Tensor) -> LayerView:
    return layer._replace(**{name: dealt(getattr(layer, name), order) for name in ("weight", "grad", "grad_mean")})


def _unit(unit: UnitView, order: Tensor) -> UnitView:
    """Statistics of other units; none has outputs that could be folded into another's."""
    names = ("importance", "fires", "norm", "mean", "second", "outgoing_grad")
    found: dict[str, Any] = {name: dealt(getattr(unit, name), order) for name in names}
    return unit._replace(**found, sample=None, foldable=False)


def matched(topology: Topology | None, step: int, net: NetView) -> Topology | None:
    """The decision with as much in every layer and group as the method's own run had after it; the rest at random.

    Args:
        topology: what the method's rule gives in the twin; None changes nothing.
        step: of the decision, -1 for the first.
    """
    steps = net.reference.get("step")
    if steps is None:
        return topology
    index = int((steps == step).nonzero().flatten()[0])
    found = topology or Topology()
    active = {name: found.active.get(name, layer.active) for name, layer in net.layers.items()}
    units = {name: found.units.get(name, unit.alive) for name, unit in net.units.items()}
    wanted = {name: int(net.reference[name][index]) for name in (*active, *units) if name in net.reference}
    decided = {name for name, size in wanted.items() if size >= 0}
    active = {name: mask for name, mask in active.items() if name in decided}
    units = {name: mask for name, mask in units.items() if name in decided}
    free = {name: ~mask for name, mask in active.items()}
    alive = {name: net.units[name].alive & ~mask for name, mask in units.items()}
    active = resized(active, wanted, free, net.device_generator)
    units = resized(units, wanted, alive, net.generator)
    if topology is None:
        changes = [(mask != net.layers[name].active).any() for name, mask in active.items()]
        others = [(mask != net.units[name].alive).any() for name, mask in units.items()]
        if not any(numbers(changes) + numbers(others)):
            return None
    return replace(found, active=active, units=units)


def resized(
    masks: Mapping[str, Tensor], wanted: Mapping[str, int], among: Mapping[str, Tensor], generator: torch.Generator
) -> dict[str, Tensor]:
    """Masks of as many entries as are wanted: entries leave them, or join them from `among`, at random."""
    present, free = (sizes(each) for each in (masks, among))
    found = {}
    for name, mask in masks.items():
        missing = wanted[name] - present[name]
        if not missing:
            found[name] = mask
            continue
        pool, size = (among[name], free[name]) if missing > 0 else (mask, present[name])
        order = torch.randperm(size, generator=generator, device=generator.device)
        drawn = places(pool, size)[order[: abs(missing)]]
        found[name] = mask.flatten().index_fill(0, drawn, missing > 0).view_as(mask)
    return found


@dataclass(frozen=True)
class RandomTwin(Method):
    """Another method with random choices in place of importance."""

    source = "this project"
    extra_cost = "that of the method, and dealing"
    small: ClassVar[dict[str, Any]] = {"of": Rigl(density=0.25)}

    of: Method = Rigl()  # the method and its options

    reference_file = "counts.safetensors"

    @property
    def twin_of(self) -> str:
        return self.of.name()

    @property
    def reference(self) -> str | None:  # type: ignore[override]
        """The method's own run, where how much exists in each layer is an outcome of its training."""
        return self.of.name() if self.of.outcome else None

    def reference_options(self, options: dict[str, Any]) -> dict[str, Any]:
        return options["of"]

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
            if isinstance(part, Modules):
                raise ValueError(f"of={self.of.name()}: changes the model itself, so that it has no random twin")
            if isinstance(part, Operands):
                part.choose = self._operands(part.choose)
            if isinstance(part, Samples):
                part.choose = self._samples(part)
        return parts

    def positions(self, steps: int) -> range | list[int]:
        return self.of.positions(steps)

    def due(self, step: int, total: int) -> bool:
        return self.of.due(step, total)

    def num_updates(self, total: int) -> int | None:
        return self.of.num_updates(total)

    def init_topology(self, net: NetView) -> Topology:
        seed = torch.randint(2**62, (), generator=net.generator)
        net = net._replace(memory={**net.memory, "twin": seed})
        topology = matched(self._checked(self.of.init_topology(twin_view(net))), -1, net)
        return replace(topology, memory={**topology.memory, "twin": seed})

    def update_topology(self, step: int, net: NetView) -> Topology | None:
        return matched(self._checked(self.of.update_topology(step, twin_view(net))), step, net)

    @staticmethod
    def _operands(choose: Choice) -> Choice:
        def at_random(product: Product, layer: str, left: Tensor, right: Tensor, forward: Selection) -> Selection:
            chosen = choose(product, layer, left, right, forward)
            before = [id(mask) for mask in forward[:3]]  # dealt out in the forward product
            left, right, out = (m if m is None or id(m) in before else dealt_in_rows(m) for m in chosen[:3])
            return Selection(left, right, out, chosen.size)

        return at_random

    @staticmethod
    def _samples(part: Samples) -> SampleChoice:
        choose = part.choose

        def at_random(step: int, total: int, losses: Tensor | None, generator: torch.Generator) -> Tensor | None:
            trace = part.context.reference.get("samples")
            if trace is not None:  # the weights that the method gave in its own run, dealt out
                chosen = choose(step, total, losses, generator)  # at its cost
                weights = trace[step].float()[torch.randperm(trace.shape[1], generator=generator)]
                return None if chosen is None else weights.to(chosen)
            if losses is not None:
                losses = losses[torch.randperm(len(losses), generator=generator).to(losses.device)]
            return choose(step, total, losses, generator)

        return at_random

    def _checked(self, topology: Topology | None) -> Topology | None:
        if topology is not None and topology.values:
            raise ValueError(f"of={self.of.name()}: sets weights from what it reads, so that it has no random twin")
        return topology
