"""Parameters that are looked up, not multiplied: capacity at almost no FLOPs for any language model of the suite.

Five kinds. `counted`: n-gram tables of the training split, built before the first step; the network adds its logits
to their log-probabilities, weighted by a learned gate, and in training every position's own occurrence is left out of
its rows, or the gate would trust what it will not have later. `mixed`: a mixing model learns the training split before
the first step, and its log-probabilities are added to the network's logits; in training they are those that it gives
without the counts of that part of the text. `averaged`: the same model beside a network that is trained without it;
what is predicted is the mean of both distributions. `hashed`: learned rows for the hashes of the last 2 to `order`
tokens, added to the token embedding. `product_keys`: a layer of values found by product keys, added to what the head
reads. Learned tables have sparse gradients, and their optimizer touches only the rows looked up.

Source: Kneser and Ney 1995 (counted); Svenstrup et al. 2017, arXiv:1709.03933 and Roy et al. 2022, arXiv:2203.12644
(hashed); Lample et al. 2019, arXiv:1907.05242, section 3 (product keys); the mixture of counts and a network is in the
spirit of Grave et al. 2017, arXiv:1612.04426. Differs: values are found once, before the head, not in every block; the
tables of all heads are one. Extra cost: building and reading the tables, charged as 2 FLOPs per probability and order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from hundredfold.methods.base import Method
from hundredfold.methods.execution.parts import Modules, Part
from hundredfold.methods.options import Count, Fraction, Within
from hundredfold.methods.tools.ngram_tables import NgramTables
from hundredfold.methods.views import Batch, Site, as_text

if TYPE_CHECKING:
    from hundredfold.methods.tools.mixing.model import Mixing


BY_MIXING = ("mixed", "averaged")  # kinds that ask a mixing model
MOST_BEFORE = 4096  # tokens of a text read on that are kept: more than the longest context and window
MOST_BYTES = 2**32  # of the log-probabilities that kind=mixed keeps


class CountedHead(nn.Module):
    """Logits of a head plus a gate times the tables' log-probabilities."""

    def __init__(self, head: nn.Linear, tables: NgramTables, site: Site):
        super().__init__()
        self.head, self.tables, self.site = head, tables, site
        self.gate = nn.Linear(head.in_features, 1)
        self.trust = nn.Parameter(torch.zeros(tables.order + 1))  # by the number of context tokens that are known
        nn.init.zeros_(self.gate.weight)
        nn.init.ones_(self.gate.bias)
        self.tokens: Tensor | None = None

    def forward(self, h: Tensor) -> Tensor:
        batch: Batch | None = self.site.batch()
        log_p, known = self.tables.log_probabilities(self.tokens, None if batch is None else batch.targets)
        if batch is not None:
            self.site.charge(2.0 * log_p.numel() * (self.tables.order + 1))
        gate = self.gate(h) + self.trust[known].view(*h.shape[:-1], 1)
        return self.head(h) + gate * log_p.view(*h.shape[:-1], -1).to(h.dtype)


class ReadingHead(nn.Module):
    """A head beside a mixing model that has learned the training split and reads what the network reads."""

    def __init__(self, head: nn.Linear, mixer: Mixing):
        super().__init__()
        self.head, self.mixer = head, mixer
        self.tokens = self.before = torch.zeros(0, dtype=torch.long)
        self.learned = nn.Module()
        for name, array in mixer.arrays().items():
            self.learned.register_buffer(name, torch.from_numpy(array))
        self.register_load_state_dict_post_hook(lambda module, keys: module.mixer.plant())

    def take(self, tokens: Tensor, goes_on: bool) -> None:
        """Take the tokens [N, L] whose states come next; where they go on from the last ones, those are known too."""
        self.before = torch.cat([self.before, self.tokens[0]])[-MOST_BEFORE:] if goes_on else self.before[:0]
        self.tokens = tokens

    def log_probabilities(self) -> Tensor:
        """What the mixing model gives to each token that may follow, nats [N, L, V]."""
        rows = [torch.cat([self.before, row]).numpy() for row in self.tokens]
        first = len(self.before) + 1
        return torch.from_numpy(np.stack([self.mixer.log_probabilities(row, first) for row in rows]))


