"""EMNIST: handwritten digits and letters in the form of MNIST."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torchvision

from hundredfold.replication.datasets import _idx
from hundredfold.replication.datasets._files import Download
from hundredfold.replication.datasets._images import Images

# Published subset -> classes, training images.
SUBSETS = {
    "balanced": (47, 112_800),
    "byclass": (62, 697_932),
    "bymerge": (47, 697_932),
    "digits": (10, 240_000),
    "letters": (26, 124_800),
    "mnist": (10, 60_000),
}


def _path(subset, part, what):
    return f"EMNIST/raw/gzip/emnist-{subset}-{part}-{what}-ubyte.gz"


@dataclass(frozen=True)
class Emnist(Images):
    """Handwritten characters, 28 x 28: "balanced" has 47 classes, 112,800 images less a tenth, and 18,800 test images.

    Validation is a tenth of the published training images, rounded down. The stored images lie on their side; they are
    read upright. The archive is checked when it is fetched, its files by gzip's own checksum when they are read.
    Source: Cohen et al. 2017, arXiv:1702.05373.
    """

    subset: Literal["balanced", "byclass", "bymerge", "digits", "letters", "mnist"] = "balanced"  # of the six published

    license: ClassVar[str] = "none stated by the authors; NIST Special Database 19 is in the public domain"
    source: ClassVar[str] = "https://www.nist.gov/itl/products-and-services/emnist-dataset"
    splits: ClassVar[str] = "101,520 / 11,280 / 18,800 images (balanced)"
    downloads: ClassVar[tuple[Download, ...]] = (
        Download(
            torchvision.datasets.EMNIST.url,
            "EMNIST/raw/gzip.zip",
            f"md5:{torchvision.datasets.EMNIST.md5}",
            561_753_746,
            tuple(_path(subset, "train", "images-idx3") for subset in SUBSETS),
        ),
    )
    channels: ClassVar[int] = 1
    size: ClassVar[int] = 28

    @property
    def num_classes(self):
        return SUBSETS[self.subset][0]

    @property
    def num_validation(self):
        return SUBSETS[self.subset][1] // 10

    def arrays(self, part):
        images, classes = (
            _idx.read_idx(self.name(), _path(self.subset, part, what)) for what in ("images-idx3", "labels-idx1")
        )
        first = 1 if self.subset == "letters" else 0  # the letters' classes are numbered from 1
        return images.transpose(0, 2, 1)[:, None].copy(), classes.astype(np.int64) - first

    def raw_options(self):
        return {"subset": self.subset}
