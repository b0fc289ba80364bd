"""What a method is: a frozen dataclass that decides which parts of three matrix products are computed.

For one linear layer and one training step, with T tokens (batch x positions), I inputs and O outputs, exactly
three products are computed. A method selects entries of their factors or results by boolean masks that broadcast;
the shape of a mask is its structure: [T, 1] samples or tokens, [1, I] neurons, [O, I] weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn


class Diverged(ValueError):
    """The network's numbers are no longer finite."""


class Product(Enum):
    """One of the three matrix products of a linear layer's training step."""

    FORWARD = "Y[T,O] = X[T,I] W[O,I]^T"
    INPUT_GRAD = "dX[T,I] = dY[T,O] W[O,I]"
    WEIGHT_GRAD = "dW[O,I] = dY[T,O]^T X[T,I]"


class Selection(NamedTuple):
    """Entries of one product that are computed: boolean masks that broadcast against it; None means all."""

    left: Tensor | None = None
    right: Tensor | None = None
    out: Tensor | None = None


ALL = Selection()


def exact(product: Product, forward: Selection) -> Selection:
    """The selection that yields the exact gradient of a selected forward product: a rotation of its masks."""
    left, right, out = forward
    if product is Product.FORWARD:
        return forward
    if product is Product.INPUT_GRAD:
        return Selection(left=out, right=right, out=left)
    return Selection(left=out, right=left, out=right)


class Fold(NamedTuple):
    """How units that leave a group live on in the layer that reads them, so that its output stays the same."""

    twin: Tensor  # long [n]; the unit that takes over the outgoing weights, -1 for none
    scale: Tensor  # [n]; output of the leaving unit over output of its twin
    constant: Tensor  # [n]; mean output that goes into the reader's bias, 0 for none


class Batch(NamedTuple):
    """What one training step sees."""

    inputs: Tensor  # [B, ...]
    targets: Tensor  # [B] classes or [B, L] tokens
    ids: Tensor | None = None  # long [B]: row of each example in the training split


@dataclass(frozen=True)
class Topology:
    """What exists after a decision; whatever it does not name stays as it is.

    Attributes:
        active: layer -> bool [O, I]; the weight enters FORWARD and INPUT_GRAD. For layers in `NetView.stored` also
            long [n], the places of these weights in the flattened matrix.
        trained: layer -> bool [O, I], a superset of active; receives WEIGHT_GRAD and updates. Default: active.
        units: group -> bool [n]; neurons, heads or channels that exist.
        folds: group -> what the leaving units hand over to those that stay.
        values: layer -> [O, I]; weights to be set, before the masks.
        frozen: names of modules whose parameters are not trained until another decision says so.
        memory: what the method will want to know again; it comes back as `NetView.memory`.
        rewind: every parameter goes back to its value before step `Method.rewind_step`; the optimizer forgets.
    """

    active: Mapping[str, Tensor] = field(default_factory=dict)
    trained: Mapping[str, Tensor] = field(default_factory=dict)
    units: Mapping[str, Tensor] = field(default_factory=dict)
    folds: Mapping[str, Fold] = field(default_factory=dict)
    values: Mapping[str, Tensor] = field(default_factory=dict)
    frozen: frozenset[str] | None = None
    memory: Mapping[str, Tensor] = field(default_factory=dict)
    rewind: bool = False


