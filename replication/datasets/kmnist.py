"""KMNIST: cursive Japanese characters in the form of MNIST."""

from dataclasses import dataclass
from typing import ClassVar

import torchvision

from hundredfold.replication.datasets import _idx
from hundredfold.replication.datasets._files import Download


@dataclass(frozen=True)
class Kmnist(_idx.IdxImages):
    """Cursive Japanese characters, 28 x 28, 10 classes: 55,000 training, 5,000 validation and 10,000 test images.

    Source: Clanuwat et al. 2018, arXiv:1812.01718.
    """

    license: ClassVar[str] = "CC BY-SA 4.0"
    source: ClassVar[str] = "https://codh.rois.ac.jp/kmnist/"
    splits: ClassVar[str] = "55,000 / 5,000 / 10,000 images"
    downloads: ClassVar[tuple[Download, ...]] = _idx.downloads(
        torchvision.datasets.KMNIST, (18_165_135, 29_497, 3_041_136, 5_120)
    )
