"""Finds the groups of interchangeable units of a model: which entries of which parameters belong to one unit.

A group is produced by rows (dimension 0) of some layers and read by columns (dimension 1) of one layer: hidden
neurons of an MLP or a feed-forward block, channels between two convolutions with their batch norm, attention heads,
Llama's gate/up/down triples and key-value groups with their queries. The residual width, embeddings and the last norm
never form a group.

Channels are found by tracing the model with torch.fx and following every convolution's output to the one layer that
reads it. torch-pruning's dependency graph finds the same groups and more (coupled residual channels), but it prunes for
good: units here come back, with buffers, reservoir and optimizer state, so that only its search could be used, at the
price of a dependency. Attention and gated blocks are recognised by their parts: their forward passes do not trace.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from methods.execution.conv import SelectiveConv2d
from methods.execution.linear import SelectiveLinear

ELEMENTWISE = (
    nn.ReLU, nn.ReLU6, nn.GELU, nn.SiLU, nn.Hardswish, nn.Tanh, nn.Sigmoid, nn.LeakyReLU, nn.ELU, nn.Dropout,
    nn.Dropout2d, nn.Identity,
)  # fmt: skip
POOLING = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
CHANNELWISE = (torch.relu, F.relu, F.relu6, F.gelu, F.silu, F.dropout, F.max_pool2d, F.avg_pool2d,
               F.adaptive_avg_pool2d, torch.flatten)  # fmt: skip
CHANNELWISE_METHODS = ("relu", "flatten", "contiguous")
BATCH_NORM = ("weight", "bias", "running_mean", "running_var")


@dataclass(frozen=True)
class Axis:
    """One dimension of one parameter that is indexed by the units of a group."""

    module: str
    attribute: str  # of a parameter or a buffer, such as "weight"
    dim: int
    index: Tensor  # long [n, k]: entries of this dimension that belong to each unit, in the full model

    @property
    def produces(self) -> bool:
        return self.dim == 0


@dataclass(frozen=True)
class UnitGroup:
    """Units that can leave and return without changing the shape of anything outside the group.

    Attributes:
        name: of the layer that reads the units.
        kind: "neuron" (one number, or one channel of an image) or "head" (several).
        size: units of the full model, n.
        axes: every dimension that shrinks with the group.
        reads: name of the layer whose input is the units' output.
        width: columns of the reader that one unit owns, in the order of its input: a channel that is flattened for a
            linear layer owns as many as it has pixels.
        resized: module -> {attribute: value per unit} to be set to value * (units alive) after a change.
    """

    name: str
    kind: str
    size: int
    axes: tuple[Axis, ...]
    reads: str
    width: int
    resized: dict[str, dict[str, int]] = field(default_factory=dict)


def _rows(model: nn.Module, name: str, index: Tensor) -> list[Axis]:
    layer = model.get_submodule(name)
    axes = [Axis(name, "weight", 0, index)]
    return axes if layer.bias is None else [*axes, Axis(name, "bias", 0, index)]


def _consecutive(size: int, width: int = 1) -> Tensor:
    return torch.arange(size * width).view(size, width)


def _neurons(model: nn.Module, producers: list[str], reader: str) -> UnitGroup:
    size = model.get_submodule(reader).in_features
    index = _consecutive(size)
    axes = [axis for name in producers for axis in _rows(model, name, index)]
    return UnitGroup(reader, "neuron", size, (*axes, Axis(reader, "weight", 1, index)), reader, 1)


def _fused_heads(model, name: str, qkv: str, reader: str, heads: int, head_dim: int, resized) -> UnitGroup:
    """Heads whose queries, keys and values are three consecutive parts of one layer's output."""
    index = _consecutive(heads, head_dim)
    fused = torch.cat([index + part * heads * head_dim for part in range(3)], dim=1)
    axes = (*_rows(model, qkv, fused), Axis(reader, "weight", 1, index))
    return UnitGroup(reader, "head", heads, axes, reader, head_dim, {name: resized})


def _sequential(model: nn.Module, name: str, module: nn.Module) -> list[UnitGroup]:
    """Linear layers that follow each other with only elementwise functions between them."""
    if not isinstance(module, nn.Sequential):
        return []
    groups, previous, between = [], None, []
    for child_name, child in module.named_children():
        path = f"{name}.{child_name}" if name else child_name
        if isinstance(child, nn.Linear):
            if previous is not None:
                group = _neurons(model, [previous], path)
                extra = tuple(Axis(name, part, 0, _consecutive(group.size)) for name, part in between)
                groups.append(replace(group, axes=group.axes + extra))
            previous, between = path, []
        elif hasattr(child, "unit_parameters"):  # an activation with parameters of its own for every neuron
            between += [(path, part) for part in child.unit_parameters]
        elif not isinstance(child, ELEMENTWISE):
            previous = None
    return groups


def _timm_block(model: nn.Module, name: str, module: nn.Module) -> list[UnitGroup]:
    """timm's vision transformers: `Mlp` (fc1, fc2) and `Attention` (fused qkv, proj)."""
    if isinstance(getattr(module, "fc1", None), nn.Linear) and isinstance(getattr(module, "fc2", None), nn.Linear):
        plain = isinstance(getattr(module, "norm", None) or nn.Identity(), nn.Identity)
        return [_neurons(model, [f"{name}.fc1"], f"{name}.fc2")] if plain else []
    if isinstance(getattr(module, "qkv", None), nn.Linear) and isinstance(getattr(module, "proj", None), nn.Linear):
        plain = isinstance(module.norm, nn.Identity) and getattr(module, "gate", None) is None
        resized = {"num_heads": 1, "attn_dim": module.head_dim}
        heads, head_dim = module.num_heads, module.head_dim
        return [_fused_heads(model, name, f"{name}.qkv", f"{name}.proj", heads, head_dim, resized)] if plain else []
    return []


