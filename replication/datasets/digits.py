"""Handwritten digits, 8 x 8 pixels: the smallest image task that is real data. Ships with scikit-learn; no download."""

import functools
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from hundredfold.replication.datasets import _scenario
from hundredfold.replication.datasets.base import Dataset, DataSpec, Split

NUM_TRAIN, NUM_VALIDATION, NUM_TEST = 1200, 237, 360


@functools.cache
def _load():
    """Return pixels uint8 [1797, 64], values 0..16, and classes int64 [1797]."""
    from sklearn.datasets import load_digits  # slow to import, so only where it is used

    pixels, classes = load_digits(return_X_y=True)
    return pixels.astype(np.uint8), classes.astype(np.int64)


@functools.cache
def _rows():
    """Return the row numbers of each split: name -> int [N], ascending, stratified by class.

    Within a class the images are ordered by the SHA-256 of their pixels: as good as a random order, and the same
    with every version of every library.
    """
    pixels, classes = _load()
    keys = _scenario.digests(row.tobytes() for row in pixels)
    rest, test = _scenario.held_out(classes, keys, NUM_TEST)
    train, validation = _scenario.held_out(classes[rest], keys[rest], NUM_VALIDATION)
    return {"test": test, "validation": rest[validation], "train": rest[train]}


@dataclass(frozen=True)
class Digits(Dataset):
    """Handwritten digits, 8 x 8 pixels, 10 classes: 1,200 training, 237 validation and 360 test images.

    Inputs are float32 [N, 1, 8, 8], standardised by the one mean and the one standard deviation of the training pixels.
    Source: Alpaydin and Kaynak 1998, https://archive.ics.uci.edu/dataset/80, its 1,797 test images, in scikit-learn.
    """

    license: ClassVar[str] = "CC BY 4.0"
    source: ClassVar[str] = "https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits"
    splits: ClassVar[str] = "1,200 / 237 / 360 images"

    def spec(self):
        return DataSpec(kind="image", input_shape=(1, 8, 8), num_classes=10, metric="accuracy")

    def read_training(self):
        return self._split("train"), self._split("validation")

    def read_test(self):
        return self._split("test")

    def raw(self):
        pixels, classes = _load()
        return pixels.tobytes() + classes.astype("<i8").tobytes()

    def _split(self, name):
        pixels, classes = _load()
        train = pixels[_rows()["train"]].astype(np.float64)
        rows = _rows()[name]
        inputs = (pixels[rows] - train.mean()) / train.std()
        return Split(torch.from_numpy(inputs.astype(np.float32)).view(-1, 1, 8, 8), torch.from_numpy(classes[rows]))