@dataclass(frozen=True)
class UpdateSchedule:
    """When the topology may change: every `interval` steps within [start, stop), both fractions of all steps."""

    interval: int = 100
    start: float = 0.0
    stop: float = 0.75

    def __post_init__(self):
        if self.interval < 1:
            raise ValueError(f"update.interval={self.interval}: expected a number of steps, 1 or more")
        if not 0 <= self.start <= self.stop <= 1:
            raise ValueError(
                f"update.start={self.start}, update.stop={self.stop}: expected fractions of the run, "
                "0 <= start <= stop <= 1"
            )

    def due(self, step: int, total: int) -> bool:
        first = int(self.start * total)
        return first <= step < self.stop * total and (step - first) % self.interval == 0

    def last(self, total: int) -> int:
        """The last step at which an update is due.

        Raises:
            ValueError: there is no second update within the run, so that nothing could change gradually.
        """
        first = int(self.start * total)
        updates = math.ceil(self.stop * total - first - 1e-9) - 1
        if updates < self.interval:
            raise ValueError(
                f"update.interval={self.interval}: the schedule of this run spans {max(updates, 0)} of its {total} "
                f"steps; use an interval of at most {max(updates // 2, 1)} or train longer"
            )
        return first + updates // self.interval * self.interval


class LayerView(NamedTuple):
    """What a method may read of one linear layer."""

    weight: Tensor  # [O, I]
    active: Tensor  # bool [O, I]
    trained: Tensor  # bool [O, I]
    grad: Tensor | None  # [O, I] of this step, in an update only; of the trained weights (`grad`) or all (`dense_grad`)
    grad_mean: Tensor | None  # [O, I] exponential average of the gradient of every weight; only with `grad_mean`


class StoredView(NamedTuple):
    """The weights of a layer whose missing ones are not stored, without a matrix."""

    shape: tuple[int, int]  # O, I
    positions: Tensor  # long [n]; place of each active weight in the flattened matrix, ascending
    values: Tensor  # [n]


class UnitView(NamedTuple):
    """What a method may read of one group of interchangeable units; every array has one entry per unit, [n]."""

    size: int  # n, units of the full model
    kind: str  # "neuron" or "head"
    alive: Tensor  # bool: exists now
    ever: Tensor  # bool: has existed before
    new: Tensor  # bool: came with the last update, not yet judged
    cost: float  # FLOPs per token and step that one unit costs at the present sizes
    norm: Tensor  # Euclidean norm of the weights that produce and read it; 0 where not alive
    observed: Tensor  # long: how often its output was observed
    importance: Tensor  # mean |h dL/dh|, exponential average, bias-corrected; last known value where not alive
    fires: Tensor  # fraction of tokens with a non-zero output
    mean: Tensor | None  # mean output; None for units of more than one number (heads)
    second: Tensor | None  # second moment of the output
    sample: Tensor | None  # [T, n] outputs of the last observed tokens, 0 where not alive
    outgoing_grad: Tensor  # norm of the gradient of its outgoing weights at this step; 0 where not alive
    foldable: bool  # the layer that reads it has a bias


class NetView(NamedTuple):
    """The read-only network that a method decides about."""

    layers: Mapping[str, LayerView]  # matrices, made when they are asked for
    stored: Mapping[str, StoredView]  # of the layers that store only the weights that exist
    shapes: Mapping[str, tuple[int, ...]]  # of their weights, output first: [O, I], of a convolution [O, I, kh, kw]
    units: Mapping[str, UnitView]
    blocks: tuple[str, ...]  # residual blocks in order; without any, the layers
    stem: tuple[str, ...]  # parameters before the first block
    generator: torch.Generator  # the only source of randomness
    total_steps: int
    learning_rate: float  # of the step just taken
    reference: Mapping[str, Tensor]  # final units of the run that `Method.reference` names
    memory: Mapping[str, Tensor]  # what earlier decisions asked to remember
    batch: Batch | None  # of the step just taken
    charge: Callable[[float], None]  # report the FLOPs of products that a decision itself computes
    probe: Callable[[Callable[[nn.Module], Any]], Any]  # call with the model; FLOPs charged, changes undone
    losses: Callable[[nn.Module, Batch], Tensor]  # [B] loss of every example


class Site(NamedTuple):
    """What a method may use when it changes the model itself."""

    training: Batch | None  # the training split, where the loop has told the session
    batch: Callable[[], Batch | None]  # what the model is being trained on; None while it is evaluated
    layers: Callable[[], Mapping[str, nn.Linear]]  # prunable layers by name
    units: Callable[[], Mapping[str, Any]]  # group -> `UnitGroup`
    total_steps: int
    charge: Callable[[float], None]


