"""Quality of a model on a split: on its examples one by one, and on a text that is read from beginning to end.

A window of text knows nothing of what lies before it, so that half of its tokens are predicted with less than half of
a window. Read on, every token has all the context that the model can use: a recurrent network carries its state and
may keep a cache of the last ones, a model of tables looks back as far as it wants, and any other network slides its
window by half of its length.

Legend: N windows, L tokens of a window, n tokens of the text, D units, P tokens of a piece.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hundredfold.methods.views import as_text
from hundredfold.replication.datasets.base import Split
from hundredfold.replication.models.base import Learner
from hundredfold.replication.models.gru import GruLM
from hundredfold.replication.state_cache import SHARPNESS, StateCache, chosen, joined

if TYPE_CHECKING:
    from hundredfold.replication.module import TrainingModule

PIECE = 1024  # tokens that a recurrent network reads at once


@torch.no_grad()
def evaluate(module: TrainingModule, split: Split, batch_size: int = 256) -> tuple[dict[str, Any], Tensor]:
    """Accuracy and mean loss over a split, and whether each prediction is right (bool, one per prediction)."""
    module.model.eval()
    correct, loss, count = [], 0.0, 0
    for start in range(0, len(split.inputs), batch_size):
        part = slice(start, start + batch_size)
        x, y = split.inputs[part].to(module.device_of_run), split.targets[part].to(module.device_of_run)
        x, y = module.experiment.dataset.prepare(x, y)
        y = y.flatten()
        with module.autocast():
            logits = module.model(x)
        logits = logits.flatten(0, -2).float()
        correct.append(logits.argmax(1) == y)
        loss += float(F.cross_entropy(logits, y, reduction="sum"))
        count += len(y)
    bits = torch.cat(correct)
    return {"accuracy": float(bits.float().mean()), "loss": loss / count, "num_examples": count}, bits


@torch.no_grad()
def read_on(module: TrainingModule, splits: dict[str, Split], batch_size: int = 64) -> dict[str, Any] | None:
    """Mean loss per token of texts that are read from beginning to end; None where a split is no such text.

    Args:
        splits: name -> text; what a cache of states needs is chosen on the first of them.
    Returns:
        name -> loss in nats, num_examples, cpu_s of reading, and `context`: "carried" state, the "whole" text before,
        or a "sliding" window. With a cache of states, `cache` says what was chosen and what the loss is without.
    """
    if module.spec.kind != "text":
        return None
    if not all(torch.equal(split.targets[:-1, -1], split.inputs[1:, 0]) for split in splits.values()):
        return None
    module.model.eval()
    found: dict[str, Any] = {}
    cache: dict[str, float] | None = None
    for name, split in splits.items():
        inputs, targets = module.experiment.dataset.prepare(*split)
        begin, more = time.process_time(), {}
        if isinstance(module.model, Learner):
            context, losses = "whole", module.model.read_on(as_text(inputs, targets))
        elif isinstance(module.model, GruLM):
            context = "carried"
            losses, cache = _carried(module, inputs.flatten(), targets.flatten(), cache)
            more = {"cache": cache} if cache else {}
        else:
            context = "sliding"
            losses = _sliding(module, inputs.flatten(), targets.flatten(), inputs.shape[1], batch_size)
        loss, seconds = float(losses.double().mean()), time.process_time() - begin
        found[name] = {"loss": loss, "num_examples": len(losses), "cpu_s": seconds, "context": context} | more
    return found


def _carried(
    module: TrainingModule, inputs: Tensor, targets: Tensor, known: dict[str, float] | None
) -> tuple[Tensor, dict[str, float] | None]:
    """Losses [n] of a recurrent network that keeps its state; its cache, None where it has none.

    Args:
        known: the cache as it was on a text before; None chooses it on this text.
    """
    model, plain, cached = module.model, [], []
    tried = (known["sharpness"],) if known else SHARPNESS
    cache = StateCache(model.cache, tried)
    with model.reading():
        for start in range(0, len(inputs), PIECE):
            part = slice(start, start + PIECE)
            plain.append(_losses(module, inputs[None, part], targets[None, part])[0].double().cpu())
            if model.cache:
                cached.append(cache.read(model.hidden[0].float(), targets[part].to(model.hidden.device)))
    losses = torch.cat(plain)
    if not cached:
        return losses, None
    given = dict(zip(tried, torch.cat(cached, 1), strict=True))
    sharpness, share = (known["sharpness"], known["share"]) if known else chosen(losses, given)
    found = {"sharpness": sharpness, "share": share, "loss_without": float(losses.mean())}
    return joined(losses, given[sharpness], share), found


def _sliding(module: TrainingModule, inputs: Tensor, targets: Tensor, length: int, batch_size: int) -> Tensor:
    """Losses [n]; every token but those of the first window has half of a window before it, or more."""
    stride = max(1, length // 2)
    starts = list(range(0, len(inputs) - length + 1, stride))
    losses = torch.zeros(len(inputs))
    for first in range(0, len(starts), batch_size):
        some = starts[first : first + batch_size]
        rows = torch.tensor(some, device=inputs.device)[:, None] + torch.arange(length, device=inputs.device)
        found = _losses(module, inputs[rows], targets[rows]).cpu()
        for start, row in zip(some, found, strict=True):
            known = 0 if start == 0 else length - stride
            losses[start + known : start + length] = row[known:]
    return losses[: starts[-1] + length]


def _losses(module: TrainingModule, inputs: Tensor, targets: Tensor) -> Tensor:
    """Loss of every token, [N, L]."""
    device = module.device_of_run
    with module.autocast():
        logits = module.model(inputs.to(device))
    return F.cross_entropy(logits.float().transpose(1, 2), targets.to(device), reduction="none")
