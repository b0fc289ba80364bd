"""Dynamic selective computation by input: every example computes only the blocks of neurons it is predicted to need.

The hidden neurons of a feed-forward block (of a multilayer perceptron: all of its hidden layers) are divided into
blocks. A cheap predictor scores them for every example or token; only the `top` best are computed, forward and
backward, as gathered dense products, and of these the predictor learns. Capacity and computation are two numbers:
`capacity` hidden neurons exist, `density` of them are computed for an example, both over those of the model. A small
dense network cannot follow this selection, since another example computes with other weights.

Predictors: `gate` scales a block's output by twice the sigmoid of its score, and learns from the loss; `activation`
learns by least squares to predict the norm of a block's activations, the text's "importance of each neuron's
activation", and scales nothing. Controls: `choice=random` deals every example's scores out anew among the blocks, by a
hash of the example; with `capacity` = `density` all that exists is computed, for every example the same.

Source: this project, after Shazeer et al. 2017, arXiv:1701.06538 (experts) and Liu et al. 2023, arXiv:2310.17157
(predicted activations); load kept even by a bias of the scores that does not enter the output, Wang et al. 2024,
arXiv:2408.15664, algorithm 1. Differs: products are padded to the fullest block, so that no example is dropped.
Extra cost: the predictor, gathering and scattering examples, padding.
"""

from __future__ import annotations

import itertools
import math
import sys
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from hundredfold.methods.base import Method
from hundredfold.methods.execution.parts import Modules, Part
from hundredfold.methods.execution.prunable import to_matrix
from hundredfold.methods.execution.units.groups import num_inputs
from hundredfold.methods.options import Count, Fraction, Strength, Within
from hundredfold.methods.tools.auxiliary import WithLoss
from hundredfold.methods.tools.feedforward import FeedForward, replace_feedforward
from hundredfold.methods.views import Site

PREDICTION_LOSS = 0.01  # weight of the loss by which predictor=activation learns


def dealt_out_anew(scores: Tensor, rows: Tensor) -> Tensor:
    """Every row's scores [N, E] in an order that is a hash of the row, [N, D]."""
    phase = rows.detach().double().sum(1, keepdim=True) * 12.9898
    noise = torch.frac(torch.sin(phase + torch.arange(scores.shape[1], device=rows.device) * 78.233) * 43758.5453)
    return scores.gather(1, noise.argsort(1))


class BlockLinear(nn.Module):
    """`count` smaller layers side by side, drawn from the entries of a layer's weight.

    They are as wide as the initialisation of so few inputs intends.
    """

    def __init__(self, layer: nn.Module, count: int, outputs: int, inputs: int, *, has_bias: bool):
        super().__init__()
        full = to_matrix(layer, layer.weight.detach())
        drawn = torch.randint(full.numel(), (count, outputs, inputs), device=full.device)
        self.weight = nn.Parameter(full.flatten()[drawn] * math.sqrt(full.shape[1] / inputs))
        self.bias = nn.Parameter(full.new_zeros(count * outputs)) if has_bias else None

    def forward(self, parts: Tensor) -> Tensor:
        """Of parts [E, C, inputs] the products [E, C, outputs]."""
        weight = self.weight.transpose(1, 2)
        if self.bias is None:
            return torch.bmm(parts, weight)
        return torch.baddbmm(self.bias.view(len(weight), 1, -1), parts, weight)


