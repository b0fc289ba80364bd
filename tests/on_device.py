"""A method at work on a small model on a CUDA device, real or pretend, and how often it makes the host wait."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from hundredfold.methods.base import Method
from hundredfold.methods.execution.loss import cross_entropy
from hundredfold.methods.execution.session import Session
from hundredfold.methods.views import Batch
from tests.pretend_device import Log
from tests.test_matrix import BATCH, build

TOTAL = 48  # steps of the schedule


def loss(model: nn.Module, inputs: Tensor, targets: Tensor, reduction: str) -> Tensor:
    """Cross-entropy as a run on a GPU computes it, its products in bfloat16."""
    with torch.autocast("cuda", torch.bfloat16):
        return cross_entropy(model, inputs, targets, reduction)


class OnDevice:
    """A session on the device.

    Args:
        model: a model of the test matrix, by name.
        units: group -> bool [n], for a method that starts from the units of another run.
        hooks: further arguments of the session.
    """

    def __init__(self, method: Method, model: str, units: dict[str, Tensor] | None = None, **hooks):
        self.model, inputs, targets = build(model)
        self.model.to("cuda")
        self.training = Batch(inputs.cuda(), targets.cuda(), torch.arange(len(inputs)).cuda())
        self.optimizer = torch.optim.AdamW(self.model.parameters(), 1e-3, fused=True)
        common = {"total_steps": TOTAL, "seed": 1, "loss": loss, "training": self.training, "reference": units}
        self.session = Session(self.model, method, self.optimizer, **common, **hooks)

    def batches(self, steps: int) -> list[Batch]:
        """The batches of so many steps, cut out beforehand."""
        rows = [((torch.arange(BATCH) + i) % len(self.training.inputs)).cuda() for i in range(steps)]
        return [Batch(*(part[chosen] for part in self.training)) for chosen in rows]

    def step(self, batch: Batch) -> Tensor:
        """The loss of one training step."""
        loss = self.session.backward(*batch)
        self.session.step()
        self.optimizer.zero_grad()
        return loss


class Waits(NamedTuple):
    """(kind, place) -> waits, of the median plain step and of the update that waits most; `total()` adds them up.

    An update is a step after which the method decides, together with the next one, whose cost may be counted anew.
    Any other step is plain, unless its cost is counted; some methods watch a few of them, which the median leaves out.
    """

    plain: Counter[tuple[str, str]]
    update: Counter[tuple[str, str]]


def waits(method: Method, model: str, log: Log, steps: int = 24) -> Waits:
    """What a method makes the host wait for, in the first steps of a schedule of 48.

    Args:
        model: a model of the test matrix, by name.
        log: of the pretend device, which is open.
    """
    entered: set[str] = set()

    @contextmanager
    def note(name: str):
        entered.add(name)
        yield

    training = OnDevice(method, model, selecting=lambda: note("selecting"), accounting=lambda: note("accounting"))
    plain, updates, settling = [], [Counter()], False
    for batch in training.batches(steps):
        entered.clear(), log.waits.clear()
        training.step(batch)
        seen = Counter(log.waits)
        if settling:
            updates[-1] += seen
        elif "selecting" in entered:
            updates.append(seen)
        elif "accounting" not in entered:
            plain.append(seen)
        settling = "selecting" in entered and not settling
    plain = plain or [Counter()]
    return Waits(sorted(plain, key=Counter.total)[len(plain) // 2], max(updates, key=Counter.total))
