"""Dynamic sparse training of blocks: squares of weights leave by their norm and grow by the norm of their gradient.

The pattern is one that block kernels can execute; here it is simulated. Source: this project's form of RigL (Evci et
al. 2020, arXiv:1911.11134) on the blocks of Gray et al. 2017 (OpenAI) and of block-wise dynamic sparseness, Hadifar
et al. 2020, arXiv:2001.04686. The number of blocks is exact: round(density x blocks), divided over the layers like
weights, with one or more in each. Where every side is a multiple of `block` that many times block^2 weights exist;
else the last blocks of a side are smaller, compete by their smaller norms, and the number of weights follows from which
are chosen. Extra cost: the dense weight gradient of every layer at update steps.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from hundredfold.methods.dynamic.rigl import Rigl
from hundredfold.methods.execution.host import sizes
from hundredfold.methods.options import Count
from hundredfold.methods.tools.allocation import Shapes, allocate
from hundredfold.methods.tools.importance import random_scores, top
from hundredfold.methods.topology import Topology
from hundredfold.methods.views import NetView


def grid_of(shape: tuple[int, ...], block: int) -> tuple[int, int]:
    """Blocks along each side of a weight."""
    return -(-shape[0] // block), -(-shape[1] // block)


def block_norms(values: Tensor, block: int) -> Tensor:
    """Frobenius norm of every block, [rows, columns] of the grid."""
    rows, columns = grid_of(tuple(values.shape), block)
    padded = F.pad(values, (0, columns * block - values.shape[1], 0, rows * block - values.shape[0]))
    return padded.view(rows, block, columns, block).square().sum((1, 3)).sqrt()


def expand(blocks: Tensor, shape: tuple[int, ...], block: int) -> Tensor:
    """Mask of weights [O, I] of a mask of blocks."""
    return blocks.repeat_interleave(block, 0).repeat_interleave(block, 1)[: shape[0], : shape[1]].contiguous()


@dataclass(frozen=True)
class BlockDst(Rigl):
    """RigL on square blocks of weights."""

    source = "arXiv:2001.04686"
    small: ClassVar[dict[str, Any]] = {"block": 4}

    block: Count = 16  # weights along a side; 16 to 32 on a CPU, 64 to 128 on a GPU

    def __post_init__(self):
        super().__post_init__()
        if self.sign != "joint":
            raise ValueError(f"sign={self.sign}: {self.name()} drops by joint magnitude alone; use sign=joint")

    def num_active(self, shapes: Shapes, step: int, total: int) -> int | None:
        """Exact where every side is a multiple of `block`."""
        if any(side % self.block for shape in shapes.values() for side in shape):
            return None
        return sum(self._counts(shapes).values()) * self.block**2

    def _counts(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
        grids = {name: grid_of(shape, self.block) for name, shape in shapes.items()}
        counts = allocate(grids, self.density, self.distribution)
        if sum(counts.values()) < len(counts):
            raise ValueError(
                f"block={self.block}: density={self.density:g} leaves {sum(counts.values())} blocks for {len(counts)} "
                "layers; use smaller blocks"
            )
        for name in [name for name, count in counts.items() if not count]:  # an empty layer would cut the network
            counts[max(counts, key=counts.__getitem__)] -= 1
            counts[name] = 1
        return counts

    def init_topology(self, net: NetView) -> Topology:
        shapes = {name: tuple(layer.weight.shape) for name, layer in net.layers.items()}
        counts, active = self._counts(shapes), {}
        for name, shape in shapes.items():
            draw = random_scores(torch.empty(grid_of(shape, self.block)), net.generator)
            active[name] = expand(top(draw, counts[name]), shape, self.block).to(net.layers[name].weight.device)
        return Topology(active)

    def update_topology(self, step: int, net: NetView) -> Topology:
        fraction, active = self.fraction_at(step, net.total_steps), {}
        blocks = {name: block_norms(layer.active.float(), self.block) > 0 for name, layer in net.layers.items()}
        for name, total in sizes(blocks).items():
            layer, present = net.layers[name], blocks[name]
            num_dropped = int(fraction * total)
            kept = top(block_norms(layer.weight, self.block).masked_fill(~present, -1), total - num_dropped)
            grown = top(block_norms(layer.grad, self.block).masked_fill(kept, -1), num_dropped)
            active[name] = expand(kept | grown, tuple(layer.weight.shape), self.block)
        return Topology(active)
