"""A recurrent language model: gated recurrent units between an embedding and a linear head."""

from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from hundredfold.methods.options import Count, CountOrZero
from hundredfold.replication.models.base import Model, scaled_neurons


class GruLM(nn.Module):
    """Next-token logits [B, L, C] of tokens [B, L]; the state starts at zero in every window.

    Args:
        cell: torch's class of the recurrent layers.
        cache: how many of its last states predict too where it reads a long text; see state_cache.py.

    Attributes:
        state: what the next piece of a long text goes on from; None outside `reading` and before its first piece.
        hidden: states [B, L, D] of the last piece read.
    """

    def __init__(self, vocabulary, dim, hidden, depth, cache, cell=nn.GRU):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, dim)
        self.rnn = cell(dim, hidden, depth, batch_first=True)
        self.lm_head = nn.Linear(hidden, vocabulary)
        self.cache, self.carried = cache, False
        self.state, self.hidden = None, None

    def forward(self, tokens):
        h, state = self.rnn(self.embedding(tokens), self.state)
        if self.carried:
            self.state, self.hidden = state, h
        return self.lm_head(h)

    @contextmanager
    def reading(self):
        """Within it each call goes on where the last one ended: the pieces of one long text."""
        self.carried = True
        try:
            yield
        finally:
            self.carried, self.state, self.hidden = False, None, None

    def continued(self, tokens, memory=None):
        """Logits of the token after these [B, C], and what to hand over with the tokens that follow them."""
        h, memory = self.rnn(self.embedding(tokens), memory)
        return self.lm_head(h[:, -1]), memory


@dataclass(frozen=True)
class Gru(Model):
    """Gated recurrent network (torch's class and initialisation).

    Source: Cho et al. 2014, arXiv:1406.1078.
    """

    dim: Count = 64  # token embedding
    hidden: Count = 128  # units of a layer
    depth: Count = 1
    cache: CountOrZero = 0  # last states that predict too, where a text is read on; 0: none

    kinds: ClassVar[tuple[str, ...]] = ("text",)
    small: ClassVar[dict[str, Any]] = {"dim": 16, "hidden": 24}

    def construct(self, spec, width):
        return GruLM(spec.num_classes, self.dim, scaled_neurons(self.hidden, width), self.depth, self.cache)
