"""The optimizer of a recipe, and Muon, which torch has for matrices alone and in bfloat16."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn

from hundredfold.methods.execution.prunable import is_conv1d
from hundredfold.replication.recipe import Recipe

# Float32 traffic of one stored parameter and step: read twice by the products, and by the optimizer read and written
# (AdamW: weight, gradient and two moments read, three written; SGD and Muon: weight, gradient and momentum read, two
# written).
BYTES_PER_PARAMETER = {"adamw": 8 + 28, "sgd": 8 + 20, "muon": 8 + 20}

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the odd polynomial whose iterates bring singular values near 1
RMS = 0.2  # of an update at a rate of 1, as AdamW's updates have it


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimizer, with the fused kernel of the device; biases and norms do not decay."""
    inside = dict(hidden(model)) if recipe.optimizer == "muon" else {}
    rest = [p for p in model.parameters() if p not in inside]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in rest if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, recipe.learning_rate, momentum=recipe.betas[0], nesterov=True, fused=True)
    if recipe.optimizer == "muon":
        for stacked in sorted(set(inside.values())):
            matrices = [p for p in model.parameters() if inside.get(p) == stacked]
            mark = {"orthogonal": stacked, "ns_steps": recipe.ns_steps}
            groups.append({"params": matrices, "weight_decay": recipe.weight_decay, **mark})
        return Muon(groups, recipe.learning_rate, recipe.betas, fused=True)
    return torch.optim.AdamW(groups, recipe.learning_rate, recipe.betas, fused=True)


def hidden(model: nn.Module) -> Iterator[tuple[nn.Parameter, int]]:
    """Weights between the inputs and the output, and how many matrices are stacked in each.

    Those of linear layers, convolutions and recurrent layers, which stack one matrix for each gate; neither embeddings
    nor the head.
    """
    layers = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv1d | nn.Conv2d) or is_conv1d(m)]
    yield from ((cast(nn.Parameter, layer.weight), 1) for layer in layers[:-1])
    for module in model.modules():
        if isinstance(module, nn.RNNBase):
            gates = len(cast(Tensor, module.weight_hh_l0)) // module.hidden_size
            yield from ((p, gates) for p in module.parameters() if p.ndim > 1)


class Muon(torch.optim.AdamW):
    """Momentum whose matrices are made orthogonal, for the groups marked `orthogonal`; AdamW for all others.

    The mark is how many matrices a weight stacks, [n * O, I]; each is made orthogonal by itself. A kernel counts as
    the matrix of its outputs [O, I * H * W]. An update has the root mean square of AdamW's, so that one rate serves
    both. An entry that never had a gradient gets no update: a weight that does not exist stays 0. The FLOPs of an
    optimizer are in no account; its joules are.
    Source: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/ (Nesterov's momentum, Newton-Schulz
    iterations, five of them, and their coefficients); Liu et al. 2025, arXiv:2502.16982 (decay and the scale of AdamW).
    """

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # no closure in this loop
        groups = self.param_groups
        self.param_groups = [group for group in groups if not group.get("orthogonal")]
        try:
            super().step()
        finally:
            self.param_groups = groups
        for group in groups:
            for weight in group["params"] if group.get("orthogonal") else ():
                if weight.grad is not None:
                    self._step(weight, group)

    def _step(self, weight: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(weight)
            state["step"] = torch.zeros(())  # which AdamW looks for when a state is loaded
        momentum, beta, rate = state["momentum_buffer"], group["betas"][0], group["lr"]
        momentum.lerp_(weight.grad, 1 - beta)
        ahead = weight.grad.lerp(momentum, beta).flatten(1)
        ahead = ahead.unflatten(0, (group["orthogonal"], -1)) if group["orthogonal"] > 1 else ahead
        scale = RMS * max(ahead.shape[-2:]) ** 0.5
        update = orthogonal(ahead, group["ns_steps"]).reshape(weight.shape).mul_(momentum != 0)
        weight.mul_(1 - rate * group["weight_decay"]).add_(update, alpha=-rate * scale)


def orthogonal(matrix: Tensor, iterations: int) -> Tensor:
    """Matrices [..., m, n] with their singular values near 1; bfloat16 on an accelerator, where that is fast."""
    a, b, c = COEFFICIENTS
    wide = matrix if matrix.shape[-2] <= matrix.shape[-1] else matrix.mT
    x = wide if matrix.device.type == "cpu" else wide.bfloat16()
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    x = x.reshape(-1, *x.shape[-2:])
    for _ in range(iterations):  # x = a x + (b G + c G G) x with G = x x', in three products
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    x = x.reshape(wide.shape)
    return (x if wide is matrix else x.mT).to(matrix.dtype)
