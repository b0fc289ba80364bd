"""Watches the outputs of unit groups in the training step itself: no forward or backward pass of its own.

On an observed step one hook per group sees the units' output h [T, n] on its way into the layer that reads it, and
the loss's gradient with respect to it on the way back. What was seen stays on the device until somebody asks; the host
then waits once for all of it. Everything is kept in the coordinates of the full model.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial

import torch
from torch import Tensor, nn

from hundredfold.methods.execution import ranks
from hundredfold.methods.execution.host import fetched
from hundredfold.methods.execution.units.groups import UnitGroup
from hundredfold.methods.execution.units.store import UnitStore

DECAY = 0.9
AVERAGES = ("importance", "fires", "mean", "second")
MAX_TOKENS = 256  # tokens of a batch that are looked at; more cost time and change the averages little


@dataclass
class UnitStatistics:
    """Exponential averages of one group, [n] each, on the CPU; `observed` counts, for the bias correction."""

    observed: Tensor
    importance: Tensor
    fires: Tensor
    mean: Tensor
    second: Tensor

    @classmethod
    def empty(cls, size: int) -> UnitStatistics:
        return cls(torch.zeros(size, dtype=torch.long), *[torch.zeros(size) for _ in range(4)])

    def update(self, ids: Tensor, values: Tensor) -> None:
        """Take one observation: of the units `ids` [m] their values of AVERAGES, [4, m]."""
        self.observed[ids] += 1
        for name, value in zip(AVERAGES, values, strict=True):
            average = getattr(self, name)
            average[ids] = DECAY * average[ids] + (1 - DECAY) * value

    def corrected(self, name: str) -> Tensor:
        """The average without the bias towards its start at zero; 0 for units that were never observed."""
        return getattr(self, name) / (1 - DECAY ** self.observed.clamp(min=1))


class Observer:
    """Statistics of every unit group, gathered on the steps between `start` and `stop`."""

    def __init__(self, model: nn.Module, store: UnitStore):
        self.model, self.store, self.groups = model, store, store.groups
        self.statistics = {name: UnitStatistics.empty(group.size) for name, group in self.groups.items()}
        self.samples: dict[str, tuple[Tensor, Tensor]] = {}  # group -> (unit ids [m], outputs [T, m])
        self._seen: list[tuple[str, Tensor, Tensor]] = []  # (group, unit ids [m], averages of one step [4, m])
        self._sampled: dict[str, tuple[Tensor, Tensor]] = {}  # the last samples, on the device
        self._handles: list = []

    def start(self) -> None:
        for name, group in self.groups.items():
            reader = self.model.get_submodule(group.reads)
            self._handles.append(reader.register_forward_pre_hook(self._watch(name, group)))

    def stop(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def settle(self) -> None:
        """Fetch what was seen, and bring the averages up to date."""
        tensors = [values for _, _, values in self._seen] + [outputs for _, outputs in self._sampled.values()]
        found = fetched(tensors)
        for (name, ids, _), values in zip(self._seen, found[: len(self._seen)], strict=True):
            self.statistics[name].update(ids, values)
        for (name, (ids, _)), outputs in zip(self._sampled.items(), found[len(self._seen) :], strict=True):
            self.samples[name] = (ids, outputs)
        self._seen.clear(), self._sampled.clear()

    def pool(self) -> None:
        """Average the statistics over all ranks.

        Means of shares are means of the batch; importance is larger by the number of ranks, for all units alike, since
        a gradient belongs to the mean loss of a share.
        """
        self.settle()
        ranks.average(getattr(values, name) for values in self.statistics.values() for name in AVERAGES)

    def sample(self, name: str) -> Tensor | None:
        """Outputs of the last observed tokens, [T, n] on the CPU; 0 where a unit did not exist; None for heads."""
        if name not in self.samples:
            return None
        ids, outputs = self.samples[name]
        full = outputs.new_zeros(outputs.shape[0], self.groups[name].size)
        full[:, ids] = outputs
        return full

    def state_dict(self) -> dict:
        self.settle()
        return {
            name: {f.name: getattr(values, f.name) for f in fields(values)}
            for name, values in self.statistics.items()
        } | {"samples": {name: list(pair) for name, pair in self.samples.items()}}

    def load_state_dict(self, state: dict) -> None:
        self.samples = {name: tuple(pair) for name, pair in state["samples"].items()}
        self.statistics = {name: UnitStatistics(**state[name]) for name in self.statistics}

    def _watch(self, name: str, group: UnitGroup):
        def hook(module: nn.Module, args: tuple) -> None:
            if args[0].requires_grad:
                args[0].register_hook(partial(self._record, name, group, args[0].detach()))

        return hook

    def _record(self, name: str, group: UnitGroup, h: Tensor, grad: Tensor) -> None:
        ids = self.store.alive[name].nonzero().flatten()
        image = h.ndim == 4  # [B, channels, height, width]: a unit's outputs are the pixels of one example
        if image:
            h, grad = h.flatten(2)[:MAX_TOKENS], grad.flatten(2)[:MAX_TOKENS]
        else:
            h, grad = (t.reshape(-1, t.shape[-1] // group.width, group.width)[:MAX_TOKENS] for t in (h, grad))
        if not self.store.compact:
            h, grad = h[:, ids], grad[:, ids]
        importance = (h * grad).sum(2).abs().mean(0)
        fires = (h != 0).float().mean((0, 2)) if image else (h != 0).any(2).float().mean(0)
        averages = [importance, fires, h.mean((0, 2)), h.square().mean((0, 2))]
        self._seen.append((name, ids, torch.stack([average.float() for average in averages])))
        if group.width == 1 and not image:
            self._sampled[name] = (ids, h[:, :, 0].clone())