@dataclass(frozen=True)
class Method:
    """A method of training; this base class trains densely.

    Fields of a subclass are its hyperparameters. A method holds no state and touches no tensor of the model, except in
    `adapt`: it answers questions, and the session applies, enforces and meters the answers.

    `selects` names what it decides about: weights, units, operands (entries of single products), samples, tokens (that
    enter a residual block), inputs (their shape), layers (that are trained).
    `needs` names signals that cost or that must be kept: grad (free), dense_grad (of every weight, at update steps),
    grad_mean (of every weight, at every step), unit_statistics, outgoing_grad, losses (of the training examples, as
    last seen), fresh_losses (of the batch, by a forward pass before its training step), batch (the loop must train by
    `Session.backward`).
    `physicality`: physical (what is not selected is neither computed nor stored), partial (some of it is computed) or
    masked (simulated on dense kernels: its accuracy counts, its energy does not).
    """

    family: ClassVar[str] = "dense"  # one of FAMILIES
    source: ClassVar[str] = ""  # paper, arXiv id, equation or algorithm
    extra_cost: ClassVar[str] = "none"  # what it computes beside the three products
    selects: ClassVar[frozenset[str]] = frozenset()
    needs: ClassVar[frozenset[str]] = frozenset()
    physicality: ClassVar[str] = "physical"
    twin_of: ClassVar[str | None] = None  # a control that differs from this method in its choice alone
    reference: ClassVar[str | None] = None  # method whose finished run (same options, same seed) is read at the start
    replaces_step: ClassVar[bool] = False  # an update step changes the topology and no weight
    rescale: ClassVar[bool] = False  # scale the first units' outgoing weights up by the square root of 1 / density
    backend: ClassVar[str] = "masked"  # masked (exact simulation) or compact (smaller products)
    operand_layers: ClassVar[str] = "all"  # asked about operands: all, hidden (all but the last), readers (of neurons)
    keeps_weights: ClassVar[bool] = False  # weights outside `active` keep their value and come back with it
    grad_decay: ClassVar[float] = 0.9  # of `grad_mean`
    rewind_step: ClassVar[int | None] = None  # step whose parameters `Topology.rewind` restores
    cost_varies: ClassVar[bool] = False  # what it selects depends on the data, so that its cost is counted repeatedly
    update: ClassVar[UpdateSchedule | None] = None
    width: ClassVar[float] = 1.0  # fraction of the hidden units that the model is built with
    duration: ClassVar[float] = 1.0  # fraction of the recipe's steps that its schedule is fitted into
    table_rate: ClassVar[float] = 1.0  # learning rate of tables with sparse gradients over that of the recipe
    recipe: ClassVar[Mapping[str, float]] = {}  # changes of the recipe, such as {"weight_decay": 0.0}
    small: ClassVar[Mapping[str, Any]] = {}  # options that suit a run of a few dozen steps

    def label(self) -> str:
        """The arm's name in tables: the method, its density, and the variant that was chosen."""
        density = getattr(self, "density", None)
        chosen = [(f.name, getattr(self, f.name)) for f in fields(self) if getattr(self, f.name) != f.default]
        variants = [value if isinstance(value, str) else n for n, value in chosen if isinstance(value, (str, bool))]
        name = self.name() if density is None else f"{self.name()} {density:g}"
        return f"{name} ({', '.join(variants)})" if variants else name

    @property
    def simulated(self) -> bool:
        """Whether what is not selected is computed all the same, on zeros."""
        return self.physicality == "masked"

    @property
    def operand_backend(self) -> str:
        """The back end of the products; `backend` is that of the units where there are any."""
        return "masked" if "units" in self.selects else self.backend

    @classmethod
    def name(cls) -> str:
        return cls.__module__.rpartition(".")[2]

    # ---- before the run ---------------------------------------------------------------------------------------------
    def positions(self, steps: int) -> range | list[int]:
        """Position in the schedule of every training step; as many as there are training steps.

        Args:
            steps: of the schedule.
        """
        return range(steps)

    def adapt(self, model: nn.Module, site: Site) -> None:
        """Change the model in place: parameters that this adds are given to the optimizer, those that go are taken.

        Draw from torch's global generator, which is seeded for it.

        Raises:
            ValueError: the model has no such part.
        """

    def init_topology(self, net: NetView) -> Topology:
        """The topology before the first step."""
        return Topology()

    # ---- at every step ----------------------------------------------------------------------------------------------
    def due(self, step: int, total: int) -> bool:
        """Whether `update_topology` is asked at this step."""
        return self.update is not None and self.update.due(step, total)

    def observes(self, step: int, total: int) -> bool:
        """Whether unit statistics are gathered from the products of this step."""
        return False

    def update_topology(self, step: int, net: NetView) -> Topology | None:
        """The topology after this step; None leaves it as it is."""
        return None

    def select_operands(self, product: Product, layer: str, left: Tensor, right: Tensor, forward: Selection):
        """The selection within one product; `forward` is what this method selected in the forward product."""
        return exact(product, forward)

    def select_samples(self, step: int, total: int, losses: Tensor, generator: torch.Generator) -> Tensor | None:
        """Weight of every example of the batch, [B]; 0 is not computed, None trains all alike.

        The step's loss is the sum of weight x loss over B.

        Args:
            losses: [B]; by `needs` fresh, or as last seen (NaN where never); zeros without either.
        """
        return None

    def reads_losses(self, step: int, total: int) -> bool:
        """Whether `fresh_losses` are computed at this step."""
        return True

    def select_tokens(self, step: int, total: int, block: int, blocks: int, count: int, generator) -> Tensor | None:
        """Positions, long [k] ascending, that enter a residual block in training; none skips the block, None is all.

        Args:
            count: positions that there are.
        """
        return None

    def transform(self, step: int, total: int, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The batch in another shape, such as fewer pixels or tokens."""
        return inputs, targets

    def penalty(self, net: Mapping[str, Tensor], units: Mapping[str, Any]) -> Tensor | None:
        """A differentiable term added to every step's loss.

        Args:
            net: parameter name -> parameter.
            units: group -> `UnitGroup`.
        """
        return None


FAMILIES = ("dense", "dense_control", "static", "dynamic", "neurons", "selective", "control")


def check_fraction(name: str, value: float, *, zero: bool = False) -> None:
    """Raise a ValueError that tells the user what to do unless value is in (0, 1], or [0, 1] with `zero`."""
    if (0 <= value <= 1) and (zero or value > 0):
        return
    allowed = "[0, 1]" if zero else "(0, 1]"
    percent = name == "density" and 10 <= value < 100
    hint = f"; for {value:g} % sparsity use {name}={1 - value / 100:g}" if percent else ""
    raise ValueError(f"{name}={value:g}: expected a fraction in {allowed}{hint}")


def delegated(slot: str, *names: str) -> Callable[[type], type]:
    """Class decorator: attributes and methods that come from the method in a field, or from dense training without one.

    What the class itself defines stays.

    Args:
        slot: name of the field.
        names: default everything that a method declares and decides.
    """

    def decorate(cls: type) -> type:
        for name in set(names or DECISIONS) - set(vars(cls)):
            setattr(cls, name, property(lambda self, name=name: getattr(getattr(self, slot) or Method(), name)))
        return cls

    return decorate


DECISIONS = tuple(
    "selects needs physicality reference replaces_step rescale backend operand_backend keeps_weights grad_decay "
    "operand_layers rewind_step cost_varies update width duration table_rate recipe positions adapt init_topology due "
    "observes "
    "update_topology select_operands select_samples reads_losses select_tokens transform penalty".split()
)
