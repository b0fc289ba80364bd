"""Tiny Shakespeare with another tenth held out: five folds, for the spread of models that draw nothing at random."""

from dataclasses import dataclass
from typing import Literal

import torch

from hundredfold.replication.datasets._files import data_root
from hundredfold.replication.datasets.shakespeare import Shakespeare, _tokens

FOLDS = 5


@dataclass(frozen=True)
class ShakespeareFolds(Shakespeare):
    """Next-character prediction on tiny Shakespeare, with the last half of one of its fifths held out.

    Validation is the first half of that tenth of the text, test the second; training is all before and after it. The
    last fold is the usual split. Source: Karpathy, char-rnn; the folds: this project.
    """

    fold: Literal[0, 1, 2, 3, 4] = 4  # the fifth whose last half is held out

    def read_training(self):
        start, middle, end = self._held_out()
        tokens = _tokens(data_root())
        training = torch.cat([tokens[: int(len(tokens) * start)], tokens[int(len(tokens) * end) :]])
        return self.windows(training), self._windows(start, middle, self.eval_windows)

    def read_test(self):
        _, middle, end = self._held_out()
        return self._windows(middle, end, self.eval_windows)

    def _held_out(self):
        """Where the held-out tenth begins, its second half begins, and it ends: fractions of the text."""
        return tuple((self.fold + part) / FOLDS for part in (0.5, 0.75, 1.0))
