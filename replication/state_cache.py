"""A recurrent network's cache of its own last states: what followed a state like this one comes again.

    p(x) = (1 - s) p_network(x) + s p_cache(x),   p_cache(x) = sum_i softmax_i(k h_t . h_i) [x_(i+1) = x]

over the last W states h_i whose next token has been read. The cache is a function of the text before, and nothing is
learned: the counterpart of counts within a window (tools/mixing/window.py). k and s are chosen on the validation text.

Legend: n tokens of the text, D units, W states kept, P tokens of a piece, K values of k.
Source: Grave, Joulin and Usunier 2017, arXiv:1612.04426, equations 2 to 4 (there theta and lambda).
"""

from __future__ import annotations

import torch
from torch import Tensor

SHARPNESS = (0.03, 0.06, 0.1, 0.15, 0.2, 0.3, 0.45, 0.7, 1.0)  # k
SHARES = (0.0, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.13, 0.16, 0.2, 0.25, 0.3)  # s; 0 is the network alone


class StateCache:
    """The last states of a network that reads a text piece by piece.

    Args:
        kept: W.
        sharpness: the values of k that are tried.
    """

    def __init__(self, kept: int, sharpness: tuple[float, ...]):
        self.kept, self.sharpness = kept, sharpness
        self.states: Tensor | None = None
        self.tokens: Tensor | None = None

    def read(self, states: Tensor, tokens: Tensor) -> Tensor:
        """What it gives to the token that came, float64 [K, P]; NaN where nothing has been read.

        Args:
            states: [P, D], those that follow on the last ones read.
            tokens: long [P]; what came after each.
        """
        keys = states if self.states is None else torch.cat([self.states, states])
        came = tokens if self.tokens is None else torch.cat([self.tokens, tokens])
        places = torch.arange(len(keys), device=keys.device)
        age = places[-len(states) :, None] - places
        alike = (states @ keys.T).masked_fill_((age < 1) | (age > self.kept), float("-inf"))
        same = (tokens[:, None] == came).to(alike.dtype)
        found = torch.stack([((k * alike).softmax(1) * same).sum(1) for k in self.sharpness])
        self.states, self.tokens = keys[-self.kept :], came[-self.kept :]
        return found.double().cpu()


def joined(plain: Tensor, cached: Tensor, share: float) -> Tensor:
    """Losses in nats, float64 [n], of network and cache together.

    Args:
        plain: losses of the network alone, float64 [n].
        cached: what the cache gives, float64 [n]; NaN where nothing has been read.
    """
    mixed = -((1 - share) * (-plain).exp() + share * cached).log()
    return torch.where(cached.isnan(), plain, mixed)


def chosen(plain: Tensor, cached: dict[float, Tensor]) -> tuple[float, float]:
    """The sharpness and the share that are best on a text; `cached` has one for each sharpness."""
    tried = {(k, s): float(joined(plain, row, s).mean()) for k, row in cached.items() for s in SHARES}
    return min(tried, key=lambda pair: tried[pair])
