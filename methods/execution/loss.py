"""The loss that a session trains by unless it is given another."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn


def logits_of(output: Any) -> Tensor:
    """The logits of a model's output, which is that of a plain module or a record of transformers."""
    return getattr(output, "logits", output)


def cross_entropy(model: nn.Module, inputs: Tensor, targets: Tensor, reduction: str, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy in nats: its mean, or with reduction "none" one value per example, [B].

    Args:
        smoothing: share of the target spread over all classes (Szegedy et al. 2016, arXiv:1512.00567).
    """
    logits = logits_of(model(inputs)).flatten(0, -2).float()
    loss = F.cross_entropy(logits, targets.flatten(), reduction=reduction, label_smoothing=smoothing)
    return loss if reduction == "mean" else loss.view(len(targets), -1).mean(1)