class MixedHead(ReadingHead):
    """Logits of a head plus the log-probabilities of a mixing model.

    Args:
        left_out: half [N, L, V]; of the training windows, as if their part of the text had not been counted.
    """

    def __init__(self, head: nn.Linear, mixer: Mixing, left_out: Tensor, site: Site):
        super().__init__(head, mixer)
        self.left_out, self.site = left_out, site

    def forward(self, h: Tensor) -> Tensor:
        batch = self.site.batch()
        if batch is None:
            logs = self.log_probabilities()
        elif batch.ids is None:
            raise ValueError("memory: kind=mixed leaves out the rows of the batch; call session.backward(x, y, ids)")
        else:
            logs = self.left_out[batch.ids]
        return self.head(h) + logs.to(h.dtype)


class AveragedHead(ReadingHead):
    """In training the logits of a head; else the logarithm of the mean of its and a mixing model's probabilities."""

    def forward(self, h: Tensor) -> Tensor:
        logits = self.head(h)
        if self.training:
            return logits
        own = logits.log_softmax(-1)
        return torch.logaddexp(own, self.log_probabilities().to(own)) - math.log(2)


class HashedGrams(nn.Module):
    """Sum of learned rows for the hashed grams that end at every position, [B, L, D]."""

    def __init__(self, order: int, rows: int, dim: int, width: int):
        super().__init__()
        self.order, self.rows = order, rows
        self.table = nn.EmbeddingBag(rows * (order - 1), dim, mode="sum", sparse=True)
        nn.init.normal_(self.table.weight, std=1e-2)
        self.project = nn.Linear(dim, width, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        code, found = tokens, []
        for back in range(1, self.order):
            earlier = nn.functional.pad(tokens, (back, 0), value=-1)[:, : tokens.shape[1]]
            code = (code * 0x9E3779B1 + earlier + 1) % 2147483647  # multiplicative hashing, modulo a prime
            found.append(code % self.rows + (back - 1) * self.rows)
        index = torch.stack(found, -1).view(-1, self.order - 1)
        return self.project(self.table(index)).view(*tokens.shape, -1)


class ProductKeys(nn.Module):
    """h plus the values of the best keys, which are pairs of half-keys, [B, L, D]."""

    def __init__(self, width: int, keys: int, heads: int, top: int):
        super().__init__()
        self.keys, self.heads, self.top, self.half = keys, heads, top, max(width // 2, 1)
        self.query = nn.Sequential(  # normalised, so that more keys are used: section 3.1 of arXiv:1907.05242
            nn.Linear(width, heads * 2 * self.half), nn.BatchNorm1d(heads * 2 * self.half)
        )
        self.halves = nn.Parameter(torch.randn(heads, 2, keys, self.half) / math.sqrt(self.half))
        self.values = nn.EmbeddingBag(keys * keys, width, mode="sum", sparse=True)
        nn.init.normal_(self.values.weight, std=1e-2)

    def forward(self, h: Tensor) -> Tensor:
        query = self.query(h.flatten(0, -2)).view(-1, self.heads, 2, self.half)
        scores, index = torch.einsum("thsd,hskd->thsk", query, self.halves).topk(self.top, dim=-1)
        pairs = (scores[:, :, 0, :, None] + scores[:, :, 1, None, :]).flatten(2)
        places = (index[:, :, 0, :, None] * self.keys + index[:, :, 1, None, :]).flatten(2)
        best, chosen = pairs.topk(self.top, dim=-1)
        weights = best.softmax(-1).flatten(1)
        return h + self.values(places.gather(2, chosen).flatten(1), per_sample_weights=weights).view_as(h)


@dataclass(frozen=True)
class Memory(Method):
    """A language model with tables that are looked up: counts, hashed n-grams or product keys."""

    source = "arXiv:1709.03933; arXiv:1907.05242"
    extra_cost = "building and reading the tables"
    kinds: ClassVar[tuple[str, ...]] = ("text",)
    small: ClassVar[dict[str, Any]] = {"order": 3, "rows": 64}

    kind: Literal["counted", "mixed", "averaged", "hashed", "product_keys"] = "counted"
    order: Annotated[int, Within(2, what="a whole number")] = 6  # tokens of the longest context or gram
    discount: Fraction = 0.9  # of counts
    rows: Count = 65536  # rows of a hashed table, per order
    dim: Count = 32  # numbers in a hashed row
    keys: Count = 64  # half-keys; a layer has keys^2 values
    heads: Count = 4  # queries of a product-key layer
    top: Count = 8  # values read per head
    table_rate: float = 1.0  # learning rate of learned tables over the recipe's

    def __post_init__(self):
        super().__post_init__()
        if self.top > self.keys:
            raise ValueError(f"top={self.top}: expected at most keys={self.keys}")

    def parts(self) -> list[Part]:
        return [Modules(self, self.adapt, table_rate=self.table_rate, reads_batch=self.kind in ("counted", "mixed"))]

    def prepare(self) -> None:
        if self.kind in BY_MIXING:
            from hundredfold.methods.tools.mixing.model import compile_kernels

            compile_kernels()

    def label(self) -> str:
        return f"memory {self.kind}"

    def adapt(self, model: nn.Module, site: Site) -> None:
        head = getattr(model, "lm_head", None)
        embedding = next((m for m in model.modules() if isinstance(m, nn.Embedding)), None)
        if not isinstance(head, nn.Linear) or embedding is None:
            raise ValueError("memory: joins language models (an embedding and an lm_head); choose dataset of text")
        device = head.weight.device
        if self.kind == "hashed":
            grams = HashedGrams(self.order, self.rows, self.dim, embedding.embedding_dim).to(device)
            model.grams = grams
            embedding.register_forward_hook(lambda module, args, out: out + grams(args[0]))
        elif self.kind == "product_keys":
            layer = ProductKeys(head.in_features, self.keys, self.heads, self.top).to(device)
            model.lm_head = nn.Sequential(layer, head)
        else:
            if site.training is None:
                raise ValueError("memory: counts the training split; pass it as Session(training=...)")
            split = site.training
            if self.kind in BY_MIXING:
                if device.type != "cpu":
                    raise ValueError(f"memory: kind={self.kind} runs on the CPU; use trainer.device=cpu")
                mixer = _mixer(model, head.out_features)
                if self.kind == "mixed":
                    model.lm_head = MixedHead(head, mixer, _read(mixer, split), site)
                else:
                    mixer.fit(as_text(split.inputs, split.targets).numpy())
                    model.lm_head = AveragedHead(head, mixer)
                site.charge(mixer.cost().executed)
                model.register_forward_pre_hook(
                    lambda module, args: model.lm_head.take(args[0], getattr(module, "state", None) is not None)
                )
                return
            tokens = split.inputs.long(), split.targets.long()
            tables = NgramTables(*tokens, head.out_features, self.order, self.discount)
            site.charge(2.0 * split.inputs.numel() * (self.order + 1))
            model.lm_head = CountedHead(head, tables, site).to(device)
            model.register_forward_pre_hook(lambda module, args: setattr(model.lm_head, "tokens", args[0]))


def _mixer(model: nn.Module, vocabulary: int) -> Mixing:
    """An untrained mixing model of a network's vocabulary."""
    from hundredfold.methods.tools.mixing.alphabet import characters
    from hundredfold.methods.tools.mixing.model import Mixing
    from hundredfold.methods.tools.mixing.options import WindowOptions

    symbols = getattr(model, "symbols", None)
    return Mixing(vocabulary if symbols is None else characters(symbols), WindowOptions())


def _read(mixer: Mixing, split: Batch) -> Tensor:
    """Learn the windows as one text; the log-probabilities of what follows each token, half [N, L, V].

    Raises:
        ValueError: there is no room for so many.
    """
    shape = (*split.inputs.shape, mixer.alphabet.num_symbols)
    if 2 * math.prod(shape) > MOST_BYTES:
        raise ValueError(
            f"memory: kind=mixed keeps {2 * math.prod(shape) / 1e9:.1f} GB of log-probabilities, of "
            f"{MOST_BYTES / 1e9:g} at most; use a smaller dataset.fraction or kind=counted"
        )
    mixer.fit(as_text(split.inputs, split.targets).numpy())
    found = torch.empty(shape, dtype=torch.half).view(-1, shape[-1])
    start = -1  # the first token of the text follows nothing
    for logs in mixer.left_out():
        part = torch.from_numpy(logs)[max(0, -start) :]
        found[max(0, start) : max(0, start) + len(part)] = part
        start += len(logs)
    return found.view(shape)
