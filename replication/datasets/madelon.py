"""Madelon: 500 features of which 20 tell the class, the feature-selection task of dynamic sparse training."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from hundredfold.replication.datasets import _scenario
from hundredfold.replication.datasets._files import Download, read
from hundredfold.replication.datasets.base import Dataset, DataSpec, Split

URL = "https://archive.ics.uci.edu/ml/machine-learning-databases/madelon/"
NUM_VALIDATION = 400
TRAIN = (
    Download(
        URL + "MADELON/madelon_train.data",
        "madelon/madelon_train.data",
        "sha256:0b6e37711efdc7ab74250c51e7d6966bffd9f8f2b0e9971e882c3a7a380c2314",
        4_001_995,
    ),
    Download(
        URL + "MADELON/madelon_train.labels",
        "madelon/madelon_train.labels",
        "sha256:10bffcc3b017467cb810d326b931951adcbde2b4870faf981da2991993b48689",
        5_000,
    ),
)
TEST = (
    Download(
        URL + "MADELON/madelon_valid.data",
        "madelon/madelon_valid.data",
        "sha256:cb9a46475147de1a58d9f15ef4c318e5b85de344e0f9ab92626fa446aa815dc9",
        1_200_599,
    ),
    Download(
        URL + "madelon_valid.labels",
        "madelon/madelon_valid.labels",
        "sha256:1aa311db914031ce44fc1dcf00fe4a0c31becb6c5c4e809db7fec13eead58fcc",
        1_499,
    ),
)


@dataclass(frozen=True)
class Madelon(Dataset):
    """Artificial table, 500 features, 2 classes: 1,600 training, 400 validation and 600 test rows.

    Inputs are float32 [N, 1, 1, 500], each feature standardised over the training split. Test is the published
    validation set, as everywhere: the labels of the published test set were never released. Validation is 400 of the
    2,000 published training rows, stratified by class, within a class those with the smallest SHA-256.
    Source: Guyon et al. 2003, NIPS feature selection challenge; Atashgahi et al. 2022, arXiv:2012.00560.
    """

    license: ClassVar[str] = "CC BY 4.0"
    source: ClassVar[str] = "https://archive.ics.uci.edu/dataset/171/madelon"
    splits: ClassVar[str] = "1,600 / 400 / 600 rows"
    downloads: ClassVar[tuple[Download, ...]] = TRAIN + TEST

    def spec(self):
        return DataSpec(kind="image", input_shape=(1, 1, 500), num_classes=2, metric="accuracy")

    def read_training(self):
        (features, classes), parts = self._train_rows()
        return tuple(self._split(features[rows], classes[rows]) for rows in parts)

    def read_test(self):
        return self._split(*_table(self.name(), TEST))

    def raw(self):
        return b"".join(read(self.name(), item.path, item.digest) for item in self.downloads)

    def _train_rows(self):
        features, classes = _table(self.name(), TRAIN)
        keys = _scenario.digests(row.tobytes() for row in features)
        return (features, classes), _scenario.held_out(classes, keys, NUM_VALIDATION)

    def _split(self, features, classes):
        (every, _), (train, _) = self._train_rows()
        inputs = (features - every[train].mean(0)) / every[train].std(0)
        return Split(torch.from_numpy(inputs.astype(np.float32)).view(-1, 1, 1, 500), torch.from_numpy(classes))


def _table(name, files):
    """Return features int64 [N, 500] and classes int64 [N], 1 for the label 1 and 0 for -1."""
    features, labels = (np.array(read(name, item.path, item.digest).split(), np.int64) for item in files)
    return features.reshape(-1, 500), (labels + 1) // 2
