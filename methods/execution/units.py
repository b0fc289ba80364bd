"""Finds the groups of interchangeable units of a model: which entries of which parameters belong to one unit.

A group is produced by rows (dimension 0) of some layers and read by columns (dimension 1) of one layer: hidden
neurons of an MLP or a feed-forward block, attention heads, Llama's gate/up/down triples and key-value groups with
their queries. The residual width, embeddings and norms never form a group.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

ELEMENTWISE = (nn.ReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.LeakyReLU, nn.ELU, nn.Dropout, nn.Identity)


@dataclass(frozen=True)
class Axis:
    """One dimension of one parameter that is indexed by the units of a group."""

    module: str
    attribute: str  # "weight" or "bias"
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
        kind: "neuron" (one number) or "head" (several).
        size: units of the full model, n.
        axes: every dimension that shrinks with the group.
        reads: name of the layer whose input is the units' output.
        width: numbers in one unit's output, in the order of the reader's input.
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
    groups, previous = [], None
    for child_name, child in module.named_children():
        path = f"{name}.{child_name}" if name else child_name
        if isinstance(child, nn.Linear):
            if previous is not None:
                groups.append(_neurons(model, [previous], path))
            previous = path
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


FINDERS: list[Callable[[nn.Module, str, nn.Module], list[UnitGroup]]] = [
    _sequential,
    _timm_block,
    _gpt2_block,
    _llama_block,
]


def find_units(model: nn.Module) -> dict[str, UnitGroup]:
    """Every unit group of the model by the name of the layer that reads it, in the model's order."""
    found = [group for name, module in model.named_modules() for find in FINDERS for group in find(model, name, module)]
    return {group.name: group for group in found}
