"""Mixture of experts: every token computes with one or two of the parts of a feed-forward block, by a learned router.

The hidden neurons of every feed-forward block are divided into experts, so that capacity stays that of the dense block
and computation falls to top / experts of it. Tokens are sorted by expert: each expert is one smaller product.
Source: Fedus et al. 2022, arXiv:2101.03961, eq. 1-6 (router, gate, balancing loss of weight 0.01); Shazeer et al. 2017,
arXiv:1701.06538 (more than one expert). Differs: no capacity limit, so no token is dropped; the gate is scaled to be 1
where the router knows nothing, and outgoing weights start wider, so that a block's output starts as wide as the dense
one's. Extra cost: the router.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hundredfold.methods.base import Method
from hundredfold.methods.execution.parts import Modules, Part
from hundredfold.methods.execution.prunable import to_matrix
from hundredfold.methods.execution.units.groups import num_inputs
from hundredfold.methods.options import Count, Strength, Within
from hundredfold.methods.tools.auxiliary import WithLoss
from hundredfold.methods.tools.feedforward import FeedForward, replace_feedforward
from hundredfold.methods.views import Site

ALIGNED = 8  # numbers of which the sizes of a grouped product are multiples


class Experts(nn.Module):
    """A feed-forward block in parts.

    Args:
        producers: linear layers of the block's input; two for a gated block, whose first goes through the activation.
        act: elementwise function.
        reader: linear layer of the block's output.
    """

    def __init__(
        self, producers: list[nn.Module], act: nn.Module, reader: nn.Module, experts: int, top: int, balance: float
    ):
        super().__init__()
        self.experts, self.top, self.balance, self.act = experts, top, balance, act
        device = reader.weight.device
        part = num_inputs(reader) // experts
        self.router = nn.Linear(num_inputs(producers[0]), experts, bias=False, device=device)
        inside = [to_matrix(p, p.weight.detach()).clone(memory_format=torch.contiguous_format) for p in producers]
        self.inside = nn.ParameterList(weight.view(experts, part, -1) for weight in inside)
        biases = [p.bias.detach().clone().view(experts, part) for p in producers if p.bias is not None]
        self.biases = nn.ParameterList(biases)
        outside = to_matrix(reader, reader.weight.detach()).reshape(-1, experts, part).transpose(0, 1)
        outside = outside * math.sqrt(experts / top)
        self.outside = nn.Parameter(outside.contiguous())  # [E, O, part]
        self.bias = None if reader.bias is None else nn.Parameter(reader.bias.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        probabilities = self.router(rows).float().softmax(-1)
        gate, chosen = probabilities.topk(self.top, dim=-1)
        expert = chosen.flatten()
        order = expert.argsort(stable=True)
        token = order // self.top
        counts = F.one_hot(expert, self.experts).sum(0)  # nobody waits for an accelerator to count
        y = self._experts(rows[token], counts, expert[order])
        y = y * (self.experts * gate.flatten()[order, None]).to(y.dtype)
        out = torch.zeros(len(rows), y.shape[1], dtype=y.dtype, device=y.device).index_add(0, token, y)
        out = out if self.bias is None else out + self.bias.to(out.dtype)
        if self.training:
            loss = self.experts * (counts / counts.sum() * probabilities.mean(0)).sum()
            out = WithLoss.apply(out, self.balance * loss.to(out.dtype))
        return out.view(*x.shape[:-1], -1)

    def _expert(self, e: int, x: Tensor) -> Tensor:
        hidden = [F.linear(x, w[e], self.biases[i][e] if len(self.biases) else None) for i, w in enumerate(self.inside)]
        h = self.act(hidden[0])
        return F.linear(h * hidden[1] if len(hidden) > 1 else h, self.outside[e])

    def _experts(self, rows: Tensor, counts: Tensor, expert: Tensor) -> Tensor:
        """Outputs of rows [N, I] that are sorted by expert.

        Args:
            counts: rows of each expert, [E].
            expert: of each row, [N].
        """
        if any(size % ALIGNED for weight in (*self.inside, self.outside) for size in weight.shape[1:]):
            parts = rows.split(counts.tolist())  # a grouped product does not take such sizes
            return torch.cat([self._expert(e, part) for e, part in enumerate(parts)])
        ends = counts.cumsum(0, dtype=torch.int32)
        if torch.is_autocast_enabled(rows.device.type):  # autocast does not reach a grouped product
            rows = rows.to(torch.get_autocast_dtype(rows.device.type))
        hidden = [F.grouped_mm(rows, w.to(rows.dtype).mT, offs=ends) for w in self.inside]
        if len(self.biases):
            hidden = [h + b.to(h.dtype)[expert] for h, b in zip(hidden, self.biases, strict=True)]
        h = self.act(hidden[0])
        return F.grouped_mm(h * hidden[1] if len(hidden) > 1 else h, self.outside.to(h.dtype).mT, offs=ends)


@dataclass(frozen=True)
class Moe(Method):
    """Every token uses one or two of several experts."""

    source = "arXiv:2101.03961"
    extra_cost = "the router"
    small: ClassVar[dict[str, Any]] = {"experts": 4}

    experts: Annotated[int, Within(2, what="a whole number")] = 8  # parts of a feed-forward block
    top: Count = 1  # experts per token
    balance: Strength = 0.01  # weight of the loss that spreads tokens over experts

    def __post_init__(self):
        super().__post_init__()
        if self.top > self.experts:
            raise ValueError(f"top={self.top}: expected 1 to experts={self.experts}")

    def parts(self) -> list[Part]:
        return [Modules(self, self.adapt)]

    def adapt(self, model: nn.Module, site: Site) -> None:
        if not replace_feedforward(model, self._experts, hidden=1):
            raise ValueError("moe: found no feed-forward block; choose a model with hidden neurons")

    def _experts(self, block: FeedForward) -> Experts:
        neurons = num_inputs(block.reader)
        if neurons % self.experts:
            raise ValueError(f"experts={self.experts}: expected a divisor of {neurons} hidden neurons")
        return Experts(block.producers, block.act, block.reader, self.experts, self.top, self.balance)
