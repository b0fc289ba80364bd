"""CIFAR-100: small colour photographs in a hundred classes."""

from dataclasses import dataclass
from typing import ClassVar

from hundredfold.replication.datasets._cifar import Cifar
from hundredfold.replication.datasets._files import Download

TRAIN, TEST = "cifar-100-binary/train.bin", "cifar-100-binary/test.bin"


@dataclass(frozen=True)
class Cifar100(Cifar):
    """Colour photographs, 32 x 32 pixels, 100 (fine) classes: 45,000 training, 5,000 validation and 10,000 test images.

    Source: Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images.
    """

    license: ClassVar[str] = "none stated; drawn from 80 Million Tiny Images, which its authors withdrew in 2020"
    source: ClassVar[str] = "https://www.cs.toronto.edu/~kriz/cifar.html"
    splits: ClassVar[str] = "45,000 / 5,000 / 10,000 images"
    files: ClassVar[dict[str, dict[str, str]]] = {
        "train": {TRAIN: "md5:6172c7755cfe09b2fe270c85cebc1b15"},
        "test": {TEST: "md5:4499cfba6c016c1be1438163640a0898"},
    }
    downloads: ClassVar[tuple[Download, ...]] = (
        Download(
            "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
            "cifar-100-binary.tar.gz",
            "md5:03b5dce01913d631647c71ecec9e9cb8",
            168_513_733,
            (TRAIN, TEST),
        ),
    )
    num_classes: ClassVar[int] = 100
    num_label_bytes: ClassVar[int] = 2  # the coarse class, then the fine one
