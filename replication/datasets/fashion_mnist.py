"""Fashion-MNIST: articles of clothing in the form of MNIST, a harder task of the same cost."""

from dataclasses import dataclass
from typing import ClassVar

import torchvision

from hundredfold.replication.datasets import _idx
from hundredfold.replication.datasets._files import Download


@dataclass(frozen=True)
class FashionMnist(_idx.IdxImages):
    """Articles of clothing, 28 x 28 pixels, 10 classes: 55,000 training, 5,000 validation and 10,000 test images.

    Source: Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747.
    """

    license: ClassVar[str] = "MIT"
    source: ClassVar[str] = "https://github.com/zalandoresearch/fashion-mnist"
    splits: ClassVar[str] = "55,000 / 5,000 / 10,000 images"
    downloads: ClassVar[tuple[Download, ...]] = _idx.downloads(
        torchvision.datasets.FashionMNIST, (26_421_880, 29_515, 4_422_102, 5_148)
    )
