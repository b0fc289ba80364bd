"""What the two language models share: from a model of transformers to a plain module of tokens and logits."""

import torch
from torch import nn


class CausalLM(nn.Module):
    """Next-token logits from a body and a head of transformers, without caches, labels or output records.

    Args:
        body: maps `input_ids` to an output whose first item is the hidden state [B, L, D].
        head: hidden state -> logits [B, L, C].
    """

    def __init__(self, body, head):
        super().__init__()
        self.body = body
        self.lm_head = head

    def forward(self, tokens):
        return self.lm_head(self.body(input_ids=tokens, use_cache=False)[0])


def fresh_linear(inputs, outputs, bias, std):
    """Make a linear layer as transformers initialises one: normal weights of deviation `std`, zero bias."""
    layer = nn.Linear(inputs, outputs, bias=bias)
    nn.init.normal_(layer.weight, std=std)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def linear_from_conv1d(conv):
    """Make the `nn.Linear` [O, I] that computes what a `Conv1D` [I, O] of transformers does."""
    inputs, outputs = conv.weight.shape
    layer = nn.Linear(inputs, outputs, device=conv.weight.device, dtype=conv.weight.dtype)
    with torch.no_grad():
        layer.weight.copy_(conv.weight.T)
        layer.bias.copy_(conv.bias)
    return layer


def replace_conv1d(module):
    """Put a linear layer in the place of every `Conv1D` below `module`; the function computed stays the same."""
    from transformers.pytorch_utils import Conv1D

    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Conv1D):
                setattr(parent, name, linear_from_conv1d(child))
