"""MNIST: handwritten digits, 28 x 28 pixels."""

from dataclasses import dataclass
from typing import ClassVar

import torchvision

from hundredfold.replication.datasets import _idx
from hundredfold.replication.datasets._files import Download


@dataclass(frozen=True)
class Mnist(_idx.IdxImages):
    """Handwritten digits, 28 x 28 pixels, 10 classes: 55,000 training, 5,000 validation and 10,000 test images.

    Source: LeCun, Bottou, Bengio and Haffner 1998.
    """

    license: ClassVar[str] = "none stated by the authors; often quoted as CC BY-SA 3.0"
    source: ClassVar[str] = "http://yann.lecun.com/exdb/mnist/"
    splits: ClassVar[str] = "55,000 / 5,000 / 10,000 images"
    downloads: ClassVar[tuple[Download, ...]] = _idx.downloads(
        torchvision.datasets.MNIST, (9_912_422, 28_881, 1_648_877, 4_542)
    )
