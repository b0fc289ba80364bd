"""A recurrent language model: long short-term memory between an embedding and a linear head."""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from hundredfold.methods.options import Count, CountOrZero
from hundredfold.replication.models.base import Model, scaled_neurons
from hundredfold.replication.models.gru import GruLM


@dataclass(frozen=True)
class Lstm(Model):
    """Long short-term memory (torch's class and initialisation).

    Source: Hochreiter and Schmidhuber 1997; forget gates: Gers et al. 2000.
    """

    dim: Count = 64  # token embedding
    hidden: Count = 128  # units of a layer
    depth: Count = 1
    cache: CountOrZero = 0  # last states that predict too, where a text is read on; 0: none

    kinds: ClassVar[tuple[str, ...]] = ("text",)
    small: ClassVar[dict[str, Any]] = {"dim": 16, "hidden": 24}

    def construct(self, spec, width):
        hidden = scaled_neurons(self.hidden, width)
        return GruLM(spec.num_classes, self.dim, hidden, self.depth, self.cache, nn.LSTM)
