"""Counted n-gram tables: next-token probabilities that are looked up, not multiplied.

Interpolated Kneser-Ney with one discount: the highest order counts occurrences, a lower one the distinct tokens that
precede a gram. An order is the number of context tokens; windows are independent and begin with padding of a code of
its own. Everything is sorted int64 codes, so that building and look-up are a few vectorised operations.

Source: Chen and Goodman 1999, "An empirical study of smoothing techniques for language modeling", section 3; leaving
one out after Ney, Essen and Kneser 1995.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

DENSE_ENTRIES = 2**19  # tables of up to this many entries are kept as a matrix


class Table(NamedTuple):
    """Grams (context, token) of one order, in the order of their codes."""

    grams: Tensor  # long [G], sorted codes
    counts: Tensor  # float [G]: occurrences in the highest order, else distinct predecessors
    single: Tensor  # bool [G]: occurs once, so that leaving it out takes a predecessor from the shorter gram
    contexts: Tensor  # long [C], sorted codes of the grams without their last token
    first: Tensor  # long [C + 1], where each context's grams begin
    totals: Tensor  # float [C], sum of its counts
    shares: Tensor  # float [G]: (count - discount) / total, not below 0
    rows: Tensor | None  # float [C, V]: the shares of every token, where that is small and fast


class NgramTables:
    """Tables of the orders 0 to `order` over the windows of a training split.

    Args:
        inputs, targets: long [N, L]; position j knows inputs[:, :j + 1] and predicts targets[:, j].
        order: tokens of the longest context.
        discount: subtracted from every count, in (0, 1).
    Raises:
        ValueError: codes of that many tokens do not fit into 63 bits.
    """

    def __init__(self, inputs: Tensor, targets: Tensor, vocabulary: int, order: int, discount: float):
        if (order + 1) * vocabulary.bit_length() > 63:
            raise ValueError(f"order={order}: too long for a vocabulary of {vocabulary}; use a lower order")
        self.vocabulary, self.order, self.discount = vocabulary, order, discount
        self.tables: list[Table] = []
        longer = None
        for k in range(order, -1, -1):
            grams, occurrences = torch.unique(self._codes(inputs, targets, k), return_counts=True)
            counts = occurrences
            if longer is not None:
                counts = torch.unique(longer % self._base ** (k + 1), return_counts=True)[1]
            contexts, sizes = torch.unique_consecutive(grams // self._base, return_counts=True)
            first = F.pad(sizes.cumsum(0), (1, 0))
            totals = F.pad(counts.cumsum(0), (1, 0))[first].diff().float()
            row = torch.repeat_interleave(torch.arange(len(contexts), device=grams.device), sizes)
            shares, rows = (counts - discount).clamp(min=0) / totals[row], None
            if len(contexts) * vocabulary <= DENSE_ENTRIES:
                rows = shares.new_zeros(len(contexts), vocabulary)
                rows[row, grams % self._base] = shares
            table = Table(grams, counts.float(), occurrences == 1, contexts, first, totals, shares, rows)
            self.tables.insert(0, table)
            longer = grams

    @property
    def num_entries(self) -> int:
        """Grams of all orders."""
        return sum(len(table.grams) for table in self.tables)

    def log_probabilities(self, inputs: Tensor, targets: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Log-probability of every token after every position, and how many tokens of its context are known.

        Args:
            inputs: long [B, L].
            targets: long [B, L] of windows that were counted: each position's own occurrence is left out.
        Returns:
            float [T, V] and long [T], T = B x L.
        """
        size, vocabulary = inputs.numel(), self.vocabulary
        out = torch.full((size, vocabulary), 1 / vocabulary, device=inputs.device)
        matched = torch.zeros(size, dtype=torch.long, device=inputs.device)
        own = [self._codes(inputs, inputs if targets is None else targets, k).flatten() for k in range(self.order + 1)]
        positions, longer = torch.arange(size, device=inputs.device), None
        for k, table in enumerate(self.tables):
            context = own[k] // self._base
            row = torch.searchsorted(table.contexts, context).clamp(max=len(table.contexts) - 1)
            known = table.contexts[row] == context
            total, kinds = table.totals[row], (table.first[row + 1] - table.first[row]).float()
            scale, mine = known.float(), None
            if targets is not None:
                mine = torch.searchsorted(table.grams, own[k]) if longer is None else longer
                longer = None
                lost = torch.ones_like(total)
                if k < self.order:
                    longer = torch.searchsorted(self.tables[k + 1].grams, own[k + 1])
                    lost = self.tables[k + 1].single[longer].float()
                count = table.counts[mine]
                kinds = kinds - (count == lost).float()
                rest = (total - lost).clamp(min=1)
                change = ((count - lost - self.discount).clamp(min=0) - (count - self.discount).clamp(min=0)) / rest
                known, scale, total = total > lost, scale * total / rest, rest
            out *= torch.where(known, self.discount * kinds / total, 1.0)[:, None]
            if table.rows is not None:
                out.addcmul_(table.rows[row], torch.where(known, scale, 0.0)[:, None])
            else:
                types = torch.where(known, table.first[row + 1] - table.first[row], 0)
                position = torch.repeat_interleave(positions, types)
                ends = types.cumsum(0)
                entry = torch.arange(len(position), device=inputs.device) + (table.first[row] - ends + types)[position]
                share = table.shares[entry] * scale[position]
                out.view(-1).index_add_(0, position * vocabulary + table.grams[entry] % self._base, share)
            if mine is not None:
                wanted = positions * vocabulary + own[k] % self._base
                out.view(-1).index_add_(0, wanted, torch.where(known, change, 0.0))
            matched = torch.where(known, k, matched)
        return out.clamp_(min=1e-10).log_(), matched

    @property
    def _base(self) -> int:
        return self.vocabulary + 1

    def _codes(self, inputs: Tensor, targets: Tensor, order: int) -> Tensor:
        """Codes of (the last `order` tokens, next token) at every position, long [N, L]."""
        length = inputs.shape[1]
        padded = F.pad(inputs, (max(order - 1, 0), 0), value=self.vocabulary)
        code = torch.zeros_like(inputs)
        for start in range(order):
            code = code * self._base + padded[:, start : start + length]
        return code * self._base + targets
