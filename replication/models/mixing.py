"""A language model of looked-up counts and gated mixers: for every token a handful of numbers out of millions."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import nn

from hundredfold.methods.tools.mixing.options import MixingOptions
from hundredfold.methods.views import as_text
from hundredfold.replication.models.base import Learner, Model

if TYPE_CHECKING:
    from hundredfold.methods.tools.mixing.model import Mixing as Mixer

MARKS = ("frequencies", "position", "tally")  # of the arrays: what is counted on the way, and no part of the model


class MixingLM(Learner):
    """The mixing model as a module: its tables and mixers are parameters that share the memory of its arrays."""

    def __init__(self, mixer: "Mixer"):
        super().__init__()
        self.mixer, self.examples, self.length = mixer, 0, 1
        for name, array in mixer.arrays().items():
            if name in MARKS:
                self.register_buffer(name, torch.from_numpy(array))
            else:
                self.register_parameter(name, nn.Parameter(torch.from_numpy(array), requires_grad=False))
        self.register_load_state_dict_post_hook(lambda module, keys: module.mixer.plant())

    def prepare(self):
        from hundredfold.methods.tools.mixing.model import compile_kernels

        compile_kernels()

    def attach(self, training):
        """Take the windows as one text; those that `fraction` leaves out are no part of it."""
        self.length = training.inputs.shape[1]
        self.mixer.attach(as_text(training.inputs, training.targets).long().numpy())

    def learn(self, examples, rate):
        return float(self.mixer.advance(examples * self.length, rate).mean())

    def flops(self):
        return tuple(self.mixer.cost())

    def read_on(self, tokens):
        tokens = tokens.long().numpy()
        return torch.from_numpy(self.mixer.score(tokens[1:], context=tokens[:1]))

    def forward(self, tokens):
        logs = [self.mixer.log_probabilities(row, first=1) for row in tokens.numpy()]
        return torch.from_numpy(np.stack(logs)).float()


@dataclass(frozen=True)
class Mixing(MixingOptions, Model):
    """Context mixing: counts of what followed each context, and mixers whose weights the context chooses.

    Source: Mahoney 2005 (PAQ); as a gated linear network, Veness et al. 2019, arXiv:1910.01526. Differs: symbols are
    coded as binary decisions by a Huffman tree; the mixers learn from counts of other places, a block at a time.
    """

    kinds: ClassVar[tuple[str, ...]] = ("text",)
    learns: ClassVar[bool] = True
    small: ClassVar[dict[str, Any]] = {"contexts": ("s1", "s1-2"), "table_bits": 10, "row_bits": 8}

    def construct(self, spec, width):
        from hundredfold.methods.tools.mixing.alphabet import characters
        from hundredfold.methods.tools.mixing.model import Mixing as Mixer

        return MixingLM(Mixer(spec.num_classes if spec.symbols is None else characters(spec.symbols), self))