class Blocks(nn.Module):
    """A feed-forward block of which every row of the input computes `top` of `count` parts.

    Args:
        sizes: neurons of one part, for each hidden layer.
    """

    def __init__(self, block: FeedForward, sizes: list[int], count: int, method: DscInput):
        super().__init__()
        self.count, self.method, self.act = count, method, block.act
        fan_in, device = num_inputs(block.producers[0]), block.reader.weight.device
        self.predictor = nn.Linear(fan_in, count, device=device)
        self.register_buffer("evening", torch.zeros(count, device=device))  # added to the scores to choose, not to gate
        self.producers = self._layers(block.producers, [(sizes[0], fan_in)] * len(block.producers))
        self.middle = self._layers(block.middle, [(after, before) for before, after in itertools.pairwise(sizes)])
        outputs = len(to_matrix(block.reader, block.reader.weight))
        self.reader = BlockLinear(block.reader, count, outputs, sizes[-1], has_bias=False)
        with torch.no_grad():
            self.reader.weight /= math.sqrt(method.top)
        self.bias = None if block.reader.bias is None else nn.Parameter(block.reader.bias.detach().clone())

    def _layers(self, layers: list[nn.Module], shapes: list[tuple[int, int]]) -> nn.ModuleList:
        return nn.ModuleList(
            BlockLinear(layer, self.count, *shape, has_bias=layer.bias is not None)
            for layer, shape in zip(layers, shapes, strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        scores = self.predictor(rows).float()
        if self.method.choice == "random":
            scores = dealt_out_anew(scores, rows)
        chosen = (scores.sigmoid() + self.evening).topk(self.method.top, dim=1).indices
        token, place, fullest = self._places(chosen)
        parts = rows.new_zeros(self.count * fullest, rows.shape[1]).index_copy(0, place, rows[token])
        hidden = self._hidden(parts.view(self.count, fullest, -1))
        y = self.reader(hidden).flatten(0, 1)[place]
        score = scores[token, place // fullest]
        if self.method.predictor == "gate":
            y = y * (2 * score.sigmoid()[:, None]).to(y.dtype)
        out = torch.zeros(len(rows), y.shape[1], dtype=y.dtype, device=y.device).index_add(0, token, y)
        out = out if self.bias is None else out + self.bias.to(out.dtype)
        if self.training and self.method.predictor == "activation":
            norm = hidden.detach().float().square().mean(2).flatten()[place].sqrt()
            out = WithLoss.apply(out, (PREDICTION_LOSS * (score - norm).square().mean()).to(out.dtype))
        return out.view(*x.shape[:-1], -1)

    def _places(self, chosen: Tensor) -> tuple[Tensor, Tensor, int]:
        """Of every chosen (row, part): the row, its place among the padded rows of the parts, and rows of a part."""
        flat = chosen.flatten()
        ones = torch.ones_like(flat)
        load = flat.new_zeros(self.count).scatter_add_(0, flat, ones)  # no bincount, for whose size the host waits
        if self.training:
            self.evening += self.method.balance * torch.sign(load.float().mean() - load)
        order = flat.argsort(stable=True)
        part, fullest = flat[order], int(load.max())
        within = torch.arange(len(order), device=flat.device) - (load.cumsum(0) - load)[part]
        return order // self.method.top, part * fullest + within, fullest

    def _hidden(self, parts: Tensor) -> Tensor:
        """Activations of the last hidden layer, [E, C, s]."""
        first = [producer(parts) for producer in self.producers]
        h = self.act(first[0])
        h = h * first[1] if len(first) > 1 else h
        for layer in self.middle:
            h = self.act(layer(h))
        return h


@dataclass(frozen=True)
class DscInput(Method):
    """Every example computes only the blocks of neurons that it is predicted to need."""

    source = "this project"
    extra_cost = "the predictor, gathering and scattering examples, padding"
    small: ClassVar[dict[str, Any]] = {"density": 0.25}

    density: Fraction = 0.125  # hidden neurons computed for an example, over those of the model
    capacity: Annotated[float, Within(0, low_open=True)] = 1.0  # hidden neurons that exist, over those of the model
    top: Count = 1  # blocks computed for an example
    predictor: Literal["gate", "activation"] = "gate"
    choice: Literal["predicted", "random"] = "predicted"  # or every example's scores in random order
    balance: Strength = 0.01  # step of the bias that evens the load

    def __post_init__(self):
        super().__post_init__()
        if self.capacity < self.density:
            raise ValueError(f"capacity={self.capacity:g}: below density={self.density:g}; raise it or lower that")

    def label(self) -> str:
        """Computed and existing fractions, and the variant."""
        variants = [f"top {self.top}"] if self.top > 1 else []
        variants += [one for one in (self.predictor, self.choice) if one not in ("gate", "predicted")]
        name = f"{self.name()} {self.density:g} of {self.capacity:g}"
        return f"{name} ({', '.join(variants)})" if variants else name

    def parts(self) -> list[Part]:
        return [Modules(self, self.adapt, cost_varies=True)]

    def adapt(self, model: nn.Module, site: Site) -> None:
        if not replace_feedforward(model, self._blocks, hidden=sys.maxsize):
            raise ValueError("dsc_input: found no feed-forward block; choose a model with hidden neurons")

    def _blocks(self, block: FeedForward) -> Blocks:
        if any(True for _ in block.act.parameters()):
            raise ValueError("dsc_input: the activation has weights of its own; choose one that has none")
        count = round(self.capacity / self.density * self.top)
        layers = [block.producers[0], *block.middle]
        sizes = [round(self.density * len(to_matrix(layer, layer.weight)) / self.top) for layer in layers]
        if min(sizes) < 1:
            raise ValueError(f"density={self.density:g}, top={self.top}: a block would have no neuron; raise density")
        return Blocks(block, sizes, count, self)
