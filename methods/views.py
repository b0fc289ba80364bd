"""What a method may read of the network: values and masks of layers, statistics of units, and the run around them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Batch(NamedTuple):
    """What one training step sees."""

    inputs: Tensor  # [B, ...]
    targets: Tensor  # [B] classes or [B, L] tokens
    ids: Tensor | None = None  # long [B]: row of each example in the training split


def as_text(inputs: Tensor, targets: Tensor) -> Tensor:
    """The tokens of windows [N, L] one after the other, and the token after the last, [N * L + 1]."""
    return torch.cat([inputs.flatten(), targets[-1, -1:]])


class LayerView(NamedTuple):
    """What a method may read of one layer; the weight of a convolution is the matrix [O, I kh kw]."""

    weight: Tensor  # [O, I]
    active: Tensor  # bool [O, I]; the weight computes
    trained: Tensor  # bool [O, I]; the weight receives gradients
    grad: Tensor | None  # [O, I] of this step, in an update only; see `execution.parts.weights.Gradient`
    grad_mean: Tensor | None  # [O, I] exponential average of the gradient of every weight, where it is kept


class StoredView(NamedTuple):
    """The weights of a layer whose missing ones are not stored, without a matrix."""

    shape: tuple[int, ...]  # O, I
    positions: Tensor  # long [n]; place of each active weight in the flattened matrix, ascending
    values: Tensor  # [n]


class UnitView(NamedTuple):
    """What a method may read of one group of interchangeable units; every array has one entry per unit, [n]."""

    size: int  # n, units of the full model
    kind: str  # "neuron" or "head"
    alive: Tensor  # bool: exists now
    ever: Tensor  # bool: has existed before
    new: Tensor  # bool: came with the last update, not yet judged
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
    generator: torch.Generator  # on the CPU, so that a seed means the same first weights everywhere
    device_generator: torch.Generator  # on the model's device, for what is drawn at every step; no other randomness
    total_steps: int
    learning_rate: float  # of the step just taken
    reference: Mapping[str, Tensor]  # what `Method.reference_file` of the run that `Method.reference` names holds
    memory: Mapping[str, Tensor]  # what the method's earlier decisions asked to remember
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
