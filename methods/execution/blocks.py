"""Residual blocks of a model, and running one on some of the token positions only."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def find_blocks(model: nn.Module) -> tuple[str, ...]:
    """Names of the residual blocks in order: the longest chain of two or more composite modules of one class.

    timm's `blocks`, GPT-2's `h` and Llama's `layers` are such chains; a plain multilayer perceptron has none.
    """
    chains = []
    for name, module in model.named_modules():
        if isinstance(module, (nn.ModuleList, nn.Sequential)):
            children = list(module.named_children())
            kinds = {type(child) for _, child in children}
            if len(children) > 1 and len(kinds) == 1 and any(True for _ in children[0][1].children()):
                chains.append(tuple(f"{name}.{child}" if name else child for child, _ in children))
    return max(chains, key=len, default=())


def find_stem(model: nn.Module, blocks: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the parameters that are registered before the first block: embeddings."""
    names = [name for name, _ in model.named_parameters()]
    first = next((i for i, name in enumerate(names) if blocks and name.startswith(f"{blocks[0]}.")), 0)
    return tuple(names[:first])


def run_on_tokens(forward: Callable, x: Tensor, tokens: Tensor, *args, **kwargs) -> Tensor:
    """Call a block on the positions `tokens` [k] of x [B, L, D]; all others pass unchanged.

    Arguments with one entry per position (rotary embeddings, position ids, attention masks) are cut likewise.
    """
    if not len(tokens):
        return x
    length = x.shape[1]

    def cut(value):
        if isinstance(value, tuple):
            return tuple(cut(item) for item in value)
        if not torch.is_tensor(value):
            return value
        for dim in range(1, value.ndim):
            if value.shape[dim] == length and (dim == 1 or value.ndim == 4):
                value = value.index_select(dim, tokens)
        return value

    args, kwargs = tuple(cut(a) for a in args), {name: cut(value) for name, value in kwargs.items()}
    return x.index_copy(1, tokens, forward(x.index_select(1, tokens), *args, **kwargs).to(x.dtype))
