"""Finds the groups of interchangeable units of a model: which entries of which parameters belong to one unit.

A group is produced by rows (dimension 0) of some layers and read by columns (dimension 1) of one layer: hidden
neurons of an MLP or a feed-forward block, channels between two convolutions with their batch norm, attention heads,
Llama's gate/up/down triples and key-value groups with their queries. The residual width, embeddings and the last norm
never form a group.

Chains of layers are found by tracing with torch.fx and following the output of every convolution and linear layer to
the one layer that reads it. Of a model whose forward pass does not trace, the submodules that do are followed, on the
assumption that they are called as a whole. torch-pruning's dependency graph finds the same groups and more (coupled
residual channels), but it prunes for good: units here come back, with buffers, reservoir and optimizer state, so that
only its search could be used, at the price of a dependency. Attention, GPT-2's and gated blocks are recognised by their
parts: their forward passes do not trace, or not to functions of one input.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from hundredfold.methods.execution.prunable import is_conv1d
from hundredfold.methods.execution.storage.masked import MaskedWeight

ELEMENTWISE = (
    nn.ReLU, nn.ReLU6, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish, nn.Tanh, nn.Hardtanh, nn.Sigmoid, nn.LeakyReLU, nn.ELU,
    nn.Dropout, nn.Dropout2d, nn.Identity,
)  # fmt: skip
POOLING = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.ZeroPad2d)
ELEMENTWISE_CALLS = (
    torch.relu, torch.tanh, torch.sigmoid, F.relu, F.relu6, F.gelu, F.silu, F.mish, F.hardswish, F.tanh, F.hardtanh,
    F.sigmoid, F.leaky_relu, F.elu, F.dropout, F.dropout2d, "relu", "relu_", "tanh", "sigmoid", "contiguous",
)  # fmt: skip
POOLING_CALLS = (F.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d, F.adaptive_max_pool2d)
BATCH_NORM = ("weight", "bias", "running_mean", "running_var")


@dataclass(frozen=True)
class Axis:
    """One dimension of one parameter that is indexed by the units of a group."""

    module: str
    attribute: str  # of a parameter or a buffer, such as "weight"
    dim: int
    index: Tensor  # long [n, k]: entries of this dimension that belong to each unit, in the full model
    produces: bool = True  # the parameter makes the units' output; else it reads it


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


def _path(module: str, part: str) -> str:
    """Name of a module's part; the root's own name is empty."""
    return f"{module}.{part}" if module else part


def is_linear(module: nn.Module | None) -> bool:
    """Whether a module is a linear layer, transformers' `Conv1D` included."""
    return isinstance(module, nn.Linear) or (module is not None and is_conv1d(module))


def num_inputs(layer: nn.Module) -> int:
    """Inputs of a linear layer, transformers' `Conv1D` included."""
    return layer.weight.shape[0 if is_conv1d(layer) else 1]


def _rows(model: nn.Module, name: str, index: Tensor) -> list[Axis]:
    """What makes units: the outputs of a layer."""
    layer = model.get_submodule(name)
    axes = [Axis(name, "weight", 1 if is_conv1d(layer) else 0, index)]
    return axes if layer.bias is None else [*axes, Axis(name, "bias", 0, index)]


def _columns(model: nn.Module, name: str, index: Tensor) -> Axis:
    """What reads units: the inputs of a layer."""
    return Axis(name, "weight", 0 if is_conv1d(model.get_submodule(name)) else 1, index, produces=False)


def _consecutive(size: int, width: int = 1) -> Tensor:
    return torch.arange(size * width).view(size, width)


def _neurons(model: nn.Module, producers: list[str], reader: str) -> UnitGroup:
    size = num_inputs(model.get_submodule(reader))
    index = _consecutive(size)
    axes = [axis for name in producers for axis in _rows(model, name, index)]
    return UnitGroup(reader, "neuron", size, (*axes, _columns(model, reader, index)), reader, 1)


def _fused_heads(model, name: str, qkv: str, reader: str, heads: int, head_dim: int, resized) -> UnitGroup:
    """Heads whose queries, keys and values are three consecutive parts of one layer's output."""
    index = _consecutive(heads, head_dim)
    fused = torch.cat([index + part * heads * head_dim for part in range(3)], dim=1)
    reader = _path(name, reader)
    axes = (*_rows(model, _path(name, qkv), fused), _columns(model, reader, index))
    return UnitGroup(reader, "head", heads, axes, reader, head_dim, {name: resized})