def _gpt2_block(model: nn.Module, name: str, module: nn.Module) -> list[UnitGroup]:
    """transformers' GPT-2 with linear layers in place of Conv1D: `c_fc`, `c_proj` and fused `c_attn`, `c_proj`."""
    if not isinstance(getattr(module, "c_proj", None), nn.Linear):
        return []
    if isinstance(getattr(module, "c_fc", None), nn.Linear):
        return [_neurons(model, [f"{name}.c_fc"], f"{name}.c_proj")]
    if isinstance(getattr(module, "c_attn", None), nn.Linear) and not module.is_cross_attention:
        resized = {"num_heads": 1, "split_size": module.head_dim}
        heads = module.c_proj.in_features // module.head_dim
        return [_fused_heads(model, name, f"{name}.c_attn", f"{name}.c_proj", heads, module.head_dim, resized)]
    return []


def _llama_block(model: nn.Module, name: str, module: nn.Module) -> list[UnitGroup]:
    """Gated feed-forward (gate, up, down) and grouped-query attention (key-value groups with their queries)."""
    if isinstance(getattr(module, "gate_proj", None), nn.Linear):
        return [_neurons(model, [f"{name}.gate_proj", f"{name}.up_proj"], f"{name}.down_proj")]
    if all(isinstance(getattr(module, f"{part}_proj", None), nn.Linear) for part in "qkvo"):
        head_dim = module.head_dim
        groups = module.k_proj.out_features // head_dim
        width = module.q_proj.out_features // groups
        queries, keys = _consecutive(groups, width), _consecutive(groups, head_dim)
        axes = _rows(model, f"{name}.q_proj", queries)
        axes += _rows(model, f"{name}.k_proj", keys) + _rows(model, f"{name}.v_proj", keys)
        reader = f"{name}.o_proj"
        return [UnitGroup(reader, "head", groups, (*axes, Axis(reader, "weight", 1, queries)), reader, width)]
    return []


class _Tracer(fx.Tracer):
    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return isinstance(module, (nn.BatchNorm2d, SelectiveLinear)) or super().is_leaf_module(module, name)


def _channels(model: nn.Module) -> list[UnitGroup]:
    """Channels between a convolution and the one convolution or linear layer that reads them."""
    convolutions = [m for m in model.modules() if isinstance(m, (nn.Conv2d, SelectiveConv2d))]
    if len(convolutions) < 2:  # a vision transformer's patches
        return []
    try:
        graph = _Tracer().trace(model)
    except Exception:  # fx raises whatever the model's own code raises on a symbolic input
        return []
    modules = [(node, model.get_submodule(node.target)) for node in graph.nodes if node.op == "call_module"]
    starts = [node for node, module in modules if isinstance(module, (nn.Conv2d, SelectiveConv2d))]
    return [group for node in starts if (group := _follow(model, node)) is not None]


def _follow(model: nn.Module, node: fx.Node) -> UnitGroup | None:
    """The group of a convolution's output channels; None where something else than one layer reads them."""
    producer = model.get_submodule(node.target)
    size = len(producer.weight)
    if getattr(producer, "groups", 1) != 1:
        return None
    index = _consecutive(size)
    axes, resized = _rows(model, node.target, index), {}
    while len(node.users) == 1:
        node = next(iter(node.users))
        module = model.get_submodule(node.target) if node.op == "call_module" else None
        if isinstance(module, nn.BatchNorm2d):
            axes += [Axis(node.target, part, 0, index) for part in BATCH_NORM if getattr(module, part) is not None]
        elif isinstance(module, nn.Conv2d) and module.groups == module.in_channels == module.out_channels == size > 1:
            axes += _rows(model, node.target, index)
            resized[node.target] = {"groups": 1}
        elif isinstance(module, (nn.Conv2d, nn.Linear)):
            inputs = module.weight.shape[1]
            if inputs % size or getattr(module, "groups", 1) != 1:
                return None
            reader = Axis(node.target, "weight", 1, _consecutive(size, inputs // size))
            return UnitGroup(node.target, "neuron", size, (*axes, reader), node.target, inputs // size, resized)
        elif not (
            isinstance(module, (*ELEMENTWISE, *POOLING, nn.Flatten))
            or (node.op == "call_function" and node.target in CHANNELWISE)
            or (node.op == "call_method" and node.target in CHANNELWISE_METHODS)
        ):
            return None
    return None


FINDERS: list[Callable[[nn.Module, str, nn.Module], list[UnitGroup]]] = [
    _sequential,
    _timm_block,
    _gpt2_block,
    _llama_block,
]


def find_units(model: nn.Module) -> dict[str, UnitGroup]:
    """Every unit group of the model by the name of the layer that reads it, in the model's order."""
    found = _channels(model)
    named = list(model.named_modules())
    found += [group for name, module in named for find in FINDERS for group in find(model, name, module)]
    return {group.name: group for group in found}
