"""Calling a function of the model between steps, without a trace but its cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from hundredfold.methods.execution.context import Context


def probe(context: Context, function: Callable[[nn.Module], Any]) -> Any:
    """Call a function of the model, charge its FLOPs, and undo what it changes."""
    model = context.model
    devices = sorted({p.device for p in model.parameters() if p.is_cuda}, key=str)
    tensors = [*model.parameters(), *model.buffers()]
    saved, grads = [t.detach().clone() for t in tensors], [t.grad for t in tensors]
    modes = [(module, module.training) for module in model.modules()]
    for tensor in tensors:
        tensor.grad = None
    with torch.random.fork_rng(devices), FlopCounterMode(display=False) as counter, torch.enable_grad():
        result = function(model)
    with torch.no_grad():
        for tensor, value, grad in zip(tensors, saved, grads, strict=True):
            tensor.copy_(value)
            tensor.grad = grad
    for module, mode in modes:
        module.training = mode
    context.charge(float(counter.get_total_flops()))
    return result
