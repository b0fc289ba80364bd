"""Finds the feed-forward blocks of a model, to put something else in their place."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

from torch import nn

from hundredfold.methods.execution.units.groups import is_linear


class FeedForward(NamedTuple):
    """Linear layers with an elementwise function between them.

    Attributes:
        producers: layers of the block's input; two for a gated block, whose first goes through the function.
        middle: further hidden layers, each followed by the function; none but in a multilayer perceptron.
        reader: layer of the block's output.
    """

    producers: list[nn.Module]
    act: nn.Module
    middle: list[nn.Module]
    reader: nn.Module


LAYOUTS = ((("fc1",), "act", "fc2"), (("c_fc",), "act", "c_proj"), (("gate_proj", "up_proj"), "act_fn", "down_proj"))


def replace_feedforward(model: nn.Module, make: Callable[[FeedForward], nn.Module], *, hidden: int) -> int:
    """Put `make(block)` in the place of every feed-forward block; the number of blocks.

    Args:
        hidden: of a sequence that ends in a multilayer perceptron, how many of its last hidden layers are the block at
            most.
    """
    found = 0
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            block = _in_layout(child)
            if block is not None:
                setattr(module, name, make(block))
                found += 1
    return found or (_replace_in_perceptron(model, make, hidden) if isinstance(model, nn.Sequential) else 0)


def _in_layout(module: nn.Module) -> FeedForward | None:
    for producers, act, reader in LAYOUTS:
        if all(is_linear(getattr(module, part, None)) for part in (*producers, reader)):
            layers = [getattr(module, part) for part in producers]
            return FeedForward(layers, getattr(module, act), [], getattr(module, reader))
    return None


def _replace_in_perceptron(model: nn.Sequential, make: Callable[[FeedForward], nn.Module], hidden: int) -> int:
    names = [name for name, child in model.named_children() if not isinstance(child, (nn.Dropout, nn.Flatten))]
    backwards = [getattr(model, name) for name in names[::-2]]
    depth = sum(1 for _ in itertools.takewhile(lambda layer: isinstance(layer, nn.Linear), backwards[: hidden + 1]))
    if depth < 2:
        return 0
    names = names[-(2 * depth - 1) :]
    linear, acts = [getattr(model, n) for n in names[::2]], [getattr(model, n) for n in names[1::2]]
    setattr(model, names[0], make(FeedForward(linear[:1], acts[0], linear[1:-1], linear[-1])))
    for name in names[1:]:
        setattr(model, name, nn.Identity())
    return 1
