"""A loss of a module's own, for models that are trained in loops that know nothing of it."""

import torch
from torch import Tensor


class WithLoss(torch.autograd.Function):
    """The identity of y; adds the gradient of an auxiliary loss, in whatever loop the model is trained."""

    @staticmethod
    def forward(ctx, y: Tensor, loss: Tensor) -> Tensor:
        return y.view_as(y)

    @staticmethod
    def backward(ctx, grad: Tensor):
        return grad, torch.ones((), dtype=grad.dtype, device=grad.device)