def _timm_attention(model: nn.Module, name: str, module: nn.Module) -> list[UnitGroup]:
    """timm's vision transformers: heads of a fused `qkv`, read by `proj`."""
    if not all(isinstance(getattr(module, part, None), nn.Linear) for part in ("qkv", "proj")):
        return []
    if not isinstance(module.norm, nn.Identity) or getattr(module, "gate", None) is not None:
        return []
    resized = {"num_heads": 1, "attn_dim": module.head_dim}
    return [_fused_heads(model, name, "qkv", "proj", module.num_heads, module.head_dim, resized)]


def _gpt2_block(model: nn.Module, name: str, module: nn.Module) -> list[UnitGroup]:
    """transformers' GPT-2, with its Conv1D or with linear layers: `c_fc`, `c_proj` and fused `c_attn`, `c_proj`."""
    if not is_linear(getattr(module, "c_proj", None)):
        return []
    if is_linear(getattr(module, "c_fc", None)):
        return [_neurons(model, [_path(name, "c_fc")], _path(name, "c_proj"))]
    if is_linear(getattr(module, "c_attn", None)) and not module.is_cross_attention:
        resized = {"num_heads": 1, "split_size": module.head_dim}
        heads = num_inputs(module.c_proj) // module.head_dim
        return [_fused_heads(model, name, "c_attn", "c_proj", heads, module.head_dim, resized)]
    return []


def _llama_block(model: nn.Module, name: str, module: nn.Module) -> list[UnitGroup]:
    """Gated feed-forward (gate, up, down) and grouped-query attention (key-value groups with their queries)."""
    if isinstance(getattr(module, "gate_proj", None), nn.Linear):
        return [_neurons(model, [_path(name, "gate_proj"), _path(name, "up_proj")], _path(name, "down_proj"))]
    if all(isinstance(getattr(module, f"{part}_proj", None), nn.Linear) for part in "qkvo"):
        head_dim = module.head_dim
        groups = module.k_proj.out_features // head_dim
        width = module.q_proj.out_features // groups
        queries, keys = _consecutive(groups, width), _consecutive(groups, head_dim)
        axes = _rows(model, _path(name, "q_proj"), queries)
        axes += _rows(model, _path(name, "k_proj"), keys) + _rows(model, _path(name, "v_proj"), keys)
        reader = _path(name, "o_proj")
        return [UnitGroup(reader, "head", groups, (*axes, _columns(model, reader, queries)), reader, width)]
    return []


class _Tracer(fx.Tracer):
    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        known = (nn.BatchNorm2d, MaskedWeight, *ELEMENTWISE, *POOLING)  # and what is derived from them
        own = isinstance(module, known) or hasattr(module, "unit_parameters")
        return own or super().is_leaf_module(module, name)


