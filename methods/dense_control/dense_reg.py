"""The rival of every method that claims to prevent overfitting: dense training with its best regularisation.

Dropout on what hidden neurons send on, a weight decay of its own, and an early stop at a fraction of the schedule that
is chosen on validation. Source: Srivastava et al. 2014 (dropout); the question is that of "No Train No Gain", Kaddour
et al. 2023, arXiv:2307.06440. Extra cost: none.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from hundredfold.methods.base import Method
from hundredfold.methods.execution.parts import Modules, Part
from hundredfold.methods.options import Fraction, Probability, Strength
from hundredfold.methods.views import Site


@dataclass(frozen=True)
class DenseReg(Method):
    """Dense training with dropout, weight decay and an early stop."""

    small: ClassVar[dict[str, Any]] = {"dropout": 0.0, "weight_decay": 0.2, "stop": 0.5}
    source = "control: the best regularised dense network"

    dropout: Probability = 0.1  # probability that a hidden neuron is silent
    weight_decay: Strength | None = None  # null keeps the recipe's
    stop: Fraction = 1.0  # fraction of the schedule after which training stops, undecayed

    def parts(self) -> list[Part]:
        return [Modules(self, self.adapt)]

    @property
    def recipe(self) -> dict[str, float]:
        return {} if self.weight_decay is None else {"weight_decay": self.weight_decay}

    def positions(self, steps: int) -> range:
        return range(max(1, round(self.stop * steps)))

    def adapt(self, model: nn.Module, site: Site) -> None:
        names = [group.reads for group in site.units().values() if group.kind == "neuron"]
        if not names and hasattr(model, "lm_head"):  # a recurrent model has no groups
            names = ["lm_head"]
        for name in names:
            model.get_submodule(name).register_forward_pre_hook(partial(_drop, self.dropout))


def _drop(probability: float, reader: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor]:
    return (F.dropout(args[0], probability, reader.training),)
