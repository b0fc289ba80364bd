"""MNIST-1D: ten drawn digits as rows of 40 numbers, small enough for a study of many widths in minutes.

The data are generated, and no network is needed: the same draws in the same order as the authors' program makes, so
that the examples are theirs. Their package is not used, since it takes 14 s for 16,000 examples and imports a module
that SciPy gives up.
"""

import functools
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d

from hundredfold.methods.options import Within
from hundredfold.replication.datasets.base import Dataset, DataSpec, Split

NUM_TRAIN, NUM_VALIDATION = 4000, 1000
SEED, VALIDATION_SEED, SHUFFLING_SEED = 42, 43, 42  # the first and the last are the authors'
LONG, SHORT = 72, 40  # numbers of a row while it is drawn, and of an example
Drawn = Annotated[int, Within(4010, 10**6, what="a number of examples")]

STROKES = np.array(  # each digit's line, seen from the side
    [
        [5, 6, 6.5, 6.75, 7, 7, 7, 7, 6.75, 6.5, 6, 5],
        [5, 3, 3, 3.4, 3.8, 4.2, 4.6, 5, 5.4, 5.8, 5, 5],
        [5, 6, 6.5, 6.5, 6, 5.25, 4.75, 4, 3.5, 3.5, 4, 5],
        [5, 6, 6.5, 6.5, 6, 5, 5, 6, 6.5, 6.5, 6, 5],
        [5, 4.4, 3.8, 3.2, 2.6, 2.6, 5, 5, 5, 5, 5, 5],
        [5, 3, 3, 3, 3, 5, 6, 6.5, 6.5, 6, 4.5, 5],
        [5, 4, 3.5, 3.25, 3, 3, 3, 3, 3.25, 3.5, 4, 5],
        [5, 7, 7, 6.6, 6.2, 5.8, 5.4, 5, 4.6, 4.2, 5, 5],
        [5, 4, 3.5, 3.5, 4, 5, 5, 4, 3.5, 3.5, 4, 5],
        [5, 4, 3.5, 3.5, 4, 5, 5, 5, 5, 4.7, 4.3, 5],
    ]
)


@dataclass(frozen=True)
class Mnist1d(Dataset):
    """Rows of 40 numbers, 10 classes: 4,000 training examples, and what else is drawn for the test.

    Inputs are float32 [N, 1, 1, 40], standardised by the one mean and deviation of all examples of the draw, as the
    authors do. Validation is 1,000 examples of a draw of its own, so that training keeps the authors' 4,000.
    Source: Greydanus and Kobak 2024, arXiv:2011.14439.
    """

    examples: Drawn = 5000  # 5,000 are the authors' frozen set, 16,000 those of their study of double descent
    shuffled: bool = False  # put the 40 numbers into another order, the same for all examples

    license: ClassVar[str] = "Apache-2.0"
    source: ClassVar[str] = "https://github.com/greydanus/mnist1d"
    splits: ClassVar[str] = "4,000 / 1,000 / 1,000 rows"

    def spec(self):
        return DataSpec(kind="image", input_shape=(1, 1, SHORT), num_classes=len(STROKES), metric="accuracy")

    def read_training(self):
        rows, classes = draw(self.examples, SEED)
        train = self._split(rows[:NUM_TRAIN], classes[:NUM_TRAIN])
        return train, self._split(*draw(NUM_VALIDATION, VALIDATION_SEED))

    def read_test(self):
        rows, classes = draw(self.examples, SEED)
        return self._split(rows[NUM_TRAIN:], classes[NUM_TRAIN:])

    def raw(self):
        rows, classes = draw(self.examples, SEED)
        return rows.round(6).tobytes() + classes.astype("<i8").tobytes()

    def _split(self, rows, classes):
        every, _ = draw(self.examples, SEED)
        rows = (rows - every.mean()) / every.std()
        if self.shuffled:
            rows = rows[:, np.random.RandomState(SHUFFLING_SEED).permutation(SHORT)]
        return Split(torch.from_numpy(rows.astype(np.float32)).view(-1, 1, 1, SHORT), torch.from_numpy(classes))


@functools.lru_cache(maxsize=4)
def draw(count, seed):
    """Return rows float64 [count, 40] and classes int64 [count], in a shuffled order; the same for ever.

    A digit's line is padded with 36 to 60 zeros, stretched to 72 numbers, scaled by .8 to 1.2 and rotated by up to 47
    numbers; smooth noise fills the zeros, white noise comes over all, a slope is added, and 40 numbers are taken.
    """
    random = np.random.RandomState(seed)  # NumPy keeps the streams of this generator unchanged
    lines = STROKES - STROKES.mean(1, keepdims=True)
    lines /= lines.std(1, keepdims=True)
    lines = (lines - lines[:, :1]) / 6 + 1e-8
    classes = np.repeat(np.arange(len(lines)), count // len(lines))
    rows, smooth, white, slopes = (np.empty((len(classes), n)) for n in (LONG, LONG, LONG, 1))
    for row, label in enumerate(classes):
        padding = 36 + int(random.rand() * 25)
        rows[row] = _stretched(np.concatenate([lines[label], np.zeros(padding)]), LONG)
        rows[row] *= 1 + 0.4 * (random.rand() - 0.5)
        rows[row] = np.roll(rows[row], random.randint(48))
        smooth[row], white[row] = 0.25 * random.randn(LONG), 0.02 * random.randn(LONG)
        slopes[row] = 0.75 * (random.rand() - 0.5)
    rows = np.where(rows != 0, rows, gaussian_filter1d(smooth, 2, axis=1)) + white
    rows -= slopes * np.linspace(-0.5, 0.5, LONG)
    order = random.permutation(len(classes))
    return np.stack([_stretched(row, SHORT) for row in rows])[order], classes[order]


def _stretched(row, count):
    """Interpolate a row to so many numbers on a straight line between neighbours."""
    return np.interp(np.linspace(0, 1, count), np.linspace(0, 1, len(row)), row)