def _graphs(module: nn.Module, name: str, known: set[nn.Module]) -> Iterator[tuple[str, fx.Graph]]:
    """The graph of a module, or of those of its submodules that trace, each with its name.

    Args:
        known: layers of groups that have been found; what contains one is not traced as a whole.
    """
    layers = [m for m in module.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    if len(layers) < 2:
        return
    try:
        graph = None if known.intersection(layers) else _Tracer().trace(module)
    except Exception:  # fx raises whatever the model's own code raises on a symbolic input
        graph = None
    if graph is not None:
        yield name, graph
        return
    for child_name, child in module.named_children():
        yield from _graphs(child, _path(name, child_name), known)


def _chains(model: nn.Module, known: set[nn.Module]) -> list[UnitGroup]:
    """Channels and neurons between a convolution or linear layer and the one that reads them."""
    groups = []
    for root, graph in _graphs(model, "", known):
        calls = {n: _path(root, n.target) for n in graph.nodes if n.op == "call_module"}
        times = Counter(calls.values())
        found = [_follow(model, node, calls) for node in calls]
        groups += [g for g in found if g is not None and all(times[axis.module] == 1 for axis in g.axes)]
    return groups


def _follow(model: nn.Module, node: fx.Node, calls: dict[fx.Node, str]) -> UnitGroup | None:
    """The group of a layer's outputs; None where something else than one layer reads them.

    Args:
        calls: nodes that call a module -> its name in the model.
    """
    name, producer = calls[node], model.get_submodule(calls[node])
    if not isinstance(producer, (nn.Conv2d, nn.Linear)) or getattr(producer, "groups", 1) != 1:
        return None
    image = flattened = isinstance(producer, nn.Conv2d)
    size = len(producer.weight)
    index = _consecutive(size)
    axes, resized = _rows(model, name, index), {}
    while len(readers := [user for user in node.users if not _asks_size(user)]) == 1:
        node = readers[0]
        name, module = calls.get(node), model.get_submodule(calls[node]) if node in calls else None
        if image and isinstance(module, nn.BatchNorm2d):
            axes += [Axis(name, part, 0, index) for part in BATCH_NORM if getattr(module, part) is not None]
        elif image and _is_depthwise(module, size):
            axes += _rows(model, name, index)
            resized[name] = {"groups": 1}
        elif isinstance(module, (nn.Conv2d, nn.Linear)):
            inputs, reads_images = module.weight.shape[1], isinstance(module, nn.Conv2d)
            if reads_images != image or inputs % size or getattr(module, "groups", 1) != 1:
                return None
            if not flattened and inputs != size:
                return None
            reader = Axis(name, "weight", 1, _consecutive(size, inputs // size), produces=False)
            return UnitGroup(name, "neuron", size, (*axes, reader), name, inputs // size, resized)
        elif hasattr(module, "unit_parameters") and not flattened:  # an activation with parameters for every neuron
            axes += [Axis(name, part, 0, index) for part in module.unit_parameters]
        elif image and _flattens(node, module):
            image = False
        elif not _is_one_of(node, module, ELEMENTWISE, ELEMENTWISE_CALLS):
            if not image or not _is_one_of(node, module, POOLING, POOLING_CALLS):
                return None
    return None


def _is_one_of(node: fx.Node, module: nn.Module | None, modules: tuple, calls: tuple) -> bool:
    return isinstance(module, modules) if node.op == "call_module" else node.target in calls


def _is_depthwise(module: nn.Module | None, size: int) -> bool:
    return isinstance(module, nn.Conv2d) and module.groups == module.in_channels == module.out_channels == size > 1


def _asks_size(node: fx.Node) -> bool:
    asks = (node.op == "call_method" and node.target in ("size", "dim")) or node.target is len
    return asks or (node.target is getattr and node.args[1] in ("shape", "ndim", "dtype", "device"))


def _flattens(node: fx.Node, module: nn.Module | None) -> bool:
    """Whether [B, C, height, width] becomes [B, C x pixels], or [B, C] by a mean over the pixels."""
    if module is not None:
        return isinstance(module, nn.Flatten) and module.start_dim == 1 and module.end_dim in (-1, 3)
    given = node.args[1:]
    if node.target in ("flatten", torch.flatten):
        named = dict(zip(("start_dim", "end_dim"), given, strict=False)) | node.kwargs
        return named.get("start_dim") == 1 and named.get("end_dim", -1) in (-1, 3)
    if node.target in ("mean", torch.mean):
        named = dict(zip(("dim", "keepdim"), given, strict=False)) | node.kwargs
        dims = named.get("dim")
        return isinstance(dims, (tuple, list)) and set(dims) in ({2, 3}, {-2, -1}) and not named.get("keepdim", False)
    sizes = given[0] if given and isinstance(given[0], (tuple, list)) else given
    whole_rows = len(sizes) == 2 and _is_batch_size(sizes[0]) and sizes[1] == -1  # a fixed size would not shrink
    return node.target in ("view", "reshape") and whole_rows


def _is_batch_size(value) -> bool:
    if not isinstance(value, fx.Node):
        return False
    if value.target == "size":
        return value.args[1:] == (0,)
    return value.target is operator.getitem and value.args[1] == 0 and _asks_size(value.args[0])


BLOCKS: list[Callable[[nn.Module, str, nn.Module], list[UnitGroup]]] = [_timm_attention, _gpt2_block, _llama_block]


def find_units(model: nn.Module) -> dict[str, UnitGroup]:
    """Every unit group of the model by the name of the layer that reads it, in the model's order.

    Groups of parameters that modules share, or that are computed (parametrizations, weight norm), are left out.
    """
    found = [group for name, module in model.named_modules() for find in BLOCKS for group in find(model, name, module)]
    known = {model.get_submodule(axis.module) for group in found for axis in group.axes}
    found = _chains(model, known) + found
    owners = Counter(id(p) for _, p in model.named_parameters(remove_duplicate=False))
    groups = {group.name: group for group in found if all(_is_own(model, axis, owners) for axis in group.axes)}
    return {name: groups[name] for name, _ in model.named_modules() if name in groups}


def _is_own(model: nn.Module, axis: Axis, owners: Counter) -> bool:
    module = model.get_submodule(axis.module)
    tensor = module._parameters.get(axis.attribute)
    return axis.attribute in module._buffers if tensor is None else owners[id(tensor)] == 1
